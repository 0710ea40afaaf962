"""The blurs against the reference on the same draws, slow loops, SciPy, and the real ImageMagick."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nsbench.corruptions import corrupt
from nsbench.corruptions.blur import directional_blur, disk, displaced_sources, trail
from nsbench.corruptions.constants import SEVERITIES, tables
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.resampling import clipped_zoom, gaussian_taps, smoothed, smoothed_in_order
from tests.corruptions.reference import blur as reference
from tests.corruptions.reference.given import array, reference_corrupt, tensor

from .conftest import agreement, crops


def scipy_smooth(unit, sigma):
    return np.stack(
        [ndimage.gaussian_filter(unit[..., c], sigma, mode="nearest", truncate=4.0) for c in range(3)], axis=-1
    )


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_is_scipys_per_channel(batch, severity):
    sigma = tables()[batch.shape[-1]]["gaussian_blur"][severity - 1]
    expected = [np.uint8(np.clip(scipy_smooth(image / 255.0, sigma), 0, 1) * 255) for image in array(batch)]
    assert torch.equal(corrupt(batch, "gaussian_blur", severity), tensor(np.stack(expected)))


@pytest.mark.parametrize("sigma", sorted({s for table in tables().values() for s in table["gaussian_blur"]} | {0.05}))
def test_smoothing_in_order_is_scipys_to_the_bit(large, photographs, sigma):
    """What other devices run; the last bit decides what the cut leaves of flat regions."""
    for pixels in (photographs, large[:2, :, :100, :60], torch.full((1, 3, 40, 33), 77, dtype=torch.uint8)):
        unit = pixels.double() / 255
        expected = scipy_smooth(array(unit)[0], sigma)
        assert np.array_equal(array(smoothed(unit, sigma))[0], expected)
        assert torch.equal(smoothed_in_order(unit, sigma), smoothed(unit, sigma))


@given(sigma=st.floats(0.01, 8), truncate=st.sampled_from([3.0, 4.0, 7.0]))
def test_gaussian_taps_are_scipys(sigma, truncate):
    impulse = np.zeros(161)
    impulse[80] = 1
    half = gaussian_taps(sigma, truncate)
    response = ndimage.gaussian_filter1d(impulse, sigma, truncate=truncate)
    assert response[80 : 80 + len(half)].tolist() == half
    assert not response[80 + len(half) :].any()


def sequential_glass(image, shifts, sigma, reach):
    """The statement of the original, tuple assignment of views included."""
    pixels = np.uint8(scipy_smooth(image / 255.0, sigma) * 255)
    height, width = image.shape[:2]
    for moves in shifts.tolist():
        for i, row in enumerate(range(height - reach, reach, -1)):
            for j, column in enumerate(range(width - reach, reach, -1)):
                dx, dy = moves[i][j]
                there = row + dy, column + dx
                pixels[row, column], pixels[there] = pixels[there], pixels[row, column]
    return np.uint8(np.clip(scipy_smooth(pixels / 255.0, sigma), 0, 1) * 255)


def glass_shifts(seeds, severity, constant, height, width):
    reach, passes = constant[1:]
    draws = Draws(seeds, f"corruption/glass_blur/{severity}", "cpu")
    return draws.integers(2 * reach, passes, height - 2 * reach, width - 2 * reach, 2).numpy() - reach


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_is_the_sequential_swap_on_views(images, seeds, severity):
    constant = tables()[32]["glass_blur"][severity - 1]
    blurred = array(corrupt(images, "glass_blur", severity, seeds=seeds))
    shifts = glass_shifts(seeds, severity, constant, 32, 32)
    for index in (4, 12, 15):
        expected = sequential_glass(array(images)[index], shifts[index], *constant[:2])
        assert np.array_equal(blurred[index], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_of_a_photograph_is_the_sequential_swap_on_views(large, severity):
    constant, image, seed = tables()[224]["glass_blur"][severity - 1], large[severity - 1 : severity], torch.tensor([9])
    shifts = glass_shifts(seed, severity, constant, 224, 224)
    expected = sequential_glass(array(image)[0], shifts[0], *constant[:2])
    assert np.array_equal(array(corrupt(image, "glass_blur", severity, seeds=seed))[0], expected)


def test_glass_blur_of_a_high_image_is_the_sequential_swap_on_views(pictures):
    image, seed = crops(pictures[:1], 48, 37), torch.tensor([-9])
    constant = tables()[224]["glass_blur"][2]
    shifts = glass_shifts(seed, 3, constant, 48, 37)
    expected = sequential_glass(array(image)[0], shifts[0], *constant[:2])
    assert np.array_equal(array(corrupt(image, "glass_blur", 3, seeds=seed, variant=224))[0], expected)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(9, 20), st.integers(9, 20)),
    reach=st.integers(1, 4),
    passes=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 3),
)
def test_displaced_sources_follow_the_loop(size, reach, passes, seed, count):
    height, width = size
    rows, columns = height - 2 * reach, width - 2 * reach
    shifts = np.random.default_rng(seed).integers(-reach, reach, size=(count, passes, rows, columns, 2), dtype=np.int32)
    sources = displaced_sources(torch.from_numpy(shifts), height, width)
    for image in range(count):
        labels = image * height * width + np.arange(height * width).reshape(height, width)
        for step in range(passes):
            for i, j in np.ndindex(rows, columns):
                dx, dy = shifts[image, step, i, j]
                labels[height - reach - i, width - reach - j] = labels[height - reach - i + dy, width - reach - j + dx]
        assert np.array_equal(sources[image].numpy(), labels.ravel())


def test_the_longest_chain_is_followed():
    """Every pixel takes the value of the one to its right, which has taken that of its own: all end at the last one."""
    shifts = torch.zeros(1, 1, 96, 96, 2, dtype=torch.int32)
    shifts[..., 0] = 1
    sources = displaced_sources(shifts, 100, 100).view(100, 100)
    rows = torch.arange(3, 99, dtype=torch.int32) * 100
    assert torch.equal(sources[3:99, 3:99], (rows[:, None] + 99).expand(96, 96))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_is_opencvs(batch, severity):
    theirs = reference_corrupt(batch, "defocus_blur", severity)
    share, mean = agreement(corrupt(batch, "defocus_blur", severity), theirs)
    assert share >= 0.99
    assert abs(mean) <= 0.05


@pytest.mark.parametrize(("variant", "severity"), [(32, 4), (32, 5), (64, 2), (64, 5), (224, 1), (299, 1)])
def test_disks_of_equal_taps_are_exact(pictures, variant, severity):
    """A mean of n levels is whole for every n-th pixel; the kernel's last bits say on which side the original cuts."""
    batch = crops(pictures, 100, 90)
    theirs = reference_corrupt(batch, "defocus_blur", severity, variant=variant)
    assert torch.equal(corrupt(batch, "defocus_blur", severity, variant=variant), theirs)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_is_a_convolution_with_the_disk(photographs, severity):
    kernel = reference.disk(*tables()[32]["defocus_blur"][severity - 1]).astype(float)
    blurred = array(corrupt(photographs, "defocus_blur", severity))
    for image, result in zip(array(photographs)[::3], blurred[::3], strict=True):
        # "mirror" is OpenCV's reflect-101, and the disk is symmetric, so correlation is convolution
        channels = [ndimage.correlate(image[..., c] / 255.0, kernel, mode="mirror") for c in range(3)]
        expected = np.clip(np.stack(channels, axis=-1), 0, 1) * 255
        assert np.abs(result - (expected - 0.5)).max() <= 0.5 + 1e-3  # truncated, up to the last bits of the sum


