"""The table of evals, the vocabulary of their rows, and the lightness of importing them."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.evals import EVALS, EvalContext, Records
from nsbench.evals.base import image_seeds
from nsbench.results import Row, to_frame
from tests.evals.conftest import CONFIG, DIGIT_EVALS, find

C = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
P = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter"),
    *("brightness", "translate", "rotate", "tilt", "scale"),
)
SEVERITIES = ("1", "2", "3", "4", "5")
EPSILONS = ("0", "4", "32")

VOCABULARY = {
    "imagenet": {
        ("all", "", "top1", "fraction", True),
        ("all", "", "top5", "fraction", True),
        ("all", "", "ECE", "fraction", False),
        ("all", "", "ECE_debiased", "fraction", False),
        ("all", "", "worst_tenth_top1", "fraction", True),
        ("all", "", "NLL", "nats", False),
        ("all", "", "Brier", "fraction", False),
    },
    "imagenet-a": {
        ("all", "", "top1", "fraction", True),
        ("all", "", "RMS", "fraction", False),
        ("all", "", "AURRA", "fraction", True),
        ("complement", "", "top1", "fraction", True),
    },
    "imagenet-c": {
        *((name, level, "error", "fraction", False) for name in (*C, "all") for level in (*SEVERITIES, "mean")),
        ("all", "", "clean_error", "fraction", False),
        *(("all", level, "ECE", "fraction", False) for level in SEVERITIES),
        *((name, "mean", metric, "percent", False) for name in C for metric in ("CE", "relative_CE")),
        *(("all", "mean", metric, "percent", False) for metric in ("mCE", "relative_mCE")),
        ("all", "mean", "mCE without brightness and contrast", "percent", False),
    },
    "imagenet-p": {
        *((name, "", "flip_probability", "fraction", False) for name in (*P, "all")),
        *((name, "", "FR", "percent", False) for name in P),
        ("all", "", "mFR", "percent", False),
        ("all", "", "mFR without brightness, translate and rotate", "percent", False),
        ("all", "", "top1_all_frames", "fraction", True),
        *((name, "", "T5D", "ranks", False) for name in (*P, "all")),
    },
    "fgsm": {
        *(("all", level, "top1", "fraction", True) for level in (*EPSILONS, "mean")),
        *(("all", level, "random_sign_top1", "fraction", True) for level in EPSILONS),
        *(("all", level, "attack_success", "fraction", False) for level in EPSILONS[1:]),
        ("all", "", "zero_gradient_images", "fraction", False),
        ("all", "", "zero_gradient_pixels", "fraction", False),
    },
    "attacks": {("pgd-3", "8", "top1", "fraction", True)},
}
BETWEEN_TWO = {
    "imagenet": {("all", "", "negative_flips", "fraction", False)},
    "imagenet-c": {("all", "mean", "error_where_both_right_when_clean", "fraction", False)},
}
"""What a model alone has none of."""
VERSUS = {
    "0": {"", "control"},
    "1": {"", "gen0", "previous", "control"},
    "2": {"", "gen0", "previous", "control"},
    "control": {"", "gen0"},
}


def test_importing_evals_imports_no_torch() -> None:
    code = "import sys, nsbench.evals, nsbench.evals.pseudo_labels; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_measuring_imports_no_torch(records: dict[str, Records], tmp_path: Path) -> None:
    """`nsbench report` rebuilds the tables on a machine without torch."""
    record = records["imagenet-c"]["0"]
    np.savez(tmp_path / "c.npz", **{f"{cell}/{k}": v for cell, arrays in record.items() for k, v in arrays.items()})
    code = (
        "import sys, collections, numpy as np\n"
        "from nsbench.config import EvalConfig\nfrom nsbench.evals import EVALS\n"
        "cells = collections.defaultdict(dict)\n"
        "for key, value in np.load(sys.argv[1]).items():\n"
        "    cell, name = key.split('/'); cells[cell][name] = value\n"
        "assert EVALS['imagenet-c'].measure({'0': cells}, EvalConfig(replicates=10))\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.npz")], check=True)


def test_the_table_is_keyed_by_name_and_the_default_is_what_needs_no_files() -> None:
    assert {name: one.name for name, one in EVALS.items()} == {name: name for name in EVALS}
    assert EvalConfig().evals == DIGIT_EVALS
    assert set(DIGIT_EVALS) < set(EVALS)


@pytest.mark.parametrize("name", EVALS)
def test_cells_are_safe_file_names(name: str, sets: dict[str, ImageSet]) -> None:
    cells = EVALS[name].cells(EvalConfig(), sets)
    numbers = {"imagenet": 1, "imagenet-a": 2, "imagenet-c": 76, "imagenet-p": 10, "fgsm": 1, "attacks": 2}
    assert len(set(cells)) == len(cells) == numbers.get(name, 0)
    assert all(re.fullmatch(r"[a-z0-9_-]+", cell) for cell in cells)
    assert EVALS[name].cells(EvalConfig(), {}) == ()
    assert EVALS[name].measure({}, CONFIG) == []


def test_what_a_cell_shows_is_told_apart_by_its_pixels(sets: dict[str, ImageSet]) -> None:
    """A record belongs to the images that it was made of."""
    other = {name: images.take(np.arange(len(images))[::-1]) for name, images in sets.items()}
    for name in DIGIT_EVALS:
        for cell in EVALS[name].cells(CONFIG, sets):
            shown = EVALS[name].shown(sets, cell)
            assert re.fullmatch(r"[0-9a-f]{16}", shown)
            assert EVALS[name].shown(dict(sets), cell) == shown != EVALS[name].shown(other, cell)


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_rows_have_exactly_the_vocabulary(name: str, rows: dict[str, list[Row]]) -> None:
    for generation, versus in VERSUS.items():
        for kind in versus:
            found = [r for r in rows[name] if (r.generation, r.versus) == (generation, kind)]
            said = {(r.subset, r.level, r.metric, r.unit, r.higher_is_better) for r in found}
            assert said == VOCABULARY[name] | (BETWEEN_TWO.get(name, set()) if kind else set())
            assert len(found) == len(said)
    assert {(r.generation, r.versus) for r in rows[name]} == {(g, v) for g, kinds in VERSUS.items() for v in kinds}


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_models_that_are_no_generations_are_compared_with_the_first(name: str, records: dict[str, Records]) -> None:
    """The same numbers under other names, but nothing relative to generation 0: there is none."""
    named = {"a/b": records[name]["1"], "resnet50": records[name]["2"], "x": records[name]["control"]}
    found = EVALS[name].measure(named, CONFIG)
    assert {(r.generation, r.versus) for r in found} == {
        ("a/b", ""), ("resnet50", ""), ("resnet50", "first"), ("x", ""), ("x", "first")
    }  # fmt: skip
    relative = {"CE", "mCE", "relative_CE", "relative_mCE", "FR", "mFR"}
    said = {(r.subset, r.level, r.metric, r.unit, r.higher_is_better) for r in found if not r.versus}
    assert said == {word for word in VOCABULARY[name] if word[2].split(" ")[0] not in relative}
    pair = EVALS[name].measure({"0": records[name]["1"], "1": records[name]["2"]}, CONFIG)
    expected = {(r.subset, r.level, r.metric): r for r in pair if r.versus == "gen0"}
    for row in (r for r in found if (r.generation, r.versus) == ("resnet50", "first")):
        other = expected[row.subset, row.level, row.metric]
        assert (row.value, row.ci_low, row.ci_high, row.p_value) == pytest.approx(
            (other.value, other.ci_low, other.ci_high, other.p_value), nan_ok=True
        )


def test_rows_fill_one_table(rows: dict[str, list[Row]]) -> None:
    every = [row for part in rows.values() for row in part]
    assert len(to_frame(every)) == len(every)
    for row in every:
        assert (row.run, row.seed, row.model) == ("", "", "")
        assert row.n > 0
        assert type(row.value) is type(row.ci_low) is type(row.ci_high) is type(row.p_value) is float
        assert type(row.n) is int
        assert math.isnan(row.ci_low) == math.isnan(row.ci_high)
        if not math.isnan(row.ci_low):
            assert row.ci_low <= row.value <= row.ci_high
        assert math.isnan(row.p_value) or row.versus


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_protocol_stands_in_every_row(
    name: str, records: dict[str, Records], rows: dict[str, list[Row]], sets: dict[str, ImageSet]
) -> None:
    protocol = EVALS[name].protocol(CONFIG, sets)
    images = {"imagenet-a": "MNIST-5k natural adversarial, 30", "imagenet-p": "MNIST-5k val, 20"}
    assert protocol.startswith(images.get(name, "MNIST-5k val, 60"))
    assert "32 px, no resize" in protocol
    assert protocol.endswith("fp32; batch 16")
    protocols = {model: f"{protocol} of {model}" for model in records[name]}
    for before, after in zip(rows[name], EVALS[name].rows(records[name], CONFIG, protocols), strict=True):
        own = protocols[after.generation]
        assert after.protocol == (f"{own}; {before.protocol}" if before.protocol else own)
        assert str(dataclasses.replace(after, protocol=before.protocol)) == str(before)


def test_protocols_name_every_arithmetic(sets: dict[str, ImageSet]) -> None:
    """bf16 is marked where it is used: P and attacks are fp32 always."""
    fast = dataclasses.replace(CONFIG, amp="bf16", channels_last=False, compile=True)
    for name in DIGIT_EVALS:
        said = EVALS[name].protocol(fast, sets)
        number = "fp32" if name in ("imagenet-p", "fgsm", "attacks") else "bf16 autocast"
        assert said.endswith(f"; {number}; batch 16; channels first; compiled")


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_the_order_of_images_changes_nothing(
    name: str, records: dict[str, Records], rows: dict[str, list[Row]]
) -> None:
    rng = np.random.default_rng(0)

    def shuffle(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        num = len(arrays["ids"])
        order = rng.permutation(num)
        units = {key: [k for k, length in enumerate(value.shape) if length == num] for key, value in arrays.items()}
        return {
            key: value if not units[key] else np.take(value, order, axis=units[key][0]) for key, value in arrays.items()
        }

    shuffled = {g: {cell: shuffle(arrays) for cell, arrays in cells.items()} for g, cells in records[name].items()}
    assert [str(row) for row in EVALS[name].measure(shuffled, CONFIG)] == [str(row) for row in rows[name]]


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_a_missing_generation_leaves_the_others_values(
    name: str, records: dict[str, Records], rows: dict[str, list[Row]]
) -> None:
    fewer = EVALS[name].measure({g: cells for g, cells in records[name].items() if g in ("0", "2")}, CONFIG)
    assert {(r.generation, r.versus) for r in fewer} == {("0", ""), ("2", ""), ("2", "gen0")}
    known = {str(row) for row in rows[name]}
    assert all(str(row) in known for row in fewer)


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_the_same_model_twice_differs_by_nothing(name: str, records: dict[str, Records]) -> None:
    for row in EVALS[name].measure({"0": records[name]["1"], "1": records[name]["1"]}, CONFIG):
        if row.versus and not math.isnan(row.value):
            assert row.value == 0
            if row.metric != "negative_flips":  # no difference, but a share of its own
                assert all(math.isnan(x) for x in (row.ci_low, row.ci_high, row.p_value))


def test_seeds_depend_on_image_data_seed_and_purpose() -> None:
    ids = np.array(["a", "b", "c"])
    seeds = image_seeds(ids, 0)
    assert seeds.dtype == np.int64
    assert (seeds >= 0).all()
    assert image_seeds(ids[[2, 0]], 0).tolist() == seeds[[2, 0]].tolist()
    every = [*seeds, *image_seeds(ids, 1), *image_seeds(ids, 0, "pgd")]
    assert len(set(every)) == 9


@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_a_rerun_gives_the_same_arrays(
    name: str, records: dict[str, Records], models: dict[str, nn.Module], sets: dict[str, ImageSet], cache: Path
) -> None:
    context = EvalContext(model=models["1"].train(), device="cpu", config=CONFIG, sets=sets, cache=cache)
    cell = EVALS[name].cells(CONFIG, sets)[-1]
    again = EVALS[name].predict(context, cell)
    assert models["1"].training
    models["1"].eval()
    for key, array in records[name]["1"][cell].items():
        np.testing.assert_array_equal(again[key], array)
        assert array.dtype != object


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("name", DIGIT_EVALS)
def test_every_image_lies_in_memory_as_the_protocol_says(
    name: str, channels_last: bool, models: dict[str, nn.Module], sets: dict[str, ImageSet], cache: Path
) -> None:
    seen: set[tuple[bool, int]] = set()

    def look(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        seen.add((inputs[0].is_contiguous(memory_format=torch.channels_last), len(inputs[0])))

    config = dataclasses.replace(CONFIG, channels_last=channels_last)
    context = EvalContext(model=models["1"], device="cpu", config=config, sets=sets, cache=cache)
    hook = models["1"].register_forward_pre_hook(look)
    EVALS[name].predict(context, EVALS[name].cells(config, sets)[0])
    hook.remove()
    assert seen == {(channels_last, 16)}


def test_find_needs_one_row(rows: dict[str, list[Row]]) -> None:
    with pytest.raises(AssertionError, match="0 rows"):
        find(rows["imagenet"], "top1", "9")
