"""The weather against the reference on the same draws, per-image loops, and imagecorruptions where it is the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from nsbench.corruptions import corrupt, weather
from nsbench.corruptions.blur import directional_blur
from nsbench.corruptions.constants import SEVERITIES, tables
from nsbench.corruptions.levels import unit
from nsbench.corruptions.randomness import Draws
from nsbench.errors import DataError
from tests.corruptions.reference import weather as reference
from tests.corruptions.reference.given import array, reference_corrupt, tensor

from .conftest import agreement, crops

SHARES = {"snow": 0.998, "frost": 1.0, "fog": 0.998, "spatter": 0.999}
"""Equal values: the guard of 2^-10 of a level before the cut moves one value in a thousand by one level."""


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", SHARES)
def test_the_references_weather(batch, seeds, name, severity):
    seeds = seeds[: len(batch)]
    ours = corrupt(batch, name, severity, seeds=seeds)
    share, mean = agreement(ours, reference_corrupt(batch, name, severity, seeds))
    assert share >= SHARES[name]
    assert abs(mean) <= 0.005


@pytest.mark.parametrize("name", ["snow", "fog", "spatter"])
@pytest.mark.parametrize(("height", "width"), [(48, 37), (224, 300)])
def test_the_references_weather_when_not_square(pictures, seeds, name, height, width):
    wide = crops(pictures, height, width)
    ours = corrupt(wide, name, 3, seeds=seeds[:5], variant=224)
    share, mean = agreement(ours, reference_corrupt(wide, name, 3, seeds[:5], variant=224))
    assert share >= SHARES[name]
    assert abs(mean) <= 0.005


def cell(name, severity, seed):
    return tables()[32][name][severity - 1], Draws(torch.tensor([seed]), f"corruption/{name}/{severity}", "cpu")


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_step_by_step(images, seeds, severity):
    results = array(corrupt(images, "snow", severity, seeds=seeds))
    for index in (0, 11, 14, 19):
        (mean, spread, zoom, threshold, radius, sigma, blend), draws = cell("snow", severity, int(seeds[index]))
        layer = reference.clipped_zoom((mean + spread * draws.normal(32, 32)[0].numpy())[..., None], zoom)
        layer[layer < threshold] = 0
        flakes = np.uint8(np.clip(layer, 0, 1) * 255)
        degrees = draws.uniform(1)[:, 0] * 90 - 135
        fallen = array(directional_blur(tensor(flakes[None]), radius, sigma, degrees))[0] / 255.0
        clear = array(images)[index] / 255.0
        grey = clear @ np.array([0.299, 0.587, 0.114])
        clear = blend * clear + (1 - blend) * np.maximum(clear, grey[..., None] * 1.5 + 0.5)
        expected = np.clip(clear + fallen + fallen[::-1, ::-1], 0, 1) * 255
        assert np.abs(results[index] - (expected - 0.5)).max() <= 0.51


def test_snowflakes_are_the_references():
    field = np.random.default_rng(2).normal(0.1, 0.3, (3, 64, 64)).astype(np.float32)
    for zoom, threshold in ((1, 0.6), (2, 0.5), (3, 0.65), (4.5, 0.85)):
        ours = weather.snowflakes(torch.from_numpy(field)[:, None], zoom, threshold)
        share, _ = agreement(ours, tensor(reference.snowflakes(field, zoom, threshold)))
        assert share >= 0.9999


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_adds_a_crop_of_a_photograph(photographs, severity):
    for seed in range(8):
        (keep, add), draws = cell("frost", severity, seed)
        window = weather.frost_photographs(32, 32)[int(draws.integers(5, 1))].permute(1, 2, 0).numpy()
        down, across = draws.uniform(2)[0].double().tolist()
        top, left = int(down * (window.shape[0] - 32)), int(across * (window.shape[1] - 32))
        image = array(photographs[:1])[0]
        expected = np.uint8(np.clip(keep * image + add * window[top : top + 32, left : left + 32], 0, 255))
        result = corrupt(photographs[:1], "frost", severity, seeds=torch.tensor([seed]))
        assert np.array_equal(array(result)[0], expected)


def test_frost_uses_every_photograph_and_corner():
    """Where the image counts for nothing, its pixels are those of the windows."""
    blank = torch.zeros(400, 3, 32, 32, dtype=torch.uint8)
    add = tables()[32]["frost"][4][1]
    draws = Draws(torch.arange(400), "corruption/frost/5", "cpu")
    assert sorted(draws.integers(5, 1).unique().tolist()) == [0, 1, 2, 3, 4]
    windows = corrupt(blank, "frost", 5, seeds=torch.arange(400))
    assert len(windows.unique(dim=0)) > 390
    assert 0 < windows.max() <= 255 * add


def test_frost_photographs_are_the_bundled_ones():
    from importlib.metadata import files

    assert [tuple(window.shape) for window in weather.frost_photographs(32, 32)] == [
        *((3, 120, 180), (3, 63, 112), (3, 63, 112), (3, 70, 105), (3, 99, 132))
    ]
    bundled = {file.name: file.locate() for file in files("imagecorruptions-imaug") if "frost" in file.parts}
    for name, window in zip(weather.FROST_PHOTOGRAPHS, weather.frost_photographs(224, 224), strict=True):
        decoded = np.asarray(Image.open(bundled[name]).convert("RGB")).astype(int)
        # RGB, not BGR; JPEG decoders differ a little
        assert np.abs(window.permute(1, 2, 0).numpy() - decoded).mean() < 1


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 48), (299, 299), (640, 640), (90, 1500), (1500, 90)])
def test_frost_photographs_cover_the_image(height, width):
    for window in weather.frost_photographs(height, width):
        assert window.dtype == torch.uint8
        assert window.shape[1] > height
        assert window.shape[2] > width


def test_missing_frost_is_one_line(photographs, monkeypatch):
    weather.frost_photographs.cache_clear()
    monkeypatch.setattr(weather, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"frost1\.png is missing; pip install imagecorruptions-imaug"):
        corrupt(photographs, "frost", 1, seeds=torch.arange(10))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_adds_a_plasma_and_rescales(images, seeds, severity):
    results = array(corrupt(images, "fog", severity, seeds=seeds))
    for index in (0, 11, 18, 19):
        (thickness, decay), draws = cell("fog", severity, int(seeds[index]))
        clouds = reference.plasma(draws.uniform(32 * 32 - 1).double().numpy(), decay)[0]
        clear = array(images)[index] / 255.0
        expected = (clear + thickness * clouds[..., None]) * clear.max() / (clear.max() + thickness)
        assert np.abs(results[index] - (np.clip(expected, 0, 1) * 255 - 0.5)).max() <= 0.51


@pytest.mark.parametrize("decay", [1.4, 1.75, 3])
@pytest.mark.parametrize("side", [32, 256])
def test_plasma_is_the_references(decay, side):
    draws = np.random.default_rng(3).random((3, side * side - 1), dtype=np.float32)
    ours = weather.plasma(torch.from_numpy(draws), decay).numpy()
    assert np.abs(ours - reference.plasma(draws.astype(float), decay)).max() <= 1e-5


@pytest.mark.parametrize("decay", [1.4, 1.75, 3])
def test_plasma_is_imagecorruptions(decay, monkeypatch):
    """Their diamond-square, fed our draws, grows the same map."""
    from imagecorruptions import corruptions as theirs

    draws = np.random.default_rng(3).random(64 * 64 - 1, dtype=np.float32)
    served = iter(np.split(draws, np.cumsum([4**level for level in range(6) for _ in range(3)])[:-1]))
    monkeypatch.setattr(
        theirs.np.random, "uniform", lambda low, high, shape: (low + (high - low) * next(served)).reshape(shape)
    )
    ours = weather.plasma(torch.from_numpy(draws)[None], decay)[0].numpy()
    assert np.allclose(ours, theirs.plasma_fractal(64, decay), atol=1e-5)


def test_plasma_fills_the_unit_range():
    maps = weather.plasma(Draws(torch.arange(50), "plasma", "cpu").uniform(32 * 32 - 1), 2.0)
    assert torch.equal(maps.amin(dim=(1, 2)), torch.zeros(50))
    assert torch.equal(maps.amax(dim=(1, 2)), torch.ones(50))
    assert 0.3 < maps.mean() < 0.7


def test_fog_on_black_stays_black():
    black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert torch.equal(weather.fogged(black, torch.ones(1, 1, 32, 32), 1.5), black)


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_step_by_step(images, seeds, severity):
    """Four channels and OpenCV's colour conversions, as the original; ours is one sheen."""
    results = array(corrupt(images, "spatter", severity, seeds=seeds))
    for index in (0, 3, 10, 11, 18):
        (mean, spread, sigma, threshold, strength, _), draws = cell("spatter", severity, int(seeds[index]))
        field = mean + spread * draws.normal(32, 32)[0].numpy()
        liquid = ndimage.gaussian_filter(field, sigma, mode="nearest")
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
        picture = cv2.cvtColor(array(images)[index].astype(np.float32) / 255.0, cv2.COLOR_BGR2BGRA)
        expected = np.clip(picture + strength * sheen * colour, 0, 1)[..., :3] * 255
        assert np.abs(results[index] - (expected - 0.5)).max() <= 0.51


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_step_by_step(images, seeds, severity):
    results = array(corrupt(images, "spatter", severity, seeds=seeds))
    for index in (0, 10, 19):
        (mean, spread, sigma, threshold, soften, _), draws = cell("spatter", severity, int(seeds[index]))
        field = mean + spread * draws.normal(32, 32)[0].numpy()
        liquid = ndimage.gaussian_filter(field, sigma, mode="nearest")
        cover = ndimage.gaussian_filter((liquid > threshold).astype(float), soften, mode="nearest")[..., None]
        cover[cover < 0.8] = 0
        expected = array(images)[index] * (1 - cover) + np.array([63, 42, 20]) * cover
        assert np.abs(results[index] - (expected - 0.5)).max() <= 0.51


