"""Negative flips, worst classes and error where both are right: against loops and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbench.metrics import error_where_both_right, negative_flips, worst_class_accuracy

SEEDS = st.integers(0, 2**32 - 1)


def test_negative_flips_by_hand() -> None:
    assert negative_flips([1, 1, 0, 0], [1, 0, 1, 0]).tolist() == [False, True, False, False]
    assert negative_flips([], []).shape == (0,)


@given(SEEDS, st.integers(1, 80))
def test_negative_flips_are_what_the_accuracies_hide(seed: int, num: int) -> None:
    before, after = np.random.default_rng(seed).random((2, num)) < 0.7
    lost, gained = negative_flips(before, after), negative_flips(after, before)
    slow = [a and not b for a, b in zip(before.tolist(), after.tolist(), strict=True)]
    assert lost.tolist() == slow
    assert gained.mean() - lost.mean() == pytest.approx(after.mean() - before.mean())
    assert not (lost & gained).any()
    assert not negative_flips(before, before).any()


def test_worst_classes_by_hand() -> None:
    labels = np.repeat(np.arange(20), 10)
    right = np.arange(200) % 10 < np.repeat(np.arange(20) // 2, 10)  # accuracies 0, 0, .1, .1, .2, .2, ...
    assert worst_class_accuracy(right, labels) == 0.0
    assert worst_class_accuracy(right, labels, share=0.2) == pytest.approx(0.05)
    assert worst_class_accuracy(right, labels, share=0.11) == pytest.approx(0.1 / 3)  # 2.2 classes are 3
    assert worst_class_accuracy(right, labels, share=1.0) == pytest.approx(right.mean())
    few = np.concatenate([labels, [99] * 9])  # a class of nine images, all wrong, is left out
    assert worst_class_accuracy(np.concatenate([right, [0] * 9]), few, share=1.0) == pytest.approx(right.mean())
    assert worst_class_accuracy([1, 0, 0], [5, 5, 7], share=0.5, min_per_class=1) == 0.0


@given(SEEDS, st.integers(1, 12), st.floats(0.01, 1), st.integers(1, 12))
def test_worst_classes_against_loops(seed: int, num_classes: int, share: float, least: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, 100) * 3
    right = rng.random(100) < 0.3 + 0.05 * labels / 3
    by_class: dict[int, list[bool]] = {}
    for label, hit in zip(labels.tolist(), right.tolist(), strict=True):
        by_class.setdefault(label, []).append(hit)
    accuracies = sorted(sum(hits) / len(hits) for hits in by_class.values() if len(hits) >= least)
    value = worst_class_accuracy(right, labels, share=share, min_per_class=least)
    if not accuracies:
        assert math.isnan(value)
        return
    worst = accuracies[: math.ceil(share * len(accuracies))]
    assert value == pytest.approx(sum(worst) / len(worst))
    assert value <= worst_class_accuracy(right, labels, share=1.0, min_per_class=least) + 1e-12
    order = rng.permutation(100)
    again = worst_class_accuracy(right[order], labels[order], share=share, min_per_class=least)
    assert again == pytest.approx(value)


def test_error_where_both_right_by_hand() -> None:
    clean_a, clean_b = [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]
    assert error_where_both_right([1, 0, 0, 0, 0], clean_a, clean_b) == 0.5
    cells = np.array([[1, 0], [0, 0], [1, 1], [1, 1], [1, 1]], dtype=bool)
    assert error_where_both_right(cells, clean_a, clean_b).tolist() == [0.5, 1.0]


@given(SEEDS, st.integers(1, 40))
def test_error_where_both_right_against_loops(seed: int, num: int) -> None:
    rng = np.random.default_rng(seed)
    clean_a, clean_b = rng.random((2, num)) < 0.6
    right = rng.random((num, 3)) < 0.5
    rows = [i for i in range(num) if clean_a[i] and clean_b[i]]
    error = error_where_both_right(right, clean_a, clean_b)
    for cell in range(3):
        slow = sum(not right[i, cell] for i in rows) / len(rows) if rows else math.nan
        assert error[cell] == pytest.approx(slow, nan_ok=True)
    np.testing.assert_array_equal(error_where_both_right(right, clean_b, clean_a), error)


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    assert math.isnan(worst_class_accuracy([], np.empty(0, dtype=np.int64)))
    assert math.isnan(worst_class_accuracy([1] * 9, [0] * 9))
    assert math.isnan(error_where_both_right([1, 1], [1, 0], [0, 1]))
    assert np.isnan(error_where_both_right(np.empty((0, 2)), [], [])).tolist() == [True, True]


def test_misuse_is_rejected() -> None:
    with pytest.raises(ValueError, match="same images"):
        negative_flips([True], [True, False])
    with pytest.raises(ValueError, match=r"must be \[N\]"):
        negative_flips([[True]], [[True]])
    with pytest.raises(ValueError, match="same images"):
        worst_class_accuracy([True], [1, 2])
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="share"):
            worst_class_accuracy([True], [1], share=share)
    with pytest.raises(ValueError, match=r"\[N, \.\.\.\]"):
        error_where_both_right([True], [True, False], [True, False])
