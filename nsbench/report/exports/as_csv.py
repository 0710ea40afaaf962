"""A table of the page as CSV, one line a number, with the row of `results.csv` or `costs.csv` that it is."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from nsbench.report.model import Cell, Table, View
from nsbench.report.numbers import Number

HEADER = ("group", "row", "column", "versus", "value", "shown", "interval", "unit", "n", "protocol", "data_row")
"""`value` is as stored, `shown` and `interval` as on the page, `data_row` is the table and its row, counted from 0."""


def to_csv(table: Table, _: View) -> str:
    """The table as text; an empty cell has a line without a value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADER)
    for group in table.groups:
        for row in group.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                for line in _lines(cell):
                    writer.writerow([_text(group.title), _text(row.head), _text(column), *line])
    return buffer.getvalue()


def _lines(cell: Cell) -> Iterator[tuple[object, ...]]:
    if isinstance(cell.main, Number):
        for number in cell.numbers:
            value = "" if math.isnan(number.value) else repr(float(number.value))
            yield (
                number.versus, value, number.text, number.interval, number.unit, number.n or "", number.note or "",
                number.row,
            )  # fmt: skip
    else:
        yield ("", "", _text(cell.main or ""), "", "", "", "", "")


def _text(words: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{words}" if words[:1] in tuple("=+-@") else words
