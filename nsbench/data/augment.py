"""Image noise of a student: the paper's RandAugment, Cutout and a padded crop (official randaugment.py, preprocessing.py).

Magnitudes live on the official 0-10 scale and extrapolate above 10: with l = M / 10, Rotate turns by 30 l degrees,
Posterize keeps int(4 l) bits, Solarize inverts from int(256 l) on, and so on. Posterize of 8 bits or more and Solarize
from 256 on are the identity. The scale is not monotone: small magnitudes posterize and solarize harder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from nsbench.config import NoiseConfig

GREY = (128, 128, 128)
"""Fill of what an operation leaves empty."""

Rng = np.random.Generator
_Op = Callable[[Image.Image, float, Rng, NoiseConfig], Image.Image]


def _sign(rng: Rng) -> int:
    return 1 if rng.random() < 0.5 else -1


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=GREY)


def _rotate(image: Image.Image, level: float, rng: Rng, _noise: NoiseConfig) -> Image.Image:
    return image.rotate(_sign(rng) * 30 * level, fillcolor=GREY)


def _posterize(image: Image.Image, level: float, _rng: Rng, _noise: NoiseConfig) -> Image.Image:
    bits = int(4 * level)
    return image if bits >= 8 else image.point([value & (0xFF << (8 - bits)) & 0xFF for value in range(256)] * 3)


def _solarize(image: Image.Image, level: float, _rng: Rng, _noise: NoiseConfig) -> Image.Image:
    threshold = int(256 * level)
    return image if threshold >= 256 else ImageOps.solarize(image, threshold)


def _solarize_add(image: Image.Image, level: float, _rng: Rng, _noise: NoiseConfig) -> Image.Image:
    added = int(110 * level)
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * 3)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> _Op:
    def apply(image: Image.Image, level: float, _rng: Rng, _noise: NoiseConfig) -> Image.Image:
        return kind(image).enhance(1.8 * level + 0.1)

    return apply


def _shear_x(image: Image.Image, level: float, rng: Rng, _noise: NoiseConfig) -> Image.Image:
    return _affine(image, (1, _sign(rng) * 0.3 * level, 0, 0, 1, 0))


def _shear_y(image: Image.Image, level: float, rng: Rng, _noise: NoiseConfig) -> Image.Image:
    return _affine(image, (1, 0, 0, _sign(rng) * 0.3 * level, 1, 0))


def _translate_x(image: Image.Image, level: float, rng: Rng, noise: NoiseConfig) -> Image.Image:
    return _affine(image, (1, 0, _sign(rng) * noise.translate_px * level, 0, 1, 0))


def _translate_y(image: Image.Image, level: float, rng: Rng, noise: NoiseConfig) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, _sign(rng) * noise.translate_px * level))


def _cutout(image: Image.Image, level: float, rng: Rng, noise: NoiseConfig) -> Image.Image:
    return cut_out(image, int(noise.cutout_px * level), rng)


def cut_out(image: Image.Image, half_side: int, rng: Rng) -> Image.Image:
    """A grey square around a centre drawn from the whole image, clipped at the border (DeVries and Taylor, 2017)."""
    if half_side == 0:
        return image
    x, y = int(rng.integers(image.width)), int(rng.integers(image.height))
    image = image.copy()
    image.paste(GREY, (max(0, x - half_side), max(0, y - half_side), min(image.width, x + half_side), min(image.height, y + half_side)))
    return image


_OPS: dict[str, _Op] = {
    "AutoContrast": lambda image, *_: ImageOps.autocontrast(image),
    "Equalize": lambda image, *_: ImageOps.equalize(image),
    "Invert": lambda image, *_: ImageOps.invert(image),
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
    "Cutout": _cutout,
    "SolarizeAdd": _solarize_add,
}

RANDAUGMENT_OPS: tuple[str, ...] = tuple(_OPS)
"""The 16 operations of the official code; there is no identity among them."""


def apply_op(image: Image.Image, op: str, magnitude: float, rng: Rng, noise: NoiseConfig) -> Image.Image:
    """One operation on an RGB image of any size at a magnitude of 0 to 30; directions are drawn from `rng`."""
    return _OPS[op](image, magnitude / 10, rng, noise)


def augment(pixels: npt.NDArray[np.uint8], noise: NoiseConfig, rng: Rng) -> npt.NDArray[np.uint8]:
    """Noise on one image uint8 [H, W, 3]; the result has the same shape and dtype.

    The official order for small images: RandAugment (N operations drawn with replacement, each always applied), Cutout
    on every image, reflect padding and a random crop, a horizontal flip with probability 1/2.
    """
    image = Image.fromarray(pixels)
    for index in rng.integers(len(RANDAUGMENT_OPS), size=noise.num_ops):
        image = apply_op(image, RANDAUGMENT_OPS[index], noise.magnitude, rng, noise)
    image = cut_out(image, noise.always_cutout_px // 2, rng)
    array = np.asarray(image)
    if noise.crop_padding_px:
        array = _padded_crop(array, noise.crop_padding_px, rng)
    if noise.flip and rng.random() < 0.5:
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _padded_crop(array: npt.NDArray[np.uint8], padding: int, rng: Rng) -> npt.NDArray[np.uint8]:
    height, width = array.shape[:2]
    top, left = rng.integers(2 * padding + 1, size=2)
    padded = np.pad(array, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    return padded[top : top + height, left : left + width]
