"""The five blurs of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py and its siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tests.corruptions.reference.noise import Floats, Pixels, to_bytes_scale
from tests.corruptions.reference.randomness import Generators


def smooth(
    stack: Floats, sigma: float, *, mode: Literal["nearest", "reflect"] = "nearest", truncate: float = 4.0
) -> Floats:
    """Gaussian-filter the axes 1 and 2 of `stack` [N, H, W, ...] with the defaults of skimage.filters.gaussian."""
    sigmas = (0.0, sigma, sigma, *[0.0] * (stack.ndim - 3))
    return ndimage.gaussian_filter(stack, sigmas, mode=mode, truncate=truncate)


def gaussian_blur(images: Pixels, sigma: float, _rngs: Generators) -> Floats:
    """Gaussian blur, the edge pixels repeated outwards, the kernel cut at four sigma."""
    return to_bytes_scale(smooth(images / 255.0, sigma))


def defocus_blur(images: Pixels, parameters: Sequence[float], _rngs: Generators) -> Floats:
    """Blur with an antialiased disk: (radius, sigma of the antialiasing)."""
    kernel = disk(*parameters)
    filter_image = cv2.filter2D
    return to_bytes_scale(np.stack([filter_image(image, -1, kernel) for image in images / 255.0]))


def disk(radius: float, alias_sigma: float) -> npt.NDArray[np.float32]:
    """Return a normalised disk whose rim is softened by a small Gaussian, 17 px wide at least."""
    reach, soften = (8.0, 3) if radius <= 8 else (radius, 5)
    line = np.arange(-reach, reach + 1)
    inside = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float32)
    kernel: npt.NDArray[np.float32] = cv2.GaussianBlur(inside / inside.sum(), (soften, soften), alias_sigma)
    return kernel


def glass_blur(images: Pixels, parameters: Sequence[float], rngs: Generators) -> Floats:
    """Blur, let pixels take a neighbour's value in place, blur again: (sigma, reach, passes)."""
    sigma, reach, passes = parameters[0], int(parameters[1]), int(parameters[2])
    blurred = (smooth(images / 255.0, sigma) * 255).astype(np.uint8)
    count, height, width = images.shape[:3]
    drawn = (passes, height - 2 * reach, width - 2 * reach, 2)  # (dx, dy); the upper bound is never drawn
    shifts = np.stack([rng.integers(-reach, reach, size=drawn) for rng in rngs])
    sources = displaced_sources(shifts, height, width)
    flat = blurred.reshape(count, height * width, 3)
    shuffled = np.take_along_axis(flat, sources[:, :, None], axis=1).reshape(images.shape)
    return to_bytes_scale(smooth(shuffled / 255.0, sigma))


def displaced_sources(shifts: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.int64]:
    """Say for each pixel of each image, [N, height * width], from which pixel its value comes in the end.

    The original means to swap two pixels, but its tuple assignment is of NumPy views: the second assignment
    reads what the first has written, so the pixel takes its neighbour's value and the neighbour keeps it.
    The order matters (bottom right to top left); the loop runs over pixels, and each step is one gather over
    all images.
    """
    count, passes, rows, columns, _ = shifts.shape
    reach = (height - rows) // 2
    row, column = np.mgrid[height - reach : reach : -1, width - reach : reach : -1]
    targets = np.tile((row * width + column).reshape(-1), passes)  # [steps]
    neighbours = (row + shifts[..., 1]) * width + column + shifts[..., 0]
    lookups = neighbours.reshape(count, passes * rows * columns).T * count + np.arange(count)  # [steps, N]
    sources = np.repeat(np.arange(height * width), count).reshape(height * width, count)
    flat = sources.reshape(-1)  # a view: the gathers see what earlier steps have written
    for target, lookup in zip(targets, lookups, strict=True):
        sources[target] = flat[lookup]
    return sources.T


def motion_blur(images: Pixels, parameters: Sequence[float], rngs: Generators) -> Pixels:
    """Blur along a random direction within 45 degrees of the horizontal: (radius, sigma)."""
    radius, sigma = parameters
    return directional_blur(images, radius, sigma, [rng.uniform(-45, 45) for rng in rngs])


def directional_blur(images: Pixels, radius: float, sigma: float, degrees: Sequence[float]) -> Pixels:
    """ImageMagick's motion blur of images [N, H, W, C], image i along `degrees[i]`.

    Semantics of MotionBlurImage (ImageMagick, magick/effect.c), with 16-bit quanta, to the bit: half a
    Gaussian that starts at the pixel and trails 2 * radius pixels along the angle, each tap on the nearest
    pixel, edges repeated.
    """
    reach = 2 * math.ceil(radius)
    falloff = np.exp(-(np.arange(reach + 1.0) ** 2) / (2 * sigma * sigma))
    weights = falloff / falloff.sum()
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge") * 257.0
    height, width = images.shape[1:3]
    quanta = np.zeros(images.shape)
    for image, sums, angle in zip(padded, quanta, degrees, strict=True):
        for weight, (dx, dy) in zip(weights, trail(angle, reach + 1), strict=True):
            sums[...] += weight * image[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    return quanta_to_bytes(quanta)


def trail(degrees: float, length: int) -> npt.NDArray[np.int64]:
    """Return the offsets (dx, dy) [length, 2] of the pixels nearest to a ray; halves round down."""
    radians = math.pi * degrees / 180  # the rounding of math.radians() differs, and with it some halves
    direction = np.array([length * math.cos(radians), length * math.sin(radians)])
    steps = np.arange(length)[:, None] * direction / math.hypot(*direction)
    offsets: npt.NDArray[np.int64] = np.ceil(steps - 0.5).astype(np.int64)
    return offsets


def quanta_to_bytes(quanta: Floats) -> Pixels:
    """Round to 16-bit quanta and cut these to 8 bits, as ImageMagick 6.9.11 writes a PNG (6.8 rounds twice)."""
    return ((quanta + 0.5).astype(np.uint16) // 257).astype(np.uint8)


def zoom_blur(images: Pixels, steps: dict[str, Sequence[float]], _rngs: Generators) -> Floats:
    """Average the image with itself enlarged by each factor of numpy.arange(start, stop, step).

    numpy's own arange, as in the originals: rounding lets it reach some of the stops, 1.06 for one.
    """
    count, height, width, channels = images.shape
    planes = images.transpose(1, 2, 0, 3).reshape(height, width, count * channels)
    unit = (planes / 255.0).astype(np.float32)
    factors = np.arange(*steps["arange"])
    total = np.zeros_like(unit)
    for factor in factors:
        total += clipped_zoom(unit, factor)
    mean = (unit + total) / (len(factors) + 1)
    return to_bytes_scale(mean).reshape(height, width, count, channels).transpose(2, 0, 1, 3)


def clipped_zoom(planes: Floats, factor: float) -> Floats:
    """Enlarge the middle of planes [H, W, K] by `factor`, bilinearly, and cut back to their size.

    The third axis takes images as well as channels: scipy's spline of order 1 does not mix them.
    """
    height, width = planes.shape[:2]
    tall, wide = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - tall) // 2, (width - wide) // 2
    enlarged = ndimage.zoom(planes[top : top + tall, left : left + wide], (factor, factor, 1), order=1)
    top, left = (enlarged.shape[0] - height) // 2, (enlarged.shape[1] - width) // 2
    return enlarged[top : top + height, left : left + width]
