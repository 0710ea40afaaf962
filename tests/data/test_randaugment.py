"""RandAugment on the official scale: every operation against a case worked by hand and against another program."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from timm.data import auto_augment

from nsbench.data import mnist5k
from nsbench.data import randaugment as module
from nsbench.data.randaugment import RANDAUGMENT_OPS, apply_op, cut_out, rand_augment
from nsbench.data.randaugment_levels import level_arguments
from nsbench.trainingconfig import NoiseConfig

from ..shared import SAMPLES, absent

SMALL = NoiseConfig(num_ops=2, magnitude=9, translate_px=4, cutout_px=4)
MONOTONE = dataclasses.replace(SMALL, variant="monotone")
Pixels = npt.NDArray[np.uint8]


class Scripted:
    """Stands for a generator: `random` gives the listed numbers, then the last one for ever."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]


def make_rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def grey(rows: object) -> Pixels:
    """[H, W] values on three equal channels."""
    return np.repeat(np.array(rows, np.uint8)[..., np.newaxis], 3, axis=-1)


def run_op(pixels: Pixels, op: str, magnitude: float, rng: object = None, noise: NoiseConfig = SMALL) -> Pixels:
    before = pixels.copy()
    changed = apply_op(pixels, op, magnitude, rng or make_rng(), noise)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pixels, before)  # the input is left as it is
    return changed


def noisy_image(height: int, width: int, seed: int = 0) -> Pixels:
    return make_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph() -> Pixels:
    return mnist5k._import("sklearn.datasets").load_sample_images().images[0][100:356, 200:456]


def real_images() -> dict[str, Pixels]:
    digits, crops = mnist5k.mnist_digits().pixels, mnist5k.photograph_crops().pixels
    return {
        "1x1": noisy_image(1, 1),
        "1x9": noisy_image(1, 9),
        "2x3": noisy_image(2, 3),
        "7x1": noisy_image(7, 1),
        "31x17": noisy_image(31, 17),
        "grey": grey(noisy_image(20, 21)[..., 0]),
        "digit": digits[1234],
        "crop": crops[5],
        "mirrored": crops[6][::-1, ::-1],
        "black": np.zeros((32, 32, 3), np.uint8),
        "white": np.full((32, 32, 3), 255, np.uint8),
        "photograph": photograph(),
    }


def test_the_sixteen_operations_in_official_order() -> None:
    assert (
        *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness"),
        *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "SolarizeAdd", "Cutout"),
    ) == RANDAUGMENT_OPS


ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")
OFFICIAL = """
M,rotate_deg,posterize_bits,solarize_thr,solarize_add,enhance,shear,translate_px(100),cutout_pad(40)
5,15,2,128,55,1.00,0.15,50,20
6,18,2,153,66,1.18,0.18,60,24
15,45,6,384,165,2.80,0.45,150,60
18,54,7,460,198,3.34,0.54,180,72
24,72,9,614,264,4.42,0.72,240,96
27,81,10,691,297,4.96,0.81,270,108
"""
"""noisy-student.md 1.5; 9 and 10 bits are the identity here."""


@pytest.mark.parametrize("line", OFFICIAL.split()[1:])
def test_official_arguments(line: str) -> None:
    magnitude, degrees, bits, threshold, addition, factor, slope, distance, half_side = map(float, line.split(","))
    signed = {"Rotate": degrees, "ShearX": slope, "ShearY": slope, "TranslateX": distance, "TranslateY": distance}
    expected = {
        **dict.fromkeys(("AutoContrast", "Equalize", "Invert"), ()),
        **{op: pytest.approx((value, -value), rel=1e-15) for op, value in signed.items()},
        **{op: pytest.approx((factor,), rel=1e-15) for op in ENHANCEMENTS},
        **{"Posterize": (bits,), "Solarize": (threshold,), "SolarizeAdd": (addition,), "Cutout": (half_side,)},
    }
    assert {op: level_arguments(op, magnitude, NoiseConfig()) for op in RANDAUGMENT_OPS} == expected


