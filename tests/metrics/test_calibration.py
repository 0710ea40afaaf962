"""Calibration metrics against loops over bins and ranks, hand-worked cases and scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss

from nsbench.metrics.calibration import (
    aurra,
    brier_score,
    debiased_expected_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    rms_calibration_error,
)

SEEDS = st.integers(0, 2**32 - 1)
OF_CONFIDENCE: dict[str, Callable[[object, object], float]] = {
    "ece": expected_calibration_error,
    "debiased_ece": debiased_expected_calibration_error,
    "rms": partial(rms_calibration_error, num_per_bin=10),
    "rms_reference": partial(rms_calibration_error, num_per_bin=10, skip_last_bin=True),
    "aurra": aurra,
}


def draw(seed: int, num_images: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.round(rng.random(num_images), decimals), rng.random(num_images) < 0.7


def slow_ece(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    total = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if edges[b] < c <= edges[b + 1] or (b == 0 and c == 0)]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean_confidence = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return total


def slow_rms(confidence: np.ndarray, correct: np.ndarray, bin_size: int, skip_last: bool) -> float:
    pairs = sorted(zip(confidence.tolist(), correct.tolist(), strict=True))
    bins = [pairs[start : start + bin_size] for start in range(0, len(pairs), bin_size)]
    if len(bins) > 1 and len(bins[-1]) < bin_size:
        remainder = bins.pop()
        bins[-1] = bins[-1] + remainder
    total = 0.0
    for members in bins[:-1] if skip_last else bins:
        gap = sum(c for c, _ in members) / len(members) - sum(hit for _, hit in members) / len(members)
        total += len(members) / len(pairs) * gap**2
    return math.sqrt(total)


def slow_debiased_ece(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Kumar et al. 2019 with scipy's folded normal, bin by bin."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if edges[b] < c <= edges[b + 1] or (b == 0 and c == 0)]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            gap = abs(accuracy - sum(float(confidence[i]) for i in inside) / len(inside))
            sigma = math.sqrt(accuracy * (1 - accuracy) / len(inside))
            expected = stats.foldnorm.mean(gap / sigma, scale=sigma) if sigma else gap
            total += len(inside) / len(confidence) * (2 * gap - expected)
    return max(0.0, total)


def slow_aurra(confidence: np.ndarray, correct: np.ndarray) -> float:
    ranked = sorted(zip(confidence.tolist(), correct.tolist(), strict=True), reverse=True)
    accuracies = [sum(hit for _, hit in ranked[:k]) / k for k in range(1, len(ranked) + 1)]
    return sum(accuracies) / len(accuracies)


def test_ece_by_hand() -> None:
    # two bins: (0, .5] holds .5 (wrong) and 0 (wrong): gap .25; (.5, 1] holds .9 (right) and 1 (wrong): gap .45
    assert expected_calibration_error([0.5, 0.0, 0.9, 1.0], [0, 0, 1, 0], num_bins=2) == pytest.approx(0.35)
    assert expected_calibration_error([0.0], [True]) == 1.0
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0.0
    # an edge belongs to the bin below it: .5 (right) and .6 (wrong) are apart, gaps .5 and .6; together .05
    assert expected_calibration_error([0.5, 0.6], [1, 0], num_bins=2) == pytest.approx(0.55)


def test_debiased_ece_by_hand() -> None:
    # one bin: 3 of 4 right, confidence .6: gap .15, sigma sqrt(.75 * .25 / 4); E|N(gap, sigma)| by its integral
    gap, sigma = 0.15, math.sqrt(0.75 * 0.25 / 4)
    x = np.linspace(gap - 9 * sigma, gap + 9 * sigma, 200_001)
    density = np.exp(-0.5 * ((x - gap) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    folded = float((np.abs(x) * density).sum() * (x[1] - x[0]))
    assert folded > 2 * gap * 0.6
    value = debiased_expected_calibration_error([0.6] * 4, [1, 1, 1, 0], num_bins=1)
    assert value == pytest.approx(max(0.0, 2 * gap - folded), abs=1e-6)
    # all right: no spread to be seen, nothing to take off
    assert debiased_expected_calibration_error([0.75] * 8, [1] * 8) == pytest.approx(0.25)


def test_debiased_ece_is_that_of_kumars_package() -> None:
    """uncertainty-calibration 0.1.4, normal_debiased_ce on 15 equal bins, 200,000 draws: 0.05500; plug-in 0.06200."""
    i = np.arange(1000)
    confidence, correct = (i + 0.5) / 1000, (i * 7919 % 1000) / 1000 < ((i + 0.5) / 1000) ** 1.3
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.062, abs=1e-9)
    assert debiased_expected_calibration_error(confidence, correct) == pytest.approx(0.05500, abs=5e-5)


@pytest.mark.parametrize(("overconfidence", "plain_bias", "left"), [(0.0, 0.035, 0.021), (0.03, 0.015, 0.002)])
def test_debiasing_takes_off_what_chance_adds(overconfidence: float, plain_bias: float, left: float) -> None:
    rng = np.random.default_rng(0)
    biases = []
    for _ in range(300):
        confidence = rng.random(1000) * 0.8 + 0.2
        hits = rng.random(1000) < confidence - overconfidence  # the truth, in every bin
        both = (expected_calibration_error(confidence, hits), debiased_expected_calibration_error(confidence, hits))
        biases.append(np.array(both) - overconfidence)
    assert np.mean(biases, axis=0) == pytest.approx([plain_bias, left], abs=0.0025)


def test_rms_by_hand() -> None:
    confidence, correct = [0.9, 0.1, 0.8, 0.2, 1.0], [1, 0, 0, 1, 1]
    # bins of 2: {.1, .2} gap .15 - .5 = -.35; {.8, .9, 1.0} gap .9 - 2/3
    first, last = 2 * 0.35**2, 3 * (0.9 - 2 / 3) ** 2
    assert rms_calibration_error(confidence, correct, num_per_bin=2) == pytest.approx(math.sqrt((first + last) / 5))
    reference = rms_calibration_error(confidence, correct, num_per_bin=2, skip_last_bin=True)
    assert reference == pytest.approx(math.sqrt(first / 5))


def test_rms_reference_leaves_out_one_of_imagenet_as_75_bins() -> None:
    confidence = np.arange(7500) / 7500
    overconfident_only_in_the_last_bin = np.where(confidence >= 7400 / 7500, 0.0, confidence)
    assert rms_calibration_error(confidence, overconfident_only_in_the_last_bin) > 0.1
    assert rms_calibration_error(confidence, overconfident_only_in_the_last_bin, skip_last_bin=True) == 0.0


def test_aurra_by_hand() -> None:
    assert aurra([0.9, 0.8, 0.7], [1, 0, 1]) == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)
    assert aurra([0.5, 0.5], [1, 0]) == pytest.approx(0.5)  # orders 1,0 and 0,1: (3/4 + 1/4) / 2


def test_nll_and_brier_by_hand() -> None:
    assert negative_log_likelihood(np.log([0.5, 0.25])) == pytest.approx(1.5 * math.log(2))
    assert brier_score([[0.5, 0.3, 0.2]], [1]) == pytest.approx(0.25 + 0.49 + 0.04)
    assert brier_score([[1.0, 0.0]], [1]) == 2.0
    assert brier_score(np.full((7, 4), 0.25), np.arange(7) % 4) == pytest.approx(1 - 1 / 4)


@given(SEEDS, st.integers(1, 60), st.integers(1, 20), st.sampled_from([1, 12]))
def test_ece_against_loops(seed: int, num_images: int, bins: int, decimals: int) -> None:
    confidence, correct = draw(seed, num_images, decimals)
    ece = expected_calibration_error(confidence, correct, num_bins=bins)
    assert ece == pytest.approx(slow_ece(confidence, correct, bins))
    debiased = debiased_expected_calibration_error(confidence, correct, num_bins=bins)
    assert debiased == pytest.approx(slow_debiased_ece(confidence, correct, bins), abs=1e-9)
    assert debiased <= ece + 1e-12


@given(SEEDS, st.integers(1, 60), st.integers(1, 12))
def test_rms_and_aurra_against_loops(seed: int, num_images: int, bin_size: int) -> None:
    confidence, correct = draw(seed, num_images)
    fixed = rms_calibration_error(confidence, correct, num_per_bin=bin_size)
    reference = rms_calibration_error(confidence, correct, num_per_bin=bin_size, skip_last_bin=True)
    assert fixed == pytest.approx(slow_rms(confidence, correct, bin_size, skip_last=False))
    if num_images >= 2 * bin_size:
        assert reference == pytest.approx(slow_rms(confidence, correct, bin_size, skip_last=True))
        assert reference <= fixed + 1e-12
    else:
        assert math.isnan(reference)
    assert aurra(confidence, correct) == pytest.approx(slow_aurra(confidence, correct))


@given(SEEDS, st.integers(1, 30), st.integers(2, 6))
def test_nll_and_brier_against_scikit_learn_and_loops(seed: int, num_images: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(num_classes), num_images)
    assume(probabilities.min() > 1e-9)
    labels = rng.integers(0, num_classes, num_images)
    nll = negative_log_likelihood(np.log(probabilities[np.arange(num_images), labels]))
    assert nll == pytest.approx(log_loss(labels, probabilities, labels=range(num_classes)))
    squares = sum(
        (p - (c == label)) ** 2
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)
        for c, p in enumerate(row)
    )
    brier = brier_score(probabilities, labels)
    assert brier == pytest.approx(squares / num_images)
    assert 0 <= brier <= 2


@pytest.mark.parametrize("name", OF_CONFIDENCE)
@given(seed=SEEDS)
def test_bounds_and_order_of_images(name: str, seed: int) -> None:
    metric = OF_CONFIDENCE[name]
    confidence, correct = draw(seed, 47, decimals=1)  # many ties
    order = np.random.default_rng(seed).permutation(47)
    value = metric(confidence, correct)
    assert 0 <= value <= 1
    assert metric(confidence[order], correct[order]) == pytest.approx(value, abs=1e-12)


@given(SEEDS, st.integers(1, 60))
def test_aurra_rewards_the_right_order_and_ignores_its_scale(seed: int, num_images: int) -> None:
    confidence, correct = draw(seed, num_images)
    value = aurra(confidence, correct)
    assert aurra(confidence / 2, correct) == pytest.approx(value)
    assert aurra(correct * 1.0, correct) >= value - 1e-12
    assert aurra(1.0 - correct, correct) <= value + 1e-12
    assert aurra(np.full(num_images, 0.5), correct) == pytest.approx(correct.mean())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OF_CONFIDENCE)
def test_undefined_is_nan(name: str) -> None:
    assert math.isnan(OF_CONFIDENCE[name]([], []))
    confidence = np.linspace(0, 1, 40)
    confidence[3] = math.nan
    assert math.isnan(OF_CONFIDENCE[name](confidence, np.ones(40)))


@pytest.mark.filterwarnings("error")
def test_nll_and_brier_of_nothing_are_nan() -> None:
    assert math.isnan(negative_log_likelihood([]))
    assert math.isnan(negative_log_likelihood([-0.1, math.nan]))
    assert negative_log_likelihood([-0.1, -math.inf]) == math.inf
    assert math.isnan(brier_score(np.empty((0, 3)), np.empty(0, dtype=np.int64)))


@pytest.mark.parametrize("name", OF_CONFIDENCE)
def test_misuse_is_rejected(name: str) -> None:
    metric = OF_CONFIDENCE[name]
    with pytest.raises(ValueError, match="must be"):
        metric([0.5, 0.5], [True])
    with pytest.raises(ValueError, match="must be"):
        metric([[0.5]], [[True]])
    for outside in (-0.1, 1.1, 50.0):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            metric([outside], [True])
    assert not math.isnan(metric(np.full(40, 1.0000001), np.ones(40)))  # a float32 softmax may round so


def test_misuse_of_the_others_is_rejected() -> None:
    with pytest.raises(ValueError, match="num_bins"):
        expected_calibration_error([0.5], [True], num_bins=0)
    with pytest.raises(ValueError, match="num_per_bin"):
        rms_calibration_error([0.5], [True], num_per_bin=0)
    with pytest.raises(ValueError, match="at most 0"):
        negative_log_likelihood([0.5])
    with pytest.raises(ValueError, match=r"\[N\]"):
        negative_log_likelihood([[-0.5]])
    with pytest.raises(ValueError, match=r"0\.\.1"):
        brier_score([[0.5, 0.5]], [2])
    with pytest.raises(ValueError, match="must be"):
        brier_score([[0.5, 0.5]], [0, 1])
