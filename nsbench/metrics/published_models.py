"""Errors and flip probabilities that are published of known models, and the mCE and mFR that they must give.

The inputs of `nsbench check --golden`. Fractions, by the folders' names of ImageNet-C and ImageNet-P; nothing here is
from memory. Noisy Student's own tables stand in `nsbench.metrics.reference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from nsbench.metrics.reference import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CORRUPTIONS,
    PERTURBATIONS,
)


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """What both benchmarks say of a model."""

    model: str
    """timm's name, or the source's."""
    source: str
    derived: bool
    """The mean was computed from the inputs before, and is printed in no source that could be opened."""
    tolerance: float
    """Percent: what the rounding of the printed inputs and of the mean itself can move."""


@dataclass(frozen=True, kw_only=True)
class PublishedErrors(PublishedModel):
    """A model on ImageNet-C, released at 224 px and not resized."""

    errors: Mapping[str, Sequence[float] | float]
    """Top-1 error of each of the 15, at severities 1..5 or its mean. Fractions."""
    mce: float
    """Percent."""
    clean_error: float | None = None
    """Top-1 error on the clean images, where relative mCE is to be checked."""
    relative_mce: float | None = None
    """Percent; derived."""


@dataclass(frozen=True, kw_only=True)
class PublishedFlips(PublishedModel):
    """A model on ImageNet-P, difficulty 1."""

    flips: Mapping[str, float]
    """Flip probability of each of the ten. Fractions."""
    mfr: float
    """Percent."""


_EXACT, _THREE_DECIMALS, _TWO_DECIMALS = 1e-9, 0.001, 0.005

RESNET50 = "resnet50.tv_in1k"
RESNET50_SOURCE = "bethgelab/game-of-noise Results/clean_results.txt"
"""All of the released JPEGs, centre crop, no resizing; prints val 76.13 and mCE 76.70 beside."""

# Percent right: torchvision's first ResNet-50
_RESNET50_TOP1 = (
    *(29.29, 27.03, 23.81, 38.75, 26.79, 38.67, 36.24, 32.53),
    *(38.14, 45.83, 68.02, 39.06, 45.25, 44.79, 53.41),
)

# Percent wrong at severities 1..5
_ROBUSTBENCH_RESNET50 = (
    (39.8, 51.22, 68.76, 85.78, 97.12),
    (41.72, 55.14, 71.44, 89.74, 96.48),
    (51.46, 61.38, 70.96, 88.7, 97.56),
    (40.86, 48.46, 61.92, 72.48, 81.76),
    (46.38, 60.26, 82.92, 86.94, 89.66),
    (36.4, 46.58, 62.46, 78.42, 85.48),
    (47.42, 56.98, 64.4, 71.56, 78.06),
    (45.32, 68.8, 65.06, 76.56, 83.5),
    (38.94, 56.34, 69.36, 71.36, 77.42),
    (39.08, 44.0, 53.26, 59.76, 76.4),
    (26.4, 27.78, 30.42, 35.04, 41.14),
    (35.72, 41.76, 53.4, 79.02, 94.58),
    (33.16, 54.86, 45.44, 58.78, 82.98),
    (36.2, 35.66, 54.02, 70.7, 79.12),
    (33.56, 37.66, 39.96, 52.14, 67.46),
)

# model, mCE, mean percent wrong
_RESNEXT_ERRORS = (
    ("resnext101_32x8d.tv_in1k", 66.651, (*(60.015, 61.755, 65.742, 53.140, 65.685, 51.834, 56.868, 60.110),
        *(54.625, 49.466, 28.229, 56.125, 47.568, 43.960, 38.702))),
    ("resnext101_32x8d_wsl", 51.740, (*(43.738, 45.066, 47.214, 43.636, 59.584, 42.986, 50.167, 45.701),
        *(42.497, 34.583, 21.150, 35.090, 43.246, 28.592, 30.710))),
    ("resnext101_32x48d_wsl", 45.697, (*(36.587, 38.436, 39.808, 39.116, 54.818, 37.500, 44.494, 39.666),
        *(37.804, 29.916, 18.376, 32.110, 40.259, 25.626, 26.900))),
)  # fmt: skip

# model, mFR, percent flipped. Of AugMix its README prints 37.4, from another run than these flips.
_CBCV_FLIPS = (
    ("resnet18.tv_in1k", 72.828, (17.505, 21.942, 6.999, 5.038, 8.952, 3.802, 6.885, 8.685, 5.165, 15.602)),
    ("densenet121.tv_in1k", 56.396, (12.772, 15.355, 5.425, 4.221, 7.078, 2.969, 5.084, 7.155, 4.229, 11.448)),
    ("augmix_resnet50", 37.630, (9.676, 11.362, 2.788, 3.255, 4.448, 2.256, 2.964, 4.235, 2.564, 7.949)),
)
_RESNEXT_FLIPS = (
    ("resnext101_32x8d.tv_in1k", 46.150, (10.626, 13.105, 4.463, 3.518, 5.784, 2.610, 4.024, 5.590, 3.313, 8.868)),
    ("resnext101_32x8d_wsl", 38.761, (7.488, 8.887, 4.010, 3.485, 5.225, 2.007, 3.495, 4.808, 3.027, 6.676)),
    ("resnext101_32x16d_wsl", 32.731, (6.477, 7.793, 3.330, 2.819, 4.293, 1.781, 2.899, 4.173, 2.567, 5.585)),
    ("resnext101_32x32d_wsl", 29.723, (6.023, 7.111, 3.045, 2.554, 3.839, 1.642, 2.599, 3.727, 2.366, 4.938)),
    ("resnext101_32x48d_wsl", 27.833, (5.847, 6.991, 2.842, 2.323, 3.667, 1.536, 2.416, 3.469, 2.149, 4.619)),
)
_PRINTED = ("resnext101_32x48d_wsl",)  # 45.7 and 27.8 in the Noisy Student paper
_CBCV = "CorruptionBenchCV at 22776c7, IN_P"
_RESNEXT = "facebookresearch resnext-wsl, arrays of raw errors and flips"


def _fractions(percents: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(percent / 100, 7) for percent in percents)


def _by_name(names: Sequence[str], percents: Sequence[float]) -> Mapping[str, float]:
    return MappingProxyType(dict(zip(names, _fractions(percents), strict=True)))


ON_IMAGENET_C: tuple[PublishedErrors, ...] = (
    PublishedErrors(
        model="alexnet",
        errors=MappingProxyType({name: ALEXNET_ERRORS[name] for name in CORRUPTIONS}),
        mce=100.0,
        clean_error=ALEXNET_CLEAN_ERROR,
        relative_mce=100.0,
        derived=False,
        tolerance=_EXACT,
        source="hendrycks/robustness README at 76d9393; 100 by definition",
    ),
    PublishedErrors(
        model=RESNET50,
        errors=_by_name(CORRUPTIONS, [100 - top1 for top1 in _RESNET50_TOP1]),
        mce=76.70,
        clean_error=0.2387,
        relative_mce=104.95,
        derived=False,
        tolerance=_TWO_DECIMALS,
        source=RESNET50_SOURCE,
    ),
    PublishedErrors(
        model=f"{RESNET50}, RobustBench's 5,000 images",
        errors=MappingProxyType(dict(zip(CORRUPTIONS, map(_fractions, _ROBUSTBENCH_RESNET50), strict=True))),
        mce=76.37,
        derived=True,
        tolerance=_TWO_DECIMALS,
        source="RobustBench model_info unaggregated_results.csv, Standard_R50",
    ),
    *(
        PublishedErrors(
            model=model,
            errors=_by_name(CORRUPTIONS, percents),
            mce=mce,
            derived=model not in _PRINTED,
            tolerance=_THREE_DECIMALS,
            source=_RESNEXT,
        )
        for model, mce, percents in _RESNEXT_ERRORS
    ),
)

ON_IMAGENET_P: tuple[PublishedFlips, ...] = (
    PublishedFlips(
        model="alexnet",
        flips=MappingProxyType({name: ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS}),
        mfr=100.0,
        derived=False,
        tolerance=_EXACT,
        source="clovaai/assembled-cnn mce/eval_robustness.py:115-120; 100 by definition",
    ),
    *(
        PublishedFlips(
            model=model,
            flips=_by_name(PERTURBATIONS, percents),
            mfr=mfr,
            derived=model not in _PRINTED,
            tolerance=_THREE_DECIMALS,
            source=source,
        )
        for source, rows in ((_CBCV, _CBCV_FLIPS), (_RESNEXT, _RESNEXT_FLIPS))
        for model, mfr, percents in rows
    ),
)
