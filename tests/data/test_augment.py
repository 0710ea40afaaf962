"""RandAugment on the official scale: every operation against a case worked by hand and against another program."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy import stats

from nsbench.config import NoiseConfig
from nsbench.data import augment as module
from nsbench.data import mnist5k
from nsbench.data.augment import RANDAUGMENT_OPS, apply_op, augment

SMALL = NoiseConfig(num_ops=2, magnitude=9, translate_px=4, cutout_px=4, crop_padding_px=4, flip=False)
STILL = NoiseConfig(num_ops=0, always_cutout_px=0, crop_padding_px=0, flip=False)
Pixels = npt.NDArray[np.uint8]


class Scripted:
    """Stands for a generator: `random` gives `sign`, below 0.5 for plus; `integers` gives the listed numbers."""

    def __init__(self, sign: float = 0.0, integers: tuple[int, ...] = ()) -> None:
        self.sign, self.numbers = sign, list(integers)

    def random(self) -> float:
        return self.sign

    def integers(self, *_: object, **__: object) -> int:
        return self.numbers.pop(0)


def make_rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def grey(rows: object) -> Pixels:
    """[H, W] values on three equal channels."""
    return np.repeat(np.array(rows, np.uint8)[..., np.newaxis], 3, axis=-1)


def run_op(pixels: Pixels, op: str, magnitude: float, rng: object = None, noise: NoiseConfig = SMALL) -> Pixels:
    image = Image.fromarray(pixels)
    changed = np.asarray(apply_op(image, op, magnitude, rng or make_rng(), noise))  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.asarray(image), pixels)  # the input is left as it is
    return changed


def noisy_image(height: int, width: int, seed: int = 0) -> Pixels:
    return make_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph() -> Pixels:
    return mnist5k._import("sklearn.datasets").load_sample_images().images[0][100:356, 200:456]


def real_images() -> dict[str, Pixels]:
    digits, crops = mnist5k.mnist_digits().pixels, mnist5k.photograph_crops().pixels
    return {
        "1x1": noisy_image(1, 1),
        "2x3": noisy_image(2, 3),
        "3x1": noisy_image(3, 1),
        "digit": digits[1234],
        "crop": crops[5],
        "black": np.zeros((32, 32, 3), np.uint8),
        "white": np.full((32, 32, 3), 255, np.uint8),
        "photograph": photograph(),
    }


def test_the_sixteen_operations_in_official_order() -> None:
    assert (
        *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness"),
        *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "SolarizeAdd", "Cutout"),
    ) == RANDAUGMENT_OPS


@pytest.mark.parametrize("op", RANDAUGMENT_OPS)
def test_no_magnitude_crashes_and_shapes_stay(op: str) -> None:
    rng = make_rng()
    for name, pixels in real_images().items():
        for magnitude in (*range(31), 4.5, 9.99):
            for noise in (SMALL, NoiseConfig()):
                changed = run_op(pixels, op, magnitude, rng, noise)
                assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8), (name, magnitude)


# Values worked by hand: l = magnitude / 10.
POINTWISE = [
    ("Invert", 9, [0, 100, 255], [255, 155, 0]),
    ("Solarize", 0, [0, 100, 255], [255, 155, 0]),  # threshold 0: everything is inverted
    ("Solarize", 5, [0, 127, 128, 255], [0, 127, 127, 0]),  # threshold 128
    ("Solarize", 9, [229, 230, 255], [229, 25, 0]),  # threshold 230
    ("Solarize", 10, [0, 128, 255], [0, 128, 255]),  # threshold 256 and more: identity
    ("Solarize", 27, [0, 128, 255], [0, 128, 255]),
    ("Posterize", 0, [0, 128, 255], [0, 0, 0]),  # no bits: black
    ("Posterize", 2, [0, 128, 255], [0, 0, 0]),  # int(0.8) bits
    ("Posterize", 3, [127, 128, 255], [0, 128, 128]),  # 1 bit
    ("Posterize", 5, [63, 64, 127, 200, 255], [0, 64, 64, 192, 192]),  # 2 bits
    ("Posterize", 10, [15, 16, 250], [0, 16, 240]),  # 4 bits
    ("Posterize", 18, [1, 3, 255], [0, 2, 254]),  # 7 bits
    ("Posterize", 20, [1, 3, 255], [1, 3, 255]),  # 8 bits and more: identity
    ("Posterize", 24, [1, 3, 255], [1, 3, 255]),
    ("Posterize", 30, [1, 3, 255], [1, 3, 255]),
    ("SolarizeAdd", 0, [0, 127, 128], [0, 127, 128]),
    ("SolarizeAdd", 5, [0, 127, 128, 255], [55, 182, 128, 255]),  # + int(55)
    ("SolarizeAdd", 15, [0, 100, 128], [165, 255, 128]),  # + 165, clipped
    ("SolarizeAdd", 27, [0, 127, 128], [255, 255, 128]),  # + 297
    ("Brightness", 0, [0, 200, 255], [0, 20, 25]),  # x 0.1, truncated
    ("Brightness", 5, [0, 77, 255], [0, 77, 255]),  # x 1
    ("Brightness", 10, [0, 100, 200], [0, 190, 255]),  # x 1.9, clipped
    ("Brightness", 27, [0, 10, 100], [0, 49, 255]),  # x 4.96
    ("Contrast", 0, [0, 200], [90, 110]),  # towards the mean 100
    ("Contrast", 5, [0, 200], [0, 200]),
    ("Contrast", 10, [50, 150], [5, 195]),  # 100 -+ 1.9 x 50
    ("AutoContrast", 9, [50, 100, 150], [0, 127, 255]),  # (v - 50) x 2.55, truncated
    ("AutoContrast", 9, [70, 70], [70, 70]),
    ("Equalize", 9, [10, 20, 30], [10, 20, 30]),  # fewer than 255 pixels below the brightest: as it is
    ("Color", 0, [3, 77, 200], [3, 77, 200]),  # a grey image has no colour to change
]


@pytest.mark.parametrize(("op", "magnitude", "before", "after"), POINTWISE)
def test_values_by_hand(op: str, magnitude: float, before: list[int], after: list[int]) -> None:
    np.testing.assert_array_equal(run_op(grey([before]), op, magnitude), grey([after]))


def test_colour_by_hand() -> None:
    red = np.array([[[255, 0, 0]]], np.uint8)  # grey 76 = 0.299 x 255
    assert run_op(red, "Color", 0)[0, 0].tolist() == [93, 68, 68]  # 76 + 0.1 x (255 - 76) and 76 - 7.6
    assert run_op(red, "Color", 10)[0, 0].tolist() == [255, 0, 0]  # 76 - 1.9 x 76 < 0
    np.testing.assert_array_equal(run_op(red, "Color", 5), red)


def test_sharpness_by_hand() -> None:
    dot = grey([[0, 0, 0], [0, 130, 0], [0, 0, 0]])  # smoothed: 5 / 13 x 130 = 50 in the middle; the border stays
    for magnitude, middle in ((0, 58), (5, 130), (10, 202)):  # 50 + factor x 80
        np.testing.assert_array_equal(run_op(dot, "Sharpness", magnitude), grey([[0, 0, 0], [0, middle, 0], [0, 0, 0]]))
    np.testing.assert_array_equal(run_op(noisy_image(2, 9), "Sharpness", 0), noisy_image(2, 9))


def test_equalize_by_hand() -> None:
    halves = grey([[10] * 16] * 16 + [[20] * 16] * 16)  # 256 pixels each: step 256 // 255 = 1
    np.testing.assert_array_equal(run_op(halves, "Equalize", 9), grey([[0] * 16] * 16 + [[255] * 16] * 16))


def test_channels_are_stretched_and_equalized_apart() -> None:
    pixels = photograph().copy()
    pixels[..., 1] = pixels[..., 1] // 2
    pixels[..., 2] = 40
    for op in ("AutoContrast", "Equalize"):
        whole = run_op(pixels, op, 9)
        for channel in range(3):
            alone = run_op(grey(pixels[..., channel]), op, 9)[..., 0]
            np.testing.assert_array_equal(whole[..., channel], alone)
        assert set(whole[..., 2].ravel().tolist()) == {40}


PILLOW: dict[str, Callable[[Image.Image], Image.Image]] = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Posterize": lambda image: ImageOps.posterize(image, 3),
    "Solarize": lambda image: ImageOps.solarize(image, 230),
}


@pytest.mark.parametrize("op", PILLOW)
def test_same_as_pillow(op: str) -> None:
    crops = (*mnist5k.photograph_crops().pixels[:50], *mnist5k.mnist_digits().pixels[::100])
    for pixels in (*crops, *real_images().values()):
        expected = np.asarray(PILLOW[op](Image.fromarray(pixels)))
        np.testing.assert_array_equal(run_op(pixels, op, 9), expected)


def transformed(pixels: Pixels, matrix: list[list[float]]) -> Pixels:
    """contrib_image.transform: output (x, y) from input matrix @ (x, y, 1), nearest neighbour, 128 outside."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    column, row = np.floor(np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), 1) + 0.5).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    result = np.full_like(pixels, 128)
    result[inside] = pixels[row[inside], column[inside]]
    return result


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [1, 4, 9, 13, 27])  # none has a pixel half-way between two at these sizes
def test_shear_and_translate_as_the_official_code_has_them(magnitude: float, sign: int) -> None:
    slope, shift = sign * 0.03 * magnitude, sign * 0.4 * magnitude
    matrices = {
        "ShearX": [[1, slope, 0], [0, 1, 0]],
        "ShearY": [[1, 0, 0], [slope, 1, 0]],
        "TranslateX": [[1, 0, shift], [0, 1, 0]],
        "TranslateY": [[1, 0, 0], [0, 1, shift]],
    }
    for pixels in (noisy_image(32, 32), noisy_image(20, 31), noisy_image(1, 1), noisy_image(2, 3)):
        for op, matrix in matrices.items():
            changed = run_op(pixels, op, magnitude, Scripted(0.0 if sign > 0 else 0.9))
            np.testing.assert_array_equal(changed, transformed(pixels, matrix), err_msg=op)


