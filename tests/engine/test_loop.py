"""One training run: its losses by hand, its weights the same whatever interrupts it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nsbench.data.images import ImageSet
from nsbench.engine.checkpoint import load_state, save_state
from nsbench.engine.loop import train
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import Stopped, TrainingError
from nsbench.models import PixelModel, build
from nsbench.track import Curves, Progress
from nsbench.trainingconfig import NoiseConfig

from .conftest import TINY, TRAIN, FixedTargets

CPU = torch.device("cpu")
MakeRun = Callable[..., TrainingRun]


def trained(run: TrainingRun, curves: Curves, workers: int = 0) -> dict[str, bytes]:
    """Bytes of every weight and buffer of the average after training."""
    model = build(run.model, 4, run.seed)
    done = train(run, model, device=CPU, workers=workers, progress=Progress("none"), curves=curves)
    assert done.images == run.images_a_step * run.num_steps
    assert done.seconds > 0
    return weights(done.model)


def weights(model: PixelModel) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in model.state_dict().items()}


@pytest.fixture
def curves(tmp_path: Path) -> Curves:
    return Curves(tmp_path / "metrics.jsonl")


def test_training_is_deterministic_and_depends_on_the_seed(make_run: MakeRun, curves: Curves) -> None:
    first = trained(make_run(), curves)
    torch.manual_seed(99)
    assert trained(make_run(), curves) == first
    assert trained(make_run(seed=4), curves) != first
    assert weights(build(TINY, 4, 3)) != first


def test_workers_do_not_change_a_weight(make_run: MakeRun, curves: Curves) -> None:
    assert trained(make_run(), curves, workers=1) == trained(make_run(), curves, workers=0)


def test_training_learns(make_run: MakeRun, curves: Curves) -> None:
    still = NoiseConfig(num_ops=0, crop_padding_px=0, flip=False)
    run = make_run(labels_alone=True, num_steps=60, noise=still, train=dataclasses.replace(TRAIN, steps=60))
    model = build(TINY, 4, 0)
    average = train(run, model, device=CPU, workers=0, progress=Progress("none"), curves=curves).model.eval()
    shown = run.parts[0].pool.shard(0)
    assert isinstance(shown, ImageSet)
    with torch.no_grad():
        predicted = average(torch.from_numpy(shown.pixels).permute(0, 3, 1, 2) / 255).argmax(dim=1)
    assert (predicted.numpy() == shown.labels).mean() >= 0.9
    assert model.training
    lines = [json.loads(line) for line in curves.path.read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [25, 50, 60]
    assert lines[0]["loss_unlabelled"] is None


class StopAt(Curves):
    """Sends real SIGTERMs when the first curve line is written, after 25 steps."""

    workers_too = False

    def add(self, **record: Any) -> None:
        super().add(**record)
        if record["step"] == 25:
            signal.raise_signal(signal.SIGTERM)
            if self.workers_too:
                workers = [str(worker.pid) for worker in multiprocessing.active_children()]
                subprocess.run(["kill", "-TERM", *workers], check=True)  # torch tells a parent's signal from others
                time.sleep(0.5)  # a step of a real model is not done at once


def test_a_run_stopped_by_sigterm_continues_to_the_same_weights(
    make_run: MakeRun, curves: Curves, tmp_path: Path
) -> None:
    """Momentum, weight average, batch-norm statistics, schedule and noise all continue where they were."""
    changes: dict[str, Any] = {"num_steps": 30, "train": dataclasses.replace(TRAIN, steps=30)}
    unbroken = trained(make_run(**changes, state_path=tmp_path / "unbroken.pt"), curves)
    lines = curves.path.read_text(encoding="utf-8").splitlines()
    curves.path.unlink()
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="step 26") as stopped:
        trained(make_run(**changes), StopAt(curves.path))
    assert stopped.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == handler
    state = load_state(tmp_path / "state" / "main.pt", "f")
    assert state is not None
    assert state["step"] == 26
    with curves.path.open("a", encoding="utf-8") as stream:
        stream.write('{"generation": "1", "st')  # as a kill would leave it
    assert trained(make_run(**changes), curves) == unbroken
    again = curves.path.read_text(encoding="utf-8").splitlines()
    assert [dropped(line) for line in again] == [dropped(line) for line in lines]


def dropped(line: str) -> dict[str, Any]:
    """A curve line without its speed."""
    return {name: value for name, value in json.loads(line).items() if name != "images_per_second"}


def test_a_state_of_another_run_is_not_continued(make_run: MakeRun, curves: Curves) -> None:
    changes: dict[str, Any] = {"num_steps": 30, "train": dataclasses.replace(TRAIN, steps=30)}
    with pytest.raises(Stopped):
        trained(make_run(**changes), StopAt(curves.path))
    short = make_run(fingerprint="g")
    assert trained(short, curves) == trained(
        dataclasses.replace(short, state_path=short.state_path.with_name("no.pt")), curves
    )


def test_states_are_whole_own_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    assert load_state(path, "f") is None
    save_state(path, "f", {"step": 3, "model": {"w": torch.arange(3.0)}})
    state = load_state(path, "f")
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["model"]["w"], torch.arange(3.0))
    assert load_state(path, "g") is None
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:5], b""):
        path.write_bytes(content)
        assert load_state(path, "f") is None
    torch.save({"fingerprint": "f", "step": Path("x")}, path)  # a pickled object is not executed
    assert load_state(path, "f") is None


def test_a_loss_that_is_not_finite_stops_and_names_the_step(make_run: MakeRun, curves: Curves) -> None:
    wild = dataclasses.replace(TRAIN, learning_rate=1e30, clip_norm=0.0, warmup_steps=0, checkpoint_seconds=1e9)
    with pytest.raises(TrainingError, match=r"generation 1 is \S+ at step [1-4]; lower train\.learning_rate"):
        trained(make_run(train=wild), curves)
    run = make_run()
    unknown = FixedTargets(table=np.full((12, 4), np.nan, np.float32))
    broken = dataclasses.replace(run, parts=(dataclasses.replace(run.parts[0], supervision=unknown), run.parts[1]))
    with pytest.raises(TrainingError, match="at step 0"):
        trained(broken, curves)
    assert not run.state_path.exists()


def test_a_sigterm_to_the_whole_process_group_stops_as_one_to_the_process(make_run: MakeRun, curves: Curves) -> None:
    """Schedulers and service managers signal every process of a job, the loader's too."""
    stop = StopAt(curves.path)
    stop.workers_too = True
    changes: dict[str, Any] = {"num_steps": 60, "train": dataclasses.replace(TRAIN, steps=60)}
    with pytest.raises(Stopped):
        trained(make_run(**changes), stop, workers=1)
