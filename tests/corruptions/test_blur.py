"""The blurs against slow loops, SciPy, and the real ImageMagick."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nsbench.corruptions import corrupt
from nsbench.corruptions.blur import clipped_zoom, directional_blur, disk, displaced_sources, trail
from nsbench.corruptions.constants import tables
from nsbench.corruptions.randomness import generators

SEVERITIES = [1, 2, 3, 4, 5]


def scipy_smooth(unit, sigma):
    return np.stack(
        [ndimage.gaussian_filter(unit[..., c], sigma, mode="nearest", truncate=4.0) for c in range(3)], axis=-1
    )


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_is_scipys_per_channel(images, seeds, severity):
    sigma = tables()[32]["gaussian_blur"][severity - 1]
    expected = [np.uint8(np.clip(scipy_smooth(image / 255.0, sigma), 0, 1) * 255) for image in images]
    assert np.array_equal(corrupt(images, "gaussian_blur", severity, seeds=seeds), np.stack(expected))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_is_the_sequential_swap_on_views(images, seeds, severity):
    """The statement of the original, tuple assignment of views included, on the same draws."""
    sigma, reach, passes = tables()[32]["glass_blur"][severity - 1]
    blurred = corrupt(images, "glass_blur", severity, seeds=seeds)
    for index in (4, 12, 15):
        rng = generators(seeds[index : index + 1], f"corruption/glass_blur/{severity}")[0]
        pixels = np.uint8(scipy_smooth(images[index] / 255.0, sigma) * 255)
        draws = rng.integers(-reach, reach, size=(passes, 32 - 2 * reach, 32 - 2 * reach, 2))
        for shifts in draws:
            for i, row in enumerate(range(32 - reach, reach, -1)):
                for j, column in enumerate(range(32 - reach, reach, -1)):
                    dx, dy = shifts[i, j]
                    there = row + dy, column + dx
                    pixels[row, column], pixels[there] = pixels[there], pixels[row, column]
        expected = np.uint8(np.clip(scipy_smooth(pixels / 255.0, sigma), 0, 1) * 255)
        assert np.array_equal(blurred[index], expected)


@settings(max_examples=25, deadline=None)
@given(
    side=st.integers(7, 20),
    reach=st.integers(1, 3),
    passes=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 3),
)
def test_displaced_sources_follow_the_loop(side, reach, passes, seed, count):
    inner = side - 2 * reach
    shifts = np.random.default_rng(seed).integers(-reach, reach, size=(count, passes, inner, inner, 2))
    sources = displaced_sources(shifts, side, side)
    for image in range(count):
        labels = np.arange(side * side).reshape(side, side)
        for step in range(passes):
            for i, j in np.ndindex(inner, inner):
                dx, dy = shifts[image, step, i, j]
                labels[side - reach - i, side - reach - j] = labels[side - reach - i + dy, side - reach - j + dx]
        assert np.array_equal(sources[image], labels.ravel())


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_is_a_convolution_with_the_disk(images, seeds, severity):
    kernel = disk(*tables()[32]["defocus_blur"][severity - 1]).astype(float)
    blurred = corrupt(images, "defocus_blur", severity, seeds=seeds)
    for image, result in zip(images[::3], blurred[::3], strict=True):
        # "mirror" is OpenCV's reflect-101, and the disk is symmetric, so correlation is convolution
        channels = [ndimage.correlate(image[..., c] / 255.0, kernel, mode="mirror") for c in range(3)]
        expected = np.clip(np.stack(channels, axis=-1), 0, 1) * 255
        assert np.abs(result - (expected - 0.5)).max() <= 0.5 + 1e-3  # truncated, up to the last bits of the sum


def test_disks():
    for radius, alias in ((0.3, 0.4), (1.5, 0.1), (3, 0.1), (10, 0.5)):
        kernel = disk(radius, alias)
        assert kernel.shape == ((17, 17) if radius <= 8 else (21, 21))
        assert kernel.sum() == pytest.approx(1, abs=0.02)  # a disk of 10 px touches the border, which mirrors
        assert np.allclose(kernel, kernel.T)
    assert disk(1.5, 0.1)[7:10, 7:10] == pytest.approx(np.full((3, 3), 1 / 9), abs=1e-6)
    assert np.count_nonzero(disk(1, 0.01)) == 5


def test_disk_is_imagecorruptions():
    from imagecorruptions import corruptions as theirs

    for radius, alias in ((3, 0.1), (6, 0.5), (10, 0.5)):
        assert np.array_equal(disk(radius, alias), theirs.disk(radius=radius, alias_blur=alias))


def test_motion_blur_is_imagemagicks():
    """Outputs of ImageMagick 6.9.11-60 Q16 (Debian 12) through Wand on MNIST digits and scikit-learn's photographs."""
    recorded = np.load(Path(__file__).parent / "imagemagick_motion_blur.npz")
    for kind in ("colour", "grey"):
        for image, (radius, sigma, degrees), expected in zip(
            recorded[kind], recorded["parameters"], recorded[f"{kind}_blurred"], strict=True
        ):
            assert np.array_equal(directional_blur(image[None], radius, sigma, [degrees])[0], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_is_a_weighted_trail_of_pixels(photographs, severity):
    radius, sigma = tables()[32]["motion_blur"][severity - 1]
    image, seed = photographs[3], np.array([severity])
    degrees = generators(seed, f"corruption/motion_blur/{severity}")[0].uniform(-45, 45)
    assert -45 <= degrees <= 45
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    expected = np.zeros((32, 32, 3))
    for row, column in np.ndindex(32, 32):
        for i, weight in enumerate(weights):
            x = min(max(column + round(i * math.cos(math.radians(degrees))), 0), 31)
            y = min(max(row + round(i * math.sin(math.radians(degrees))), 0), 31)
            expected[row, column] += weight / sum(weights) * image[y, x]
    result = corrupt(image[None], "motion_blur", severity, seeds=seed)[0]
    assert np.abs(result - (expected - 0.5)).max() <= 0.51


@given(degrees=st.floats(-180, 180), length=st.integers(1, 40))
def test_a_trail_stays_on_its_ray(degrees, length):
    offsets = trail(degrees, length)
    ray = np.arange(length)[:, None] * [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]
    assert tuple(offsets[0]) == (0, 0)
    assert np.abs(offsets - ray).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_averages_enlargements(photographs, severity):
    start, stop, step = tables()[32]["zoom_blur"][severity - 1]["arange"]
    # numpy.arange's habits, which the originals inherit: it steps by (1 + step) - 1, and meets the first two stops
    num_factors = round((stop - start) / step) + (severity in (1, 2))
    factors = [start + i * ((start + step) - start) for i in range(num_factors)]
    blurred = corrupt(photographs, "zoom_blur", severity, seeds=np.arange(10))
    for image, result in zip(photographs[:2], blurred[:2], strict=True):
        total = image / 255.0
        for factor in factors:
            total = total + enlarged(image / 255.0, factor)
        expected = total / (len(factors) + 1) * 255
        assert np.abs(result - (expected - 0.5)).max() <= 0.51


def enlarged(unit, factor):
    """Bilinear, corner to corner, by the definition: a kept middle of ceil(32 / factor) px."""
    kept = math.ceil(32 / factor)
    top, size = (32 - kept) // 2, round(kept * factor)
    trim = (size - 32) // 2
    where = np.clip((np.arange(32) + trim) * (kept - 1) / (size - 1), 0, kept - 1)
    low = np.minimum(where.astype(int), kept - 2)
    weight = (where - low)[:, None]
    middle = unit[top : top + kept, top : top + kept]
    rows = middle[low] * (1 - weight[..., None]) + middle[low + 1] * weight[..., None]
    return rows[:, low] * (1 - weight) + rows[:, low + 1] * weight


def test_clipped_zoom_treats_planes_alone(photographs):
    planes = photographs.transpose(1, 2, 0, 3).reshape(32, 32, -1) / 255.0
    for factor in (1.0, 1.01, 1.25, 1.75, 2.25, 4.5):
        together = clipped_zoom(planes, factor)
        assert together.shape == planes.shape
        assert np.array_equal(together[..., 5:6], clipped_zoom(planes[..., 5:6], factor))
    assert np.array_equal(clipped_zoom(planes, 1.0), planes)
