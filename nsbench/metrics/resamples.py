"""Statistics that are no means, of all bootstrap resamples at once: each equals the plain function of every resample.

A resample is given by how often it holds each image, so that what sorts or groups the images is done once for all of
them; equal to the plain functions up to rounding (1e-12).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nsbench.metrics.calibration import debiased_from_bins

FloatArray = NDArray[np.float64]
Counts = NDArray[np.integer]
"""[B, N], each row of sum N."""

_AT_ONCE = 500  # units whose counts are held in double precision


def resampled_debiased_ece(
    counts: Counts, confidence: ArrayLike, correct: ArrayLike, *, num_bins: int = 15
) -> FloatArray:
    """`debiased_expected_calibration_error` [B] of each resample of confidences and outcomes [N]."""
    conf, hits = _vectors(confidence, correct)
    if _undefined(conf):
        return np.full(len(counts), np.nan)
    bin_of = np.searchsorted(np.linspace(0.0, 1.0, num_bins + 1)[1:-1], conf, side="left")
    columns = np.zeros((conf.size, 3, num_bins))
    columns[np.arange(conf.size), :, bin_of] = np.stack([np.ones(conf.size), hits - conf, hits], axis=1)
    size, surplus, right = np.moveaxis(_sums(counts, columns.reshape(conf.size, -1)).reshape(-1, 3, num_bins), 1, 0)
    filled = np.maximum(size, 1.0)
    return debiased_from_bins(size, surplus / filled, right / filled)


def resampled_rms_calibration_error(
    counts: Counts, confidence: ArrayLike, correct: ArrayLike, *, num_per_bin: int = 100, skip_last_bin: bool = False
) -> FloatArray:
    """`rms_calibration_error` [B] of each resample of confidences and outcomes [N].

    Along the images in order of confidence, the sum of (confidence - correctness) is piecewise linear, with a knot
    where a confidence ends; a bin's share of it is read off at the bin's ends.
    """
    conf, hits = _vectors(confidence, correct)
    num_bins = max(conf.size // num_per_bin, 1)
    if _undefined(conf) or (skip_last_bin and num_bins == 1):
        return np.full(len(counts), np.nan)
    ends = np.append(np.arange(num_bins) * float(num_per_bin), conf.size)
    values = np.unique(conf)
    draws = np.empty(len(counts))
    for b, (size, right) in enumerate(_by_confidence(counts, conf, hits)):
        sums = np.interp(ends, np.append(0, np.cumsum(size)), np.append(0, np.cumsum(size * values - right)))
        squares = np.diff(sums) ** 2 / np.diff(ends)
        draws[b] = np.sqrt((squares[:-1] if skip_last_bin else squares).sum() / conf.size)
    return draws


def resampled_aurra(counts: Counts, confidence: ArrayLike, correct: ArrayLike) -> FloatArray:
    """`aurra` [B] of each resample of confidences and outcomes [N]."""
    conf, hits = _vectors(confidence, correct)
    if _undefined(conf):
        return np.full(len(counts), np.nan)
    answered = np.arange(1, conf.size + 1)
    draws = np.empty(len(counts))
    for b, (size, right) in enumerate(_by_confidence(counts, conf, hits)):
        share = np.divide(right, size, out=np.zeros_like(right), where=size > 0)
        draws[b] = (np.cumsum(np.repeat(share[::-1], size[::-1].astype(np.int64))) / answered).mean()
    return draws


def resampled_worst_class_accuracy(
    counts: Counts, correct: ArrayLike, labels: ArrayLike, *, share: float = 0.1, min_per_class: int = 10
) -> FloatArray:
    """`worst_class_accuracy` [B] of each resample of outcomes and classes [N]."""
    hits, truth = np.asarray(correct, dtype=np.bool_), np.asarray(labels)
    if truth.size == 0:
        return np.full(len(counts), np.nan)
    order, starts = _groups(truth)
    draws = np.empty(len(counts))
    for b, row in enumerate(counts):
        drawn = row[order].astype(np.float64)
        size, right = np.add.reduceat(drawn, starts), np.add.reduceat(drawn * hits[order], starts)
        enough = size >= max(min_per_class, 1)
        accuracy = np.sort(right[enough] / size[enough])
        draws[b] = accuracy[: int(np.ceil(share * accuracy.size))].mean() if accuracy.size else np.nan
    return draws


def _sums(counts: Counts, columns: FloatArray) -> FloatArray:
    """Of each resample, the sums [B, K] of columns [N, K]."""
    sums = np.zeros((len(counts), columns.shape[1]))
    for start in range(0, len(columns), _AT_ONCE):
        units = slice(start, start + _AT_ONCE)
        sums += counts[:, units].astype(np.float64) @ columns[units]
    return sums


def _by_confidence(counts: Counts, conf: FloatArray, hits: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Of each resample, the images [G] of each confidence, ascending, and how many of them are right [G]."""
    order, starts = _groups(conf)
    right = hits[order]
    for row in counts:
        drawn = row[order].astype(np.float64)
        yield np.add.reduceat(drawn, starts), np.add.reduceat(drawn * right, starts)


def _groups(values: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [N] by ascending value, and where each value begins among them [G]."""
    order = np.argsort(values, kind="stable")
    return order, np.unique(values[order], return_index=True)[1]


def _vectors(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """As the plain functions take them; those have checked them on the measured images."""
    conf, hits = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    return np.minimum(conf, 1.0), hits


def _undefined(confidence: FloatArray) -> bool:
    return confidence.size == 0 or bool(np.isnan(confidence).any())
