"""Pseudo-label health by hand: eight images of three sources, two generations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nsbench.data.images import PoolTruth
from nsbench.evals.pseudo_labels import PseudoLabelRecord, measure_pseudo_labels
from nsbench.results import Row, to_frame
from tests.evals.conftest import find

CLASSES = ("cat", "dog", "owl")
TRUTH = PoolTruth(
    ids=np.array(["a", "b", "c", "d", "e", "f", "g"]),
    labels=np.array([0, 0, 1, 2, 1, -1, -1]),
    sources=np.array(["same", "same", "same", "same", "other", "noise", "noise"]),
)
FIRST = PseudoLabelRecord(
    ids=np.array(["g", "f", "e", "d", "c", "b", "a", "z"]),
    labels=np.array([0, 1, 1, 2, 0, 0, 0, 2]),
    confidence=np.array([0.25, 0.96, 0.2, 1.0, 0.3, 0.36, 0.8, 0.62], dtype=np.float32),
    copies=np.array([0, 3, 0, 2, 0, 1, 1, 1], dtype=np.uint16),
)
SECOND = PseudoLabelRecord(
    ids=np.array(["a", "b", "c", "d"]),
    labels=np.array([0, 1, 1, 2]),
    confidence=np.array([0.9, 0.9, 0.9, 0.9]),
    copies=np.ones(4, dtype=np.uint16),
)


@pytest.fixture
def rows() -> list[Row]:
    return measure_pseudo_labels({"1": FIRST, "2": SECOND}, TRUTH, CLASSES, 0.3)


@pytest.mark.parametrize(
    ("subset", "metric", "value", "n"),
    [
        ("all", "images", 8, 8),
        ("all", "kept", 6 / 8, 8),
        ("all", "accuracy", 4 / 5, 5),  # a, b, d, e of a..e
        ("all", "kept_accuracy", 3 / 4, 4),  # e is not kept
        ("all", "mean_confidence", (0.25 + 0.96 + 0.2 + 1 + 0.3 + 0.36 + 0.8 + 0.62) / 8, 8),
        ("same", "images", 4, 4),
        ("same", "kept", 1.0, 4),
        ("same", "accuracy", 3 / 4, 4),
        ("other", "accuracy", 1.0, 1),
        ("other", "kept_accuracy", math.nan, 0),
        ("noise", "kept", 1 / 2, 2),
        ("noise", "accuracy", math.nan, 0),
        ("unknown", "images", 1, 1),
        ("all", "threshold", 0.3, 8),
        ("all", "unique", 5, 8),
        ("all", "duplicates", 3, 8),
        ("class:cat", "predicted", 4, 4),
        ("class:cat", "kept_images", 2, 4),
        ("class:cat", "copies", 2, 4),
        ("all", "capped", 1, 8),  # c: sure enough, and left out
        ("class:cat", "capped", 1, 4),
        ("class:dog", "capped", 0, 2),
        ("class:dog", "kept_images", 1, 2),
        ("class:dog", "copies", 3, 2),
        ("class:owl", "copies", 3, 2),
    ],
)
def test_values(rows: list[Row], subset: str, metric: str, value: float, n: int) -> None:
    row = find(rows, metric, "1", subset=subset)
    assert row.value == pytest.approx(value, nan_ok=True)
    assert row.n == n
    counts = ("images", "unique", "duplicates", "predicted", "kept_images", "copies", "capped")
    assert row.unit == ("count" if metric in counts else "fraction")
    if row.unit == "count":
        assert math.isnan(row.ci_low)


def test_histogram_has_twenty_bins_closed_below(rows: list[Row]) -> None:
    bins = {r.level: r.value for r in rows if r.generation == "1" and r.metric == "confidence_histogram"}
    assert len(bins) == 20
    assert sum(bins.values()) == 8
    filled = {level: count for level, count in bins.items() if count}
    assert filled == {
        "0.20-0.25": 1,
        "0.25-0.30": 1,
        "0.30-0.35": 1,
        "0.35-0.40": 1,
        "0.60-0.65": 1,
        "0.80-0.85": 1,
        "0.95-1.00": 2,
    }


def test_agreement_over_what_both_teachers_labelled(rows: list[Row]) -> None:
    row = find(rows, "agreement", "2")
    assert (row.value, row.n) == (0.5, 4)  # a and d
    assert row.ci_low < 0.5 < row.ci_high
    assert not any(r.metric == "agreement" and r.generation == "1" for r in rows)


def test_directions(rows: list[Row]) -> None:
    assert find(rows, "kept", "1", subset="same").higher_is_better
    assert not find(rows, "kept", "1", subset="noise").higher_is_better
    assert not find(rows, "duplicates", "1").higher_is_better


def test_rows_fill_one_table(rows: list[Row]) -> None:
    assert len(to_frame(rows)) == len(rows)
    assert {row.eval for row in rows} == {"pseudo-labels"}
    assert all(row.versus == "" for row in rows)


def test_intervals_are_wilsons(rows: list[Row]) -> None:
    row = find(rows, "kept", "1")
    assert (row.ci_low, row.ci_high) == pytest.approx((0.4093, 0.9285), abs=1e-4)  # 6 of 8, Wilson 95 %
