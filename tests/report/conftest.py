"""Reports of made-up runs, each written once for all tests that only read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from nsbench.report.page import write_comparison, write_report
from nsbench.runfolder import RunFolder
from tests.report.browser import started
from tests.report.synthetic import Synthetic, SyntheticModels, write_models, write_run

COMPARED = tuple(
    Synthetic(
        name=f"{recipe}-{seed}", recipe=recipe, seed=seed, gain=gain, students=2, pictures=False,
        evals=("imagenet", "imagenet-a", "fgsm", "pseudo-labels"),
    )
    for recipe, gain in (("no-noise", 0.3), ("noisy-student", 1.0))
    for seed in (0, 1, 2)
)  # fmt: skip

KINDS = ("run", "seeds", "ablations", "models", "two models", "models of two runs")
"""What a page may be about."""

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


@pytest.fixture(scope="session")
def pages(
    tmp_path_factory: pytest.TempPathFactory, one_run: RunFolder, compared: Path, models_run: RunFolder
) -> dict[str, Path]:
    """A page of every kind."""
    root = tmp_path_factory.mktemp("kinds")
    seeds = [Synthetic(name=f"seed-{k}", seed=k, students=2, pictures=False) for k in range(3)]
    write_comparison([write_run(root / run.name, run) for run in seeds], root / "seeds")
    two = write_models(root / "two", SyntheticModels(names=("resnet50", "efficientnet_lite0.ra_in1k")))
    write_report(two)
    apart = [
        SyntheticModels(name="first", names=("resnet50", "convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_384")),
        SyntheticModels(name="second", names=("vit_small",)),
    ]
    write_comparison([write_models(root / run.name, run) for run in apart], root / "apart")
    return {
        "run": one_run.report,
        "seeds": root / "seeds" / "report.html",
        "ablations": compared / "report.html",
        "models": models_run.report,
        "two models": two.report,
        "models of two runs": root / "apart" / "report.html",
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For the tests of one file: while it runs, no other event loop can."""
    with started() as chromium:
        yield chromium
