"""RandAugment's sixteen operations on the official 0-10 scale, extrapolated above it (paper, section 3.1).

Semantics are those of the official `randaugment.py`; the arithmetic is Pillow's, which that TensorFlow code imitates.
Where the two differ, on purpose:

- Contrast blends with the mean grey, as Pillow does. The official code divides the number of pixels, not their sum,
  by 256, and so blends with an accident of the image's size (4 at 32 px, 196 at 224 px).
- Greys (Color, Contrast) and the smoothed image (Sharpness) are rounded, not truncated: at most one level apart.
- Posterize to 8 bits or more and Solarize from 256 on leave the image as it is; there the official code shifts by a
  negative number and compares bytes with a number that is none. Posterize to 0 bits is black, as in the official code.
- Sharpness leaves images of less than 3 px on a side as they are.

In the variant `official` magnitude is not severity: Posterize and Solarize are harsher where it is small, and at 5 the
four enhancements do nothing (factor 1). `monotone` mends that after timm's `inc` operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsbench.data.randaugment_levels import level_arguments
from nsbench.trainingconfig import NoiseConfig

Pixels = npt.NDArray[np.uint8]

GREY = 128
"""Fills what rotation, shear, translation and Cutout leave empty."""

_RGB_GREY = (GREY, GREY, GREY)
_VALUES = np.arange(256, dtype=np.uint8)


def rand_augment(pixels: Pixels, noise: NoiseConfig, rng: np.random.Generator) -> Pixels:
    """`noise.num_ops` operations, drawn uniformly with replacement, each always applied at `noise.magnitude`.

    Args:
        pixels: uint8 [H, W, 3], H and W at least 1; left as it is.

    Returns:
        uint8 [H, W, 3]; `pixels` itself where nothing changed.
    """
    for _ in range(noise.num_ops):
        pixels = apply_op(pixels, RANDAUGMENT_OPS[below(len(RANDAUGMENT_OPS), rng)], noise.magnitude, rng, noise)
    return pixels


def apply_op(pixels: Pixels, op: str, magnitude: float, rng: np.random.Generator, noise: NoiseConfig) -> Pixels:
    """One operation of `RANDAUGMENT_OPS` at any magnitude of 0 or more.

    Args:
        pixels: uint8 [H, W, 3], H and W at least 1; left as it is.
        rng: picks one of `level_arguments` and the place of Cutout, nothing else.

    Returns:
        uint8 [H, W, 3]; `pixels` itself where nothing changed.
    """
    arguments = level_arguments(op, magnitude, noise)
    chosen = arguments[below(len(arguments), rng)] if len(arguments) > 1 else arguments[0] if arguments else 0.0
    return _OPS[op](pixels, chosen, rng)


def cut_out(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """A grey square round a pixel that is uniform over the image, clipped at the border; a new array.

    Args:
        pixels: uint8 [H, W, 3]; left as it is.
        side: of the square, in pixels; an even one reaches `side / 2` to the left and above, one less the other way.
    """
    height, width = pixels.shape[:2]
    left, top = below(width, rng) - side // 2, below(height, rng) - side // 2
    pixels = pixels.copy()
    pixels[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = GREY
    return pixels


def below(count: int, rng: np.random.Generator) -> int:
    """Uniform over 0..count-1. A third of the time of `Generator.integers`, whose algorithm NumPy may change."""
    return int(rng.random() * count)


def _auto_contrast(pixels: Pixels, *_: object) -> Pixels:
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, 3 * width)
    low, high = (  # rows first: NumPy is slow along an axis of 3
        extreme(extreme(rows, axis=0).reshape(width, 3), axis=0).astype(np.float64)[:, np.newaxis]  # [3, 1]
        for extreme in (np.min, np.max)
    )
    if (high - low == 255).all():
        return pixels  # as most photographs are
    scale = 255 / np.maximum(high - low, 1)
    return _replace(pixels, np.where(high > low, _VALUES * scale - low * scale, _VALUES))


def _equalize(pixels: Pixels, *_: object) -> Pixels:
    counts = np.fromiter(Image.fromarray(pixels).histogram(), np.int64, 768).reshape(3, 256)
    below_it = np.cumsum(counts, axis=1) - counts  # pixels darker than each value
    step = np.where(counts > 0, below_it, 0).max(axis=1, keepdims=True) // 255  # all but those of the brightest value
    return _replace(pixels, np.where(step > 0, (below_it + step // 2) // np.maximum(step, 1), _VALUES))


def _replace(pixels: Pixels, tables: npt.NDArray[Any]) -> Pixels:
    """Every value replaced by its entry of the table [256], or of its channel's [3, 256]; clipped and truncated.

    `bytes.translate` does it in a quarter of the time of indexing.
    """
    tables = tables.clip(0, 255).astype(np.uint8)
    if tables.ndim == 1:
        return np.frombuffer(pixels.tobytes().translate(tables.tobytes()), np.uint8).reshape(pixels.shape)
    result = np.empty_like(pixels)
    for channel in range(3):
        result[..., channel] = _replace(pixels[..., channel], tables[channel])
    return result


def _invert(pixels: Pixels, *_: object) -> Pixels:
    return ~pixels


def _posterize(pixels: Pixels, bits: float, *_: object) -> Pixels:
    return pixels & np.uint8(256 - (1 << 8 - int(bits))) if bits < 8 else pixels


def _solarize(pixels: Pixels, threshold: float, *_: object) -> Pixels:
    return pixels ^ _all_bits(pixels >= threshold) if threshold < 256 else pixels


def _solarize_add(pixels: Pixels, addition: float, *_: object) -> Pixels:
    added = pixels + (np.uint8(min(255, addition)) & _all_bits(pixels < 128))
    return added | _all_bits(added < pixels)  # what ran over 255 is 255


def _all_bits(where: npt.NDArray[np.bool_]) -> Pixels:
    """255 or 0: with bitwise arithmetic a fraction of the time of `numpy.where`."""
    return -where.view(np.uint8)


def _color(pixels: Pixels, factor: float, *_: object) -> Pixels:
    grey = Image.fromarray(pixels).convert("L").convert("RGB")
    return _blend(np.asarray(grey), pixels, factor)


def _contrast(pixels: Pixels, factor: float, *_: object) -> Pixels:
    mean = int(np.asarray(Image.fromarray(pixels).convert("L")).mean() + 0.5)
    return _replace(pixels, _blend(np.full_like(_VALUES, mean), _VALUES, factor))


def _brightness(pixels: Pixels, factor: float, *_: object) -> Pixels:
    return _replace(pixels, _blend(np.zeros_like(_VALUES), _VALUES, factor))


def _sharpness(pixels: Pixels, factor: float, *_: object) -> Pixels:
    if min(pixels.shape[:2]) < 3:
        return pixels
    wide = pixels.astype(np.uint16)
    across = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = across[:-2] + across[1:-1] + across[2:] + 4 * wide[1:-1, 1:-1]  # Pillow's SMOOTH: 13 in all, 5 the middle
    smooth = pixels.copy()
    smooth[1:-1, 1:-1] = (2 * total + 13) // 26  # a thirteenth, rounded
    return _blend(smooth, pixels, factor)


def _blend(other: Pixels, pixels: Pixels, factor: float) -> Pixels:
    """`other` at factor 0, `pixels` at 1, extrapolated beyond; clipped and truncated. Pillow's arithmetic: float32."""
    start = other.astype(np.float32)
    blended = (pixels - start) * np.float32(factor)
    blended += start
    return blended.clip(0, 255, out=blended).astype(np.uint8)


