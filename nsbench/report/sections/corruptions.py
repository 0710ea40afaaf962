"""ImageNet-C and C-bar: where the models break under noise, blur, weather and compression."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection
from typing import Literal

from nsbench.report.model import Block, Chart, Fold, Panel, RowGroup, Section, Table
from nsbench.report.numbers import Number
from nsbench.report.rows import Key, Rows
from nsbench.report.tables import line_rows, line_table, metric_group, suite_table, whole_keys
from nsbench.report.words import clean, eval_title, metric_base, subset_label

HEAT_STEPS = (5.0, 15.0, 30.0, 50.0)
"""Distances from 100 at which a CE gets a stronger colour."""

SPREAD_FROM = 4
"""Largest error in medians of all errors from which on a linear scale would flatten most panels."""


_NAVS = {"imagenet-c": "Corruptions", "imagenet-c-bar": "C-bar"}
_IDS = {"imagenet-c": "corruptions", "imagenet-c-bar": "corruptions-bar"}


def corruption_section(rows: Rows, imagenet: Collection[str], eval_name: str = "imagenet-c") -> Section | None:
    """A panel a corruption on one scale, then CE as a heat map, the means, and the numbers behind the panels."""
    if not rows.has(eval_name):
        return None
    names = [name for name in rows.values("subset", eval=eval_name) if name != "all"]
    levels = sorted(
        (level for level in rows.values("level", eval=eval_name) if level.isascii() and level.isdigit()), key=int
    )
    blocks: list[Block | None] = [
        _panels(rows, eval_name, names, levels),
        *_heat_tables(rows, eval_name, names),
        suite_table(
            rows,
            eval_name,
            whole_keys(rows, eval_name),
            id=f"{_IDS[eval_name]}-table",
            caption="Means over the corruptions, and what stands beside them. A mean with a name of its own says what "
            "it is relative to. Relative mCE counts what is lost beyond the clean error: who is wrong when clean has "
            "little to lose.",
        ),
        _level_table(rows, eval_name, levels),
        *_relative_folds(rows, eval_name, names),
        _cell_table(rows, eval_name, names, levels),
    ]
    return Section(
        id=eval_name,
        nav=_NAVS[eval_name],
        title=eval_title(eval_name, imagenet),
        blocks=tuple(block for block in blocks if block),
    )


def _panels(rows: Rows, eval_name: str, names: list[str], levels: list[str]) -> Chart | None:
    keys = {name: [(float(level), Key(eval_name, "error", name, level)) for level in levels] for name in names}
    panels = [Panel(title=subset_label(name), series=rows.all_series(points)) for name, points in keys.items()]
    panels = [panel for panel in panels if panel.series]
    values = [value for panel in panels for one in panel.series for value in one.y]
    if not values:
        return None
    scale: Literal["linear", "root", "log"] = "linear"
    if max(values) > SPREAD_FROM * statistics.median(values):
        scale = "log" if min(values) > 0 else "root"
    words = {"linear": "one scale for all", "root": "one square-root scale for all", "log": "one log scale for all"}
    return Chart(
        id=_IDS[eval_name],
        shape="lines",
        title="Error by severity",
        caption=f"Top-1 error in percent by severity, a panel for each corruption, {words[scale]}. Lower is better.",
        panels=tuple(panels),
        columns=5,
        x_label="severity",
        y_label="error %",
        ticks=tuple((float(level), level) for level in levels),
        y_scale=scale,
        sources=rows.sources(key for points in keys.values() for _, key in points),
    )


def _heat(number: Number) -> str:
    """Colour class of a CE: how far from the baseline's 100, and on which side."""
    if math.isnan(number.value):
        return ""
    steps = sum(abs(number.value - 100) >= step for step in HEAT_STEPS)
    return f"heat {'good' if number.value < 100 else 'bad'}-{steps}" if steps else "heat"


def _heat_tables(rows: Rows, eval_name: str, names: list[str]) -> list[Table | None]:
    """CE by corruption, a table for each baseline that it is relative to."""
    metrics = [name for name in rows.values("metric", eval=eval_name) if metric_base(name) == "CE"]
    return [
        _heat_table(rows, eval_name, names, metric, "ce-table" + (f"-{place}" if place else ""))
        for place, metric in enumerate(metrics)
    ]


