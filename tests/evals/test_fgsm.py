"""Attack success against counting by hand, and what the sweep's findings say and do not say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nsbench.config import EvalConfig
from nsbench.evals import EVALS
from nsbench.evals.fgsm import sweep_findings
from nsbench.metrics.intervals import wilson_interval
from tests.evals.conftest import find

Hits = npt.NDArray[np.bool_]
EPSILONS = (0.0, 2.0, 4.0)


def answers(hits: Hits) -> dict[str, npt.NDArray]:
    """The record of a model that is right, bool [K, N], where it is said to be."""
    count = hits.shape[1]
    return {
        "ids": np.array([f"image-{i:03d}" for i in range(count)]),
        "labels": np.ones(count, dtype=np.int64),
        "top1": hits.astype(np.int32),
        "random_sign_top1": np.repeat(hits[:1], len(hits), axis=0).astype(np.int32),
        "zero_image": np.zeros(count, dtype=bool),
        "zero_pixels": np.zeros(count, dtype=np.float32),
        "epsilons_px": np.array(EPSILONS),
    }


def test_attack_success_is_counted_among_the_clean_correct() -> None:
    rng = np.random.default_rng(0)
    hits = {"0": rng.random((3, 50)) < 0.6, "1": rng.random((3, 50)) < [[0.9], [0.5], [0.0]]}
    config = EvalConfig(epsilons_px=EPSILONS, replicates=200)
    rows = EVALS["fgsm"].measure({g: {"sweep": answers(hit)} for g, hit in hits.items()}, config)
    shares = {}
    for generation, hit in hits.items():
        for k, level in ((1, "2"), (2, "4")):
            clean = [i for i in range(50) if hit[0, i]]
            fooled = [i for i in clean if not hit[k, i]]
            row = find(rows, "attack_success", generation, level=level)
            assert row.value == pytest.approx(len(fooled) / len(clean))
            assert (row.n, row.higher_is_better) == (len(clean), False)
            assert (row.ci_low, row.ci_high) == wilson_interval(len(fooled), len(clean))
            shares[generation, level] = row.value
    assert shares["1", "4"] == 1
    change = find(rows, "attack_success", "1", level="4", versus="gen0")
    assert change.value == pytest.approx(shares["1", "4"] - shares["0", "4"])
    assert change.ci_low < change.value < change.ci_high
    assert {row.level for row in rows if row.metric == "attack_success"} == {"2", "4"}


def test_attack_success_of_a_model_that_is_never_right_is_undefined() -> None:
    config = EvalConfig(epsilons_px=EPSILONS, replicates=50)
    rows = EVALS["fgsm"].measure({"0": {"sweep": answers(np.zeros((3, 30), dtype=bool))}}, config)
    row = find(rows, "attack_success", "0", level="2")
    assert math.isnan(row.value)
    assert math.isnan(row.ci_low)
    assert row.n == 0


def nested(counts: list[int], n: int = 200) -> Hits:
    """[K, n]: the first `counts[k]` images are right."""
    return np.arange(n)[None] < np.array(counts)[:, None]


def test_nothing_is_said_of_an_attack_that_works() -> None:
    assert sweep_findings(EPSILONS, nested([150, 60, 20]), nested([150, 149, 140])) == ()
    assert sweep_findings(EPSILONS, nested([0, 0, 0]), nested([0, 0, 0])) == ()
    assert sweep_findings([0.0], nested([150]), nested([150])) == ()


def test_six_images_are_no_finding_and_nine_are() -> None:
    """One-sided p of k images all one way is 2 ** -k; three pairs of epsilons triple it, two epsilons double it."""
    for more in range(12):
        rises = sweep_findings(EPSILONS, nested([100, 50, 50 + more]), nested([100, 100, 100]))
        assert bool(rises) == (3 * 2.0**-more < 0.01)
        beaten = sweep_findings(EPSILONS, nested([100, 50, 50]), nested([100, 100, 50 - more]))
        assert bool(beaten) == (2 * 2.0**-more < 0.01)


def test_the_clearest_case_is_named_whatever_the_order() -> None:
    correct, control = nested([180, 100, 120, 160, 60]), nested([180, 170, 80, 40, 170])
    epsilons = np.array([0, 2, 4, 8, 16.0])
    expected = (
        "accuracy rises with epsilon: 50.0% at 2/255, 80.0% at 8/255",
        "random signs do more harm than the attack: 20.0% against 80.0% right at 8/255",
    )
    assert sweep_findings(epsilons, correct, control) == expected
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(5)
        assert sweep_findings(epsilons[order], correct[order], control[order]) == expected


def test_a_rise_in_small_steps_is_seen_as_a_whole() -> None:
    slow = nested([100, 50, 53, 56, 59, 62, 65])
    assert sweep_findings(range(7), slow, nested([100] * 7)) == (
        "accuracy rises with epsilon: 25.0% at 1/255, 32.5% at 6/255",
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60))
def test_findings_are_exact_tests(seed: int, count: int) -> None:
    """Beside them, SciPy's binomial test for every pair, multiplied by hand."""
    rng = np.random.default_rng(seed)
    correct = rng.random((3, count)) < rng.random((3, 1))
    control = rng.random((3, count)) < rng.random((3, 1))

    def smallest(pairs: list[tuple[Hits, Hits]]) -> float:
        values = []
        for more, less in pairs:
            gained, lost = int((more & ~less).sum()), int((less & ~more).sum())
            both = gained + lost
            values.append(stats.binomtest(gained, both, alternative="greater").pvalue if both else 1.0)
        return min(values) * len(values)

    rises = smallest([(correct[j], correct[i]) for i in range(3) for j in range(i + 1, 3)]) < 0.01
    beaten = smallest([(correct[k], control[k]) for k in (1, 2)]) < 0.01
    found = sweep_findings(EPSILONS, correct, control)
    assert any("rises" in words for words in found) == rises
    assert any("random signs" in words for words in found) == beaten


def test_chance_alone_is_seldom_a_finding() -> None:
    """A thousand models whose accuracy is 40 % at every epsilon, attacked or not: 1 % each at most."""
    rng = np.random.default_rng(1)
    found = [sweep_findings(EPSILONS, rng.random((3, 80)) < 0.4, rng.random((3, 80)) < 0.4) for _ in range(1000)]
    for word in ("rises", "random signs"):
        assert sum(any(word in line for line in lines) for lines in found) <= 19  # 10 expected at most; P < 0.004
