"""Plain models of several run folders in one table. They were measured apart, so no difference is paired."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from nsbench.errors import ConfigError
from nsbench.report.lines import line_of, measured_models, model_lines, unlike
from nsbench.report.model import View
from nsbench.report.models import model_section, models_cards, models_verdict
from nsbench.report.protocols import Protocols
from nsbench.report.records import Records
from nsbench.report.rows import Rows
from nsbench.report.sections.flags import flag_section
from nsbench.report.sections.provenance import reproduction_section
from nsbench.report.suites import headline_keys
from nsbench.report.view import (
    INTERVALS_OVER_IMAGES,
    data_words,
    footer,
    imagenet_evals,
    models_title,
    note_all,
    status_badges,
)
from nsbench.report.words import clean, plural


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
class GatheredModels:
    """Runs of models and their common tables, whose rows have a column `line`: a name that no other model has."""

    runs: list[Records]
    results: pd.DataFrame
    costs: pd.DataFrame


def gather_models(runs: Sequence[Records]) -> GatheredModels:
    """Put runs of models one below the other, each under a name of its own."""
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
    return GatheredModels(runs=named, results=results, costs=costs)


def build_gathered_models(gathered: GatheredModels) -> View:
    """The page of models of several runs: one table of all, and what was not alike."""
    protocols, runs = Protocols(), gathered.runs
    alone = gathered.results[gathered.results["versus"] == ""]
    lines = model_lines(alone.loc[alone["generation"] == "", "line"])
    rows, keys = Rows(alone, protocols, lines=lines), headline_keys(alone)
    imagenet = frozenset.intersection(*(frozenset(imagenet_evals(records)) for records in runs))
    verdict = models_verdict(rows, keys, imagenet, " and ".join(dict.fromkeys(map(data_words, runs))), paired=False)
    section = model_section(rows, keys, imagenet, paired=False)
    note_all(rows)
    whole = gathered.results.drop(columns="line")
    parts = [(r, whole[whole["run"] == r.text("name")]) for r in runs]
    own = [(r, Rows(part, protocols, lines=model_lines(measured_models(part, r.run)))) for r, part in parts]
    return View(
        title=models_title([lines.label(name) for name in lines.names]),
        eyebrow=tuple(dict.fromkeys(clean(records.text("dataset_title") or "test sets") for records in runs)),
        badges=(
            *status_badges(runs),
            ("plain", plural(len(lines.names), "model")),
            ("plain", plural(len(runs), "run")),
        ),
        verdict=verdict,
        cards=models_cards(rows, keys, imagenet),
        cards_note=f"{INTERVALS_OVER_IMAGES}; measured in {plural(len(runs), 'run')}, so no difference is paired.",
        sections=tuple(one for one in (section, reproduction_section(runs)) if one),
        protocols=protocols.listed(),
        num_students=0,
        interval_note=INTERVALS_OVER_IMAGES,
        seed_note="",
        footer=footer(runs[0]),
        flags=flag_section(own),
    )
