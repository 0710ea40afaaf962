"""Mirrors of the curves, read back with TensorBoard's own reader and with W&B's own records; and mirrors that break."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nsbench import mirrors
from nsbench.errors import ConfigError
from nsbench.mirrors import open_mirrors
from nsbench.track import Curves

Points = list[tuple[int, float]]


def opened(folder: Path, *names: str) -> Curves:
    folder.mkdir(exist_ok=True)
    return Curves(folder / "metrics.jsonl", open_mirrors(names, folder, name=folder.name, config={"seed": 3}))


def train(curves: Curves, generation: str, start: int, stop: int) -> None:
    """Steps after `start` up to `stop`, logged every 25; a step's loss is the same whenever it is run."""
    curves.rewind(generation, start)
    for step in range(start + 1, stop + 1):
        if step % 25 == 0:
            curves.add(generation=generation, phase="main", step=step, loss=1 / step, loss_unlabelled=None)


def losses(*steps: int) -> Points:
    return [(step, 1 / step) for step in steps]


def logged(folder: Path) -> dict[str, Points]:
    """What metrics.jsonl says, by generation."""
    found: dict[str, Points] = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found.setdefault(record["generation"], []).append((record["step"], record["loss"]))
    return found


def shown(folder: Path, run: str) -> dict[str, Points]:
    """What TensorBoard shows of one of its runs, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not (folder / "tensorboard" / run).is_dir():
        return {}
    events = EventAccumulator(str(folder / "tensorboard" / run), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)] for tag in tags}


# --- TensorBoard


def test_tensorboard_shows_each_step_once_however_often_a_run_is_continued(tmp_path: Path) -> None:
    with closing(opened(tmp_path, "tensorboard")) as curves:
        train(curves, "0", 0, 150)
        train(curves, "1", 0, 100)
    for start, stop in ((60, 75), (60, 75), (75, 125)):  # a state of step 60 twice; then one of step 75
        with closing(opened(tmp_path, "tensorboard")) as curves:
            train(curves, "1", start, stop)
    assert shown(tmp_path, "gen0") == {"loss": losses(25, 50, 75, 100, 125, 150)}
    assert shown(tmp_path, "gen1") == {"loss": losses(25, 50, 75, 100, 125)}
    assert logged(tmp_path) == {"0": losses(25, 50, 75, 100, 125, 150), "1": losses(25, 50, 75, 100, 125)}


def test_tensorboard_forgets_what_was_logged_after_the_saved_state_before_it_is_run_again(tmp_path: Path) -> None:
    for start, stop in ((0, 100), (60, 74)):
        with closing(opened(tmp_path, "tensorboard")) as curves:
            train(curves, "control", start, stop)
    assert shown(tmp_path, "control") == {"loss": losses(25, 50)}


def test_tensorboard_shows_results_over_generations_once(tmp_path: Path) -> None:
    for _ in range(2):  # a continued run says all of them again
        with closing(opened(tmp_path, "tensorboard")) as curves:
            for generation, top1 in (("0", 0.5), ("1", 0.625), ("2", 0.75), ("control", 0.5625)):
                train(curves, generation, 0, 25)
                curves.result(generation, "top1", top1)
                curves.result(generation, "mCE", 100 * top1)
    over_generations = [(0, 0.5), (1, 0.625), (2, 0.75)]
    assert shown(tmp_path, "results") == {"top1": over_generations, "mCE": [(x, 100 * y) for x, y in over_generations]}
    assert shown(tmp_path, "results/control") == {"top1": [(2, 0.5625)], "mCE": [(2, 56.25)]}
    assert shown(tmp_path, "gen2") == {"loss": losses(25)}


def test_tensorboard_shows_a_step_while_the_run_goes_on(tmp_path: Path) -> None:
    with closing(opened(tmp_path, "tensorboard")) as curves:
        train(curves, "0", 0, 50)
        end = time.monotonic() + 20
        while (found := shown(tmp_path, "gen0")) != {"loss": losses(25, 50)}:
            assert time.monotonic() < end, found
            time.sleep(0.05)


# --- Weights & Biases


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B without a network, a home or an account."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def records(folder: Path) -> list[object]:
    """W&B's own records of the runs of one folder, in the order of their files: a LevelDB log of its protobufs."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for path in sorted(folder.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        data, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            left = 32768 - at % 32768
            if left < 7:
                at += left
                continue
            length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
            whole += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # a whole record, or the last part of one
                found.append(wandb_internal_pb2.Record.FromString(whole))
                whole = b""
    return found


def history(folder: Path) -> list[dict[str, float]]:
    rows = [record.history.item for record in records(folder) if record.HasField("history")]
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row if "gen" in str(item)}
        for row in rows
    ]


