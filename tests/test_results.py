"""The results table gives back what was written: every digit, every text."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsbench.errors import DataError
from nsbench.results import COLUMNS, Row, read_results, to_frame, write_results

ARCHITECTURE_RULE_5 = (
    "run, seed, generation, model, eval, subset, level, metric, versus, value, ci_low, ci_high, p_value, n, unit, "
    "higher_is_better, protocol"
)


def row(**changes: Any) -> Row:
    plain = {"generation": "0", "eval": "imagenet", "metric": "top1", "value": 0.5, "n": 10, "higher_is_better": True}
    return Row(**{**plain, **changes})


ROWS = [
    row(value=0.1 + 0.2, ci_low=1 / 3, ci_high=2 / 3, p_value=5e-324, run="a, b", protocol='quoted "x"\nnext', n=2**40),
    row(generation="control", level="8", value=math.nan, n=0, higher_is_better=False),
    row(generation="1", level="", subset="NA", model="null", value=-0.0),
    row(generation="2", level="0", subset="nan", seed="007", value=1.7976931348623157e308, unit="percent"),
    row(generation="", model="resnet50", versus="first", value=-0.25, protocol="fp32; batch 16"),
    row(generation="2", level="mean", subset="None", seed="1e3", versus="gen0", value=12.0, protocol=" spaces  "),
]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return bool(one == other)


def test_columns_are_those_of_the_architecture_in_order() -> None:
    assert ", ".join(COLUMNS) == ARCHITECTURE_RULE_5
    assert tuple(to_frame(ROWS).columns) == COLUMNS
    assert tuple(to_frame([]).columns) == COLUMNS


def test_round_trip_is_exact(tmp_path: Path) -> None:
    frame = to_frame(ROWS)
    write_results(tmp_path / "results.csv", frame)
    back = read_results(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    for got, put in zip(back.to_dict("records"), ROWS, strict=True):
        for name, value in dataclasses.asdict(put).items():
            assert equal(value, got[name]), name
    write_results(tmp_path / "again.csv", back)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "results.csv").read_bytes()


def test_the_file_has_a_header_in_order_and_unix_lines(tmp_path: Path) -> None:
    frame = to_frame([row()])
    write_results(tmp_path / "a.csv", frame[list(reversed(COLUMNS))])
    assert (tmp_path / "a.csv").read_bytes() == (
        ",".join(COLUMNS) + "\n,,0,,imagenet,all,,top1,,0.5,,,,10,fraction,True,\n"
    ).encode()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(allow_infinity=False), min_size=2, max_size=5),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6),
)
def test_any_float_and_text_come_back(tmp_path: Path, values: list[float], text: str) -> None:
    rows = [row(generation=str(i), value=value, protocol=text) for i, value in enumerate(values)]
    write_results(tmp_path / "a.csv", to_frame(rows))
    back = read_results(tmp_path / "a.csv")
    assert all(equal(put, got) for put, got in zip(values, back["value"], strict=True))
    assert back["protocol"].tolist() == [text] * len(values)


@pytest.mark.parametrize("key", ["run", "seed", "generation", "model", "eval", "subset", "level", "metric", "versus"])
def test_two_rows_of_one_key_are_refused(key: str) -> None:
    other = row(**{key: "previous"})
    assert len(to_frame([row(), other])) == 2
    with pytest.raises(ValueError, match="two rows"):
        to_frame([row(), other, dataclasses.replace(other, value=0.7, n=3, unit="percent", protocol="y")])


def test_foreign_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    header, line = ",".join(COLUMNS), ",,0,,imagenet,all,,top1,,0.5,,,,10,fraction,True,"
    foreign = (
        "",
        "a,b\n1,2\n",
        header + ",extra\n" + line + ",1\n",
        header.replace("metric", "measure") + "\n" + line + "\n",
        ",".join(reversed(COLUMNS)) + "\n",
    )
    for text in foreign:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"a\.csv"):
            read_results(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError):
        read_results(path)
    with pytest.raises(DataError):
        read_results(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    "line",
    [
        ",,0,,imagenet,all,,top1,,half,,,,10,fraction,True,",
        ",,0,,imagenet,all,,top1,,0.5,,,,ten,fraction,True,",
        ",,0,,imagenet,all,,top1,,0.5,1,2,,,,10,fraction,True,",
        ",,0,,imagenet,all,,top1,,0.5,,,,10,fraction,perhaps,",
    ],
)
def test_lines_that_do_not_fit_the_columns_are_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{','.join(COLUMNS)}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv"):
        read_results(path)
