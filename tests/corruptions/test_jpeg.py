"""The JPEG round trip against Pillow's own save and open: not one level may differ, on either path."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsbench.corruptions import jpeg, jpeg_codec

QUALITIES = (1, 5, 7, 10, 15, 18, 25, 50, 80, 85, 95, 100)
SIZES = ((224, 224), (32, 32), (299, 299), (33, 47), (1, 1), (17, 224), (2, 3), (40, 4), (9, 5), (1, 64), (300, 6))


def pillow(pixels, quality, **options):
    """uint8 [N, 3, H, W] through Pillow, image by image."""
    decoded = []
    for image in pixels.permute(0, 2, 3, 1).contiguous().numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality, **options)
        decoded.append(np.array(Image.open(stream)))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)


def batch(images):
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


@pytest.fixture(scope="module")
def pictures():
    from skimage import data
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    return [china, data.astronaut(), flower, data.chelsea(), data.coffee()]


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: "x".join(map(str, size)))
def pixels(request, pictures):
    """Crops of photographs, noise, saturated noise and flat saturated colours, all of one size."""
    height, width = request.param
    rng = np.random.default_rng(height * 1000 + width)
    few = 1 if height * width > 10_000 else 2
    crops = []
    for picture in pictures[: 2 * few]:
        top, left = (
            int(rng.integers(0, n - size + 1)) for n, size in zip(picture.shape, (height, width), strict=False)
        )
        crops.append(picture[top : top + height, left : left + width])
    noise = rng.integers(0, 256, (few, height, width, 3), dtype=np.uint8)
    saturated = rng.integers(0, 2, (few, height, width, 3), dtype=np.uint8) * 255
    flat = [np.broadcast_to(np.uint8(colour), (height, width, 3)) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    return batch([*crops, *noise, *saturated, *flat])


@pytest.mark.parametrize("quality", QUALITIES)
def test_both_paths_equal_pillow(pixels, quality):
    expected = pillow(pixels, quality)
    assert torch.equal(jpeg.coded(pixels, quality), expected)
    assert torch.equal(jpeg.roundtrip(pixels, quality), expected)


def test_a_photograph_changes_and_stays_near(pictures):
    """Guards the comparisons above against two sides that both do nothing."""
    crop = batch([picture[:224, :224] for picture in pictures])
    for quality, at_most in ((10, 12.0), (85, 4.0)):
        change = (jpeg.coded(crop, quality).float() - crop).abs().mean()
        assert 0.5 < change < at_most


def test_extreme_blocks_stay_in_range():
    """Blocks with the signs of each DCT basis function drive every intermediate value to its bound."""
    frequency, place = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    basis = np.cos((2 * place + 1) * frequency * np.pi / 16)
    signs = np.einsum("ui,vj->uivj", basis, basis).reshape(64, 64) > 0
    plane = np.where(signs, 255, 0).astype(np.uint8)
    doubled = np.kron(plane, np.ones((2, 2), np.uint8))  # one block of halved chroma from each
    images = []
    for base in (plane, doubled):
        polarities = [
            [base if polarity >> channel & 1 else 255 - base for channel in range(3)] for polarity in range(8)
        ]
        padded = [np.pad(np.stack(channels, -1), ((0, 128 - len(base)),) * 2 + ((0, 0),)) for channels in polarities]
        images.extend(padded)
    pixels = batch(images)
    for quality in (*range(1, 12), 24, 50, 75, 90, 93, 95, 97, 98, 99, 100):
        assert torch.equal(jpeg.coded(pixels, quality), pillow(pixels, quality)), quality


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    quality=st.integers(1, 100),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1, 8, 64, 255]),
)
def test_any_small_image_equals_pillow(height, width, quality, seed, spread):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, 3) + rng.integers(-spread, spread + 1, (1, height, width, 3))
    pixels = batch(values.clip(0, 255).astype(np.uint8))
    expected = pillow(pixels, quality)
    assert torch.equal(jpeg.coded(pixels, quality), expected)
    assert torch.equal(jpeg.roundtrip(pixels, quality), expected)


def test_optimised_files_hold_the_same_pixels(pictures):
    """ImageNet-C was saved with optimize=True, which only changes the entropy code."""
    crop = batch([picture[:224, :224] for picture in pictures])
    assert torch.equal(jpeg.roundtrip(crop, 85), pillow(crop, 85, optimize=True))


@pytest.mark.parametrize("path", [jpeg.coded, jpeg.roundtrip])
def test_an_image_does_not_depend_on_its_batch(pictures, path, monkeypatch):
    crop = batch([picture[:50, :70] for picture in pictures])
    whole = path(crop, 25)
    assert torch.equal(path(crop.flip(0), 25).flip(0), whole)
    assert all(torch.equal(path(crop[i : i + 1], 25)[0], whole[i]) for i in range(len(crop)))
    monkeypatch.setattr(jpeg_codec, "_CHUNK_VALUES", 2 * crop[0].numel())
    assert torch.equal(path(crop, 25), whole)


def test_layout_precision_settings_and_modes_change_nothing(pictures):
    crop = batch([picture[:48, :80] for picture in pictures])
    expected = jpeg.roundtrip(crop, 50)
    strided = crop.contiguous(memory_format=torch.channels_last)
    assert torch.equal(jpeg.coded(strided, 50), expected)
    assert torch.equal(jpeg.roundtrip(strided, 50), expected)
    with torch.inference_mode():
        assert torch.equal(jpeg.roundtrip(crop.clone(), 50), expected)
        assert torch.equal(jpeg.coded(crop.clone(), 50), expected)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(jpeg.coded(crop, 50), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_one_thread_equals_several(pictures):
    crop = batch([picture[:64, :64] for picture in pictures])
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(jpeg.roundtrip(crop, 85))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_pillow(pixels):
    for quality in (1, 10, 85, 100):
        assert torch.equal(jpeg.roundtrip(pixels.cuda(), quality).cpu(), pillow(pixels, quality)), quality


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_float_images_return_in_their_own_dtype(pictures, dtype):
    """Whole levels survive the way through [0, 1], bfloat16's coarse ones as the nearest level."""
    crop = batch([picture[:40, :40] for picture in pictures])
    images = crop.to(dtype) / 255
    kept = images.clone()
    result = jpeg.jpeg_roundtrip(images, 85)
    levels = crop if dtype != torch.bfloat16 else (images.float() * 255).round().to(torch.uint8)
    assert result.dtype == dtype
    assert torch.equal(result, (pillow(levels, 85).float() / 255).to(dtype))
    assert torch.equal(images, kept)


