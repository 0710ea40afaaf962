"""Several ranks train what one process trains: real gloo processes under torchrun, the same images in every step."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
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
from nsbench.engine.checkpoint import load_state
from nsbench.engine.loop import train
from nsbench.engine.optim import schedule
from nsbench.engine.supervision import one_hot
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import ConfigError, DataError, NsbenchError, Stopped
from nsbench.models import build, save_weights
from nsbench.track import Counter, Curves, Progress
from nsbench.trainingconfig import ModelConfig

from .conftest import NOISE, TINY, TRAIN, FixedTargets, images, part

STEPS, STOPPED_AFTER = 50, 20
ROOT = Path(__file__).resolve().parents[2]
STILL = dataclasses.replace(TINY, drop_rate=0.0, drop_path_rate=0.0)
GROUP_NORM = dataclasses.replace(STILL, kwargs={**TINY.kwargs, "norm_layer": "groupnorm1"})
SINGLE, DOUBLE = (torch.float32, 1e-5), (torch.float64, 1e-12)
"""The arithmetic, and how much the order of sums may move a loss or a weight."""
RECIPES: dict[str, tuple[ModelConfig, dict[str, Any], tuple[torch.dtype, float]]] = {
    "group norm": (GROUP_NORM, {}, SINGLE),
    "group norm, accumulation 2": (GROUP_NORM, {"accumulation": 2}, SINGLE),
    "frozen batch norm": (STILL, {"batch_norm": "frozen"}, SINGLE),
    "frozen batch norm, accumulation 2": (STILL, {"batch_norm": "frozen", "accumulation": 2}, SINGLE),
    "group norm, accumulation 2, float64": (GROUP_NORM, {"accumulation": 2}, DOUBLE),
    "frozen batch norm, accumulation 2, float64": (STILL, {"batch_norm": "frozen", "accumulation": 2}, DOUBLE),
}


def run_of(model: ModelConfig, changes: dict[str, Any], state: Path, steps: int = STEPS) -> TrainingRun:
    """10 labelled and 20 unlabelled images a step: four ranks with two micro-batches each have unequal shares."""
    plain = {"steps": steps, "log_steps": 1, "checkpoint_seconds": 1e9, "learning_rate": 0.02}
    config = dataclasses.replace(TRAIN, **{**plain, **changes})
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
        schedule=schedule(config, num_steps=steps, num_labelled=12),
        num_steps=steps,
        size=16,
        seed=3,
        fingerprint="f",
        state_path=state,
    )


class Stopping(Progress):
    """Sends this process a real SIGTERM after `step` steps; 0: never."""

    def __init__(self, step: int) -> None:
        super().__init__("none")
        self.step = step

    @contextlib.contextmanager
    def counter(self, title: str, total: int, *, start: int = 0, unit: str = "step") -> Iterator[Counter]:
        yield _Stopping(self, title, total, start, unit)


class _Stopping(Counter):
    def advance(self, count: int = 1, **figures: str) -> None:
        super().advance(count, **figures)
        assert isinstance(self.progress, Stopping)
        if self.done == self.progress.step:
            signal.raise_signal(signal.SIGTERM)


def trained(run: TrainingRun, ranks: Ranks, name: str, *, dtype: torch.dtype = torch.float32, stop: int = 0) -> None:
    """Train; rank 0 leaves curves and averaged weights beside the state."""
    folder = run.state_path.parent
    done = train(
        run,
        build(run.model, 4, run.seed).to(dtype),
        device=torch.device("cpu"),
        workers=0,
        progress=Stopping(stop),
        curves=Curves(folder / f"{name}.jsonl"),
        ranks=ranks,
    )
    if ranks.is_main:
        save_weights(folder / f"{name}.safetensors", done.model)


def stop_and_go_on(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """With every noise and batch norms of each rank's own: unbroken, and stopped by a signal to the last rank alone."""
    run = run_of(TINY, {"accumulation": 2}, folder / "stopped.pt", steps=30)
    trained(dataclasses.replace(run, state_path=folder / "no.pt"), ranks, "unbroken")
    said = ""
    try:
        trained(run, ranks, "stopped", stop=STOPPED_AFTER if ranks.rank == ranks.world - 1 else 0)
    except Stopped as stopped:
        said = str(stopped)
    state = load_state(run.state_path, "f")
    trained(run, ranks, "stopped")
    return {"stopped": said, "saved": state and state["step"]}


