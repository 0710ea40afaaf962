"""From the records of one run to everything that its page shows. All decisions are here and in the sections' files."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from nsbench.report.headlines import make_cards, make_verdict
from nsbench.report.lines import measured_models, model_lines
from nsbench.report.model import Section, View
from nsbench.report.models import model_section, models_cards, models_verdict
from nsbench.report.protocols import Protocols
from nsbench.report.records import Records
from nsbench.report.rows import HEADLINES, Key, Rows
from nsbench.report.sections.adversarial import fgsm_section
from nsbench.report.sections.changes import change_section
from nsbench.report.sections.corruptions import corruption_section
from nsbench.report.sections.costs import cost_section
from nsbench.report.sections.effective import effective_section
from nsbench.report.sections.flags import flag_section
from nsbench.report.sections.generations import OVERVIEW, generation_section
from nsbench.report.sections.literature import literature_section
from nsbench.report.sections.natural import clean_section, hard_section, other_section
from nsbench.report.sections.perturbations import perturbation_section
from nsbench.report.sections.pictures import picture_section
from nsbench.report.sections.provenance import reproduction_section
from nsbench.report.sections.reliability import reliability_section
from nsbench.report.sections.selftraining import health_section
from nsbench.report.sections.significance import significance_section
from nsbench.report.suites import headline_keys
from nsbench.report.words import IMAGENET, RELEASED, clean, plural
from nsbench.runfolder import SCHEMA_VERSION, shows_imagenet

INTERVALS_OVER_IMAGES = "95 % intervals over images"
INTERVALS_OVER_SEEDS = "95 % t intervals over seeds"

MAX_COLOURS = 99
"""Generations that can have one each; a damaged record may name the billionth."""

MAX_IN_TITLE = 3
"""Models that a page's title names."""


def imagenet_evals(records: Records) -> Collection[str]:
    """The evals that may carry ImageNet's names: those whose images are its own."""
    own = shows_imagenet(records.run)
    return IMAGENET if own else RELEASED if records.is_models else ()


def data_words(records: Records) -> str:
    """What the numbers were measured on."""
    title = clean(records.text("dataset_title") or records.text("dataset"))
    if not title:
        return "these test sets" if records.is_models else "the test images of an unnamed data set"
    return title if title.lower().endswith(("test set", "val", "validation")) else f"the {title} test images"


def evidence_sections(rows: Rows, imagenet: Collection[str]) -> list[Section | None]:
    """The sections that all pages share, in page order, after the table of what stands side by side."""
    but = OVERVIEW if rows.lines.noun == "generation" else ()
    return [
        change_section(rows, imagenet),
        significance_section(rows, imagenet, HEADLINES if but else headline_keys(rows.frame)),
        clean_section(rows, imagenet, but),
        reliability_section(rows),
        corruption_section(rows, imagenet),
        corruption_section(rows, imagenet, "imagenet-c-bar"),
        perturbation_section(rows, imagenet),
        fgsm_section(rows, imagenet),
        hard_section(rows, imagenet),
        effective_section(rows, imagenet),
        other_section(rows, imagenet),
    ]


def build_view(records: Records) -> View:
    """The page of one run, of whichever kind."""
    return _models_view(records) if records.is_models else _training_view(records)


def _training_view(records: Records) -> View:
    protocols = Protocols()
    rows, costs = Rows(records.results, protocols), Rows(records.costs, protocols, table="costs")
    imagenet = imagenet_evals(records)
    verdict = make_verdict(rows, imagenet, data_words(records), num_seeds=1)
    cards = make_cards(rows, imagenet)
    sections = [
        generation_section(rows, imagenet),
        *evidence_sections(rows, imagenet),
        health_section(rows, records.curves),
        cost_section(rows, costs, imagenet, HEADLINES),
        picture_section(records),
        literature_section(rows, imagenet),
        reproduction_section([records]),
    ]
    note_all(rows)
    seed = f"seed {clean(records.text('seed', '?'))}"
    return View(
        title=clean(records.text("name", "unnamed run")),
        eyebrow=_eyebrow(records),
        badges=(*_badges(records, rows), ("plain", f"1 seed: {clean(records.text('seed', '?'))}")),
        verdict=verdict,
        cards=cards,
        cards_note=f"{INTERVALS_OVER_IMAGES}; differences are paired image by image.",
        sections=tuple(section for section in sections if section),
        protocols=protocols.listed(),
        num_students=num_students(rows.frame),
        interval_note=f"{INTERVALS_OVER_IMAGES}, {seed}",
        seed_note=seed,
        footer=footer(records),
        flags=flag_section([(records, rows)]),
    )


