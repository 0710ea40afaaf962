"""Several runs as one table: the rows of every run, their means over seeds, and recipe against recipe."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from nsbench.configfile import differing_keys
from nsbench.errors import ConfigError
from nsbench.metrics.intervals import t_interval
from nsbench.report.records import Records
from nsbench.report.rows import HEADLINES, NOT_EVALS, REMARKS, SELECTED
from nsbench.report.words import AGGREGATE, clean
from nsbench.results import COLUMNS

MAIN_RECIPE = "noisy-student"
"""What the other recipes are compared with, where it is there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gathered:
    """Runs by recipe, the main one first, with their common tables."""

    runs: dict[str, list[Records]]
    names: dict[str, str]
    """Recipe to the `run` of its rows over all seeds."""
    results: pd.DataFrame
    """Rows that the page shows first, then the rest of the single runs."""
    costs: pd.DataFrame
    num_shown: int
    """Rows of `results` that the page may show."""

    @property
    def main(self) -> str:
        return next(iter(self.runs))

    def seeds(self, recipe: str) -> list[str]:
        return [records.text("seed") for records in self.runs[recipe]]

    def rows_of(self, recipe: str, table: str = "results") -> pd.DataFrame:
        """Rows over all seeds of a recipe; the run's own where there is but one seed."""
        frame = self.results if table == "results" else self.costs
        alone = len(self.runs[recipe]) == 1
        name = self.runs[recipe][0].text("name") if alone else self.names[recipe]
        return frame[(frame["run"] == name) & (frame["versus"] != self.main)]

    def against_main(self, recipe: str) -> pd.DataFrame:
        """Rows of a recipe's difference to the main one."""
        frame = self.results
        return frame[(frame["run"] == self.names[recipe]) & (frame["versus"] == self.main)]


def gather(runs: Sequence[Records]) -> Gathered:
    """Group runs by recipe and aggregate.

    Raises:
        ConfigError: the runs must not be put side by side.
    """
    if not runs:
        raise ConfigError("no run folder was given; name one or more")
    _refuse_mixed(runs)
    named = _with_own_names(runs)
    recipes = list(dict.fromkeys(records.text("recipe", "unnamed recipe") for records in named))
    recipes.sort(key=lambda name: name != MAIN_RECIPE)
    by_recipe = {
        name: sorted((r for r in named if r.text("recipe", "unnamed recipe") == name), key=_seed_place)
        for name in recipes
    }
    _refuse_double(by_recipe)
    for group in by_recipe.values():
        _refuse_other_config(group)
    labels = {name: AGGREGATE if name == recipes[0] else f"{AGGREGATE}: {name}" for name in recipes}
    over, single, costs = [], [], [records.costs for group in by_recipe.values() for records in group]
    for name, group in by_recipe.items():
        if len(group) > 1:
            over.append(aggregate(pd.concat([r.results for r in group]), labels[name]))
            costs.append(aggregate(pd.concat([r.costs for r in group]), labels[name]))
            single += [records.results for records in group]
        else:
            over.append(group[0].results)
        if name != recipes[0]:
            over.append(_against(by_recipe[recipes[0]], group, labels[name], recipes[0]))
    main, others = over[0], over[1:]
    first = [main, *(frame[_is_summary(frame)] for frame in others), *(frame[_is_headline(frame)] for frame in single)]
    rest = [*(frame[~_is_summary(frame)] for frame in others), *(frame[~_is_headline(frame)] for frame in single)]
    return Gathered(
        runs=by_recipe,
        names=labels,
        results=_stack([*first, *rest]),
        costs=_stack(costs),
        num_shown=sum(map(len, first)),
    )


def _is_summary(frame: pd.DataFrame) -> pd.Series[bool]:
    """What the page shows of the recipes that are not the main one."""
    whole = (frame["subset"] == "all") | ~frame["eval"].isin(["imagenet-c", "imagenet-p", "pseudo-labels"])
    return whole | frame["metric"].isin(REMARKS)


def _is_headline(frame: pd.DataFrame) -> Any:
    """What the page shows of a run that is one seed of several."""
    keys = frame[["eval", "metric", "subset", "level"]].itertuples(index=False, name=None)
    return np.array([key in HEADLINES or key[1] in REMARKS for key in keys], dtype=bool)


def aggregate(frame: pd.DataFrame, run: str) -> pd.DataFrame:
    """One row a measure: the mean over seeds with its t interval; for differences a paired t test as well.

    A seed without a value makes the mean nan: which seeds have one may depend on how they fared. So do seeds that all
    agree make the interval nan: they say nothing about the spread.

    Raises:
        ConfigError: seeds of one recipe were measured under different protocols.
    """
    groups: dict[tuple[str, ...], list[Any]] = {}
    for row in frame[~frame["metric"].isin((*REMARKS, *SELECTED))].itertuples(index=False):  # each is of one seed alone
        groups.setdefault(_measure(row), []).append(row)
    rows: list[dict[str, Any]] = []
    for group in groups.values():
        _refuse_protocols(group)
        mean, low, high, p_value = paired(np.array([row.value for row in group]))
        p_value = p_value if group[0].versus else math.nan
        mine = {
            "run": run,
            "seed": "",
            "value": mean,
            "ci_low": low,
            "ci_high": high,
            "p_value": p_value,
            "n": len(group),
        }
        rows.append(group[0]._asdict() | mine)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _measure(row: Any) -> tuple[str, ...]:
    return (row.generation, row.eval, row.subset, row.level, row.metric, row.versus)