def test_the_arguments_are_what_is_applied() -> None:
    """By another program, from the table's numbers."""
    pixels = photograph()
    image = Image.fromarray(pixels)
    for magnitude in (5, 6, 15, 18, 24, 27):
        for op in ENHANCEMENTS:
            (factor,) = level_arguments(op, magnitude, SMALL)
            expected = np.asarray(getattr(ImageEnhance, op)(image).enhance(factor))
            np.testing.assert_array_equal(run_op(pixels, op, magnitude), expected, err_msg=f"{op} {magnitude}")
        for sign, degrees in zip((0.0, 0.9), level_arguments("Rotate", magnitude, SMALL), strict=True):
            expected = np.asarray(image.rotate(degrees, fillcolor=(128, 128, 128)))
            np.testing.assert_array_equal(run_op(pixels, "Rotate", magnitude, Scripted(sign)), expected)


def test_sizes_scale_with_the_configuration() -> None:
    noise = NoiseConfig(translate_px=4, cutout_px=4)
    assert level_arguments("TranslateX", 9, noise) == pytest.approx((3.6, -3.6))
    assert level_arguments("Cutout", 9, noise) == (3,)


MAGNITUDES = (*range(31), 4.5, 9.99, 29.9)


@pytest.mark.parametrize("op", ["Solarize", *ENHANCEMENTS])
def test_monotone_arguments_are_those_of_timm(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = auto_augment.LEVEL_TO_ARG[f"{op}Increasing"]
    for magnitude in MAGNITUDES:
        both = []
        for sign in (0.1, 0.9) if op != "Solarize" else (0.1,):
            monkeypatch.setattr(auto_augment.random, "random", lambda sign=sign: sign)
            both += theirs(magnitude, {})
        assert level_arguments(op, magnitude, MONOTONE) == pytest.approx(tuple(both)), magnitude


@pytest.mark.parametrize(
    ("magnitude", "bits"), [(0, 8), (2, 8), (2.5, 7), (5, 6), (9, 5), (10, 4), (15, 2), (18, 1), (27, 1), (30, 1)]
)
def test_monotone_posterize(magnitude: float, bits: int) -> None:
    assert level_arguments("Posterize", magnitude, MONOTONE) == (bits,)
    timms = auto_augment.LEVEL_TO_ARG["PosterizeIncreasing"](magnitude, {})[0]  # type: ignore[misc]
    assert bits == max(1, timms + 4)


IDENTITY = {"Posterize": 8, "Solarize": 256, **dict.fromkeys(ENHANCEMENTS, 1.0)}


@pytest.mark.parametrize("op", RANDAUGMENT_OPS)
def test_monotone_means_identity_at_0_and_growth(op: str) -> None:
    if op in ("AutoContrast", "Equalize", "Invert"):
        assert level_arguments(op, 0, MONOTONE) == level_arguments(op, 30, MONOTONE) == ()
        return
    for pixels in real_images().values():
        np.testing.assert_array_equal(run_op(pixels, op, 0, noise=MONOTONE), pixels)
    far = [[abs(a - IDENTITY.get(op, 0)) for a in level_arguments(op, m, MONOTONE)] for m in sorted(MAGNITUDES)]
    assert (np.diff(far, axis=0) >= 0).all()
    assert (np.diff(far[:11], axis=0).sum(axis=0) > 0).all()


@pytest.mark.parametrize("op", ["Solarize", "Posterize", *ENHANCEMENTS])
def test_monotone_changes_an_image_more_where_magnitude_is_larger(op: str) -> None:
    pixels = photograph().astype(float)
    for sign in (0.0, 0.9):
        changes = [
            np.abs(run_op(photograph(), op, magnitude, Scripted(sign), MONOTONE) - pixels).mean()
            for magnitude in (0, 3, 6, 9, 10)
        ]
        assert changes[0] == 0
        assert changes == sorted(changes)
        assert changes[-1] > 5 * (op != "Sharpness")
    official = [np.abs(run_op(photograph(), "Solarize", magnitude) - pixels).mean() for magnitude in (1, 5, 9)]
    assert official == sorted(official, reverse=True)  # there the variant matters


@pytest.mark.parametrize("noise", [SMALL, MONOTONE, NoiseConfig()], ids=["official", "monotone", "imagenet"])
@pytest.mark.parametrize("op", RANDAUGMENT_OPS)
def test_no_magnitude_crashes_and_shapes_stay(op: str, noise: NoiseConfig) -> None:
    rng = make_rng()
    for name, pixels in real_images().items():
        for magnitude in MAGNITUDES:
            changed = run_op(pixels, op, magnitude, rng, noise)
            assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8), (name, magnitude)


