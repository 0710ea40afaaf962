"""Rows of the results table by what they measure, and as written-out numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from nsbench.report.lines import Lines, generation_lines, line_of
from nsbench.report.model import Series
from nsbench.report.numbers import Number, Sources, State
from nsbench.report.protocols import Protocols
from nsbench.report.words import (
    AGGREGATE,
    clean,
    enough_decimals,
    metric_words,
    number_text,
    p_text,
    scale_of,
    unit_label,
)


class Key(NamedTuple):
    """What a row measures, whichever generation or model it is of."""

    eval: str
    metric: str
    subset: str = "all"
    level: str = ""


HEADLINES = (
    Key("imagenet", "top1"),
    Key("imagenet-a", "top1"),
    Key("imagenet-c", "error", level="mean"),
    Key("imagenet-p", "flip_probability"),
    Key("fgsm", "top1", level="mean"),
)
"""The five measures of a self-training run's verdict and cards."""

NOT_EVALS = ("pseudo-labels", "cost")
"""`eval` of rows that measure something else than a model on test images."""

WARNINGS, UNREADABLE = REMARKS = ("warnings", "unreadable_images")
"""`metric` of rows that say what is odd about a cell, and measure nothing."""

SHARES = ("negative_flips",)
"""`metric` of rows that are shares of images beside a reference, and no differences to it."""

SELECTED = ("class_top1",)
"""`metric` of rows that were chosen for being far from zero: no share of them says anything."""


def listed(frame: pd.DataFrame) -> list[Any]:
    """Rows as named tuples, with `Index`."""
    return list(frame.itertuples())


class Rows:
    """One run, or the rows over all seeds of one recipe. The frame's index is the row's place in the download."""

    def __init__(
        self, frame: pd.DataFrame, protocols: Protocols, *, table: str = "results", lines: Lines | None = None
    ) -> None:
        """`lines`: what the rows are of; None: the generations that they name."""
        if "line" not in frame:
            frame = frame.assign(line=line_of(frame))
        remark = frame["metric"].isin(REMARKS)
        self.frame = frame[~remark]
        self.remarks = frame[remark]
        """What is odd about cells; no table shows it but that of what to check first."""
        self.table = table
        self.protocols = protocols
        self._rows: dict[tuple[str, str, str, str, str, str], Any] = {
            (r.line, r.eval, r.subset, r.level, r.metric, r.versus): r for r in listed(self.frame)
        }
        measured = self.frame[~self.frame["eval"].isin(NOT_EVALS)] if table == "results" else self.frame
        self.lines = generation_lines(measured["line"]) if lines is None else lines
        self._warned = {(r.line, r.eval, r.subset) for r in listed(self.remarks[self.remarks["metric"] == WARNINGS])}

    @property
    def names(self) -> tuple[str, ...]:
        """What stands side by side, in page order."""
        return self.lines.names

    @property
    def final(self) -> str:
        """The last student, or the first model."""
        return self.lines.main

    def raw(self, name: str, key: Key, versus: str = "") -> Any:
        """The row itself, or None."""
        return self._rows.get((name, key.eval, key.subset, key.level, key.metric, versus))

    def is_warned(self, name: str, key: Key) -> bool:
        """Whether a cell behind a number looks like a broken pipeline."""
        return any(
            line == name and eval_name == key.eval and _is_behind(cell, key) for line, eval_name, cell in self._warned
        )

    def has(self, eval_name: str) -> bool:
        return bool((self.frame["eval"] == eval_name).any())

    def values(self, column: str, **where: str) -> list[str]:
        """Distinct values of a column in the order of the table, of rows that are no differences."""
        found = self.frame[self.frame["versus"] == ""]
        for name, value in where.items():
            found = found[found[name.rstrip("_")] == value]
        return list(dict.fromkeys(found[column]))

    def number(self, name: str, key: Key, versus: str = "") -> Number | None:
        row = self.raw(name, key, versus)
        return None if row is None else self.written(row)

    def written(self, row: Any) -> Number:
        """A row as the page shows it."""
        delta = bool(row.versus) and row.metric not in SHARES
        scale, decimals = scale_of(row.metric, row.unit), metric_words(row.metric).decimals
        if row.unit == "seconds" and abs(row.value) >= 100:
            decimals = 0
        if delta:  # an interval that ends at "0.0" must not hide on which side
            decimals = enough_decimals([x * scale for x in (row.value, row.ci_low, row.ci_high)], decimals)
        interval = ""
        if not (math.isnan(row.ci_low) or math.isnan(row.ci_high) or math.isnan(row.value)):
            ends = (number_text(end * scale, decimals, signed=delta) for end in (row.ci_low, row.ci_high))
            interval = "[" + ", ".join(ends) + "]"
        note = 0 if row.metric in REMARKS else self.protocols.note(row.protocol, row.eval)
        text = number_text(row.value * scale, decimals, signed=delta)
        return Number(
            row=f"{self.table}:{row.Index}",
            value=row.value,
            text=text,
            unit=unit_label(row.metric, row.unit, delta),
            interval=interval,
            hint=_hint(row, interval, note, self.lines),
            versus=row.versus if delta else "",
            state=state_of(row),
            arrow=("▲" if row.value > 0 else "▼" if row.value < 0 else "") if delta else "",
            note=note,
            n=int(row.n),
        )

    def p_value(self, row: Any) -> Number:
        """The p value of a difference."""
        return Number(
            row=f"{self.table}:{row.Index}", column="p_value", value=row.p_value, text=p_text(row.p_value), n=int(row.n)
        )

    def across(self, key: Key, versus: str = "") -> dict[int, dict[str, Number]]:
        """Protocol to name to number: generations of different protocols never meet in a line or a column.

        Models do: each is shown the images as it wants them, and that is part of it.
        """
        found: dict[int, dict[str, Number]] = {}
        for name in self.names:
            number = self.number(name, key, versus)
            if number is not None:
                found.setdefault(0 if self.lines.own_protocols else number.note, {})[name] = number
        return found

    def series(self, name: str, points: Iterable[tuple[float, Key]], label: str = "") -> Series | None:
        """A line over some keys, in shown units, of the final generation's protocol; None where nothing is known."""
        x, y, low, high = [], [], [], []
        for position, key in points:
            row = self.raw(name, key)
            if row is None or math.isnan(row.value) or not self._may_meet(row, key):
                continue
            scale = scale_of(row.metric, row.unit)
            x.append(position)
            y.append(row.value * scale)
            low.append(row.ci_low * scale)
            high.append(row.ci_high * scale)
        if not x:
            return None
        return Series(
            role=self.lines.role(name),
            label=label or self.lines.label(name),
            x=tuple(x),
            y=tuple(y),
            low=tuple(low),
            high=tuple(high),
        )

    def _may_meet(self, row: Any, key: Key) -> bool:
        """Whether a number may be drawn beside the main line's."""
        main = self.raw(self.final, key)
        return self.lines.own_protocols or main is None or main.protocol == row.protocol

    def all_series(self, points: Iterable[tuple[float, Key]]) -> tuple[Series, ...]:
        """`series` of everything; nothing where there are too many to be told apart."""
        every = list(points)
        found = (self.series(name, every) for name in self.names) if self.lines.is_drawn else ()
        return tuple(series for series in found if series is not None)

    def sources(self, keys: Iterable[Key]) -> Sources:
        """n and protocols behind a figure over some keys."""
        every = list(keys)
        return Sources.of(self.number(name, key) for key in every for name in self.names)


