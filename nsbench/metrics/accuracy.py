"""Which images are right: the outcomes whose means are top-1 and top-k accuracy (Noisy Student, Tables 2 and 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def top1_correct(top1: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether the predicted class is the true one.

    top1: [N] int, the predicted class of each image. labels: [N] int.
    Returns [N] bool; its mean is top-1 accuracy, and the mean of its negation the error.
    Raises ValueError if the two are not vectors of one length.
    """
    predicted, truth = np.asarray(top1), np.asarray(labels)
    if predicted.ndim != 1 or predicted.shape != truth.shape:
        raise ValueError(f"top1 and labels must be [N] and [N], got {predicted.shape} and {truth.shape}")
    return np.asarray(predicted == truth, dtype=np.bool_)


def topk_correct(topk_ids: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether the true class is among the k best.

    topk_ids: [N, k] int class ids, in any order within a row. labels: [N] int.
    Returns [N] bool; its mean is top-k accuracy.
    Raises ValueError if the shapes do not fit.
    """
    ids, truth = np.asarray(topk_ids), np.asarray(labels)
    if ids.ndim != 2 or truth.shape != ids.shape[:1]:
        raise ValueError(f"topk_ids and labels must be [N, k] and [N], got {ids.shape} and {truth.shape}")
    return np.asarray((ids == truth[:, None]).any(axis=1), dtype=np.bool_)
