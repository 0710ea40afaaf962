"""The short films of CIFAR-10-P: hendrycks/robustness, ImageNet-P/create_p/make_cifar_p.py (32 px).

Each perturbation yields the frames of all its images in turn, [N, 32, 32, 3] uint8 a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from tests.corruptions import frame_rules
from tests.corruptions.reference.blur import directional_blur, smooth
from tests.corruptions.reference.noise import Floats, Pixels, poisson, to_bytes_scale
from tests.corruptions.reference.randomness import Generators, standard_normals
from tests.corruptions.reference.weather import WATER, snowed, snowflakes, water, whitened

Frames = Iterator[Pixels]
Perturbation = Callable[[Pixels, Generators, int], Frames]
NUM_FRAMES, NUM_MOTION_FRAMES, NUM_TRANSLATE_FRAMES = 31, 21, 16


def gaussian_noise(images: Pixels, rngs: Generators, difficulty: int) -> Frames:
    """The clean image, then thirty draws of N(0, sigma^2) on it, in single precision as in the original."""
    sigma = np.float32((0.02, 0.04, 0.06)[difficulty - 1])
    unit = images.astype(np.float32) / np.float32(255)
    yield images
    for _ in range(1, NUM_FRAMES):
        noise = standard_normals(rngs, images.shape[1:]).astype(np.float32)
        yield truncated(to_bytes_scale(unit + sigma * noise))


def shot_noise(images: Pixels, rngs: Generators, difficulty: int) -> Frames:
    """The clean image, then thirty Poisson draws of it."""
    photons = (700, 400, 200)[difficulty - 1]
    rates = images / 255.0 * photons
    yield images
    for _ in range(1, NUM_FRAMES):
        yield truncated(to_bytes_scale(poisson(rates, rngs) / float(photons)))


def speckle_noise(images: Pixels, rngs: Generators, difficulty: int) -> Frames:
    """The clean image, then thirty draws of noise proportional to it."""
    sigma = (0.05, 0.07, 0.1)[difficulty - 1]
    unit = images / 255.0
    yield images
    for _ in range(1, NUM_FRAMES):
        yield truncated(to_bytes_scale(unit + unit * (sigma * standard_normals(rngs, images.shape[1:]))))


def motion_blur(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Motion blur that turns by 9 degrees a frame, from -180 to 0: 21 frames."""
    for frame in range(NUM_MOTION_FRAMES):
        yield directional_blur(images, 6, 1.8, [(frame - (NUM_MOTION_FRAMES - 1)) * 9.0] * len(images))


def zoom_blur(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """The running mean of the image enlarged by 0, 0.4, 0.8, ... per cent."""
    total = images.astype(np.float32) / np.float32(255)
    yield images
    for frame in range(1, NUM_FRAMES):
        total += affine(images, scale=1 + 0.004 * frame).astype(np.float32) / np.float32(255)
        yield truncated(total / np.float32(frame + 1) * np.float32(255))


def snow(images: Pixels, rngs: Generators, _difficulty: int) -> Frames:
    """The same flakes, falling in a direction that turns by 4 degrees a frame."""
    unit = whitened(images / 255.0, 0.85)
    flakes = snowflakes(standard_normals(rngs, images.shape[1:3]) * 0.3 + 0.05, 2, 0.5)
    for frame in range(NUM_FRAMES):
        fallen = directional_blur(flakes, 10, 2, [frame * 4.0 - 150] * len(images))
        yield truncated(to_bytes_scale(snowed(unit, fallen)))


def brightness(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """The value of HSV from 0.225 below to 0.225 above; frame 15 has the image's own."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(images / 255.0)
    value = hsv[..., 2].copy()
    for frame in range(NUM_FRAMES):
        hsv[..., 2] = np.clip(value + (frame - 15) * 1.5 / 100.0, 0, 1)
        yield truncated(hsv2rgb(hsv) * 255)


def translate(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Shift from 7 px left to 8 px right, black coming in: 16 frames."""
    for frame in range(NUM_TRANSLATE_FRAMES):
        yield affine(images, shift=frame - 7, bilinear=False)


def rotate(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Turn by -15 to 15 degrees."""
    for frame in range(NUM_FRAMES):
        yield affine(images, angle=frame - 15)


def scale(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Scale from 0.7 to 1.3."""
    for frame in range(NUM_FRAMES):
        yield affine(images, scale=(frame * 2 + 70) / 100.0)


def shear(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Shear by -15 to 15 degrees."""
    for frame in range(NUM_FRAMES):
        yield affine(images, shear=frame - 15)


def tilt(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Turn about both axes of the image plane, -11.25 to 11.25 degrees, seen in perspective."""
    height, width = images.shape[1:3]
    for frame in range(NUM_FRAMES):
        matrix = frame_rules.tilt_homography(height, width, np.deg2rad(0.75 * (frame - 15)))
        yield np.stack([cv2.warpPerspective(image, matrix, (width, height)) for image in images])


def gaussian_blur(images: Pixels, _rngs: Generators, _difficulty: int) -> Frames:
    """Gaussian blur of sigma 0.3 to 0.75, the kernel cut at seven sigma."""
    unit = images / 255.0
    for frame in range(NUM_FRAMES):
        yield truncated(255 * smooth(unit, 0.3 + 0.015 * frame, truncate=7.0))


def spatter(images: Pixels, rngs: Generators, _difficulty: int) -> Frames:
    """Water that runs down the picture, a fifth of it staying behind at each frame."""
    unit = images.astype(np.float32) / 255.0
    drops = smooth(standard_normals(rngs, images.shape[1:3]) * 0.265 + 0.6, 1.75)
    drops = np.where(drops < 0.7, 0, drops)
    for _ in range(NUM_FRAMES):
        sheen = water(drops, 0.6)[..., None] * WATER.astype(np.float32)
        yield truncated(to_bytes_scale(unit + sheen))
        fallen = np.zeros_like(drops)
        fallen[:, 1:] = drops[:, :-1]
        drops = 0.2 * drops + 0.8 * fallen


def truncated(values: Floats) -> Pixels:
    """Cut to whole numbers: the originals never round."""
    return values.astype(np.uint8)


def affine(images: Pixels, **move: float) -> Pixels:
    """Turn (`angle`), `shift` to the right, `scale` or `shear` every image about its middle, black outside it."""
    return np.stack([frame_rules.affine(image, **move) for image in images])