@pytest.mark.parametrize("variant", sorted(tables()))
def test_disks_are_opencvs(variant):
    """Above radius 6 the sum is above 1, since the border mirrors the rim: part of the benchmark."""
    for cell in tables()[variant]["defocus_blur"]:
        ours, theirs = disk(*cell), reference.disk(*cell)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 3e-7 * theirs.max()
        assert ours.sum(dtype=float) == pytest.approx(theirs.sum(dtype=float), abs=1e-7)


def test_disk_is_imagecorruptions():
    from imagecorruptions import corruptions as theirs

    for radius, alias in ((3, 0.1), (6, 0.5), (8, 0.5), (10, 0.5)):
        assert np.allclose(disk(radius, alias), theirs.disk(radius=radius, alias_blur=alias), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("radius", [0.3, 1.5, 6.6, 8.5, 10.4])
def test_disks_of_any_radius_have_a_middle(radius):
    kernel = disk(radius, 0.5)
    assert kernel.shape[0] == kernel.shape[1] == (17 if radius <= 8 else 2 * math.ceil(radius) + 1)
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1])
    assert kernel.sum() == pytest.approx(1, abs=0.02)


def test_disks_by_hand():
    assert disk(1.5, 0.1)[7:10, 7:10] == pytest.approx(np.full((3, 3), 1 / 9), abs=1e-6)
    assert np.count_nonzero(disk(1, 0.01)) == 5


