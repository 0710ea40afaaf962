"""One photograph as pixels: those of torchvision's `Resize` and `CenterCrop` on Pillow images, bit for bit.

Like torchvision, nothing here turns an image by its EXIF orientation: every published ImageNet figure was measured on
the pixels as they are stored.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
T = TypeVar("T")

MAX_IMAGE_PIXELS = 2**27
"""An image that is larger, stored or resized, is refused unread; ImageNet's largest has 61 million pixels."""

_FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}


class BadImage(Exception):
    """One file that is no image we can show; says why in a few words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """How a stored image becomes the square of pixels that a model is shown."""

    size: int
    """Side of the square in pixels."""
    resize: int | None
    """Length that the shorter side is resized to first; None leaves the image as it is, and only crops."""
    interpolation: Interpolation = "bilinear"
    squash: bool = False
    """Resize both sides to `resize`, whatever the image's shape (timm's crop mode `squash`)."""
    border: int = 0
    """Pixels cut from every side of the stored image first: ObjectNet's have a red border of 2."""

    def __post_init__(self) -> None:
        if self.size <= 0 or (self.resize is not None and self.resize < self.size):
            raise ValueError(f"a crop of {self.size} px must be positive and at most the resized {self.resize} px")

    @classmethod
    def of_crop(cls, size: int, crop_pct: float, interpolation: Interpolation, *, squash: bool = False) -> View:
        """timm's `transforms_imagenet_eval`: the shorter side becomes floor(size / crop_pct)."""
        return cls(size=size, resize=math.floor(size / crop_pct), interpolation=interpolation, squash=squash)

    def __str__(self) -> str:
        """For protocols: `shorter side resized to 256 (bilinear), middle 224 cropped`."""
        cut = f"border of {self.border} cut, " if self.border else ""
        if self.resize is None:
            return f"{cut}no resize, middle {self.size} cropped"
        resized = "both sides" if self.squash else "shorter side"
        return f"{cut}{resized} resized to {self.resize} ({self.interpolation}), middle {self.size} cropped"

    def show(self, stored: Path | BinaryIO) -> npt.NDArray[np.uint8]:
        """The square uint8 [size, size, 3] of one stored image.

        Raises:
            BadImage: as `decode`; or the image is smaller than the square and is not resized.
        """
        pixels = decode(stored, self.resize, self.interpolation, squash=self.squash, border=self.border)
        if min(pixels.shape[:2]) < self.size:
            raise BadImage(f"{pixels.shape[1]} x {pixels.shape[0]} is smaller than {self.size} px")
        return center_crop(pixels, self.size)


def decode(
    stored: Path | BinaryIO,
    resize: int | None = None,
    interpolation: Interpolation = "bilinear",
    *,
    squash: bool = False,
    border: int = 0,
) -> npt.NDArray[np.uint8]:
    """One image as RGB, its shorter side resized as torchvision's `Resize(resize)` does it, not cropped.

    Args:
        stored: a path or an open binary file; any format of `IMAGE_SUFFIXES`, and any mode that Pillow converts to
            RGB; transparency is dropped.
        resize: length of the shorter side in pixels; None leaves the size as it is.
        interpolation: Pillow's filter.
        squash: resize both sides to `resize`.
        border: pixels cut from every side first.

    Returns:
        uint8 [H, W, 3]; with `resize`, min(H, W) is `resize` and the longer side is rounded down.

    Raises:
        BadImage: the file is missing, damaged, cut off, too large or no image.
    """
    try:
        with Image.open(stored) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise BadImage(f"{image.width} x {image.height} pixels are too many")
            box = (border, border, image.width - border, image.height - border)
            inner = _inside(image.size, border)
            size = inner if resize is None else (resize, resize) if squash else resized(inner, resize)
            if size[0] * size[1] > MAX_IMAGE_PIXELS:
                raise BadImage(f"{image.width} x {image.height} is too narrow to be resized")
            picture = image.convert("RGB").crop(box) if border else image.convert("RGB")
            if size != picture.size:
                picture = picture.resize(size, _FILTERS[interpolation])
            return np.asarray(picture)
    except BadImage:
        raise
    except Exception as error:  # each of Pillow's decoders raises its own
        raise BadImage(_why(error, stored)) from None


def _inside(size: tuple[int, int], border: int) -> tuple[int, int]:
    """Width and height without the border."""
    width, height = size
    if min(size) <= 2 * border:
        raise BadImage(f"{width} x {height} pixels have no room for a border of {border}")
    return width - 2 * border, height - 2 * border


def _why(error: Exception, stored: Path | BinaryIO) -> str:
    """A few words on one line, without the name of the file or of an object in memory."""
    if isinstance(error, UnidentifiedImageError):
        size = stored.stat().st_size if isinstance(stored, Path) else stored.seek(0, os.SEEK_END)
        return "no image of a known format" if size else "an empty file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "".join(str(error).splitlines()[:1]) or type(error).__name__


def resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height after torchvision's `Resize(shorter)`: the longer side is rounded down."""
    width, height = size
    longer = int(shorter * max(size) / min(size))
    return (shorter, longer) if width <= height else (longer, shorter)


def center_crop(pixels: npt.NDArray[np.uint8], crop: int) -> npt.NDArray[np.uint8]:
    """The middle [crop, crop, 3] of [H, W, 3], H and W at least `crop`; torchvision rounds half-pixels to even."""
    top, left = (round((length - crop) / 2) for length in pixels.shape[:2])
    return pixels[top : top + crop, left : left + crop]


def in_threads(function: Callable[[int], T], rows: Sequence[int], workers: int | None = None) -> Iterator[T]:
    """`map(function, rows)`, computed ahead in threads; what has not begun is dropped when the caller stops."""
    pool = ThreadPoolExecutor(workers or default_workers(), "decode")
    try:
        yield from pool.map(function, rows)
    finally:
        pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """One thread a core that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)
