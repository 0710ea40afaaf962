"""Plain models of several run folders in one table, with their paired differences where somebody has paired them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nsbench.errors import ConfigError
from nsbench.report.lines import line_of, measured_models, model_lines, unlike
from nsbench.report.model import Text, View
from nsbench.report.models import model_section, models_cards, models_verdict
from nsbench.report.protocols import Protocols
from nsbench.report.records import Records
from nsbench.report.rows import NOT_EVALS, Key, Rows
from nsbench.report.sections.flags import flag_section
from nsbench.report.sections.literature import literature_section
from nsbench.report.sections.provenance import reproduction_section
from nsbench.report.suites import headline_keys
from nsbench.report.view import (
    INTERVALS_OVER_IMAGES,
    data_words,
    evidence_sections,
    footer,
    imagenet_evals,
    mixed_badge,
    models_title,
    note_all,
    status_badges,
)
from nsbench.report.words import IMAGENET, clean, eval_short, plural
from nsbench.runfolder import MODELS


def refuse_mixed_kinds(runs: Sequence[Records]) -> None:
    """Raise where some runs are of models and others of self-training.

    Raises:
        ConfigError: names one of each.
    """
    models = next((records for records in runs if records.is_models), None)
    training = next((records for records in runs if not records.is_models), None)
    if models is not None and training is not None:
        first, other = (clean(records.text("name", "?")) for records in (models, training))
        raise ConfigError(
            f"{first} holds models and {other} a self-training run; compare runs of one kind, or measure a generation "
            "beside the models with `nsbench eval`"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Against:
    """How the models of one run differ from the first model of the first run."""

    rows: pd.DataFrame
    """Paired differences; `model` is the model's label in its own run."""
    apart: Mapping[tuple[str, str], str]
    """(label, eval) that both answered and that are not paired, and why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatheredModels:
    """Runs of models and their common tables, whose rows have a column `line`: a name that no other model has."""

    runs: list[Records]
    results: pd.DataFrame
    costs: pd.DataFrame
    paired: bool = False
    """Whether differences to the first model of the first run are among the results."""
    apart: tuple[str, ...] = ()
    """What is not paired, in words."""


def last_student(records: Records) -> Records:
    """A self-training run as the one model that it ended with; a run of models as it is.

    Raises:
        ConfigError: no student was measured.
    """
    if records.is_models:
        return records
    measured = records.results[~records.results["eval"].isin(NOT_EVALS)]
    students = [name for name in set(measured["generation"]) if name.isdigit()]
    if not students:
        raise ConfigError(f"{clean(records.text('name', '?'))} has no measured generation; finish the run first")
    last = max(students, key=int)
    label = f"gen {last}"
    own = measured[(measured["generation"] == last) & (measured["versus"] == "")]
    costs = records.costs[records.costs["generation"] == last]
    models = {label: {**records.model(last), "label": label}}
    run = {**records.run, "kind": MODELS, "models": models, "plans": {label: records.planned(last)}}
    lacking = {label: records.unmeasured[last]} if last in records.unmeasured else {}
    return dataclasses.replace(
        records,
        run=run,
        results=own.assign(generation="", model=label),
        costs=costs.assign(generation="", model=label),
        unmeasured=lacking,
    )


def gather_models(runs: Sequence[Records], against: Sequence[Against] = ()) -> GatheredModels:
    """Put runs of models one below the other, each under a name of its own.

    Args:
        against: differences of every run's models but the first run's; without them nothing is paired.
    """
    if against:
        runs = [runs[0], *(_compared(records, other) for records, other in zip(runs[1:], against, strict=True))]
    names: list[str] = []
    for records in runs:
        names.append(unlike(records.text("name", "run"), names))
    every = [name for records in runs for name in measured_models(records.results, records.run)]
    named: list[Records] = []
    frames: dict[str, list[pd.DataFrame]] = {"results": [], "costs": []}
    for records, name in zip(runs, names, strict=True):
        own = {table: getattr(records, table).assign(run=name) for table in frames}
        named.append(dataclasses.replace(records, run={**records.run, "name": name}, **own))
        for table, frame in own.items():
            line = [f"{one} ({name})" if every.count(one) > 1 else one for one in line_of(frame)]
            frames[table].append(frame.assign(line=line))
    results, costs = (pd.concat(frames[table], ignore_index=True) for table in ("results", "costs"))
    return GatheredModels(
        runs=named,
        results=results,
        costs=costs,
        paired=any(len(one.rows) for one in against),
        apart=_apart_words(names[1:], against),
    )


def _compared(records: Records, against: Against) -> Records:
    """A run whose differences are to the first model of all, and not to its own first any more."""
    alone = records.results[records.results["versus"] == ""]
    seed = records.text("seed")
    differences = against.rows.assign(seed=seed)
    return dataclasses.replace(records, results=pd.concat([alone, differences], ignore_index=True))


def _apart_words(names: Sequence[str], against: Sequence[Against]) -> tuple[str, ...]:
    """A sentence for each eval and reason that kept models unpaired."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, one in zip(names, against, strict=False):
        for (label, eval_name), reason in one.apart.items():
            found.setdefault((eval_name, reason), []).append(f"{clean(label)} ({clean(name)})")
    return tuple(
        f"{clean(eval_name)}: no paired difference of {', '.join(who)}, {clean(reason, 400)}."
        for (eval_name, reason), who in found.items()
    )