def test_shear_by_hand() -> None:
    ramp = grey([[10, 20, 30, 40]] * 5)
    sheared = [  # row y moves left by 0.3 y, rounded: 0, 0, 1, 1, 1
        *([10, 20, 30, 40], [10, 20, 30, 40], [20, 30, 40, 128], [20, 30, 40, 128], [20, 30, 40, 128]),
    ]
    np.testing.assert_array_equal(run_op(ramp, "ShearX", 10, Scripted(0.0)), grey(sheared))
    np.testing.assert_array_equal(
        run_op(grey(ramp[..., 0].T), "ShearY", 10, Scripted(0.0)), grey(np.transpose(sheared))
    )


def test_translate_by_hand() -> None:
    ramp = grey([[10, 20, 30, 40, 50, 60]])
    assert run_op(ramp, "TranslateX", 10, Scripted(0.0))[0, :, 0].tolist() == [50, 60, 128, 128, 128, 128]  # 4 px
    assert run_op(ramp, "TranslateX", 5, Scripted(0.9))[0, :, 0].tolist() == [128, 128, 10, 20, 30, 40]  # 2 px
    assert set(run_op(ramp, "TranslateX", 10, noise=NoiseConfig()).ravel().tolist()) == {128}  # 100 px
    np.testing.assert_array_equal(run_op(ramp, "TranslateY", 10), grey([[128] * 6]))
    np.testing.assert_array_equal(run_op(ramp, "TranslateX", 0), ramp)


