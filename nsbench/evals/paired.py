"""From predictions of several generations on the same units to rows: values, intervals and paired differences.

The resampling unit is the image (the video for ImageNet-P). One set of bootstrap weights, drawn from the number of
units, serves every generation and cell, so that ratios and differences are bootstrapped jointly (Efron and
Tibshirani 1993, chapters 13 and 15).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from nsbench.evals.base import Records
from nsbench.evals.resampling import SEED, counts_of, gaps_by_bin, is_ascending, places_of, weights_of
from nsbench.metrics.bootstrap import (
    bootstrap_means_of,
    bootstrap_shares,
    resample_indices,
)
from nsbench.metrics.intervals import (
    bootstrap_p_value,
    mcnemar_p_value,
    paired_difference_interval,
    percentile_interval,
    wilson_interval,
)
from nsbench.results import Row
from nsbench.runfolder import is_generation

Floats = npt.NDArray[np.float64]
Name = TypeVar("Name", bound=Hashable)
Reference = Literal["gen0", "previous", "control", "first"]

_TINY = 1e-12  # replicates closer together than this differ by rounding alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a row measures, whichever generation it is of."""

    eval: str
    metric: str
    subset: str = "all"
    level: str = ""
    unit: str = "fraction"
    higher_is_better: bool
    protocol: str = ""
    """What the eval's protocol does not say."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap replicates."""

    draws: Floats
    """[1 + B]: the measured value, then the replicates of all generations' common resamples."""
    outcomes: npt.NDArray[np.bool_] | None = None
    """[N], where the number is a plain proportion: it then gets Wilson's interval and McNemar's test."""

    @property
    def value(self) -> float:
        return float(self.draws[0])

    def interval(self) -> tuple[float, float]:
        """95 % interval of the value."""
        if self.outcomes is not None:
            return wilson_interval(int(self.outcomes.sum()), len(self.outcomes))
        return _percentiles(self.draws[1:])

    def minus(self, other: Estimate) -> tuple[float, tuple[float, float], float]:
        """Paired difference to another generation: value, 95 % interval and p value."""
        deltas = self.draws - other.draws
        deltas[np.abs(deltas) < _TINY] = 0
        if self.outcomes is None or other.outcomes is None:
            return float(deltas[0]), _percentiles(deltas[1:]), float(bootstrap_p_value(deltas[1:]))
        p_value = mcnemar_p_value(self.outcomes, other.outcomes)
        interval = (np.nan, np.nan)  # a model against itself
        if np.isfinite(p_value):  # few images tell two good models apart: too few to resample
            interval = paired_difference_interval(self.outcomes, other.outcomes)
        return float(deltas[0]), interval, float(p_value)


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """The units that every generation answered in every cell, in one order, with the weights that resample them.

    A generation that lacks one of the cells is left out.
    """

    records: Records
    cells: tuple[str, ...]
    replicates: int
    keep: Callable[[npt.NDArray[np.str_]], npt.NDArray[np.bool_]] | None = None
    """Which units count, from their ids [N]; None: all."""

    @functools.cached_property
    def generations(self) -> tuple[str, ...]:
        """Names of the measured generations; none where they have no unit in common."""
        return self._complete if len(self.ids) else ()

    @functools.cached_property
    def ids(self) -> npt.NDArray[np.str_]:
        """[N] ids common to all generations and cells, sorted: the order of the records does not matter."""
        distinct = [ids if is_ascending(ids) else np.unique(ids) for ids in self._orders[0]]
        if not distinct:
            return np.empty(0, dtype=str)
        common: npt.NDArray[np.str_] = functools.reduce(np.intersect1d, distinct)
        return common if self.keep is None else common[self.keep(common)]

    @functools.cached_property
    def weights(self) -> npt.NDArray[np.float32]:
        """[B, N] of the bootstrap, the same for every generation, cell and eval of N units."""
        return weights_of(len(self.ids), self.replicates)

    def array(self, generation: str, name: str, cell: str = "", axis: int = 0) -> npt.NDArray[Any]:
        """One array of a cell (the first, where none is named) over `ids`, units moved to its first axis."""
        place = cell or self.cells[0]
        rows = self._rows[self._orders[1][generation, place]]
        return np.moveaxis(self.records[generation][place][name], axis, 0)[rows]

    @functools.cached_property
    def _complete(self) -> tuple[str, ...]:
        return tuple(name for name, cells in self.records.items() if all(cell in cells for cell in self.cells))

    @functools.cached_property
    def _orders(self) -> tuple[list[npt.NDArray[np.str_]], dict[tuple[str, str], int]]:
        """The different id arrays, usually one, and which of them each generation and cell has.

        Compared once: in a run folder every look at a cell's ids is a look at a file.
        """
        orders: list[npt.NDArray[np.str_]] = []
        order_of = {}
        for name in self._complete:
            for cell in self.cells:
                ids = self.records[name][cell]["ids"]
                known = next((k for k, o in enumerate(orders) if ids is o or np.array_equal(ids, o)), len(orders))
                if known == len(orders):
                    orders.append(ids)
                order_of[name, cell] = known
        return orders, order_of

    @functools.cached_property
    def _rows(self) -> list[npt.NDArray[np.int64]]:
        """Where `ids` stand in each of `_orders`."""
        return [places_of(ids, self.ids) for ids in self._orders[0]]

    def means(self, outcomes: npt.NDArray[Any]) -> Floats:
        """Column means [1 + B, K] of outcomes [N, K]: measured, then resampled with the common weights."""
        return self.means_of({"": outcomes})[""]

    def means_of(self, outcomes: Mapping[Name, npt.NDArray[Any]]) -> dict[Name, Floats]:
        """`means` by name, of outcomes [N, K] by name: one look at the weights, which is what takes the time."""
        if not outcomes:
            return {}
        if all(columns.dtype == np.bool_ for columns in outcomes.values()):
            draws = [bootstrap_shares(columns, self.weights) for columns in outcomes.values()]
            values = list(outcomes.values())
        else:
            values = [columns.astype(np.float64) for columns in outcomes.values()]
            draws = bootstrap_means_of(values, self.weights)
        measured = (columns.mean(axis=0, keepdims=True) for columns in values)
        return {
            name: np.concatenate(parts) for name, parts in zip(outcomes, zip(measured, draws, strict=True), strict=True)
        }

    def resampled(
        self,
        statistic: Callable[..., float],
        *columns: npt.NDArray[Any],
        at_once: Callable[..., Floats] | None = None,
    ) -> Estimate:
        """A statistic of whole columns [N] that is no mean, recomputed on every resample.

        A calibration error grows when units repeat, so the replicates are shifted to have their mean at the value;
        the statistic lies in 0..1.

        Args:
            at_once: the statistic [B] of all resamples, from counts [B, N] and the columns
                (`nsbench.metrics.resamples`); None: it is computed of one after the other.
        """
        value = statistic(*columns)
        if at_once is not None:
            draws = at_once(counts_of(len(self.ids), self.replicates), *columns)
        else:
            indices = resample_indices(len(self.ids), replicates=self.replicates, seed=SEED)
            draws = np.array([statistic(*(column[rows] for column in columns)) for rows in indices], dtype=np.float64)
        return Estimate(np.concatenate([[value], np.clip(draws - draws.mean() + value, 0, 1)]))

    def calibration_error(
        self, confidence: npt.NDArray[Any], correct: npt.NDArray[Any], *, num_bins: int = 15
    ) -> Estimate:
        """`calibration_errors` of one set of answers."""
        return self.calibration_errors({"": confidence}, {"": correct}, num_bins=num_bins)[""]

    def calibration_errors(
        self,
        confidence: Mapping[Name, npt.NDArray[Any]],
        correct: Mapping[Name, npt.NDArray[Any]],
        *,
        num_bins: int = 15,
    ) -> dict[Name, Estimate]:
        """`expected_calibration_error` of confidences and outcomes [N] or [N, K] by name, K answers a unit pooled.

        The error is a sum of absolute means of bins, so its resamples are one matrix product. They are shifted as in
        `resampled`.
        """
        by_bin = {g: gaps_by_bin(confidence[g], correct[g], num_bins) for g in confidence}
        estimates = {}
        for name, means in self.means_of(by_bin).items():
            draws = np.abs(means).sum(axis=1) / (confidence[name].size // max(len(confidence[name]), 1))
            draws[1:] = np.clip(draws[1:] - draws[1:].mean() + draws[0], 0, 1)
            estimates[name] = Estimate(draws)
        return estimates

    def proportion(self, quantity: Quantity, outcomes: Mapping[str, npt.NDArray[np.bool_]]) -> list[Row]:
        """Rows of a share of units, from outcomes bool [N] by generation."""
        return self.rows(quantity, {name: share(hits) for name, hits in outcomes.items()})

    def mean(self, quantity: Quantity, outcomes: Mapping[str, npt.NDArray[Any]]) -> list[Row]:
        """Rows of a mean over units, from outcomes [N] by generation."""
        means = self.means_of({name: row[:, None] for name, row in outcomes.items()})
        return self.rows(quantity, {name: Estimate(draws[:, 0]) for name, draws in means.items()})

    def rows(self, quantity: Quantity, estimates: Mapping[str, Estimate]) -> list[Row]:
        """The value of each generation, followed by its paired differences."""
        rows = []
        for name, estimate in estimates.items():
            rows.append(self.one(quantity, name, estimate))
            for versus, other in self.references(name, estimates):
                value, (low, high), p_value = estimate.minus(estimates[other])
                row = self.one(quantity, name, estimate, versus=versus)
                rows.append(dataclasses.replace(row, value=value, ci_low=low, ci_high=high, p_value=p_value))
        return rows

    def references(self, name: str, measured: Collection[str]) -> Iterator[tuple[Reference, str]]:
        """What model `name` is compared with; the first of plain models is the first of the records."""
        return references(name, measured, next(iter(self.records)))

    def one(
        self, quantity: Quantity, name: str, estimate: Estimate, *, versus: Reference | Literal[""] = "", n: int = -1
    ) -> Row:
        """The row of one estimate of one model; `n` units, or all."""
        low, high = estimate.interval()
        return Row(
            generation=name,
            versus=versus,
            value=estimate.value,
            ci_low=low,
            ci_high=high,
            n=len(self.ids) if n < 0 else n,
            **dataclasses.asdict(quantity),
        )


def share(outcomes: npt.NDArray[np.bool_]) -> Estimate:
    """A share of units from outcomes bool [N]; its intervals and tests are exact ones, and need no resamples."""
    return Estimate(np.array([outcomes.mean()]), outcomes)


def references(name: str, generations: Collection[str], first: str) -> Iterator[tuple[Reference, str]]:
    """What model `name` is compared with, of those that were measured.

    A generation: with the teacher, the one before, and the control. Another model: with `first`.
    """
    if not is_generation(name):
        if name != first and first in generations:
            yield "first", first
        return
    if name != "0" and "0" in generations:
        yield "gen0", "0"
    if name != "control":
        if (previous := str(int(name) - 1)) in generations:
            yield "previous", previous
        if "control" in generations:
            yield "control", "control"


def _percentiles(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval; nan where all replicates agree, which says nothing about the spread."""
    known = draws[np.isfinite(draws)]
    if len(known) == 0 or np.ptp(known) < _TINY:
        return np.nan, np.nan
    return percentile_interval(draws)
