"""ImageNet-C: corruption error and its means (Hendrycks and Dietterich 2019, arXiv:1903.12261, section 4.1).

Inputs are errors as fractions of 1; what is relative to a baseline comes out in percent, as it is published. By name:
`mean_corruption_error`, `relative_mean_corruption_error`; on arrays, with any leading axes: the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nsbench.metrics.named import in_order
from nsbench.metrics.reference import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, CORRUPTIONS, EXTRA_CORRUPTIONS

NUM_SEVERITIES = 5
ROUNDING = 1e-6  # forgiven when fractions are told from percent

FloatArray = NDArray[np.float64]


def mean_corruption_error(
    error_by_corruption: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike] | None = None
) -> float:
    """mCE: the mean over ImageNet-C's 15 corruptions of CE, in percent (arXiv:1903.12261, section 4.1).

    CE_c = 100 * sum over s of E_{s,c} / sum over s of E^baseline_{s,c}. Every severity has the same images, so a mean
    over the severities says as much as the five errors.

    error_by_corruption: name -> five top-1 errors (severities 1..5) or their mean, as fractions in 0..1. All 15 of
    `nsbench.metrics.CORRUPTIONS`; the 4 extras (`EXTRA_CORRUPTIONS`) may be there too and do not count, so that what
    comes out is always the published quantity. baseline: the same of the model that is 100; None is AlexNet
    (`nsbench.metrics.ALEXNET_ERRORS`, measured on the released JPEGs without resizing).
    Returns percent, lower is better; nan where an error is nan or a baseline's errors are all 0.
    Raises ValueError if a name is unknown or missing, an entry is neither five fractions nor one, or an error is
    outside 0..1.

    >>> round(mean_corruption_error(ALEXNET_ERRORS), 6)
    100.0
    """
    errors = _mean_errors(error_by_corruption, "mCE")
    return float(mean_ce(percent_of_baseline(errors, _baseline_errors(baseline))))


def relative_mean_corruption_error(
    error_by_corruption: Mapping[str, ArrayLike],
    clean_error: float,
    baseline: Mapping[str, ArrayLike] | None = None,
    baseline_clean_error: float | None = None,
) -> float:
    """Relative mCE: how much is lost from clean images to corrupted ones, in percent of what the baseline loses.

    The mean over the 15 of 100 * sum over s of (E_{s,c} - E_clean) / sum over s of (E^baseline_{s,c} -
    E^baseline_clean) (arXiv:1903.12261, section 4.1).

    error_by_corruption, baseline: as in `mean_corruption_error`. clean_error: top-1 error on the clean images, a
    fraction in 0..1. baseline_clean_error: the baseline's; None is AlexNet's 0.43478, and allowed only with AlexNet's
    table.
    Returns percent, lower is better, and above 100 for many good models: it says nothing about accuracy; nan as
    `mean_corruption_error`, and where the baseline does not degrade.
    Raises ValueError as `mean_corruption_error` does, and if a baseline comes without its clean error.
    """
    if baseline is not None and baseline_clean_error is None:
        raise ValueError("a baseline of one's own needs its baseline_clean_error")
    clean_of_baseline = ALEXNET_CLEAN_ERROR if baseline_clean_error is None else baseline_clean_error
    lost = _mean_errors(error_by_corruption, "relative mCE") - _fractions(clean_error, "clean_error")
    lost_by_baseline = _baseline_errors(baseline) - _fractions(clean_of_baseline, "baseline_clean_error")
    return float(mean_ce(percent_of_baseline(lost, lost_by_baseline)))


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


def _baseline_errors(baseline: Mapping[str, ArrayLike] | None) -> FloatArray:
    return _mean_errors(ALEXNET_ERRORS if baseline is None else baseline, "baseline")


def _mean_errors(by_corruption: Mapping[str, ArrayLike], what: str) -> FloatArray:
    """[15] mean errors in the order of `CORRUPTIONS`, from five fractions or one mean each."""
    means = []
    for name, errors in zip(CORRUPTIONS, in_order(by_corruption, CORRUPTIONS, EXTRA_CORRUPTIONS, what), strict=True):
        array = _fractions(errors, f"{what}: errors of {name}")
        if array.shape not in ((), (NUM_SEVERITIES,)):
            raise ValueError(f"{what}: {name} must have {NUM_SEVERITIES} errors or their mean, got {array.shape}")
        means.append(float(array.mean()))
    return np.array(means)


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
