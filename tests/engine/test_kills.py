"""Stopped after every step and killed at any moment, a run ends with the bytes of an unbroken one."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from nsbench import cli
from nsbench.config import Config
from nsbench.data.images import Task
from nsbench.engine.checkpoint import load_state, save_state
from nsbench.engine.generations import Engine
from nsbench.engine.loop import train
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import DataError, Stopped, TrainingError
from nsbench.files import read_json
from nsbench.models import build
from nsbench.runfolder import RunFolder
from nsbench.track import Counter, Curves, Progress
from nsbench.trainingconfig import SelectConfig

from .conftest import CLASSES, TRAIN, FixedTargets, images

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
    ("log.txt", 1, 0.2), ("gen0/train_state/*", 5, 0.4), ("gen0/*.safetensors", 1, 0.02), ("gen0/evals/*/*", 2, 0.1),
    ("gen1/labels/*", 1, 0.03), ("gen1/selection/*", 1, 0.03), ("gen1/train_state/*", 5, 0.4),
    ("gen1/evals/*/*", 1, 0.1), ("control/train_state/*", 1, 0.1), ("control/evals/*/*", 1, 0.1),
    ("results.csv", 1, 0.3),
)  # fmt: skip
"""Files, how many kills follow a change of them or later ones, and the most seconds between: 20 over all stages."""

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
    while stops <= len(expected["lines"]):
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


def command(words: Sequence[str], said: Path, most_bytes: int = 0) -> None:
    """`nsbench` in a process of its own, whose modules are there already; what it says goes to a file.

    Args:
        most_bytes: a file that grows beyond is refused by the kernel, as on a full disk.
    """
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.argv = ["nsbench", *words]
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked
    cli.main()


def started(words: Sequence[str], said: Path, most_bytes: int = 0) -> ForkServerProcess:
    process = CONTEXT.Process(target=command, args=(words, said, most_bytes))
    process.start()
    return process


def ended(words: Sequence[str], said: Path, most_bytes: int = 0) -> int | None:
    """Exit code of a command that is left alone."""
    process = started(words, said, most_bytes)
    process.join()
    return process.exitcode


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
    contents = [png(pixels) for pixels in images("pool", 30, 1).pixels]
    for number in range(3):
        with tarfile.open(root / f"pool-{number}.tar", "w") as tar:
            for row in range(10 * number, 10 * (number + 1)):
                member = tarfile.TarInfo(f"{row:02}.png")
                member.size = len(contents[row])
                tar.addfile(member, io.BytesIO(contents[row]))
    table = pa.table({"image": pa.array(contents, pa.binary())})
    pq.write_table(table, root / "pool.parquet", row_group_size=1, compression="none", use_dictionary=False)
    (root / "pool").mkdir()
    for row, content in enumerate(contents):
        (root / "pool" / f"{row:02}.png").write_bytes(content)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def words(data: Path, out: Path, *more: str, measured: bool = False) -> tuple[str, ...]:
    """A command line."""
    name = "train-and-eval" if measured else "train"
    return name, str(data / "config.toml"), "--data-dir", str(data), "-o", str(out), *more


def seen(root: Path, pattern: str) -> list[tuple[str, int]]:
    """Names and sizes of files."""
    found = []
    for path in root.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.name, path.stat().st_size))
    return sorted(found)


def wait_for(process: ForkServerProcess, root: Path, *patterns: str) -> None:
    """Until one of these files appears, goes or grows."""
    assert reached(process, root, *patterns), f"ended before {patterns[0]} changed"


def reached(process: ForkServerProcess, root: Path, *patterns: str) -> bool:
    """Wait as `wait_for`; False if the process ends before."""
    before = [seen(root, pattern) for pattern in patterns]
    while [seen(root, pattern) for pattern in patterns] == before:
        if not process.is_alive():
            return False
        time.sleep(0.002)
    return True


@pytest.fixture(scope="module")
def unbroken(data: Path) -> RunFolder:
    folder = RunFolder(data.parent / "unbroken" / "run")
    said = data / "said.txt"
    assert ended(words(data, folder.root, measured=True), said) == 0, said.read_text()
    assert [(line["generation"], line["step"]) for line in made(folder.root)["lines"]] == STEPS_OF_ALL
    return folder


def equal(folder: RunFolder, unbroken: RunFolder) -> bool:
    """Whether all weights, labels, selections and curves are the same, each step logged once."""
    return made(folder.root) == made(unbroken.root)


@pytest.mark.slow
def test_a_run_killed_at_20_random_moments_ends_with_the_bytes_of_an_unbroken_one(
    data: Path, unbroken: RunFolder, tmp_path: Path
) -> None:
    killed, said = RunFolder(tmp_path / "run"), tmp_path / "said.txt"
    moments, kills = random.Random(0), 0
    patterns = [pattern for pattern, _, _ in MOMENTS]
    for stage, (_, times, longest) in enumerate(MOMENTS):
        for _ in range(times):
            process = started(words(data, killed.root, measured=True), said)
            while not reached(process, killed.root, *patterns[stage:]):  # little was left to do: it is whole
                assert process.exitcode == 0, said.read_text()
                assert equal(killed, unbroken)
                shutil.rmtree(killed.root)
                process = started(words(data, killed.root, measured=True), said)
            time.sleep(moments.uniform(0, longest))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    assert kills == 20
    assert ended(words(data, killed.root, measured=True), said) == 0, said.read_text()
    assert equal(killed, unbroken)
    assert killed.results.read_bytes() == unbroken.results.read_bytes()
    names = [{str(path.relative_to(one.root)) for path in one.root.rglob("*")} for one in (killed, unbroken)]
    assert names[0] == names[1]  # nothing half-written is left


def refused(words: Sequence[str], said: Path, most_bytes: int = 0) -> tuple[int | None, str]:
    """Exit code and last line of a command that is to fail; never a traceback."""
    code = ended(words, said, most_bytes)
    text = said.read_text(encoding="utf-8")
    assert "Traceback" not in text
    return code, text.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["gen0/train_state/*", "gen1/labels/*", "gen1/train_state/*", "gen0/evals/*/*"])
def test_a_signal_stops_a_run_with_exit_code_75(stage: str, data: Path, unbroken: RunFolder, tmp_path: Path) -> None:
    folder, said = RunFolder(tmp_path / "run"), tmp_path / "said.txt"
    process = started(words(data, folder.root, measured="evals" in stage), said)
    wait_for(process, folder.root, stage)
    process.terminate()
    process.join()
    assert process.exitcode == 75
    last = said.read_text(encoding="utf-8").splitlines()[-1]
    assert re.fullmatch(r"nsbench: stopped by SIGTERM( in generation [01], step \d+)?; run again to continue", last)
    assert ("step" in last) == ("state" in stage)
    record = read_json(folder.run_json)
    assert (record["status"], record["exit_code"], f"nsbench: {record['said']}") == ("partial", 75, last)
    assert ended(words(data, folder.root), said) == 0, said.read_text()
    assert ("goes on after step" in said.read_text()) == ("state" in stage)
    assert equal(folder, unbroken)
    assert "exit_code" not in read_json(folder.run_json)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_last_good_state_is_kept(
    data: Path, unbroken: RunFolder, tmp_path: Path
) -> None:
    folder, said = RunFolder(tmp_path / "run"), tmp_path / "said.txt"
    state = folder.train_state("1") / "main.pt"
    process = started(words(data, folder.root), said)
    wait_for(process, folder.root, "gen1/train_state/main.pt")
    process.terminate()
    process.join()
    kept = state.read_bytes()
    code, line = refused(words(data, folder.root), said, most_bytes=len(kept) - 1)
    assert (code, line) == (3, f"nsbench: {state}: File too large; mend it, and the same command continues")
    assert read_json(folder.run_json)["exit_code"] == 3
    assert state.read_bytes() == kept
    assert not list(folder.root.rglob("*.part"))
    assert ended(words(data, folder.root), said) == 0, said.read_text()
    assert "generation 1: goes on after step" in said.read_text()
    assert equal(folder, unbroken)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_line(data: Path, unbroken: RunFolder, tmp_path: Path) -> None:
    folder, said = RunFolder(tmp_path / "run"), tmp_path / "said.txt"
    folder.root.write_text("a file in the place of a folder", encoding="utf-8")
    assert refused(words(data, folder.root), said) == (
        2, f"nsbench: run folder {folder.root} cannot be written (File exists); choose another with -o"
    )  # fmt: skip
    folder.root.unlink()
    process = started(words(data, folder.root), said)
    wait_for(process, folder.root, "gen0/train_state/main.pt")
    process.kill()
    process.join()
    shutil.rmtree(folder.train_state("0"))
    folder.generation("1").mkdir()
    for place in (folder.train_state("0"), folder.labels("1"), folder.train_state("1")):
        place.write_text("a file in the place of a folder", encoding="utf-8")
        code, line = refused(words(data, folder.root), said)
        assert code == 3
        assert str(place) in line
        place.unlink()
    assert ended(words(data, folder.root), said) == 0, said.read_text()
    assert equal(folder, unbroken)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.fixture(scope="module")
def with_pool(request: pytest.FixtureRequest, data: Path) -> tuple[list[str], RunFolder]:
    """Further words of the command for another pool, of which all is selected, and an unbroken run of it."""
    changes = (f"data.unlabelled={request.param}", "train.steps=100", "train.teacher_steps=5", "select.balance=off")
    more = [part for change in changes for part in ("-s", change)]
    folder, said = RunFolder(data.parent / f"unbroken-{request.param[:5]}"), data / "said.txt"
    assert ended(words(data, folder.root, *more), said) == 0, said.read_text()
    return more, folder


TAR, PARQUET, FOLDER = "pool-{0..2}.tar", "pool.parquet", "pool"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("with_pool", "name", "damage", "why"),
    [
        (TAR, "pool-1.tar", Path.unlink, "cannot be read (No such file or directory)"),
        (TAR, "pool-1.tar", cut, "has changed since its images were listed"),
        (PARQUET, "pool.parquet", cut, "cannot be read ("),
        (FOLDER, "pool", shutil.rmtree, "cannot be read (No such file or directory)"),
        (FOLDER, "pool/07.png", Path.unlink, "cannot be read (No such file or directory)"),
        (FOLDER, "pool/07.png", cut, "cannot be read ("),
        (FOLDER, "labelled/b/01.png", Path.unlink, "cannot be read (No such file or directory)"),
    ],
    indirect=["with_pool"],
)
def test_images_that_vanish_in_the_middle_are_one_line_and_the_run_goes_on_when_they_are_back(  # noqa: PLR0917
    with_pool: tuple[list[str], RunFolder],
    name: str,
    damage: Callable[[Path], None],
    why: str,
    data: Path,
    tmp_path: Path,
) -> None:
    more, unbroken = with_pool
    folder, own, said = RunFolder(tmp_path / "run"), tmp_path / "data", tmp_path / "said.txt"
    shutil.copytree(data, own)
    process = started(words(own, folder.root, *more), said)
    wait_for(process, folder.root, "gen1/train_state/main.pt")
    damage(own / name)
    process.join()
    text = said.read_text(encoding="utf-8")
    assert process.exitcode == 3, text
    assert "Traceback" not in text
    assert str(own / name) in text.splitlines()[-1]
    assert why in text.splitlines()[-1]
    assert read_json(folder.run_json)["exit_code"] == 3
    shutil.copytree(data, own, dirs_exist_ok=True)
    assert ended(words(own, folder.root, *more), said) == 0, said.read_text()
    assert "generation 1: goes on after step" in said.read_text()
    assert equal(folder, unbroken)


class Poisoned(FixedTargets):
    """Targets of the first part that are no numbers from a visit on."""

    visits_left = 0

    def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        type(self).visits_left -= 1
        return super().targets(shard, rows) * (np.nan if self.visits_left < 0 else 1)


def test_a_loss_that_is_no_number_names_its_step_and_keeps_the_last_good_state(
    make_run: Callable[..., TrainingRun], tmp_path: Path
) -> None:
    steps = dataclasses.replace(TRAIN, steps=9, log_steps=1, checkpoint_seconds=1e9)
    good = make_run(num_steps=9, train=steps, state_path=tmp_path / "good.pt")
    expected = state_of(good, Progress("none"))
    broken = make_run(num_steps=9, train=steps, state_path=tmp_path / "broken.pt")
    with pytest.raises(Stopped, match="step 1;"):
        state_of(broken, Signalled())
    kept = broken.state_path.read_bytes()
    Poisoned.visits_left = 4
    table = broken.parts[0].supervision.table  # type: ignore[attr-defined]
    parts = (dataclasses.replace(broken.parts[0], supervision=Poisoned(table=table)), broken.parts[1])
    with pytest.raises(
        TrainingError, match=r"^the loss of generation 1 is nan at step 5; lower .*\(the last good state is kept\)$"
    ):
        state_of(dataclasses.replace(broken, parts=parts), Progress("none"))
    assert broken.state_path.read_bytes() == kept
    assert state_of(broken, Progress("none")) == expected


def state_of(run: TrainingRun, progress: Progress, workers: int = 0) -> dict[str, bytes]:
    """Bytes of the average after training, or after going on with it."""
    done = train(
        run, build(run.model, 4, run.seed), device=torch.device("cpu"), workers=workers, progress=progress,
        curves=Curves(run.state_path.with_suffix(".jsonl")),
    )  # fmt: skip
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in done.model.state_dict().items()}


def test_a_killed_reader_is_one_line_and_the_run_goes_on(make_run: Callable[..., TrainingRun], tmp_path: Path) -> None:
    class Killing(Progress):
        @contextlib.contextmanager
        def counter(self, title: str, total: int, *, start: int = 0, unit: str = "step") -> Iterator[Counter]:
            yield _Killing(self, title, total, start, unit)

    class _Killing(Counter):
        def advance(self, count: int = 1, **figures: str) -> None:
            super().advance(count, **figures)
            if self.done == 30:
                (reader,) = multiprocessing.active_children()
                reader.kill()

    steps = dataclasses.replace(TRAIN, steps=90, log_steps=1, checkpoint_seconds=0.0)
    good = make_run(num_steps=90, train=steps, state_path=tmp_path / "good.pt")
    broken = make_run(num_steps=90, train=steps, state_path=tmp_path / "broken.pt")
    with pytest.raises(
        DataError, match=r"a process that reads images was killed, .*; take fewer workers, and the same"
    ):
        state_of(broken, Killing("none"), workers=1)
    assert load_state(broken.state_path, "f") is not None
    assert state_of(broken, Progress("none"), workers=1) == state_of(good, Progress("none"))
