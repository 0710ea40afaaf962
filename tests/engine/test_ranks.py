"""Several ranks train what one process trains: real gloo processes under torchrun, the same images in every step."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

from nsbench.cli import leave
from nsbench.data.pools import HeldPool
from nsbench.distributed import Ranks, connected
from nsbench.engine.loop import TrainingRun, train
from nsbench.engine.optim import schedule
from nsbench.engine.supervision import one_hot
from nsbench.models import build, save_weights
from nsbench.track import Curves, Progress
from nsbench.trainingconfig import ModelConfig

from .conftest import NOISE, TINY, TRAIN, images, part

STEPS = 50
ROOT = Path(__file__).resolve().parents[2]
STILL = dataclasses.replace(TINY, drop_rate=0.0, drop_path_rate=0.0)
GROUP_NORM = dataclasses.replace(STILL, kwargs={**TINY.kwargs, "norm_layer": "groupnorm1"})
RECIPES: dict[str, tuple[ModelConfig, dict[str, Any]]] = {
    "group norm": (GROUP_NORM, {}),
    "group norm, accumulation 2": (GROUP_NORM, {"accumulation": 2}),
    "frozen batch norm": (STILL, {"batch_norm": "frozen"}),
    "frozen batch norm, accumulation 2": (STILL, {"batch_norm": "frozen", "accumulation": 2}),
}


def run_of(name: str, folder: Path) -> TrainingRun:
    """10 labelled and 20 unlabelled images a step: four ranks with two micro-batches each have unequal shares."""
    model, changes = RECIPES[name]
    config = dataclasses.replace(TRAIN, steps=STEPS, log_steps=1, checkpoint_seconds=1e9, **changes)
    labelled, pool = images("labelled", 12, 0), images("pool", 30, 1, known=False)
    soft = np.random.default_rng(5).dirichlet(np.ones(4), 30).astype(np.float32)
    return TrainingRun(
        generation="1",
        model=model,
        train=config,
        noise=NOISE,
        parts=(
            part(HeldPool(labelled), one_hot(labelled.labels, 4, 0.1), 10, labelled=True),
            part(HeldPool(pool), soft, 20, labelled=False),
        ),
        schedule=schedule(config, num_steps=STEPS, num_labelled=12),
        num_steps=STEPS,
        size=16,
        seed=3,
        fingerprint=name,
        state_path=folder / f"{name}.pt",
    )


def work(ranks: Ranks, folder: Path) -> None:
    """Train every recipe; rank 0 leaves curves and weights."""
    torch.set_num_threads(1)
    for name in RECIPES:
        run = run_of(name, folder)
        done = train(
            run,
            build(run.model, 4, run.seed),
            device=torch.device("cpu"),
            workers=0,
            progress=Progress("none"),
            curves=Curves(folder / f"{name}.jsonl"),
            ranks=ranks,
        )
        if ranks.is_main:
            save_weights(folder / f"{name}.safetensors", done.model)


def read(folder: Path, name: str) -> tuple[list[dict[str, Any]], dict[str, npt.NDArray[np.float32]]]:
    """The lines of the curves, and every weight."""
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    weights = safetensors.torch.load((folder / f"{name}.safetensors").read_bytes())
    return lines, {key: tensor.numpy() for key, tensor in weights.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world1")
    work(Ranks(), folder)
    return folder


@pytest.fixture(scope="module", params=[2, 4])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={request.param}"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.engine.test_ranks", str(folder)],
        cwd=ROOT, timeout=300, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_ranks_learn_what_one_process_learns(name: str, alone: Path, together: Path) -> None:
    """The same images and targets in every step, whoever works on them: losses, rates and weights agree."""
    lines, weights = read(alone, name)
    shared_lines, shared_weights = read(together, name)
    assert [line["step"] for line in shared_lines] == [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for key in ("loss", "loss_labelled", "loss_unlabelled", "lr"):
        ours, theirs = (np.array([line[key] for line in of]) for of in (lines, shared_lines))
        print(name, key, np.abs(ours - theirs).max())
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5, err_msg=key)
    assert np.ptp([line["loss"] for line in lines]) > 0.1
    for key, values in weights.items():
        np.testing.assert_allclose(shared_weights[key], values, rtol=0, atol=1e-5, err_msg=key)
    print(max(np.abs(shared_weights[key] - values).max() for key, values in weights.items()))


if __name__ == "__main__":
    with connected() as own:
        work(own, Path(sys.argv[1]))
    leave(0)
