"""The corruptions of ImageNet-C and the perturbations of ImageNet-P (Hendrycks and Dietterich 2019), on the device.

`corrupt` and `perturbation_sequence` are pure functions of (image, seed, name, severity): what else is in the batch,
its size and its order change no pixel. Inside, everything is 8-bit as it was for the authors: uint8 in, arithmetic as
theirs, truncation where they truncate, uint8 out. Source of every formula and constant: hendrycks/robustness,
ImageNet-C/create_c and ImageNet-P/create_p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from nsbench.configfile import suggest
from nsbench.corruptions import blur, digital, noise, perturbations, weather
from nsbench.corruptions.constants import SEVERITIES, table_for, table_label
from nsbench.corruptions.filming import Shot, num_frames
from nsbench.corruptions.jpeg import jpeg_roundtrip
from nsbench.corruptions.levels import unit
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.slices import by_slices, volume
from nsbench.metrics.reference import CIFAR_P_PERTURBATIONS as CIFAR_PERTURBATIONS
from nsbench.metrics.reference import CORRUPTIONS, EXTRA_CORRUPTIONS, EXTRA_PERTURBATIONS, PERTURBATIONS

__all__ = [
    "CIFAR_PERTURBATIONS",
    "CORRUPTIONS",
    "CORRUPTION_VERSION",
    "EXTRA_CORRUPTIONS",
    "EXTRA_PERTURBATIONS",
    "PERTURBATIONS",
    "corrupt",
    "jpeg_roundtrip",
    "perturbation_sequence",
    "table_label",
]

CORRUPTION_VERSION = 2
"""Raised when the code of a corruption or perturbation changes a pixel; part of every protocol."""

Backend = Literal["native", "imagecorruptions"]

_FUNCTIONS: dict[str, Callable[[Tensor, Any, Draws], Tensor]] = {
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
_SMALLEST = 32


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seeds: Tensor | None = None,
    generator: torch.Generator | None = None,
    variant: int | None = None,
    backend: Backend = "native",
) -> Tensor:
    """Corrupt images; image i is a pure function of (images[i], seeds[i], name, severity, variant, backend).

    Args:
        images: [N, 3, H, W], RGB, H and W at least 32, on any device: floating point in [0, 1], rounded to the
            nearest of the 256 levels, or uint8.
        name: one of CORRUPTIONS or EXTRA_CORRUPTIONS.
        severity: 1 (mild) to 5.
        seeds: int64 [N]; where it is None they are drawn from `generator`.
        generator: a generator on the CPU; torch's default one where it is None.
        variant: the authors' table of constants, made for 32, 64, 224 or 299 px; None takes that of min(H, W) and
            interpolates between the published sizes (`table_label` says which).
        backend: `native`, or `imagecorruptions`: that library's functions, which are others than the benchmark's in
            elastic transform, motion blur and snow.

    Returns:
        Shape, dtype, range and device of `images`; the levels truncated, not rounded, as by the authors.

    Raises:
        ValueError: unknown name, severity, variant or backend; wrong shape, type or range.
        DataError: OpenCV does not import, or the frost photographs are missing.
    """
    _check_images(images)
    _check_name(name, _FUNCTIONS, "corruption")
    if _whole(severity) not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}, got {severity!r}")
    severity = int(severity)
    seeds = _seeds(seeds, generator, len(images))
    if backend == "imagecorruptions":
        if variant is not None:
            raise ValueError(f"imagecorruptions has one table of constants for every size; variant is {variant!r}")
        from nsbench.corruptions.reference import library_corrupt

        return _like(library_corrupt(_levels(images), name, severity, seeds), images)
    if backend != "native":
        raise ValueError(f"backend must be 'native' or 'imagecorruptions', got {backend!r}")
    constant = table_for(min(images.shape[-2:]), variant)[name][severity - 1]
    corrupted = torch.empty(images.shape, dtype=images.dtype, device=images.device)

    def work(rows: slice) -> None:
        draws = Draws(seeds[rows], f"corruption/{name}/{severity}", images.device)
        corrupted[rows] = _like(_FUNCTIONS[name](_levels(images[rows]), constant, draws), images)

    by_slices(len(images), volume(images), images.device, work)
    return corrupted


def perturbation_sequence(
    images: Tensor | Sequence[Tensor],
    name: str,
    *,
    crop: int = 224,
    difficulty: int = 1,
    seeds: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Film pictures under a growing perturbation; film i is a pure function of (images[i], seeds[i], name, ...).

    Args:
        images: the pictures before the crop, [N, 3, H, W] or a list of [3, H, W] of any sizes, no side below `crop`
            (ImageNet-P: shorter side 256 for crop 224); types as for `corrupt`.
        name: one of PERTURBATIONS, EXTRA_PERTURBATIONS or CIFAR_PERTURBATIONS.
        crop: side of the frames, from 32 px on. Up to 84 px the constants are those of CIFAR-10-P (32 px), above
            those of ImageNet-P (224 px); only at these two sizes are they the authors'.
        difficulty: 1, or for the three noises 2 or 3 (stronger noise).
        seeds: int64 [N]; where it is None they are drawn from `generator`.
        generator: as for `corrupt`.

    Returns:
        [N, T, 3, crop, crop] in the type and on the device of `images`; T is 31, but 41 for translate, and at 32 px
        21 for motion_blur and 16 for translate. Frame 0 is the clean crop for the noises and zoom_blur; frame 15 is
        for rotate and shear; for translate it is frame 20, and 7 at 32 px.

    Raises:
        ValueError: unknown name, difficulty or size; wrong shape, type or range.
        DataError: OpenCV does not import.
    """
    _check_name(name, perturbations.FILMS, "perturbation")
    if (_whole(crop) or 0) < _SMALLEST:
        raise ValueError(f"crop must be a whole number of pixels from {_SMALLEST} on, got {crop!r}")
    hardest = perturbations.DIFFICULTIES.get(name, 1)
    if _whole(difficulty) not in range(1, hardest + 1):
        raise ValueError(f"{name} has difficulties 1 to {hardest}, got {difficulty!r}")
    crop, difficulty = int(crop), int(difficulty)
    if not (isinstance(images, list | tuple) or (isinstance(images, Tensor) and images.ndim == 4)):
        raise ValueError(f"images must be a tensor [N, 3, H, W] or a list of pictures, got {type(images).__name__}")
    if not len(images):
        raise ValueError("images is empty; give at least one picture")
    pictures = [image[None] if isinstance(image, Tensor) else image for image in images]
    for picture in pictures:
        _check_images(picture, crop)
        if (picture.dtype, picture.device) != (pictures[0].dtype, pictures[0].device):
            raise ValueError(
                f"pictures must be of one type on one device, got {pictures[0].dtype} on {pictures[0].device} "
                f"and {picture.dtype} on {picture.device}"
            )
    seeds = _seeds(seeds, generator, len(pictures))
    device = pictures[0].device
    shape = (num_frames(name, crop), 3, crop, crop)
    films = torch.empty(len(pictures), *shape, dtype=pictures[0].dtype, device=device)

    def work(rows: slice) -> None:
        for row in range(rows.start, rows.stop):
            draws = Draws(seeds[row : row + 1], f"perturbation/{name}/{difficulty}", device)
            picture = _levels(pictures[row])[0]
            shot = Shot(picture=picture, crop=crop, draws=draws, difficulty=difficulty)
            films[row] = _like(perturbations.FILMS[name](shot), films)

    by_slices(len(pictures), math.prod(shape), device, work)
    return films


