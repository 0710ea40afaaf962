"""What is gated: a candidate's measures beside its baseline's, and what was found of each cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from nsbench.report.gate.conditions import Condition
from nsbench.report.gate.significance import Effect
from nsbench.report.rows import NOT_EVALS, REMARKS, SHARES, Key, listed
from nsbench.report.words import scale_of

Verdict = Literal["passed", "failed", "unknown"]


class Measures:
    """Rows of one model, or its differences, by what they measure."""

    def __init__(self, frame: pd.DataFrame) -> None:
        measured = frame[~frame["eval"].isin(NOT_EVALS) & ~frame["metric"].isin((*REMARKS, *SHARES))]
        self.frame = measured
        self.by_key: dict[Key, Any] = {Key(r.eval, r.metric, r.subset, r.level): r for r in listed(measured)}

    def value(self, key: Key) -> float:
        """As it is shown; nan where there is none."""
        row = self.by_key.get(key)
        return math.nan if row is None else float(row.value) * scale_of(row.metric, row.unit)

    def has(self, key: Key) -> bool:
        return not math.isnan(self.value(key))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired:
    """A candidate beside one baseline, on the images that both answered."""

    baseline: Measures
    candidate: Measures
    differences: Measures
    apart: Mapping[str, str]
    """Evals that are not paired, and why."""
    common: Mapping[str, tuple[int, int]]
    """Images of each paired eval that both answered, and all of the baseline's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that is gated."""

    name: str
    own: Measures
    """Its values over all of its own images."""
    baseline: str = ""
    """What it is compared with."""
    paired: tuple[Paired, ...] = ()
    """Beside its baseline; beside each seed of it; none without a baseline."""
    seeds: tuple[str, str] | None = None
    """The baseline's and the candidate's, where training differs in them and no other seed tells what that does."""
    unfinished: tuple[str, ...] = ()
    """Baselines that have not measured everything, so that not everything is gated."""
    resolution: float = 0.0
    """The smallest p value of the bootstrap behind the differences."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One condition on one cell of one candidate. Numbers are in the unit that is shown."""

    candidate: Candidate
    key: Key
    condition: Condition
    verdict: Verdict
    reason: str = ""
    """Why nothing can be said, where that is so."""
    before: float = math.nan
    """The baseline's value."""
    value: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    """95 % interval of the difference, or of the value where the condition is about that."""
    n: int = 0
    unit: str = ""
    higher_is_better: bool = True
    effect: Effect | None = None
    """Of a difference that is known."""
    num_gated: int = 1
    """Cells that are corrected for together, of a regression."""

    @property
    def fails(self) -> bool:
        """What is not known does not pass."""
        return self.verdict != "passed"