def _rotate(pixels: Pixels, degrees: float, *_: object) -> Pixels:
    return np.asarray(Image.fromarray(pixels).rotate(degrees, fillcolor=_RGB_GREY))


def _shear_x(pixels: Pixels, slope: float, *_: object) -> Pixels:
    return _affine(pixels, (1, slope, -slope / 2, 0, 1, 0))


def _shear_y(pixels: Pixels, slope: float, *_: object) -> Pixels:
    return _affine(pixels, (1, 0, 0, slope, 1, -slope / 2))


def _affine(pixels: Pixels, matrix: tuple[float, ...]) -> Pixels:
    """Nearest neighbour, output (x, y) from input (a x + b y + c, d x + e y + f).

    Pillow shears about the image's corner, the official code about the first pixel's centre: hence the half slopes.
    """
    image = Image.fromarray(pixels)
    return np.asarray(image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_RGB_GREY))


def _translate_x(pixels: Pixels, distance: float, *_: object) -> Pixels:
    return _translate_y(pixels.swapaxes(0, 1), distance).swapaxes(0, 1)


def _translate_y(pixels: Pixels, distance: float, *_: object) -> Pixels:
    shift, height = int(np.floor(distance + 0.5)), len(pixels)  # the nearest pixel's
    moved = np.full_like(pixels, GREY)
    moved[max(0, -shift) : max(0, height - shift)] = pixels[max(0, shift) : max(0, height + shift)]
    return moved


def _cutout(pixels: Pixels, half_side: float, rng: np.random.Generator) -> Pixels:
    return cut_out(pixels, 2 * int(half_side), rng)


_OPS: dict[str, Callable[[Pixels, float, np.random.Generator], Pixels]] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "Color": _color,
    "Contrast": _contrast,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "SolarizeAdd": _solarize_add,
    "Cutout": _cutout,
}

RANDAUGMENT_OPS: tuple[str, ...] = tuple(_OPS)
"""The sixteen operations in the official order."""
