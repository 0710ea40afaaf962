"""Reports of made-up runs, each written once for all tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbench.report.page import write_comparison, write_report
from nsbench.runfolder import RunFolder
from tests.report.synthetic import Synthetic, write_run

COMPARED = tuple(
    Synthetic(
        name=f"{recipe}-{seed}", recipe=recipe, seed=seed, gain=gain, students=2, pictures=False,
        evals=("imagenet", "imagenet-a", "fgsm", "pseudo-labels"),
    )
    for recipe, gain in (("no-noise", 0.3), ("noisy-student", 1.0))
    for seed in (0, 1, 2)
)  # fmt: skip


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
