"""The evals of ImageNet's classes on records made by hand: restricted answers, ReaL, V2's samplings, O, C-bar."""

from __future__ import annotations

import importlib.resources
import json
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from nsbench.data.corrupted import C_BAR_STRENGTHS
from nsbench.evals import EVALS
from nsbench.evals.variants import V2_SUBSETS
from nsbench.metrics.calibration import rms_calibration_error
from tests.evals.conftest import CONFIG, find

NUM = 430


def cell(seed: int, num: int = NUM, skill: float = 0.6, classes: int = 1000, **more: Any) -> dict[str, np.ndarray]:
    """Answers of a model that is right on a share of the images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 40
    right = rng.random(num) < skill
    others = (labels[:, None] + rng.permuted(np.tile(np.arange(1, 40), (num, 1)), axis=1)[:, :5]) % 40
    place = rng.integers(1, 9, num)  # of the true class among the others, beyond 4: not in the top 5
    top5 = np.stack([np.where(right if k == 0 else ~right & (place == k), labels, others[:, k]) for k in range(5)], 1)
    return {
        "ids": np.array([f"i{k:04d}" for k in range(num)]),
        "labels": labels,
        "top1": top5[:, 0],
        "top5": top5,
        "confidence": rng.uniform(0.2, 1, num).astype(np.float32),
        "log_prob_true": np.log(rng.uniform(0.2, 1, num)).astype(np.float32),
        "sum_squared_prob": rng.uniform(0.2, 1, num).astype(np.float32),
        "num_classes": np.array(classes),
        **more,
    }


def share(hits: list[bool]) -> float:
    return sum(map(bool, hits)) / len(hits)


@pytest.mark.parametrize(("name", "bins"), [("imagenet-a", 4), ("imagenet-r", 4)])
def test_restricted_answers_beside_those_among_all_classes(name: str, bins: int) -> None:
    """430 images: bins of 100 by confidence, of which the last takes the remainder, or is left out as in the code."""
    rng = np.random.default_rng(5)
    answers = cell(0)
    answers["top1_all"] = np.where(rng.random(NUM) < 0.5, answers["top1"], 999)
    clean = cell(1, 90, skill=0.9, top1_all=np.zeros(90, dtype=np.int32))
    rows = EVALS[name].measure({"m": {name: answers, f"{name}-clean": clean}}, CONFIG)
    hits = [a == b for a, b in zip(answers["top1"], answers["labels"], strict=True)]
    assert find(rows, "top1", "m").value == share(hits)
    assert find(rows, "top5", "m").value == share(
        [label in row for row, label in zip(answers["top5"].tolist(), answers["labels"], strict=True)]
    )
    everything = find(rows, "top1_all_classes", "m")
    assert everything.value == share([a == b for a, b in zip(answers["top1_all"], answers["labels"], strict=True)])
    assert "among all classes" in everything.protocol
    order = sorted(range(NUM), key=lambda k: answers["confidence"][k])
    edges = [order[100 * b : 100 * (b + 1) if b < bins - 1 else NUM] for b in range(bins)]
    squares = [
        (sum(float(answers["confidence"][k]) - hits[k] for k in members) / len(members)) ** 2 * len(members)
        for members in edges
    ]
    assert find(rows, "RMS", "m").value == pytest.approx(math.sqrt(sum(squares) / NUM))
    assert find(rows, "RMS_reference", "m").value == pytest.approx(math.sqrt(sum(squares[:-1]) / NUM))
    assert "without the most confident bin" in find(rows, "RMS_reference", "m").protocol
    first = order[::-1]
    areas = [sum(hits[k] for k in first[: n + 1]) / (n + 1) for n in range(NUM)]
    assert find(rows, "AURRA", "m").value == pytest.approx(sum(areas) / NUM)
    beside = find(rows, "top1", "m", subset="clean")
    assert beside.value == share([a == b for a, b in zip(clean["top1"], clean["labels"], strict=True)])
    assert beside.n == 90
    assert {(row.subset, row.metric) for row in rows} == {
        ("clean", "top1"),
        *(("all", metric) for metric in ("top1", "top5", "top1_all_classes", "RMS", "RMS_reference", "AURRA")),
    }
    assert all(row.eval == name for row in rows)


def test_what_the_reference_leaves_out_is_the_most_confident_bin() -> None:
    """200 unsure images that are calibrated and 100 sure ones that are all wrong: the code's figure sees no error."""
    confidence = np.repeat([0.5, 0.99], [200, 100])
    top1 = np.concatenate([np.arange(200) % 2, np.ones(100, dtype=np.int64)])
    answers = cell(0, 300) | {"confidence": confidence, "top1": top1, "labels": np.zeros(300, np.int64)}
    rows = EVALS["imagenet-a"].measure({"m": {"imagenet-a": answers | {"top1_all": top1}}}, CONFIG)
    assert find(rows, "RMS_reference", "m").value == pytest.approx(0, abs=1e-12)
    assert find(rows, "RMS", "m").value == pytest.approx(math.sqrt(100 * 0.99**2 / 300))
    assert find(rows, "RMS", "m").value == rms_calibration_error(confidence, top1 == 0)


