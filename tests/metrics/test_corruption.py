"""Corruption error against loops, hand-worked cases and the published mCE of known models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nsbench.metrics.corruption import (
    corruption_error,
    mean_ce,
    percent_of_baseline,
    relative_corruption_error,
    unnormalised_ce,
)
from nsbench.metrics.reference import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, CORRUPTIONS
from tests.metrics.published import RESNET50_CE, RESNET50_TOP1, RESNEXT_ERRORS, ROBUSTBENCH_RESNET50

ALEXNET = np.array([ALEXNET_ERRORS[name] for name in CORRUPTIONS])  # [15, 5]
ERRORS = arrays(np.float64, (4, 5), elements=st.floats(0.01, 1.0))


def spread(mean_errors_percent: tuple[float, ...]) -> np.ndarray:
    """Five severities with the published mean: a ratio of sums is the ratio of means."""
    return np.repeat(np.array(mean_errors_percent)[:, None] / 100, 5, axis=1)


def slow_relative_ce(errors: list[float], clean: float, baseline: list[float], baseline_clean: float) -> float:
    top = bottom = 0.0
    for error, reference in zip(errors, baseline, strict=True):
        top += error - clean
        bottom += reference - baseline_clean
    return 100 * top / bottom


def test_by_hand() -> None:
    errors, baseline = [0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.4, 0.6, 0.8, 1.0]
    assert unnormalised_ce(errors) == pytest.approx(0.3)
    assert corruption_error(errors, baseline) == pytest.approx(50.0)
    # (1.5 - 5 * 0.1) / (3.0 - 5 * 0.2) = 1.0 / 2.0
    assert relative_corruption_error(errors, 0.1, baseline, 0.2) == pytest.approx(50.0)
    assert mean_ce([50.0, 100.0, 60.0]) == pytest.approx(70.0)


def test_alexnet_is_100_by_definition() -> None:
    np.testing.assert_allclose(corruption_error(ALEXNET, ALEXNET), 100.0)
    relative = relative_corruption_error(ALEXNET, ALEXNET_CLEAN_ERROR, ALEXNET, ALEXNET_CLEAN_ERROR)
    assert mean_ce(relative) == pytest.approx(100.0)


def test_resnet50_gives_its_published_ce_and_mce() -> None:
    ces = corruption_error(1 - spread(RESNET50_TOP1), ALEXNET)
    np.testing.assert_allclose(ces, RESNET50_CE, atol=0.015)  # two decimals printed, from two decimals
    assert mean_ce(ces) == pytest.approx(76.70, abs=0.005)


def test_resnet50_gives_its_relative_mce() -> None:
    relative = relative_corruption_error(1 - spread(RESNET50_TOP1), 1 - 0.7613, ALEXNET, ALEXNET_CLEAN_ERROR)
    assert mean_ce(relative) == pytest.approx(104.95, abs=0.05)


def test_resnet50_on_5000_images_gives_the_ce_of_every_severity_row() -> None:
    errors = np.array([row for row, _ in ROBUSTBENCH_RESNET50]) / 100
    ces = corruption_error(errors, ALEXNET)
    np.testing.assert_allclose(ces, [ce for _, ce in ROBUSTBENCH_RESNET50], atol=0.0501)
    assert mean_ce(ces) == pytest.approx(76.37, abs=0.005)


@pytest.mark.parametrize("model", RESNEXT_ERRORS)
def test_resnext_gives_its_published_mce(model: str) -> None:
    errors, published = RESNEXT_ERRORS[model]
    assert mean_ce(corruption_error(spread(errors), ALEXNET)) == pytest.approx(published, abs=0.001)


@given(ERRORS, ERRORS, st.floats(0.0, 1.0))
def test_against_loops(errors: np.ndarray, baseline: np.ndarray, clean: float) -> None:
    ces = corruption_error(errors, baseline)
    relative = relative_corruption_error(errors, clean, baseline, 0.0)
    for row in range(len(errors)):
        model, reference = errors[row].tolist(), baseline[row].tolist()
        assert unnormalised_ce(errors)[row] == pytest.approx(sum(model) / 5)
        assert ces[row] == pytest.approx(100 * sum(model) / sum(reference))
        assert relative[row] == pytest.approx(slow_relative_ce(model, clean, reference, 0.0), abs=1e-9)
    assert mean_ce(ces) == pytest.approx(sum(ces.tolist()) / len(ces))


@given(ERRORS, ERRORS, st.floats(0.1, 1.0), st.permutations(range(5)))
def test_scale_and_order_of_severities_do_not_matter(
    errors: np.ndarray, baseline: np.ndarray, scale: float, order: list[int]
) -> None:
    ces = corruption_error(errors, baseline)
    np.testing.assert_allclose(corruption_error(errors * scale, baseline * scale), ces)
    np.testing.assert_allclose(corruption_error(errors[:, order], baseline[:, order]), ces)
    np.testing.assert_allclose(corruption_error(errors * scale, baseline), ces * scale)


@given(ERRORS, st.integers(0, 3), st.integers(0, 4), st.floats(0.0, 0.005))
def test_more_errors_never_lower_ce(errors: np.ndarray, row: int, severity: int, more: float) -> None:
    worse = errors.copy()
    worse[row, severity] = min(1.0, worse[row, severity] + more)
    assert np.all(corruption_error(worse, ALEXNET[:4]) >= corruption_error(errors, ALEXNET[:4]))


def test_leading_axes_broadcast() -> None:
    generations = np.stack([ALEXNET, ALEXNET / 2])  # [2, 15, 5]
    ces = corruption_error(generations, ALEXNET)
    assert ces.shape == (2, 15)
    assert mean_ce(ces).tolist() == [100.0, 50.0]
    relative = relative_corruption_error(generations, [[0.4], [0.2]], ALEXNET, 0.4)
    np.testing.assert_allclose(relative, np.repeat([[100.0], [50.0]], 15, axis=1))


@pytest.mark.filterwarnings("error")
def test_undefined_is_nan() -> None:
    zero = np.zeros(5)
    assert math.isnan(corruption_error(ALEXNET[0], zero))
    assert math.isnan(relative_corruption_error(ALEXNET[0], 0.1, zero + 0.3, 0.3))
    assert math.isnan(unnormalised_ce([0.1, 0.2, math.nan, 0.3, 0.4]))
    assert math.isnan(mean_ce([50.0, math.nan]))
    assert math.isnan(mean_ce([]))
    assert np.isnan(percent_of_baseline([0.0, 1.0], [0.0, 2.0])).tolist() == [True, False]


def test_misuse_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"\[\.\.\., 5\]"):
        corruption_error(ALEXNET.T, ALEXNET)
    with pytest.raises(ValueError, match=r"\[\.\.\., 5\]"):
        unnormalised_ce(0.5)
    with pytest.raises(ValueError, match="not percent"):
        corruption_error(100 * ALEXNET, ALEXNET)
    with pytest.raises(ValueError, match="not percent"):
        relative_corruption_error(ALEXNET, 43.478, ALEXNET, 0.43478)
    with pytest.raises(ValueError, match="axis"):
        mean_ce(70.0)
