"""CE, FR and their means by hand: generation 0 is the baseline, and too few errors of it are no baseline."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nsbench.evals import EVALS, Records
from tests.evals.conftest import CONFIG, find
from tests.evals.test_table import SEVERITIES, C, P


def c_records(wrong_images: dict[str, int], num: int = 20) -> Records:
    """By generation: how many of the first images are wrong in every cell."""
    ids = np.array([f"i{k:02d}" for k in range(num)])
    labels = np.zeros(num, dtype=np.int64)
    records = {}
    for g, count in wrong_images.items():
        cell = {"ids": ids, "labels": labels, "top1": (np.arange(num) < count).astype(np.int32)}
        records[g] = {f"{name}-{s}": cell for name in C for s in SEVERITIES}
    return records


def test_ce_by_hand() -> None:
    """8 of 20 wrong for generation 0 and 6 for generation 1 in every cell: error 0.3, CE 75 %."""
    found = EVALS["imagenet-c"].measure(c_records({"0": 8, "1": 6}), CONFIG)
    assert find(found, "error", "1", subset="fog", level="mean").value == pytest.approx(0.3)
    for metric, subset in (("CE", "fog"), ("mCE", "all")):
        own = find(found, metric, "0", subset=subset, level="mean")
        assert own.value == pytest.approx(100)
        assert math.isnan(own.ci_low)
        student = find(found, metric, "1", subset=subset, level="mean")
        assert student.value == pytest.approx(75)
        assert student.ci_high <= 100  # its errors are a part of generation 0's in every replicate
        delta = find(found, metric, "1", subset=subset, level="mean", versus="gen0")
        assert delta.value == pytest.approx(-25)
        assert (delta.ci_low, delta.ci_high) == pytest.approx((student.ci_low - 100, student.ci_high - 100))


@pytest.mark.parametrize(("errors", "defined"), [(5, False), (6, True), (0, False)])
def test_ce_needs_thirty_errors_of_generation_0(errors: int, defined: bool) -> None:
    found = EVALS["imagenet-c"].measure(c_records({"0": errors, "1": 3}), CONFIG)
    for generation in ("0", "1"):
        for metric, subset in (("CE", "snow"), ("mCE", "all")):
            row = find(found, metric, generation, subset=subset, level="mean")
            assert math.isnan(row.value) != defined
    assert find(found, "error", "1", level="mean").value == pytest.approx(0.15)


@pytest.mark.parametrize("names", [("1", "2"), ("resnet18", "vit")])
def test_without_generation_0_nothing_is_relative_to_it(names: tuple[str, str], records: dict[str, Records]) -> None:
    for name in ("imagenet-c", "imagenet-p"):
        found = EVALS[name].measure(dict(zip(names, (records[name]["1"], records[name]["2"]), strict=True)), CONFIG)
        assert found
        assert not [row for row in found if row.unit == "percent"]


def p_records(flipping_videos: dict[str, int]) -> Records:
    """Ten videos of seven frames; the first k alternate between classes 0 and 1 and so flip 6 times (noise: 3)."""
    ids = np.array([f"v{k}" for k in range(10)])
    frames = np.arange(7) % 2
    record = {}
    for g, k in flipping_videos.items():
        top1 = (np.arange(10)[:, None] < k) * frames
        top5 = np.stack([top1, 1 - top1, top1 + 2, 3 - top1, np.full_like(top1, 4)], axis=-1)
        top5[..., 2:4] = [2, 3]
        cell = {"ids": ids, "labels": np.zeros(10, dtype=np.int64), "top1": top1, "top5": top5}
        cell["num_classes"] = np.array(10)
        record[g] = dict.fromkeys(P, cell)
    return record


def test_flip_rate_by_hand() -> None:
    """Every perturbation but the two noises compares frames in a row: all 6 pairs flip. The noises: 3 of 6."""
    found = EVALS["imagenet-p"].measure(p_records({"0": 10, "1": 4}), CONFIG)
    assert find(found, "flip_probability", "1", subset="tilt").value == pytest.approx(0.4)
    assert find(found, "flip_probability", "1", subset="shot_noise").value == pytest.approx(0.2)
    assert find(found, "flip_probability", "1").value == pytest.approx((8 * 0.4 + 2 * 0.2) / 10)
    assert find(found, "FR", "1", subset="tilt").value == pytest.approx(40)
    assert find(found, "FR", "0", subset="tilt").value == pytest.approx(100)
    assert find(found, "mFR", "1").value == pytest.approx(40)
    assert find(found, "T5D", "1", subset="tilt").value == pytest.approx(0.4 * 2)  # two classes change places


@pytest.mark.parametrize(("videos", "tilt", "noise"), [(4, False, False), (5, True, False), (10, True, True)])
def test_flip_rate_needs_thirty_flips_of_generation_0(videos: int, tilt: bool, noise: bool) -> None:
    found = EVALS["imagenet-p"].measure(p_records({"0": videos, "1": 2}), CONFIG)
    assert math.isnan(find(found, "FR", "1", subset="tilt").value) != tilt
    assert math.isnan(find(found, "FR", "1", subset="gaussian_noise").value) != noise
    assert math.isnan(find(found, "mFR", "1").value) != noise
