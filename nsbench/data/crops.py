"""Photographs as a student sees them: random resized crop, flip, RandAugment, Cutout (official `preprocessing.py`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsbench.data.augment import distort
from nsbench.data.pictures import MAX_IMAGE_PIXELS, View, decode
from nsbench.data.randaugment import below
from nsbench.trainingconfig import NoiseConfig

CROP_MARGIN_PX = 32
"""The official `CROP_PADDING`: an image without noise is the middle size / (size + 32) of its shorter side."""

CROP_ATTEMPTS = 10
"""Random crops that may fail to fit into the picture before the middle is taken (official `max_attempts`)."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, right and bottom just outside."""


def plain_view(size: int) -> View:
    """An image without noise, at `size` px: shorter side to size + 32, middle cut out, bicubic.

    The official code cuts out first and resizes then, without antialiasing.
    """
    return View(size=size, resize=size + CROP_MARGIN_PX, interpolation="bicubic")


def generation_view(size: int, *, photographs: bool) -> View:
    """How a model that was trained at `size` px labels and is measured: photographs as `plain_view`, others resized."""
    return plain_view(size) if photographs else View(size=size, resize=size, interpolation="bicubic")


def training_view(
    stored: Path | BinaryIO, size: int, noise: NoiseConfig, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """One photograph with a student's noise, in the official order: crop, resize, flip, RandAugment, always-on Cutout.

    Where no crop fits, or it is the whole picture, the middle of `plain_view` takes its place, as in the official code.
    Pillow's antialiased bicubic filter resizes; the official code's has none. A JPEG of which the crop has at least
    twice `size` is decoded at a half, a quarter or an eighth, by libjpeg.

    Args:
        stored: a path or an open binary file, as for `decode`.
        size: side of the result in pixels.
        noise: all of it but `crop_padding_px`.
        rng: the only source of randomness.

    Returns:
        uint8 [size, size, 3], a new array.

    Raises:
        BadImage: as `decode`.
    """
    picture = _crop(stored, size, noise, rng)
    if noise.flip and rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return distort(np.asarray(picture), noise, rng).copy()  # Pillow's arrays are read-only


def crop_box(width: int, height: int, noise: NoiseConfig, rng: np.random.Generator) -> Box | None:
    """A random crop as TensorFlow's `sample_distorted_bounding_box` has it; None where ten attempts do not fit.

    The ratio of width to height is uniform over `noise.crop_ratio`; then the height is uniform over whole pixels
    between those that give the least and the most of `noise.crop_area`, as far as the crop fits into the picture; then
    the place is uniform. torchvision's `RandomResizedCrop` differs: there the logarithm of the ratio is uniform, the
    area is, and crops that do not fit are drawn again, not made smaller.

    Two differences from the official code: its places leave out the last row and column, and it refuses crops of less
    than a tenth of the picture, whatever the area is told to be (`min_object_covered`): `crop_area` = (0.1, 1) has
    those.
    """
    least, most = noise.crop_area
    for _ in range(CROP_ATTEMPTS):
        ratio = noise.crop_ratio[0] + rng.random() * (noise.crop_ratio[1] - noise.crop_ratio[0])
        smallest, largest = (math.sqrt(share * width * height / ratio) for share in (least, most))
        largest = min(largest, height, width / ratio)
        if smallest > largest:
            continue
        lowest = max(1, round(smallest))
        tall = lowest + below(max(1, round(largest) - lowest + 1), rng)
        wide = min(width, max(1, round(tall * ratio)))
        left, top = below(width - wide + 1, rng), below(height - tall + 1, rng)
        return left, top, left + wide, top + tall
    return None


def _crop(stored: Path | BinaryIO, size: int, noise: NoiseConfig, rng: np.random.Generator) -> Image.Image:
    """The random crop, or the middle, as RGB of `size` px."""
    try:
        with Image.open(stored) as image:
            fits = image.width * image.height <= MAX_IMAGE_PIXELS
            box = crop_box(*image.size, noise, rng) if fits else None
            if box is not None and box != (0, 0, *image.size):
                return _resized(image, box, size)
    except Exception:
        decode(stored)  # which says what is wrong, in the words of every other reader
        raise
    return Image.fromarray(plain_view(size).show(stored))


def _resized(image: Image.Image, box: Box, size: int) -> Image.Image:
    """The part `box` of an image that is not yet loaded, as RGB of `size` px."""
    left, top, right, bottom = box
    width, height = image.size
    spare = min(right - left, bottom - top) // size
    drafted = image.draft(None, (width // spare, height // spare)) if spare > 1 else None
    picture = image if image.mode == "RGB" else image.convert("RGB")
    if drafted is None:
        return picture.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    scale = drafted[1][2] / width  # what libjpeg decoded at: a half, a quarter or an eighth
    inner = (left * scale, top * scale, right * scale, bottom * scale)
    return picture.resize((size, size), Image.Resampling.BICUBIC, inner)
