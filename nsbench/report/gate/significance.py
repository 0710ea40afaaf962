"""Whether differences lie beyond a least effect, all of them together, from their 95 % intervals alone.

Rows carry no replicates. An interval's half that faces the limit is taken for that of a normal quantile, so a half
width at level L is the one at 95 % times z(L) / z(95 %): exact for normal replicates, and close for the others at the
few more quantiles that Holm's steps ask for (Efron and Tibshirani 1993, chapter 12, on normal intervals). Where
a stored p value is finer than the bootstrap resolves it (McNemar's exact test), it must reject as well.

Between seeds, the candidate is one more draw: its distance to the mean of m runs has the prediction interval
t(m - 1) * s * sqrt(1 + 1/m) (Geisser 1993, Predictive Inference: normal observations, one to come). Seeds and images
are independent, so the half widths of both are added as squares, the method of variance estimates recovery (Zou and
Donner 2008, Stat. Med. 27:1693).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from nsbench.metrics.intervals import holm

LEVEL = 0.95
"""Of all intervals together; a regression lies beyond on one side alone, which leaves half of the rest."""

_TAIL = (1 - LEVEL) / 2
_Z = float(special.ndtri(1 - _TAIL))
_LEAST_TAIL = 1e-15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference, positive where it is for the worse, in the unit that is shown (points)."""

    worse: float
    low: float
    """Lower end of its 95 % interval over images; nan where there is none."""
    high: float
    p_value: float = math.nan
    """Two-sided, of no difference."""
    resolution: float = 0.0
    """The smallest p value that the bootstrap can give, 2 / (B + 1)."""
    seed_spread: float = 0.0
    """s * sqrt(1 + 1/m) of the baseline's m seeds, in points."""
    num_seeds: int = 1

    @property
    def half_width(self) -> float:
        """Of the interval over images, on the side of no difference."""
        near = self.worse - self.low
        return near if near > 0 else (self.high - self.low) / 2

    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference, with the variance between seeds where it is known."""
        if not self.seed_spread:
            return self.low, self.high
        seeds = self.seed_spread * float(special.stdtrit(self.num_seeds - 1, 1 - _TAIL))
        below, above = max(0.0, self.worse - self.low), max(0.0, self.high - self.worse)
        return self.worse - math.hypot(below, seeds), self.worse + math.hypot(above, seeds)


def tail_probability(effect: Effect, least: float) -> float:
    """One-sided p value of "it is no more than `least` worse".

    The tail at which the interval's near end would reach `least`. nan where the difference has no interval.
    """
    excess = effect.worse - least
    if math.isnan(effect.low) or math.isnan(effect.high) or math.isnan(effect.worse):
        return math.nan
    if excess <= 0:
        return 1.0
    p = _reached(excess, effect.half_width / _Z, effect.seed_spread, effect.num_seeds - 1)
    return max(p, effect.p_value / 2) if effect.p_value > effect.resolution else p


def _reached(excess: float, error: float, spread: float, freedom: int) -> float:
    """The tail whose half width, of images (normal) and seeds (t) together, is `excess`."""
    if not spread:
        return float(special.ndtr(-excess / error)) if error > 0 else 0.0

    def beyond(log_tail: float) -> float:
        tail = math.exp(log_tail)
        return math.hypot(special.ndtri(tail) * error, special.stdtrit(freedom, tail) * spread) - excess

    ends = math.log(_LEAST_TAIL), math.log(0.5)
    return _LEAST_TAIL if beyond(ends[0]) <= 0 else math.exp(float(optimize.brentq(beyond, *ends)))


def regressions(effects: Sequence[Effect], least: float) -> list[bool]:
    """Which differences are wholly beyond `least`, Holm-corrected over all of them (Holm 1979).

    A difference without an interval is none of the family, and no regression.
    """
    adjusted = holm(np.array([tail_probability(effect, least) for effect in effects], dtype=np.float64))
    return [bool(p <= _TAIL) for p in adjusted]
