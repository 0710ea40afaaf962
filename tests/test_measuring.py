"""What is measured is left alone, what does not fit is measured again, and what fails stops nothing else."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.errors import DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.files import read_npz, write_npz
from nsbench.measuring import Measured, measure, plan, planned_evals, refuse_failures
from nsbench.runfolder import RunFolder
from nsbench.track import Progress
from tests.ranks import images, model

CONFIG = EvalConfig(
    evals=("imagenet", "imagenet-a", "fgsm", "attacks"), batch_size=8, epsilons_px=(0, 8), pgd_epsilons_px=(4, 8),
    pgd_steps=1,
)  # fmt: skip
CELLS = {
    "imagenet": ("val",),
    "imagenet-a": ("natural-adversarial", "complement"),
    "fgsm": ("sweep",),
    "attacks": ("pgd-1-4", "pgd-1-8"),
}
Sets = dict[str, ImageSet]


@pytest.fixture
def sets() -> Sets:
    return {"val": images(12, "val"), "natural-adversarial": images(9, "hard"), "complement": images(5, "rest")}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def measured(folder: RunFolder, sets: Sets, key: str = "0", weights: str = "w", **changes: Any) -> Measured:
    config = dataclasses.replace(CONFIG, **changes)
    log = folder.root.parent / "log.txt"
    context = EvalContext(
        model=model(), device="cpu", config=config, sets=sets, cache=folder.root.parent / "cache",
        progress=Progress("none", log),
    )  # fmt: skip
    return measure(folder, key, weights, context, plan(config, sets))


def contents(folder: RunFolder, key: str = "0") -> dict[Path, tuple[bytes, int]]:
    """Bytes and inode of every record."""
    paths = [folder.cell(key, name, cell) for name, cells in CELLS.items() for cell in cells]
    return {path: (path.read_bytes(), path.stat().st_ino) for path in paths}


def changed(before: dict[Path, tuple[bytes, int]], after: dict[Path, tuple[bytes, int]]) -> set[str]:
    return {path.stem for path, content in after.items() if before[path] != content}


def test_evals_are_planned_where_their_images_are(sets: Sets) -> None:
    assert planned_evals(EvalConfig(evals=("all",)), sets) == EvalConfig().evals
    assert planned_evals(EvalConfig(evals=("all",)), {"val": sets["val"]}) == (
        "imagenet", "imagenet-c", "imagenet-p", "fgsm", "attacks",
    )  # fmt: skip
    assert planned_evals(EvalConfig(evals=("attacks", "objectnet", "imagenet")), sets) == ("attacks", "imagenet")
    assert planned_evals(EvalConfig(evals=("all",)), {}) == ()


def test_a_plan_names_protocols_and_what_each_cell_shows(sets: Sets) -> None:
    planned = plan(CONFIG, sets)
    assert {name: tuple(cells) for name, cells in planned.cells.items()} == CELLS
    assert planned.protocols == {name: EVALS[name].protocol(CONFIG, sets) for name in CELLS}
    assert planned.cells["imagenet-a"] == {c: sets[c].fingerprint for c in CELLS["imagenet-a"]}
    prints = {planned.made_by(w, name, cell) for w in "ab" for name, cells in CELLS.items() for cell in cells}
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in prints)
    assert len(prints) >= 2 * 4  # PGD's two radii have one protocol and one set: their files tell them apart


def test_what_is_measured_is_left_alone(folder: RunFolder, sets: Sets) -> None:
    assert measured(folder, sets) == Measured(new=6, failed=())
    before = contents(folder)
    assert measured(folder, sets) == Measured(new=0, failed=())
    assert contents(folder) == before
    record = read_npz(folder.cell("0", "imagenet", "val"))
    assert record["ids"].tolist() == sets["val"].ids.tolist()
    assert str(record["made_by"]) == plan(CONFIG, sets).made_by("w", "imagenet", "val")
    assert float(record["seconds"]) > 0


@pytest.mark.parametrize("key", ["timm/resnet50.a1_in1k", "./7", "../../elsewhere", "control"])
def test_records_of_any_model_lie_in_the_folder(key: str, folder: RunFolder, sets: Sets) -> None:
    assert measured(folder, sets, key, evals=("imagenet",)).new == 1
    path = folder.cell(key, "imagenet", "val")
    assert path.is_file()
    assert folder.root in path.resolve().parents
    assert measured(folder, sets, f"{key}/", evals=("imagenet",)).new == 1  # another name is another model


def test_only_what_does_not_fit_is_measured_again(folder: RunFolder, sets: Sets) -> None:
    """A damaged record, one cut off, one of another fingerprint, one without any, and one that is gone."""
    measured(folder, sets)
    before = contents(folder)
    flipped, cut, other, none, gone = list(before)[:5]
    content = bytearray(before[flipped][0])
    content[len(content) // 2] ^= 0xFF
    flipped.write_bytes(bytes(content))
    cut.write_bytes(before[cut][0][:-9])
    write_npz(other, read_npz(other) | {"made_by": np.array("0123456789abcdef")})
    write_npz(none, {key: array for key, array in read_npz(none).items() if key != "made_by"})
    gone.unlink()
    assert measured(folder, sets) == Measured(new=5, failed=())
    after = contents(folder)
    assert changed(before, after) == {path.stem for path in (flipped, cut, other, none, gone)}
    for path, (whole, _) in before.items():
        path.with_suffix(".before").write_bytes(whole)
        old, new = read_npz(path.with_suffix(".before")), read_npz(path)
        assert old.keys() == new.keys()
        assert all(np.array_equal(old[key], new[key]) for key in old if key != "seconds")


def test_other_weights_images_and_arithmetic_are_other_records(folder: RunFolder, sets: Sets) -> None:
    measured(folder, sets)
    assert measured(folder, sets, weights="v") == Measured(new=6, failed=())
    fewer = sets | {"complement": sets["complement"].take(np.arange(4))}
    before = contents(folder)
    assert measured(folder, fewer, weights="v").new == 2  # the eval's protocol names both of its sets
    assert changed(before, contents(folder)) == {"natural-adversarial", "complement"}
    shuffled = fewer | {"complement": fewer["complement"].take(np.arange(4)[::-1])}
    before = contents(folder)
    assert measured(folder, shuffled, weights="v").new == 1
    assert changed(before, contents(folder)) == {"complement"}
    assert measured(folder, shuffled, weights="v", batch_size=4).new == 6
    assert measured(folder, shuffled, weights="v", batch_size=4, amp="bf16").new == 3  # attacks are fp32 always
    assert measured(folder, shuffled, weights="v", batch_size=4, amp="bf16", epsilons_px=(0, 4)).new == 1


def test_a_cell_that_fails_is_named_and_stops_no_other(folder: RunFolder, sets: Sets) -> None:
    strange = sets | {"natural-adversarial": images(9, "hard", strange=3)}
    outcome = measured(folder, strange)
    assert outcome.new == 6
    (line,) = outcome.failed
    assert line.startswith("imagenet-a/natural-adversarial: hard has label 77, but the model gives 10 classes")
    written = {path.relative_to(folder.root).parts[-2:] for path in folder.root.rglob("*.npz")}
    expected = {(name, f"{cell}.npz") for name, cells in CELLS.items() for cell in cells}
    assert written == expected - {("imagenet-a", "natural-adversarial.npz")}
    log = (folder.root.parent / "log.txt").read_text()
    assert f"failed: {line}" in log
    assert "0: 5 of 6 cells measured" in log
    again = measured(folder, strange)
    assert again == Measured(new=1, failed=outcome.failed)
    with pytest.raises(DataError, match="imagenet-a/natural-adversarial: hard has label 77"):
        refuse_failures([Measured(new=3, failed=()), again])
    refuse_failures([Measured(new=3, failed=())])


def test_every_cell_that_fails_is_named(folder: RunFolder, sets: Sets) -> None:
    strange = sets | {"val": images(12, "val", strange=0)}
    assert [line.split(":")[0] for line in measured(folder, strange).failed] == [
        "imagenet/val", "fgsm/sweep", "attacks/pgd-1-4", "attacks/pgd-1-8",
    ]  # fmt: skip


def test_a_broken_models_cells_fail_and_a_bug_is_no_failed_cell(folder: RunFolder, sets: Sets) -> None:
    class Broken(nn.Module):
        def __init__(self, raises: bool) -> None:
            super().__init__()
            self.raises = raises

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if self.raises:
                raise ZeroDivisionError
            return pixels.flatten(1)[:, :10] * torch.nan

    for raises, said in ((False, "not finite"), (True, "fails on")):
        context = EvalContext(model=Broken(raises), device="cpu", config=CONFIG, sets=sets, cache=folder.root)
        outcome = measure(folder, str(int(raises)), "w", context, plan(CONFIG, sets))
        assert len(outcome.failed) == 6
        assert all(said in line for line in outcome.failed)

    nothing: Any = None
    with pytest.raises(AttributeError):
        measure(folder, "2", "w", dataclasses.replace(context, model=nothing), plan(CONFIG, sets))
