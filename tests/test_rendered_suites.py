"""Corrupted files and clips that `nsbench corrupt` writes, read back as released sets, against computing on the way.

A corrupted JPEG holds the pixels that the device computes, so answers are the same; a clip has lost what H.264 loses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nsbench.config import EvalConfig
from nsbench.data.suites import open_suites
from nsbench.evals import EVALS, EvalContext
from nsbench.evals.sets import suite_sets
from nsbench.metrics import flip_probability, is_noise_perturbation
from nsbench.pretrained import Pretrained, load_pretrained
from nsbench.rendering.plan import rendering_from
from nsbench.rendering.writer import render
from nsbench.track import Progress
from tests.shared import SAMPLES, absent

COUNT, FILMED = 24, 5
CONFIG = EvalConfig(batch_size=8, perturbation_images=FILMED)
CORRUPTIONS = ("gaussian_noise-5", "fog-3", "contrast-2", "jpeg_compression-4")
PERTURBATIONS = ("gaussian_noise", "brightness")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def lite0() -> Pretrained:
    return load_pretrained("pypi:efficientnet-lite0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`val` of some photographs, and what is written of them."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    root = tmp_path_factory.mktemp("data")
    (root / "val").mkdir()
    folders = sorted(SAMPLES.iterdir())
    for folder in folders[:: len(folders) // COUNT][:COUNT]:
        (root / "val" / folder.name).symlink_to(folder, target_is_directory=True)
    names = ",".join({cell.rsplit("-", 1)[0]: None for cell in CORRUPTIONS})
    jpegs = rendering_from(corruption=names, perturbation=None, severity="2,3,4,5")
    clips = rendering_from(corruption=None, perturbation=",".join(PERTURBATIONS), severity="1")
    render(root / "val", root / "imagenet-c", jpegs, Progress("none"))
    filmed = root / "filmed"
    filmed.mkdir()
    for folder in sorted((root / "val").iterdir())[:FILMED]:
        (filmed / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
    render(filmed, root / "imagenet-p", clips, Progress("none"))
    return root


def context(data: Path, lite0: Pretrained, cache: Path, *, released: bool, val: str = "val") -> EvalContext:
    suites = open_suites(data if released else None, {} if released else {"val": data / val})
    sets = suite_sets(suites, lite0.view, 1000, CONFIG)
    return EvalContext(model=lite0.model, device="cpu", config=CONFIG, sets=sets, cache=cache, input_px=lite0.input_px)


@pytest.mark.parametrize("cell", CORRUPTIONS)
def test_corrupted_files_give_the_answers_of_computed_ones(
    cell: str, data: Path, lite0: Pretrained, tmp_path: Path
) -> None:
    read, computed = (
        EVALS["imagenet-c"].predict(context(data, lite0, tmp_path, released=released), cell)
        for released in (True, False)
    )
    assert (str(read.pop("provenance")), str(computed.pop("provenance"))) == ("released-jpeg", "device-jpeg85")
    for name, array in computed.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)
    assert len(read["ids"]) == COUNT


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_clips_differ_by_the_loss_of_their_encoding(name: str, data: Path, lite0: Pretrained, tmp_path: Path) -> None:
    read, computed = (
        EVALS["imagenet-p"].predict(context(data, lite0, tmp_path, released=released, val="filmed"), name)
        for released in (True, False)
    )
    assert [str(key).rpartition(".")[0] for key in read["ids"]] == [
        str(key).rpartition(".")[0] for key in computed["ids"]
    ]
    assert read["top1"].shape == computed["top1"].shape == (FILMED, 31)
    agreement = (read["top1"] == computed["top1"]).mean()
    assert agreement > 0.85
    flips: list[Any] = [flip_probability(a["top1"], noise=is_noise_perturbation(name)) for a in (read, computed)]
    assert abs(flips[0] - flips[1]) < 0.05


def test_released_cells_are_found_and_named(data: Path, lite0: Pretrained, tmp_path: Path) -> None:
    read = context(data, lite0, tmp_path, released=True)
    for name, cells in (("imagenet-c", CORRUPTIONS), ("imagenet-p", PERTURBATIONS)):
        assert set(cells) <= set(EVALS[name].cells(CONFIG, read.sets))
        assert "released-" in EVALS[name].protocol(CONFIG, read.sets)
    assert "c-224" in EVALS["imagenet-c"].protocol(CONFIG, read.sets)
    moved = dataclasses.replace(CONFIG, extra_corruptions=True)
    assert EVALS["imagenet-c"].cells(moved, read.sets) == EVALS["imagenet-c"].cells(CONFIG, read.sets)