def test_embedded_stand_ins_have_no_subset_and_no_figure_of_the_reference() -> None:
    rows = EVALS["imagenet-a"].measure({"0": {"natural-adversarial": cell(0), "complement": cell(1)}}, CONFIG)
    assert {row.metric for row in rows} == {"top1", "RMS", "AURRA"}


def test_imagenet_v2_has_three_samplings() -> None:
    samplings = {f"imagenet-v2-{name}": cell(k, 100 + k) for k, name in enumerate(V2_SUBSETS)}
    rows = EVALS["imagenet-v2"].measure({"m": samplings, "n": samplings}, CONFIG)
    for k, name in enumerate(("matched-frequency", "threshold-0.7", "top-images")):
        answers = samplings[f"imagenet-v2-{name}"]
        row = find(rows, "top1", "m", subset=name)
        assert row.value == share([a == b for a, b in zip(answers["top1"], answers["labels"], strict=True)])
        assert row.n == 100 + k
        assert find(rows, "top5", "m", subset=name).value > row.value
        assert find(rows, "top1", "n", subset=name, versus="first").value == 0
    assert {row.subset for row in rows} == set(V2_SUBSETS)
    one = EVALS["imagenet-v2"].measure({"m": {"imagenet-v2-top-images": cell(0)}}, CONFIG)
    assert {row.subset for row in one} == {"top-images"}


def test_sketch_has_top1_and_top5() -> None:
    rows = EVALS["imagenet-sketch"].measure({"m": {"imagenet-sketch": cell(3)}}, CONFIG)
    assert [(row.subset, row.metric, row.n) for row in rows] == [("all", "top1", NUM), ("all", "top5", NUM)]


def test_objectnet_by_hand() -> None:
    allowed = np.array([[3, -1], [5, 6], [9, -1]])
    top1, top5 = np.array([3, 6, 8]), np.array([[3, 0, 1, 2, 4], [6, 5, 0, 1, 2], [8, 7, 9, 1, 2]])
    answers = {"ids": np.array(list("abc")), "labels": allowed[:, 0], "top1": top1, "top5": top5, "allowed": allowed}
    rows = EVALS["objectnet"].measure({"m": {"objectnet": answers}}, CONFIG)
    assert find(rows, "top1", "m").value == 2 / 3
    assert find(rows, "top5", "m").value == 1


def test_imagenet_o_is_scikit_learns_average_precision() -> None:
    foreign, known = cell(0, 150), cell(1, 200)
    foreign["ids"] = np.array([f"o{k}" for k in range(150)])
    foreign["confidence"] = np.round(foreign["confidence"] * 0.9, 2)  # ties, as of real confidences near 1
    known["confidence"] = np.round(known["confidence"], 2)
    rows = EVALS["imagenet-o"].measure({"m": {"imagenet-o": foreign, "imagenet-o-clean": known}}, CONFIG)
    scores = -np.concatenate([foreign["confidence"], known["confidence"]]).astype(np.float64)
    expected = average_precision_score(np.repeat([1, 0], [150, 200]), scores)
    row = find(rows, "AUPR", "m")
    assert row.value == pytest.approx(expected)
    assert row.ci_low < expected < row.ci_high
    assert row.n == 350
    assert 150 / 350 < expected < 1
    assert EVALS["imagenet-o"].measure({"m": {"imagenet-o": foreign}}, CONFIG) == []


