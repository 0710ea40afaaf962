"""Rows of the results table by what they measure, and as written-out numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from nsbench.report.model import Number, Series, Sources, State
from nsbench.report.words import (
    AGGREGATE,
    SHORT_VERSUS,
    clean,
    enough_decimals,
    generation_label,
    metric_words,
    number_text,
    p_text,
    scale_of,
    unit_label,
)


class Key(NamedTuple):
    """What a row measures, whichever generation it is of."""

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
"""The five measures of the verdict and the cards."""

NOT_EVALS = ("pseudo-labels", "cost")
"""`eval` of rows that measure something else than a model on test images."""


class Protocols:
    """Protocols of the page, numbered in the order they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._evals: dict[str, dict[str, None]] = {}

    def note(self, text: str, eval_name: str) -> int:
        """Number of a protocol; 0 where a row has none."""
        if not text:
            return 0
        self._evals.setdefault(text, {})[eval_name] = None
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def listed(self) -> tuple[tuple[int, str, str], ...]:
        return tuple((k, ", ".join(self._evals[text]), clean(text, 2000)) for text, k in self._numbers.items())


def listed(frame: pd.DataFrame) -> list[Any]:
    """Rows as named tuples, with `Index`."""
    return list(frame.itertuples())


class Rows:
    """One run, or the rows over all seeds of one recipe. The frame's index is the row's place in the download."""

    def __init__(self, frame: pd.DataFrame, protocols: Protocols, *, table: str = "results") -> None:
        self.frame = frame
        self.table = table
        self.protocols = protocols
        self._rows: dict[tuple[str, str, str, str, str, str], Any] = {
            (r.generation, r.eval, r.subset, r.level, r.metric, r.versus): r for r in listed(frame)
        }
        measured = frame[~frame["eval"].isin(NOT_EVALS)] if table == "results" else frame
        names = list(dict.fromkeys(measured["generation"]))
        self.students = sorted((name for name in names if name.isdigit()), key=int)
        self.generations = self.students + [name for name in names if not name.isdigit()]
        self.final = self.students[-1] if self.students else (names[0] if names else "0")
        self.over_seeds = bool(len(frame)) and frame["run"].str.startswith(AGGREGATE).all()

    def raw(self, generation: str, key: Key, versus: str = "") -> Any:
        """The row itself, or None."""
        return self._rows.get((generation, key.eval, key.subset, key.level, key.metric, versus))

    def has(self, eval_name: str) -> bool:
        return bool((self.frame["eval"] == eval_name).any())

    def values(self, column: str, **where: str) -> list[str]:
        """Distinct values of a column in the order of the table, of rows that are no differences."""
        found = self.frame[self.frame["versus"] == ""]
        for name, value in where.items():
            found = found[found[name.rstrip("_")] == value]
        return list(dict.fromkeys(found[column]))

    def number(self, generation: str, key: Key, versus: str = "") -> Number | None:
        row = self.raw(generation, key, versus)
        return None if row is None else self.written(row)

    def written(self, row: Any) -> Number:
        """A row as the page shows it."""
        delta, scale, decimals = bool(row.versus), scale_of(row.metric, row.unit), metric_words(row.metric).decimals
        if row.unit == "seconds" and abs(row.value) >= 100:
            decimals = 0
        if delta:  # an interval that ends at "0.0" must not hide on which side
            decimals = enough_decimals([x * scale for x in (row.value, row.ci_low, row.ci_high)], decimals)
        interval = ""
        if not (math.isnan(row.ci_low) or math.isnan(row.ci_high) or math.isnan(row.value)):
            ends = (number_text(end * scale, decimals, signed=delta) for end in (row.ci_low, row.ci_high))
            interval = "[" + ", ".join(ends) + "]"
        note = self.protocols.note(row.protocol, row.eval)
        text = number_text(row.value * scale, decimals, signed=delta)
        return Number(
            row=f"{self.table}:{row.Index}",
            value=row.value,
            text=text,
            unit=unit_label(row.metric, row.unit, delta),
            interval=interval,
            hint=_hint(row, interval, note),
            versus=row.versus,
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
        """Protocol to generation to number: numbers of different protocols never meet in a line or a column."""
        found: dict[int, dict[str, Number]] = {}
        for generation in self.generations:
            number = self.number(generation, key, versus)
            if number is not None:
                found.setdefault(number.note, {})[generation] = number
        return found

    def series(self, generation: str, points: Iterable[tuple[float, Key]], label: str = "") -> Series | None:
        """A line over some keys, in shown units, of the final generation's protocol; None where nothing is known."""
        x, y, low, high = [], [], [], []
        for position, key in points:
            row, last = self.raw(generation, key), self.raw(self.final, key)
            if row is None or math.isnan(row.value) or (last is not None and last.protocol != row.protocol):
                continue
            scale = scale_of(row.metric, row.unit)
            x.append(position)
            y.append(row.value * scale)
            low.append(row.ci_low * scale)
            high.append(row.ci_high * scale)
        if not x:
            return None
        return Series(
            role=generation,
            label=label or generation_label(generation),
            x=tuple(x),
            y=tuple(y),
            low=tuple(low),
            high=tuple(high),
        )

    def all_series(self, points: Iterable[tuple[float, Key]]) -> tuple[Series, ...]:
        """`series` of every generation."""
        every = list(points)
        found = (self.series(generation, every) for generation in self.generations)
        return tuple(series for series in found if series is not None)

    def sources(self, keys: Iterable[Key]) -> Sources:
        """n and protocols behind a figure over some keys."""
        every = list(keys)
        return Sources.of(self.number(generation, key) for key in every for generation in self.generations)


def state_of(row: Any) -> State:
    """Which side of zero the interval of a difference lies on, in the reader's terms."""
    if not row.versus:
        return ""
    up, down = row.ci_low > 0, row.ci_high < 0
    if not (up or down):
        return "unclear"
    return "better" if up == row.higher_is_better else "worse"


def better_text(row: Any) -> str:
    return "" if row is None else ("higher is better" if row.higher_is_better else "lower is better")


def _hint(row: Any, interval: str, note: int) -> str:
    over_seeds = row.run.startswith(AGGREGATE)
    unit = "seeds" if over_seeds else "videos" if row.eval == "imagenet-p" else "images"
    words = [f"n = {row.n:,} {unit}" if row.eval != "cost" else ""]
    if row.versus:
        words.insert(0, SHORT_VERSUS.get(row.versus, f"vs {clean(row.versus)}"))
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
