"""Tables with one column a generation, the shape of most evidence on the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nsbench.report.model import Cell, Number, RowGroup, Table, TableRow
from nsbench.report.rows import Key, Rows, better_text
from nsbench.report.words import SHORT_VERSUS, generation_label, metric_words

SWITCH = ("gen0", "previous", "control")


def best_of(numbers: Iterable[Number], higher_is_better: bool) -> str:
    """Text of the best number, or empty where there is nothing to choose."""
    known = [number for number in numbers if not math.isnan(number.value)]
    if len({number.text for number in known}) < 2:
        return ""
    return (max if higher_is_better else min)(known, key=lambda number: number.value).text


def generation_rows(
    rows: Rows, key: Key, head: str, versus: Sequence[str] = (), *, mark_best: bool = False, units: bool = True
) -> list[TableRow]:
    """One line for each protocol that the number was measured under; none where nobody measured it."""
    lines = []
    across = rows.across(key)
    for note, numbers in across.items():
        sample = rows.raw(next(iter(numbers)), key)
        best = best_of(numbers.values(), sample.higher_is_better) if mark_best else ""
        cells = []
        for generation in rows.generations:
            number = numbers.get(generation)
            known = number is not None and not math.isnan(number.value)
            deltas = [rows.number(generation, key, name) for name in versus] if known else []
            cells.append(
                Cell(
                    main=number,
                    deltas=tuple(delta for delta in deltas if delta),
                    css="best" if number and best and number.text == best else "",
                )
            )
        lines.append(
            TableRow(
                head=head,
                unit=next(iter(numbers.values())).unit if units else "",
                better=better_text(sample) if mark_best else "",
                note=note if len(across) > 1 else 0,
                cells=tuple(cells),
            )
        )
    return lines


def generation_table(rows: Rows, groups: Iterable[RowGroup], *, id: str, caption: str, **more: object) -> Table | None:
    """A table over all generations, or None if it would be empty."""
    kept = tuple(group for group in groups if group.rows)
    if not kept:
        return None
    columns = tuple(generation_label(name) for name in rows.generations)
    return Table(id=id, caption=caption, columns=columns, groups=kept, **more)  # type: ignore[arg-type]


def metric_group(
    rows: Rows, title: str, keys: Iterable[tuple[Key, str]], versus: Sequence[str] = (), **more: bool
) -> RowGroup:
    """Rows for some keys, each under its own name or its metric's."""
    lines = [
        line
        for key, head in keys
        for line in generation_rows(rows, key, head or metric_words(key.metric).label, versus, **more)
    ]
    return RowGroup(title=title, rows=tuple(lines))


def switch_of(rows: Rows) -> tuple[tuple[str, str], ...]:
    """The differences that the table has, in words."""
    present = set(rows.frame["versus"])
    return tuple((name, SHORT_VERSUS[name]) for name in SWITCH if name in present)
