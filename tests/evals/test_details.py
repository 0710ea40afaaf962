"""Reliability diagrams, classes that changed, effective robustness: against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nsbench.config import EvalConfig
from nsbench.evals.class_changes import MOST, class_rows
from nsbench.evals.details import detail_rows
from nsbench.evals.effective_robustness import effective_rows
from nsbench.evals.reliability import NUM_BINS, reliability_rows
from nsbench.metrics.calibration import expected_calibration_error
from nsbench.metrics.effective_robustness import FITS
from nsbench.results import Row, to_frame

CONFIG = EvalConfig(replicates=400)


def cell(accuracy: float, num: int, seed: int, num_classes: int = 1000) -> dict[str, np.ndarray]:
    """Answers of this accuracy; models of other seeds find the same images hard, in part."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    hardness = np.random.default_rng(99).random(num) + rng.random(num)
    wrong = hardness > np.quantile(hardness, accuracy)
    return {
        "ids": np.array([f"i{k:06d}" for k in range(num)]),
        "labels": labels,
        "top1": np.where(wrong, (labels + 1) % num_classes, labels),
        "confidence": rng.random(num).astype(np.float32),
        "num_classes": np.array(num_classes),
    }


def value(rows: list[Row], **where: str) -> Row:
    (found,) = [row for row in rows if all(getattr(row, key) == wanted for key, wanted in where.items())]
    return found


def test_the_bins_are_those_of_ece() -> None:
    answers = cell(0.7, 900, 0)
    answers["confidence"] = 0.4 + 0.6 * answers["confidence"]  # the first bins stay empty
    rows = reliability_rows({"0": answers})
    assert len(rows) == 3 * NUM_BINS
    parts = {m: [r for r in rows if r.metric == f"reliability_{m}"] for m in ("images", "accuracy", "confidence")}
    counts = np.array([r.value for r in parts["images"]])
    assert counts.sum() == 900
    assert [r.n for r in parts["accuracy"]] == [r.n for r in parts["confidence"]] == counts.tolist()
    filled = counts > 0
    assert not filled[:5].any()
    assert all(math.isnan(r.value) and r.n == 0 for r in (*parts["accuracy"][:5], *parts["confidence"][:5]))
    gap = [abs(a.value - c.value) for a, c in zip(parts["accuracy"], parts["confidence"], strict=True)]
    expected = expected_calibration_error(
        answers["confidence"], answers["top1"] == answers["labels"], num_bins=NUM_BINS
    )
    assert np.dot(counts[filled], np.array(gap)[filled]) / 900 == pytest.approx(expected)
    assert all(r.ci_low <= r.value <= r.ci_high for r in parts["accuracy"] if r.n)


def _runs() -> dict[str, dict[str, dict[str, np.ndarray]]]:
    names = ("0", "1", "2", "control")
    return {g: {"val": cell(0.6 + 0.01 * k, 1200, k, num_classes=40)} for k, g in enumerate(names)}


def test_the_classes_that_changed_most() -> None:
    """By hand: exact binomial tests, Holm's steps over all classes, the ten ends of the sorted differences."""
    records = _runs()
    rows = class_rows(records, CONFIG, [f"name {k}" for k in range(40)])
    right = {g: cells["val"]["top1"] == cells["val"]["labels"] for g, cells in records.items()}
    labels = records["0"]["val"]["labels"]
    for versus, other in (("gen0", "0"), ("control", "control")):
        p, delta = [], []
        for k in range(40):
            mine, theirs = right["2"][labels == k], right[other][labels == k]
            won, lost = int((mine & ~theirs).sum()), int((~mine & theirs).sum())
            p.append(stats.binomtest(won, won + lost).pvalue if won + lost else 1.0)
            delta.append(mine.mean() - theirs.mean())
        adjusted, highest = [0.0] * 40, 0.0
        for step, k in enumerate(np.argsort(p, kind="stable")):
            highest = max(highest, min(1.0, p[k] * (40 - step)))
            adjusted[k] = highest
        found = {row.subset: row for row in rows if (row.generation, row.versus) == ("2", versus)}
        chosen = sorted(range(40), key=lambda k: delta[k])
        assert min(r.value for r in found.values()) == pytest.approx(delta[chosen[0]])
        assert max(r.value for r in found.values()) == pytest.approx(delta[chosen[-1]])
        assert sorted(r.value for r in found.values() if r.value < 0) == pytest.approx(
            [delta[k] for k in chosen[:MOST] if delta[k] < 0]
        )
        for subset, row in found.items():
            k = int(subset.removeprefix("class:name "))
            assert (row.value, row.p_value, row.n) == pytest.approx((delta[k], adjusted[k], 30))
            assert row.ci_low <= row.value <= row.ci_high
            assert value(rows, generation="2", subset=subset, versus="").value == pytest.approx(
                right["2"][labels == k].mean()
            )
    assert not [row for row in rows if row.generation == "1" or row.versus == "previous"]
    assert len(to_frame(rows)) == len(rows) <= 2 * 2 * MOST * 3