def test_imagenet_o_needs_both_of_its_sets() -> None:
    assert EVALS["imagenet-o"].cells(CONFIG, {"imagenet-o": None}) == ()
    both = {"imagenet-o": None, "imagenet-o-clean": None}
    assert EVALS["imagenet-o"].cells(CONFIG, both) == tuple(both)


def test_c_bar_has_unnormalised_errors_alone() -> None:
    cells = {f"{name}-{s}": cell(7 * s, skill=0.9 - 0.1 * s) for name in C_BAR_STRENGTHS for s in range(1, 6)}
    rows = EVALS["imagenet-c-bar"].measure({"m": cells}, CONFIG)
    wrong = {key: [a != b for a, b in zip(c["top1"], c["labels"], strict=True)] for key, c in cells.items()}
    assert find(rows, "error", "m", subset="sparkles", level="4").value == share(wrong["sparkles-4"])
    mean = sum(map(share, wrong.values())) / 50
    assert find(rows, "error", "m", level="mean").value == pytest.approx(mean)
    assert {row.metric for row in rows} == {"error"}
    del cells["sparkles-5"]
    partial = EVALS["imagenet-c-bar"].measure({"m": cells}, CONFIG)
    assert not [row for row in partial if row.subset == "all"]
    assert len([row for row in partial if row.subset == "sparkles"]) == 4


# Clean images ------------------------------------------------------------------------------------------------------


def test_real_counts_the_images_that_people_saw_a_class_in() -> None:
    """ImageNet's val by number, against the labels that timm ships, read in a loop."""
    with (importlib.resources.files("timm") / "data/_info/imagenet_real_labels.json").open() as stream:
        table = json.load(stream)
    numbers = range(3, 3 + NUM)
    answers = cell(4)
    answers["ids"] = np.array([f"n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in numbers])
    answers["top1"] = np.array([(table[n - 1] or [7])[-1] if n % 3 else 13 for n in numbers])
    rows = EVALS["imagenet"].measure({"m": {"val": answers}}, CONFIG)
    right, count = 0, 0
    for number, top1 in zip(numbers, answers["top1"], strict=True):
        if table[number - 1]:
            count += 1
            right += top1 in table[number - 1]
    row = find(rows, "ReaL", "m")
    assert (row.value, row.n) == (right / count, count)
    assert 0.3 * count < right < count < NUM
    assert find(rows, "top1", "m").n == NUM


@pytest.mark.parametrize("other", [{"classes": 100}, {"ids": np.array([f"mine/{k}.png" for k in range(NUM)])}])
def test_no_real_for_other_classes_and_other_images(other: dict[str, Any]) -> None:
    ids = np.array([f"n01440764/ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, NUM + 1)])
    rows = EVALS["imagenet"].measure({"m": {"val": cell(4, **({"ids": ids} | other))}}, CONFIG)
    assert not [row for row in rows if row.metric == "ReaL"]


def test_the_worst_tenth_of_the_classes_by_hand() -> None:
    """Forty classes of ten images and one of nine; the four worst of the forty have 0, 1, 2 and 3 of ten right."""
    labels = np.concatenate([np.repeat(np.arange(40), 10), np.full(9, 40)])
    right = [int(k % 10 < max(c, 3) if c > 3 else k % 10 < c) for k, c in enumerate(labels)]
    right[-9:] = [0] * 9  # too few to be among them
    answers = cell(0, len(labels)) | {"labels": labels, "top1": np.where(right, labels, 999)}
    row = find(EVALS["imagenet"].measure({"m": {"val": answers}}, CONFIG), "worst_tenth_top1", "m")
    assert row.value == pytest.approx((0 + 0.1 + 0.2 + 0.3) / 4)
    assert "tenth of the classes" in row.protocol
    few = EVALS["imagenet"].measure({"m": {"val": cell(0, 200)}}, CONFIG)  # five images a class
    assert math.isnan(find(few, "worst_tenth_top1", "m").value)
