"""The digital corruptions against Pillow, colorsys, OpenCV and numbers worked by hand."""

from __future__ import annotations

import colorsys
import io

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from nsbench.corruptions import corrupt
from nsbench.corruptions.constants import tables
from nsbench.corruptions.randomness import generators

SEVERITIES = [1, 2, 3, 4, 5]


def test_contrast_by_hand():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:, :16] = (200, 100, 0)
    result = corrupt(image, "contrast", 2, seeds=np.array([0]))  # 0.5: means are 100, 50, 0
    assert np.abs(result[0, 0, 0].astype(int) - (150, 75, 0)).max() <= 1
    assert np.abs(result[0, 31, 0].astype(int) - (50, 25, 0)).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_keeps_channel_means(photographs, severity):
    factor = tables()[32]["contrast"][severity - 1]
    result = corrupt(photographs, "contrast", severity, seeds=np.arange(10)).astype(float)
    assert np.abs(result.mean(axis=(1, 2)) - photographs.mean(axis=(1, 2)) + 0.5).max() < 0.6
    assert np.allclose(result.std(axis=(1, 2)), factor * photographs.std(axis=(1, 2)), atol=0.6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturate_are_shifts_in_hsv(photographs, severity):
    factor, offset = tables()[32]["saturate"][severity - 1]
    lift = tables()[32]["brightness"][severity - 1]
    image = photographs[2]
    bright = corrupt(image[None], "brightness", severity, seeds=np.array([0]))[0]
    vivid = corrupt(image[None], "saturate", severity, seeds=np.array([0]))[0]
    for row, column in np.ndindex(32, 32):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255.0))
        lifted = colorsys.hsv_to_rgb(hue, saturation, min(value + lift, 1))
        soaked = colorsys.hsv_to_rgb(hue, min(max(saturation * factor + offset, 0), 1), value)
        assert np.abs(bright[row, column] - (255 * np.array(lifted) - 0.5)).max() <= 0.51
        assert np.abs(vivid[row, column] - (255 * np.array(soaked) - 0.5)).max() <= 0.51


def test_brightness_by_hand():
    image = np.full((1, 32, 32, 3), (40, 20, 100), np.uint8)  # value 100 / 255, raised by 0.2 * 255 = 51
    assert corrupt(image, "brightness", 4, seeds=np.array([0]))[0, 0, 0] == pytest.approx((60, 30, 151), abs=1)


def test_grey_images_stay_grey(digits):
    for name in ("brightness", "contrast", "motion_blur", "fog", "glass_blur", "pixelate", "elastic_transform"):
        result = corrupt(digits, name, 3, seeds=np.arange(10))
        assert np.array_equal(result[..., 0], result[..., 1])
        assert np.array_equal(result[..., 0], result[..., 2])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_is_pillows(images, seeds, severity):
    result = corrupt(images, "jpeg_compression", severity, seeds=seeds)
    for image, decoded in zip(images, result, strict=True):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=(80, 65, 58, 50, 40)[severity - 1])
        assert np.array_equal(decoded, np.asarray(Image.open(stream)))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_averages_boxes(photographs, severity):
    """Area-weighted means by the definition; Pillow rounds after each of its four passes."""
    small = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    result = corrupt(photographs, "pixelate", severity, seeds=np.arange(10))
    down, up = box_weights(32, small), box_weights(small, 32)
    through = up @ down
    for image, pixelated in zip(photographs, result, strict=True):
        expected = np.einsum("ij,jkc,lk->ilc", through, image.astype(float), through)
        assert np.abs(pixelated - expected).max() <= 2.1
        assert np.abs(pixelated - expected).mean() <= 0.6


def box_weights(source, target):
    """Return the weights [target, source] of a box filter as Pillow has it: whole pixels by their centres."""
    scale = source / target
    weights = np.zeros((target, source))
    for i in range(target):
        centre, support = (i + 0.5) * scale, 0.5 * max(scale, 1)
        low, high = int(max(centre - support + 0.5, 0)), int(min(centre + support + 0.5, source))
        for j in range(low, high):
            if -0.5 < (j - centre + 0.5) / max(scale, 1) <= 0.5:
                weights[i, j] = 1
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_is_an_affine_map_and_a_smooth_field(photographs, severity):
    amplitude, sigma, jitter = tables()[32]["elastic_transform"][severity - 1]
    image, seed = photographs[1], np.array([41])
    rng = generators(seed, f"corruption/elastic_transform/{severity}")[0]
    moves = rng.uniform(-jitter, jitter, size=(3, 2)).astype(np.float32)
    field = rng.uniform(-1, 1, size=(32, 32, 2))
    corners = np.array([[26, 26], [26, 6], [6, 6]], np.float32)  # the middle 16, plus and minus 32 // 3
    matrix = cv2.getAffineTransform(corners, corners + moves)
    warped = cv2.warpAffine(image.astype(np.float32) / 255.0, matrix, (32, 32), borderMode=cv2.BORDER_REFLECT_101)
    row, column = np.mgrid[:32, :32]
    dx, dy = (
        np.float32(amplitude * ndimage.gaussian_filter(field[..., i], sigma, mode="reflect", truncate=3))
        for i in (0, 1)
    )
    channels = [
        ndimage.map_coordinates(warped[..., c], (row + dy, column + dx), order=1, mode="reflect") for c in range(3)
    ]
    expected = np.uint8(np.clip(np.stack(channels, axis=-1), 0, 1) * 255)
    assert np.array_equal(corrupt(image[None], "elastic_transform", severity, seeds=seed)[0], expected)
