"""A table of the page as LaTeX with booktabs; it compiles with pdfLaTeX, whatever names it holds."""

from __future__ import annotations

import re

from nsbench.report.exports.notes import against, notes_of
from nsbench.report.model import Cell, Table, TableRow, View
from nsbench.report.numbers import Number

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "[": "{[}",
    "]": "{]}", "*": "{*}",
    "−": "$-$", "×": r"$\times$", "≈": r"$\approx$", "±": r"$\pm$", "·": r"$\cdot$", "→": r"$\rightarrow$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "≤": r"$\leq$", "≥": r"$\geq$", "∞": r"$\infty$", "ε": r"$\varepsilon$",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\ldots{}", "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "°": r"\textdegree{}",
}  # fmt: skip
"""Characters that mean something to TeX, would join with their neighbours, or are none of its text fonts'."""

_JOINING = re.compile(r"([-,'])(?=\1)")
"""What T1's fonts make one character of, where it stands twice."""

_LATIN = frozenset(map(chr, range(0xA1, 0x17F))) - frozenset("\N{SOFT HYPHEN}ĦħĸĿŀŉŦŧ")
"""Letters beyond ASCII that pdfLaTeX has in T1's fonts."""


def to_tex(table: Table, view: View) -> str:
    r"""The table as text, for `\usepackage{booktabs}`; differences stand in lines of their own below the numbers."""
    caption = " ".join(f"{escaped(part.rstrip('.'))}." for part in (table.caption, *notes_of(table, view)))
    width = len(table.columns) + 1
    lines = [
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{_label(table.id)}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        _line([escaped(table.corner), *map(escaped, table.columns)]),
    ]
    for group in table.groups:
        lines.append(r"\midrule")
        if group.title:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escaped(group.title)}}}}} \\")
        for row in group.rows:
            lines += _row(row, table)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(row: TableRow, table: Table) -> list[str]:
    """The numbers, then a line of smaller type for each reference that they are compared with."""
    aim = "" if not row.better else "↑" if row.better.startswith("higher") else "↓"
    head = escaped(", ".join(filter(None, (row.head, row.unit))) + f" {aim}".rstrip())
    lines = [_line([head, *map(_main, row.cells)])]
    for versus in dict.fromkeys(delta.versus for cell in row.cells for delta in cell.deltas):
        deltas = [next((d for d in cell.deltas if d.versus == versus), None) for cell in row.cells]
        words = rf"\quad{{\scriptsize {escaped(against(versus, table))}}}"
        lines.append(_line([words, *(rf"{{\scriptsize {_number(delta)}}}" if delta else "" for delta in deltas)]))
    return lines


def _main(cell: Cell) -> str:
    if not isinstance(cell.main, Number):
        return escaped(cell.main) if cell.main else "--"
    text = _number(cell.main)
    text = rf"{{\boldmath\bfseries {text}}}" if cell.css == "best" else text
    return text + (r"\,!" if cell.warned else "")


def _number(number: Number) -> str:
    sign = r"$\approx$\," if number.state == "unclear" else ""
    word = " worse" if number.state == "worse" else ""
    interval = rf" {{\scriptsize {_maths(number.interval)}}}" if number.interval else ""
    return f"{sign}{_maths(number.text)}{interval}{word}"


def _maths(text: str) -> str:
    """A number or an interval as it is written, in mathematics: its minus is one, its comma has no room behind it."""
    parts = [part.replace(",", "{,}") for part in text.replace("−", "-").split(", ")]
    return escaped(text) if not any(c.isdigit() for c in text) else f"${', '.join(parts)}$"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _label(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def escaped(text: str) -> str:
    """Names from outside as text of TeX; letters beyond Latin ones are written as their code points."""
    return _JOINING.sub(r"\1{}", "".join(map(_escaped, " ".join(text.split()))))


def _escaped(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _LATIN or (character.isascii() and character.isprintable()):
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"
