"""Stopped after every step and killed at any moment, a run ends with the bytes of an unbroken one."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nsbench import cli
from nsbench.config import Config
from nsbench.data.images import Task
from nsbench.engine.checkpoint import load_state, save_state
from nsbench.engine.generations import Engine
from nsbench.errors import Stopped
from nsbench.runfolder import RunFolder
from nsbench.track import Counter, Curves, Progress
from nsbench.trainingconfig import SelectConfig

from .conftest import CLASSES, images

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.engine.test_kills", "timm.optim", "duckdb", "nsbench.pipeline", "nsbench.samples", "nsbench.report.page"]
)
CONFIG = """
generations = 1
device = "cpu"
workers = 1
[data]
dataset = "files"
labelled = "labelled"
unlabelled = ["pool-{0..2}.tar"]
val = "val"
[[models]]
name = "test_resnet"
input_px = 16
drop_rate = 0.2
drop_path_rate = 0.3
stem_pool = false
kwargs = { channels = [4, 4, 8, 8], stem_type = "deep", stem_width = 4 }
[noise]
translate_px = 4
cutout_px = 4
[train]
steps = 40
labelled_batch = 4
unlabelled_ratio = [2]
optimizer = "sgd"
learning_rate = 0.1
schedule = "cosine"
warmup_steps = 2
ema_decay = 0.9
log_steps = 1
checkpoint_seconds = 0.05
[select]
min_confidence = 0.0
[eval]
evals = ["imagenet", "fgsm"]
batch_size = 8
replicates = 100
epsilons_px = [0, 8]
"""
STEPS_OF_ALL = [(name, step) for name in ("0", "1", "control") for step in range(1, 41)]
MOMENTS = (
    ("log.txt", 2, 0.3), ("gen0/train_state/*", 2, 0.03), ("metrics.jsonl", 2, 0.3), ("gen0/*.safetensors", 1, 0.02),
    ("gen0/evals/*/*", 2, 0.3), ("gen1/labels/*", 1, 0.03), ("gen1/selection/*", 1, 0.03), ("metrics.jsonl", 3, 0.5),
    ("gen1/train_state/*", 2, 0.01), ("gen1/evals/*/*", 1, 0.1), ("control/train_state/*", 1, 0.1),
    ("control/evals/*/*", 1, 0.1), ("results.csv", 1, 0.3),
)  # fmt: skip
"""Files, how many kills follow a change of them, and the most seconds between change and kill: 20 over all stages."""

STEPS = 3
RECIPES: dict[str, dict[str, Any]] = {
    "soft labels, two students and a control": {"generations": 2, "control": True},
    "hard labels": {"train": {"pseudo_labels": "hard"}},
    "accumulation": {"train": {"accumulation": 2, "clip_norm": 0.1}},
    "pretrain, then finetune": {"train": {"stages": "pretrain-finetune", "finetune_steps": 2}},
    "FixRes with frozen blocks": {"fixres": {"steps": 2, "input_px": 24, "frozen_blocks": 1}},
    "finetune, then FixRes": {"train": {"stages": "pretrain-finetune"}, "fixres": {"epochs": 1, "learning_rate": 0.01}},
    "from the teacher": {"train": {"init": "teacher"}},
    "bf16": {"train": {"amp": "bf16"}},
    "RMSProp in stairs": {"train": {"optimizer": "rmsproptf", "schedule": "staircase", "decay_steps": 2}},
    "AdamW": {"train": {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "constant"}},
    "plain momentum, no average": {"train": {"optimizer": "momentum", "ema_decay": 0.0}},
    "Nesterov, frozen batch norm": {"train": {"optimizer": "nesterov", "batch_norm": "frozen"}},
    "raw, noised teacher": {"teacher": {"weights": "raw", "noised": True}},
    "two workers": {"workers": 2},
}


class Signalled(Progress):
    """Every phase that has a step left gets a real SIGTERM as its first one begins."""

    def __init__(self) -> None:
        super().__init__("none")
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    @contextlib.contextmanager
    def counter(self, title: str, total: int, *, start: int = 0, unit: str = "step") -> Iterator[Counter]:
        if unit == "step" and start < total:
            signal.raise_signal(signal.SIGTERM)
        yield Counter(self, title, total, start, unit)


def recipe(config: Config, name: str) -> Config:
    """One student of few steps, unless the recipe says more."""
    plain = {"generations": 1, "control": False, "select": SelectConfig(min_confidence=0.0, per_class=9)}
    train = dataclasses.replace(config.train, steps=STEPS, log_steps=1, checkpoint_seconds=1e9)
    config = dataclasses.replace(config, **plain, train=train)  # type: ignore[arg-type]
    changes = {
        key: dataclasses.replace(getattr(config, key), **value) if isinstance(value, dict) else value
        for key, value in RECIPES[name].items()
    }
    return dataclasses.replace(config, **changes)


def run(config: Config, task: Task, root: Path, progress: Progress) -> None:
    root.mkdir(exist_ok=True)
    folder = RunFolder(root)
    engine = Engine(
        config=config, task=task, folder=folder, device=torch.device("cpu"), progress=progress,
        curves=Curves(folder.metrics),
    )  # fmt: skip
    for _ in engine.run():
        pass


def made(root: Path) -> dict[str, Any]:
    """Bytes of all weights, labels and selections, and every line of the curves without its speed."""
    files = [path for pattern in ("**/*.safetensors", "**/*.parquet") for path in root.glob(pattern)]
    lines = [json.loads(line) for line in RunFolder(root).metrics.read_text(encoding="utf-8").splitlines()]
    assert all(line.pop("images_per_second") > 0 for line in lines)
    return {"lines": lines, **{str(path.relative_to(root)): path.read_bytes() for path in files}}


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_stopped_after_every_step_ends_with_the_bytes_of_an_unbroken_one(
    name: str, config: Config, task: Task, tmp_path: Path
) -> None:
    """Order, noise, averages, schedule and optimizer: each step is made by a process that loaded what it needs."""
    chosen = recipe(config, name)
    run(chosen, task, tmp_path / "unbroken", Progress("none"))
    expected = made(tmp_path / "unbroken")
    stops, resumed = 0, list[str]()
    while True:
        progress = Signalled()
        try:
            run(chosen, task, tmp_path / "stopped", progress)
            break
        except Stopped:
            stops += 1
        finally:
            resumed += [line for line in progress.lines if "goes on after" in line]
    assert stops == len(expected["lines"]) >= 2 * STEPS
    assert len(resumed) == stops
    assert made(tmp_path / "stopped") == expected


def test_a_signal_after_the_last_step_is_not_lost(config: Config, task: Task, tmp_path: Path) -> None:
    class Late(Progress):
        @contextlib.contextmanager
        def counter(self, title: str, total: int, *, start: int = 0, unit: str = "step") -> Iterator[Counter]:
            yield Counter(self, title, total, start, unit)
            if unit == "step":
                signal.raise_signal(signal.SIGTERM)

    def stop(_number: int, _frame: Any) -> None:
        raise Stopped("here")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped, match="here"):
            run(recipe(config, "hard labels"), task, tmp_path / "run", Late("none"))
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("damage", ["a bit", "the end", "everything"])
def test_a_damaged_state_costs_its_phase_and_nothing_else(
    damage: str, config: Config, task: Task, tmp_path: Path
) -> None:
    chosen = recipe(config, "pretrain, then finetune")
    run(chosen, task, tmp_path / "unbroken", Progress("none"))
    folder = RunFolder(tmp_path / "stopped")
    state = folder.train_state("1") / "finetune.pt"
    while not state.is_file():
        with pytest.raises(Stopped):
            run(chosen, task, folder.root, Signalled())
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1  # of a weight
    state.write_bytes({"a bit": content, "the end": content[:-1], "everything": b""}[damage])
    before = {path: path.stat().st_mtime_ns for path in folder.root.glob("**/pretrain.*")}
    progress = Signalled()
    with pytest.raises(Stopped, match=r"finetune, step 1;"):
        run(chosen, task, folder.root, progress)
    assert not any("goes on after" in line for line in progress.lines)
    run(chosen, task, folder.root, Progress("none"))
    assert len(before) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert made(folder.root) == made(tmp_path / "unbroken")


def test_a_state_is_never_code(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, "f", {"step": 3})
    assert load_state(path, "f") == {"fingerprint": "f", "step": 3}
    save_state(path, "f", {"step": Path("a pickled object")})
    assert load_state(path, "f") is None


def command(words: Sequence[str], said: Path) -> None:
    """`nsbench` in a process of its own, whose modules are there already; what it says goes to a file."""
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.argv = ["nsbench", *words]
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked
    cli.main()


def started(*words: str, said: Path) -> ForkServerProcess:
    process = CONTEXT.Process(target=command, args=(words, said))
    process.start()
    return process


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in class folders and in three tars, and the configuration of a run on them."""
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return root