def _models_view(records: Records) -> View:
    protocols = Protocols()
    lines = model_lines(measured_models(records.results, records.run))
    rows = Rows(records.results, protocols, lines=lines)
    costs = Rows(records.costs, protocols, table="costs", lines=lines)
    imagenet, keys = imagenet_evals(records), headline_keys(records.results)
    verdict = models_verdict(rows, keys, imagenet, data_words(records))
    cards = models_cards(rows, keys, imagenet)
    sections = [
        model_section(rows, keys, imagenet),
        *evidence_sections(rows, imagenet),
        cost_section(rows, costs, imagenet, keys),
        picture_section(records),
        literature_section(rows, imagenet),
        reproduction_section([records]),
    ]
    note_all(rows)
    paired = "; differences are paired image by image." if len(lines.names) > 1 else "."
    return View(
        title=models_title([lines.label(name) for name in lines.names]),
        eyebrow=_eyebrow(records),
        badges=(*status_badges([records]), *mixed_badge(rows, keys), ("plain", plural(len(lines.names), "model"))),
        verdict=verdict,
        cards=cards,
        cards_note=f"{INTERVALS_OVER_IMAGES}{paired}",
        sections=tuple(section for section in sections if section),
        protocols=protocols.listed(),
        num_students=0,
        interval_note=INTERVALS_OVER_IMAGES,
        seed_note="",
        footer=footer(records),
        flags=flag_section([(records, rows)]),
    )


def models_title(labels: list[str]) -> str:
    """The models by name, or how many there are."""
    if not labels:
        return "no models"
    if len(labels) > MAX_IN_TITLE:
        return plural(len(labels), "model")
    return " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))


def note_all(rows: Rows) -> None:
    """Number the protocols of rows that no table shows, so that the list is that of the download."""
    for protocol, name in rows.frame[["protocol", "eval"]].drop_duplicates().itertuples(index=False):
        rows.protocols.note(protocol, name)


def num_students(frame: pd.DataFrame) -> int:
    """Largest generation that has a colour of its own."""
    return min(MAX_COLOURS, max((int(name) for name in set(frame["generation"]) if name.isdigit()), default=0))


def _eyebrow(records: Records) -> tuple[str, ...]:
    unnamed = "robustness of models" if records.is_models else "unnamed data set"
    words = [clean(records.text("dataset_title") or records.text("dataset") or unnamed)]
    words += [f"{key} {clean(records.text(key))}" for key in ("recipe", "preset") if records.text(key)]
    return tuple(words)


def status_badges(runs: list[Records]) -> list[tuple[str, str]]:
    """Complete, partial or unknown; and whether the data are the embedded ones."""
    word = "not finished" if runs[0].is_models else "partial"
    partial = [records for records in runs if records.text("status") != "complete"]
    badges = (
        [("warn", word if len(runs) == 1 else f"{plural(len(partial), 'run')} {word}")]
        if partial
        else [("good", "complete")]
    )
    if any(records.run.get("embedded") for records in runs):
        badges.append(("plain", "embedded data"))
    if runs[0].run.get("held_out") is not None:
        held = all(records.run.get("held_out") for records in runs)
        seen = "not held out" if runs[0].is_models else "not held out: seen while choosing the recipe"
        badges.append(("plain", "held-out test set") if held else ("warn", seen))
    if any(records.is_archive for records in runs):
        badges.append(("plain", "from tables alone: predictions not kept"))
    older = {
        int(records.run["schema"]) for records in runs if records.run.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION
    }
    badges += [("warn", f"older records: schema {schema}") for schema in sorted(older)]
    badges += [
        ("warn", f"partial: {clean(words)}") for words in dict.fromkeys(r.text("partial") for r in runs) if words
    ]
    return badges


def _badges(records: Records, rows: Rows) -> list[tuple[str, str]]:
    badges = status_badges([records])
    planned = records.run.get("generations")
    if isinstance(planned, int) and rows.final.isdigit() and int(rows.final) < planned:
        badges.append(("warn", f"{rows.final} of {plural(planned, 'student')} measured"))
    if "control" not in rows.names:
        badges.append(("warn", "no control"))
    return badges + mixed_badge(rows, HEADLINES)


def mixed_badge(rows: Rows, keys: Iterable[Key]) -> list[tuple[str, str]]:
    """A warning where a headline was not measured alike of all that stand side by side."""
    for key in keys:
        measured = (rows.raw(name, key) for name in rows.names)
        if len({row.protocol for row in measured if row is not None}) > 1:
            return [("warn", "mixed protocols")]
    return []


def footer(records: Records) -> str:
    versions = records.run.get("versions")
    version = versions.get("nsbench", "") if isinstance(versions, dict) else ""
    return f"nsbench {clean(version)}".strip()