def failures(ranks: Ranks, folder: Path) -> list[str]:
    """What a rank hears of a label that the last one alone cannot read, and of a state that rank 0 alone finds."""
    run = run_of(STILL, {}, folder / "failed.pt", steps=30)

    class Broken(FixedTargets):
        def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            if ranks.rank == ranks.world - 1 and 7 in rows:
                raise DataError("the last rank cannot read a label")
            return super().targets(shard, rows)

    broken = Broken(table=one_hot(images("labelled", 12, 0).labels, 4, 0.1))
    told = []
    for failing in (
        dataclasses.replace(run, parts=(dataclasses.replace(run.parts[0], supervision=broken), run.parts[1])),
        dataclasses.replace(run, state_path=folder / ("stopped.pt" if ranks.is_main else "none.pt")),
    ):
        try:
            trained(failing, ranks, "failed", stop=STOPPED_AFTER)
        except NsbenchError as error:
            told.append(type(error).__name__ + ": " + str(error).partition(str(folder))[0])
    return told


def work(ranks: Ranks, folder: Path) -> None:
    torch.set_num_threads(1)
    for name, (model, changes, (dtype, _)) in RECIPES.items():
        trained(run_of(model, changes, folder / f"{name}.pt"), ranks, name, dtype=dtype)
    if ranks.world > 1:
        said = {**stop_and_go_on(ranks, folder), "told": failures(ranks, folder)}
        (folder / f"rank{ranks.rank}.json").write_text(json.dumps(said))


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


@pytest.fixture(scope="module", params=[2, 4], ids="{} ranks".format)
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
    """The same images and targets in every step, whoever works on them."""
    tolerance = RECIPES[name][2][1]
    (lines, weights), (shared_lines, shared_weights) = read(alone, name), read(together, name)
    assert [line["step"] for line in shared_lines] == [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for key in ("loss", "loss_labelled", "loss_unlabelled", "accuracy_labelled", "lr"):
        ours, theirs = (np.array([line[key] for line in of]) for of in (lines, shared_lines))
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=tolerance, err_msg=key)
    assert np.ptp([line["loss"] for line in lines]) > 0.05
    for key, values in weights.items():
        np.testing.assert_allclose(shared_weights[key], values, rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_after_the_same_step_and_nothing_is_lost(together: Path) -> None:
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(together.glob("rank*.json"))]
    after = STOPPED_AFTER + 1  # the signal comes between two steps, and is seen with the next one
    assert {one["stopped"] for one in told} == {
        f"stopped by SIGTERM in generation 1, step {after}; run again to continue"
    }
    assert {one["saved"] for one in told} == {after}  # by all: none has left before the state was written
    assert (together / "stopped.safetensors").read_bytes() == (together / "unbroken.safetensors").read_bytes()
    (lines, _), (unbroken, _) = read(together, "stopped"), read(together, "unbroken")
    assert all(line.pop("images_per_second") > 0 for line in lines + unbroken)
    assert lines == unbroken


@pytest.mark.slow
def test_what_fails_on_one_rank_is_told_by_all(together: Path) -> None:
    told = [json.loads(path.read_text(encoding="utf-8"))["told"] for path in sorted(together.glob("rank*.json"))]
    assert told == [
        ["DataError: the last rank cannot read a label", "ConfigError: ranks find different states at "]
    ] * len(told)


@pytest.mark.parametrize(
    ("model", "accumulation", "fits"),
    [(TINY, 10, True), (TINY, 11, False), (GROUP_NORM, 20, True), (GROUP_NORM, 21, False)],
)
def test_a_batch_is_cut_into_no_more_pieces_than_it_has_images_for(
    model: ModelConfig, accumulation: int, fits: bool, tmp_path: Path
) -> None:
    """Of 10 and 20 images: the smallest piece has 3, 1, 1 and 0 of them, and batch norm needs two."""
    run = run_of(model, {"accumulation": accumulation}, tmp_path / "state.pt", steps=2)
    refused = pytest.raises(ConfigError, match=rf"has 30 images a step, too few for 1 x {accumulation} \(ranks x train")
    with contextlib.nullcontext() if fits else refused:
        trained(run, Ranks(), "trained")


if __name__ == "__main__":
    with connected() as own:
        work(own, Path(sys.argv[1]))
    leave(0)
