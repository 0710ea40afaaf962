"""How sure a number is: intervals, paired tests and their correction for many comparisons.

The resamples that some of them are read off are drawn in `nsbench.metrics.bootstrap`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]

NAN = float("nan")
MAX_UNDEFINED_REPLICATES = 0.05
"""With a larger share of undefined replicates, those left are no sample of the statistic any more."""


def wilson_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927, JASA 22:209).

    successes: 0..n, fractional where images are weighted. n: the number of trials. level: 0..1, exclusive.
    Returns (low, high) in 0..1; (nan, nan) for n = 0.
    Raises ValueError if successes, n or level is out of range.
    """
    _check_level(level)
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0..n, got {successes} of {n}")
    if n == 0:
        return NAN, NAN
    z2 = float(special.ndtri(0.5 + level / 2)) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return low, high


def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of a few runs with Student's interval: for seeds, where no image count says how sure the mean is.

    values: [R] float, one number a run. level: 0..1, exclusive.
    Returns (mean, low, high); low and high are nan for fewer than 2 values, the mean too for none.
    Raises ValueError if values is not a vector or level is out of range.
    """
    _check_level(level)
    runs = _vector(values, "values")
    if runs.size == 0:
        return NAN, NAN, NAN
    mean = float(runs.mean())
    if runs.size < 2:
        return mean, NAN, NAN
    half = float(special.stdtrit(runs.size - 1, 0.5 + level / 2) * runs.std(ddof=1) / np.sqrt(runs.size))
    return mean, mean - half, mean + half


def percentile_interval(replicates: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron and Tibshirani 1993, section 13.3).

    replicates: [B] float; those that are not finite are left out. level: 0..1, exclusive.
    Returns (low, high); (nan, nan) if more than 5 % of the replicates, or all, are not finite.
    Raises ValueError if replicates is not a vector or level is out of range.
    """
    _check_level(level)
    finite = _finite_replicates(replicates)
    if finite.size == 0:
        return NAN, NAN
    low, high = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def bootstrap_p_value(delta_replicates: ArrayLike) -> float:
    """Two-sided p value of "the difference is 0", read off the replicates of the difference.

    2 * min(P(delta <= 0), P(delta >= 0)), at most 1, with (k + 1) / (B + 1) for each P, so that no finite number of
    replicates claims certainty (Davison and Hinkley 1997, section 4.2).

    delta_replicates: [B] float; those that are not finite are left out.
    Returns a float in 0..1; nan if every replicate is 0, or more than 5 % are not finite.
    Raises ValueError if delta_replicates is not a vector.
    """
    finite = _finite_replicates(delta_replicates)
    if not finite.any():
        return NAN
    tail = min(np.count_nonzero(finite <= 0.0), np.count_nonzero(finite >= 0.0))
    return min(1.0, 2.0 * (tail + 1) / (finite.size + 1))


def mcnemar_p_value(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Exact two-sided McNemar test that two models err equally often on the same images (McNemar 1947).

    Of the images that exactly one model has right, each is as likely to be either's: a binomial with p = 1/2.

    correct_a, correct_b: [N] bool, in one order of images.
    Returns a float in 0..1; nan if no image tells the two apart.
    Raises ValueError if the shapes do not fit.
    """
    _, only_a, only_b = _discordant(correct_a, correct_b)
    discordant = only_a + only_b
    if discordant == 0:
        return NAN
    return min(1.0, 2.0 * float(special.bdtr(min(only_a, only_b), discordant, 0.5)))


def paired_difference_interval(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Score interval of the difference of two accuracies on the same images, a less b (Tango 1998, Stat. Med. 17:891).

    The differences that a score test does not reject, given how many images only one of the two has right; at 0 it is
    McNemar's test. The percentile bootstrap of so few images falls short where they are fewer than about ten: at 200
    images and 97 % accuracy its 95 % intervals hold the truth in 88 % of test sets.

    correct_a, correct_b: [N] bool, in one order of images. level: 0..1, exclusive.
    Returns (low, high) in -1..1, about +-4 / N where no image tells the two apart; (nan, nan) for N = 0.
    Raises ValueError if the shapes do not fit or level is out of range.
    """
    _check_level(level)
    n, only_a, only_b = _discordant(correct_a, correct_b)
    if n == 0:
        return NAN, NAN
    z = float(special.ndtri(0.5 + level / 2))
    return _tango_low(n, only_a, only_b, z), -_tango_low(n, only_b, only_a, z)


def holm(p_values: ArrayLike) -> FloatArray:
    """P values adjusted for their number by Holm's step-down method (Holm 1979, Scand. J. Stat. 6:65).

    p_values: [K] float in 0..1; nan is no comparison: it stays nan and does not count in K.
    Returns [K] float64 in the order given, at most 1 and never below the p value itself.
    Raises ValueError if p_values is not a vector or a value is outside 0..1.
    """
    p = _vector(p_values, "p_values")
    if bool(np.any((p < 0.0) | (p > 1.0))):
        raise ValueError("p_values must be in 0..1")
    num_tests = int(np.count_nonzero(~np.isnan(p)))
    order = np.argsort(p, kind="stable")[:num_tests]  # nan sorts last
    adjusted = np.full(p.shape, np.nan)
    stepped = p[order] * np.arange(num_tests, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def _discordant(correct_a: ArrayLike, correct_b: ArrayLike) -> tuple[int, int, int]:
    """How many images there are, that only a has right, and that only b has right."""
    a, b = np.asarray(correct_a, dtype=np.bool_), np.asarray(correct_b, dtype=np.bool_)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"correct_a and correct_b must be [N] and [N], got {a.shape} and {b.shape}")
    return a.size, int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a))


def _tango_low(n: int, only_a: int, only_b: int, z: float) -> float:
    """The smallest difference that is not rejected: where (only_a - only_b - n * d) / its standard error is z."""
    from scipy.optimize import brentq

    def excess(d: float) -> float:
        linear, constant = (2 * n - only_a + only_b) * d - only_a - only_b, -only_b * d * (1 - d)
        share_b = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)  # most likely, given d
        return float(only_a - only_b - n * d - z * np.sqrt(max(n * (2 * share_b + d * (1 - d)), 0.0)))

    estimate = (only_a - only_b) / n
    below = estimate - 1e-9  # at the estimate itself the standard error can be 0 as well
    return -1.0 if only_b == n else float(brentq(excess, -1.0, below, xtol=1e-12))


def _finite_replicates(replicates: ArrayLike) -> FloatArray:
    """The finite ones, or none of them where too many are undefined."""
    values = _vector(replicates, "replicates")
    finite = values[np.isfinite(values)]
    return finite if values.size - finite.size <= MAX_UNDEFINED_REPLICATES * values.size else finite[:0]


def _vector(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {array.shape}")
    return array


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level}")