def _heat_table(rows: Rows, eval_name: str, names: list[str], metric: str, id: str) -> Table | None:
    lines = [
        dataclasses.replace(
            line,
            cells=tuple(
                dataclasses.replace(cell, css=_heat(cell.main)) if isinstance(cell.main, Number) else cell
                for cell in line.cells
            ),
        )
        for name in names
        for line in line_rows(rows, Key(eval_name, metric, name, "mean"), subset_label(name), units=False)
    ]
    total = metric_group(rows, "", [(Key(eval_name, f"m{metric}", level="mean"), "mean (mCE)")], units=False)
    return line_table(
        rows,
        (RowGroup(rows=tuple(lines)), total),
        id=id,
        caption=_ce_caption(rows, eval_name, metric),
        corner="Corruption",
    )


def _ce_caption(rows: Rows, eval_name: str, metric: str) -> str:
    """What CE divides by, as its protocol says."""
    suffix = clean(metric.removeprefix("CE").removeprefix(", "))
    name = f"Corruption error (CE{f', {suffix}' if suffix else ''})"
    frame = rows.frame
    protocol = str(frame.loc[(frame["eval"] == eval_name) & (frame["metric"] == metric), "protocol"].iloc[0])
    if "relative to AlexNet" in protocol:
        other = " AlexNet was measured on other pixels than these." if "other pixels" in protocol else ""
        return f"{name} in percent of AlexNet's error: below 100 is better than AlexNet.{other}"
    return (
        f"{name} in percent of generation 0's error: below 100 is better than generation 0. "
        "A dash: generation 0 makes too few errors for a ratio."
    )


def _level_table(rows: Rows, eval_name: str, levels: list[str]) -> Table | None:
    """Error and calibration by severity, over all corruptions."""
    groups = []
    for metric, title in (("error", "Top-1 error, %"), ("ECE", "Calibration error (ECE), %")):
        keys = [(Key(eval_name, metric, level=level), f"severity {level}") for level in levels]
        groups.append(metric_group(rows, title, keys, units=False, mark_best=True))
    return line_table(
        rows,
        groups,
        id=f"{_IDS[eval_name]}-severity-table",
        caption="Top-1 error and calibration error in percent by severity, all corruptions together. Lower is better.",
        corner="Severity",
        sortable=False,
    )


def _relative_folds(rows: Rows, eval_name: str, names: list[str]) -> list[Fold]:
    """Relative CE by corruption: how much worse than clean, in percent of how much worse the baseline is."""
    folds = []
    metrics = [name for name in rows.values("metric", eval=eval_name) if metric_base(name) == "relative_CE"]
    for place, metric in enumerate(metrics):
        keys = [(Key(eval_name, metric, name, "mean"), subset_label(name)) for name in names]
        keys.append((Key(eval_name, metric.replace("_CE", "_mCE", 1), level="mean"), "mean"))
        words = clean(metric).replace("_", " ")
        table = line_table(
            rows,
            (metric_group(rows, "", keys, units=False),),
            id="relative-ce-table" + (f"-{place}" if place else ""),
            caption=f"Error beyond the clean error, in percent of the baseline's ({words})",
            corner="Corruption",
        )
        folds += [Fold(summary=f"By corruption: {words}", blocks=(table,))] if table else []
    return folds


def _cell_table(rows: Rows, eval_name: str, names: list[str], levels: list[str]) -> Fold | None:
    groups = []
    for name in (*names, "all"):
        keys = [(Key(eval_name, "error", name, level), f"severity {level}") for level in levels]
        keys.append((Key(eval_name, "error", name, "mean"), "mean"))
        groups.append(metric_group(rows, "all corruptions" if name == "all" else subset_label(name), keys, units=False))
    table = line_table(
        rows,
        groups,
        id="cells-table" if eval_name == "imagenet-c" else f"{_IDS[eval_name]}-cells-table",
        caption="Top-1 error in percent by corruption and severity",
        corner="Severity",
        sortable=False,
    )
    return Fold(summary="The numbers behind the panels", blocks=(table,)) if table else None
