"""How a series is told apart without colour, and the legend that says whose it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nsbench.report.drawing.palette import DASHES, MARKERS, model_number, role_colour
from nsbench.report.model import Chart, Series

_PUBLISHED = {"published": "d", "published-2": "p", "published-3": "v"}
"""What others printed, by role."""


def marker_of(one: Series) -> str:
    """matplotlib's marker of a series."""
    model = model_number(one.role)
    if one.role.isdigit() or model is not None:
        return MARKERS[(int(one.role) if model is None else model) % len(MARKERS)]
    return {"seed": "o", "mean": "D", "backdrop": "o", "backdrop-extra": "^", **_PUBLISHED}.get(one.role, "X")


def is_hollow(one: Series) -> bool:
    """Whether its markers are empty: what others published is never drawn like what was measured."""
    return one.role.startswith(("backdrop", "published"))


def is_line(one: Series) -> bool:
    """Whether it is a line to compare with, of no measurements."""
    return one.role == "fit"


def line_style_of(one: Series) -> Any:
    """matplotlib's dashes of a series."""
    model = model_number(one.role)
    if model is not None:
        return DASHES[model % len(DASHES)]
    if one.role in _PUBLISHED:
        return ":"
    return "-" if one.role.isdigit() else "--"


def legend_entries(chart: Chart) -> dict[str, Series]:
    """One series a legend entry; a single one needs no legend, nor do series that an axis names."""
    entries: dict[str, Series] = {}
    for panel in chart.panels:
        for one in panel.series:
            entries.setdefault(one.label, one)
    named = {name for _, name in chart.ticks}
    return entries if len(entries) > 1 and not entries.keys() <= named else {}


def legend_shape(chart: Chart, wide: float) -> tuple[int, int]:
    """Columns and lines of the legend in so many inches of 9 pt: long names do not stand in one line."""
    entries = legend_entries(chart)
    columns = max(1, min(len(entries), int(wide / (0.55 + 0.082 * max(map(len, entries), default=1)))))
    lines = math.ceil(len(entries) / columns)
    return math.ceil(len(entries) / max(lines, 1)), lines


def draw_legend(
    figure: Figure, chart: Chart, colours: Mapping[str, tuple[str, str]], at: tuple[float, float], wide: float
) -> None:
    """Write the legend with its upper left corner at `at`, in shares of the figure, `wide` inches of 9 pt at most."""
    entries = legend_entries(chart)
    if not entries:
        return
    ordered = sorted(entries.values(), key=_place)
    handles = [_handle(one, chart, role_colour(dict(colours), one.role), colours["surface"][0]) for one in ordered]
    legend = figure.legend(
        handles,
        [one.label for one in ordered],
        loc="upper left",
        bbox_to_anchor=at,
        ncols=legend_shape(chart, wide)[0],
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handletextpad=0.5,
        columnspacing=1.6,
        fontsize=rcParams["font.size"],
    )
    for text in legend.get_texts():
        text.set_color(colours["ink"][0])


def _place(one: Series) -> tuple[bool, int]:
    """Generations and models in their order; what is neither comes last, as it came."""
    number = int(one.role) if one.role.isdigit() else model_number(one.role)
    return (number is None, number or 0)


def _handle(one: Series, chart: Chart, colour: str, edge: str) -> Line2D | Patch:
    if chart.shape == "bars" and one.role != "predicted":
        return Patch(color=colour, linewidth=0)
    if is_line(one):
        return Line2D([], [], color=colour, linestyle="--", linewidth=1.2)
    marker = "_" if chart.shape == "bars" else marker_of(one)
    style: Any = "none" if chart.shape != "lines" else line_style_of(one)
    hollow = is_hollow(one)
    return Line2D(
        [], [], color=colour, linestyle=style, marker=marker, markersize=6, markeredgewidth=1.0 if hollow else 0.7,
        markeredgecolor=colour if hollow or marker == "_" else edge, markerfacecolor="none" if hollow else colour,
    )  # fmt: skip