def test_mud_and_water_are_the_references():
    noise = np.random.default_rng(4).normal(0.6, 0.5, (3, 96, 80))
    field = ndimage.gaussian_filter(noise, (0, 3, 3)).astype(np.float32)
    splashes = np.float32(field > 0.62)
    soft = weather.mud(torch.from_numpy(splashes)[:, None], 1.5)[:, 0].numpy()
    theirs = reference.mud(splashes, 1.5)
    clear_cut = np.abs(ndimage.gaussian_filter(splashes, (0, 1.5, 1.5), mode="nearest") - 0.8) > 1e-4
    assert np.abs(soft - theirs)[clear_cut].max() <= 1e-5
    drops = np.where(field < 0.65, np.float32(0), field)
    sheen = weather.water(torch.from_numpy(drops)[:, None], 0.6)[:, 0].numpy()
    assert np.abs(sheen - reference.water(drops, 0.6)).max() <= 1e-6
    assert sheen.max() == pytest.approx(0.6)


def test_no_drop_no_spatter():
    """The original divides by zero here and writes black."""
    assert torch.equal(weather.water(torch.zeros(2, 1, 32, 32), 0.6), torch.zeros(2, 1, 32, 32))


def test_whitening_brightens_by_the_grey(large):
    ours = weather.whitened(unit(large), 0.7)
    assert np.abs(array(ours) - reference.whitened(array(unit(large)), 0.7)).max() <= 1e-6
    assert (ours >= unit(large) - 1e-6).all()
