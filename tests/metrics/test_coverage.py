"""Nominal 95 % intervals, as the evals make them, hold the truth in 93 to 97 % of 1,000 simulated test sets.

The outcomes of an image are correlated over cells and models, as an image that is hard is hard throughout. The truth
is known exactly: every outcome is drawn with a marginal probability that is set.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtri

from nsbench.evals.paired import Estimate, Floats, Panel
from nsbench.metrics import (
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CORRUPTIONS,
    PERTURBATIONS,
    bootstrap_means,
    bootstrap_weights,
    corruption_error,
    flip_rate,
    mean_ce,
    mean_corruption_error,
    paired_difference_interval,
)
from nsbench.metrics.corruption import percent_of_baseline
from nsbench.metrics.published_models import ON_IMAGENET_C, ON_IMAGENET_P

pytestmark = pytest.mark.slow

NUM_SETS = 1000
REPLICATES = 1000  # the default of the evals
NUM_PAIRS = 30  # compared frames of a video
HARDNESS = 0.6  # correlation of an image's outcomes over cells
KINSHIP = 0.7  # correlation of what is left between two models on the same pixels

ALEXNET = np.array([ALEXNET_ERRORS[name] for name in CORRUPTIONS])  # [15, 5]
ALEXNET_FLIPS = np.array([ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS])
ERRORS = np.array([list(ON_IMAGENET_C[2].errors[name]) for name in CORRUPTIONS])  # ResNet-50, severity by severity
FLIPS = np.array([ON_IMAGENET_P[1].flips[name] for name in PERTURBATIONS])  # ResNet-18
BETTER = 0.93  # the second model's errors and flips, relative to the first's

# What one image adds to mCE with AlexNet as baseline: both are sums over an image's outcomes.
CE_WEIGHTS = np.repeat(100 / 15 / ALEXNET.sum(axis=1), 5)  # [75]
FR_WEIGHTS = 100 / 10 / ALEXNET_FLIPS  # [10]


def coverage(estimates: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in estimates]))


def intervals(draws: Floats, outcomes: npt.NDArray[np.bool_] | None = None) -> list[tuple[float, float]]:
    """Of every set, from draws [1 + B, sets] and, for proportions, outcomes [N, sets]."""
    columns = range(draws.shape[1])
    return [Estimate(draws[:, s], None if outcomes is None else outcomes[:, s]).interval() for s in columns]


def paired(draws_a: Floats, draws_b: Floats, *outcomes: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Of the differences of every set, from draws [1 + B, sets] and, for proportions, outcomes [N, sets] of both."""
    hits = [of_model.T for of_model in outcomes] or [[None] * draws_a.shape[1]] * 2
    both = zip(draws_a.T, draws_b.T, *hits, strict=True)
    return [Estimate(a, of_a).minus(Estimate(b, of_b))[1] for a, b, of_a, of_b in both]


@functools.cache
def weights(num_units: int) -> npt.NDArray[np.float32]:
    return bootstrap_weights(num_units, replicates=REPLICATES, seed=0)


def resampled(values: npt.NDArray[np.generic]) -> Floats:
    """[1 + B, sets] means of values [N, sets], as `Panel.means` has them."""
    return np.concatenate([values.mean(axis=0, keepdims=True), bootstrap_means(values, weights(len(values)))])


def wrong_answers(rng: np.random.Generator, errors: Floats, num_images: int) -> npt.NDArray[np.bool_]:
    """[models, N, cells] for errors [models, cells], the chances of a wrong answer: a Gaussian copula."""
    shape = (num_images, errors.shape[1])
    hard = rng.standard_normal((num_images, 1), dtype=np.float32)
    pixels = rng.standard_normal(shape, dtype=np.float32)
    answers = []
    for error in errors:
        own = rng.standard_normal(shape, dtype=np.float32)
        rest = np.sqrt(KINSHIP) * pixels + np.sqrt(1 - KINSHIP) * own
        answers.append(np.sqrt(HARDNESS) * hard + np.sqrt(1 - HARDNESS) * rest < ndtri(error).astype(np.float32))
    return np.stack(answers)


def right_answers(num_images: int, accuracy: float) -> tuple[npt.NDArray[np.bool_], Floats]:
    """[2, N, sets] outcomes of two models, and their two errors."""
    rng = np.random.default_rng(num_images)
    errors = np.array([1 - accuracy, (1 - accuracy) * BETTER])
    wrong = np.stack([wrong_answers(rng, errors[:, None], num_images)[:, :, 0] for _ in range(NUM_SETS)], axis=2)
    return ~wrong, errors


def flip_shares(rng: np.random.Generator, flips: Floats, num_videos: int) -> Floats:
    """[models, V, 10] shares of flipped pairs, of mean flips [models, 10]: half of the videos never flip."""
    levels, chances = np.array([0.0, 1.0, 3.5]), [0.5, 0.3, 0.2]  # of mean 1
    of_video = rng.choice(levels, (num_videos, 1), p=chances)
    own = rng.choice(levels, (num_videos, flips.shape[1]), p=chances)
    restless = np.where(rng.random(own.shape) < 0.6, of_video, own)
    return np.stack([rng.binomial(NUM_PAIRS, restless * flip) / NUM_PAIRS for flip in flips])


