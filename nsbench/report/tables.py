"""Tables with one column a generation or a model, the shape of most evidence on the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from nsbench.report.model import Cell, RowGroup, Table, TableRow
from nsbench.report.numbers import Number
from nsbench.report.rows import Key, Rows, better_text, listed
from nsbench.report.words import METRICS, level_label, metric_base, metric_words, subset_label


def best_of(numbers: Iterable[Number], higher_is_better: bool) -> str:
    """Text of the best number, or empty where there is nothing to choose."""
    known = [number for number in numbers if not math.isnan(number.value)]
    if len({number.text for number in known}) < 2:
        return ""
    return (max if higher_is_better else min)(known, key=lambda number: number.value).text


def line_rows(
    rows: Rows, key: Key, head: str, versus: Sequence[str] = (), *, mark_best: bool = False, units: bool = True
) -> list[TableRow]:
    """One row for each protocol that the number was measured under; none where nobody measured it."""
    found = []
    across = rows.across(key)
    for note, numbers in across.items():
        sample = rows.raw(next(iter(numbers)), key)
        cells = [line_cell(rows, name, key, versus) if name in numbers else Cell() for name in rows.names]
        cells = with_best(cells, sample.higher_is_better) if mark_best else cells
        found.append(
            TableRow(
                head=head,
                unit=next(iter(numbers.values())).unit if units else "",
                better=better_text(sample) if mark_best else "",
                note=note if len(across) > 1 else 0,
                cells=tuple(cells),
            )
        )
    return found


def with_best(cells: Sequence[Cell], higher_is_better: bool) -> list[Cell]:
    """The cells with the best number marked; one that looks wrong is never the best."""
    sound = [cell.main for cell in cells if isinstance(cell.main, Number) and not cell.warned]
    best = best_of(sound, higher_is_better)
    marked = {id(number) for number in sound if best and number.text == best}
    return [dataclasses.replace(cell, css="best") if id(cell.main) in marked else cell for cell in cells]


def line_cell(rows: Rows, name: str, key: Key, versus: Sequence[str] = ()) -> Cell:
    """A number and under it its differences."""
    number = rows.number(name, key)
    known = number is not None and not math.isnan(number.value)
    deltas = [rows.number(name, key, reference) for reference in versus] if known else []
    return Cell(
        main=number,
        deltas=tuple(delta for delta in deltas if delta),
        warned=known and rows.is_warned(name, key),
    )


def versus_rows(rows: Rows, key: Key, head: str = "") -> list[TableRow]:
    """One row for each reference, for what is measured beside a reference alone."""
    found = []
    for versus, words in switch_of(rows):
        numbers = [rows.number(name, key, versus) for name in rows.names]
        if any(numbers):
            unit = next(number.unit for number in numbers if number)
            title = f"{head or metric_words(key.metric).label}, {words}"
            found.append(TableRow(head=title, unit=unit, cells=tuple(Cell(main=number) for number in numbers)))
    return found


def line_table(rows: Rows, groups: Iterable[RowGroup], *, id: str, caption: str, **more: object) -> Table | None:
    """A table over all generations or models, or None if it would be empty."""
    kept = tuple(group for group in groups if group.rows)
    if not kept:
        return None
    columns = tuple(rows.lines.label(name) for name in rows.names)
    return Table(id=id, caption=caption, columns=columns, groups=kept, **more)  # type: ignore[arg-type]


def metric_group(
    rows: Rows, title: str, keys: Iterable[tuple[Key, str]], versus: Sequence[str] = (), **more: bool
) -> RowGroup:
    """Rows for some keys, each under its own name or its metric's."""
    lines = [
        line
        for key, head in keys
        for line in line_rows(rows, key, head or metric_words(key.metric).label, versus, **more)
    ]
    return RowGroup(title=title, rows=tuple(lines))


def switch_of(rows: Rows) -> tuple[tuple[str, str], ...]:
    """The differences that the table has, in words."""
    present = set(rows.frame["versus"])
    return tuple((name, words) for name, words in rows.lines.short_versus.items() if name in present)


def whole_keys(rows: Rows, eval_name: str) -> list[Key]:
    """What a suite measures over all of its images, known metrics first."""
    frame = rows.frame
    whole = frame[
        (frame["eval"] == eval_name) & (frame["versus"] == "") & (frame["subset"] == "all")
        & frame["level"].isin(["", "mean"])
    ]  # fmt: skip
    return ranked({Key(r.eval, r.metric, r.subset, r.level): None for r in listed(whole)})


def ranked(keys: Iterable[Key]) -> list[Key]:
    """Keys in the order of METRICS, those over the whole suite first."""
    order = list(METRICS)

    def place(key: Key) -> tuple[bool, int]:
        base = metric_base(key.metric)
        return key.subset != "all", order.index(base) if base in order else len(order)

    return sorted(keys, key=place)


def summary_head(key: Key) -> str:
    """Name of a number of a suite among the suite's others."""
    words = [metric_words(key.metric).label]
    if key.subset != "all":
        words.append(subset_label(key.subset))
    if key.level:
        words.append("mean over ε" if key.eval == "fgsm" else level_label(key.eval, key.level))
    if key.eval == "imagenet-c" and key.level == "mean":
        words = [words[0] if key.metric != "error" else "error, mean of all cells"]
    return ", ".join(words)


def suite_table(rows: Rows, eval_name: str, keys: Iterable[Key], *, id: str, caption: str) -> Table | None:
    """Some numbers of one suite with their differences, and what is measured beside a reference alone."""
    versus = [name for name, _ in switch_of(rows)]
    group = metric_group(rows, "", [(key, summary_head(key)) for key in keys], versus, mark_best=True)
    frame = rows.frame[rows.frame["eval"] == eval_name]
    plain = set(frame.loc[frame["versus"] == "", "metric"])
    beside = dict.fromkeys(
        Key(r.eval, r.metric, r.subset, r.level) for r in listed(frame[frame["versus"] != ""]) if r.metric not in plain
    )
    lines = [line for key in beside for line in versus_rows(rows, key)]
    return line_table(
        rows,
        (group, RowGroup(rows=tuple(lines))),
        id=id,
        caption=caption,
        corner="Measure",
        switch=switch_of(rows),
        legend=bool(versus),
        sortable=False,
        css="wide",
    )
