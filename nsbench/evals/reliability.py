"""The reliability diagram: in each bin of confidence, how many images, how sure the model is and how often right.

Niculescu-Mizil and Caruana 2005; the bins are those of ECE (Guo et al. 2017, arXiv:1706.04599), so that ECE is the
mean distance between the two curves, weighted by images.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nsbench.evals.base import Arrays
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.intervals import t_interval, wilson_interval
from nsbench.results import Row

NUM_BINS = 15

IMAGES, ACCURACY, CONFIDENCE = "reliability_images", "reliability_accuracy", "reliability_confidence"


def reliability_rows(answers: Mapping[str, Arrays]) -> list[Row]:
    """Rows of every bin, also of those that hold no image: there accuracy and confidence are nan, of n = 0.

    Args:
        answers: `top1`, `labels` and `confidence` [N] of clean images, by model.
    """
    rows = []
    for name, arrays in answers.items():
        hits = top1_correct(arrays["top1"], arrays["labels"])
        rows += _of_model(name, np.minimum(arrays["confidence"].astype(np.float64), 1.0), hits)
    return rows


def _of_model(name: str, confidence: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_]) -> list[Row]:
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    bins = np.searchsorted(edges[1:-1], confidence, side="left")  # as ECE: a bin holds its upper edge
    rows = []
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = bins == k
        count, right = int(inside.sum()), int(hits[inside].sum())
        mean, *mean_interval = t_interval(confidence[inside])
        share = right / count if count else float("nan")
        for metric, value, interval, n, unit in (
            (IMAGES, float(count), (float("nan"), float("nan")), len(hits), "count"),
            (ACCURACY, share, wilson_interval(right, count), count, "fraction"),
            (CONFIDENCE, mean, mean_interval, count, "fraction"),
        ):
            row = Row(
                generation=name, eval="imagenet", level=f"{low:.3f}-{high:.3f}", metric=metric, value=value,
                ci_low=interval[0], ci_high=interval[1], n=n, unit=unit, higher_is_better=True,
                protocol=f"{NUM_BINS} bins of confidence",
            )  # fmt: skip
            rows.append(row)
    return rows
