"""Photographs' crops against TensorFlow's sampler written anew, against torchvision, and on every broken file."""

from __future__ import annotations

import collections
import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torchvision.transforms import v2

from nsbench.data import crops, mnist5k, pictures
from nsbench.data.augment import distort
from nsbench.data.crops import crop_box, plain_view, training_view
from nsbench.data.pictures import BadImage, View, decode
from nsbench.trainingconfig import NoiseConfig

from ..shared import SAMPLES, absent

NOISE = NoiseConfig(magnitude=9)
STILL = NoiseConfig(num_ops=0, flip=False)
Pixels = npt.NDArray[np.uint8]


def make_rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def photograph(width: int = 640, height: int = 427) -> Image.Image:
    pixels = mnist5k._import("sklearn.datasets").load_sample_images().images[0]
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream


def with_area(least: float, most: float, ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> NoiseConfig:
    return dataclasses.replace(STILL, crop_area=(least, most), crop_ratio=ratio)


# ---- the view without noise


def test_the_plain_view_is_timms_at_every_size() -> None:
    """floor(size / (size / (size + 32))) loses a pixel to rounding at six sizes; the official code divides once."""
    off = [size for size in range(32, 801) if View.of_crop(size, size / (size + 32), "bicubic") != plain_view(size)]
    assert off == [68, 69, 83, 462, 468, 473]
    for size in range(32, 801):
        assert plain_view(size).resize == size + 32


def test_the_plain_view_is_torchvisions() -> None:
    theirs = v2.Compose([v2.Resize(256, v2.InterpolationMode.BICUBIC), v2.CenterCrop(224)])
    for size in ((640, 427), (300, 500), (224, 224)):
        image = photograph(*size)
        np.testing.assert_array_equal(plain_view(224).show(stored(image)), np.asarray(theirs(image)))


# ---- where the crop lies


def official_box(width: int, height: int, noise: NoiseConfig, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """`sample_distorted_bounding_box` by its own description, slowly: of all heights that are allowed, any."""
    area = width * height
    for _ in range(10):
        ratio = rng.uniform(*noise.crop_ratio)
        allowed = [
            tall
            for tall in range(1, height + 1)
            if noise.crop_area[0] * area <= tall * round(tall * ratio) <= noise.crop_area[1] * area
            and round(tall * ratio) <= width
        ]
        if allowed:
            tall = int(rng.choice(allowed))
            wide = round(tall * ratio)
            return wide, tall, int(rng.integers(width - wide + 1)), int(rng.integers(height - tall + 1))
    return 0, 0, 0, 0


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (900, 300)])
def test_crops_are_distributed_as_the_official_ones(size: tuple[int, int]) -> None:
    count = 3000
    rng, other = make_rng(1), make_rng(2)
    boxes = np.array([crop_box(*size, STILL, rng) or (0, 0, 0, 0) for _ in range(count)])
    left, top, right, bottom = boxes.T
    wide, tall, x, y = np.array([official_box(*size, STILL, other) for _ in range(count)]).T
    pairs = {
        "width": (right - left, wide),
        "height": (bottom - top, tall),
        "area": ((right - left) * (bottom - top), wide * tall),
        "left": (left, x),
        "top": (top, y),
    }
    for name, (ours, theirs) in pairs.items():
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-3, name
    assert abs((right - left == 0).mean() - (wide == 0).mean()) < 0.02  # as often without a crop


def test_heights_are_uniform_where_the_ratio_is_fixed() -> None:
    noise, rng = with_area(0.25, 0.5, (1.0, 1.0)), make_rng()
    boxes = [crop_box(40, 40, noise, rng) or (0, 0, 0, 0) for _ in range(4000)]
    sides = collections.Counter(bottom - top for _, top, _, bottom in boxes)
    assert sorted(sides) == list(range(20, 29))  # sqrt(0.25) and sqrt(0.5) of 40, rounded
    assert stats.chisquare(list(sides.values())).pvalue > 1e-3
    assert {right - left == bottom - top for left, top, right, bottom in boxes} == {True}


def test_what_torchvision_does_otherwise_and_what_it_does_the_same() -> None:
    """One size: the same places. Several: our square's side is uniform, theirs has a uniform area."""
    torch.manual_seed(0)
    rng, picture = make_rng(), torch.zeros(3, 300, 400)
    one, several = with_area(0.25, 0.25, (1.0, 1.0)), with_area(0.04, 1.0, (1.0, 1.0))
    places = np.array([crop_box(400, 300, one, rng) or (0, 0, 0, 0) for _ in range(2000)])
    theirs = np.array([random_resized_crop(picture, one) for _ in range(2000)])
    assert (
        {tuple(box) for box in places[:, 2:] - places[:, :2]} == {tuple(box) for box in theirs[:, 2:]} == {(173, 173)}
    )
    for axis in (0, 1):
        assert stats.ks_2samp(places[:, axis], theirs[:, axis]).pvalue > 1e-3
        assert (places[:, axis].min(), places[:, axis].max()) == (0, (400, 300)[axis] - 173)  # the last place as well
    square = torch.zeros(3, 300, 300)
    ours = np.array([crop_box(300, 300, several, rng) or (0, 0, 0, 0) for _ in range(2000)])
    sides = (ours[:, 2] - ours[:, 0]) / 300
    areas = np.array([random_resized_crop(square, several)[2] for _ in range(2000)]) ** 2 / 300**2
    assert stats.kstest(sides, stats.uniform(0.2, 0.8).cdf).pvalue > 1e-3
    assert stats.kstest(areas, stats.uniform(0.04, 0.96).cdf).pvalue > 1e-3
    assert stats.kstest(sides**2, stats.uniform(0.04, 0.96).cdf).pvalue < 1e-9


