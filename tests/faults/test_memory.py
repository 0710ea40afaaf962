"""Memory runs out: the allocator's own errors, at every place of a cell that can meet them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nsbench.config import EvalConfig
from nsbench.evals import EVALS, EvalContext
from nsbench.evals.warnings import HALVED, findings_of
from nsbench.files import read_npz
from nsbench.measuring import Measured, measure, plan
from nsbench.runfolder import RunFolder
from nsbench.track import Progress
from tests.ranks import images, model

ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED: out of memory"),
)
HOST_ERRORS = (
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
)
CONFIG = EvalConfig(
    evals=("imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm", "attacks"), batch_size=8, epsilons_px=(0, 8),
    pgd_epsilons_px=(4,), pgd_steps=2, perturbation_images=3,
)  # fmt: skip
FITS = 3
"""Images of a batch that fit: 8 and 4 do not, 2 do."""


class Greedy(nn.Module):
    """Fails on more than `FITS` images, on the way forward or on the way back."""

    def __init__(self, error: BaseException, *, backward: bool = False) -> None:
        super().__init__()
        self.inner, self.error, self.backward = model(), error, backward

    def forward(self, batch: Tensor) -> Tensor:
        if len(batch) <= FITS:
            logits: Tensor = self.inner(batch)
            return logits
        if not self.backward:
            raise self.error
        logits = self.inner(batch)
        if logits.requires_grad:
            logits.register_hook(self._fail)
        return logits

    def _fail(self, _: Tensor) -> Tensor:
        raise self.error


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


def measured(
    place: Path, network: nn.Module, name: str, evals: tuple[str, ...] = CONFIG.evals
) -> tuple[Any, RunFolder]:
    config = dataclasses.replace(CONFIG, evals=evals)
    sets = {"val": images(12, "val"), "natural-adversarial": images(9, "hard"), "complement": images(5, "rest")}
    folder = RunFolder(place / name)
    context = EvalContext(
        model=network, device="cpu", config=config, sets=sets, cache=place / "cache",
        progress=Progress("none", place / f"{name}.log"),
    )  # fmt: skip
    return measure(folder, "0", "w", context, plan(config, sets)), folder


def cells(folder: RunFolder) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in sorted(folder.root.rglob("*.npz")):
        yield path.parent.name, path.stem, read_npz(path)


@pytest.fixture(scope="module")
def roomy(place: Path) -> RunFolder:
    done, folder = measured(place, model(), "roomy")
    assert done.failed == ()
    assert all(HALVED not in arrays for _, _, arrays in cells(folder))
    return folder


def assert_alike(roomy: RunFolder, folder: RunFolder, halved: set[str]) -> None:
    """The same answers to the same images; probabilities differ in the last bits alone; what was halved says so."""
    there = {(name, cell): arrays for name, cell, arrays in cells(folder)}
    known = {(name, cell): arrays for name, cell, arrays in cells(roomy) if (name, cell) in there}
    assert there.keys() == known.keys()
    assert there
    for (name, cell), arrays in there.items():
        if name in halved:
            assert int(arrays[HALVED]) == 2
            assert "memory ran out: answered in batches of 2 images" in findings_of(name, arrays)
        else:
            assert HALVED not in arrays
        for key, value in known[name, cell].items():
            if key == "seconds":
                continue
            if value.dtype.kind == "f":
                assert np.allclose(value, arrays[key], rtol=0, atol=1e-5), (name, cell, key)
            else:
                assert np.array_equal(value, arrays[key]), (name, cell, key)


@pytest.mark.parametrize("error", ERRORS, ids=["torch", "cuda", "cudnn"])
def test_a_batch_is_halved_until_it_fits_in_every_eval(error: BaseException, roomy: RunFolder, place: Path) -> None:
    name = f"forward-{ERRORS.index(error)}"  # type: ignore[arg-type]
    done, folder = measured(place, Greedy(error), name)
    assert done == Measured(new=done.new, failed=())
    assert_alike(roomy, folder, set(CONFIG.evals))
    said = (place / f"{name}.log").read_text(encoding="utf-8")
    assert "imagenet/val: not enough memory; goes on with batches of 4 images" in said
    assert "imagenet/val: not enough memory; goes on with batches of 2 images" in said


@pytest.mark.parametrize("error", HOST_ERRORS, ids=["torch", "python"])
def test_the_machines_own_memory_is_not_tried_again(error: BaseException, place: Path) -> None:
    """Half of what is too much may be granted, and then the process is killed: one line, and nothing else."""
    done, folder = measured(place, Greedy(error), f"host-{HOST_ERRORS.index(error)}", ("imagenet",))  # type: ignore[arg-type]
    assert done.failed == ("imagenet/val: not enough memory for batches of 8 images; choose a smaller -b",)
    assert not list(cells(folder))


def test_on_the_way_back_as_well_and_only_there(roomy: RunFolder, place: Path) -> None:
    """An attack's gradient needs more than a forward pass: the other cells keep their batches."""
    done, folder = measured(place, Greedy(ERRORS[0], backward=True), "backward")
    assert done.failed == ()
    assert_alike(roomy, folder, {"fgsm", "attacks"})


@pytest.mark.parametrize("target", ["nsbench.evals.answers._on_device", "nsbench.inference.log_probabilities"])
def test_where_images_are_moved_and_where_they_are_shown(
    target: str, roomy: RunFolder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module, _, name = target.rpartition(".")
    real = getattr(importlib.import_module(module), name)

    def greedy(*arguments: Any, **options: Any) -> Any:
        large = next(one for one in arguments if hasattr(one, "shape") and len(one.shape) > 3)
        if len(large) > FITS:
            raise ERRORS[0]
        return real(*arguments, **options)

    monkeypatch.setattr(target, greedy)
    done, folder = measured(place, model(), f"at-{name}", ("imagenet", "imagenet-c"))
    assert done.failed == ()
    assert_alike(roomy, folder, {"imagenet", "imagenet-c"})


def test_where_a_small_set_is_corrupted_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No smaller batch helps there: the cells fail in one line each, and the others are measured."""

    def greedy(*_: Any, **__: Any) -> Tensor:
        raise ERRORS[0]

    monkeypatch.setattr("nsbench.corruptions.corrupt", greedy)
    done, folder = measured(place / "corrupted", model(), "run", ("imagenet", "imagenet-c"))
    assert len(done.failed) == 75
    assert done.failed[0].startswith(
        "imagenet-c/gaussian_noise-1: not enough memory to corrupt 12 images of val at once"
    )
    assert {(name, cell) for name, cell, _ in cells(folder)} == {("imagenet", "val"), ("imagenet-c", "clean")}


def test_one_image_that_does_not_fit_is_one_line_and_nothing_is_written(place: Path) -> None:
    class Hopeless(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise ERRORS[0]

    done, folder = measured(place, Hopeless(), "hopeless", ("imagenet", "fgsm"))
    assert [line.partition(":")[0] for line in done.failed] == ["imagenet/val", "fgsm/sweep"]
    assert all("not enough memory for batches of 1 images; choose a smaller -b" in line for line in done.failed)
    assert not list(cells(folder))


def test_every_eval_of_small_images_was_tried() -> None:
    names = {name for name in EVALS if EVALS[name].cells(CONFIG, {"val": images(3, "val")})}
    assert names <= set(CONFIG.evals)
