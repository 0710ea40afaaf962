"""A table of the page as GitHub-flavoured Markdown."""

from __future__ import annotations

import re

from nsbench.report.exports.notes import against, notes_of
from nsbench.report.model import Cell, Table, TableRow, View
from nsbench.report.numbers import Number

_MARKUP = re.compile(r"([\\|<>`*_\[\]~$&#@])")


def to_markdown(table: Table, view: View) -> str:
    """The table as text, its caption above, its notes below."""
    lines = [f"**{escaped(table.caption)}**", ""]
    lines += [_line([escaped(table.corner), *map(escaped, table.columns)])]
    lines += [_line([":---", *("---:" for _ in table.columns)])]
    for group in table.groups:
        if group.title:
            lines.append(_line([f"*{escaped(group.title)}*", *("" for _ in table.columns)]))
        lines += [_line([_head(row), *(_cell(cell, table) for cell in row.cells)]) for row in group.rows]
    return "\n".join([*lines, "", *(f"{escaped(note)}.\n" for note in notes_of(table, view))])


def _head(row: TableRow) -> str:
    aim = "" if not row.better else " ↑" if row.better.startswith("higher") else " ↓"
    return escaped(", ".join(filter(None, (row.head, row.unit)))) + aim


def _cell(cell: Cell, table: Table) -> str:
    if not isinstance(cell.main, Number):
        return escaped(cell.main) if cell.main else "–"
    main = _number(cell.main)
    parts = [f"**{main}**" if cell.css == "best" else main]
    parts += [f"{_number(delta)} {escaped(against(delta.versus, table))}" for delta in cell.deltas]
    return "<br>".join(parts) + (" (check first)" if cell.warned else "")


def _number(number: Number) -> str:
    sign, word = {"unclear": ("≈ ", ""), "worse": ("", " worse")}.get(number.state, ("", ""))
    interval = f" {escaped(number.interval)}" if number.interval else ""
    return f"{sign}{number.text}{interval}{word}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Names from outside as text, whatever Markdown would make of them."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
