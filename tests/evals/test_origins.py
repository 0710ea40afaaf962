"""What CE and FR are called, and of whom they are percent: by hand, for every origin of pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nsbench.config import EvalConfig
from nsbench.errors import DataError
from nsbench.evals import EVALS
from nsbench.evals.perturbation_rows import relative_t5d_rows
from nsbench.metrics.bootstrap import (
    bootstrap_weights,
)
from nsbench.metrics.reference import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    PERTURBATIONS,
)
from nsbench.results import Row
from tests.evals.conftest import CONFIG, find

Cells = dict[str, dict[str, Any]]
ZERO, ALEXNET = "generation 0's", "AlexNet's"


def answers(wrong: int, num: int = 40, origin: tuple[str, int] = ("released-jpeg", 224), classes: int = 1000) -> Any:
    """One cell, the first images of which are wrong."""
    return {
        "ids": np.array([f"i{k:05d}" for k in range(num)]),
        "labels": np.zeros(num, dtype=np.int64),
        "top1": (np.arange(num) < wrong).astype(np.int32),
        "num_classes": np.array(classes),
        "provenance": np.array(origin[0]),
        "side": np.array(origin[1]),
    }


def corrupted(wrong: int, clean: int | None = None, names: tuple[str, ...] = CORRUPTIONS, **more: Any) -> Cells:
    """The same count wrong in every cell."""
    cells = {f"{name}-{s}": answers(wrong, **more) for name in names for s in range(1, 6)}
    return cells if clean is None else cells | {"clean": answers(clean, **more)}


def measured(records: dict[str, Cells]) -> list[Row]:
    return EVALS["imagenet-c"].measure(records, CONFIG)


def relative_to(rows: list[Row]) -> dict[str, str]:
    """Whose errors mCE and relative mCE are percent of, by their names."""
    found = [row for row in rows if row.subset == "all" and row.unit == "percent" and not row.versus]
    return {row.metric: ZERO if ZERO in row.protocol else ALEXNET for row in found if "without" not in row.metric}


@pytest.mark.parametrize(
    ("origin", "classes", "of_generations", "of_models"),
    [
        (("released-jpeg", 224), 1000, {"": ALEXNET}, {"": ALEXNET}),
        (("released-jpeg", 299), 1000, {", c-299": ALEXNET}, {", c-299": ALEXNET}),
        (("released-jpeg", 64), 1000, {"": ZERO}, {}),
        (("released-jpeg", 224), 100, {"": ZERO}, {}),
        (
            ("device-jpeg85", 224),
            1000,
            {"": ZERO, ", AlexNet table, device-jpeg85": ALEXNET},
            {", AlexNet table, device-jpeg85": ALEXNET},
        ),
        (
            ("imagecorruptions", 224),
            1000,
            {"": ZERO, ", AlexNet table, imagecorruptions": ALEXNET},
            {", AlexNet table, imagecorruptions": ALEXNET},
        ),
        (("device-jpeg85", 299), 1000, {"": ZERO}, {}),
        (("device-memory", 32), 10, {"": ZERO}, {}),
        (("device-memory", 100), 10, {}, {}),
    ],
)
def test_the_name_says_of_whose_errors_on_which_pixels(
    origin: tuple[str, int], classes: int, of_generations: dict[str, str], of_models: dict[str, str]
) -> None:
    cells = corrupted(20, clean=4, origin=origin, classes=classes)
    for name, expected in (("0", of_generations), ("resnet50", of_models)):
        rows = measured({name: cells})
        named = {f"{metric}{suffix}": whose for suffix, whose in expected.items() for metric in ("mCE", "relative_mCE")}
        assert relative_to(rows) == named
        assert find(rows, "error", name, level="mean").value == 0.5


def test_alexnets_own_errors_on_the_released_images_are_100_percent() -> None:
    """50,000 images of which AlexNet's published share is wrong in every cell."""
    num = 50_000
    cells = {
        f"{name}-{s}": answers(round(error * num), num)
        for name in CORRUPTIONS
        for s, error in enumerate(ALEXNET_ERRORS[name], 1)
    }
    cells["clean"] = answers(round(ALEXNET_CLEAN_ERROR * num), num)
    rows = EVALS["imagenet-c"].measure({"alexnet": cells}, EvalConfig(replicates=3))
    for metric in ("mCE", "relative_mCE", "mCE without brightness and contrast"):
        row = find(rows, metric, "alexnet", level="mean")
        assert row.value == pytest.approx(100, abs=1e-9)
        assert row.n == num
        assert "AlexNet's on the same released JPEGs" in row.protocol
    assert find(rows, "error", "alexnet", subset="fog", level="mean").value == pytest.approx(0.819324)