def _check_images(images: Tensor, smallest: int = _SMALLEST) -> None:
    """Refuse what is no batch of RGB images, floating point in [0, 1] or uint8.

    Raises:
        ValueError: says what is wrong.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a torch tensor [N, 3, H, W], got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be RGB [N, 3, H, W], got {list(images.shape)}")
    if min(images.shape[-2:]) < smallest:
        raise ValueError(f"images must be at least {smallest} px wide and high, got {list(images.shape[-2:])}")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise ValueError(f"images must be floating point in [0, 1] or uint8, got {images.dtype}")
    if images.numel():
        low, high = (float(bound) for bound in images.detach().aminmax())
        if not (low >= 0 and high <= 1):  # nan is in no range
            raise ValueError(f"images must lie in [0, 1], got {low:.4g}..{high:.4g}; divide 8-bit levels by 255")


def _levels(images: Tensor) -> Tensor:
    """The images as contiguous uint8; floating point is rounded to the nearest level."""
    levels = images if images.dtype == torch.uint8 else images.detach().float().mul(255).round_().to(torch.uint8)
    return levels.contiguous()


def _like(pixels: Tensor, images: Tensor) -> Tensor:
    """uint8 pixels in the dtype of `images`; 255 is 1."""
    return pixels if images.dtype == torch.uint8 else unit(pixels).to(images.dtype)


def _seeds(seeds: Tensor | None, generator: torch.Generator | None, count: int) -> Tensor:
    if seeds is None:
        return torch.randint(2**63 - 1, (count,), generator=generator)
    if not isinstance(seeds, Tensor) or seeds.dtype != torch.int64 or seeds.shape != (count,):
        got = f"{seeds.dtype} {list(seeds.shape)}" if isinstance(seeds, Tensor) else type(seeds).__name__
        raise ValueError(f"seeds must be an int64 tensor [{count}], got {got}")
    return seeds.cpu()


def _whole(value: Any) -> int | None:
    """A whole number of Python's or NumPy's, which True is not; None for anything else."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def _check_name(name: str, known: Collection[str], kind: str) -> None:
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}{suggest(str(name), known)}")
