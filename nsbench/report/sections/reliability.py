"""Calibration: the reliability diagram of every generation or model, and how many images stand behind each bin."""

from __future__ import annotations

import dataclasses

from nsbench.report.model import Block, Chart, Fold, Panel, RowGroup, Section, Series
from nsbench.report.rows import Key, Rows
from nsbench.report.scatter import against
from nsbench.report.tables import line_table, metric_group

_EVAL = "imagenet"
_IMAGES, _ACCURACY, _CONFIDENCE = "reliability_images", "reliability_accuracy", "reliability_confidence"


def reliability_section(rows: Rows) -> Section | None:
    """How often the models are right when they are so sure; None where the bins were not recorded."""
    levels = rows.values("level", eval=_EVAL, metric=_IMAGES)
    if not levels:
        return None
    blocks: list[Block | None] = [_diagrams(rows, levels), _counts(rows, levels), _numbers(rows, levels)]
    return Section(
        id="calibration",
        nav="Calibration",
        title="How far the confidence can be believed",
        blocks=tuple(block for block in blocks if block),
    )


def _keys(metric: str, levels: list[str]) -> list[tuple[float, Key]]:
    """Keys of the bins, at their middles in percent."""
    ends = [level.split("-") for level in levels]
    middles = [50 * (float(low) + float(high)) for low, high in ends]
    return [(x, Key(_EVAL, metric, level=level)) for x, level in zip(middles, levels, strict=True)]


def _drawn(rows: Rows) -> tuple[str, ...]:
    """Nothing where there are too many for a chart; the numbers are those of all."""
    return rows.names if rows.lines.is_drawn else ()


def _diagrams(rows: Rows, levels: list[str]) -> Chart | None:
    perfect = Series(role="fit", label="as sure as right", x=(0.0, 100.0), y=(0.0, 100.0))
    panels = []
    for name in _drawn(rows):
        accuracy, confidence = (rows.series(name, _keys(metric, levels)) for metric in (_ACCURACY, _CONFIDENCE))
        curve = against(accuracy, confidence)
        if curve is not None:  # mean confidence is known far better than accuracy
            curve = dataclasses.replace(curve, x_low=(), x_high=())
            panels.append(Panel(title=rows.lines.label(name), series=(perfect, curve)))
    if not panels:
        return None
    return Chart(
        id="reliability",
        shape="scatter",
        title="Reliability diagram",
        caption="Accuracy in percent by mean confidence, in bins of confidence, with 95 % intervals. Below the dashed "
        "line a model is surer than it is right. Bins of few images have wide intervals.",
        panels=tuple(panels),
        columns=max(3, min(4, len(panels))),
        x_label="mean confidence %",
        y_label="accuracy %",
        panel_height=1.9,
        sources=rows.sources(key for _, key in _keys(_ACCURACY, levels)),
    )


def _counts(rows: Rows, levels: list[str]) -> Chart | None:
    found = ((name, rows.series(name, _keys(_IMAGES, levels))) for name in _drawn(rows))
    panels = [Panel(title=rows.lines.label(name), series=(one,)) for name, one in found if one]
    if not panels:
        return None
    return Chart(
        id="reliability-images",
        shape="bars",
        title="Images behind the diagram",
        caption="Clean images by the confidence of the prediction.",
        panels=tuple(panels),
        columns=max(3, min(4, len(panels))),
        x_label="confidence %",
        y_label="images",
        ticks=((0.0, "0"), (50.0, "50"), (100.0, "100")),
        panel_height=1.2,
        sources=rows.sources(key for _, key in _keys(_IMAGES, levels)),
    )


def _numbers(rows: Rows, levels: list[str]) -> Fold | None:
    groups: list[RowGroup] = []
    for metric, title in (
        (_ACCURACY, "Accuracy, %"),
        (_CONFIDENCE, "Mean confidence, %"),
        (_IMAGES, "Images"),
    ):
        heads = [(key, _head(key.level)) for _, key in _keys(metric, levels)]
        groups.append(metric_group(rows, title, heads, units=False))
    table = line_table(
        rows,
        groups,
        id="reliability-table",
        caption="Accuracy, mean confidence and images by bin of confidence",
        corner="Confidence, %",
        sortable=False,
    )
    return Fold(summary="The numbers behind the diagram", blocks=(table,)) if table else None


def _head(level: str) -> str:
    low, high = (100 * float(end) for end in level.split("-"))
    return f"{low:.0f} to {high:.0f}"
