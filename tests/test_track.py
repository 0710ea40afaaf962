"""Progress for people and curves for the record."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsbench import track
from nsbench.track import Curves, Progress


def test_rewind_forgets_later_steps_of_one_generation_and_cut_off_lines(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "metrics.jsonl")
    curves.rewind("0", 0)
    assert not curves.path.exists()
    for generation in ("0", "1"):
        for step in (25, 50, 75):
            curves.add(generation=generation, step=step, loss=0.1)
    with curves.path.open("a", encoding="utf-8") as stream:
        stream.write('{"generation": "1", "step": 100, "lo')
    curves.rewind("1", 50)
    curves.add(generation="1", step=75, loss=None)
    records = [json.loads(line) for line in curves.path.read_text(encoding="utf-8").splitlines()]
    assert [(record["generation"], record["step"], record["loss"]) for record in records] == [
        ("0", 25, 0.1), ("0", 50, 0.1), ("0", 75, 0.1), ("1", 25, 0.1), ("1", 50, 0.1), ("1", 75, None),
    ]  # fmt: skip
    curves.rewind("0", 0)
    curves.add(generation="0", step=25, loss=0.2)
    assert len(curves.path.read_text(encoding="utf-8").splitlines()) == 4


WHOLE = st.builds(
    lambda generation, step, loss, phase: json.dumps(
        {"generation": generation, **({"phase": "main"} if phase else {}), "step": step, "loss": loss}
    ),
    st.sampled_from(["0", "1", "11", "control"]),
    st.integers(0, 120),
    st.none() | st.floats(0, 9),
    st.booleans(),  # another order of the keys than `add`'s
)
DAMAGED = st.sampled_from(["", "{", "null", "7", '"0"', '{"generation": "1"}', '{"step": 3}', "\x00\x00"])
CUT_OFF = st.sampled_from(["", '{"generation": "1", "step": 100', '{"generation": "0", "step": 25, "loss": 0.5', "{"])


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(WHOLE | DAMAGED, max_size=12),
    cut_off=CUT_OFF,
    generation=st.sampled_from(["0", "1", "control"]),
    step=st.integers(0, 120),
)
def test_rewind_as_a_plain_reading_of_every_line(
    lines: list[str], cut_off: str, generation: str, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("curves") / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in lines) + cut_off, encoding="utf-8")
    mirror = Recorded()
    kept, seen = [], 0
    for line in lines:
        try:
            record = json.loads(line)
            own, at = record["generation"] == generation, record["step"]
        except (ValueError, TypeError, KeyError):
            continue
        seen = max(seen, at) if own else seen
        if not own or at <= step:
            kept.append(line)
    Curves(path, [mirror]).rewind(generation, step)
    assert path.read_text(encoding="utf-8") == "".join(line + "\n" for line in kept)
    assert mirror.calls == [("rewind", generation, step, seen)]


class Recorded:
    """A mirror that keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def rewind(self, generation: str, step: int, seen: int) -> None:
        self.calls.append(("rewind", generation, step, seen))

    def add(self, generation: str, step: int, figures: Mapping[str, float]) -> None:
        self.calls.append(("add", generation, step, dict(figures)))

    def result(self, generation: str, name: str, value: float) -> None:
        self.calls.append(("result", generation, name, value))

    def close(self) -> None:
        self.calls.append(("close",))


def test_every_mirror_is_told_of_the_numbers_in_order(tmp_path: Path) -> None:
    first, second = Recorded(), Recorded()
    curves = Curves(tmp_path / "metrics.jsonl", [first, second])
    curves.rewind("0", 0)
    curves.add(generation="0", phase="main", step=25, loss=0.5, loss_unlabelled=None, lr=1)
    curves.rewind("0", 10)
    curves.result("0", "top1", 0.75)
    curves.close()
    assert first.calls == second.calls == [
        ("rewind", "0", 0, 0), ("add", "0", 25, {"loss": 0.5, "lr": 1}), ("rewind", "0", 10, 25),
        ("result", "0", "top1", 0.75), ("close",),
    ]  # fmt: skip
    assert curves.path.read_bytes() == b""


def test_a_killed_process_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    program = (
        "import os, sys, pathlib; from nsbench.track import Curves; c = Curves(pathlib.Path(sys.argv[1]))\n"
        "for step in range(1, 501): c.add(generation='0', step=step, loss=0.5)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()] == list(range(1, 501))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_is_an_error_that_names_the_file() -> None:
    curves = Curves(Path("/dev/full"))
    with pytest.raises(OSError, match="/dev/full") as caught:
        curves.add(generation="0", step=1, loss=0.5)
    assert caught.value.errno == errno.ENOSPC
    curves.close()


def test_auto_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("auto")
    assert progress.mode == "log"
    progress.line("hello")
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize("mode", ["log", "bar", "none"])
def test_lines_reach_the_log_in_every_mode(
    mode: track.ProgressMode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(mode, tmp_path / "log.txt")
    progress.line("one")
    progress.line("zwölf")
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "zwölf"]
    assert capsys.readouterr().err == ("" if mode == "none" else "one\nzwölf\n")


def test_none_is_silent_and_still_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("none").counter("train", 3) as counter:
        for _ in range(3):
            counter.advance(loss="1")
    assert counter.done == 3
    assert capsys.readouterr() == ("", "")


def test_log_speaks_at_intervals_and_not_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Progress("log").counter("train", 3) as counter:
        counter.advance()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(track, "LOG_EVERY_SECONDS", 0.0)
    with Progress("log").counter("train 1", 3, start=1, unit="cell") as counter:
        counter.advance(loss="0.5")
        counter.advance(loss="0.4")
    assert capsys.readouterr().err == "train 1: cell 2/3 loss 0.5 (0 s left)\n"


def test_bar_shows_title_and_count(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("bar").counter("evaluate 2", 4, start=1, unit="cell") as counter:
        counter.advance(cell="fog")
        counter.bar.refresh()
    shown = capsys.readouterr().err
    assert "evaluate 2" in shown
    assert "2/4" in shown


def test_a_counter_is_closed_by_an_error() -> None:
    with pytest.raises(KeyError), Progress("bar").counter("x", 2) as counter:
        raise KeyError
    assert counter.bar.disable