def test_rotate_by_hand() -> None:
    square = grey([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    for sign, turns in ((0.0, 1), (0.9, -1)):
        np.testing.assert_array_equal(run_op(square, "Rotate", 30, Scripted(sign)), np.rot90(square, turns))
    np.testing.assert_array_equal(run_op(square, "Rotate", 0), square)


@pytest.mark.parametrize("magnitude", [1, 5, 9, 27])
def test_rotate_as_the_official_code_has_it(magnitude: float) -> None:
    for height, width in ((32, 32), (21, 40)):
        pixels = noisy_image(height, width)
        cosine, sine = np.cos(np.radians(3 * magnitude)), np.sin(np.radians(3 * magnitude))
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        matrix = [
            [cosine, -sine, middle_x - cosine * middle_x + sine * middle_y],
            [sine, cosine, middle_y - sine * middle_x - cosine * middle_y],
        ]
        changed = run_op(pixels, "Rotate", magnitude, Scripted(0.0))
        assert np.mean((changed != transformed(pixels, matrix)).any(axis=-1)) < 0.01  # ties of the nearest pixel


@pytest.mark.parametrize("op", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_either_sign_half_the_time(op: str) -> None:
    pixels, rng = noisy_image(8, 8), make_rng()
    seen = collections.Counter(run_op(pixels, op, 10, rng).tobytes() for _ in range(400))
    assert len(seen) == 2
    assert all(150 < count < 250 for count in seen.values())


@pytest.mark.parametrize(
    ("magnitude", "centre", "rows", "columns"),
    [
        (10, (16, 16), (12, 20), (12, 20)),  # half side 4
        (9, (16, 16), (13, 19), (13, 19)),  # int(3.6) = 3
        (10, (0, 0), (0, 4), (0, 4)),  # clipped at the corner
        (10, (31, 1), (0, 5), (27, 32)),  # centre as (x, y)
        (2, (16, 16), (0, 0), (0, 0)),  # int(0.8) = 0
    ],
)
def test_cutout_by_hand(
    magnitude: float, centre: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    expected = pixels.copy()
    expected[slice(*rows), slice(*columns)] = 128
    np.testing.assert_array_equal(run_op(pixels, "Cutout", magnitude, Scripted(integers=centre)), expected)


def test_cutout_falls_anywhere() -> None:
    rng, white = make_rng(), np.full((6, 5, 3), 255, np.uint8)
    noise = dataclasses.replace(STILL, always_cutout_px=1)
    holes = collections.Counter(int(np.argmin(augment(white, noise, rng)[..., 0])) for _ in range(3000))
    assert stats.chisquare([holes[place] for place in range(30)]).pvalue > 1e-3


@pytest.mark.parametrize(("side", "area"), [(16, 256), (7, 49), (1, 1)])
def test_always_on_cutout_is_a_square_of_that_side(side: int, area: int) -> None:
    noise = dataclasses.replace(STILL, always_cutout_px=side)
    areas = [
        int((augment(np.zeros((64, 64, 3), np.uint8), noise, make_rng(seed)) == 128).sum()) // 3 for seed in range(60)
    ]
    assert max(areas) == area
    assert min(areas) >= (side // 2) ** 2


def test_without_any_noise_the_image_stays() -> None:
    for pixels in real_images().values():
        result = augment(pixels, STILL, make_rng())
        np.testing.assert_array_equal(result, pixels)
        assert not np.shares_memory(result, pixels)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (2, 3), (1, 1), (1, 6)])
def test_crops_are_those_of_the_reflected_image(height: int, width: int) -> None:
    pixels, rng = noisy_image(height, width), make_rng()
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = {padded[top : top + height, left : left + width].tobytes() for top in range(9) for left in range(9)}
    noise = dataclasses.replace(STILL, crop_padding_px=4)
    assert {augment(pixels, noise, rng).tobytes() for _ in range(1500)} == windows


def test_flip_half_the_time() -> None:
    pixels, rng = noisy_image(5, 4), make_rng()
    seen = collections.Counter(
        augment(pixels, dataclasses.replace(STILL, flip=True), rng).tobytes() for _ in range(600)
    )
    assert set(seen) == {pixels.tobytes(), pixels[:, ::-1].tobytes()}
    assert 250 < seen[pixels.tobytes()] < 350


def test_operations_are_drawn_uniformly_with_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def record(image: Image.Image, op: str, magnitude: float, *_: object) -> Image.Image:
        assert magnitude == 9
        drawn.append(op)
        return image

    monkeypatch.setattr(module, "apply_op", record)
    rng, pixels = make_rng(), noisy_image(2, 2)
    for _ in range(8000):
        augment(pixels, SMALL, rng)
    assert len(drawn) == 16_000
    pairs = collections.Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert len(pairs) == 256
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-3
    assert stats.chisquare(list(collections.Counter(drawn).values())).pvalue > 1e-3


def test_the_generator_alone_decides() -> None:
    pixels, noise = mnist5k.photograph_crops().pixels[3], dataclasses.replace(SMALL, always_cutout_px=16, flip=True)
    once = [augment(pixels, noise, rng) for rng in [make_rng(7)] for _ in range(20)]
    again = [augment(pixels, noise, rng) for rng in [make_rng(7)] for _ in range(20)]
    np.testing.assert_array_equal(once, again)
    assert len({result.tobytes() for result in once}) == 20


@pytest.mark.parametrize("magnitude", [5, 9, 15, 27])
def test_a_thousand_real_images(magnitude: float) -> None:
    noise, rng = dataclasses.replace(SMALL, magnitude=magnitude), make_rng()
    for pixels in (*mnist5k.mnist_digits().pixels[::7], *mnist5k.photograph_crops().pixels):
        changed = augment(pixels, noise, rng)
        assert (changed.shape, changed.dtype) == ((32, 32, 3), np.uint8)


NOISES = st.builds(
    NoiseConfig,
    num_ops=st.integers(0, 4),
    magnitude=st.floats(0, 30),
    translate_px=st.floats(0, 200),
    cutout_px=st.floats(0, 100),
    always_cutout_px=st.integers(0, 50),
    crop_padding_px=st.integers(0, 9),
    flip=st.booleans(),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    noise=NOISES,
    strided=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_image_and_any_noise(shape: tuple[int, int], noise: NoiseConfig, strided: bool, seed: int) -> None:
    pixels = noisy_image(*shape, seed=seed)
    if strided:
        pixels = pixels[::-1, ::-1]
    pixels.setflags(write=False)
    before = pixels.copy()
    result = augment(pixels, noise, make_rng(seed))
    assert (result.shape, result.dtype, result.flags.writeable) == ((*shape, 3), np.uint8, True)
    np.testing.assert_array_equal(pixels, before)
