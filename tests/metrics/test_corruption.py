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
    mean_corruption_error,
    percent_of_baseline,
    relative_corruption_error,
    relative_mean_corruption_error,
    unnormalised_ce,
)
from nsbench.metrics.published_models import ON_IMAGENET_C, PublishedErrors
from nsbench.metrics.reference import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
)

ALEXNET = np.array([ALEXNET_ERRORS[name] for name in CORRUPTIONS])  # [15, 5]
ERRORS = arrays(np.float64, (4, 5), elements=st.floats(0.01, 1.0))


# CE that the sources print beside the errors: bethgelab/game-of-noise Results/clean_results.txt, and RobustBench's.
RESNET50_CE = (
    *(79.77, 81.58, 82.58, 74.71, 88.61, 78.03, 79.86, 77.83),
    *(74.84, 66.11, 56.64, 71.43, 84.75, 76.92, 76.82),
)
ROBUSTBENCH_CE = (
    *(77.3, 79.3, 80.2, 74.5, 88.6, 78.7, 79.8, 78.3),
    *(75.8, 66.5, 57.0, 71.4, 85.2, 76.8, 76.1),
)
NAMED_ERRORS = st.fixed_dictionaries(
    {name: st.one_of(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=5, max_size=5)) for name in CORRUPTIONS}
)


def published(model: str) -> PublishedErrors:
    (row,) = (row for row in ON_IMAGENET_C if row.model == model)
    return row


def spread(row: PublishedErrors) -> np.ndarray:
    """[15, 5]: where only the mean of the severities is published, five of it; a ratio of sums is one of means."""
    return np.stack([np.broadcast_to(row.errors[name], 5) for name in CORRUPTIONS])


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


def test_resnet50_gives_its_published_ce() -> None:
    ces = corruption_error(spread(published("resnet50.tv_in1k")), ALEXNET)
    np.testing.assert_allclose(ces, RESNET50_CE, atol=0.015)  # two decimals printed, from two decimals


def test_resnet50_on_5000_images_gives_the_ce_of_every_severity_row() -> None:
    row = published("resnet50.tv_in1k, RobustBench's 5,000 images")
    np.testing.assert_allclose(corruption_error(spread(row), ALEXNET), ROBUSTBENCH_CE, atol=0.0501)
    assert all(len(row.errors[name]) == 5 for name in CORRUPTIONS)


@pytest.mark.parametrize("row", ON_IMAGENET_C, ids=lambda row: row.model)
def test_published_errors_give_the_published_mce(row: PublishedErrors) -> None:
    mce = mean_corruption_error(row.errors)
    assert mce == pytest.approx(row.mce, abs=0.001 if "resnext" in row.model else 0.005)
    assert mce == pytest.approx(float(mean_ce(corruption_error(spread(row), ALEXNET))), rel=1e-12)


def test_resnet50_gives_its_relative_mce() -> None:
    errors = published("resnet50.tv_in1k").errors
    assert relative_mean_corruption_error(errors, 1 - 0.7613) == pytest.approx(104.95, abs=0.005)
    on_arrays = relative_corruption_error(spread(published("resnet50.tv_in1k")), 0.2387, ALEXNET, ALEXNET_CLEAN_ERROR)
    assert relative_mean_corruption_error(errors, 0.2387) == pytest.approx(float(mean_ce(on_arrays)), rel=1e-12)


def test_means_by_name_by_hand() -> None:
    errors = dict.fromkeys(CORRUPTIONS, 0.3) | {"snow": [0.1, 0.2, 0.3, 0.4, 0.5], "fog": 0.6}
    own = dict.fromkeys(CORRUPTIONS, 0.6) | {"frost": (0.3, 0.3, 0.3, 0.3, 0.3)}
    assert mean_corruption_error(errors, own) == pytest.approx((13 * 50 + 100 + 100) / 15)
    # degradations of .2 (fog .5) against .5 (frost .2)
    relative = relative_mean_corruption_error(errors, 0.1, own, 0.1)
    assert relative == pytest.approx((13 * 40 + 100 + 100) / 15)


