"""Area under precision and recall against scikit-learn, a loop over thresholds and cases by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from nsbench.metrics import area_under_precision_recall

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, num: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(num) < 0.4
    assume(positive.any())
    return np.round(rng.normal(size=num) + positive, decimals), positive


def slow_average_precision(scores: list[float], positive: list[bool]) -> float:
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        kept = [hit for score, hit in zip(scores, positive, strict=True) if score >= threshold]
        found = sum(kept) / sum(positive)
        total, recall = total + (found - recall) * sum(kept) / len(kept), found
    return total


@given(SEEDS, st.integers(1, 60), st.sampled_from([0, 1, 12]))
def test_against_scikit_learn_and_a_loop(seed: int, num: int, decimals: int) -> None:
    scores, positive = draw(seed, num, decimals)  # at 0 decimals nearly all are tied
    area = area_under_precision_recall(scores, positive)
    assert area == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    assert area == pytest.approx(slow_average_precision(scores.tolist(), positive.tolist()))
    assert 0 < area <= 1


def test_by_hand() -> None:
    # + - + -: precision 1 at recall 1/2, 2/3 at recall 1
    assert area_under_precision_recall([4, 3, 2, 1], [1, 0, 1, 0]) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert area_under_precision_recall([1, 1, 1, 1], [1, 0, 0, 0]) == pytest.approx(1 / 4)  # knows nothing
    assert area_under_precision_recall([2, 2, 1], [1, 0, 1]) == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 3)
    assert area_under_precision_recall([-0.9, -0.2], [0, 1]) == 1.0
    assert area_under_precision_recall([math.inf, 1, -math.inf], [1, 0, 0]) == 1.0


@given(SEEDS, st.integers(2, 50))
def test_order_of_images_and_scale_of_scores_do_not_matter(seed: int, num: int) -> None:
    scores, positive = draw(seed, num, 1)
    order = np.random.default_rng(seed).permutation(num)
    area = area_under_precision_recall(scores, positive)
    assert area_under_precision_recall(scores[order], positive[order]) == pytest.approx(area, abs=1e-12)
    assert area_under_precision_recall(3 * scores - 7, positive) == pytest.approx(area, abs=1e-12)
    assert area_under_precision_recall(positive * 1.0, positive) == 1.0


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan_and_misuse_is_rejected() -> None:
    assert math.isnan(area_under_precision_recall([], []))
    assert math.isnan(area_under_precision_recall([0.1, 0.2], [False, False]))
    assert math.isnan(area_under_precision_recall([0.1, math.nan], [True, False]))
    for scores, positive in (([0.1], [True, False]), ([[0.1]], [[True]])):
        with pytest.raises(ValueError, match="must be"):
            area_under_precision_recall(scores, positive)
