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
from torch import nn

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.errors import DataError
from nsbench.evals import EVALS, EvalContext, Records
from nsbench.evals.base import cell_arrays, image_seeds, ranked
from nsbench.results import Row, to_frame
from tests.evals.conftest import CONFIG, find

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
        *((name, "mean", "CE", "percent", False) for name in C),
        ("all", "mean", "mCE", "percent", False),
    },
    "imagenet-p": {
        *((name, "", "flip_probability", "fraction", False) for name in (*P, "all")),
        *((name, "", "FR", "percent", False) for name in P),
        ("all", "", "mFR", "percent", False),
        *((name, "", "T5D", "ranks", False) for name in (*P, "all")),
    },
    "fgsm": {
        *(("all", level, "top1", "fraction", True) for level in (*EPSILONS, "mean")),
        *(("all", level, "random_sign_top1", "fraction", True) for level in EPSILONS),
        ("all", "", "zero_gradient_images", "fraction", False),
        ("all", "", "zero_gradient_pixels", "fraction", False),
    },
    "attacks": {("pgd-3", "8", "top1", "fraction", True)},
}
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


def test_the_table_is_keyed_by_name_and_is_the_default() -> None:
    assert {name: one.name for name, one in EVALS.items()} == {name: name for name in EVALS}
    assert tuple(EVALS) == EvalConfig().evals


@pytest.mark.parametrize("name", EVALS)
def test_cells_are_safe_file_names(name: str, sets: dict[str, ImageSet]) -> None:
    cells = EVALS[name].cells(EvalConfig(), sets)
    assert len(set(cells)) == len(cells) == {"imagenet-a": 2, "imagenet-c": 75, "imagenet-p": 10}.get(name, 1)
    assert all(re.fullmatch(r"[a-z0-9_-]+", cell) for cell in cells)
    assert EVALS[name].cells(EvalConfig(), {}) == ()


@pytest.mark.parametrize("name", EVALS)
def test_rows_have_exactly_the_vocabulary(name: str, rows: dict[str, list[Row]]) -> None:
    for generation, versus in VERSUS.items():
        for kind in versus:
            found = [r for r in rows[name] if (r.generation, r.versus) == (generation, kind)]
            said = {(r.subset, r.level, r.metric, r.unit, r.higher_is_better) for r in found}
            assert said == VOCABULARY[name]
            assert len(found) == len(said)
    assert {(r.generation, r.versus) for r in rows[name]} == {(g, v) for g, kinds in VERSUS.items() for v in kinds}


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


@pytest.mark.parametrize("name", EVALS)
def test_protocol_stands_in_every_row(
    name: str, records: dict[str, Records], rows: dict[str, list[Row]], sets: dict[str, ImageSet]
) -> None:
    protocol = EVALS[name].protocol(CONFIG, sets)
    images = {"imagenet-a": "MNIST-5k natural adversarial, 30", "imagenet-p": "MNIST-5k val, 20"}
    assert protocol.startswith(images.get(name, "MNIST-5k val, 60"))
    assert "32 px, no resize" in protocol
    assert protocol.endswith("fp32; batch 16")
    for before, after in zip(rows[name], EVALS[name].rows(records[name], CONFIG, protocol), strict=True):
        assert after.protocol == (f"{protocol}; {before.protocol}" if before.protocol else protocol)
        assert str(dataclasses.replace(after, protocol=before.protocol)) == str(before)