def build_gathered_models(gathered: GatheredModels) -> View:
    """The page of models of several runs: one table of all, and what was not alike."""
    protocols, runs = Protocols(), gathered.runs
    paired = gathered.paired
    shown = gathered.results if paired else gathered.results[gathered.results["versus"] == ""]
    lines = model_lines(_in_order(shown))
    rows, keys = Rows(shown, protocols, lines=lines), headline_keys(shown)
    imagenet = frozenset.intersection(*(frozenset(imagenet_evals(records)) for records in runs))
    data = " and ".join(dict.fromkeys(map(data_words, runs)))
    verdict = models_verdict(rows, keys, imagenet, data, paired=paired)
    section = model_section(rows, keys, imagenet, paired=paired)
    if section is not None:
        section = dataclasses.replace(section, blocks=(*section.blocks, *_pairing_notes(gathered, keys)))
    evidence = evidence_sections(rows, imagenet) if paired else []
    note_all(rows)
    whole = gathered.results.drop(columns="line")
    parts = [(r, whole[whole["run"] == r.text("name")]) for r in runs]
    own = [(r, Rows(part, protocols, lines=model_lines(measured_models(part, r.run)))) for r, part in parts]
    return View(
        title=models_title([lines.label(name) for name in lines.names]),
        eyebrow=tuple(dict.fromkeys(clean(records.text("dataset_title") or "test sets") for records in runs)),
        badges=(
            *status_badges(runs),
            *mixed_badge(rows, keys),
            ("plain", plural(len(lines.names), "model")),
            ("plain", plural(len(runs), "run")),
        ),
        verdict=verdict,
        cards=models_cards(rows, keys, imagenet),
        cards_note=f"{INTERVALS_OVER_IMAGES}; measured in {plural(len(runs), 'run')}; {_paired_words(paired)}.",
        sections=tuple(
            one for one in (section, *evidence, literature_section(rows, imagenet), reproduction_section(runs)) if one
        ),
        protocols=protocols.listed(),
        num_students=0,
        interval_note=INTERVALS_OVER_IMAGES,
        seed_note="",
        footer=footer(runs[0]),
        flags=flag_section(own),
    )


def _in_order(frame: pd.DataFrame) -> list[str]:
    """Names of the models, the one that the others are compared with first."""
    of_models = frame[frame["generation"] == ""]
    compared = set(of_models.loc[of_models["versus"] == "first", "line"])
    return sorted(dict.fromkeys(of_models["line"]), key=lambda name: name in compared)


def _paired_words(paired: bool) -> str:
    return "differences are paired over the images in common" if paired else "so no difference is paired"


def _pairing_notes(gathered: GatheredModels, keys: Sequence[Key]) -> list[Text]:
    """Over how many images the differences are, and what is not paired."""
    counts, differences = [], gathered.results[gathered.results["versus"] == "first"]
    measured = differences[["eval", "metric", "subset", "level"]].itertuples(index=False, name=None)
    frame = differences.loc[np.array([key in keys for key in measured], dtype=np.bool_)]
    for name in dict.fromkeys(frame["eval"]):
        found = sorted(set(frame.loc[frame["eval"] == name, "n"]))
        if found:
            count = f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
            counts.append(f"{eval_short(name, IMAGENET)} {count}")
    said = f"Differences are paired over the images, or videos, that both models answered: {', '.join(counts)}."
    return [Text(parts=(words,), css="note") for words in (*((said,) if counts else ()), *gathered.apart)]
