"""Every published constant and figure the harness uses, once, each with where it is from.

Errors and flip probabilities are fractions. The names are the folders' names of ImageNet-C and ImageNet-P.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Corruptions and perturbations -----------------------------------------------------------------------------------

CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The 15 that mCE averages, in the paper's order (arXiv:1903.12261; hendrycks/robustness ImageNet-C/test.py)."""

CORRUPTION_SIZES = (32, 64, 224, 299)
"""Sides in pixels for which the authors published severity constants; at another there is no ImageNet-C and no mCE."""

EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The 4 held out for validation, no part of mCE (hendrycks/robustness ImageNet-C/test.py:272-278)."""

PERTURBATIONS = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow"),
    *("brightness", "translate", "rotate", "tilt", "scale"),
)
"""The 10 that mFR averages ("Test Data" of hendrycks/robustness create_p/make_imagenet_p.py)."""

EXTRA_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "spatter", "shear")
"""The 4 held out for validation, no part of mFR ("Validation Data" of make_imagenet_p.py)."""

CIFAR_P_PERTURBATIONS = tuple("spatter" if name == "snow" else name for name in PERTURBATIONS)
"""The 10 that CIFAR-10-P averages: spatter in place of snow (hendrycks/robustness cifar-p-eval.py:227-229)."""

# AlexNet, the baseline of mCE and mFR ----------------------------------------------------------------------------

ALEXNET_CLEAN_ERROR = 0.43478
"""torchvision's AlexNet on ImageNet val: top-1 56.522 %. Only relative mCE needs it."""

ALEXNET_ERRORS: Mapping[str, tuple[float, float, float, float, float]] = MappingProxyType(
    {
        "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
        "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
        "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
        "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
        "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
        "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
        "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
        "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
        "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
        "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
        "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
        "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
        "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
        "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
        "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
        "speckle_noise": (0.66192, 0.74440, 0.90246, 0.94548, 0.97268),
        "gaussian_blur": (0.54732, 0.70444, 0.82574, 0.89864, 0.95940),
        "spatter": (0.47196, 0.62194, 0.75052, 0.84132, 0.90182),
        "saturate": (0.59342, 0.65514, 0.51174, 0.70834, 0.82260),
    }
)
"""Top-1 error at severities 1..5 on the released JPEGs, which are not resized: 15 corruptions, then the 4 extra.

hendrycks/robustness README as of commit 76d9393 (taken out in 5aa129e). The means agree with google-research/augmix
imagenet.py:148-152 and clovaai/assembled-cnn mce/eval_robustness.py:91-98. Snow, elastic_transform and saturate
are not monotone in severity.
"""

ALEXNET_FLIP_PROBABILITIES: Mapping[str, float] = MappingProxyType(
    {
        "gaussian_noise": 0.23653,
        "shot_noise": 0.30062,
        "motion_blur": 0.09297,
        "zoom_blur": 0.05942,
        "snow": 0.11928,
        "brightness": 0.04889,
        "translate": 0.11007,
        "rotate": 0.13104,
        "tilt": 0.07050,
        "scale": 0.23531,
        "speckle_noise": 0.18649,
        "gaussian_blur": 0.02775,
        "spatter": 0.05053,
        "shear": 0.10658,
    }
)
"""Difficulty 1: 10 perturbations, then the 4 extra (clovaai/assembled-cnn mce/eval_robustness.py:115-120).

AlexNet's T5D is in no source that could be opened; mT5D needs an evaluation of AlexNet.
"""

# Published figures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Published:
    """One figure that a paper prints, in the units of `results.csv`."""

    model: str
    """As the paper names it, with the version of the paper where the versions differ."""
    eval: str
    """The word of the results table: imagenet, imagenet-a, imagenet-c, imagenet-p, fgsm or attacks."""
    metric: str
    """top1, top5, mCE or mFR. Of imagenet-c and imagenet-p, top1 is the mean over all their images."""
    value: float
    unit: str
    """`fraction` for accuracies, `percent` for mCE and mFR."""
    resolution: int | None
    """Side in pixels of the released images (C, P) or of the model's input (FGSM); None where none is printed."""
    citation: str
    level: str = ""
    """Epsilon in 1/255 of an attack; else empty."""


PAPER_V1 = "Xie et al. 2019, Self-training with Noisy Student improves ImageNet classification, arXiv:1911.04252v1"
PAPER_V2 = "Xie et al. 2020, Self-training with Noisy Student improves ImageNet classification, arXiv:1911.04252v2"

EFFICIENTNET_L2 = "EfficientNet-L2"
STUDENT_V1 = "Noisy Student L2 (v1)"
STUDENT_V2 = "Noisy Student L2 (v2)"


def _figures(
    eval_name: str,
    model: str,
    citation: str,
    *,
    resolution: int | None = None,
    level: str = "",
    **percents: float | None,
) -> tuple[Published, ...]:
    """The figures that one place prints of one model; None is a dash in the paper."""
    return tuple(
        Published(
            model=model,
            eval=eval_name,
            metric=metric,
            value=percent if metric in ("mCE", "mFR") else round(percent / 100, 6),
            unit="percent" if metric in ("mCE", "mFR") else "fraction",
            resolution=resolution,
            citation=citation,
            level=level,
        )
        for metric, percent in percents.items()
        if percent is not None
    )


