"""The view model: what is said, and what must not be."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest

from nsbench.report.drawing.palette import palette
from nsbench.report.model import Fold, Table
from nsbench.report.numbers import Number, Parts
from nsbench.report.protocols import Protocols
from nsbench.report.records import read_records
from nsbench.report.rows import HEADLINES, Key, Rows
from nsbench.report.sections.changes import change_section
from nsbench.report.tables import best_of, line_rows
from nsbench.report.view import build_view
from nsbench.report.words import DASH, IMAGENET, clean, eval_title, number_text, p_text
from nsbench.results import Row, to_frame
from tests.report.synthetic import Synthetic, make_rows, write_run


def words(parts: Parts) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in parts)


def rows_of(*rows: Row) -> Rows:
    return Rows(to_frame(rows), Protocols())


def row(generation: str, value: float, low: float = math.nan, high: float = math.nan, **more: object) -> Row:
    fields = {"eval": "imagenet", "metric": "top1", "n": 500, "higher_is_better": True, "protocol": "p", **more}
    return Row(generation=generation, value=value, ci_low=low, ci_high=high, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (91.24, 1, False, "91.2"),
        (-0.031, 2, False, "−0.03"),
        (2.1, 1, True, "+2.1"),
        (-0.04, 1, True, "0.0"),
        (12345.0, 0, False, "12,345"),
        (math.nan, 1, False, DASH),
        (-math.inf, 1, False, "−∞"),
    ],
)
def test_number_text(value: float, decimals: int, signed: bool, text: str) -> None:
    assert number_text(value, decimals, signed) == text


def test_p_text() -> None:
    assert [p_text(p) for p in (0.0002, 0.0123, 1.0, math.nan)] == ["< 0.001", "0.012", "1.000", DASH]


def test_clean_takes_out_what_could_break_a_line() -> None:
    assert clean("a\nb\x00c\u202ed\t e") == "a b c d e"
    assert len(clean("x" * 999)) == 160


def test_only_imagenet_is_called_imagenet() -> None:
    assert eval_title("imagenet", IMAGENET) == "ImageNet validation"
    assert "ImageNet" not in eval_title("imagenet", ())


@pytest.mark.parametrize(
    ("low", "high", "up", "state"),
    [
        (0.1, 0.3, True, "better"),
        (0.1, 0.3, False, "worse"),
        (-0.3, -0.1, False, "better"),
        (-0.3, -0.1, True, "worse"),
        (-0.1, 0.3, True, "unclear"),
        (0.0, 0.3, True, "unclear"),
        (math.nan, math.nan, True, "unclear"),
    ],
)
def test_the_interval_decides_what_a_difference_is(low: float, high: float, up: bool, state: str) -> None:
    rows = rows_of(row("1", 0.2, low, high, versus="gen0", higher_is_better=up))
    number = rows.number("1", Key("imagenet", "top1"), "gen0")
    assert number is not None
    assert number.state == state


def test_a_number_carries_n_interval_protocol_and_seed() -> None:
    number = rows_of(row("0", 0.912, 0.885, 0.934, seed="3")).number("0", Key("imagenet", "top1"))
    assert number is not None
    assert (number.text, number.unit, number.interval) == ("91.2", "%", "[88.5, 93.4]")
    assert number.hint == "n = 500 images · seed 3 · protocol 1"


def test_one_seed_speaks_of_models_never_of_the_method(tmp_path: Path) -> None:
    view = build_view(read_records(write_run(tmp_path / "run", Synthetic(pictures=False))))
    said = words(view.verdict.lead) + "".join(words(f.parts) for f in view.verdict.findings) + view.verdict.caveat
    assert words(view.verdict.lead).startswith("Generation 3 is better than the control on")
    assert "helped" not in said
    assert "these models on MNIST-5k val" in view.verdict.caveat


def test_without_a_control_nothing_is_said_about_self_training(tmp_path: Path) -> None:
    view = build_view(read_records(write_run(tmp_path / "run", Synthetic(control=False, pictures=False))))
    assert "generation 0" in words(view.verdict.lead)
    assert "Without a control nothing is said about self-training" in view.verdict.caveat
    assert ("warn", "no control") in view.badges


@pytest.mark.parametrize(("gain", "word"), [(1.0, "better"), (-1.0, "worse")])
def test_the_verdict_follows_the_intervals(tmp_path: Path, gain: float, word: str) -> None:
    view = build_view(read_records(write_run(tmp_path / "run", Synthetic(gain=gain, pictures=False))))
    assert f" is {word} than the control" in words(view.verdict.lead)
    counted = dict.fromkeys(("better", "worse", "unclear"), 0)
    for finding in view.verdict.findings[:-1]:
        numbers = [part for part in finding.parts if isinstance(part, Number)]
        assert {number.state for number in numbers} == {finding.state}
        counted[finding.state] += len(numbers)
    assert sum(counted.values()) == len(HEADLINES)


def test_a_partial_run_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(students=2, status="partial", pictures=False))
    record = folder.read_run()
    record.pop("schema")
    folder.write_run({**record, "generations": 3})
    badges = [text for _, text in build_view(read_records(folder)).badges]
    assert "partial" in badges
    assert "2 of 3 students measured" in badges


def test_protocols_never_share_a_line() -> None:
    """Nor does a chart draw a line through both."""
    rows = rows_of(
        row("0", 0.8, protocol="224 px"), row("1", 0.9, protocol="300 px"), row("2", 0.95, protocol="300 px")
    )
    lines = line_rows(rows, Key("imagenet", "top1"), "top-1")
    shown = [[cell.main.text if isinstance(cell.main, Number) else None for cell in line.cells] for line in lines]
    assert shown == [["80.0", None, None], [None, "90.0", "95.0"]]
    assert [line.note for line in lines] == [1, 2]
    assert rows.series("0", [(0.0, Key("imagenet", "top1"))]) is None
    assert rows.series("1", [(0.0, Key("imagenet", "top1"))]) is not None


@pytest.mark.parametrize(("up", "best"), [(True, "95.0"), (False, "80.0")])
def test_the_best_of_a_line(up: bool, best: str) -> None:
    rows = rows_of(row("0", 0.8), row("1", 0.95), row("2", math.nan))
    numbers = [rows.number(g, Key("imagenet", "top1")) for g in "012"]
    assert best_of([number for number in numbers if number], up) == best
    assert best_of([number for number in numbers[:1] if number], up) == ""


def _shown(blocks: object) -> list[Number]:
    found: list[Number] = []
    for block in blocks:  # type: ignore[attr-defined]
        if isinstance(block, Fold):
            found += _shown(block.blocks)
        elif isinstance(block, Table) and block.id.startswith("worse"):
            found += [n for group in block.groups for line in group.rows for cell in line.cells for n in cell.numbers]
    return [number for number in found if number.column == "value"]


def test_everything_that_got_worse_is_listed() -> None:
    frame = to_frame(make_rows(Synthetic()))
    section = change_section(Rows(frame, Protocols()), imagenet=())
    assert section is not None
    bad_side = frame[
        (frame["versus"] != "")
        & (frame["metric"] != "negative_flips")  # shares of images, beside a reference but no differences to it
        & (frame["metric"] != "class_top1")  # chosen for being far from zero
        & ~frame["generation"].isin(["0", "control"])
        & ((frame["higher_is_better"] & (frame["ci_high"] < 0)) | (~frame["higher_is_better"] & (frame["ci_low"] > 0)))
    ]
    assert {number.row for number in _shown(section.blocks)} == {f"results:{index}" for index in bad_side.index}


def test_nothing_worse_is_said_too() -> None:
    better = row("1", 0.1, 0.05, 0.15, versus="gen0")
    section = change_section(rows_of(row("0", 0.8), row("1", 0.9), better), imagenet=())
    assert section is not None
    assert "Nothing got worse" in words(section.blocks[0].parts)  # type: ignore[union-attr]


def test_curves_of_a_killed_run_lose_only_the_cut_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(students=0, control=False, evals=("imagenet",), pictures=False))
    with folder.metrics.open("a", encoding="utf-8") as stream:
        stream.write('{"generation": "0", "step": 910, "lo')
    assert read_records(folder).curves["step"].max() == 900


def _luminance(colour: str) -> float:
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("students", [0, 1, 3, 7])
@pytest.mark.parametrize("theme", [0, 1])
def test_lines_and_words_stand_out_from_the_page(students: int, theme: int) -> None:
    colours = palette(students)
    surface = _luminance(colours["surface"][theme])
    for name, pair in colours.items():
        low, high = sorted((surface, _luminance(pair[theme])))
        wanted = (
            4.5
            if name in ("ink", "ink-2", "accent", "better", "worse")
            else 3
            if name.startswith(("gen-", "model-"))
            else 1
        )
        assert (high + 0.05) / (low + 0.05) >= wanted, name
    light = [pair[0] for pair in colours.values()]
    assert len(light) == len(set(light)), "a colour of the figure must say which variable it is"


def test_view_is_plain_values(tmp_path: Path) -> None:
    view = build_view(read_records(write_run(tmp_path / "run", Synthetic(pictures=False))))
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.title = "other"  # type: ignore[misc]
    assert not any(isinstance(value, pd.DataFrame) for value in vars(view).values())