@pytest.mark.parametrize("name", EVALS)
def test_the_order_of_images_changes_nothing(
    name: str, records: dict[str, Records], rows: dict[str, list[Row]]
) -> None:
    rng = np.random.default_rng(0)

    def shuffle(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        num = len(arrays["ids"])
        order = rng.permutation(num)
        axis = {"epsilons_px": None, "num_classes": None, "side": None, "provenance": None}
        return {
            key: value if key in axis else (value[order] if len(value) == num else value[:, order])
            for key, value in arrays.items()
        }

    shuffled = {g: {cell: shuffle(arrays) for cell, arrays in cells.items()} for g, cells in records[name].items()}
    assert [str(row) for row in EVALS[name].measure(shuffled, CONFIG)] == [str(row) for row in rows[name]]


@pytest.mark.parametrize("name", EVALS)
def test_a_missing_generation_leaves_the_others_values(
    name: str, records: dict[str, Records], rows: dict[str, list[Row]]
) -> None:
    fewer = EVALS[name].measure({g: cells for g, cells in records[name].items() if g in ("0", "2")}, CONFIG)
    assert {(r.generation, r.versus) for r in fewer} == {("0", ""), ("2", ""), ("2", "gen0")}
    known = {str(row) for row in rows[name]}
    assert all(str(row) in known for row in fewer)
    assert EVALS[name].measure({}, CONFIG) == []


@pytest.mark.parametrize("name", EVALS)
def test_the_same_model_twice_differs_by_nothing(name: str, records: dict[str, Records]) -> None:
    for row in EVALS[name].measure({"0": records[name]["1"], "1": records[name]["1"]}, CONFIG):
        if row.versus and not math.isnan(row.value):
            assert row.value == 0
            assert all(math.isnan(x) for x in (row.ci_low, row.ci_high, row.p_value))


def test_arrays_of_a_cell(sets: dict[str, ImageSet]) -> None:
    images = sets["val"].take(np.arange(3))
    images = dataclasses.replace(images, labels=np.array([1, 0, 2]))
    probabilities = np.array([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.2, 0.7, 0.1]])
    arrays = cell_arrays(images, np.log(probabilities).astype(np.float32))
    assert arrays["top1"].tolist() == [1, 0, 1]
    assert arrays["top5"].tolist() == [[1, 2, 0], [0, 1, 2], [1, 0, 2]]
    assert arrays["labels"].tolist() == [1, 0, 2]
    np.testing.assert_allclose(arrays["confidence"], [0.6, 0.4, 0.7], rtol=1e-6)
    np.testing.assert_allclose(arrays["log_prob_true"], np.log([0.6, 0.4, 0.1]), rtol=1e-6)
    np.testing.assert_allclose(arrays["sum_squared_prob"], [0.46, 0.36, 0.54], rtol=1e-6)
    assert arrays["num_classes"] == 3
    kinds = {name: array.dtype for name, array in arrays.items()}
    assert kinds["top1"] == kinds["top5"] == np.int32
    assert kinds["confidence"] == kinds["log_prob_true"] == kinds["sum_squared_prob"] == np.float32


def test_a_model_with_too_few_classes_is_refused(sets: dict[str, ImageSet]) -> None:
    with pytest.raises(DataError, match=r"labels 0\.\.9, but the model gives 4 classes"):
        cell_arrays(sets["val"], np.zeros((60, 4), dtype=np.float32))


def test_few_classes_have_no_top5(sets: dict[str, ImageSet]) -> None:
    images = sets["val"]
    images = dataclasses.replace(images, labels=images.labels % 5)
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 60)).astype(np.float32)
    found = EVALS["imagenet"].measure({"0": {"val": cell_arrays(images, log_probs)}}, CONFIG)
    assert {row.metric for row in found} == {"top1", "ECE", "NLL", "Brier"}


def test_ranks_go_from_best_to_worst_and_ties_to_the_lower_class() -> None:
    assert ranked(np.array([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    tied = np.random.default_rng(0).integers(0, 4, (20, 100)).astype(np.float32)
    assert ranked(tied).tolist() == [sorted(range(100), key=lambda c, row=row: (-row[c], c))[:5] for row in tied]
    assert ranked(np.zeros((2, 7, 9))).shape == (2, 7, 5)


def test_seeds_depend_on_image_data_seed_and_purpose() -> None:
    ids = np.array(["a", "b", "c"])
    seeds = image_seeds(ids, 0)
    assert seeds.dtype == np.int64
    assert (seeds >= 0).all()
    assert image_seeds(ids[[2, 0]], 0).tolist() == seeds[[2, 0]].tolist()
    every = [*seeds, *image_seeds(ids, 1), *image_seeds(ids, 0, "pgd")]
    assert len(set(every)) == 9


@pytest.mark.parametrize("name", EVALS)
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


def test_find_needs_one_row(rows: dict[str, list[Row]]) -> None:
    with pytest.raises(AssertionError, match="0 rows"):
        find(rows["imagenet"], "top1", "9")
