"""The films against the authors' frame rules, at 224 px on whole photographs and at 32 px."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from nsbench.corruptions import (
    CIFAR_PERTURBATIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    perturbation_sequence,
    perturbations,
    warps,
)
from nsbench.corruptions.filming import CONSTANTS, num_frames
from nsbench.corruptions.perturbations import FILMS
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.weather import snowed, snowflakes, whitened
from tests.corruptions import frame_rules
from tests.corruptions.reference import perturbations as reference_32
from tests.corruptions.reference.blur import directional_blur
from tests.photographs import shorter_side_256

ALL = (*PERTURBATIONS, *EXTRA_PERTURBATIONS)
RANDOM = ("gaussian_noise", "shot_noise", "speckle_noise", "snow", "spatter")


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """[..., H, W, 3] as [..., 3, H, W]."""
    return torch.tensor(pixels).movedim(-1, -3).contiguous()


def as_array(films: torch.Tensor) -> np.ndarray:
    return films.movedim(-3, -1).numpy()


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Landscape, square and portrait, shorter side 256."""
    photographs = [load_sample_images().images[0], skimage.data.astronaut(), skimage.data.chelsea().transpose(1, 0, 2)]
    return [shorter_side_256(photograph) for photograph in photographs]


@pytest.fixture(scope="module")
def small() -> np.ndarray:
    """Twelve photographs at 32 px."""
    china, flower = load_sample_images().images
    crops = [sample[60 * i : 60 * i + 64, 90 * i : 90 * i + 64] for i in range(6) for sample in (china, flower)]
    return np.stack([np.asarray(Image.fromarray(crop).resize((32, 32))) for crop in crops])


def film_224(pictures: list[np.ndarray], name: str, **more: int) -> np.ndarray:
    return as_array(perturbation_sequence([as_tensor(p) for p in pictures], name, seeds=torch.arange(3), **more))


def film_32(small: np.ndarray, name: str, **more: int) -> np.ndarray:
    return as_array(perturbation_sequence(as_tensor(small), name, crop=32, seeds=torch.arange(len(small)), **more))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("motion_blur", 1e-3),
        ("zoom_blur", 0.05),  # single precision, in flat regions
        ("brightness", 0.0),
        ("translate", 0.0),
        ("rotate", 0.02),
        ("tilt", 0.01),
        ("scale", 0.1),
        ("shear", 0.1),
        ("gaussian_blur", 0.0),
    ],
)
def test_frames_follow_the_rules_at_224_px(pictures: list[np.ndarray], name: str, most: float) -> None:
    films = film_224(pictures, name)
    for picture, film in zip(pictures, films, strict=True):
        rules = list(frame_rules.RULES[name](picture, np.random.default_rng(0)))
        assert len(rules) == len(film)
        for expected, frame in zip(rules, film, strict=True):
            difference = frame.astype(int) - expected
            assert np.abs(difference).max() <= 1
            assert np.abs(difference).mean() <= most


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("motion_blur", 1e-3),
        ("zoom_blur", 0.1),
        ("brightness", 0.0),
        ("translate", 0.0),
        ("rotate", 0.03),
        ("tilt", 0.03),
        ("scale", 0.1),
        ("shear", 0.1),
        ("gaussian_blur", 0.0),
    ],
)
def test_frames_follow_the_rules_at_32_px(small: np.ndarray, name: str, most: float) -> None:
    films = film_32(small, name)
    rules = list(getattr(reference_32, name)(small, [], 1))
    assert len(rules) == films.shape[1]
    for frame, expected in enumerate(rules):
        difference = films[:, frame].astype(int) - expected
        assert np.abs(difference).max() <= 1
        assert np.abs(difference).mean() <= most


def test_translate_moves_by_whole_pixels_and_shows_the_picture_behind(pictures: list[np.ndarray]) -> None:
    films = film_224(pictures, "translate")
    for picture, film in zip(pictures, films, strict=True):
        height, width = picture.shape[:2]
        top, left = round((height - 224) / 2), round((width - 224) / 2)
        wide = np.pad(picture, ((0, 0), (20, 20), (0, 0)))[top : top + 224]
        for frame in range(41):
            shift = frame - 20
            assert np.array_equal(film[frame], wide[:, 20 + left - shift :][:, :224])
    assert film[0].any(axis=(1, 2)).all()


def test_a_crop_shows_black_where_the_picture_goes_on(pictures: list[np.ndarray]) -> None:
    """Why the pictures are asked for un-cropped: the smallest scale shows 2.5 times the crop."""
    whole = film_224(pictures, "scale")[0, 0]
    cropped = film_224([frame_rules.center_crop(p) for p in pictures], "scale")[0, 0]
    assert (cropped == 0).all(axis=2).mean() > 0.8
    assert (whole == 0).all(axis=2).mean() < 0.75