def test_uint8_images_and_empty_batches(pictures):
    crop = batch([picture[:40, :40] for picture in pictures])
    kept = crop.clone()
    assert torch.equal(jpeg.jpeg_roundtrip(crop, np.int64(30)), pillow(crop, 30))
    assert torch.equal(crop, kept)
    assert jpeg.jpeg_roundtrip(crop[:0], 30).shape == (0, 3, 40, 40)
    assert jpeg.jpeg_roundtrip(crop[:0].float(), 30).dtype == torch.float32


@pytest.mark.parametrize(
    ("images", "quality", "message"),
    [
        (torch.zeros(3, 8, 8), 85, r"\[N, 3, H, W\], got \[3, 8, 8\]"),
        (torch.zeros(1, 1, 8, 8), 85, r"got \[1, 1, 8, 8\]"),
        (torch.zeros(1, 3, 0, 8), 85, r"got \[1, 3, 0, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int32), 85, r"got torch\.int32: convert"),
        (torch.full((1, 3, 8, 8), 255.0), 85, r"\[0, 1\], got 255 to 255: divide"),
        (torch.full((1, 3, 8, 8), -0.1), 85, r"got -0\.1"),
        (torch.full((1, 3, 8, 8), torch.nan), 85, r"got nan"),
        (torch.zeros(1, 3, 8, 8), 0, "from 1 to 100, got 0"),
        (torch.zeros(1, 3, 8, 8), 101, "got 101"),
        (torch.zeros(1, 3, 8, 8), 85.0, r"got 85\.0"),
        (torch.zeros(1, 3, 8, 8), True, "got True"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(images, quality, message):
    with pytest.raises(ValueError, match=message) as raised:
        jpeg.jpeg_roundtrip(images, quality)
    assert "\n" not in str(raised.value)