def random_resized_crop(picture: torch.Tensor, noise: NoiseConfig) -> tuple[int, int, int, int]:
    top, left, tall, wide = v2.RandomResizedCrop(8, noise.crop_area, noise.crop_ratio).make_params([picture]).values()
    return left, top, wide, tall


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    area=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
    ratio=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted),
    seed=st.integers(0, 99),
)
def test_a_crop_is_inside_and_of_the_asked_shape(
    size: tuple[int, int], area: list[float], ratio: list[float], seed: int
) -> None:
    width, height = size
    box = crop_box(width, height, with_area(area[0], area[1], (ratio[0], ratio[1])), make_rng(seed))
    if box is None:
        return
    left, top, right, bottom = box
    wide, tall = right - left, bottom - top
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # Half a pixel of rounding in height, and half a pixel in width
    assert ratio[0] * (tall - 0.5) - 1 <= wide <= ratio[1] * (tall + 0.5) + 1
    rounding = wide + tall + 1 + tall * ratio[1]
    assert area[0] * width * height - rounding <= wide * tall <= area[1] * width * height + rounding


@pytest.mark.parametrize(
    ("size", "noise"),
    [
        ((1000, 10), STILL),  # the largest crops cover 1.3 %
        ((10, 1000), STILL),
        ((200, 100), with_area(0.9, 1.0, (1.0, 1.0))),
    ],
)
def test_no_crop_fits(size: tuple[int, int], noise: NoiseConfig) -> None:
    rng = make_rng()
    assert crop_box(*size, noise, rng) is None
    assert rng.random() == make_rng().random(11)[-1]  # after ten attempts


# ---- the pixels


@pytest.mark.parametrize("size", [(2000, 80), (300, 300)])
def test_the_middle_where_no_crop_fits_or_it_is_the_whole_picture(size: tuple[int, int]) -> None:
    """Official `_random_crop`: both count as `bad`."""
    noise = STILL if size[0] > size[1] else with_area(1.0, 1.0, (1.0, 1.0))
    image = photograph(*size)
    expected = plain_view(64).show(stored(image))
    np.testing.assert_array_equal(training_view(stored(image), 64, noise, make_rng()), expected)
    flipping = dataclasses.replace(noise, flip=True)
    seen = {training_view(stored(image), 64, flipping, make_rng(seed)).tobytes() for seed in range(9)}
    assert seen == {expected.tobytes(), expected[:, ::-1].tobytes()}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_crop_then_resize_then_flip_then_randaugment_then_cutout(kind: str, tmp_path: Path) -> None:
    """The official order, from the parts and the same draws; torchvision's pixels, bit for bit."""
    path = tmp_path / "picture"
    path.write_bytes(stored(photograph(), kind).getvalue())
    noise = dataclasses.replace(NOISE, always_cutout_px=30)
    whole = Image.open(path).convert("RGB")
    flips = 0
    for seed in range(20):
        rng = make_rng(seed)
        left, top, right, bottom = crop_box(640, 427, noise, rng) or (0, 0, 0, 0)
        view = v2.functional.resized_crop(
            whole, top, left, bottom - top, right - left, [224, 224], v2.InterpolationMode.BICUBIC
        )
        if rng.random() < 0.5:
            view, flips = v2.functional.horizontal_flip(view), flips + 1
        expected = distort(np.asarray(view), noise, rng)
        got = training_view(path, 224, noise, make_rng(seed))
        assert got.flags.writeable
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(training_view(io.BytesIO(path.read_bytes()), 224, noise, make_rng(seed)), got)
    assert 3 < flips < 17