def test_snow_turns_the_same_flakes(pictures: list[np.ndarray]) -> None:
    film = film_224(pictures, "snow")[1]
    crop = as_tensor(frame_rules.center_crop(pictures[1]))[None]
    field = Draws(torch.tensor([1]), "perturbation/snow/1", "cpu").normal(1, 224, 224).mul_(0.3).add_(0.05)
    flakes = snowflakes(field, 3, 0.5)
    for frame in (0, 17, 30):
        fallen = directional_blur(as_array(flakes), 14, 4, [frame * 4.0 - 150])
        expected = as_array(snowed(whitened(crop.float() / 255, 0.85), as_tensor(fallen)))[0]
        assert (film[frame] == expected).mean() > 0.999
    assert not np.array_equal(film[0], film[30])


@pytest.mark.parametrize(("crop", "down"), [(32, {0: 0.2, 1: 0.8}), (224, {-1: 0.05, 0: 0.1, 1: 0.15, 2: 0.7})])
def test_spatter_runs_down_as_the_authors_convolve(crop: int, down: dict[int, float]) -> None:
    """numpy.convolve(column, kernel, mode="same"), kernels of make_cifar_p.py and make_imagenet_p.py."""
    kernel = {32: [0.2, 0.8], 224: [0.05, 0.1, 0.15, 0.7]}[crop]
    assert CONSTANTS[crop].runs == down
    drops = np.random.default_rng(0).random((40, 9))
    expected = np.apply_along_axis(lambda column: np.convolve(column, kernel, mode="same"), 0, drops)
    moved = perturbations._run_down(torch.tensor(drops)[None, None], CONSTANTS[crop].runs)
    np.testing.assert_allclose(moved[0, 0].numpy(), expected, atol=1e-12)


def test_spatter_only_adds_water_and_changes_slowly(pictures: list[np.ndarray]) -> None:
    film = film_224(pictures, "spatter").astype(int)
    clean = np.stack([frame_rules.center_crop(p) for p in pictures]).astype(int)
    assert (film >= clean[:, None] - 1).all()
    assert (film > clean[:, None] + 5).mean() > 0.01
    steps = np.abs(np.diff(film, axis=1)).mean()
    assert 0 < steps < np.abs(film - clean[:, None]).mean()


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "speckle_noise", "zoom_blur"])
def test_frame_0_is_clean(pictures: list[np.ndarray], small: np.ndarray, name: str) -> None:
    expected = np.stack([frame_rules.center_crop(p) for p in pictures])
    assert np.array_equal(film_224(pictures, name)[:, 0], expected)
    assert np.array_equal(film_32(small, name)[:, 0], small)


@pytest.mark.parametrize("name", ["rotate", "shear"])
def test_frame_15_is_clean(pictures: list[np.ndarray], small: np.ndarray, name: str) -> None:
    expected = np.stack([frame_rules.center_crop(p) for p in pictures])
    assert np.array_equal(film_224(pictures, name)[:, 15], expected)
    assert np.array_equal(film_32(small, name)[:, 15], small)


@pytest.mark.parametrize("crop", [32, 224])
@pytest.mark.parametrize("difficulty", [1, 2, 3])
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "speckle_noise"])
def test_noise_is_of_the_stated_strength_and_new_in_each_frame(name: str, difficulty: int, crop: int) -> None:
    stated = {
        ("gaussian_noise", 32): (0.02, 0.04, 0.06),
        ("gaussian_noise", 224): (0.03, 0.05, 0.08),
        ("shot_noise", 32): (700, 400, 200),
        ("shot_noise", 224): (300, 120, 60),
        ("speckle_noise", 32): (0.05, 0.07, 0.1),
        ("speckle_noise", 224): (0.05, 0.1, 0.15),
    }[name, crop][difficulty - 1]
    deviation = {
        "gaussian_noise": stated,
        "shot_noise": np.sqrt(0.4 / stated),
        "speckle_noise": 0.4 * stated,
    }[name]
    grey = torch.full((4 if crop == 32 else 1, 3, crop, crop), 102, dtype=torch.uint8)
    seeds = torch.arange(len(grey))
    films = perturbation_sequence(grey, name, crop=crop, seeds=seeds, difficulty=difficulty)[:, 1:].double()
    assert float(films.std()) == pytest.approx(255 * deviation, rel=0.02)
    assert float(films.mean()) == pytest.approx(101.5, abs=0.25)
    centred = films - films.mean()
    assert abs(float((centred[:, 1:] * centred[:, :-1]).mean() / centred.var())) < 0.01