def test_the_shortcut_is_the_evals_own_way() -> None:
    """mCE's and mFR's replicates as means over images of one score, against those of every cell through the metrics."""
    rng = np.random.default_rng(1)
    wrong = wrong_answers(rng, ERRORS.reshape(1, -1), 40)[0]
    share = flip_shares(rng, FLIPS[None], 40)[0]
    ids = np.array([f"i{k:02d}" for k in range(40)])
    panel = Panel({"0": {"cell": {"ids": ids}}}, ("cell",), REPLICATES)
    assert np.array_equal(panel.weights, weights(40))
    mce = mean_ce(corruption_error(panel.means(wrong).reshape(-1, 15, 5), ALEXNET))
    np.testing.assert_allclose(resampled((wrong @ CE_WEIGHTS)[:, None])[:, 0], mce)
    mfr = mean_ce(flip_rate(panel.means(share), ALEXNET_FLIPS))
    np.testing.assert_allclose(resampled((share @ FR_WEIGHTS)[:, None])[:, 0], mfr)


@pytest.mark.parametrize(("num_images", "accuracy"), [(500, 0.76), (2000, 0.11)])
def test_accuracy_and_its_paired_difference(num_images: int, accuracy: float) -> None:
    right, errors = right_answers(num_images, accuracy)
    draws = [resampled(hits) for hits in right]
    assert 0.93 <= coverage(intervals(draws[0], right[0]), accuracy) <= 0.97
    assert 0.93 <= coverage(paired(draws[1], draws[0], right[1], right[0]), errors[0] - errors[1]) <= 0.97


def test_accuracy_and_its_paired_difference_where_few_images_tell_two_models_apart() -> None:
    """200 images at 97 %: about six errors each. The score interval holds; resampling six errors does not."""
    right, errors = right_answers(200, 0.97)
    draws = [resampled(hits) for hits in right]
    truth = errors[0] - errors[1]
    assert 0.93 <= coverage(intervals(draws[0], right[0]), 0.97) <= 0.97
    score = [paired_difference_interval(b, a) for a, b in zip(right[0].T, right[1].T, strict=True)]
    assert 0.93 <= coverage(score, truth) <= 0.985  # whole images: a narrower one would fall below
    assert coverage(paired(draws[1], draws[0]), truth) < 0.92


@pytest.mark.parametrize("num_images", [200, 1000])
def test_mce_and_its_paired_difference(num_images: int) -> None:
    rng = np.random.default_rng(num_images)
    errors = np.stack([ERRORS.ravel(), ERRORS.ravel() * BETTER])  # [2, 75]
    truth = [mean_corruption_error(dict(zip(CORRUPTIONS, row.reshape(15, 5), strict=True))) for row in errors]
    score = np.stack([wrong_answers(rng, errors, num_images) @ CE_WEIGHTS for _ in range(NUM_SETS)], axis=2)
    draws = [resampled(of_model) for of_model in score]  # score [2, N, sets]
    assert draws[0][0].mean() == pytest.approx(truth[0], abs=0.3)  # the simulation is of this truth
    assert 0.93 <= coverage(intervals(draws[0]), truth[0]) <= 0.97
    assert 0.93 <= coverage(paired(draws[1], draws[0]), truth[1] - truth[0]) <= 0.97


@pytest.mark.parametrize("num_videos", [200, 1000])
def test_mfr_and_its_paired_difference(num_videos: int) -> None:
    rng = np.random.default_rng(num_videos)
    flips = np.stack([FLIPS, FLIPS * BETTER])  # [2, 10]
    truth = [float(mean_ce(flip_rate(row, ALEXNET_FLIPS))) for row in flips]
    score = np.stack([flip_shares(rng, flips, num_videos) @ FR_WEIGHTS for _ in range(NUM_SETS)], axis=2)
    draws = [resampled(of_model) for of_model in score]
    assert draws[0][0].mean() == pytest.approx(truth[0], abs=0.5)
    assert 0.93 <= coverage(intervals(draws[0]), truth[0]) <= 0.97
    assert 0.93 <= coverage(paired(draws[1], draws[0]), truth[1] - truth[0]) <= 0.97


def test_mce_and_mfr_relative_to_another_model() -> None:
    """Ratios of two random sums, as with generation 0 in AlexNet's place: every cell's sums are resampled together."""
    rng = np.random.default_rng(4)
    num_units, estimates = 400, {"mCE": [], "mFR": []}
    errors, flips = np.stack([ERRORS.ravel(), ERRORS.ravel() * BETTER]), np.stack([FLIPS, FLIPS * BETTER])
    for _ in range(NUM_SETS // 50):
        wrong = [wrong_answers(rng, errors, num_units) for _ in range(50)]
        by_corruption = np.stack([w.reshape(2, num_units, 15, 5).mean(axis=3) for w in wrong], axis=2)
        by_perturbation = np.stack([flip_shares(rng, flips, num_units) for _ in range(50)], axis=2)
        for name, outcomes in (("mCE", by_corruption), ("mFR", by_perturbation)):  # [2, N, 50 sets, 15 or 10]
            first, second = (
                resampled(of_model.reshape(num_units, -1)).reshape(-1, *of_model.shape[1:]) for of_model in outcomes
            )
            estimates[name] += intervals(mean_ce(percent_of_baseline(second, first)))
    for name, of_name in estimates.items():
        assert len(of_name) == NUM_SETS
        assert 0.93 <= coverage(of_name, 100 * BETTER) <= 0.97, name


def test_an_interval_of_half_the_width_would_be_found_out() -> None:
    """The bounds above are no formality."""
    right = np.random.default_rng(0).random((500, NUM_SETS)) < 0.76
    halves = [((3 * low + high) / 4, (low + 3 * high) / 4) for low, high in intervals(resampled(right), right)]
    assert coverage(halves, 0.76) < 0.80
