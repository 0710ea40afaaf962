"""Models of a page that timm published as well: its accuracy in one column, that measured here in another."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from nsbench.metrics.effective_robustness import SOURCE
from nsbench.report.backdrop import timm_models
from nsbench.report.model import Cell, RowGroup, Table, TableRow
from nsbench.report.rows import Key, Rows
from nsbench.report.words import eval_short, number_text


class _Set(NamedTuple):
    key: Key
    column: str
    num: int
    """Images of the whole set."""


_SETS = (
    _Set(Key("imagenet", "top1"), "imagenet", 50_000),
    _Set(Key("imagenet-a", "top1"), "imagenet_a", 7_500),
    _Set(Key("imagenet-r", "top1"), "imagenet_r", 30_000),
    _Set(Key("imagenet-v2", "top1", "matched-frequency"), "imagenet_v2", 10_000),
    _Set(Key("imagenet-sketch", "top1"), "imagenet_sketch", 50_889),
)


def known_table(rows: Rows, imagenet: Collection[str]) -> Table | None:
    """Whole sets at the size that timm used, and nothing else; None where no such model was measured."""
    frame = timm_models()
    groups = []
    for name in rows.names if rows.lines.noun == "model" else ():
        lines = [
            line
            for one in frame[frame["model"] == name].to_dict("records")
            for known in _SETS
            if (line := _line(rows, name, known, one, imagenet))
        ]
        if lines:
            groups.append(RowGroup(title=rows.lines.label(name), rows=tuple(lines)))
    if not groups:
        return None
    return Table(
        id="known-models-table",
        caption=f"Models that timm published: top-1 accuracy in percent, theirs ({SOURCE}) and that measured here on "
        "the same images at the same size",
        corner="Test images",
        columns=("Published", "Measured here [95 %]"),
        groups=tuple(groups),
        sortable=False,
        css="beside-published",
    )


def _line(
    rows: Rows, name: str, known: _Set, published: Mapping[Any, Any], imagenet: Collection[str]
) -> TableRow | None:
    row, value = rows.raw(name, known.key), float(published[f"{known.column}_top1"])
    alike = row is not None and row.n == known.num and f", {published['img_size']} px" in row.protocol
    if not alike or known.key.eval not in imagenet or math.isnan(value):
        return None
    return TableRow(
        head=f"{eval_short(known.key.eval, imagenet)}, {published['img_size']} px",
        cells=(Cell(main=number_text(100 * value, 1), css="published"), Cell(main=rows.number(name, known.key))),
    )
