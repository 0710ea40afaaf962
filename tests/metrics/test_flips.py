"""Flip probability and top-5 distance against loops over frames and full rankings, and published mFR."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from nsbench.metrics.corruption import mean_ce
from nsbench.metrics.flips import (
    flip_probability,
    flip_rate,
    flips_per_video,
    is_noise_perturbation,
    mean_flip_rate,
    top5_distance,
    top5_distance_per_video,
)
from nsbench.metrics.published_models import ON_IMAGENET_P, PublishedFlips
from nsbench.metrics.reference import (
    ALEXNET_FLIP_PROBABILITIES,
    CIFAR_P_PERTURBATIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
)

# CorruptionBenchCV at 22776c7: flip rates of ResNet-18, percent of AlexNet's.
RESNET18_FLIP_RATES = (74.0, 73.0, 75.3, 84.8, 75.0, 77.8, 62.6, 66.3, 73.3, 66.3)

ALEXNET = np.array([ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS])
CLIPS = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(4, 9), st.booleans(), st.integers(1, 3))


def compared_frames(num_frames: int, noise: bool, difficulty: int) -> list[tuple[int, int]]:
    """The pairs of hendrycks/robustness: `step` interleaved chains, each walked with a moving or a fixed anchor."""
    pairs = []
    for start in range(1 if noise else difficulty):
        anchor = start
        for frame in range(start + (1 if noise else difficulty), num_frames, 1 if noise else difficulty):
            pairs.append((anchor, frame))
            if not noise:
                anchor = frame
    return pairs


def slow_top5_distance(ranks_before: np.ndarray, ranks_after: np.ndarray) -> int:
    """From the ranks of all classes, as ImageNet-P/test.py has it: cumulative weights 0 1 2 3 4 5 5 5 ..."""
    weight = np.cumsum([0] + [1] * 5 + [0] * len(ranks_before))
    distance = 0
    for place in range(1, 6):
        class_at_place = int(np.flatnonzero(ranks_before == place)[0])
        distance += abs(int(weight[place - 1]) - int(weight[int(ranks_after[class_at_place]) - 1]))
    return distance


def test_flips_by_hand() -> None:
    clip = np.array([[7, 7, 8, 8, 7]])
    assert flip_probability(clip, noise=False) == pytest.approx(2 / 4)  # 7=7 7|8 8=8 8|7
    assert flip_probability(clip, noise=True) == pytest.approx(2 / 4)  # against frame 0: = | | =
    assert flip_probability(clip, noise=False, difficulty=2) == pytest.approx(3 / 3)  # (0,2) (2,4) (1,3)
    assert flip_probability(clip, noise=True, difficulty=2) == pytest.approx(2 / 4)
    stays_changed = np.array([[1, 2, 2, 2, 2]])
    assert flips_per_video(stays_changed, noise=True).tolist() == [1.0]
    assert flips_per_video(stays_changed, noise=False).tolist() == [0.25]


def test_top5_distance_by_hand() -> None:
    same, disjoint = [[[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]], [[[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]]
    swapped, shifted = [[[1, 2, 3, 4, 5], [2, 1, 3, 4, 5]]], [[[1, 2, 3, 4, 5], [9, 1, 2, 3, 4]]]
    assert top5_distance_per_video(same, noise=False).tolist() == [0.0]
    assert top5_distance_per_video(swapped, noise=False).tolist() == [2.0]
    assert top5_distance_per_video(shifted, noise=False).tolist() == [5.0]  # each one place down, 5 -> 6
    assert top5_distance_per_video(disjoint, noise=False).tolist() == [15.0]  # 5 + 4 + 3 + 2 + 1
    worst = [[[1, 2, 3, 4, 5], [4, 5, 6, 7, 8]]]
    assert top5_distance_per_video(worst, noise=False).tolist() == [18.0]  # 5 + 4 + 3 + 3 + 3


@given(CLIPS)
def test_flips_against_loops(clips: tuple[int, int, int, bool, int]) -> None:
    seed, num_videos, num_frames, noise, difficulty = clips
    top1 = np.random.default_rng(seed).integers(0, 3, (num_videos, num_frames))
    pairs = compared_frames(num_frames, noise, difficulty)
    slow = [sum(video[a] != video[b] for a, b in pairs) / len(pairs) for video in top1.tolist()]
    np.testing.assert_allclose(flips_per_video(top1, noise=noise, difficulty=difficulty), slow)
    assert flip_probability(top1, noise=noise, difficulty=difficulty) == pytest.approx(sum(slow) / num_videos)


@settings(max_examples=40)
@given(CLIPS)
def test_top5_distance_against_full_rankings(clips: tuple[int, int, int, bool, int]) -> None:
    seed, num_videos, num_frames, noise, difficulty = clips
    logits = np.random.default_rng(seed).normal(size=(num_videos, num_frames, 8))
    ranks = rankdata(-logits, method="ordinal", axis=2)
    pairs = compared_frames(num_frames, noise, difficulty)
    slow = [sum(slow_top5_distance(video[a], video[b]) for a, b in pairs) / len(pairs) for video in ranks]
    top5 = np.argsort(-logits, axis=2)[:, :, :5]
    np.testing.assert_allclose(top5_distance_per_video(top5, noise=noise, difficulty=difficulty), slow)


@given(CLIPS, st.integers(1, 1000))
def test_bounds_and_names_of_classes_and_order_of_videos(clips: tuple[int, int, int, bool, int], shift: int) -> None:
    seed, num_videos, num_frames, noise, difficulty = clips
    rng = np.random.default_rng(seed)
    top5 = rng.permuted(np.tile(np.arange(9), (num_videos, num_frames, 1)), axis=2)[:, :, :5]
    flips = flips_per_video(top5[:, :, 0], noise=noise, difficulty=difficulty)
    distance = top5_distance_per_video(top5, noise=noise, difficulty=difficulty)
    assert np.all((flips >= 0) & (flips <= 1) & (distance >= 0) & (distance <= 18))
    assert np.all(distance >= flips)  # a new first place costs at least 1
    np.testing.assert_array_equal(flips_per_video(top5[:, :, 0] + shift, noise=noise, difficulty=difficulty), flips)
    np.testing.assert_array_equal(
        top5_distance_per_video(top5[::-1] + shift, noise=noise, difficulty=difficulty), distance[::-1]
    )


@given(st.integers(0, 2**32 - 1))
def test_played_backwards_a_clip_flips_as_often(seed: int) -> None:
    top1 = np.random.default_rng(seed).integers(0, 3, (3, 7))
    np.testing.assert_allclose(flips_per_video(top1[:, ::-1], noise=False), flips_per_video(top1, noise=False))


def test_constant_predictions_never_flip() -> None:
    assert flip_probability(np.zeros((3, 31), dtype=np.int64), noise=False) == 0.0


@pytest.mark.parametrize("row", ON_IMAGENET_P, ids=lambda row: row.model)
def test_published_flip_probabilities_give_the_published_mfr(row: PublishedFlips) -> None:
    assert mean_flip_rate(row.flips) == pytest.approx(row.mfr, abs=0.001)
    rates = flip_rate([row.flips[name] for name in PERTURBATIONS], ALEXNET)
    assert mean_flip_rate(row.flips) == pytest.approx(float(mean_ce(rates)), rel=1e-12)


def test_resnet18_gives_its_published_flip_rates() -> None:
    (resnet18,) = (row for row in ON_IMAGENET_P if row.model == "resnet18.tv_in1k")
    rates = flip_rate([resnet18.flips[name] for name in PERTURBATIONS], ALEXNET)
    np.testing.assert_allclose(rates, RESNET18_FLIP_RATES, atol=0.06)  # one decimal, of FP rounded to .001 %


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0.1, 1))
def test_flip_rate_is_a_scale_free_percentage(fp: float, baseline: float, scale: float) -> None:
    assert float(flip_rate(fp, baseline)) == pytest.approx(100 * fp / baseline)
    assert float(flip_rate(fp * scale, baseline * scale)) == pytest.approx(float(flip_rate(fp, baseline)))


def test_mean_flip_rate_by_hand() -> None:
    flips = dict.fromkeys(PERTURBATIONS, 0.1)
    own = {name: 0.2 if k % 2 else 0.4 for k, name in enumerate(PERTURBATIONS)}
    assert mean_flip_rate(flips, own) == pytest.approx((50 + 25) / 2)
    assert mean_flip_rate(own, own) == pytest.approx(100)


@given(st.lists(st.floats(0, 1), min_size=14, max_size=14), st.randoms(use_true_random=False))
def test_mean_flip_rate_against_a_loop(values: list[float], random: object) -> None:
    flips = dict(zip((*PERTURBATIONS, *EXTRA_PERTURBATIONS), values, strict=True))
    slow = sum(100 * flips[name] / ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS) / 10
    assert mean_flip_rate(flips) == pytest.approx(slow)  # the extras do not count
    names = list(flips)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert mean_flip_rate({name: flips[name] for name in names}) == mean_flip_rate(flips)


def test_mean_flip_rate_wants_the_ten_and_nothing_unknown() -> None:
    flips = dict.fromkeys(PERTURBATIONS, 0.1)
    with pytest.raises(ValueError, match="unknown name 'rotation'; did you mean 'rotate'"):
        mean_flip_rate(flips | {"rotation": 0.1})
    with pytest.raises(ValueError, match="all 10 of the benchmark; missing: snow, tilt"):
        mean_flip_rate({name: 0.1 for name in PERTURBATIONS if name not in ("snow", "tilt")})
    with pytest.raises(ValueError, match="missing: snow"):  # CIFAR-10-P has spatter in its place
        mean_flip_rate(dict.fromkeys(CIFAR_P_PERTURBATIONS, 0.1))
    with pytest.raises(ValueError, match="not percent"):
        mean_flip_rate(flips | {"tilt": 7.05})
    with pytest.raises(ValueError, match="baseline: flip probabilities must be single"):
        mean_flip_rate(flips, flips | {"tilt": -0.1})
    with pytest.raises(ValueError, match="single fractions"):
        mean_flip_rate({name: [0.1, 0.2] for name in PERTURBATIONS})  # type: ignore[misc]


LOGITS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(5, 30), st.integers(0, 3))


@given(LOGITS)
def test_top5_distance_against_scipys_ordinal_ranks(drawn: tuple[int, int, int, int]) -> None:
    seed, num, num_classes, decimals = drawn
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.normal(size=(2, num, num_classes)), decimals)  # many ties at 0 decimals
    ranks_a, ranks_b = (rankdata(-logits, method="ordinal", axis=1) for logits in (a, b))
    slow = [slow_top5_distance(before, after) for before, after in zip(ranks_a, ranks_b, strict=True)]
    np.testing.assert_array_equal(top5_distance(a, b), slow)


def test_top5_distance_of_logits_by_hand() -> None:
    a = [[9.0, 8, 7, 6, 5, 0, 0]]
    assert top5_distance(a, a).tolist() == [0.0]
    assert top5_distance(a, [[8.0, 9, 7, 6, 5, 0, 0]]).tolist() == [2.0]
    assert top5_distance(a, [[8.0, 9, 7, 6, 0, 5, 0]]).tolist() == [3.0]  # the fifth falls to the sixth place
    assert top5_distance(a, [[0.0, 1, 2, 9, 8, 7, 6]]).tolist() == [5 + 4 + 2 + 3 + 3]
    assert top5_distance([[1.0] * 7], [[1.0] * 7]).tolist() == [0.0]
    assert top5_distance([[0.0] * 7], a).tolist() == [0.0]  # ties: the lower class first
    assert top5_distance(np.array([[250, 5, 4, 3, 2, 1]], dtype=np.uint8), [[9, 8, 7, 6, 5, 4]]).tolist() == [0.0]


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_top5_distance_ignores_scale_and_temperature(seed: int, scale: float, shift: float) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 20, 12))
    distance = top5_distance(a, b)
    np.testing.assert_array_equal(top5_distance(scale * a + shift, np.exp(b)), distance)
    video = np.stack([np.argsort(-x, axis=1)[:, :5] for x in (a, b)], axis=1)  # each pair a clip of two frames
    np.testing.assert_array_equal(top5_distance_per_video(video, noise=False), distance)


@pytest.mark.filterwarnings("error")
def test_top5_distance_of_nan_is_nan_and_misuse_is_rejected() -> None:
    a = np.zeros((2, 6))
    a[1, 3] = math.nan
    assert np.isnan(top5_distance(a, np.zeros((2, 6)))).tolist() == [False, True]
    assert np.isnan(top5_distance(np.zeros((2, 6)), a)).tolist() == [False, True]
    assert top5_distance(np.empty((0, 6)), np.empty((0, 6))).shape == (0,)
    for first, second in ((np.zeros((2, 4)),) * 2, (np.zeros((2, 6)), np.zeros((2, 7))), (np.zeros(6), np.zeros(6))):
        with pytest.raises(ValueError, match=r"\[N, K\]"):
            top5_distance(first, second)


def test_which_perturbations_are_noise() -> None:
    noisy = {name for name in (*PERTURBATIONS, *EXTRA_PERTURBATIONS) if is_noise_perturbation(name)}
    assert noisy == {"gaussian_noise", "shot_noise", "speckle_noise"}


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    assert math.isnan(flip_probability(np.empty((0, 31), dtype=np.int64), noise=False))
    assert flips_per_video(np.empty((0, 31), dtype=np.int64), noise=False).shape == (0,)
    assert top5_distance_per_video(np.empty((0, 31, 5), dtype=np.int64), noise=True).shape == (0,)
    assert math.isnan(flip_rate(0.1, 0.0))
    assert math.isnan(flip_rate(0.0, 0.0))


def test_misuse_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"\[V, T\]"):
        flips_per_video(np.zeros(31), noise=False)
    with pytest.raises(ValueError, match=r"\[V, T, 5\]"):
        top5_distance_per_video(np.zeros((2, 31, 4)), noise=False)
    with pytest.raises(ValueError, match="no pair"):
        flips_per_video(np.zeros((2, 3)), noise=False, difficulty=3)
    with pytest.raises(ValueError, match="no pair"):
        flips_per_video(np.zeros((2, 1)), noise=True)
    with pytest.raises(ValueError, match="difficulty"):
        flips_per_video(np.zeros((2, 3)), noise=True, difficulty=0)