def test_motion_blur_is_imagemagicks():
    """Outputs of ImageMagick 6.9.11-60 Q16 (Debian 12) through Wand on MNIST digits and scikit-learn's photographs."""
    recorded = np.load(Path(__file__).parent / "imagemagick_motion_blur.npz")
    for kind in ("colour", "grey"):
        for image, (radius, sigma, degrees), expected in zip(
            recorded[kind], recorded["parameters"], recorded[f"{kind}_blurred"], strict=True
        ):
            blurred = directional_blur(tensor(image[None]), radius, sigma, torch.tensor([degrees]))
            assert np.array_equal(array(blurred)[0], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_is_the_references(batch, seeds, severity):
    seeds = seeds[: len(batch)]
    ours = corrupt(batch, "motion_blur", severity, seeds=seeds)
    share, mean = agreement(ours, reference_corrupt(batch, "motion_blur", severity, seeds))
    assert share >= 0.9999
    assert abs(mean) <= 1e-4


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(32, 50),
    width=st.integers(32, 50),
    radius=st.floats(1, 20),
    sigma=st.floats(0.5, 20),
    degrees=st.floats(-180, 180),
)
def test_directional_blur_in_all_directions(height, width, radius, sigma, degrees):
    pixels = torch.randint(
        256, (1, 2, height, width), generator=torch.Generator().manual_seed(height), dtype=torch.uint8
    )
    ours = directional_blur(pixels, radius, sigma, torch.tensor([degrees], dtype=torch.float64))
    share, _ = agreement(ours, tensor(reference.directional_blur(array(pixels), radius, sigma, [degrees])))
    assert share >= 0.998


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_is_a_weighted_trail_of_pixels(photographs, severity):
    radius, sigma = tables()[32]["motion_blur"][severity - 1]
    image, seed = array(photographs)[3], torch.tensor([severity])
    degrees = float(Draws(seed, f"corruption/motion_blur/{severity}", "cpu").uniform(1)) * 90 - 45
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    expected = np.zeros((32, 32, 3))
    for row, column in np.ndindex(32, 32):
        for i, weight in enumerate(weights):
            x = min(max(column + round(i * math.cos(math.radians(degrees))), 0), 31)
            y = min(max(row + round(i * math.sin(math.radians(degrees))), 0), 31)
            expected[row, column] += weight / sum(weights) * image[y, x]
    result = array(corrupt(photographs[3:4], "motion_blur", severity, seeds=seed))[0]
    assert np.abs(result - (expected - 0.5)).max() <= 0.51


@given(degrees=st.floats(-180, 180), length=st.integers(1, 40))
def test_a_trail_stays_on_its_ray(degrees, length):
    offsets = trail(torch.tensor([degrees], dtype=torch.float64), length)[0].numpy()
    ray = np.arange(length)[:, None] * [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]
    assert tuple(offsets[0]) == (0, 0)
    assert np.abs(offsets - ray).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_is_scipys(batch, severity):
    share, mean = agreement(corrupt(batch, "zoom_blur", severity), reference_corrupt(batch, "zoom_blur", severity))
    assert share >= 0.99
    assert abs(mean) <= 0.05


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_averages_enlargements(photographs, severity):
    start, stop, step = tables()[32]["zoom_blur"][severity - 1]["arange"]
    # numpy.arange's habits, which the originals inherit: it steps by (1 + step) - 1, and meets the first two stops
    num_factors = round((stop - start) / step) + (severity in (1, 2))
    factors = [start + i * ((start + step) - start) for i in range(num_factors)]
    blurred = array(corrupt(photographs, "zoom_blur", severity))
    for image, result in zip(array(photographs)[:2], blurred[:2], strict=True):
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


@pytest.mark.parametrize("variant", sorted(tables()))
def test_clipped_zoom_is_scipys_for_every_published_factor(variant):
    planes = np.random.default_rng(variant).random((variant, variant, 1), dtype=np.float32)
    factors = {cell[2] for cell in tables()[variant]["snow"]}
    for cell in tables()[variant]["zoom_blur"]:
        factors |= set(np.arange(*cell["arange"]).tolist())
    for factor in sorted(factors):
        ours = clipped_zoom(torch.from_numpy(planes), factor).numpy()
        assert np.abs(ours - reference.clipped_zoom(planes, factor)).max() <= 2e-5, factor


@settings(max_examples=60, deadline=None)
@given(height=st.integers(32, 90), width=st.integers(32, 90), factor=st.floats(1, 5))
def test_clipped_zoom_of_any_size_is_scipys(height, width, factor):
    """At some sizes and factors rounding lets SciPy look behind the last pixel and see zero; ours is the pixel."""
    planes = np.random.default_rng(height).random((height, width, 3), dtype=np.float32) + 1
    ours = clipped_zoom(torch.from_numpy(planes), factor).numpy()
    theirs = reference.clipped_zoom(planes, factor)
    assert ours.shape == planes.shape
    assert np.abs(ours - theirs)[theirs > 0].max() <= 2e-5
    assert (theirs[:-1, :-1] > 0).all()
    assert ours.min() >= 1


def test_clipped_zoom_treats_planes_alone(photographs):
    planes = photographs.flatten(0, 1).permute(1, 2, 0).contiguous() / 255
    for factor in (1.0, 1.01, 1.25, 1.75, 2.25, 4.5):
        together = clipped_zoom(planes, factor)
        assert together.shape == planes.shape
        assert torch.equal(together[..., 5:6], clipped_zoom(planes[..., 5:6].contiguous(), factor))
    assert torch.allclose(clipped_zoom(planes, 1.0), planes, rtol=0, atol=1e-7)