@given(NAMED_ERRORS, st.floats(0, 1), st.randoms(use_true_random=False))
def test_means_by_name_against_loops(errors: dict[str, object], clean: float, random: object) -> None:
    total = relative = 0.0
    for name in CORRUPTIONS:
        entry = errors[name]
        model = entry if isinstance(entry, list) else [entry] * 5
        total += 100 * sum(model) / sum(ALEXNET_ERRORS[name])
        relative += slow_relative_ce(model, clean, list(ALEXNET_ERRORS[name]), ALEXNET_CLEAN_ERROR)
    assert mean_corruption_error(errors) == pytest.approx(total / 15, abs=1e-9)
    assert relative_mean_corruption_error(errors, clean) == pytest.approx(relative / 15, abs=1e-9)
    names = list(errors)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: errors[name] for name in names} | dict.fromkeys(EXTRA_CORRUPTIONS, 0.9)
    assert mean_corruption_error(shuffled) == mean_corruption_error(errors)  # the extras do not count


def test_all_nineteen_give_the_mean_over_fifteen() -> None:
    assert mean_corruption_error(ALEXNET_ERRORS) == pytest.approx(100, abs=1e-9)
    assert relative_mean_corruption_error(ALEXNET_ERRORS, ALEXNET_CLEAN_ERROR) == pytest.approx(100, abs=1e-9)


def test_misuse_by_name_is_rejected() -> None:
    errors = dict.fromkeys(CORRUPTIONS, 0.5)
    with pytest.raises(ValueError, match="mCE: unknown name 'guassian_noise'; did you mean 'gaussian_noise'"):
        mean_corruption_error({"guassian_noise": 0.5} | errors)
    with pytest.raises(ValueError, match=r"unknown name 'xyz'; known: gaussian_noise, .*saturate"):
        mean_corruption_error({"xyz": 0.5} | errors)
    with pytest.raises(ValueError, match="mCE needs all 15 of the benchmark; missing: snow, fog"):
        mean_corruption_error({name: 0.5 for name in CORRUPTIONS if name not in ("snow", "fog")})
    with pytest.raises(ValueError, match="baseline needs all 15"):
        mean_corruption_error(errors, {"snow": 0.5})
    with pytest.raises(ValueError, match="baseline: unknown name 'tilt'"):
        mean_corruption_error(errors, errors | {"tilt": ALEXNET_FLIP_PROBABILITIES["tilt"]})
    for entry in ([0.5] * 4, [], [[0.5] * 5]):
        with pytest.raises(ValueError, match="snow must have 5 errors or their mean"):
            mean_corruption_error(errors | {"snow": entry})
    with pytest.raises(ValueError, match=r"errors of snow must be fractions in 0\.\.1, not percent"):
        mean_corruption_error(errors | {"snow": 86.7})
    with pytest.raises(ValueError, match="relative mCE: errors of snow"):
        relative_mean_corruption_error(errors | {"snow": -0.1}, 0.2)
    with pytest.raises(ValueError, match="clean_error must be fractions"):
        relative_mean_corruption_error(errors, 23.87)
    with pytest.raises(ValueError, match="needs its baseline_clean_error"):
        relative_mean_corruption_error(errors, 0.2, errors)


@pytest.mark.filterwarnings("error")
def test_undefined_means_by_name_are_nan() -> None:
    errors = dict.fromkeys(CORRUPTIONS, 0.5)
    assert math.isnan(mean_corruption_error(errors | {"fog": math.nan}))
    assert math.isnan(mean_corruption_error(errors, errors | {"fog": 0.0}))
    assert math.isnan(relative_mean_corruption_error(errors, math.nan))
    assert math.isnan(relative_mean_corruption_error(errors, 0.2, errors, 0.5))


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
