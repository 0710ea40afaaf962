"""ImageNet-C and ImageNet-P: where the models break under noise, blur, weather and small movements."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Literal

from nsbench.report.model import Chart, Fold, Number, Panel, RowGroup, Section, Series, Table
from nsbench.report.rows import Key, Rows
from nsbench.report.tables import generation_rows, generation_table, metric_group
from nsbench.report.words import eval_title, generation_label, subset_label

HEAT_STEPS = (5.0, 15.0, 30.0, 50.0)
"""Distances from 100 at which a CE gets a stronger colour."""

SPREAD_FROM = 4
"""Largest error in medians of all errors from which on a linear scale would flatten most panels."""


def corruption_section(rows: Rows, imagenet: bool) -> Section | None:
    """Fifteen panels on one scale, then CE as a heat map, then the numbers behind the panels."""
    if not rows.has("imagenet-c"):
        return None
    names = [name for name in rows.values("subset", eval="imagenet-c") if name != "all"]
    levels = [level for level in rows.values("level", eval="imagenet-c") if level.isdigit()]
    keys = {name: [(float(level), Key("imagenet-c", "error", name, level)) for level in levels] for name in names}
    panels = [Panel(title=subset_label(name), series=rows.all_series(points)) for name, points in keys.items()]
    chart = _panels(rows, tuple(panel for panel in panels if panel.series), levels)
    blocks = (chart, _heat_table(rows, names), _cell_table(rows, names, levels))
    return Section(
        id="imagenet-c",
        nav="Corruptions",
        title=eval_title("imagenet-c", imagenet),
        blocks=tuple(block for block in blocks if block),
    )


def _panels(rows: Rows, panels: tuple[Panel, ...], levels: list[str]) -> Chart | None:
    values = [value for panel in panels for one in panel.series for value in one.y]
    if not values:
        return None
    scale: Literal["linear", "root", "log"] = "linear"
    if max(values) > SPREAD_FROM * statistics.median(values):
        scale = "log" if min(values) > 0 else "root"
    words = {"linear": "one scale for all", "root": "one square-root scale for all", "log": "one log scale for all"}
    return Chart(
        id="corruptions",
        shape="lines",
        title="Error by severity",
        caption=f"Top-1 error in percent by severity, a panel for each corruption, {words[scale]}. Lower is better.",
        panels=panels,
        columns=5,
        x_label="severity",
        y_label="error %",
        ticks=tuple((float(level), level) for level in levels),
        y_scale=scale,
        sources=rows.sources(
            Key("imagenet-c", "error", name, level)
            for name in rows.values("subset", eval="imagenet-c")
            for level in levels
            if name != "all"
        ),
    )


def _heat(number: Number) -> str:
    """Colour class of a CE: how far from generation 0's 100, and on which side."""
    if math.isnan(number.value):
        return ""
    steps = sum(abs(number.value - 100) >= step for step in HEAT_STEPS)
    return f"heat {'good' if number.value < 100 else 'bad'}-{steps}" if steps else "heat"


def _heat_table(rows: Rows, names: list[str]) -> Table | None:
    lines = [
        dataclasses.replace(
            line,
            cells=tuple(
                dataclasses.replace(cell, css=_heat(cell.main)) if isinstance(cell.main, Number) else cell
                for cell in line.cells
            ),
        )
        for name in names
        for line in generation_rows(rows, Key("imagenet-c", "CE", name, "mean"), subset_label(name), units=False)
    ]
    total = metric_group(rows, "", [(Key("imagenet-c", "mCE", level="mean"), "mean (mCE)")], units=False)
    return generation_table(
        rows,
        (RowGroup(rows=tuple(lines)), total),
        id="ce-table",
        caption="Corruption error (CE) in percent of generation 0's error: below 100 is better than generation 0. "
        "A dash: generation 0 makes too few errors for a ratio.",
        corner="Corruption",
    )


def _cell_table(rows: Rows, names: list[str], levels: list[str]) -> Fold | None:
    groups = []
    for name in (*names, "all"):
        keys = [(Key("imagenet-c", "error", name, level), f"severity {level}") for level in levels]
        keys.append((Key("imagenet-c", "error", name, "mean"), "mean"))
        groups.append(metric_group(rows, "all corruptions" if name == "all" else subset_label(name), keys, units=False))
    table = generation_table(
        rows,
        groups,
        id="cells-table",
        caption="Top-1 error in percent by corruption and severity",
        corner="Severity",
        sortable=False,
    )
    return Fold(summary="The numbers behind the panels", blocks=(table,)) if table else None


def perturbation_section(rows: Rows, imagenet: bool) -> Section | None:
    """Flip probability of every perturbation as dots, and the table with FR and T5D."""
    if not rows.has("imagenet-p"):
        return None
    names = [name for name in rows.values("subset", eval="imagenet-p") if name != "all"]
    blocks = tuple(block for block in (_flip_chart(rows, names), _flip_table(rows, names)) if block)
    return Section(id="imagenet-p", nav="Perturbations", title=eval_title("imagenet-p", imagenet), blocks=blocks)


def _flip_chart(rows: Rows, names: list[str]) -> Chart | None:
    keys = [Key("imagenet-p", "flip_probability", name) for name in names]
    series = tuple(one for generation in rows.generations if (one := _dots(rows, generation, keys)))
    if not series:
        return None
    return Chart(
        id="perturbations",
        shape="dots",
        title="Flip probability by perturbation",
        caption="Share of neighbouring frames on which the prediction changes, in percent. Lower is better.",
        panels=(Panel(title="", series=series),),
        columns=1,
        x_label="flip probability %",
        ticks=tuple((float(k), subset_label(name)) for k, name in enumerate(names)),
        panel_height=0.36 * len(names) + 0.2,
        sources=rows.sources(keys),
    )


_FLIPS = (
    ("flip_probability", "Flip probability, %"),
    ("FR", "Flip rate, % of generation 0's"),
    ("T5D", "Top-5 distance, ranks"),
)


def _flip_table(rows: Rows, names: list[str]) -> Fold | None:
    groups = []
    for metric, title in _FLIPS:
        keys = [(Key("imagenet-p", metric, name), subset_label(name)) for name in names]
        keys.append((Key("imagenet-p", {"FR": "mFR"}.get(metric, metric)), "mean"))
        groups.append(metric_group(rows, title, keys, units=False))
    table = generation_table(
        rows,
        groups,
        id="flips-table",
        caption="Flips by perturbation. Lower is better everywhere.",
        corner="Perturbation",
        sortable=False,
    )
    return Fold(summary="The numbers: flip probability, flip rate, top-5 distance", blocks=(table,)) if table else None


def _dots(rows: Rows, generation: str, keys: list[Key]) -> Series | None:
    """A row of dots lies along y: positions are y, values are x."""
    series = rows.series(generation, [(float(k), key) for k, key in enumerate(keys)])
    if series is None:
        return None
    return Series(
        role=generation,
        label=generation_label(generation),
        x=series.y,
        y=series.x,
        low=series.low,
        high=series.high,
    )