def test_relative_ce_by_hand() -> None:
    """Of 40 images 20 % clean errors and 50 % corrupted ones for generation 0; 10 % and 30 % for generation 1."""
    of_digits: dict[str, Any] = {"origin": ("device-memory", 32), "classes": 10}
    rows = measured({"0": corrupted(20, clean=8, **of_digits), "1": corrupted(12, clean=4, **of_digits)})
    for metric, subset in (("relative_CE", "snow"), ("relative_mCE", "all")):
        assert find(rows, metric, "0", subset=subset, level="mean").value == pytest.approx(100)
        assert find(rows, metric, "1", subset=subset, level="mean").value == pytest.approx(100 * 0.2 / 0.3)
        delta = find(rows, metric, "1", subset=subset, level="mean", versus="gen0")
        assert delta.value == pytest.approx(100 * 0.2 / 0.3 - 100)
    assert find(rows, "CE", "1", subset="snow", level="mean").value == pytest.approx(60)
    assert find(rows, "clean_error", "1").value == 0.1
    released = measured({"a": corrupted(12, clean=4)})
    fog = find(released, "relative_CE", "a", subset="fog", level="mean")
    assert fog.value == pytest.approx(100 * 5 * 0.2 / (sum(ALEXNET_ERRORS["fog"]) - 5 * 0.43478))


@pytest.mark.parametrize(("wrong", "clean", "ce", "relative"), [(6, 0, True, True), (14, 9, True, False), (5, 0, 0, 0)])
def test_ratios_need_thirty_errors_and_relative_ones_thirty_beyond_the_clean(
    wrong: int, clean: int, ce: bool, relative: bool
) -> None:
    of_digits: dict[str, Any] = {"origin": ("device-memory", 32), "classes": 10}
    rows = measured({"0": corrupted(wrong, clean=clean, **of_digits)})
    assert math.isnan(find(rows, "mCE", "0", level="mean").value) != ce
    assert math.isnan(find(rows, "relative_mCE", "0", level="mean").value) != relative


def test_without_clean_answers_nothing_is_relative_to_them() -> None:
    rows = measured({"a": corrupted(12), "b": corrupted(8)})
    assert set(relative_to(rows)) == {"mCE"}
    assert not [row for row in rows if "clean" in row.metric]


def test_mce_without_what_training_resembles_leaves_brightness_and_contrast_out() -> None:
    cells = corrupted(12)
    for name in ("brightness", "contrast"):
        cells |= {f"{name}-{s}": answers(0) for s in range(1, 6)}
    rows = measured({"a": cells})
    ces = {name: 100 * 5 * 0.3 / sum(ALEXNET_ERRORS[name]) for name in CORRUPTIONS}
    others = [ce for name, ce in ces.items() if name not in ("brightness", "contrast")]
    assert find(rows, "mCE without brightness and contrast", "a", level="mean").value == pytest.approx(np.mean(others))
    assert find(rows, "mCE", "a", level="mean").value == pytest.approx(sum(others) / 15)


def test_errors_where_both_are_right_when_clean_by_hand() -> None:
    """Of ten images a is right on 2..9 and b on 0..7 when clean; corrupted, a is wrong on 0..5 and b on 0..7."""
    a, b = corrupted(6, clean=2, num=10), corrupted(8, num=10)
    b["clean"] = answers(0, num=10) | {"top1": (np.arange(10) > 7).astype(np.int32)}
    row = find(measured({"a": a, "b": b}), "error_where_both_right_when_clean", "b", versus="first", level="mean")
    assert row.value == pytest.approx(6 / 6 - 4 / 6)
    assert row.n == 6
    none = measured({"a": corrupted(6, clean=5, num=10), "b": corrupted(8, clean=10, num=10)})
    assert not [r for r in none if r.metric == "error_where_both_right_when_clean"]


def test_a_corrupted_image_without_a_clean_answer_counts_in_mce_and_in_nothing_beside_clean() -> None:
    """One of 40 clean files cannot be read: relative mCE has 39 images, and what it is made of has the same 39."""
    a, b = corrupted(12, clean=4), corrupted(8, clean=2)
    for cells in (a, b):
        clean = cells["clean"]
        per_image = ("ids", "labels", "top1")
        cells["clean"] = {key: value[1:] if key in per_image else value for key, value in clean.items()}
    rows = measured({"a": a, "b": b})
    assert find(rows, "mCE", "a", level="mean").n == 40
    for metric, level in (("clean_error", ""), ("relative_mCE", "mean")):
        assert find(rows, metric, "a", level=level).n == 39
    assert find(rows, "clean_error", "a").value == 3 / 39
    lost = 5 * (11 / 39 - 3 / 39)
    expected = [100 * lost / (sum(ALEXNET_ERRORS[name]) - 5 * ALEXNET_CLEAN_ERROR) for name in CORRUPTIONS]
    assert find(rows, "relative_mCE", "a", level="mean").value == pytest.approx(np.mean(expected))


