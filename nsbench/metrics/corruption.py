"""ImageNet-C: corruption error and its means (Hendrycks and Dietterich 2019, arXiv:1903.12261, section 4.1).

Inputs are errors as fractions of 1; what is relative to a baseline comes out in percent, as it is published.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_SEVERITIES = 5
ROUNDING = 1e-6  # forgiven when fractions are told from percent

FloatArray = NDArray[np.float64]


def unnormalised_ce(errors: ArrayLike) -> FloatArray:
    """uCE_c = mean over s of E_{s,c}: what hendrycks/robustness ImageNet-C/test.py prints.

    errors: [..., 5] float, top-1 error in 0..1 at each severity.
    Returns [...] float64 in 0..1; nan where an error is nan.
    Raises ValueError if the last axis is not the five severities or an error is outside 0..1.
    """
    return np.asarray(_severities(errors, "errors").mean(axis=-1))


def corruption_error(errors: ArrayLike, baseline: ArrayLike) -> FloatArray:
    """CE_c = 100 * sum over s of E_{s,c} / sum over s of E^baseline_{s,c} (arXiv:1903.12261, section 4.1).

    errors, baseline: [..., 5] float in 0..1, broadcast against each other.
    Returns [...] float64 in percent; nan where the baseline's errors sum to 0.
    Raises ValueError if the last axis is not the five severities or an error is outside 0..1.
    """
    total = _severities(errors, "errors").sum(axis=-1)
    return percent_of_baseline(total, _severities(baseline, "baseline").sum(axis=-1))


def relative_corruption_error(
    errors: ArrayLike, clean_error: ArrayLike, baseline: ArrayLike, baseline_clean_error: ArrayLike
) -> FloatArray:
    """Relative CE_c: the degradation against the baseline's (arXiv:1903.12261, section 4.1).

    100 * sum over s of (E_{s,c} - E_clean) / sum over s of (E^baseline_{s,c} - E^baseline_clean).

    errors, baseline: [..., 5] float in 0..1. clean_error, baseline_clean_error: [...] float in 0..1, or one number.
    Returns [...] float64 in percent, negative where one of the two is better corrupted than clean;
    nan where the baseline does not degrade at all.
    Raises ValueError if the last axis is not the five severities or an error is outside 0..1.
    """
    degradation = _severities(errors, "errors") - _fractions(clean_error, "clean_error")[..., None]
    reference = _severities(baseline, "baseline") - _fractions(baseline_clean_error, "baseline_clean_error")[..., None]
    return percent_of_baseline(degradation.sum(axis=-1), reference.sum(axis=-1))


def mean_ce(ces: ArrayLike) -> FloatArray:
    """Plain mean of the corruptions' figures: mCE, relative mCE, mFR (arXiv:1903.12261, section 4.1).

    ces: [..., C] float, one figure a corruption; the published mCE has C = 15, the published mFR C = 10.
    Returns [...] float64 in the unit of `ces`; nan where a figure is nan or there is none: a mean over those
    that happen to be there would be another benchmark.
    Raises ValueError if `ces` is a scalar.
    """
    figures = np.asarray(ces, dtype=np.float64)
    if figures.ndim == 0:
        raise ValueError("ces must have an axis of corruptions, got a scalar")
    if figures.shape[-1] == 0:
        return np.full(figures.shape[:-1], np.nan)
    return np.asarray(figures.mean(axis=-1))


def percent_of_baseline(value: ArrayLike, baseline: ArrayLike) -> FloatArray:
    """100 * value / baseline, nan where the baseline is 0: the form of CE, relative CE and FR.

    value, baseline: [...] float, broadcast against each other. Returns [...] float64 in percent.
    Raises ValueError if the shapes do not broadcast.
    """
    numerator, denominator = np.asarray(value, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    return np.asarray(100.0 * numerator / np.where(denominator == 0.0, np.nan, denominator))


def _severities(errors: ArrayLike, name: str) -> FloatArray:
    array = _fractions(errors, name)
    if array.ndim == 0 or array.shape[-1] != NUM_SEVERITIES:
        raise ValueError(f"{name} must be [..., {NUM_SEVERITIES}], got {array.shape}")
    return array


def _fractions(errors: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(errors, dtype=np.float64)
    if bool(np.any((array < -ROUNDING) | (array > 1.0 + ROUNDING))):
        raise ValueError(f"{name} must be fractions in 0..1, not percent")
    return array
