"""Effective robustness: accuracy on other images beyond what accuracy on clean ones predicts.

Taori et al. 2020 (arXiv:2007.00644): accuracy less beta(clean accuracy), where beta is a line on the logit scale
through models trained on ImageNet-1k alone. The lines are fitted to what timm publishes of such models, the table that
stands beside the report as `backdrop/timm.csv`; a test fits them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]

FITTED = "2026-11-25"
"""Day of the fits."""

SOURCE = "pytorch-image-models at aa4b5850, results/results-*.csv"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A line on the logit scale, and what it was fitted to. Accuracies are fractions."""

    clean: str
    """Column of clean accuracy in the table, without `_top1`: on the same classes."""
    shifted: str
    """Column of accuracy on the other images."""
    intercept: float
    slope: float
    num_models: int
    spread: float
    """Standard deviation of the models' effective robustness, as a fraction: what differences mean nothing."""
    lowest: float = 0.0
    """Smallest clean accuracy that the line is for."""

    def expected(self, clean: ArrayLike) -> FloatArray:
        """Accuracy on the other images, of any shape, that clean accuracies in 0..1 predict."""
        accuracy = np.asarray(clean, dtype=np.float64)
        return np.asarray(special.expit(self.intercept + self.slope * special.logit(accuracy)))


def fit_line(clean: ArrayLike, shifted: ArrayLike) -> tuple[float, float]:
    """Intercept and slope of logit(shifted) by logit(clean), by least squares.

    clean, shifted: [M] float, above 0 and below 1.
    Raises ValueError if the shapes do not fit, there are fewer than two models, or an accuracy is 0 or 1.
    """
    x, y = np.asarray(clean, dtype=np.float64), np.asarray(shifted, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size < 2:
        raise ValueError(f"clean and shifted must be [M] and [M] of two models or more, got {x.shape} and {y.shape}")
    if not bool(np.all((x > 0) & (x < 1) & (y > 0) & (y < 1))):
        raise ValueError("accuracies must be above 0 and below 1")
    slope, intercept = np.polyfit(special.logit(x), special.logit(y), 1)
    return float(intercept), float(slope)


FITS: Mapping[str, Fit] = MappingProxyType(
    {
        "imagenet-a": Fit(
            clean="imagenet_a_clean",
            shifted="imagenet_a",
            intercept=-9.885024,
            slope=2.783517,
            num_models=19,
            spread=0.0245,
            lowest=0.9189,
        ),
        "imagenet-r": Fit(
            clean="imagenet_r_clean",
            shifted="imagenet_r",
            intercept=-2.093186,
            slope=0.638873,
            num_models=36,
            spread=0.0192,
        ),
        "imagenet-v2": Fit(
            clean="imagenet",
            shifted="imagenet_v2",
            intercept=-0.469820,
            slope=0.899756,
            num_models=36,
            spread=0.0040,
        ),
        "imagenet-sketch": Fit(
            clean="imagenet",
            shifted="imagenet_sketch",
            intercept=-2.351169,
            slope=1.070253,
            num_models=36,
            spread=0.0172,
        ),
    }
)
"""By eval; of ImageNet-V2 the matched-frequency images.

ImageNet-A was chosen against a ResNet-50, and models below it are all near zero: its line is for those of at least that
model's clean accuracy (resnet50.tv_in1k). There is none for corruptions that were computed, nor for other data.
"""