def test_switched_off_noise_leaves_the_crop() -> None:
    noise = dataclasses.replace(STILL, crop_padding_px=4)  # which is for images that are cropped by padding
    image = photograph()
    left, top, right, bottom = crop_box(640, 427, noise, make_rng(1)) or (0, 0, 0, 0)
    expected = image.crop((left, top, right, bottom)).resize((224, 224), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(training_view(stored(image), 224, noise, make_rng(1)), np.asarray(expected))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_large_jpegs_are_decoded_small_and_look_the_same(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    resized = crops._resized

    def record(image: Image.Image, box: tuple[int, int, int, int], size: int) -> Image.Image:
        result = resized(image, box, size)
        sizes.append(image.size)
        return result

    monkeypatch.setattr(crops, "_resized", record)
    picture = photograph(101 * scale, 99 * scale - 1)
    noise, jpeg, png = with_area(0.6, 0.7), stored(picture, "JPEG", quality=95), stored(picture)
    for seed in range(20):
        got = training_view(jpeg, 50, noise, make_rng(seed)).astype(int)
        plain = training_view(png, 50, noise, make_rng(seed))
        assert np.abs(got - plain).mean() < 3
        shifted = np.roll(plain, 1, axis=1).astype(int)
        assert np.abs(got - plain).mean() < 0.5 * np.abs(got - shifted).mean()  # and lies in the same place
    assert set(sizes[::2]) == {(101, 99)}
    assert set(sizes[1::2]) == {picture.size}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_any_mode_is_shown_as_every_other_reader_shows_it(mode: str) -> None:
    kind = {"CMYK": "TIFF", "YCbCr": "JPEG"}.get(mode, "PNG")
    picture = photograph(130, 90).convert("L" if mode == "I;16" else "RGB")
    file = stored(picture.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16"
                  else picture.convert(mode), kind)  # fmt: skip
    left, top, right, bottom = crop_box(130, 90, STILL, make_rng(3)) or (0, 0, 0, 0)
    expected = Image.fromarray(decode(file)).crop((left, top, right, bottom)).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(training_view(file, 64, STILL, make_rng(3)), np.asarray(expected))


def broken_files() -> dict[str, bytes]:
    jpeg, png = stored(photograph(), "JPEG").getvalue(), stored(photograph()).getvalue()
    return {
        "empty": b"",
        "text": b"no image at all",
        "jpeg cut off": jpeg[: len(jpeg) // 2],
        "jpeg header alone": jpeg[:200],
        "png cut off": png[: len(png) // 2],
        "png with a wrong byte": png[:5000] + bytes([png[5000] ^ 255]) + png[5001:],
        "too many pixels": png[:16] + (2**14).to_bytes(4, "big") + (2**13 + 1).to_bytes(4, "big") + png[24:],
        "too narrow": stored(Image.new("RGB", (60_000, 1))).getvalue(),
        "animated": b"GIF89a",
    }


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", broken_files())
@pytest.mark.parametrize("size", [32, 224])
def test_a_broken_file_is_refused_in_the_words_of_every_other_reader(name: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(broken_files()[name])
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(BadImage) as theirs:
            plain_view(size).show(source)
        with pytest.raises(BadImage) as ours:
            training_view(source, size, NOISE, make_rng())
        assert str(ours.value) == str(theirs.value)
        assert 5 < len(str(ours.value)) < 80


def test_too_many_pixels_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (crops, pictures):
        monkeypatch.setattr(module, "MAX_IMAGE_PIXELS", 90_000)
    assert training_view(stored(photograph(300, 300)), 8, NOISE, make_rng()).shape == (8, 8, 3)
    with pytest.raises(BadImage, match="301 x 300 pixels are too many"):
        training_view(stored(photograph(301, 300)), 8, NOISE, make_rng())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="No such file"):
        training_view(tmp_path / "gone.jpg", 32, NOISE, make_rng())


def test_an_error_of_ours_is_not_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(crops, "_resized", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        training_view(stored(photograph()), 32, NOISE, make_rng())


def test_a_thousand_photographs() -> None:
    if not SAMPLES.is_dir():
        absent(f"no photographs at {SAMPLES}")
    paths = sorted(SAMPLES.glob("*/*.JPEG"))
    assert len(paths) == 1000
    rng = make_rng()
    for path in paths:
        noise = NoiseConfig(
            magnitude=(5, 9, 15, 27, 30)[rng.integers(5)],
            variant=("official", "monotone")[rng.integers(2)],
            always_cutout_px=(0, 60)[rng.integers(2)],
        )
        size = (32, 64, 224)[rng.integers(3)]
        view = training_view(path, size, noise, rng)
        assert (view.shape, view.dtype, view.flags.writeable) == ((size, size, 3), np.uint8, True), path


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    side=st.integers(1, 48),
    kind=st.sampled_from(["PNG", "JPEG"]),
    magnitude=st.floats(0, 30),
    seed=st.integers(0, 2**32),
)
def test_any_small_picture(size: tuple[int, int], side: int, kind: str, magnitude: float, seed: int) -> None:
    pixels = make_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file, noise = stored(Image.fromarray(pixels), kind), dataclasses.replace(NOISE, magnitude=magnitude)
    view = training_view(file, side, noise, make_rng(seed))
    assert (view.shape, view.dtype) == ((side, side, 3), np.uint8)
    np.testing.assert_array_equal(view, training_view(file, side, noise, make_rng(seed)))


def test_the_shares_least_and_most_are_the_configurations() -> None:
    shares = []
    for least, most in ((0.08, 1.0), (0.1, 0.2), (0.5, 0.5)):
        rng = make_rng()
        boxes = [crop_box(500, 400, with_area(least, most), rng) for _ in range(2000)]
        share = [(right - left) * (bottom - top) / 200_000 for left, top, right, bottom in filter(None, boxes)]
        shares.append((min(share), max(share)))
        assert min(share) == pytest.approx(least, rel=0.02)
        assert max(share) <= most * 1.01
    assert shares[0][1] > 0.9
    assert math.isclose(shares[1][1], 0.2, rel_tol=0.02)
