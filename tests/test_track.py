"""Progress for people and curves for the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    assert len(curves.path.read_text(encoding="utf-8").splitlines()) == 3


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
