"""Statistics of all resamples at once against the plain function of each resample, ties and empty bins included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from nsbench.metrics.bootstrap import (
    bootstrap_means,
    bootstrap_means_of,
    bootstrap_shares,
    bootstrap_weights,
    resample_counts,
    resample_indices,
)
from nsbench.metrics.calibration import aurra, debiased_expected_calibration_error, rms_calibration_error
from nsbench.metrics.diagnostics import worst_class_accuracy
from nsbench.metrics.resamples import (
    resampled_aurra,
    resampled_debiased_ece,
    resampled_rms_calibration_error,
    resampled_worst_class_accuracy,
)

CALIBRATION = [
    (debiased_expected_calibration_error, resampled_debiased_ece),
    (rms_calibration_error, resampled_rms_calibration_error),
    (partial(rms_calibration_error, skip_last_bin=True), partial(resampled_rms_calibration_error, skip_last_bin=True)),
    (aurra, resampled_aurra),
]


def answers(num: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num)
    confidence = rng.beta(4, 1, num).astype(np.float32)
    if kind == "ties":
        confidence = np.round(confidence, 1)
    if kind == "sure":
        confidence = np.ones(num, dtype=np.float32)
    return confidence, rng.random(num) < confidence


@pytest.mark.parametrize("kind", ["distinct", "ties", "sure"])
@pytest.mark.parametrize("num", [1, 37, 199, 430])
@pytest.mark.parametrize(("plain", "at_once"), CALIBRATION)
def test_each_resample_has_the_plain_value(plain: Any, at_once: Any, num: int, kind: str) -> None:
    confidence, correct = answers(num, kind)
    expected = [plain(confidence[rows], correct[rows]) for rows in resample_indices(num, replicates=40, seed=3)]
    found = at_once(resample_counts(num, replicates=40, seed=3), confidence, correct)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("plain", "at_once"), CALIBRATION)
def test_a_confidence_that_is_none_leaves_nothing(plain: Any, at_once: Callable[..., np.ndarray]) -> None:
    confidence = np.array([0.2, 0.3, np.nan, 0.4, 0.5])
    correct = np.ones(5, dtype=np.bool_)
    assert np.isnan(plain(confidence, correct))
    assert np.isnan(at_once(resample_counts(5, replicates=4), confidence, correct)).all()


@pytest.mark.parametrize("least", [1, 10])
def test_worst_classes_of_each_resample(least: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(30), 11))
    correct = rng.random(len(labels)) < labels / 30
    expected = [
        worst_class_accuracy(correct[rows], labels[rows], min_per_class=least)
        for rows in resample_indices(len(labels), replicates=50)
    ]
    counts = resample_counts(len(labels), replicates=50)
    found = resampled_worst_class_accuracy(counts, correct, labels, min_per_class=least)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_counts_are_those_of_the_indices() -> None:
    counts = resample_counts(101, replicates=7, seed=5)
    for row, indices in zip(counts, resample_indices(101, replicates=7, seed=5), strict=True):
        assert row.tolist() == np.bincount(indices, minlength=101).tolist()
    assert resample_counts(0, replicates=3).shape == (3, 0)


def test_shares_in_single_precision_are_exact() -> None:
    weights = bootstrap_weights(20_001, replicates=300)
    outcomes = np.random.default_rng(1).random((20_001, 3)) < [0.001, 0.5, 0.999]
    assert (bootstrap_shares(outcomes, weights) == bootstrap_means(outcomes, weights)).all()


def test_means_do_not_depend_on_what_else_is_asked() -> None:
    """To the last bit: rows of a model stay the same whichever models stand beside it."""
    weights = bootstrap_weights(503, replicates=261)
    some, others = np.random.default_rng(2).random((503, 2)), np.random.default_rng(3).random((503, 40))
    alone = bootstrap_means(some, weights)
    beside = bootstrap_means_of([others, some], weights)[1]
    assert (alone == beside).all()
    np.testing.assert_allclose(alone[0], weights[0] @ some / weights[0].sum(), rtol=1e-12)


def test_no_weight_at_all_gives_nan() -> None:
    weights = np.array([[0, 0], [1, 2]], dtype=np.float32)
    assert np.isnan(bootstrap_shares(np.array([[True], [False]]), weights)[:, 0]).tolist() == [True, False]
    with pytest.raises(ValueError, match="must be"):
        bootstrap_shares(np.ones((3, 1), dtype=np.bool_), weights)
