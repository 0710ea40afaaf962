"""Reports of made-up runs, each written once for all tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbench.report.page import write_comparison, write_report
from nsbench.runfolder import RunFolder
from tests.report.synthetic import Synthetic, SyntheticModels, write_models, write_run

COMPARED = tuple(
    Synthetic(
        name=f"{recipe}-{seed}", recipe=recipe, seed=seed, gain=gain, students=2, pictures=False,
        evals=("imagenet", "imagenet-a", "fgsm", "pseudo-labels"),
    )
    for recipe, gain in (("no-noise", 0.3), ("noisy-student", 1.0))
    for seed in (0, 1, 2)
)  # fmt: skip

ODD_MODELS = SyntheticModels(
    warned=(("alexnet", "imagenet-c", "fog-4"), ("alexnet", "imagenet-c", "snow-5"), ("vit_small", "imagenet", "val")),
    lacking=(("vit_small", "imagenet-c", "frost-3"),),
    skipped=(("imagenet-p", "no folder imagenet-p in /data"),),
    notes=("weights IMAGENET1K_V2, torchvision's default",),
    partial="at most 60 images of a set",
    held_out=False,
    status="partial",
)


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = write_run(tmp_path_factory.mktemp("one") / "run", Synthetic())
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a comparison of two recipes with three seeds each."""
    root = tmp_path_factory.mktemp("several")
    write_comparison([write_run(root / run.name, run) for run in COMPARED], root / "out")
    return root / "out"


@pytest.fixture(scope="session")
def models_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Three models on every suite, with everything that there is to check first."""
    folder = write_models(tmp_path_factory.mktemp("models") / "run", ODD_MODELS)
    write_report(folder)
    return folder
