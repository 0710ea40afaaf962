"""The weather against plain per-image loops on the same draws, and against imagecorruptions where it is the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from nsbench.corruptions import corrupt, weather
from nsbench.corruptions.blur import clipped_zoom, directional_blur
from nsbench.corruptions.constants import tables
from nsbench.corruptions.randomness import generators
from nsbench.errors import DataError

SEVERITIES = [1, 2, 3, 4, 5]


def cell(name, severity, seed):
    return tables()[32][name][severity - 1], generators(np.array([seed]), f"corruption/{name}/{severity}")[0]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_step_by_step(images, seeds, severity):
    results = corrupt(images, "snow", severity, seeds=seeds)
    for index in (0, 11, 14, 19):
        (mean, spread, zoom, threshold, radius, sigma, blend), rng = cell("snow", severity, seeds[index])
        layer = clipped_zoom((mean + spread * rng.standard_normal((32, 32)))[..., None], zoom)
        layer[layer < threshold] = 0
        flakes = np.uint8(np.clip(layer, 0, 1) * 255)
        fallen = directional_blur(flakes[None], radius, sigma, [rng.uniform(-135, -45)])[0] / 255.0
        unit = images[index].astype(np.float32) / 255.0
        grey = unit @ np.array([0.299, 0.587, 0.114])
        unit = blend * unit + (1 - blend) * np.maximum(unit, grey[..., None] * 1.5 + 0.5)
        expected = np.clip(unit + fallen + fallen[::-1, ::-1], 0, 1) * 255
        assert np.abs(results[index] - (expected - 0.5)).max() <= 0.51


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_adds_a_crop_of_a_photograph(photographs, severity):
    for seed in range(8):
        (keep, add), rng = cell("frost", severity, seed)
        window = weather.frost_photographs(0.2)[rng.integers(5)]
        top, left = rng.integers(0, window.shape[0] - 32), rng.integers(0, window.shape[1] - 32)
        expected = np.uint8(np.clip(keep * photographs[0] + add * window[top : top + 32, left : left + 32], 0, 255))
        assert np.array_equal(corrupt(photographs[:1], "frost", severity, seeds=np.array([seed]))[0], expected)


def test_frost_photographs_are_the_bundled_ones():
    from importlib.metadata import files

    from PIL import Image

    assert [window.shape for window in weather.frost_photographs(0.2)] == [
        *((120, 180, 3), (63, 112, 3), (63, 112, 3), (70, 105, 3), (99, 132, 3))
    ]
    bundled = {file.name: file.locate() for file in files("imagecorruptions-imaug") if "frost" in file.parts}
    for name, window in zip(weather.FROST_PHOTOGRAPHS, weather.frost_photographs(1.0), strict=True):
        decoded = np.asarray(Image.open(bundled[name]).convert("RGB")).astype(int)
        assert np.abs(window - decoded).mean() < 1  # RGB, not BGR; JPEG decoders differ a little


def test_missing_frost_is_one_line(photographs, monkeypatch):
    weather.frost_photographs.cache_clear()
    monkeypatch.setattr(weather, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"frost1\.png is missing; pip install imagecorruptions-imaug"):
        corrupt(photographs, "frost", 1, seeds=np.arange(10))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_adds_a_plasma_and_rescales(images, seeds, severity):
    results = corrupt(images, "fog", severity, seeds=seeds)
    for index in (0, 11, 18, 19):
        (thickness, decay), rng = cell("fog", severity, seeds[index])
        clouds = weather.plasma(rng.random(32 * 32 - 1)[None], decay)[0]
        unit = images[index] / 255.0
        expected = (unit + thickness * clouds[..., None]) * unit.max() / (unit.max() + thickness)
        assert np.array_equal(results[index], np.uint8(np.clip(expected, 0, 1) * 255))


@pytest.mark.parametrize("decay", [1.4, 1.75, 3])
def test_plasma_is_imagecorruptions(decay, monkeypatch):
    """Their diamond-square, fed our draws, grows the same map (in single precision)."""
    from imagecorruptions import corruptions as theirs

    draws = np.random.default_rng(3).random(64 * 64 - 1)
    served = iter(np.split(draws, np.cumsum([4**level for level in range(6) for _ in range(3)])[:-1]))
    monkeypatch.setattr(
        theirs.np.random, "uniform", lambda low, high, shape: (low + (high - low) * next(served)).reshape(shape)
    )
    assert np.allclose(weather.plasma(draws[None], decay)[0], theirs.plasma_fractal(64, decay), atol=1e-5)


def test_plasma_fills_the_unit_range():
    maps = weather.plasma(np.random.default_rng(0).random((50, 32 * 32 - 1)), 2.0)
    assert np.array_equal(maps.min(axis=(1, 2)), np.zeros(50))
    assert np.array_equal(maps.max(axis=(1, 2)), np.ones(50))
    assert 0.3 < maps.mean() < 0.7


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_step_by_step(images, seeds, severity):
    """Four channels and OpenCV's colour conversions, as the original; ours is one sheen."""
    results = corrupt(images, "spatter", severity, seeds=seeds)
    for index in (0, 3, 10, 11, 18):
        (mean, spread, sigma, threshold, strength, _), rng = cell("spatter", severity, seeds[index])
        liquid = ndimage.gaussian_filter(mean + spread * rng.standard_normal((32, 32)), sigma, mode="nearest")
        liquid[liquid < threshold] = 0
        level = np.uint8(liquid * 255)
        distance = cv2.distanceTransform(255 - cv2.Canny(level, 50, 150), cv2.DIST_L2, 5)
        _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
        relief = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
        relief = ndimage.correlate(relief.astype(int), [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], mode="mirror")
        relief = cv2.blur(np.uint8(np.clip(relief, 0, 255)), (3, 3)).astype(np.float32)
        sheen = cv2.cvtColor(level * relief, cv2.COLOR_GRAY2BGRA)
        sheen /= np.maximum(sheen.max(axis=(0, 1)), 1e-9)
        colour = np.array([175, 238, 238, 255]) / 255.0
        picture = cv2.cvtColor(images[index].astype(np.float32) / 255.0, cv2.COLOR_BGR2BGRA)
        expected = np.clip(picture + strength * sheen * colour, 0, 1)[..., :3] * 255
        assert np.abs(results[index] - (expected - 0.5)).max() <= 0.51


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_step_by_step(images, seeds, severity):
    results = corrupt(images, "spatter", severity, seeds=seeds)
    for index in (0, 10, 19):
        (mean, spread, sigma, threshold, soften, _), rng = cell("spatter", severity, seeds[index])
        liquid = ndimage.gaussian_filter(mean + spread * rng.standard_normal((32, 32)), sigma, mode="nearest")
        cover = ndimage.gaussian_filter((liquid > threshold).astype(float), soften, mode="nearest")[..., None]
        cover[cover < 0.8] = 0
        expected = images[index] * (1 - cover) + np.array([63, 42, 20]) * cover
        assert np.abs(results[index] - (expected - 0.5)).max() <= 0.51


def test_no_drop_no_spatter():
    """The original divides by zero here and writes black."""
    assert np.array_equal(weather.water(np.zeros((2, 32, 32)), 0.6), np.zeros((2, 32, 32)))