def paired(values: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, t interval and two-sided p value of the mean's being 0."""
    if np.isnan(values).any():
        return (math.nan,) * 4
    mean, low, high = t_interval(values)
    if len(values) < 2 or np.ptp(values) < 1e-12:
        return mean, math.nan, math.nan, math.nan
    statistic = mean / (values.std(ddof=1) / math.sqrt(len(values)))
    return mean, low, high, float(2 * stats.t.sf(abs(statistic), len(values) - 1))


def _refuse_protocols(group: list[Any]) -> None:
    other = next((row for row in group if row.protocol != group[0].protocol), None)
    if other is not None:
        raise ConfigError(
            f"runs {group[0].run} and {other.run} measured {other.eval} under different protocols "
            f"({clean(group[0].protocol)!r} and {clean(other.protocol)!r}); compare runs of one protocol"
        )


def _against(main: list[Records], other: list[Records], run: str, versus: str) -> pd.DataFrame:
    """Last generation of a recipe minus the same generation of the main one, seed by seed."""
    last = max((_last_student(r.results) for r in other), default=0)
    sides = [{r.text("seed"): _generation_rows(r.results, last) for r in group} for group in (main, other)]
    rows = []
    common = [seed for seed in sides[1] if seed in sides[0]]
    measures = dict.fromkeys(key for seed in common for key in sides[1][seed] if key in sides[0][seed])
    for key in measures:
        pairs = [(sides[0][seed].get(key), sides[1][seed].get(key)) for seed in common]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        first = known[0][1]
        if len({row.protocol for pair in known for row in pair}) > 1:
            raise ConfigError(
                f"recipes {versus} and {run} measured {key[0]} under different protocols; compare them apart"
            )
        mean, low, high, p_value = paired(np.array([b.value - a.value for a, b in known]))
        row = {name: getattr(first, name) for name in COLUMNS}
        row.update(run=run, seed="", versus=versus, value=mean, ci_low=low, ci_high=high, p_value=p_value, n=len(known))
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _last_student(frame: pd.DataFrame) -> int:
    measured = frame[~frame["eval"].isin(NOT_EVALS)]
    return max((int(name) for name in set(measured["generation"]) if name.isdigit()), default=0)


def _generation_rows(frame: pd.DataFrame, generation: int) -> dict[tuple[str, ...], Any]:
    measured = frame[
        ~frame["eval"].isin(NOT_EVALS) & (frame["versus"] == "") & ~frame["metric"].isin((*REMARKS, *SELECTED))
    ]
    one = measured[measured["generation"] == str(generation)]
    return {(str(r.eval), str(r.subset), str(r.level), str(r.metric)): r for r in one.itertuples()}


def _stack(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=list(COLUMNS))


def _seed_place(records: Records) -> tuple[int, str]:
    seed = records.text("seed")
    return (int(seed) if seed.lstrip("-").isdigit() else 0, seed)


def _refuse_mixed(runs: Sequence[Records]) -> None:
    for key in ("dataset", "dataset_title", "preset", "held_out", "data_split"):
        values = {records.text(key): records for records in runs}
        if len(values) > 1:
            listed = ", ".join(f"{clean(r.text('name', '?'))} has {clean(value)!r}" for value, r in values.items())
            raise ConfigError(f"the runs differ in {key} ({listed}); compare runs of one {key}")


def _refuse_double(by_recipe: dict[str, list[Records]]) -> None:
    for name, group in by_recipe.items():
        seeds = [records.text("seed") for records in group]
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            raise ConfigError(f"seed {clean(twice)} of recipe {clean(name)} was given twice; give each seed once")


def _refuse_other_config(group: list[Records]) -> None:
    """Seeds of one recipe differ in nothing but the seed."""
    configs = [(records, tomllib.loads(records.config)) for records in group if records.config]
    for records, config in configs[1:]:
        first, other = configs[0]
        keys = [key for key in differing_keys(other, config) if key != "seed"]
        if keys:
            raise ConfigError(
                f"runs {clean(first.text('name', '?'))} and {clean(records.text('name', '?'))} of one recipe differ in "
                f"{', '.join(keys[:3])}; compare seeds of one config"
            )


def _with_own_names(runs: Sequence[Records]) -> list[Records]:
    """The runs with names that tell their rows apart: `recipe/name`, where two folders have one name."""
    names = [records.text("name") for records in runs]
    renamed = []
    for records, name in zip(runs, names, strict=True):
        own = name
        if names.count(name) > 1:
            own = f"{records.text('recipe', Path(name).name)}/{name}/{records.text('seed')}"
        frames = {key: getattr(records, key).assign(run=own) for key in ("results", "costs")}
        renamed.append(dataclasses.replace(records, run={**records.run, "name": own}, **frames))
    return renamed
