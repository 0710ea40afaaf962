"""The gate: candidates beside their baseline, from the records of their runs, judged by conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nsbench.errors import ConfigError
from nsbench.pairing import FIRST, OTHER, Side, pair, sides_of
from nsbench.report.gate.cells import Candidate, Judged, Measures, Paired
from nsbench.report.gate.conditions import Condition
from nsbench.report.gate.judge import judge
from nsbench.results import read_results
from nsbench.runfolder import RunFolder

MIN_EFFECT = 0.2
"""Percentage points that a regression must lie beyond, where nothing else is said."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """What is gated, and how strictly."""

    conditions: tuple[Condition, ...]
    min_effect: float = MIN_EFFECT
    """Percentage points that a regression must lie beyond."""
    baselines: tuple[RunFolder, ...] = ()
    """Runs of the baseline that differ in the seed alone."""


def check(runs: Sequence[RunFolder], gate: Gate) -> list[Judged]:
    """Judge every candidate: all runs but the baseline; of one run without a baseline, its models beside its first.

    The tables of the runs must be up to date.

    Raises:
        ConfigError: a condition that cannot be judged, or runs that cannot be compared.
        DataError: damaged or missing records.
    """
    if gate.baselines:
        known = {folder.root.resolve() for folder in gate.baselines}
        candidates = [folder for folder in runs if folder.root.resolve() not in known]
        return judge(_beside(gate.baselines, candidates), gate.conditions, gate.min_effect)
    if len(runs) > 1:
        return judge(_beside(runs[:1], runs[1:]), gate.conditions, gate.min_effect)
    return _judge_one(runs[0], gate)


def _judge_one(run: RunFolder, gate: Gate) -> list[Judged]:
    """The models of one run: values of all, differences of all but the first."""
    first, *others = sides_of(run)
    compared = [_candidate(run, other, [first]) for other in others]
    alone = _candidate(run, first, [])
    of_values = [condition for condition in gate.conditions if not condition.of_difference]
    judged = judge([alone], of_values if others else gate.conditions, gate.min_effect)
    return judged + judge(compared, gate.conditions, gate.min_effect)


def _beside(baselines: Sequence[RunFolder], runs: Sequence[RunFolder]) -> list[Candidate]:
    """Every model of the runs beside the one of its name in each baseline, or beside the baseline's only one."""
    if not runs:
        raise ConfigError("every run is one of the baseline; name a candidate as well")
    sides = [sides_of(folder) for folder in baselines]
    _require_distinct(sides)
    return [
        _candidate(run, side, [_counterpart(side, models) for models in sides])
        for run in runs
        for side in sides_of(run)
    ]


def _require_distinct(baselines: Sequence[Sequence[Side]]) -> None:
    """Refuse a seed that is there twice: copies would hide the variance that they are to show."""
    seen: dict[tuple[str, ...], Side] = {}
    for models in baselines:
        same = seen.setdefault(tuple(model.answers_of for model in models), models[0])
        if same != models[0]:
            raise ConfigError(
                f"the baselines {same.run} and {models[0].run} hold the same weights and images; name runs of "
                "different seeds"
            )


def _counterpart(side: Side, models: Sequence[Side]) -> Side:
    if len(models) == 1:
        return models[0]
    for model in models:
        if model.label == side.label:
            return model
    raise ConfigError(
        f"the baseline {models[0].run} has {len(models)} models and none is called {side.label!r}; take a baseline of "
        "one model, or of the same names"
    )


def _candidate(folder: RunFolder, side: Side, baselines: Sequence[Side]) -> Candidate:
    own = read_results(folder.results)
    alone = own[(own["versus"] == "") & ((own["model"] == side.label) | (own["generation"] == side.generation))]
    names = dict.fromkeys(one.name for one in baselines)
    return Candidate(
        name=side.name,
        own=Measures(alone),
        baseline=" and ".join(names) if len(names) < 3 else f"the mean of {len(names)} runs",
        paired=tuple(_paired(one, side) for one in baselines),
        seeds=_seeds_apart(side, baselines),
        unfinished=tuple(one.name for one in baselines if not one.is_finished),
        resolution=2 / (baselines[0].config.replicates + 1) if baselines else 0.0,
    )


def _seeds_apart(side: Side, baselines: Sequence[Side]) -> tuple[str, str] | None:
    if len(baselines) != 1 or not side.seed or side.seed == baselines[0].seed:
        return None
    return baselines[0].seed, side.seed


def _paired(first: Side, other: Side) -> Paired:
    found = pair(first, other)
    values = found.rows[found.rows["versus"] == ""]
    return Paired(
        baseline=Measures(values[values["model"] == FIRST]),
        candidate=Measures(values[values["model"] == OTHER]),
        differences=Measures(found.rows[found.rows["versus"] == "first"]),
        apart=found.apart,
        common=found.common,
    )