@pytest.mark.usefixtures("offline")
def test_wandb_gets_each_step_once_under_one_id(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    for start, stop in ((0, 100), (60, 150)):
        with closing(opened(run, "wandb")) as curves:
            train(curves, "1", start, stop)
            curves.result("1", "top1", 0.75)
    assert history(run) == [{"gen1/step": step, "gen1/loss": loss} for step, loss in losses(25, 50, 75, 100, 125, 150)]
    started = [record.run for record in records(run) if record.HasField("run")]
    assert {one.run_id for one in started} == {(run / "wandb" / "run_id").read_text(encoding="utf-8").strip()}
    assert {(one.project, one.display_name) for one in started} == {("nsbench", "a run")}
    assert {item.key: item.value_json for item in started[0].config.update}["seed"] == "3"
    metrics = {
        record.metric.name or record.metric.glob_name: record.metric.step_metric
        for record in records(run)
        if record.HasField("metric")
    }
    assert metrics["gen1/*"] == "gen1/step"
    summaries = [item for record in records(run) for item in record.summary.update]
    assert ("gen1/top1", "0.75") in {(item.key or "/".join(item.nested_key), item.value_json) for item in summaries}


@pytest.mark.usefixtures("offline")
def test_wandb_runs_of_one_process_are_not_each_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with closing(opened(tmp_path / "one", "wandb")) as one, closing(opened(tmp_path / "two", "wandb")) as two:
        train(one, "0", 0, 25)
        train(two, "0", 0, 50)
    assert [len(history(tmp_path / name)) for name in ("one", "two")] == [1, 2]
    ids = {(tmp_path / name / "wandb" / "run_id").read_text(encoding="utf-8") for name in ("one", "two")}
    assert len(ids) == 2
    assert {record.run.project for record in records(tmp_path / "one") if record.HasField("run")} == {"mine"}


# --- what is refused at the start, and what is never felt


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()  # as W&B leaves it behind
    for name in ("tensorboard", "wandb"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        said = re.escape(f'track: {name} is not installed; run: pip install "nsbench[{name}]"')
        with pytest.raises(ConfigError, match=f"^{said}$"):
            open_mirrors([name], tmp_path, name="run", config={})
    with pytest.raises(ConfigError, match=r"^track names 'mlflow'; known: tensorboard, wandb$"):
        open_mirrors(["mlflow"], tmp_path, name="run", config={})
    assert not list(children())


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"CLOSE": "20"}, "No API key configured. Use `wandb login` to log in"),
        ({"CLOSE": "0.5", "WANDB_API_KEY": "0" * 40}, "it was not done after 0.5 s"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_a_server_that_cannot_be_reached_does_not_stop_the_run(
    variables: dict[str, str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mirrors, "CLOSE_SECONDS", float(variables.pop("CLOSE")))
    for name, value in {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", **variables}.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    curves = opened(tmp_path, "wandb")
    train(curves, "0", 0, 50_000)
    assert time.monotonic() - began < 1.5
    curves.close()
    assert logged(tmp_path) == {"0": losses(*range(25, 50_001, 25))}
    assert warnings(capfd) == [f"warning: nothing more goes to wandb ({why}); metrics.jsonl has every line"]


def test_a_folder_that_cannot_be_written_does_not_stop_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with closing(opened(tmp_path, "tensorboard")) as curves:
        train(curves, "0", 0, 25)
        end = time.monotonic() + 20
        while not (said := warnings(capfd)):
            assert time.monotonic() < end
            time.sleep(0.05)
        train(curves, "0", 25, 2500)
        curves.result("0", "top1", 0.5)
    assert logged(tmp_path) == {"0": losses(*range(25, 2501, 25))}
    assert len(said) == 1
    assert said[0].startswith("warning: nothing more goes to tensorboard (")
    assert warnings(capfd) == []


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGKILL, "its process has ended"),
        (signal.SIGSTOP, "it does not listen"),
        (signal.SIGSTOP, "it was not done after 0.5 s"),
    ],
)
def test_a_mirror_whose_process_ends_or_hangs_is_given_up(
    number: signal.Signals, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if "listen" in why:
        monkeypatch.setattr(mirrors, "_WAITING_BYTES", 1000)
    monkeypatch.setattr(mirrors, "CLOSE_SECONDS", 0.5)
    with closing(opened(tmp_path, "tensorboard")) as curves:
        train(curves, "0", 0, 25)
        (child,) = children()
        os.kill(child, number)
        time.sleep(0.1)
        train(curves, "0", 25, 50_000)
    assert logged(tmp_path) == {"0": losses(*range(25, 50_001, 25))}
    assert warnings(capfd) == [f"warning: nothing more goes to tensorboard ({why}); metrics.jsonl has every line"]


def test_a_signal_to_the_terminals_processes_does_not_reach_a_mirror(tmp_path: Path) -> None:
    with closing(opened(tmp_path, "tensorboard")) as curves:
        (child,) = children()
        assert os.getpgid(child) != os.getpgrp()
        assert os.getsid(child) != os.getsid(0)
        train(curves, "0", 0, 25)
    assert not list(children())


def test_an_image_worker_that_is_left_does_not_keep_a_mirror_open(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    curves = opened(tmp_path, "tensorboard")
    train(curves, "0", 0, 25)
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    began = time.monotonic()
    curves.close()
    assert time.monotonic() - began < 20
    worker.kill()
    assert shown(tmp_path, "gen0") == {"loss": losses(25)}
    assert warnings(capfd) == []


def test_a_killed_run_is_shown_to_its_last_step(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib; from nsbench.mirrors import open_mirrors; from nsbench.track import Curves\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "curves = Curves(folder / 'metrics.jsonl', open_mirrors(['tensorboard'], folder, name='run', config={}))\n"
        "for step in range(25, 2501, 25): curves.add(generation='0', step=step, loss=1 / step)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    end = time.monotonic() + 20
    while (found := shown(tmp_path, "gen0")) != {"loss": losses(*range(25, 2501, 25))}:
        assert time.monotonic() < end, found
        time.sleep(0.1)


def test_nothing_of_the_mirrors_libraries_is_loaded_into_the_training(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from nsbench.mirrors import open_mirrors\n"
        "(mirror,) = open_mirrors(['tensorboard'], pathlib.Path(sys.argv[1]), name='run', config={})\n"
        "mirror.close()\n"
        "assert not {'tensorboard', 'torch', 'wandb'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 0


def warnings(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was said of a mirror; nothing may be said on stdout."""
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("warning: ")]


def children() -> Iterator[int]:
    """Living mirrors that this process started; other tests leave servers of their own behind."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            is_mirror = b"nsbench.mirrors" in (stat.parent / "cmdline").read_bytes()
            if int(parent) == os.getpid() and state != "Z" and is_mirror:
                yield int(stat.parent.name)