def test_twelve_of_fifteen_corruptions_have_errors_and_no_mean() -> None:
    names = CORRUPTIONS[:12]
    rows = measured({"a": corrupted(12, clean=4, names=names), "b": corrupted(8, clean=4, names=names)})
    assert {row.metric for row in rows} == {"error"}
    assert {row.subset for row in rows} == set(names)
    assert find(rows, "error", "b", subset="snow", level="mean", versus="first").value == pytest.approx(-0.1)
    fewer = corrupted(12, names=("fog",))
    del fewer["fog-3"]
    assert measured({"a": fewer}) == []


def test_a_model_with_a_failed_cell_keeps_its_other_errors_beside_a_whole_one() -> None:
    failed = corrupted(8, clean=4)
    del failed["fog-3"]
    rows = measured({"a": corrupted(12, clean=4), "b": failed})
    assert find(rows, "mCE", "a", level="mean").value > 0
    of_b = [row for row in rows if row.generation == "b"]
    assert {row.metric for row in of_b} == {"error"}
    assert {row.subset for row in of_b} == set(CORRUPTIONS) - {"fog"}
    assert find(rows, "error", "b", subset="snow", level="3", versus="first").value == pytest.approx(-0.1)
    keys = [(row.generation, row.subset, row.level, row.metric, row.versus) for row in rows]
    assert len(set(keys)) == len(keys)


def test_extras_stand_apart_and_the_mean_over_19_is_no_mce() -> None:
    cells = corrupted(12) | corrupted(32, names=EXTRA_CORRUPTIONS)
    rows = measured({"a": cells})
    row = find(rows, "error_19", "a", level="mean")
    assert row.value == pytest.approx((15 * 0.3 + 4 * 0.8) / 19)
    assert "no mCE" in row.protocol
    assert find(rows, "error", "a", level="mean").value == pytest.approx(0.3)
    assert find(rows, "error", "a", subset="spatter", level="5").value == 0.8
    alone = measured({"a": corrupted(12)})
    assert find(rows, "mCE", "a", level="mean").value == find(alone, "mCE", "a", level="mean").value
    del cells["saturate-1"]
    rows = measured({"a": cells})
    assert not [row for row in rows if row.metric == "error_19"]
    assert {row.subset for row in rows} & set(EXTRA_CORRUPTIONS) == {"speckle_noise", "gaussian_blur", "spatter"}


@pytest.mark.parametrize("other", [("device-memory", 224), ("released-jpeg", 299)])
def test_pixels_of_two_origins_are_never_compared(other: tuple[str, int]) -> None:
    with pytest.raises(DataError, match="which cannot be compared; measure them again alike"):
        measured({"a": corrupted(12), "b": corrupted(12, origin=other)})
    half = corrupted(12) | corrupted(12, names=("fog",), origin=other)
    with pytest.raises(DataError, match=f"{other[0]} at {other[1]} px"):
        measured({"a": half})


def clips(flipping: int, source: str = "released-h264", side: int = 224, classes: int = 1000, **frames: int) -> Cells:
    """Ten videos of 31 frames (translate: 41); the first change their class at every frame."""
    cells = {}
    for name in PERTURBATIONS:
        frame = np.arange(frames.get(name, 31)) % 2
        top1 = (np.arange(10)[:, None] < flipping) * frame
        others = (np.full_like(top1, k) for k in (2, 3, 4))
        cells[name] = answers(0, 10, (source, side), classes) | {
            "top1": top1, "top5": np.stack([top1, 1 - top1, *others], axis=-1)
        }  # fmt: skip
    return cells


def filmed(records: dict[str, Cells]) -> list[Row]:
    return EVALS["imagenet-p"].measure(records, CONFIG)


@pytest.mark.parametrize(
    ("source", "side", "classes", "of_generations", "of_models"),
    [
        ("released-h264", 224, 1000, {"": ALEXNET}, {"": ALEXNET}),
        ("released-h264", 299, 1000, {"": ZERO}, {}),
        (
            "device-memory",
            224,
            1000,
            {"": ZERO, ", AlexNet table, device-memory": ALEXNET},
            {", AlexNet table, device-memory": ALEXNET},
        ),
        ("device-memory", 224, 10, {"": ZERO}, {}),
        ("device-memory", 32, 1000, {"": ZERO}, {}),
    ],
)
def test_flip_rates_say_of_whose_flips_on_which_frames(
    source: str, side: int, classes: int, of_generations: dict[str, str], of_models: dict[str, str]
) -> None:
    for name, expected in (("0", of_generations), ("resnet50", of_models)):
        rows = filmed({name: clips(3, source, side, classes)})
        assert relative_to(rows) == {f"mFR{suffix}": whose for suffix, whose in expected.items()}


