"""Intervals and tests against scipy.stats, loops and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from nsbench.metrics.bootstrap import (
    bootstrap_means,
    bootstrap_weights,
    resample_indices,
)
from nsbench.metrics.calibration import aurra
from nsbench.metrics.intervals import (
    bootstrap_p_value,
    holm,
    mcnemar_p_value,
    paired_difference_interval,
    percentile_interval,
    t_interval,
    wilson_interval,
)

SEEDS = st.integers(0, 2**32 - 1)
LEVELS = st.floats(0.5, 0.999)
P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=8)
FROZEN_WEIGHTS = [[1, 0, 0, 3, 3, 1, 1, 2], [1, 0, 2, 3, 2, 0, 2, 3]]


# Proportions and runs


@given(st.integers(1, 5000), st.floats(0, 1), LEVELS)
def test_wilson_is_scipys(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    low, high = wilson_interval(successes, n, level)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


def test_wilson_by_hand() -> None:
    # z = 1.96: (.5 + z2/200 -+ z sqrt(.25/100 + z2/40000)) / (1 + z2/100)
    assert wilson_interval(50, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(2.5, 10) == pytest.approx(tuple(1 - x for x in wilson_interval(7.5, 10)[::-1]))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=10), LEVELS)
def test_t_interval_is_scipys(values: list[float], level: float) -> None:
    mean, low, high = t_interval(values, level)
    spread = stats.sem(values)
    expected = stats.t.interval(level, len(values) - 1, np.mean(values), spread) if spread else (mean, mean)
    assert (low, high) == pytest.approx(expected, abs=1e-9)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    shifted = t_interval(2 * np.array(values) + 3, level)
    assert shifted == pytest.approx([2 * x + 3 for x in (mean, low, high)], abs=1e-8)


def test_t_interval_by_hand() -> None:
    # three seeds: sd 1, 2 degrees of freedom, t = 4.302653
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))


@pytest.mark.filterwarnings("error")
def test_too_little_data_has_no_interval() -> None:
    assert np.isnan(wilson_interval(0, 0)).all()
    assert np.isnan(t_interval([])).all()
    mean, low, high = t_interval([0.7])
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)


# Bootstrap


def test_weights_are_poisson_one_and_repeatable() -> None:
    weights = bootstrap_weights(500, replicates=400, seed=3)
    assert weights.shape == (400, 500)
    assert weights.dtype == np.float32
    counts = np.bincount(weights.astype(np.int64).ravel(), minlength=8)[:8]
    np.testing.assert_allclose(counts / weights.size, stats.poisson.pmf(range(8), 1.0), atol=0.004)
    np.testing.assert_array_equal(weights, bootstrap_weights(500, replicates=400, seed=3))
    np.testing.assert_array_equal(weights[:7], bootstrap_weights(500, replicates=7, seed=3))
    assert not np.array_equal(weights, bootstrap_weights(500, replicates=400, seed=4))
    # frozen: a change of generator would change every committed interval
    assert bootstrap_weights(8, replicates=2, seed=0).tolist() == FROZEN_WEIGHTS


def test_indices_are_uniform_and_repeatable() -> None:
    indices = resample_indices(20, replicates=500, seed=1)
    assert indices.shape == (500, 20)
    np.testing.assert_allclose(np.bincount(indices.ravel(), minlength=20) / indices.size, 1 / 20, atol=0.01)
    np.testing.assert_array_equal(indices, resample_indices(20, replicates=500, seed=1))
    assert not np.array_equal(indices, resample_indices(20, replicates=500, seed=2))


@given(SEEDS, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5))
def test_means_against_loops(seed: int, num_units: int, num_cells: int, replicates: int) -> None:
    outcomes = np.random.default_rng(seed).normal(size=(num_units, num_cells))
    weights = bootstrap_weights(num_units, replicates=replicates, seed=seed)
    means = bootstrap_means(outcomes, weights)
    assert means.shape == (replicates, num_cells)
    for b in range(replicates):
        drawn = [unit for unit in range(num_units) for _ in range(int(weights[b, unit]))]
        for k in range(num_cells):
            slow = sum(float(outcomes[u, k]) for u in drawn) / len(drawn) if drawn else math.nan
            assert means[b, k] == pytest.approx(slow, abs=1e-12, nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_a_replicate_without_a_unit_is_nan() -> None:
    means = bootstrap_means(np.array([[True], [False]]), np.array([[0, 0], [1, 3]], dtype=np.float32))
    assert math.isnan(means[0, 0])
    assert means[1, 0] == 0.25
    assert np.isnan(bootstrap_means(np.empty((0, 3)), bootstrap_weights(0, replicates=2))).all()
    assert resample_indices(0, replicates=2).shape == (2, 0)


def test_interval_of_a_proportion_is_near_the_normal_approximation() -> None:
    n, p = 2000, 0.3
    correct = (np.arange(n) < n * p)[:, None]
    low, high = percentile_interval(bootstrap_means(correct, bootstrap_weights(n, replicates=2000))[:, 0])
    half = 1.96 * math.sqrt(p * (1 - p) / n)
    assert (low, high) == pytest.approx((p - half, p + half), abs=0.1 * half)


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    weights = bootstrap_weights(200, replicates=400)
    replicates = bootstrap_means(rng.random((200, 300)) < 0.6, weights)  # 300 test sets
    intervals = [percentile_interval(column) for column in replicates.T]
    covered = sum(low <= 0.6 <= high for low, high in intervals) / len(intervals)
    assert 0.90 <= covered <= 0.985  # 0.95 +- 3 standard errors, less the method's own shortfall


def test_indices_give_the_interval_of_a_statistic_that_is_no_mean() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(400)
    correct = rng.random(400) < confidence
    replicates = [aurra(confidence[rows], correct[rows]) for rows in resample_indices(400, replicates=200)]
    low, high = percentile_interval(replicates)
    assert low < aurra(confidence, correct) < high
    assert 0.02 < high - low < 0.2


def test_percentiles_by_hand() -> None:
    assert percentile_interval(np.arange(101.0), level=0.9) == pytest.approx((5.0, 95.0))
    assert percentile_interval(np.append(np.arange(101.0), [math.nan, math.inf]), level=0.9) == pytest.approx((5, 95))


@given(SEEDS, LEVELS, st.floats(0.1, 10), st.floats(-5, 5))
def test_percentile_interval_is_ordered_nested_and_moves_with_its_data(
    seed: int, level: float, scale: float, shift: float
) -> None:
    replicates = np.random.default_rng(seed).normal(size=200)
    low, high = percentile_interval(replicates, level)
    wide_low, wide_high = percentile_interval(replicates, (1 + level) / 2)
    assert replicates.min() <= wide_low <= low <= high <= wide_high <= replicates.max()
    moved = percentile_interval(scale * replicates + shift, level)
    assert moved == pytest.approx((scale * low + shift, scale * high + shift))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("num_undefined", "defined"), [(5, True), (6, False), (100, False)])
def test_more_than_one_in_twenty_undefined_is_undefined(num_undefined: int, defined: bool) -> None:
    replicates = np.linspace(1, 2, 100)
    replicates[:num_undefined] = math.nan
    assert np.isfinite(percentile_interval(replicates)).all() == defined
    assert math.isfinite(bootstrap_p_value(replicates)) == defined


def test_p_value_by_hand() -> None:
    deltas = np.array([-1.0, 0.0, *[1.0] * 97])  # B = 99: 2 at or below 0, 98 at or above
    assert bootstrap_p_value(deltas) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p_value(np.ones(999)) == pytest.approx(2 / 1000)  # never 0
    assert bootstrap_p_value([-1.0, 1.0]) == 1.0


@pytest.mark.filterwarnings("error")
def test_p_value_without_evidence_is_nan() -> None:
    assert math.isnan(bootstrap_p_value(np.zeros(100)))
    assert math.isnan(bootstrap_p_value(np.full(100, math.nan)))
    assert math.isnan(bootstrap_p_value([]))
    assert np.isnan(percentile_interval([])).all()


@given(SEEDS, st.floats(-3, 3), st.floats(0.1, 10))
def test_p_value_has_no_side_and_no_scale(seed: int, shift: float, scale: float) -> None:
    deltas = np.random.default_rng(seed).normal(size=199) + shift
    slow_tails = [sum(d <= 0 for d in deltas), sum(d >= 0 for d in deltas)]
    p = bootstrap_p_value(deltas)
    assert p == pytest.approx(min(1.0, 2 * (min(slow_tails) + 1) / 200))
    assert bootstrap_p_value(-scale * deltas) == p


def test_p_value_agrees_with_the_normal_theory_of_a_paired_difference() -> None:
    rng = np.random.default_rng(5)
    better = rng.random((1000, 2)) < [0.60, 0.645]
    delta = better[:, 1] * 1.0 - better[:, 0]
    replicates = bootstrap_means(delta[:, None], bootstrap_weights(1000, replicates=4000))[:, 0]
    theory = 2 * stats.norm.sf(abs(delta.mean()) / (delta.std() / math.sqrt(1000)))
    assert bootstrap_p_value(replicates) == pytest.approx(theory, abs=0.03)


# Paired tests


@given(SEEDS, st.integers(1, 80), st.floats(0.05, 0.95))
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(seed: int, num_images: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(num_images) < rate, rng.random(num_images) < 0.5
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    p = mcnemar_p_value(a, b)
    if only_a + only_b == 0:
        assert math.isnan(p)
        return
    assert p == pytest.approx(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)
    assert mcnemar_p_value(b, a) == p
    order = rng.permutation(num_images)
    assert mcnemar_p_value(a[order], b[order]) == p


def test_mcnemar_by_hand() -> None:
    a, b = np.array([1, 1, 1, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 0, 0, 1])
    assert mcnemar_p_value(a, b) == pytest.approx(2 / 2**5)
    assert mcnemar_p_value([True, False], [False, True]) == 1.0
    assert math.isnan(mcnemar_p_value(a, a))


def test_mcnemar_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    p_values = [mcnemar_p_value(*(rng.random((2, 300)) < 0.7)) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def tango_z(n: int, only_a: int, only_b: int, difference: float) -> float:
    """Score statistic of a paired difference, its likelihood maximised by search instead of by the formula."""

    def minus_log_likelihood(share_b: float) -> float:
        cells = (share_b + difference, share_b, 1 - 2 * share_b - difference)
        return -sum(k * math.log(p) for k, p in zip((only_a, only_b, n - only_a - only_b), cells, strict=True) if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    eps = 1e-12
    found = optimize.minimize_scalar(
        minus_log_likelihood, bounds=(low + eps, high - eps), method="bounded", options={"xatol": 1e-13}
    )
    return (only_a - only_b - n * difference) / math.sqrt(n * (2 * found.x + difference - difference**2))


def outcomes(n: int, only_a: int, only_b: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.arange(n) < only_a, (np.arange(n) >= only_a) & (np.arange(n) < only_a + only_b)
    return a, b


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 300), st.integers(1, 20), st.integers(1, 20), st.floats(0.5, 0.99))
def test_paired_difference_is_what_a_score_test_keeps(n: int, only_a: int, only_b: int, level: float) -> None:
    assume(only_a + only_b < n)
    low, high = paired_difference_interval(*outcomes(n, only_a, only_b), level)
    z = stats.norm.ppf(0.5 + level / 2)
    assert tango_z(n, only_a, only_b, low) == pytest.approx(z, rel=1e-3)
    assert tango_z(n, only_a, only_b, high) == pytest.approx(-z, rel=1e-3)
    assert -1 <= low < (only_a - only_b) / n < high <= 1


@given(st.integers(1, 200), st.integers(0, 60), st.integers(0, 60))
def test_paired_difference_has_no_side_and_agrees_with_mcnemar(n: int, only_a: int, only_b: int) -> None:
    assume(only_a + only_b <= n)
    a, b = outcomes(n, only_a, only_b)
    low, high = paired_difference_interval(a, b)
    assert paired_difference_interval(b, a) == pytest.approx((-high, -low))
    assert paired_difference_interval(a[::-1], b[::-1]) == (low, high)
    wide_low, wide_high = paired_difference_interval(a, b, 0.99)
    assert wide_low <= low <= (only_a - only_b) / n <= high <= wide_high
    mcnemar_z = (only_a - only_b) / math.sqrt(only_a + only_b) if only_a + only_b else 0.0
    if abs(abs(mcnemar_z) - 1.959964) > 1e-3:
        assert (low > 0 or high < 0) == (abs(mcnemar_z) > 1.959964)


def test_paired_difference_by_hand() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    # nobody alone right: Wilson's upper limit of 0 of n, to both sides
    assert paired_difference_interval([1] * 40 + [0] * 10, [1] * 40 + [0] * 10) == pytest.approx(
        (-z2 / (50 + z2), z2 / (50 + z2))
    )
    # a right and b wrong throughout: under d each image is either's, variance n (1 - d^2); n (1 - d) = z sqrt of it
    low, high = paired_difference_interval([1] * 50, [0] * 50)
    assert (low, high) == pytest.approx(((50 - z2) / (50 + z2), 1.0))
    assert np.isnan(paired_difference_interval([], [])).all()


def test_paired_difference_of_many_images_is_the_normal_theorys() -> None:
    n, only_a, only_b = 50_000, 1200, 1000
    theory = 1.959964 * math.sqrt(only_a + only_b - (only_a - only_b) ** 2 / n) / n
    low, high = paired_difference_interval(*outcomes(n, only_a, only_b))
    assert (low, high) == pytest.approx((200 / n - theory, 200 / n + theory), abs=1e-5)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, math.nan, 0.03]), [0.04, math.nan, 0.04])
    assert holm([]).tolist() == []
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


@given(P_VALUES, st.randoms(use_true_random=False))
def test_holm_against_loops(p_values: list[float], random: object) -> None:
    adjusted = holm(p_values)
    counted = [p for p in p_values if not math.isnan(p)]
    for p, result in zip(p_values, adjusted.tolist(), strict=True):
        # the largest step of any hypothesis at most as large; counting ranks with equal ones placed first
        steps = [(len(counted) - sum(other < q for other in counted)) * q for q in counted if q <= p]
        expected = min(1.0, max(steps)) if not math.isnan(p) else math.nan
        assert result == pytest.approx(expected, nan_ok=True)
        assert math.isnan(p) or p <= result <= 1
    shuffled = list(range(len(p_values)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(holm([p_values[i] for i in shuffled]), adjusted[shuffled])


def test_misuse_is_rejected() -> None:
    for level in (0.0, 1.0, 95):
        for interval in (lambda at: wilson_interval(1, 2, at), lambda at: t_interval([1, 2], at)):
            with pytest.raises(ValueError, match="level"):
                interval(level)
        with pytest.raises(ValueError, match="level"):
            percentile_interval([1.0, 2.0], level)
    for successes, n in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(ValueError, match="successes"):
            wilson_interval(successes, n)
    for draw in (bootstrap_weights, resample_indices):
        with pytest.raises(ValueError, match="replicates"):
            draw(5, replicates=0)
        with pytest.raises(ValueError, match="num_units"):
            draw(-1)
    with pytest.raises(ValueError, match="must be"):
        bootstrap_means(np.zeros((3, 2)), np.zeros((5, 4)))
    for of_vector in (t_interval, percentile_interval, bootstrap_p_value, holm):
        with pytest.raises(ValueError, match="vector"):
            of_vector(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm([0.5, 1.5])
    for of_pair in (mcnemar_p_value, paired_difference_interval):
        with pytest.raises(ValueError, match="must be"):
            of_pair([True], [True, False])
    with pytest.raises(ValueError, match="level"):
        paired_difference_interval([True], [True], 95)
