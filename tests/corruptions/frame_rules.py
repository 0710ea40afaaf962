"""ImageNet-P frame by frame, by the rules of its authors and the libraries that they used: slow, and independent.

hendrycks/robustness, ImageNet-P/create_p/make_imagenet_p.py (224 px). Every function gives the frames of one picture
uint8 [H, W, 3] in turn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv

from tests.corruptions.reference.blur import clipped_zoom

CROP = 224
Frames = Iterator[np.ndarray]


def center_crop(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    top, left = round((height - CROP) / 2), round((width - CROP) / 2)
    return picture[top : top + CROP, left : left + CROP]


def gaussian_noise(picture: np.ndarray, rng: np.random.Generator) -> Frames:
    clean = center_crop(picture).astype(np.float32) / np.float32(255)
    yield center_crop(picture)
    for _ in range(30):
        noisy = clean + np.float32(0.03) * rng.standard_normal(clean.shape, dtype=np.float32)
        yield (np.clip(noisy, 0, 1) * np.float32(255)).astype(np.uint8)


def shot_noise(picture: np.ndarray, rng: np.random.Generator) -> Frames:
    clean = center_crop(picture) / 255.0
    yield center_crop(picture)
    for _ in range(30):
        yield np.uint8(255 * np.clip(rng.poisson(clean * 300) / 300.0, 0, 1))


def magick_motion_blur(pixels: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """ImageMagick's, through PNG files in memory as the authors went."""
    from wand.image import Image as MagickImage

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    with MagickImage(blob=stream.getvalue()) as picture:
        picture.motion_blur(radius=radius, sigma=sigma, angle=angle)
        blurred = cv2.imdecode(np.frombuffer(picture.make_blob("PNG"), np.uint8), cv2.IMREAD_UNCHANGED)
    return blurred[..., [2, 1, 0]] if blurred.ndim == 3 else blurred


def motion_blur(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    crop = center_crop(picture)
    for frame in range(31):
        yield magick_motion_blur(crop, 10, 3, (frame - 30) * 4.0)


def affine(picture: np.ndarray, *, angle=0.0, shift=0, scale=1.0, shear=0.0, bilinear=True) -> np.ndarray:
    """torchvision 0.2's functional.affine on a Pillow image: matrix about (w / 2 + 1/2, h / 2 + 1/2), black outside."""
    height, width = picture.shape[:2]
    turn, lean = math.radians(angle), math.radians(shear)
    centre = (width * 0.5 + 0.5, height * 0.5 + 0.5)
    rows = np.array([[math.cos(turn + lean), math.sin(turn + lean), 0.0], [-math.sin(turn), math.cos(turn), 0.0]]) / (
        scale * math.cos(lean)
    )
    rows[:, 2] = rows[:, :2] @ np.array([-centre[0] - shift, -centre[1]]) + centre
    resample = Image.Resampling.BILINEAR if bilinear else Image.Resampling.NEAREST
    moved = Image.fromarray(picture).transform((width, height), Image.Transform.AFFINE, rows.ravel().tolist(), resample)
    return np.asarray(moved)


def zoom_blur(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    total = center_crop(picture).astype(np.float32) / np.float32(255)
    yield center_crop(picture)
    for frame in range(1, 31):
        enlarged = center_crop(affine(picture, scale=1 + 0.004 * frame))
        total += enlarged.astype(np.float32) / np.float32(255)
        yield (total / np.float32(frame + 1) * np.float32(255)).astype(np.uint8)


def snow(picture: np.ndarray, rng: np.random.Generator) -> Frames:
    crop = center_crop(picture) / 255.0
    field = clipped_zoom(rng.normal(size=(CROP, CROP, 1), loc=0.05, scale=0.3), 3)
    field[field < 0.5] = 0
    flakes = (np.clip(field, 0, 1) * 255).astype(np.uint8)
    for frame in range(31):
        layer = magick_motion_blur(flakes[..., 0], 14, 4, frame * 4.0 - 150)[..., None] / 255.0
        grey = cv2.cvtColor(np.float32(crop), cv2.COLOR_RGB2GRAY)[..., None]
        white = 0.85 * crop + (1 - 0.85) * np.maximum(crop, grey * 1.5 + 0.5)
        yield np.uint8(np.clip(white + layer + np.rot90(layer, k=2), 0, 1) * 255)


def brightness(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    crop = center_crop(picture)
    for frame in range(31):
        hsv = rgb2hsv(crop / 255.0)
        hsv[..., 2] = np.clip(hsv[..., 2] + (frame - 15) * 2 / 100.0, 0, 1)
        yield np.uint8(hsv2rgb(hsv) * 255)


def translate(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    for frame in range(41):
        yield center_crop(affine(picture, shift=frame - 20, bilinear=False))


def rotate(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    for frame in range(31):
        yield center_crop(affine(picture, angle=frame - 15))


def scale(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    for frame in range(31):
        yield center_crop(affine(picture, scale=(frame * 2.5 + 40) / 100.0))


def shear(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    for frame in range(31):
        yield center_crop(affine(picture, shear=frame - 15))


def tilt(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    height, width = picture.shape[:2]
    for frame in range(31):
        homography = tilt_homography(height, width, np.deg2rad(frame - 15))
        yield center_crop(cv2.warpPerspective(picture, homography, (width, height)))


def tilt_homography(height: int, width: int, angle: float) -> np.ndarray:
    """Lifted to depth 1, turned about x and y, moved away by the diagonal, projected."""
    focus = np.sqrt(width**2 + height**2)
    lift = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_x, about_y, away = np.eye(4), np.eye(4), np.eye(4)
    about_x[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    about_y[np.ix_([0, 2], [0, 2])] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    away[2, 3] = focus
    project = np.array([[focus, 0, width / 2, 0], [0, focus, height / 2, 0], [0, 0, 1, 0]])
    return project @ away @ about_x @ about_y @ lift


def gaussian_blur(picture: np.ndarray, _rng: np.random.Generator) -> Frames:
    crop = center_crop(picture) / 255.0
    for frame in range(31):
        sigma = 0.25 + 0.035 * frame
        yield np.uint8(255 * ndimage.gaussian_filter(crop, (sigma, sigma, 0), mode="nearest", truncate=6.0))


def speckle_noise(picture: np.ndarray, rng: np.random.Generator) -> Frames:
    crop = center_crop(picture) / 255.0
    yield center_crop(picture)
    for _ in range(30):
        yield np.uint8(255 * np.clip(crop + crop * rng.normal(size=crop.shape, scale=0.05), 0, 1))


RULES: dict[str, Callable[[np.ndarray, np.random.Generator], Frames]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "brightness": brightness,
    "translate": translate,
    "rotate": rotate,
    "tilt": tilt,
    "scale": scale,
    "gaussian_blur": gaussian_blur,
    "speckle_noise": speckle_noise,
    "shear": shear,
}
