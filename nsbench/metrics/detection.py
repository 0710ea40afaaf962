"""How well a score tells images that belong to no class: ImageNet-O (Hendrycks et al. 2021, arXiv:1907.07174)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def area_under_precision_recall(scores: ArrayLike, positive: ArrayLike) -> float:
    """AUPR as average precision: sum over thresholds k of (R_k - R_{k-1}) * P_k, highest threshold first.

    The definition of scikit-learn's `average_precision_score`, which natural-adv-examples calibration_tools.py
    (get_measures) uses: no interpolation. Images of equal score pass a threshold together, so their order has no say.
    For ImageNet-O the positives are the images of no class and the score is the negated confidence.

    scores: [N] float, higher means more likely positive. positive: [N] bool.
    Returns a fraction in 0..1, higher is better, about the share of positives for a score that knows nothing; nan
    without a positive or with a nan score.
    Raises ValueError if the shapes do not fit.
    """
    score, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    if score.ndim != 1 or score.shape != is_positive.shape:
        raise ValueError(f"scores and positive must be [N] and [N], got {score.shape} and {is_positive.shape}")
    if not is_positive.any() or bool(np.isnan(score).any()):
        return float("nan")
    highest_first = np.argsort(-score, kind="stable")
    ranked = score[highest_first]
    last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found = np.cumsum(is_positive[highest_first])[last_of_tie]
    precision = found / (last_of_tie + 1)
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])
