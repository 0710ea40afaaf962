"""Targets of people's and of a teacher's labels: visits, smoothing, temperature, and what their fingerprint holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nsbench.data.pools import HeldPool
from nsbench.engine.label_store import label_path, write_labels, write_parquet
from nsbench.engine.supervision import HumanLabels, TeacherLabels
from nsbench.errors import DataError

from .conftest import images

SOFT = np.array([[0.5, 0.25, 0.125, 0.125], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.0, 0.5]], np.float32)
COPIES = [2, 0, 3]


@pytest.fixture
def labels(tmp_path: Path) -> TeacherLabels:
    """Two shards of the same three images; the second one shows nothing."""
    for shard, copies in enumerate((COPIES, [0, 0, 0])):
        keys = [f"{shard}-{row}" for row in range(3)]
        write_labels(label_path(tmp_path / "labels", shard), keys, SOFT, made_by="m")
        table = pa.table({"key": keys, "copies": pa.array(copies, pa.uint16())})
        write_parquet(label_path(tmp_path / "selection", shard), table, "m")
    return TeacherLabels(
        labels=tmp_path / "labels", selection=tmp_path / "selection", num_shards=2, num_classes=4, made_by="m"
    )


def test_visits_are_the_copies_of_the_selection(labels: TeacherLabels) -> None:
    np.testing.assert_array_equal(labels.counts, [5, 0])
    np.testing.assert_array_equal(labels.rows(0), [0, 0, 2, 2, 2])
    assert len(labels.rows(1)) == 0


def test_soft_labels_are_the_stored_ones_and_never_smoothed(labels: TeacherLabels) -> None:
    """An engine that takes their argmax always learns hard labels (noisy-student.md, section 5, tsai)."""
    rows = np.array([2, 0, 1, 2])
    np.testing.assert_array_equal(dataclasses.replace(labels, smoothing=0.1).targets(0, rows), SOFT[rows])


def test_temperature_sharpens_or_flattens(labels: TeacherLabels) -> None:
    sharp = dataclasses.replace(labels, temperature=0.5).targets(0, np.arange(3))
    np.testing.assert_allclose(sharp, SOFT**2 / (SOFT**2).sum(axis=1, keepdims=True), rtol=1e-6)


def test_hard_labels_are_the_argmax_and_smoothed(labels: TeacherLabels) -> None:
    hard = dataclasses.replace(labels, hard=True, smoothing=0.2, temperature=3.0).targets(0, np.arange(3))
    expected = np.full((3, 4), 0.05)
    expected[[0, 1, 2], [0, 1, 3]] = 0.85
    np.testing.assert_allclose(hard, expected, rtol=1e-6)


def test_what_changes_the_targets_changes_the_fingerprint(labels: TeacherLabels) -> None:
    others = [
        dataclasses.replace(labels, made_by="n"),
        dataclasses.replace(labels, temperature=2.0),
        dataclasses.replace(labels, hard=True),
        dataclasses.replace(labels, hard=True, smoothing=0.1),
    ]
    assert len({one.fingerprint for one in (labels, *others)}) == 5
    assert dataclasses.replace(labels, smoothing=0.1).fingerprint == labels.fingerprint


def test_peoples_labels_are_each_shown_once_and_smoothed() -> None:
    ours = HumanLabels(pool=HeldPool(images("labelled", 10, 0), shard_images=4), num_classes=4, smoothing=0.1)
    np.testing.assert_array_equal(ours.counts, [4, 4, 2])
    np.testing.assert_array_equal(ours.rows(2), [0, 1])
    np.testing.assert_array_equal(ours.targets(2, np.array([1])).argmax(axis=1), [9 % 4])
    np.testing.assert_allclose(ours.targets(0, np.array([3])), [[0.025, 0.025, 0.025, 0.925]], rtol=1e-6)
    other = dataclasses.replace(ours, smoothing=0.2)
    assert other.fingerprint != ours.fingerprint


def test_a_labelled_image_without_a_label_is_one_line() -> None:
    ours = HumanLabels(pool=HeldPool(images("x", 4, 0, known=False)), num_classes=4, smoothing=0.1)
    with pytest.raises(DataError, match=r"the label -1, but there are 4 classes"):
        ours.targets(0, np.arange(4))