def test_how_many_frames(small: np.ndarray) -> None:
    assert {name: num_frames(name, 224) for name in ALL} == {**dict.fromkeys(ALL, 31), "translate": 41}
    short = {**dict.fromkeys(CIFAR_PERTURBATIONS, 31), "translate": 16, "motion_blur": 21}
    assert {name: film_32(small[:1], name).shape[1] for name in CIFAR_PERTURBATIONS} == short
    assert set(FILMS) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_film_depends_on_its_picture_and_seed_alone(pictures: list[np.ndarray], name: str) -> None:
    crop = 96
    seeds = torch.tensor([5, -6, 7])
    films = perturbation_sequence([as_tensor(p) for p in pictures], name, crop=crop, seeds=seeds)
    alone = perturbation_sequence([as_tensor(pictures[1])], name, crop=crop, seeds=seeds[1:2])
    assert torch.equal(alone[0], films[1])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again = perturbation_sequence([as_tensor(p) for p in reversed(pictures)], name, crop=crop, seeds=seeds.flip(0))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again.flip(0), films)
    other = perturbation_sequence([as_tensor(pictures[1])], name, crop=crop, seeds=torch.tensor([9]))
    assert torch.equal(other[0], films[1]) != (name in RANDOM)


def test_types_and_seeds(small: np.ndarray) -> None:
    pixels = as_tensor(small[:2])
    films = perturbation_sequence(pixels, "shot_noise", crop=32, generator=torch.Generator().manual_seed(3))
    drawn = torch.randint(2**63 - 1, (2,), generator=torch.Generator().manual_seed(3))
    assert films.dtype == torch.uint8
    assert torch.equal(films, perturbation_sequence(pixels, "shot_noise", crop=32, seeds=drawn))
    scaled = perturbation_sequence(pixels.double() / 255, "shot_noise", crop=32, seeds=drawn)
    assert scaled.dtype == torch.float64
    assert torch.equal((scaled * 255).round().to(torch.uint8), films)


@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(ALL), height=st.integers(40, 90), width=st.integers(40, 90), crop=st.integers(32, 40))
def test_any_size_is_filmed(name: str, height: int, width: int, crop: int) -> None:
    picture = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    films = perturbation_sequence(picture, name, crop=crop, seeds=torch.zeros(1, dtype=torch.int64))
    assert films.shape == (1, num_frames(name, crop), 3, crop, crop)


PICTURE = torch.zeros(1, 3, 256, 300, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rotat"}, "unknown perturbation 'rotat'; did you mean 'rotate'"),
        ({"difficulty": 2}, "rotate has difficulties 1 to 1, got 2"),
        ({"difficulty": 0}, "rotate has difficulties 1 to 1, got 0"),
        ({"name": "shot_noise", "difficulty": 1.0}, "shot_noise has difficulties 1 to 3, got 1.0"),
        ({"difficulty": np.True_}, "rotate has difficulties 1 to 1"),
        ({"images": None}, r"tensor \[N, 3, H, W\] or a list of pictures, got NoneType"),
        ({"images": [PICTURE[0], PICTURE[0] / 255]}, "of one type on one device, got torch.uint8 on cpu and torch.f"),
        ({"name": "shot_noise", "difficulty": 4}, "shot_noise has difficulties 1 to 3, got 4"),
        ({"crop": 300}, r"at least 300 px wide and high, got \[256, 300\]"),
        ({"crop": 16}, "crop must be a whole number of pixels from 32 on, got 16"),
        ({"crop": 224.0}, "crop must be a whole number"),
        ({"images": []}, "images is empty"),
        ({"images": [PICTURE[0, :1]]}, r"must be RGB \[N, 3, H, W\], got \[1, 1, 256, 300\]"),
        ({"images": PICTURE.float() + 2}, r"must lie in \[0, 1\], got 2..2"),
        ({"images": PICTURE.int()}, "floating point in .* or uint8, got torch.int32"),
        ({"seeds": torch.zeros(2, dtype=torch.int64)}, r"seeds must be an int64 tensor \[1\]"),
    ],
)
def test_what_cannot_be_filmed_is_said_in_one_line(arguments: dict, message: str) -> None:
    wanted = {"images": PICTURE, "name": "rotate", "seeds": torch.zeros(1, dtype=torch.int64), **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        perturbation_sequence(wanted.pop("images"), wanted.pop("name"), **wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["rotate", "zoom_blur", "spatter", "snow"])
def test_a_callers_half_precision_changes_nothing(pictures: list[np.ndarray], name: str) -> None:
    expected = film_224(pictures, name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(film_224(pictures, name), expected)


@pytest.mark.parametrize("name", ["rotate", "scale", "shear", "zoom_blur"])
def test_the_cpus_quick_warps_agree_with_the_exact_ones_of_other_devices(
    pictures: list[np.ndarray], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = film_224(pictures, name)
    monkeypatch.setattr(warps, "_turned_on_cpu", warps._turned_anywhere)
    assert (film_224(pictures, name) == quick).mean() >= 0.9999


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_the_gpu_films_the_same(pictures: list[np.ndarray], name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_cpu = perturbation_sequence([as_tensor(p) for p in pictures], name, seeds=torch.arange(3))
    on_gpu = perturbation_sequence([as_tensor(p).cuda() for p in pictures], name, seeds=torch.arange(3)).cpu()
    assert float((on_cpu == on_gpu).float().mean()) >= 0.9999