def _table(model: str, name: str) -> str:
    """The citation of a table: v1's students are in v1 alone, everything else is cited from v2."""
    return f"{PAPER_V1 if model == STUDENT_V1 else PAPER_V2}, {name}"


_Accuracies = tuple[tuple[str, float | None, float | None], ...]
_Relative = tuple[tuple[str, int, float | None, float | None], ...]

# model, top-1, top-5
_IMAGENET: _Accuracies = (
    ("FixRes ResNeXt-101 WSL", 86.4, 98.0),
    (EFFICIENTNET_L2, 85.5, 97.5),
    (STUDENT_V1, 87.4, 98.2),
    (STUDENT_V2, 88.4, 98.7),
)

# model, top-1, top-5 (ResNeXt-101 WSL as v2 prints it; v1 printed 16.6)
_IMAGENET_A: _Accuracies = (
    ("ResNet-101", 4.7, None),
    ("ResNeXt-101 32x4d", 5.9, None),
    ("ResNet-152", 6.1, None),
    ("ResNeXt-101 64x4d", 7.3, None),
    ("DPN-98", 9.4, None),
    ("ResNeXt-101+SE 32x4d", 14.2, None),
    ("ResNeXt-101 WSL", 61.0, None),
    (EFFICIENTNET_L2, 49.6, 78.6),
    (STUDENT_V1, 74.2, 91.3),
    (STUDENT_V2, 83.7, 95.2),
)

# model, resolution, mean top-1, mCE
_IMAGENET_C: _Relative = (
    ("ResNet-50", 224, 39.0, 76.7),
    ("SIN", 224, 45.2, 69.3),
    ("Patch Gaussian", 299, 52.3, 60.4),
    ("ResNeXt-101 WSL", 224, None, 45.7),
    (EFFICIENTNET_L2, 224, 62.6, 47.5),
    (EFFICIENTNET_L2, 299, 66.6, 42.5),
    (STUDENT_V1, 224, 72.8, 34.7),
    (STUDENT_V1, 299, 75.5, 31.2),
    (STUDENT_V2, 224, 76.5, 30.0),
    (STUDENT_V2, 299, 77.8, 28.3),
)

# model, resolution, mean top-1, mFR
_IMAGENET_P: _Relative = (
    ("ResNet-50", 224, None, 58.0),
    ("Low Pass Filter Pooling", 224, None, 51.2),
    ("ResNeXt-101 WSL", 224, None, 27.8),
    (EFFICIENTNET_L2, 224, 80.4, 27.2),
    (EFFICIENTNET_L2, 299, 81.6, 23.7),
    (STUDENT_V1, 224, 83.1, 17.8),
    (STUDENT_V1, 299, 84.3, 16.1),
    (STUDENT_V2, 224, 85.2, 14.2),
    (STUDENT_V2, 299, 86.4, 12.2),
)

# model, where, top-1 at each epsilon
_EPSILONS_PX = ("0", "2", "4", "8", "16")
_FGSM = (
    (EFFICIENTNET_L2, f"{PAPER_V1}, FGSM figure (vector data)", (85.5, 68.3, 64.6, 62.3, 59.7)),
    (STUDENT_V1, f"{PAPER_V1}, FGSM figure (vector data)", (87.4, 77.0, 74.3, 71.9, 70.2)),
    (STUDENT_V2, f"{PAPER_V2}, FGSM figure (read off pixels, to 0.05 points)", (88.4, 80.0, 77.8, 76.4, 74.7)),
)

# model, top-1 under PGD with 10 iterations at epsilon 16: v1's text; the final version's figure was not checked
_PGD = ((EFFICIENTNET_L2, 1.1), (STUDENT_V1, 1.6))


def _published() -> Iterator[Published]:
    for model, top1, top5 in _IMAGENET:
        yield from _figures("imagenet", model, _table(model, "ImageNet table"), top1=top1, top5=top5)
    for model, top1, top5 in _IMAGENET_A:
        yield from _figures("imagenet-a", model, _table(model, "ImageNet-A table"), top1=top1, top5=top5)
    for model, side, top1, mce in _IMAGENET_C:
        where = _table(model, "ImageNet-C table")
        yield from _figures("imagenet-c", model, where, resolution=side, top1=top1, mCE=mce)
    for model, side, top1, mfr in _IMAGENET_P:
        where = _table(model, "ImageNet-P table")
        yield from _figures("imagenet-p", model, where, resolution=side, top1=top1, mFR=mfr)
    for model, where, curve in _FGSM:
        for eps_px, top1 in zip(_EPSILONS_PX, curve, strict=True):
            yield from _figures("fgsm", model, where, resolution=800, level=eps_px, top1=top1)
    for model, top1 in _PGD:
        where = f"{PAPER_V1}, text (PGD, 10 iterations)"
        yield from _figures("attacks", model, where, resolution=800, level="16", top1=top1)


PUBLISHED: tuple[Published, ...] = tuple(_published())
"""Noisy Student's headline and robustness tables: only what was read in a source of the paper's v1 or v2.

No per-corruption or per-perturbation figures of the students were ever published.
"""
