"""How training went and what it cost: curves of every generation, seconds, images/s and memory of every stage."""

from __future__ import annotations

import pandas as pd

from nsbench.report.lines import generation_label
from nsbench.report.model import Cell, Chart, Panel, RowGroup, Series, Table, TableRow
from nsbench.report.rows import Key, Rows
from nsbench.report.words import clean

MAX_POINTS = 300
"""Points of a training curve; more are averaged in equal groups."""

_CURVES = (
    ("loss_labelled", "loss, labelled images"),
    ("loss_unlabelled", "loss, pseudo-labelled images"),
    ("accuracy_labelled", "training accuracy, labelled"),
    ("lr", "learning rate"),
    ("images_per_second", "images/s"),
)


def curve_charts(curves: pd.DataFrame) -> list[Chart]:
    """Loss, accuracy, learning rate and speed by step, a line a generation."""
    if curves.empty:
        return []
    names = list(dict.fromkeys(curves["generation"]))
    names.sort(key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0))
    columns = [one for one in _CURVES if one[0] in curves]
    if "loss" in curves and "loss_labelled" not in curves:
        columns.insert(0, ("loss", "loss"))
    panels = []
    for column, title in columns:
        series = tuple(one for name in names if (one := _curve(curves, name, column)))
        if series:
            panels.append(Panel(title=title, series=series))
    if not panels:
        return []
    chart = Chart(
        id="training",
        shape="lines",
        title="Training",
        caption="Training curves from metrics.jsonl. Losses under noise are not comparable with those without.",
        panels=tuple(panels),
        columns=3,
        x_label="step",
        share_y=False,
        panel_height=1.6,
    )
    return [chart]


def _curve(curves: pd.DataFrame, generation: str, column: str) -> Series | None:
    part = curves.loc[curves["generation"] == generation, ["step", column]].dropna()
    if part.empty:
        return None
    if len(part) > MAX_POINTS:
        group = pd.RangeIndex(len(part)) * MAX_POINTS // len(part)
        part = part.groupby(group).mean()
    x, y = (tuple(float(value) for value in part[name]) for name in ("step", column))
    return Series(role=generation, label=generation_label(generation), x=x, y=y)


_STAGES = ("model", "train", "label", "select", "evaluate", "total")


def cost_table(costs: Rows) -> Table | None:
    """Time, throughput and memory of every stage."""
    frame = costs.frame
    if frame.empty:
        return None
    there = set(costs.values("line"))
    names = [name for name in costs.names if name in there and name != "all"] + (["all"] if "all" in there else [])
    stages = sorted(costs.values("subset"), key=lambda name: _STAGES.index(name) if name in _STAGES else 4)
    groups = []
    for metric, title in (
        ("parameters", "Parameters"),
        ("seconds", "Time"),
        ("images_per_second", "Throughput"),
        ("peak_memory_bytes", "Peak memory"),
    ):
        lines = []
        for stage in stages:
            numbers = [costs.number(name, Key("cost", metric, stage)) for name in names]
            if any(numbers):
                unit = next(number.unit for number in numbers if number)
                lines.append(TableRow(head=clean(stage), unit=unit, cells=tuple(Cell(main=n) for n in numbers)))
        if lines:
            groups.append(RowGroup(title=title, rows=tuple(lines)))
    if not groups:
        return None
    return Table(
        id="costs-table",
        caption="What it cost. From costs.csv: another run gives other numbers.",
        corner="Stage",
        columns=tuple(costs.lines.label(name) for name in names),
        groups=tuple(groups),
        sortable=False,
    )
