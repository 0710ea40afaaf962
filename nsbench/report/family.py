"""Which differences stand when all that are shown together are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nsbench.metrics.intervals import holm
from nsbench.report.rows import Key, Rows
from nsbench.report.words import plural

LEVEL = 0.05


def standing(found: Sequence[Any]) -> dict[int, bool]:
    """Which rows are significant at 5 % after Holm's correction over all of them, by `Index`; nan is no comparison."""
    adjusted = holm(np.array([row.p_value for row in found], dtype=np.float64))
    return {row.Index: bool(p < LEVEL) for row, p in zip(found, adjusted, strict=True) if not math.isnan(p)}


def family(rows: Rows, keys: Sequence[Key]) -> list[Any]:
    """The differences of headline measures that a page's verdict is about: rows that have a p value.

    Of a run the last student's against generation 0 and the control, of models every one's against the first.
    """
    names = [name for name in rows.names if rows.lines.is_compared(name, "")]
    found = (
        rows.raw(name, key, versus)
        for versus in rows.lines.versus
        if versus != "previous"
        for name in names
        for key in keys
    )
    return [row for row in found if row is not None and not math.isnan(row.p_value)]


def family_words(rows: Rows, keys: Sequence[Key]) -> str:
    """A sentence for the verdict: how many differences there are, and how many of them stand; empty where none is."""
    found = family(rows, keys)
    if not found:
        return ""
    kept = sum(standing(found).values())
    return f" Of the {plural(len(found), 'headline difference')}, {kept:,} stand after Holm's correction at 5 %."
