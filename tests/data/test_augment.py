"""The small images' noise: what follows what, crops, flips, and the generator that each image has of its own."""

from __future__ import annotations

import collections
import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nsbench.data import mnist5k
from nsbench.data.augment import augment, distort, image_rng
from nsbench.data.randaugment import cut_out, rand_augment
from nsbench.trainingconfig import NoiseConfig

SMALL = NoiseConfig(num_ops=2, magnitude=9, translate_px=4, cutout_px=4, crop_padding_px=4, flip=False)
STILL = NoiseConfig(num_ops=0, always_cutout_px=0, crop_padding_px=0, flip=False)
Pixels = npt.NDArray[np.uint8]


def make_rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def noisy_image(height: int, width: int, seed: int = 0) -> Pixels:
    return make_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_without_any_noise_the_image_stays() -> None:
    for pixels in (noisy_image(1, 1), noisy_image(3, 1), mnist5k.mnist_digits().pixels[1234]):
        result = augment(pixels, STILL, make_rng())
        np.testing.assert_array_equal(result, pixels)
        assert not np.shares_memory(result, pixels)


def test_randaugment_then_cutout_then_crop_then_flip() -> None:
    """The official small-image recipe, from the parts and the same draws."""
    noise = dataclasses.replace(SMALL, always_cutout_px=16, flip=True)
    pixels = mnist5k.photograph_crops().pixels[5]
    flips = 0
    for seed in range(40):
        rng = make_rng(seed)
        changed = cut_out(rand_augment(pixels, noise, rng), 16, rng)
        np.testing.assert_array_equal(distort(pixels, noise, make_rng(seed)), changed)
        padded = np.pad(changed, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        top, left = int(rng.random() * 9), int(rng.random() * 9)
        expected = padded[top : top + 32, left : left + 32]
        if rng.random() < 0.5:
            expected, flips = expected[:, ::-1], flips + 1
        np.testing.assert_array_equal(augment(pixels, noise, make_rng(seed)), expected)
    assert 10 < flips < 30


@pytest.mark.parametrize(("height", "width"), [(8, 8), (2, 3), (1, 1), (1, 6)])
def test_crops_are_those_of_the_reflected_image(height: int, width: int) -> None:
    pixels, rng = noisy_image(height, width), make_rng()
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = {padded[top : top + height, left : left + width].tobytes() for top in range(9) for left in range(9)}
    noise = dataclasses.replace(STILL, crop_padding_px=4)
    assert {augment(pixels, noise, rng).tobytes() for _ in range(1500)} == windows


def test_crops_are_uniform() -> None:
    pixels, rng, noise = noisy_image(8, 8), make_rng(), dataclasses.replace(STILL, crop_padding_px=4)
    seen = collections.Counter(augment(pixels, noise, rng).tobytes() for _ in range(4000))
    assert len(seen) == 81
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_flip_half_the_time() -> None:
    pixels, rng = noisy_image(5, 4), make_rng()
    seen = collections.Counter(
        augment(pixels, dataclasses.replace(STILL, flip=True), rng).tobytes() for _ in range(600)
    )
    assert set(seen) == {pixels.tobytes(), pixels[:, ::-1].tobytes()}
    assert 250 < seen[pixels.tobytes()] < 350


def test_the_generator_alone_decides() -> None:
    pixels, noise = mnist5k.photograph_crops().pixels[3], dataclasses.replace(SMALL, always_cutout_px=16, flip=True)
    once = [augment(pixels, noise, rng) for rng in [make_rng(7)] for _ in range(20)]
    again = [augment(pixels, noise, rng) for rng in [make_rng(7)] for _ in range(20)]
    np.testing.assert_array_equal(once, again)
    assert len({result.tobytes() for result in once}) == 20


@pytest.mark.parametrize("magnitude", [5, 9, 15, 27])
def test_a_thousand_small_images(magnitude: float) -> None:
    noise, rng = dataclasses.replace(SMALL, magnitude=magnitude), make_rng()
    for pixels in (*mnist5k.mnist_digits().pixels[::7], *mnist5k.photograph_crops().pixels):
        changed = augment(pixels, noise, rng)
        assert (changed.shape, changed.dtype) == ((32, 32, 3), np.uint8)


NOISES = st.builds(
    NoiseConfig,
    num_ops=st.integers(0, 4),
    magnitude=st.floats(0, 30),
    variant=st.sampled_from(["official", "monotone"]),
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


@pytest.mark.parametrize(
    ("parts", "first"),
    [
        ((0, "", 0, 0), [0.40219857226736166, 0.7942421174859603]),
        (
            (3, "n01440764/ILSVRC2012_val_00000293", 0, 499),
            [0.4522884128831821, 0.8191985951854394],
        ),
        ((2**63 - 1, "Bär \U0001f43b", 5, 10**6), [0.4308073357522655, 0.8327592748692073]),
        (
            (3, "a\udcff.png", 0, 0),
            [0.7097611611993505, 0.4945262186668409],
        ),  # no UTF-8, as names on Linux may be
    ],
)
def test_an_images_generator_has_fixed_values(parts: tuple[int, str, int, int], first: list[float]) -> None:
    np.testing.assert_array_equal(image_rng(*parts).random(2), first)


def test_an_images_generator_is_philox_under_a_digest() -> None:
    digest = hashlib.blake2b(b"3 1 499 train/7", digest_size=16).digest()
    documented = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    ours = image_rng(3, "train/7", 1, 499)
    np.testing.assert_array_equal(ours.random(100), documented.random(100))
    assert ours.bit_generator.state["state"]["counter"].tolist() == [25, 0, 0, 0]


def test_every_part_makes_another_generator() -> None:
    seeds = [
        (seed, name, copy, step) for seed in (1, 2) for name in ("1", "1 1", "2") for copy in (0, 1) for step in (0, 1)
    ]
    assert len({image_rng(*parts).random() for parts in seeds}) == len(seeds) == 24
    firsts = [image_rng(7, f"train/{row}", 0, step).random() for row in range(2000) for step in (0, 1)]
    assert stats.kstest(firsts, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(firsts[::2], firsts[1::2])[0, 1]) < 0.08
