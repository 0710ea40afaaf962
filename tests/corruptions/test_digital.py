"""The digital corruptions against scikit-image, Pillow, colorsys, OpenCV and numbers worked by hand."""

from __future__ import annotations

import colorsys
import io

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from nsbench.corruptions import corrupt
from nsbench.corruptions.colour import shades_of, to_hsv
from nsbench.corruptions.constants import SEVERITIES, tables
from nsbench.corruptions.digital import box_resized, box_weights, corner_map, warped_elastically
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.resampling import sampled_at, smoothed_field
from tests.corruptions.reference.given import array, reference_corrupt, tensor

from .conftest import agreement, crops


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturate", "pixelate", "jpeg_compression"])
def test_exactly_the_reference(batch, name, severity):
    """To the bit: scikit-image's HSV and NumPy's means in double precision, Pillow's boxes, libjpeg."""
    assert torch.equal(corrupt(batch, name, severity), reference_corrupt(batch, name, severity))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturate", "pixelate", "jpeg_compression"])
@pytest.mark.parametrize(("height", "width"), [(48, 37), (224, 300)])
def test_exactly_the_reference_when_not_square(pictures, name, height, width):
    wide = crops(pictures, height, width)
    assert torch.equal(corrupt(wide, name, 3, variant=224), reference_corrupt(wide, name, 3, variant=224))


def every_colour(step):
    """A cube of colours, some of them grey, uint8 [1, 3, H, W]."""
    levels = torch.cat([torch.arange(0, 256, step), torch.tensor([1, 127, 128, 254])]).unique()
    colours = torch.cartesian_prod(levels, levels, levels).to(torch.uint8)
    side = 32 * -(-len(colours) // 32)
    return colours.repeat(2, 1)[:side].T.reshape(1, 3, 32, -1)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["brightness", "saturate"])
def test_hsv_of_all_sorts_of_colours_is_scikit_images(name, severity):
    colours = every_colour(15)
    assert torch.equal(
        corrupt(colours, name, severity, variant=224), reference_corrupt(colours, name, severity, variant=224)
    )


def test_hsv_there_and_back():
    from skimage.color import hsv2rgb, rgb2hsv

    colours = every_colour(15)
    hue, saturation, value = to_hsv(colours)
    theirs = rgb2hsv(array(colours) / 255.0)
    assert np.array_equal(torch.stack([hue, saturation, value], dim=-1).numpy(), theirs)
    assert np.array_equal(array(shades_of(hue, saturation) * value[:, None]), hsv2rgb(theirs))


