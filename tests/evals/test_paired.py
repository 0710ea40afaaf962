"""Values, intervals and paired differences against plain loops, and what must hold for any records."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from nsbench.evals.paired import Estimate, Panel, Quantity, references
from nsbench.metrics.bootstrap import bootstrap_weights
from nsbench.metrics.calibration import expected_calibration_error
from nsbench.results import Row
from tests.evals.conftest import find

REPLICATES = 300
QUANTITY = Quantity(eval="test", metric="m", higher_is_better=True)
Outcomes = dict[str, np.ndarray]


def panel_of(num: int, names: tuple[str, ...]) -> Panel:
    ids = np.array([f"image-{i:03d}" for i in range(num)])
    return Panel({name: {"cell": {"ids": ids}} for name in names}, ("cell",), REPLICATES)


def proportions(outcomes: Outcomes) -> list[Row]:
    num = len(next(iter(outcomes.values())))
    return panel_of(num, tuple(outcomes)).proportion(QUANTITY, outcomes)


def means(outcomes: Outcomes) -> list[Row]:
    num = len(next(iter(outcomes.values())))
    return panel_of(num, tuple(outcomes)).mean(QUANTITY, outcomes)


@pytest.fixture
def hits() -> Outcomes:
    rng = np.random.default_rng(0)
    return {name: rng.random(80) < p for name, p in (("0", 0.5), ("1", 0.6), ("2", 0.7), ("control", 0.6))}


def test_what_each_generation_is_compared_with() -> None:
    every = ("0", "1", "2", "3", "control")
    assert {name: list(references(name, every, "0")) for name in every} == {
        "0": [("control", "control")],
        "1": [("gen0", "0"), ("previous", "0"), ("control", "control")],
        "2": [("gen0", "0"), ("previous", "1"), ("control", "control")],
        "3": [("gen0", "0"), ("previous", "2"), ("control", "control")],
        "control": [("gen0", "0")],
    }
    assert list(references("3", ("1", "3"), "1")) == []
    assert list(references("10", ("9", "10"), "9")) == [("previous", "9")]


def test_models_are_compared_with_the_first_of_the_command_or_with_nobody() -> None:
    every = ("b", "a", "c")
    assert {name: list(references(name, every, "b")) for name in every} == {
        "b": [],
        "a": [("first", "b")],
        "c": [("first", "b")],
    }
    assert list(references("c", ("a", "c"), "b")) == []  # the first has no answers here: the second does not step in


def slow_replicates(values: np.ndarray) -> list[float]:
    """Weighted means, one replicate and one unit at a time."""
    found = []
    for weights in bootstrap_weights(len(values), replicates=REPLICATES, seed=0):
        total = math.fsum(float(w) * float(v) for w, v in zip(weights, values, strict=True))
        found.append(total / math.fsum(map(float, weights)))
    return found


def slow_interval(replicates: list[float]) -> tuple[float, float]:
    """Linear interpolation between the order statistics."""
    ordered = sorted(replicates)

    def at(share: float) -> float:
        position = share * (len(ordered) - 1)
        low = math.floor(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

    return at(0.025), at(0.975)


def test_proportions_have_wilson_intervals_and_mcnemar_tests(hits: Outcomes) -> None:
    rows = proportions(hits)
    z = 1.959963984540054
    for name, row in ((name, find(rows, "m", name)) for name in hits):
        p, n = hits[name].sum() / 80, 80
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        assert row.value == p
        assert row.ci_low == pytest.approx((centre - half) / (1 + z * z / n))
        assert row.ci_high == pytest.approx((centre + half) / (1 + z * z / n))
        assert math.isnan(row.p_value)
        assert row.n == 80
    for name, versus, other in (("2", "gen0", "0"), ("2", "previous", "1"), ("0", "control", "control")):
        row = find(rows, "m", name, versus=versus)
        gained = sum(bool(a) and not b for a, b in zip(hits[name], hits[other], strict=True))
        lost = sum(bool(b) and not a for a, b in zip(hits[name], hits[other], strict=True))
        assert row.value == pytest.approx((gained - lost) / 80)
        tail = sum(math.comb(gained + lost, k) for k in range(min(gained, lost) + 1)) / 2 ** (gained + lost)
        assert row.p_value == pytest.approx(min(1.0, 2 * tail))
        assert -1 < row.ci_low < row.value < row.ci_high < 1
        assert score(gained, lost, 80, row.ci_low) == pytest.approx(z, abs=1e-4)
        assert score(gained, lost, 80, row.ci_high) == pytest.approx(-z, abs=1e-4)


def score(gained: int, lost: int, n: int, difference: float) -> float:
    """Tango's statistic (1998, Stat. Med. 17:891): how many standard errors `difference` is below what was found.

    The standard error is that of the likeliest shares of images, found by a search, of which the two models' shares
    differ by `difference`.
    """

    def unlikely(q: float) -> float:
        return (
            -gained * math.log(q + difference)
            - lost * math.log(q)
            - (n - gained - lost) * math.log(1 - 2 * q - difference)
        )

    low, high = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12
    q = float(optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x)
    return (gained - lost - n * difference) / math.sqrt(n * (2 * q + difference - difference**2))


def test_means_have_percentile_intervals_and_bootstrap_p_values() -> None:
    rng = np.random.default_rng(1)
    values = {"0": rng.normal(1, 1, 50), "1": rng.normal(1.2, 1, 50)}
    rows = means(values)
    for name, column in values.items():
        row = find(rows, "m", name)
        assert row.value == pytest.approx(math.fsum(column) / 50)
        assert (row.ci_low, row.ci_high) == pytest.approx(slow_interval(slow_replicates(column)))
    row = find(rows, "m", "1", versus="gen0")
    deltas = [a - b for a, b in zip(slow_replicates(values["1"]), slow_replicates(values["0"]), strict=True)]
    tail = min(sum(d <= 0 for d in deltas), sum(d >= 0 for d in deltas))
    assert row.p_value == pytest.approx(min(1.0, 2 * (tail + 1) / (REPLICATES + 1)))
    assert (row.ci_low, row.ci_high) == pytest.approx(slow_interval(deltas))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_differences_are_antisymmetric(num: int, seed: int, binary: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random(num) < 0.5, rng.random(num) < 0.5) if binary else (rng.random(num), rng.random(num))
    measure = proportions if binary else means
    one = find(measure({"0": a, "1": b}), "m", "1", versus="gen0")
    other = find(measure({"0": b, "1": a}), "m", "1", versus="gen0")
    for mine, theirs in ((one.value, other.value), (one.ci_low, other.ci_high), (one.ci_high, other.ci_low)):
        assert mine == pytest.approx(-theirs, abs=1e-12, nan_ok=True)
    assert one.p_value == pytest.approx(other.p_value, nan_ok=True)


@pytest.mark.parametrize("measure", [proportions, means])
def test_a_model_against_itself_differs_by_nothing(measure, hits: Outcomes) -> None:
    row = find(measure({"0": hits["0"], "1": hits["0"].copy()}), "m", "1", versus="gen0")
    assert row.value == 0
    assert all(math.isnan(x) for x in (row.ci_low, row.ci_high, row.p_value))


def test_a_mean_without_spread_has_no_interval() -> None:
    row = find(means({"0": np.zeros(30)}), "m", "0")
    assert row.value == 0
    assert math.isnan(row.ci_low)
    assert math.isnan(row.ci_high)


def test_undefined_numbers_stay_undefined() -> None:
    rows = panel_of(5, ("0", "1")).rows(
        QUANTITY, {"0": Estimate(np.full(REPLICATES + 1, np.nan)), "1": Estimate(np.ones(REPLICATES + 1))}
    )
    delta = find(rows, "m", "1", versus="gen0")
    for row in (find(rows, "m", "0"), delta):
        assert all(math.isnan(x) for x in (row.value, row.ci_low, row.ci_high, row.p_value))


def test_rounding_is_no_difference() -> None:
    draws = np.random.default_rng(3).random(REPLICATES + 1)
    value, interval, p_value = Estimate(draws + 1e-15).minus(Estimate(draws))
    assert value == 0
    assert np.isnan([*interval, p_value]).all()


def test_units_are_aligned_by_id_over_what_is_common() -> None:
    def cell(ids: list[str]) -> dict[str, np.ndarray]:
        return {"ids": np.array(ids), "value": np.array([int(key[1:]) for key in ids])}

    records = {
        "0": {"x": cell(["i3", "i1", "i7"]), "y": cell(["i1", "i3", "i5", "i9"])},
        "1": {"x": cell(["i9", "i1", "i5", "i3"]), "y": cell(["i3", "i2", "i1"])},
        "2": {"x": cell(["i1"])},
    }
    panel = Panel(records, ("x", "y"), REPLICATES)
    assert panel.generations == ("0", "1")
    assert panel.ids.tolist() == ["i1", "i3"]
    for generation in ("0", "1"):
        for name in ("x", "y"):
            assert panel.array(generation, "value", name).tolist() == [1, 3]


def test_the_axis_of_units_may_be_the_last() -> None:
    records = {"0": {"x": {"ids": np.array(["b", "a"]), "grid": np.array([[1, 2], [3, 4], [5, 6]])}}}
    assert Panel(records, ("x",), REPLICATES).array("0", "grid", axis=1).tolist() == [[2, 4, 6], [1, 3, 5]]


def test_nothing_in_common_measures_nothing() -> None:
    records = {name: {"x": {"ids": np.array([name])}} for name in ("0", "1")}
    assert Panel(records, ("x",), REPLICATES).generations == ()
    assert Panel({}, ("x",), REPLICATES).generations == ()


def test_resampled_statistics_are_paired_and_centred() -> None:
    """A calibration-like statistic is biased upwards by resampling; its interval must still hold the value."""
    rng = np.random.default_rng(2)
    panel = panel_of(100, ("0",))
    confidence = rng.uniform(0.5, 1, 100)
    correct = rng.random(100) < confidence

    def gap(conf: np.ndarray, hit: np.ndarray) -> float:
        edges = np.clip((conf * 20).astype(int), 0, 19)
        return float(sum(abs((hit - conf)[edges == b].sum()) for b in range(20)) / len(conf))

    estimate = panel.resampled(gap, confidence, correct)
    low, high = estimate.interval()
    assert estimate.value == gap(confidence, correct)
    assert low < estimate.value < high
    assert estimate.draws[1:].mean() == pytest.approx(estimate.value)
    assert estimate.minus(panel.resampled(gap, confidence, correct))[0] == 0


@pytest.mark.parametrize("answers", [1, 3])
def test_calibration_errors_are_resampled_bin_by_bin(answers: int) -> None:
    """Weighted means of the bins' gaps, one replicate at a time, shifted to have their mean at the value."""
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0, 1, (60, answers)).round(2)
    confidence[0, 0], confidence[1, 0] = 0, 1
    correct = rng.random((60, answers)) < confidence
    panel = panel_of(60, ("0",))
    estimate = panel.calibration_error(confidence, correct)
    assert estimate.value == pytest.approx(expected_calibration_error(confidence.ravel(), correct.ravel()))
    slow = []
    for weights in bootstrap_weights(60, replicates=REPLICATES, seed=0):
        bins = dict.fromkeys(range(15), 0.0)
        for weight, confidences, hits in zip(weights, confidence, correct, strict=True):
            for c, hit in zip(confidences, hits, strict=True):
                bins[max(0, math.ceil(float(c) * 15) - 1)] += float(weight) * (float(hit) - float(c))
        slow.append(sum(map(abs, bins.values())) / (float(weights.sum()) * answers))
    shifted = np.clip(np.array(slow) - np.mean(slow) + estimate.value, 0, 1)
    np.testing.assert_allclose(estimate.draws[1:], shifted, atol=1e-12)
    assert np.mean(slow) > estimate.value  # without the shift the interval would lie too high