def test_flip_rates_of_alexnet_by_hand() -> None:
    """Three of ten videos change at every frame: noise (against frame 0) at 15 of 30, the rest at 30 of 30."""
    rows = filmed({"a": clips(3, translate=41), "b": clips(6, translate=41)})
    flips = {name: 0.3 * (0.5 if "noise" in name else 1) for name in PERTURBATIONS}
    rates = {name: 100 * flips[name] / ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS}
    for name in PERTURBATIONS:
        assert find(rows, "FR", "a", subset=name).value == pytest.approx(rates[name])
    assert find(rows, "mFR", "a").value == pytest.approx(np.mean(list(rates.values())))
    assert find(rows, "mFR", "b", versus="first").value == pytest.approx(np.mean(list(rates.values())))
    kept = [rate for name, rate in rates.items() if name not in ("brightness", "translate", "rotate")]
    assert find(rows, "mFR without brightness, translate and rotate", "a").value == pytest.approx(np.mean(kept))
    right = 1 - 0.3 * (9 * 15 + 20) / (9 * 31 + 41)
    assert find(rows, "top1_all_frames", "a").value == pytest.approx(right)
    assert find(rows, "T5D", "a", subset="tilt").value == pytest.approx(
        0.6
    )  # two classes change places in three of ten


def test_perturbations_that_are_not_all_there_have_no_mean() -> None:
    whole, failed = clips(3), clips(6)
    failed.pop("snow")
    failed["spatter"] = failed["tilt"]
    rows = filmed({"a": failed})
    assert {row.metric for row in rows} == {"flip_probability"}
    assert {row.subset for row in rows} == {*PERTURBATIONS, "spatter"} - {"snow"}
    rows = filmed({"a": whole, "b": failed})
    assert find(rows, "mFR", "a").value > 0
    of_b = [row for row in rows if row.generation == "b"]
    assert {row.subset for row in of_b} == {*PERTURBATIONS, "spatter"} - {"snow"}
    assert find(rows, "flip_probability", "b", subset="tilt", versus="first").value == pytest.approx(0.3)


def test_noise_of_higher_difficulty_has_rows_of_its_own() -> None:
    cells = clips(3)
    rows = filmed({"a": cells | {"gaussian_noise_2": cells["gaussian_noise"]}})
    assert find(rows, "flip_probability", "a", subset="gaussian_noise_2").value == pytest.approx(0.15)
    assert find(rows, "mFR", "a").value == find(filmed({"a": cells}), "mFR", "a").value


def test_frames_of_two_origins_are_never_compared() -> None:
    for other, said in (
        (clips(3, "device-memory"), "device-memory at 224 px and released-h264 at 224 px, which cannot be compared"),
        (clips(3, side=299), "released-h264 at 224 px and released-h264 at 299 px, which cannot be compared"),
    ):
        with pytest.raises(DataError, match=said):
            filmed({"a": clips(3), "b": other})
        with pytest.raises(DataError, match=said):
            relative_t5d_rows({"a": clips(3)}, other, CONFIG)


def test_mt5d_is_percent_of_a_measured_baseline_on_the_same_clips() -> None:
    """Two classes change places at every frame of 3, 6 and of the baseline's 5 of ten videos: 60 % and 120 %."""
    rows = relative_t5d_rows({"a": clips(3), "b": clips(6)}, clips(5), CONFIG)
    for name, percent in (("a", 60), ("b", 120)):
        assert find(rows, "mT5D", name).value == pytest.approx(percent)
        assert find(rows, "T5D_relative", name, subset="shot_noise").value == pytest.approx(percent)
    assert find(rows, "mT5D", "b", versus="first").value == pytest.approx(60)
    assert {row.generation for row in rows} == {"a", "b"}
    fewer = clips(5)
    del fewer["tilt"]
    assert relative_t5d_rows({"a": clips(3)}, fewer, CONFIG) == []


def test_ratios_are_resampled_with_common_weights() -> None:
    """AlexNet's mCE of 40 images against one replicate at a time."""
    rows = measured({"a": corrupted(12)})
    replicates = []
    for weights in bootstrap_weights(40, replicates=CONFIG.replicates, seed=0):
        error = float(weights[:12].sum() / weights.sum())
        replicates.append(np.mean([100 * 5 * error / sum(ALEXNET_ERRORS[name]) for name in CORRUPTIONS]))
    row = find(rows, "mCE", "a", level="mean")
    assert (row.ci_low, row.ci_high) == pytest.approx(tuple(np.quantile(replicates, [0.025, 0.975])))
