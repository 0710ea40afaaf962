"""The view model: everything the page and the charts show, as plain frozen values without any decision left open."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import ClassVar, Literal, TypeAlias

from nsbench.report.numbers import NOWHERE, Number, Parts, Sources, State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table: words or a number, and under it the number's differences."""

    main: Number | str | None = None
    deltas: tuple[Number, ...] = ()
    css: str = ""
    warned: bool = False
    """Something behind the number looks wrong: see what to check first."""

    @property
    def sort(self) -> str:
        """What a click on the column's head sorts by."""
        if isinstance(self.main, Number):
            return "" if math.isnan(self.main.value) else f"{self.main.value:.5g}"
        return self.main or ""

    @property
    def numbers(self) -> tuple[Number, ...]:
        return (*((self.main,) if isinstance(self.main, Number) else ()), *self.deltas)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRow:
    head: str
    """The row's name."""
    unit: str = ""
    better: str = ""
    """`higher is better`, where the reader has to know."""
    note: int = 0
    """Its protocol, where rows of one table differ in it."""
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowGroup:
    title: str = ""
    rows: tuple[TableRow, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    kind: ClassVar[str] = "table"
    id: str
    caption: str
    corner: str = ""
    """Head of the column of row names."""
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    switch: tuple[tuple[str, str], ...] = ()
    """Differences that the reader may choose between: (versus, words)."""
    legend: bool = False
    """Explain the signs of the differences under the table."""
    sortable: bool = True
    interval_note: str = ""
    """What its intervals cover, where that is not what the page's do."""
    css: str = ""

    @property
    def sources(self) -> Sources:
        cells = (cell for group in self.groups for row in group.rows for cell in row.cells)
        return Sources.of(number for cell in cells for number in cell.numbers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """A line, a row of dots or a set of bars.

    `role` picks colour, marker and dash: a generation, `control`, `model-0`, or a part.
    """

    role: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    x_low: tuple[float, ...] = ()
    x_high: tuple[float, ...] = ()

    def turned(self) -> Series:
        """Lying down, as a row of dots: positions along y, values along x."""
        return dataclasses.replace(self, x=self.y, y=self.x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    title: str
    series: tuple[Series, ...]
    y_label: str = ""
    threshold: float = math.nan
    """A vertical line, such as the smallest confidence that is kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """What one figure shows: `lines`, `dots` (values along x, names along y), `bars`, or `scatter` (x against y)."""

    kind: ClassVar[str] = "figure"
    id: str
    shape: Literal["lines", "dots", "bars", "scatter"]
    title: str
    caption: str
    panels: tuple[Panel, ...]
    columns: int
    x_label: str = ""
    y_label: str = ""
    ticks: tuple[tuple[float, str], ...] = ()
    """Positions and names along x, or along y for dots; empty: matplotlib's own."""
    symlog: float = 0.0
    """Smallest positive x of a doubling scale with a zero; 0: linear."""
    share_y: bool = True
    y_zero: bool = True
    x_scale: Literal["linear", "log", "logit"] = "linear"
    y_scale: Literal["linear", "root", "log", "logit"] = "linear"
    """`log`, or `root` where there are zeros: for errors of which a few are far above the rest."""
    panel_height: float = 1.45
    """Inches."""
    narrow: bool = False
    """Half the page's width is enough."""
    sources: Sources = NOWHERE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    uri: str
    width: int
    height: int
    caption: str
    truth: str
    predictions: tuple[tuple[str, str, str], ...]
    """(generation, predicted class, `right`, `wrong` or empty)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    kind: ClassVar[str] = "pictures"
    title: str
    items: tuple[Picture, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    kind: ClassVar[str] = "text"
    parts: Parts
    css: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Code:
    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    kind: ClassVar[str] = "facts"
    title: str
    items: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """Evidence that is a click away."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Block, ...]


Block: TypeAlias = Table | Chart | Pictures | Text | Code | Facts | Fold


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    id: str
    nav: str
    title: str
    intro: Parts = ()
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    title: str
    better: str
    number: Number | None
    who: str = ""
    """Whose number it is, where the page is not about one alone."""
    deltas: tuple[tuple[str, Number | None], ...]
    """(`vs gen 0`, difference), or (another model, its number)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence of the verdict."""

    state: State
    parts: Parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    lead: Parts
    findings: tuple[Finding, ...]
    caveat: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    title: str
    eyebrow: tuple[str, ...]
    badges: tuple[tuple[str, str], ...]
    """(css class, words)."""
    verdict: Verdict
    cards: tuple[Card, ...]
    cards_note: str
    sections: tuple[Section, ...]
    protocols: tuple[tuple[int, str, str], ...]
    """(number, evals, text)."""
    num_students: int
    interval_note: str
    """What the intervals cover, and the seed."""
    seed_note: str
    footer: str
    flags: Section | None = None
    """What to look at before believing anything else."""


def charts(blocks: Iterable[Block]) -> Iterable[Chart]:
    """Every chart of some blocks, in page order."""
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, Fold):
            yield from charts(block.blocks)


def tables(blocks: Iterable[Block]) -> Iterable[Table]:
    """Every table of some blocks, in page order."""
    for block in blocks:
        if isinstance(block, Table):
            yield block
        elif isinstance(block, Fold):
            yield from tables(block.blocks)
