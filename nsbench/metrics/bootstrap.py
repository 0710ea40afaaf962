"""Resamples of images, and what means become under them: the bootstrap as a matrix product.

The resampling unit is the image (the video for ImageNet-P). One draw serves every cell and generation, so that
differences and ratios are resampled together (Efron and Tibshirani 1993, chapters 6, 8 and 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_AT_ONCE = 500  # units whose weights are held in double precision: 4 MB of 1,000 replicates, which caches hold
_ABREAST = 64  # columns of one product


def bootstrap_weights(num_units: int, *, replicates: int = 1000, seed: int = 0) -> NDArray[np.float32]:
    """Independent Poisson(1) weights: the bootstrap as a matrix product (Hanley and MacGibbon 2006).

    num_units: how many images or videos there are. replicates: B.
    Returns [B, N] float32, whole numbers of 0 and more; the same arguments give the same weights, and fewer
    replicates the first rows of more. 1,000 replicates of 50,000 images are 200 MB.
    Raises ValueError if num_units < 0 or replicates < 1.
    """
    _check_draw(num_units, replicates)
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = np.empty((replicates, num_units), dtype=np.float32)
    for row in weights:
        row[:] = rng.poisson(1.0, size=num_units)
    return weights


def resample_indices(num_units: int, *, replicates: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """Units drawn with replacement, for statistics that are not means (AURRA, calibration errors).

    Returns [B, N] int64 in 0..N-1; the same arguments give the same indices.
    Raises ValueError if num_units < 0 or replicates < 1.
    """
    _check_draw(num_units, replicates)
    if num_units == 0:
        return np.empty((replicates, 0), dtype=np.int64)
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(num_units, size=(replicates, num_units), dtype=np.int64)


def resample_counts(num_units: int, *, replicates: int = 1000, seed: int = 0) -> NDArray[np.uint8]:
    """How often each of `resample_indices` holds each unit: the same draws in an eighth of the memory.

    Returns [B, N] uint8, rows of sum N; no unit is drawn more than 255 times (its number is binomial with mean 1).
    Raises ValueError if num_units < 0 or replicates < 1.
    """
    _check_draw(num_units, replicates)
    counts = np.zeros((replicates, num_units), dtype=np.uint8)
    rng = np.random.Generator(np.random.PCG64(seed))
    for row in counts if num_units else ():
        row[:] = np.bincount(rng.integers(num_units, size=num_units, dtype=np.int64), minlength=num_units)
    return counts


def bootstrap_shares(outcomes: NDArray[np.bool_], weights: NDArray[np.float32]) -> FloatArray:
    """`bootstrap_means` of outcomes that are true or false, to the last bit and in a fraction of the time.

    Sums of whole numbers below 2^24 are exact in single precision, whatever their order.

    outcomes: [N, K] bool. weights: [B, N] float32, whole numbers, from `bootstrap_weights`.
    Returns [B, K] float64; nan in the replicates whose weights sum to 0.
    Raises ValueError if the shapes do not fit.
    """
    num_units = _check_product(outcomes, weights)
    if num_units >= 2**23:  # a sum may then reach 2^24
        return bootstrap_means(outcomes, weights)
    sums = (weights @ np.column_stack([outcomes, np.ones(num_units, np.bool_)]).astype(np.float32)).astype(np.float64)
    return np.asarray(sums[:, :-1] / np.where(sums[:, -1:] == 0.0, np.nan, sums[:, -1:]))


def bootstrap_means(outcomes: ArrayLike, weights: ArrayLike) -> FloatArray:
    """Weighted mean of every column under every replicate, as one matrix product.

    outcomes: [N, K] float or bool, one column a cell. weights: [B, N] float, from `bootstrap_weights`.
    Returns [B, K] float64; nan in the replicates whose weights sum to 0.
    Raises ValueError if the shapes do not fit.
    """
    return bootstrap_means_of([np.asarray(outcomes, dtype=np.float64)], np.asarray(weights))[0]


def bootstrap_means_of(outcomes: Sequence[FloatArray], weights: NDArray[np.floating]) -> list[FloatArray]:
    """`bootstrap_means` of several outcomes [N, K], to the last bit, with one look at the weights.

    Every product has the same width, and zeros in the columns to spare: so the last bits of a column do not depend on
    the others.
    """
    for values in outcomes:
        _check_product(values, weights)
    num_replicates, num_units = weights.shape
    ends = np.cumsum([values.shape[1] for values in outcomes])
    width = -(-int(ends[-1]) // _ABREAST) * _ABREAST
    sums, totals = np.zeros((num_replicates, width)), np.zeros((num_replicates, 1))
    for start in range(0, num_units, _AT_ONCE):
        units = slice(start, start + _AT_ONCE)
        drawn = weights[:, units].astype(np.float64)
        totals += drawn.sum(axis=1, keepdims=True)
        columns = np.zeros((drawn.shape[1], width))
        np.concatenate([values[units] for values in outcomes], axis=1, out=columns[:, : ends[-1]])
        for first in range(0, width, _ABREAST):
            sums[:, first : first + _ABREAST] += drawn @ columns[:, first : first + _ABREAST]
    means = sums[:, : ends[-1]] / np.where(totals == 0.0, np.nan, totals)
    return np.split(means, ends[:-1], axis=1)


def _check_product(outcomes: NDArray[Any], weights: NDArray[Any]) -> int:
    """N of outcomes [N, K] and weights [B, N]."""
    if outcomes.ndim != 2 or weights.ndim != 2 or outcomes.shape[0] != weights.shape[1]:
        raise ValueError(f"outcomes and weights must be [N, K] and [B, N], got {outcomes.shape} and {weights.shape}")
    return int(outcomes.shape[0])


def _check_draw(num_units: int, replicates: int) -> None:
    if num_units < 0 or replicates < 1:
        raise ValueError(f"need num_units >= 0 and replicates >= 1, got {num_units} and {replicates}")
