"""From the records of one run to everything that its page shows. All decisions are here and in the sections' files."""

from __future__ import annotations

import pandas as pd

from nsbench.report.adversarial import fgsm_section, hard_section
from nsbench.report.changes import change_section
from nsbench.report.headlines import generation_section, make_cards, make_verdict
from nsbench.report.model import Section, View
from nsbench.report.pictures import picture_section
from nsbench.report.provenance import reproduction_section
from nsbench.report.records import Records
from nsbench.report.robustness import corruption_section, perturbation_section
from nsbench.report.rows import Protocols, Rows
from nsbench.report.selftraining import health_section
from nsbench.report.words import clean, plural

INTERVALS_OVER_IMAGES = "95 % intervals over images"
INTERVALS_OVER_SEEDS = "95 % t intervals over seeds"


def is_imagenet(records: Records) -> bool:
    """Whether the data are ImageNet's own, so that its names may be used."""
    dataset = records.text("dataset").lower()
    return dataset.startswith(("imagenet", "ilsvrc")) and not records.run.get("embedded", False)


def data_words(records: Records) -> str:
    """What the numbers were measured on."""
    title = clean(records.text("dataset_title") or records.text("dataset") or "an unnamed data set")
    return title if title.lower().endswith(("test set", "val", "validation")) else f"the {title} test images"


def evidence_sections(rows: Rows, imagenet: bool) -> list[Section | None]:
    """The sections that one run and several runs share, in page order."""
    return [
        generation_section(rows, imagenet),
        change_section(rows, imagenet),
        corruption_section(rows, imagenet),
        perturbation_section(rows, imagenet),
        fgsm_section(rows, imagenet),
        hard_section(rows, imagenet),
    ]


def build_view(records: Records) -> View:
    """The page of one run."""
    protocols = Protocols()
    rows, costs = Rows(records.results, protocols), Rows(records.costs, protocols, table="costs")
    imagenet = is_imagenet(records)
    verdict = make_verdict(rows, imagenet, data_words(records), num_seeds=1)
    cards = make_cards(rows, imagenet)
    sections = [
        *evidence_sections(rows, imagenet),
        health_section(rows, costs, records.curves),
        picture_section(records.samples, records.samples_folder),
        reproduction_section([records]),
    ]
    note_all(rows)
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
        interval_note=f"{INTERVALS_OVER_IMAGES}, seed {clean(records.text('seed', '?'))}",
        seed_note=f"seed {clean(records.text('seed', '?'))}",
        footer=_footer(records),
    )


def note_all(rows: Rows) -> None:
    """Number the protocols of rows that no table shows, so that the list is that of the download."""
    for protocol, name in rows.frame[["protocol", "eval"]].drop_duplicates().itertuples(index=False):
        rows.protocols.note(protocol, name)


def num_students(frame: pd.DataFrame) -> int:
    """Largest generation, for the colours."""
    return max((int(name) for name in set(frame["generation"]) if name.isdigit()), default=0)


def _eyebrow(records: Records) -> tuple[str, ...]:
    words = [clean(records.text("dataset_title") or records.text("dataset") or "unnamed data set")]
    words += [f"{key} {clean(records.text(key))}" for key in ("recipe", "preset") if records.text(key)]
    return tuple(words)


def status_badges(runs: list[Records]) -> list[tuple[str, str]]:
    """Complete, partial or unknown; and whether the data are the embedded ones."""
    partial = [records for records in runs if records.text("status") != "complete"]
    badges = (
        [("warn", "partial" if len(runs) == 1 else f"{plural(len(partial), 'run')} partial")]
        if partial
        else [("good", "complete")]
    )
    if any(records.run.get("embedded") for records in runs):
        badges.append(("plain", "embedded data"))
    if runs[0].run.get("held_out") is not None:
        held = all(records.run.get("held_out") for records in runs)
        badges.append(
            ("plain", "held-out test set") if held else ("warn", "not held out: seen while choosing the recipe")
        )
    return badges


def _badges(records: Records, rows: Rows) -> list[tuple[str, str]]:
    badges = status_badges([records])
    planned = records.run.get("generations")
    if isinstance(planned, int) and rows.students and int(rows.final) < planned:
        badges.append(("warn", f"{rows.final} of {plural(planned, 'student')} measured"))
    if "control" not in rows.generations:
        badges.append(("warn", "no control"))
    return badges


def _footer(records: Records) -> str:
    versions = records.run.get("versions")
    version = versions.get("nsbench", "") if isinstance(versions, dict) else ""
    return f"nsbench {clean(version)}".strip()
