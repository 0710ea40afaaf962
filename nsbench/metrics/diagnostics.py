"""What a mean accuracy hides: images lost from one model to the next, the worst classes, error apart from clean error.

All from outcomes that an evaluation has recorded anyway.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def negative_flips(correct_before: ArrayLike, correct_after: ArrayLike) -> BoolArray:
    """Images that the first model has right and the second wrong (Yan et al. 2021, arXiv:2011.09161).

    The difference of two accuracies is positive flips less negative ones: two models of one accuracy can still break
    a tenth of what worked.

    correct_before, correct_after: [N] bool, in one order of images.
    Returns [N] bool; its mean is the negative flip rate, a share of all images. Swapped arguments give the positive
    flips.
    Raises ValueError if the two are not vectors of one length.
    """
    before, after = _outcomes(correct_before, "correct_before"), _outcomes(correct_after, "correct_after")
    _same_length(before, after)
    return np.asarray(before & ~after)


def worst_class_accuracy(
    correct: ArrayLike, labels: ArrayLike, *, share: float = 0.1, min_per_class: int = 10
) -> float:
    """Mean accuracy over the worst tenth of the classes: the ceil(share * C) classes with the lowest accuracy.

    Of a few images a class the worst are also the unluckiest, and the figure too low: 50 images a class (ImageNet)
    are a measure, and classes of fewer than `min_per_class` are left out. Compare models on the same images only.

    correct: [N] bool. labels: [N] int, 0 and more. share: above 0, at most 1.
    Returns a fraction in 0..1; nan where no class has enough images.
    Raises ValueError if the shapes do not fit or share is out of range.
    """
    hits, truth = _outcomes(correct, "correct"), np.asarray(labels)
    _same_length(hits, truth)
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    size = np.bincount(truth)
    enough = size >= max(min_per_class, 1)
    if not enough.any():
        return float("nan")
    accuracy = np.sort(np.bincount(truth, weights=hits)[enough] / size[enough])
    return float(accuracy[: int(np.ceil(share * accuracy.size))].mean())


def error_where_both_right(correct: ArrayLike, clean_a: ArrayLike, clean_b: ArrayLike) -> FloatArray:
    """Error on the images that two models both have right when clean: robustness apart from clean accuracy.

    A model that is better on clean images starts ahead on corrupted ones; on this common ground neither does. Both
    models are to be measured on it, so it is called once for each, with `clean_a` and `clean_b` in any order.

    correct: [N, ...] bool, one model's outcomes on the corrupted images, one column a cell if there are several.
    clean_a, clean_b: [N] bool, the two models' outcomes on the same images when clean.
    Returns [...] float64, fractions in 0..1; nan where the two have no image right together.
    Raises ValueError if the shapes do not fit.
    """
    hits = np.asarray(correct, dtype=np.bool_)
    a, b = _outcomes(clean_a, "clean_a"), _outcomes(clean_b, "clean_b")
    _same_length(a, b)
    if hits.shape[:1] != a.shape:
        raise ValueError(f"correct must be [N, ...] for {a.size} images, got {hits.shape}")
    common = hits[a & b]
    if common.shape[0] == 0:
        return np.full(hits.shape[1:], np.nan)
    return np.asarray((~common).mean(axis=0))


def _outcomes(values: ArrayLike, name: str) -> BoolArray:
    array = np.asarray(values, dtype=np.bool_)
    if array.ndim != 1:
        raise ValueError(f"{name} must be [N], got {array.shape}")
    return array


def _same_length(first: NDArray[np.generic], second: NDArray[np.generic]) -> None:
    if first.shape != second.shape:
        raise ValueError(f"outcomes must be of the same images, got {first.shape} and {second.shape}")
