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
    top5_distance_per_video,
)
from nsbench.metrics.reference import (
    ALEXNET_FLIP_PROBABILITIES,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
)
from tests.metrics.published import FLIP_PROBABILITIES, RESNET18_FLIP_RATES

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
    np.testing.assert_allclose(flips_per_video(top1, noise, difficulty), slow)
    assert flip_probability(top1, noise, difficulty) == pytest.approx(sum(slow) / num_videos)


@settings(max_examples=40)
@given(CLIPS)
def test_top5_distance_against_full_rankings(clips: tuple[int, int, int, bool, int]) -> None:
    seed, num_videos, num_frames, noise, difficulty = clips
    logits = np.random.default_rng(seed).normal(size=(num_videos, num_frames, 8))
    ranks = rankdata(-logits, method="ordinal", axis=2)
    pairs = compared_frames(num_frames, noise, difficulty)
    slow = [sum(slow_top5_distance(video[a], video[b]) for a, b in pairs) / len(pairs) for video in ranks]
    top5 = np.argsort(-logits, axis=2)[:, :, :5]
    np.testing.assert_allclose(top5_distance_per_video(top5, noise, difficulty), slow)


@given(CLIPS, st.integers(1, 1000))
def test_bounds_and_names_of_classes_and_order_of_videos(clips: tuple[int, int, int, bool, int], shift: int) -> None:
    seed, num_videos, num_frames, noise, difficulty = clips
    rng = np.random.default_rng(seed)
    top5 = rng.permuted(np.tile(np.arange(9), (num_videos, num_frames, 1)), axis=2)[:, :, :5]
    flips = flips_per_video(top5[:, :, 0], noise, difficulty)
    distance = top5_distance_per_video(top5, noise, difficulty)
    assert np.all((flips >= 0) & (flips <= 1) & (distance >= 0) & (distance <= 18))
    assert np.all(distance >= flips)  # a new first place costs at least 1
    np.testing.assert_array_equal(flips_per_video(top5[:, :, 0] + shift, noise, difficulty), flips)
    np.testing.assert_array_equal(top5_distance_per_video(top5[::-1] + shift, noise, difficulty), distance[::-1])


@given(st.integers(0, 2**32 - 1))
def test_played_backwards_a_clip_flips_as_often(seed: int) -> None:
    top1 = np.random.default_rng(seed).integers(0, 3, (3, 7))
    np.testing.assert_allclose(flips_per_video(top1[:, ::-1], noise=False), flips_per_video(top1, noise=False))


def test_constant_predictions_never_flip() -> None:
    assert flip_probability(np.zeros((3, 31), dtype=np.int64), noise=False) == 0.0


@pytest.mark.parametrize("model", FLIP_PROBABILITIES)
def test_published_flip_probabilities_give_the_published_mfr(model: str) -> None:
    percents, mfr = FLIP_PROBABILITIES[model]
    rates = flip_rate(np.array(percents) / 100, ALEXNET)
    assert mean_ce(rates) == pytest.approx(mfr, abs=0.003)


def test_resnet18_gives_its_published_flip_rates() -> None:
    rates = flip_rate(np.array(FLIP_PROBABILITIES["resnet18"][0]) / 100, ALEXNET)
    np.testing.assert_allclose(rates, RESNET18_FLIP_RATES, atol=0.06)  # one decimal, of FP rounded to .001 %


@given(st.floats(0, 1), st.floats(0.01, 1), st.floats(0.1, 1))
def test_flip_rate_is_a_scale_free_percentage(fp: float, baseline: float, scale: float) -> None:
    assert float(flip_rate(fp, baseline)) == pytest.approx(100 * fp / baseline)
    assert float(flip_rate(fp * scale, baseline * scale)) == pytest.approx(float(flip_rate(fp, baseline)))


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