def test_contrast_by_hand():
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[:, :, :16] = torch.tensor([200, 100, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    result = corrupt(image, "contrast", 2).int()  # 0.5: means are 100, 50, 0
    assert (result[0, :, 0, 0] - torch.tensor([150, 75, 0])).abs().max() <= 1
    assert (result[0, :, 31, 0] - torch.tensor([50, 25, 0])).abs().max() <= 1


@pytest.mark.parametrize("level", [0, 1, 77, 128, 254, 255])
def test_contrast_leaves_a_flat_image_flat(level):
    flat = torch.full((1, 3, 33, 40), level, dtype=torch.uint8)
    result = corrupt(flat, "contrast", 1)
    assert result.unique().numel() == 1
    assert 0 <= level - int(result[0, 0, 0, 0]) <= 1  # 0.4 (x - mean) + mean is x but for the last bit, then cut


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_keeps_channel_means(photographs, severity):
    factor = tables()[32]["contrast"][severity - 1]
    result, clean = corrupt(photographs, "contrast", severity).double(), photographs.double()
    assert (result.mean(dim=(2, 3)) - clean.mean(dim=(2, 3)) + 0.5).abs().max() < 0.6
    assert torch.allclose(result.std(dim=(2, 3)), factor * clean.std(dim=(2, 3)), atol=0.6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturate_are_shifts_in_hsv(photographs, severity):
    factor, offset = tables()[32]["saturate"][severity - 1]
    lift = tables()[32]["brightness"][severity - 1]
    image = array(photographs[2:3])[0]
    bright = array(corrupt(photographs[2:3], "brightness", severity))[0]
    vivid = array(corrupt(photographs[2:3], "saturate", severity))[0]
    for row, column in np.ndindex(32, 32):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[row, column] / 255.0))
        lifted = colorsys.hsv_to_rgb(hue, saturation, min(value + lift, 1))
        soaked = colorsys.hsv_to_rgb(hue, min(max(saturation * factor + offset, 0), 1), value)
        assert np.abs(bright[row, column] - (255 * np.array(lifted) - 0.5)).max() <= 0.51
        assert np.abs(vivid[row, column] - (255 * np.array(soaked) - 0.5)).max() <= 0.51


def test_brightness_by_hand():
    image = torch.tensor([40, 20, 100], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    result = corrupt(image, "brightness", 4)  # value 100 / 255, raised by 0.2 * 255 = 51
    assert result[0, :, 0, 0].tolist() == pytest.approx((60, 30, 151), abs=1)


def test_grey_images_stay_grey(digits):
    for name in ("brightness", "contrast", "motion_blur", "fog", "glass_blur", "pixelate", "elastic_transform"):
        result = corrupt(digits, name, 3, seeds=torch.arange(10))
        assert torch.equal(result[:, 0], result[:, 1])
        assert torch.equal(result[:, 0], result[:, 2])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_is_pillows(images, severity):
    result = corrupt(images, "jpeg_compression", severity)
    for image, decoded in zip(array(images), array(result), strict=True):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=(80, 65, 58, 50, 40)[severity - 1])
        assert np.array_equal(decoded, np.asarray(Image.open(stream)))


@settings(max_examples=80, deadline=None)
@example(height=4, width=34, small=(1, 33), seed=0)  # here Pillow 13 by itself starts with the rows
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    small=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 2**32),
)
def test_box_resized_is_pillows(height, width, small, seed):
    """To the bit, smaller or larger, whatever the sizes: what devices without Pillow run."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    narrow = Image.fromarray(pixels).resize((small[1], height), Image.Resampling.BOX)
    expected = np.asarray(narrow.resize(small[::-1], Image.Resampling.BOX))
    assert np.array_equal(array(box_resized(tensor(pixels[None]), small))[0], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_box_resized_is_what_pixelate_does_on_cpus(large, severity):
    side = int(224 * tables()[224]["pixelate"][severity - 1])
    pillows = [Image.fromarray(image).resize((side, side), Image.Resampling.BOX) for image in array(large)]
    assert torch.equal(box_resized(large, (side, side)), tensor(np.stack([np.asarray(each) for each in pillows])))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_averages_boxes(photographs, severity):
    """Area-weighted means by the definition; Pillow rounds after each of its four passes."""
    small = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    result = corrupt(photographs, "pixelate", severity)
    through = boxes(small, 32) @ boxes(32, small)
    for image, pixelated in zip(array(photographs), array(result), strict=True):
        expected = np.einsum("ij,jkc,lk->ilc", through, image.astype(float), through)
        assert np.abs(pixelated - expected).max() <= 2.1
        assert np.abs(pixelated - expected).mean() <= 0.6


def boxes(source, target):
    """The weights [target, source] of a box filter as Pillow has it: whole pixels by their centres."""
    scale = source / target
    weights = np.zeros((target, source))
    for i in range(target):
        centre, support = (i + 0.5) * scale, 0.5 * max(scale, 1)
        low, high = int(max(centre - support + 0.5, 0)), int(min(centre + support + 0.5, source))
        for j in range(low, high):
            if -0.5 < (j - centre + 0.5) * (1 / max(scale, 1)) <= 0.5:
                weights[i, j] = 1
    return weights / weights.sum(axis=1, keepdims=True)


@given(source=st.integers(1, 300), target=st.integers(1, 300))
def test_box_weights_are_those_of_the_definition(source, target):
    assert np.abs(box_weights(source, target).numpy() / 2**22 - boxes(source, target)).max() <= 2.0**-23


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_is_the_references(batch, seeds, severity):
    """OpenCV and SciPy on the same moves and fields; severity 2 at 224 px enlarges rounding by up to a thousand."""
    seeds = seeds[: len(batch)]
    ours = corrupt(batch, "elastic_transform", severity, seeds=seeds)
    share, mean = agreement(ours, reference_corrupt(batch, "elastic_transform", severity, seeds))
    assert share >= 0.99
    assert abs(mean) <= 0.05


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_is_an_affine_map_and_a_smooth_field(photographs, severity):
    amplitude, sigma, jitter = tables()[32]["elastic_transform"][severity - 1]
    seed = torch.tensor([41])
    draws = Draws(seed, f"corruption/elastic_transform/{severity}", "cpu")
    moves = (draws.uniform(3, 2) * 2 * jitter - jitter)[0].numpy()
    field = (draws.uniform(2, 32, 32) * 2 - 1)[0].double().numpy()
    corners = np.array([[26, 26], [26, 6], [6, 6]], np.float32)  # the middle 16, plus and minus 32 // 3
    matrix = cv2.getAffineTransform(corners, corners + moves)
    image = array(photographs)[1].astype(np.float32) / 255.0
    warped = cv2.warpAffine(image, matrix, (32, 32), borderMode=cv2.BORDER_REFLECT_101)
    row, column = np.mgrid[:32, :32]
    dx, dy = (
        np.float32(amplitude * ndimage.gaussian_filter(part, sigma, mode="reflect", truncate=3)) for part in field
    )
    channels = [
        ndimage.map_coordinates(warped[..., c], (row + dy, column + dx), order=1, mode="reflect") for c in range(3)
    ]
    expected = np.clip(np.stack(channels, axis=-1), 0, 1) * 255
    result = array(corrupt(photographs[1:2], "elastic_transform", severity, seeds=seed))[0]
    assert np.abs(result - (expected - 0.5)).max() <= 0.51


def test_no_moves_and_no_shifts_leave_the_image(large):
    still = warped_elastically(large, torch.zeros(5, 3, 2), torch.zeros(5, 2, 224, 224))
    assert torch.equal(still, large)


def test_shifts_point_to_where_a_pixel_comes_from(large):
    shifts = torch.zeros(5, 2, 224, 224)
    shifts[:, 0] = 3  # dx
    shifts[:, 1] = -2  # dy
    moved = warped_elastically(large, torch.zeros(5, 3, 2), shifts)
    assert torch.equal(moved[:, :, 2:, :-3], large[:, :, :-2, 3:])


@settings(max_examples=40, deadline=None)
@given(height=st.integers(32, 300), width=st.integers(32, 300), seed=st.integers(0, 2**32))
def test_corner_map_is_opencvs(height, width, seed):
    """The inverse of the map that takes the corners to where they move; the original gives rows as x."""
    moves = np.random.default_rng(seed).uniform(-3, 3, (3, 2)).astype(np.float32)
    middle, arm = np.array([height // 2, width // 2]), min(height, width) // 3
    corners = (middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])).astype(np.float32)
    expected = cv2.invertAffineTransform(cv2.getAffineTransform(corners, corners + moves))
    assert np.allclose(corner_map(height, width, torch.from_numpy(moves)[None])[0], expected, atol=2e-4)


@settings(max_examples=60, deadline=None)
@given(
    outside=st.sampled_from(["mirror", "reflect", "nearest", "black"]),
    reach=st.sampled_from([5, 40, 300]),
    seed=st.integers(0, 2**32),
)
def test_sampling_is_scipys_with_all_borders(outside, reach, seed):
    """Points up to many pictures away: mirrors repeat."""
    rng = np.random.default_rng(seed)
    plane = rng.random((9, 14), dtype=np.float32)
    x, y = (rng.uniform(-reach, side + reach, (20, 20)).astype(np.float32) for side in (14, 9))
    ours = sampled_at(
        torch.from_numpy(plane)[None, None], torch.from_numpy(x)[None], torch.from_numpy(y)[None], outside
    )
    mode = {"black": "grid-constant"}.get(outside, outside)
    expected = ndimage.map_coordinates(plane, (y, x), order=1, mode=mode)
    assert np.abs(ours[0, 0].numpy() - expected).max() <= 1e-4


@pytest.mark.parametrize("border", ["nearest", "reflect"])
@pytest.mark.parametrize(("sigma", "truncate"), [(0, 3), (0.5, 4), (2.44, 3), (19.52, 3), (170.8, 3)])
def test_smoothed_fields_are_scipys(border, sigma, truncate):
    field = np.random.default_rng(0).uniform(-1, 1, (2, 48, 37)).astype(np.float32)
    ours = smoothed_field(torch.from_numpy(field), sigma, border, truncate)
    expected = ndimage.gaussian_filter(field.astype(float), (0, sigma, sigma), mode=border, truncate=truncate)
    assert np.abs(ours.numpy() - expected).max() <= 2e-6