def _is_behind(cell: str, key: Key) -> bool:
    """Whether a cell (`frost-3`, `imagenet-v2-top-images`, `val`) is part of what a number is about."""
    severity = cell.rpartition("-")[2]
    level = key.level in ("", "mean") or not severity.isdigit() or severity == key.level
    return level and (key.subset == "all" or key.subset in cell)


def state_of(row: Any) -> State:
    """Which side of zero the interval of a difference lies on, in the reader's terms."""
    if not row.versus or row.metric in SHARES:
        return ""
    up, down = row.ci_low > 0, row.ci_high < 0
    if not (up or down):
        return "unclear"
    return "better" if up == row.higher_is_better else "worse"


def better_text(row: Any) -> str:
    return "" if row is None else ("higher is better" if row.higher_is_better else "lower is better")


def _hint(row: Any, interval: str, note: int, lines: Lines) -> str:
    over_seeds = row.run.startswith(AGGREGATE)
    unit = "seeds" if over_seeds else "videos" if row.eval == "imagenet-p" else "images"
    words = [f"n = {row.n:,} {unit}" if row.eval != "cost" else ""]
    if row.versus:
        words.insert(0, lines.against(row.versus))
    if math.isnan(row.value):
        words.append("too little data")
    elif not interval and row.unit != "count" and row.eval != "cost":
        words.append("no interval")
    if row.versus and not math.isnan(row.p_value):
        words.append(f"p {p_text(row.p_value)}")
    if row.seed:
        words.append(f"seed {clean(row.seed)}")
    if note:
        words.append(f"protocol {note}")
    return " · ".join(word for word in words if word)
