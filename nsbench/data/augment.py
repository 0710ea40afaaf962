"""A student's noise on images: RandAugment on the official scale, Cutout, crop and flip (paper section 2.2 and 3.1).

Semantics are those of the official `randaugment.py` (`FLAGS.cutout_op` on): N operations drawn uniformly with
replacement, each always applied at magnitude M of 10, extrapolated above 10. The arithmetic is Pillow's, which the
official TensorFlow code imitates. Where the two differ, on purpose:

- Contrast blends with the mean grey, as Pillow does. The official code divides the number of pixels, not their sum,
  by 256, and so blends with an accident of the image's size (4 at 32 px, 196 at 224 px).
- Greys (Color, Contrast) and the smoothed image (Sharpness) are rounded, not truncated: at most one level apart.
- Posterize to 8 bits or more and Solarize from 256 on leave the image as it is; there the official code shifts by a
  negative number and compares bytes with a number that is none. Posterize to 0 bits is black, as in the official code.
- Sharpness leaves images of less than 3 px on a side as they are.

Magnitude is not severity: Posterize and Solarize are harsher where it is small, and at 5 the four enhancements do
nothing (factor 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from nsbench.config import NoiseConfig

GREY = 128
"""Fills what rotation, shear, translation and Cutout leave empty."""

_Op = Callable[[Image.Image, float, np.random.Generator, NoiseConfig], Image.Image]


def augment(pixels: npt.NDArray[np.uint8], noise: NoiseConfig, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One image with a student's noise, in the order of the official small-image recipe (`preprocessing.py`).

    RandAugment, then the always-on Cutout (centre uniform over the image, clipped at its border), then reflect padding
    and a random crop of the original size, then a flip.

    Args:
        pixels: uint8 [H, W, 3], H and W at least 1; left as it is.
        noise: operations and magnitudes; `on_labelled` and `on_unlabelled` are the caller's business.
        rng: the only source of randomness.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    height, width = pixels.shape[:2]
    if noise.num_ops:
        image = Image.fromarray(pixels)
        for op in rng.integers(len(RANDAUGMENT_OPS), size=noise.num_ops):
            image = apply_op(image, RANDAUGMENT_OPS[op], noise.magnitude, rng, noise)
        pixels = np.asarray(image)
    if noise.always_cutout_px:
        left, top, right, bottom = _hole(width, height, noise.always_cutout_px, rng)
        pixels = pixels.copy()
        pixels[top:bottom, left:right] = GREY
    rows: npt.NDArray[np.integer] = np.arange(height)
    columns: npt.NDArray[np.integer] = np.arange(width)
    if noise.crop_padding_px:
        down, across = rng.integers(-noise.crop_padding_px, noise.crop_padding_px, size=2, endpoint=True)
        rows, columns = _reflect(rows + down, height), _reflect(columns + across, width)
    if noise.flip and rng.random() < 0.5:
        columns = columns[::-1]
    return pixels.take(rows, axis=0).take(columns, axis=1)


def apply_op(
    image: Image.Image, op: str, magnitude: float, rng: np.random.Generator, noise: NoiseConfig
) -> Image.Image:
    """One operation of `RANDAUGMENT_OPS` on an RGB image of any size.

    Args:
        image: mode RGB; left as it is.
        op: one of `RANDAUGMENT_OPS`.
        magnitude: 0 or more; 10 is the official `_MAX_LEVEL`, above it the scale is extrapolated.
        rng: draws the sign of Rotate, Shear and Translate and the place of Cutout, nothing else.
        noise: `translate_px` and `cutout_px`, the sizes at magnitude 10.

    Returns:
        An RGB image of the same size.
    """
    return _OPS[op](image, magnitude / 10, rng, noise)


def _auto_contrast(image: Image.Image, *_: object) -> Image.Image:
    low, high = np.array(image.getextrema(), np.float64).T[..., np.newaxis]  # [C, 1] each
    values = np.arange(256)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 255 / (high - low)
        stretched = values * scale - low * scale
    return _look_up(image, np.where(high > low, stretched, values))


def _equalize(image: Image.Image, *_: object) -> Image.Image:
    counts = np.array(image.histogram()).reshape(-1, 256)  # [C, 256]
    below = np.cumsum(counts, axis=1) - counts  # pixels darker than each value
    step = np.where(counts > 0, below, 0).max(axis=1, keepdims=True) // 255  # all but those of the brightest value
    return _look_up(image, np.where(step > 0, (below + step // 2) // np.maximum(step, 1), np.arange(256)))


def _invert(image: Image.Image, *_: object) -> Image.Image:
    return _look_up(image, 255 - np.arange(256))


def _rotate(image: Image.Image, level: float, rng: np.random.Generator, _: NoiseConfig) -> Image.Image:
    return image.rotate(_either_sign(30 * level, rng), fillcolor=(GREY, GREY, GREY))


def _posterize(image: Image.Image, level: float, *_: object) -> Image.Image:
    shift = max(0, 8 - int(level * 4))
    return _look_up(image, (np.arange(256) >> shift) << shift)


def _solarize(image: Image.Image, level: float, *_: object) -> Image.Image:
    values = np.arange(256)
    return _look_up(image, np.where(values < int(level * 256), values, 255 - values))


def _solarize_add(image: Image.Image, level: float, *_: object) -> Image.Image:
    values = np.arange(256)
    return _look_up(image, np.where(values < 128, values + int(level * 110), values))


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> _Op:
    return lambda image, level, *_: kind(image).enhance(level * 1.8 + 0.1)


def _shear_x(image: Image.Image, level: float, rng: np.random.Generator, _: NoiseConfig) -> Image.Image:
    slope = _either_sign(level * 0.3, rng)
    return _affine(image, (1, slope, -slope / 2, 0, 1, 0))


def _shear_y(image: Image.Image, level: float, rng: np.random.Generator, _: NoiseConfig) -> Image.Image:
    slope = _either_sign(level * 0.3, rng)
    return _affine(image, (1, 0, 0, slope, 1, -slope / 2))


def _translate_x(image: Image.Image, level: float, rng: np.random.Generator, noise: NoiseConfig) -> Image.Image:
    return _affine(image, (1, 0, _either_sign(level * noise.translate_px, rng), 0, 1, 0))


def _translate_y(image: Image.Image, level: float, rng: np.random.Generator, noise: NoiseConfig) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, _either_sign(level * noise.translate_px, rng)))


def _cutout(image: Image.Image, level: float, rng: np.random.Generator, noise: NoiseConfig) -> Image.Image:
    image = image.copy()
    image.paste((GREY, GREY, GREY), _hole(*image.size, 2 * int(level * noise.cutout_px), rng))
    return image


def _look_up(image: Image.Image, table: npt.NDArray[Any]) -> Image.Image:
    """Every value replaced by its entry of `table`, [256] for all channels or [3, 256], clipped to 0..255, truncated.

    `Image.point` does the same in four times the time of a small image.
    """
    levels = table.clip(0, 255).astype(np.uint8)
    if levels.ndim == 1:
        return Image.frombytes("RGB", image.size, image.tobytes().translate(levels.tobytes()))
    return Image.fromarray(levels[np.arange(3), np.asarray(image)])


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Nearest neighbour, output (x, y) from input (a x + b y + c, d x + e y + f).

    Pillow shears about the image's corner, the official code about the first pixel's centre: hence the half slopes.
    """
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=(GREY, GREY, GREY))


def _hole(width: int, height: int, side: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a square round a pixel that is uniform over the image, clipped at the border."""
    left, top = int(rng.integers(width)) - side // 2, int(rng.integers(height)) - side // 2
    return max(0, left), max(0, top), min(width, left + side), min(height, top + side)


def _reflect(positions: npt.NDArray[np.integer], length: int) -> npt.NDArray[np.integer]:
    """Positions folded into 0..length-1 without repeating the border, as `numpy.pad(mode="reflect")` has them."""
    period = max(1, 2 * (length - 1))
    folded = positions % period
    return np.minimum(folded, period - folded) if length > 1 else folded


def _either_sign(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


_OPS: dict[str, _Op] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "SolarizeAdd": _solarize_add,
    "Cutout": _cutout,
}

RANDAUGMENT_OPS: tuple[str, ...] = tuple(_OPS)
"""The sixteen operations in the official order."""
