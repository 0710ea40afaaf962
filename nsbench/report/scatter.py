"""Points of one measure against another."""

from __future__ import annotations

import dataclasses

from nsbench.report.model import Series
from nsbench.report.rows import Key, Rows


def against(y: Series | None, x: Series | None) -> Series | None:
    """The values of `x` along x and those of `y` along y, both with their intervals; None where one is not known."""
    if y is None or x is None or len(x.y) != len(y.y):
        return None
    return dataclasses.replace(y, x=x.y, x_low=x.low, x_high=x.high)


def points(rows: Rows, y: Key, x: Key, x_rows: Rows | None = None) -> tuple[Series, ...]:
    """A point for each line that both were measured of; none where there are too many to be told apart.

    Args:
        x_rows: where `x` stands, if not beside `y`.
    """
    if not rows.lines.is_drawn:
        return ()
    found = (
        against(rows.series(name, [(0.0, y)]), (x_rows or rows).series(name, [(0.0, x)])) for name in rows.lines.names
    )
    return tuple(one for one in found if one is not None)
