"""Top-1 and top-k outcomes against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbench.metrics.accuracy import top1_correct, topk_correct


def test_by_hand() -> None:
    labels = np.array([3, 1, 2])
    assert top1_correct(np.array([3, 2, 2]), labels).tolist() == [True, False, True]
    assert topk_correct(np.array([[0, 3], [0, 2], [2, 1]]), labels).tolist() == [True, False, True]


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 6))
def test_against_loops(seed: int, num_images: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    ids, labels = rng.integers(0, 8, (num_images, k)), rng.integers(0, 8, num_images)
    top1, topk = top1_correct(ids[:, 0], labels), topk_correct(ids, labels)
    assert top1.tolist() == [row[0] == label for row, label in zip(ids.tolist(), labels.tolist(), strict=True)]
    assert topk.tolist() == [label in row for row, label in zip(ids.tolist(), labels.tolist(), strict=True)]
    assert np.all(topk >= top1)
    assert top1.dtype == topk.dtype == np.bool_
    assert np.array_equal(topk, topk_correct(ids[:, ::-1], labels))


def test_unsigned_storage_types_compare_with_signed_labels() -> None:
    assert top1_correct(np.array([999], dtype=np.uint16), np.array([999], dtype=np.int64)).all()
    assert not topk_correct(np.array([[65535]], dtype=np.uint16), np.array([-1])).any()


@pytest.mark.parametrize(("ids", "labels"), [([1, 2], [1]), ([[1], [2]], [1, 2]), (1, 1)])
def test_top1_rejects_shapes(ids: object, labels: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        top1_correct(np.array(ids), np.array(labels))


@pytest.mark.parametrize(("ids", "labels"), [([1, 2], [1, 2]), ([[1], [2]], [1]), ([[1]], [[1]])])
def test_topk_rejects_shapes(ids: object, labels: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        topk_correct(np.array(ids), np.array(labels))
