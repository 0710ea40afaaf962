"""The corruptions of ImageNet-C and the perturbations of ImageNet-P (Hendrycks and Dietterich 2019), on the CPU.

`corrupt` and `perturbation_sequence` are pure functions of (image, seed, name, severity): what else is in the
batch, its size and its order change no pixel. Source of every formula and constant: hendrycks/robustness,
ImageNet-C/create_c and ImageNet-P/create_p.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.corruptions import blur, digital, noise, perturbations, weather
from nsbench.corruptions.constants import SEVERITIES, table_for
from nsbench.corruptions.noise import Floats, Pixels
from nsbench.corruptions.randomness import Generators, generators
from nsbench.metrics.reference import CIFAR_P_PERTURBATIONS as CIFAR_PERTURBATIONS
from nsbench.metrics.reference import CORRUPTIONS, EXTRA_CORRUPTIONS, EXTRA_PERTURBATIONS, PERTURBATIONS

__all__ = [
    "CIFAR_PERTURBATIONS",
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "EXTRA_PERTURBATIONS",
    "PERTURBATIONS",
    "corrupt",
    "perturbation_sequence",
]

_FUNCTIONS: dict[str, Callable[[Pixels, Any, Generators], Floats | Pixels]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
_SEQUENCES: dict[str, perturbations.Perturbation] = {
    "gaussian_noise": perturbations.gaussian_noise,
    "shot_noise": perturbations.shot_noise,
    "motion_blur": perturbations.motion_blur,
    "zoom_blur": perturbations.zoom_blur,
    "snow": perturbations.snow,
    "brightness": perturbations.brightness,
    "translate": perturbations.translate,
    "rotate": perturbations.rotate,
    "tilt": perturbations.tilt,
    "scale": perturbations.scale,
    "speckle_noise": perturbations.speckle_noise,
    "gaussian_blur": perturbations.gaussian_blur,
    "spatter": perturbations.spatter,
    "shear": perturbations.shear,
}
_SHORTER = {
    "motion_blur": perturbations.NUM_MOTION_FRAMES,
    "translate": perturbations.NUM_TRANSLATE_FRAMES,
}
_DIFFICULTIES = {"gaussian_noise": 3, "shot_noise": 3, "speckle_noise": 3}  # every other perturbation has one
_CHUNK_VALUES = 2**20  # float64 temporaries of 8 MB: they stay near the cache, and memory does not grow with N


def corrupt(
    images: Pixels,
    name: str,
    severity: int,
    *,
    seeds: npt.NDArray[np.integer[Any]],
    variant: int | None = None,
) -> Pixels:
    """Corrupt images; image i is a pure function of (images[i], seeds[i], name, severity, variant).

    Args:
        images: uint8 [N, H, H, 3], values 0..255, RGB.
        name: one of CORRUPTIONS or EXTRA_CORRUPTIONS.
        severity: 1 (mild) to 5.
        seeds: integers [N], one per image.
        variant: the authors' table of constants, made for 32, 64, 224 or 299 px; None takes that of H px.

    Returns:
        uint8 [N, H, H, 3]; truncated, not rounded, as the originals.

    Raises:
        ValueError: unknown name, severity or variant; wrong shape or type; no table for H px.
        DataError: OpenCV does not import, or the frost photographs are missing.
    """
    _check_images(images, seeds)
    _check_name(name, _FUNCTIONS, "corruption")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}, got {severity!r}")
    constant = table_for(images.shape[1], variant)[name][severity - 1]
    function, purpose = _FUNCTIONS[name], f"corruption/{name}/{severity}"
    corrupted = np.empty_like(images)
    for chunk in _chunks(images):
        rngs = generators(seeds[chunk], purpose)
        corrupted[chunk] = function(images[chunk], constant, rngs).astype(np.uint8)
    return corrupted


def perturbation_sequence(
    images: Pixels, name: str, *, seeds: npt.NDArray[np.integer[Any]], difficulty: int = 1
) -> Pixels:
    """Film images under a growing perturbation; film i is a pure function of (images[i], seeds[i], name).

    Args:
        images: uint8 [N, 32, 32, 3], values 0..255, RGB.
        name: one of PERTURBATIONS, CIFAR_PERTURBATIONS or EXTRA_PERTURBATIONS.
        seeds: integers [N], one per image.
        difficulty: 1, or for the three noises 2 or 3 (stronger noise).

    Returns:
        uint8 [N, T, 32, 32, 3]; T is 31, but 21 for motion_blur and 16 for translate. Frame 0 is the clean
        image for the noises and zoom_blur; for rotate and shear frame 15 is, for translate frame 7.

    Raises:
        ValueError: unknown name, difficulty or size; wrong shape or type.
        DataError: OpenCV does not import.
    """
    _check_images(images, seeds)
    _check_name(name, _SEQUENCES, "perturbation")
    if images.shape[1] != 32:
        raise ValueError(f"perturbation sequences are made of 32 px images, got {images.shape[1]} px")
    if not 1 <= difficulty <= _DIFFICULTIES.get(name, 1):
        raise ValueError(f"{name} has difficulties 1 to {_DIFFICULTIES.get(name, 1)}, got {difficulty!r}")
    purpose = f"perturbation/{name}/{difficulty}"
    num_frames = _SHORTER.get(name, perturbations.NUM_FRAMES)
    films = np.empty((len(images), num_frames, *images.shape[1:]), dtype=np.uint8)
    for chunk in _chunks(images):
        rngs = generators(seeds[chunk], purpose)
        for frame, pixels in enumerate(_SEQUENCES[name](images[chunk], rngs, difficulty)):
            films[chunk, frame] = pixels
    return films


def _chunks(images: Pixels) -> list[slice]:
    """Cut the batch into slices of about _CHUNK_VALUES values."""
    size = max(1, _CHUNK_VALUES // max(1, math.prod(images.shape[1:])))
    return [slice(start, start + size) for start in range(0, len(images), size)]


def _check_images(images: Pixels, seeds: npt.NDArray[np.integer[Any]]) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(f"images must be uint8 [N, H, H, 3], got {images.dtype} {list(shape)}")
    if seeds.shape != shape[:1] or not np.issubdtype(seeds.dtype, np.integer):
        raise ValueError(f"seeds must be integers [{shape[0]}], got {seeds.dtype} {list(seeds.shape)}")


def _check_name(name: str, known: dict[str, Any], kind: str) -> None:
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