def test_the_order_of_images_chooses_no_class() -> None:
    records = _runs()
    order = np.random.default_rng(1).permutation(1200)
    turned = {
        g: {"val": {k: v[order] if v.shape == (1200,) else v for k, v in cells["val"].items()}}
        for g, cells in records.items()
    }
    assert class_rows(records, CONFIG, ()) == class_rows(turned, CONFIG, ())


def test_equal_models_have_no_class_to_show() -> None:
    one = cell(0.7, 400, 0, num_classes=10)
    assert class_rows({"a": {"val": one}, "b": {"val": one}}, CONFIG, ()) == []
    assert class_rows({"a": {"val": one}}, CONFIG, ()) == []


def _answers() -> dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]:
    """Two models on ImageNet-R and -A beside clean images: the second is more robust."""
    found: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]] = {}
    for k, name in enumerate(("a", "b")):
        hard = {"imagenet-r": cell(0.4 + 0.1 * k, 3000, k), "imagenet-r-clean": cell(0.9, 2000, k)}
        natural = {"imagenet-a": cell(0.2, 1500, k), "imagenet-a-clean": cell(0.88 + 0.07 * k, 2000, k)}
        found[name] = {"imagenet-r": hard, "imagenet-a": natural, "imagenet": {"val": cell(0.75, 1000, k)}}
    return found


def test_effective_robustness_is_what_lies_above_the_line() -> None:
    answers = _answers()
    by_eval = {name: {m: answers[m][name] for m in answers} for name in ("imagenet-r", "imagenet-a", "imagenet")}
    rows = effective_rows(by_eval, CONFIG)
    fit = FITS["imagenet-r"]
    above = {}
    for name in ("a", "b"):
        shifted, clean = (
            float((arrays["top1"] == arrays["labels"]).mean())
            for arrays in (answers[name]["imagenet-r"][cell] for cell in ("imagenet-r", "imagenet-r-clean"))
        )
        logit = fit.intercept + fit.slope * math.log(clean / (1 - clean))
        above[name] = shifted - 1 / (1 + math.exp(-logit))
        row = value(rows, eval="imagenet-r", generation=name, versus="")
        assert (row.value, row.n) == (pytest.approx(above[name]), 3000)
        gradient = fit.slope * math.exp(-logit) / (1 + math.exp(-logit)) ** 2 / (clean * (1 - clean))
        error = math.sqrt(shifted * (1 - shifted) / 3000 + gradient**2 * clean * (1 - clean) / 2000)
        assert row.ci_high - row.ci_low == pytest.approx(2 * 1.96 * error, rel=0.15)
    delta = value(rows, eval="imagenet-r", generation="b", versus="first")
    assert delta.value == pytest.approx(above["b"] - above["a"])
    assert delta.ci_low > 0
    assert delta.p_value < 0.01
    assert "fitted" in delta.protocol


def test_models_below_the_line_of_imagenet_a_get_no_number() -> None:
    answers = _answers()
    by_eval = {name: {m: answers[m][name] for m in answers} for name in ("imagenet-a", "imagenet")}
    rows = effective_rows(by_eval, CONFIG)
    assert {row.generation for row in rows} == {"b"}


def test_only_imagenets_own_images_have_a_line() -> None:
    answers = _answers()
    protocols = {name: {"imagenet-r": f"{name} on R"} for name in answers}
    foreign = detail_rows(answers, protocols, CONFIG, (), is_imagenet=False)
    own = detail_rows(answers, protocols, CONFIG, (), is_imagenet=True)
    assert {row.metric for row in own} - {row.metric for row in foreign} == {"effective_robustness"}
    row = value(own, eval="imagenet-r", generation="b", versus="", metric="effective_robustness")
    assert row.protocol.startswith("b on R; accuracy beyond the line")
    assert detail_rows({}, {}, CONFIG, (), is_imagenet=True) == []


def test_a_bin_holds_its_upper_edge() -> None:
    edges = np.linspace(0, 1, NUM_BINS + 1)
    answers = {"labels": np.zeros(2, int), "top1": np.zeros(2, int), "confidence": edges[[6, 15]]}
    filled = [row.level for row in reliability_rows({"0": answers}) if row.metric == "reliability_images" and row.value]
    assert filled == ["0.333-0.400", "0.933-1.000"]