def write_data(root: Path) -> None:
    (root / "config.toml").write_text(CONFIG, encoding="utf-8")
    for name, count, seed in (("labelled", 12, 0), ("val", 8, 2)):
        shown = images(name, count, seed)
        for row, label in enumerate(shown.labels.tolist()):
            path = root / name / CLASSES[label] / f"{row:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(shown.pixels[row]))
    pool = images("pool", 30, 1)
    for number in range(3):
        with tarfile.open(root / f"pool-{number}.tar", "w") as tar:
            for row in range(10 * number, 10 * (number + 1)):
                content = png(pool.pixels[row])
                member = tarfile.TarInfo(f"{row:02}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def train_and_eval(data: Path, out: Path, *more: str) -> tuple[str, ...]:
    return "train-and-eval", str(data / "config.toml"), "--data-dir", str(data), "-o", str(out), *more


def seen(root: Path, pattern: str) -> list[tuple[str, int]]:
    """Names and sizes of files."""
    found = []
    for path in root.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.name, path.stat().st_size))
    return sorted(found)


def kill_after(process: ForkServerProcess, root: Path, pattern: str, seconds: float) -> None:
    """SIGKILL so long after the next change of these files."""
    before = seen(root, pattern)
    while seen(root, pattern) == before:
        assert process.is_alive(), f"ended before {pattern} changed"
        time.sleep(0.002)
    time.sleep(seconds)
    assert process.is_alive(), f"ended soon after {pattern} changed"
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_at_20_random_moments_ends_with_the_bytes_of_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    unbroken, killed = RunFolder(tmp_path / "a" / "run"), RunFolder(tmp_path / "b" / "run")
    said = tmp_path / "said.txt"
    process = started(*train_and_eval(data, unbroken.root), said=said)
    process.join()
    assert process.exitcode == 0, said.read_text()
    moments = random.Random(0)
    kills = 0
    for pattern, times, longest in MOMENTS:
        for _ in range(times):
            process = started(*train_and_eval(data, killed.root), said=said)
            kill_after(process, killed.root, pattern, moments.uniform(0, longest))
            kills += 1
    process = started(*train_and_eval(data, killed.root), said=said)
    process.join()
    assert process.exitcode == 0, said.read_text()
    assert kills == 20
    expected = made(unbroken.root)
    assert [(line["generation"], line["step"]) for line in expected["lines"]] == STEPS_OF_ALL
    assert made(killed.root) == expected
    assert killed.results.read_bytes() == unbroken.results.read_bytes()
    names = [{str(path.relative_to(folder.root)) for path in folder.root.rglob("*")} for folder in (unbroken, killed)]
    assert names[1] == names[0]  # nothing half-written is left behind