def test_a_thousand_photographs() -> None:
    if not SAMPLES.is_dir():
        absent(f"no photographs at {SAMPLES}")
    paths = sorted(SAMPLES.glob("*/*.JPEG"))
    assert len(paths) == 1000
    rng, drawn = make_rng(), collections.Counter()
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        magnitude = (5, 9, 15, 27, 30)[rng.integers(5)]
        noise = NoiseConfig(num_ops=2, magnitude=magnitude, variant=("official", "monotone")[rng.integers(2)])
        changed = rand_augment(pixels, noise, rng)
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8), path
        drawn[noise.variant, magnitude] += 1
    assert len(drawn) == 10


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
@pytest.mark.parametrize("magnitude", [1, 1.4, 4, 9, 13, 27])  # none has a pixel half-way between two at these sizes
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
    rng = Scripted(centre[0] / 32, centre[1] / 32)
    np.testing.assert_array_equal(run_op(pixels, "Cutout", magnitude, rng), expected)


def test_cutout_falls_anywhere() -> None:
    rng, white = make_rng(), np.full((6, 5, 3), 255, np.uint8)
    holes = collections.Counter(int(np.argmin(cut_out(white, 1, rng)[..., 0])) for _ in range(3000))
    assert stats.chisquare([holes[place] for place in range(30)]).pvalue > 1e-3


@pytest.mark.parametrize(("side", "area"), [(16, 256), (7, 49), (1, 1), (0, 0)])
def test_cutout_is_a_square_of_that_side(side: int, area: int) -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    areas = [int((cut_out(black, side, make_rng(seed)) == 128).sum()) // 3 for seed in range(60)]
    assert max(areas) == area
    assert min(areas) >= (side // 2) ** 2


def test_operations_are_drawn_uniformly_with_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def record(pixels: Pixels, op: str, magnitude: float, *_: object) -> Pixels:
        assert magnitude == 9
        drawn.append(op)
        return pixels

    monkeypatch.setattr(module, "apply_op", record)
    rng, pixels = make_rng(), noisy_image(2, 2)
    for _ in range(8000):
        rand_augment(pixels, SMALL, rng)
    assert len(drawn) == 16_000
    pairs = collections.Counter(zip(drawn[::2], drawn[1::2], strict=True))
    assert len(pairs) == 256
    assert stats.chisquare(list(pairs.values())).pvalue > 1e-3
    assert stats.chisquare(list(collections.Counter(drawn).values())).pvalue > 1e-3


@pytest.mark.parametrize("num_ops", [0, 1, 3])
def test_operations_follow_one_another(num_ops: int) -> None:
    pixels = photograph()
    noise = dataclasses.replace(SMALL, num_ops=num_ops)
    got = rand_augment(pixels, noise, make_rng(4))
    rng, expected = make_rng(4), pixels
    for _ in range(num_ops):
        op = RANDAUGMENT_OPS[int(rng.random() * 16)]
        expected = apply_op(expected, op, 9, rng, noise)
    np.testing.assert_array_equal(got, expected)
    assert (got is pixels) == (num_ops == 0)
