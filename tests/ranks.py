"""What the ranks of one job do, for `tests/test_distributed.py`: `torchrun -m tests.ranks OUT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from nsbench.cli import leave
from nsbench.config import EvalConfig
from nsbench.data.folder import open_folder
from nsbench.data.images import ImageSet
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet
from nsbench.distributed import Ranks, connected
from nsbench.errors import DataError, NsbenchError
from nsbench.evals import EvalContext
from nsbench.evals.answers import classify
from nsbench.measuring import Plan, measure, plan
from nsbench.runfolder import RunFolder

CONFIG = EvalConfig(
    evals=("imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm", "attacks"), batch_size=8,
    epsilons_px=(0, 8), pgd_epsilons_px=(8,), pgd_steps=2, perturbation_images=10, on_bad_image="skip",
)  # fmt: skip
CELLS = {"imagenet-c": ("clean", "fog-3", "gaussian_noise-1"), "imagenet-p": ("tilt",)}


def images(num: int, name: str, strange: int | None = None) -> ImageSet:
    """Noise; the label of one image may be of no class."""
    rng = np.random.default_rng(num)
    labels = rng.integers(0, 10, num)
    if strange is not None:
        labels[strange] = 77
    return ImageSet(
        name=name,
        ids=np.array([f"{name}-{k:03d}" for k in range(num)]),
        pixels=rng.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8),
        labels=labels,
        classes=tuple("0123456789"),
    )


def write_files(root: Path) -> None:
    """29 small images in two classes; two of them cannot be read."""
    for k, pixels in enumerate(images(29, "files").pixels):
        path = root / "ab"[k % 2] / f"{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (root / "a" / "04.png").write_bytes(b"")
    (root / "b" / "27.png").write_text("no image")


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(1800, 10)
    )


def measured(ranks: Ranks, out: Path) -> dict[str, Any]:
    """Records of a few cells of every eval, and of files of which two cannot be read."""
    listing = open_folder(out.parent / "files", name="files")
    sets: dict[str, Any] = {
        "val": images(37, "val"),
        "natural-adversarial": images(5, "one-batch"),
        "complement": StreamedSet(listing=listing, view=View(size=32, resize=None), on_bad_image="skip", workers=1),
    }
    context = EvalContext(model=model(), device="cpu", config=CONFIG, sets=sets, cache=out / "cache", ranks=ranks)
    whole = plan(CONFIG, sets)
    cells = {
        name: {c: s for c, s in shown.items() if c in CELLS.get(name, shown)} for name, shown in whole.cells.items()
    }
    outcome = measure(RunFolder(out), "0", "weights", context, Plan(protocols=whole.protocols, cells=cells))
    again = measure(RunFolder(out), "0", "weights", context, Plan(protocols=whole.protocols, cells=cells))
    return {"new": outcome.new, "failed": outcome.failed, "again": again.new}


def errors(ranks: Ranks, out: Path) -> list[str]:
    """What every rank is told when one of them fails, and that they are in step afterwards."""
    context = EvalContext(model=model(), device="cpu", config=CONFIG, sets={}, cache=out / "cache", ranks=ranks)
    told = []

    def attempt(work: Any) -> None:
        try:
            work()
            told.append("nothing")
        except NsbenchError as error:
            told.append(f"{type(error).__name__}: {error}")

    def fail_here() -> ImageSet:
        if ranks.rank == ranks.world - 1:
            raise DataError("the last rank cannot read the cache")
        return images(3, "held")

    attempt(lambda: classify(context, images(37, "late", strange=12)))  # the second batch: another rank's
    attempt(lambda: context.held("key", fail_here))
    attempt(lambda: ranks.first(lambda: fail_here() if ranks.world == 1 else 3))
    return told


def work(ranks: Ranks, out: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    pieces = ranks.joined(lambda: {k: f"{k} of {ranks.rank}" for k in ranks.own(range(7))})
    return {
        "world": ranks.world,
        "pieces": [[key, text] for key, text in pieces.items()],
        "first": ranks.first(lambda: f"said by {ranks.rank}"),
        "measured": measured(ranks, out),
        "errors": errors(ranks, out),
        "after": sorted(ranks.joined(lambda: {ranks.rank: ranks.is_main}).values()),
    }


if __name__ == "__main__":
    with connected() as own:
        folder = Path(sys.argv[1])
        found = work(own, folder)
        (folder / f"rank{own.rank}.json").write_text(json.dumps(found))
    leave(0)
