"""A number as the page writes it, and the rows of the tables that it stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal, TypeAlias

State = Literal["", "better", "worse", "unclear"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """One number of the downloadable tables, written out."""

    row: str
    """`results:17` or `costs:3`: the table and its data row, counted from 0."""
    column: Literal["value", "p_value"] = "value"
    """Column of that row."""
    value: float
    """As stored."""
    text: str
    """As shown, without the unit; a dash for nan."""
    unit: str = ""
    """What follows the text where there is room for it."""
    interval: str = ""
    """`[88.0, 93.4]`, or empty where there is none."""
    hint: str = ""
    """n, interval, seed and protocol in words."""
    versus: str = ""
    """Empty, or what it is a difference against."""
    state: State = ""
    """Of a difference: which side of zero its interval lies on."""
    arrow: str = ""
    """Of a difference: where the number went."""
    note: int = 0
    """Number of its protocol."""
    n: int = 0
    """Images, videos or seeds behind it."""


Parts: TypeAlias = tuple["Number | str", ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """What stands behind a table or a figure."""

    n: tuple[int, ...] = ()
    notes: tuple[int, ...] = ()
    intervals: bool = False
    """Whether any of the numbers has one."""

    @classmethod
    def of(cls, numbers: Iterable[Number | None]) -> Sources:
        known = [number for number in numbers if number is not None]
        return cls(
            n=tuple(sorted({x.n for x in known if x.n})),
            notes=tuple(sorted({x.note for x in known if x.note})),
            intervals=any(x.interval for x in known),
        )

    @property
    def n_text(self) -> str:
        """`n = 500`, or the range."""
        if not self.n:
            return ""
        low, high = self.n[0], self.n[-1]
        return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


NOWHERE = Sources()
"""Of what no row of a table says."""
