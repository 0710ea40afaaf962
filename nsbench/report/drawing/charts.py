"""matplotlib figures of the view model's charts. Nothing is decided here but ink on paper."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from nsbench.report.drawing.bars import paint_bars
from nsbench.report.drawing.legend import draw_legend, is_hollow, legend_entries, legend_shape, line_style_of, marker_of
from nsbench.report.drawing.palette import role_colour
from nsbench.report.drawing.scatter import paint_scatter, scale_axes
from nsbench.report.model import Chart, Panel, Series
from nsbench.report.words import shortened

Colours = Mapping[str, tuple[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How large figures are, in inches."""

    wide: float
    narrow: float
    scale: float
    """Of all text and of the room for it; 1 is 9 pt for titles, and 8 pt for the smallest."""


PAGE = Layout(wide=10.4, narrow=6.4, scale=1.0)
PAPER = Layout(wide=6.75, narrow=3.25, scale=0.78)
"""Two columns and one of a conference paper, with text of 6.2 to 7 pt."""

LONGEST_NAME = 40
"""Characters of a name in a figure."""

_LEAST_PANEL = 1.3
"""Inches, by the layout's scale."""


def draw(chart: Chart, colours: Colours, layout: Layout = PAGE) -> Figure:
    """One figure, in the light colours; call it inside `svg.drawing_style` with the layout's scale."""
    chart = _with_short_names(chart)
    num, scale = len(chart.panels), layout.scale
    left, between = _left(chart) * scale, (0.22 if chart.share_y else 0.5) * scale
    width = layout.narrow if chart.narrow and layout.narrow - left > _LEAST_PANEL * scale else layout.wide
    columns = max(1, min(chart.columns, num, int((width - left + between) / (_LEAST_PANEL * scale + between))))
    lines = math.ceil(num / columns)
    top, bottom = _top(chart, (width - left) / scale) * scale, 0.46 * scale
    gap, panel_height = (0.4 if chart.share_y and chart.ticks else 0.56) * scale, chart.panel_height * scale
    height = top + bottom + lines * panel_height + (lines - 1) * gap
    figure = Figure(figsize=(width, height), facecolor="none")
    each = (width - left - 0.12 * scale - (columns - 1) * between) / columns
    limits = _limits(chart)
    for k, panel in enumerate(chart.panels):
        row, column = divmod(k, columns)
        x = left + column * (each + between)
        y = bottom + (lines - 1 - row) * (panel_height + gap)
        axes = figure.add_axes((x / width, y / height, each / width, panel_height / height))
        _dress(axes, chart, panel, colours)
        _PAINTERS[chart.shape](axes, chart, panel, colours)
        outer = column == 0, k + columns >= num
        if chart.shape == "scatter":
            scale_axes(axes, chart, panel)
        _finish(axes, chart, outer, limits)
    draw_legend(figure, chart, colours, (left / width, 1 - 0.04 * scale / height), (width - left) / scale)
    return figure


def _with_short_names(chart: Chart) -> Chart:
    """Names from outside may be of any length, and the room beside a panel is given."""
    panels = [dataclasses.replace(panel, title=shortened(panel.title, LONGEST_NAME)) for panel in chart.panels]
    ticks = [(position, shortened(name, LONGEST_NAME)) for position, name in chart.ticks]
    return dataclasses.replace(chart, panels=tuple(panels), ticks=tuple(ticks))


def _top(chart: Chart, wide: float) -> float:
    legend = 0.12 + 0.18 * legend_shape(chart, wide)[1] if legend_entries(chart) else 0.05
    return legend + (0.27 if any(panel.title for panel in chart.panels) else 0.08)


def _left(chart: Chart) -> float:
    if chart.shape == "dots":
        return 0.25 + 0.075 * max((len(name) for _, name in chart.ticks), default=0)
    return 0.62


def _limits(chart: Chart) -> tuple[float, float] | None:
    """The common scale of panels that share one."""
    if not chart.share_y or chart.shape in ("dots", "scatter"):
        return None
    ends = [end for panel in chart.panels for one in panel.series for end in (*one.y, *one.low, *one.high)]
    known = [end for end in ends if math.isfinite(end)]
    if not known:
        return None
    if chart.y_scale == "log":  # whiskers are not drawn on it, and may end at zero
        drawn = [y for panel in chart.panels for one in panel.series for y in one.y]
        return min(drawn) / 1.3, max(drawn) * 1.1
    low, high = (0.0 if chart.y_zero else min(known)), max(known)
    room = 0.05 * ((high - low) or 1.0)
    return low - (room if chart.shape == "lines" and chart.y_scale == "linear" else 0), high + room


def _dress(axes: Axes, chart: Chart, panel: Panel, colours: Colours) -> None:
    ink, ink_2, grid, line = (colours[name][0] for name in ("ink", "ink-2", "grid", "line"))
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(line)
    axes.tick_params(colors=ink_2, pad=3)
    axes.xaxis.label.set_color(ink_2)
    axes.yaxis.label.set_color(ink_2)
    axes.grid(axis="x" if chart.shape == "dots" else "y", color=grid, linewidth=0.8)
    if panel.title:
        axes.set_title(panel.title, loc="left", color=ink, pad=5)


def _paint_lines(axes: Axes, chart: Chart, panel: Panel, colours: Colours) -> None:
    alone = all(len(one.x) == 1 for one in panel.series)
    for k, one in enumerate(panel.series):
        colour, style = role_colour(dict(colours), one.role), line_style_of(one)
        dense = len(one.x) > 40
        marker: dict[str, Any] = {"marker": marker_of(one), "markeredgecolor": colours["surface"][0]}
        marker = {} if dense else {**marker, "markeredgewidth": 0.7}
        if is_hollow(one):
            marker |= {"markerfacecolor": "none", "markeredgecolor": colour}
        if alone:
            _whiskers(axes, one, colour, vertical=True)
            marker["markersize"] = 7.0
        elif _has_band(one) and chart.symlog:
            axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(
            one.x,
            one.y,
            linestyle=style,
            color=colour,
            zorder=3 + 0.01 * k,
            clip_on=False,
            linewidth=1.1 if dense else 1.6,
            **marker,
        )


def _paint_dots(axes: Axes, chart: Chart, panel: Panel, colours: Colours) -> None:
    num = len(panel.series)
    if len({y for one in panel.series for y in one.y}) == sum(len(one.y) for one in panel.series):
        num = 1  # nobody shares a line, so nobody has to move
    for k, one in enumerate(panel.series):
        shift = 0.0 if num == 1 else (k - (num - 1) / 2) * 0.72 / max(num, 1)
        moved = Series(
            role=one.role, label=one.label, x=one.x, y=tuple(y + shift for y in one.y), low=one.low, high=one.high
        )
        colour = role_colour(dict(colours), one.role)
        _whiskers(axes, moved, colour, vertical=False)
        axes.plot(
            moved.x,
            moved.y,
            linestyle="none",
            marker=marker_of(one),
            color=colour,
            markersize=5.2,
            markeredgecolor=colours["surface"][0],
            markeredgewidth=0.6,
            zorder=3,
            clip_on=False,
        )
    axes.set_ylim(len(chart.ticks) - 0.5, -0.5)
    for position in range(1, len(chart.ticks)):
        axes.axhline(position - 0.5, color=colours["grid"][0], linewidth=0.6, zorder=0)


_PAINTERS: dict[str, Any] = {
    "lines": _paint_lines, "dots": _paint_dots, "bars": paint_bars, "scatter": paint_scatter,
}  # fmt: skip


def _whiskers(axes: Axes, one: Series, colour: str, *, vertical: bool) -> None:
    if one.low:
        lines = axes.vlines if vertical else axes.hlines
        lines(one.x if vertical else one.y, one.low, one.high, color=colour, linewidth=1.5, alpha=0.75, zorder=2)


def _has_band(one: Series) -> bool:
    return bool(one.low) and all(map(math.isfinite, (*one.low, *one.high)))


def _finish(axes: Axes, chart: Chart, outer: tuple[bool, bool], limits: tuple[float, float] | None) -> None:
    """Scales, ticks and labels; panels inside a common scale leave out what their neighbours say."""
    first, last = outer
    if chart.ticks:
        ticks = axes.yaxis if chart.shape == "dots" else axes.xaxis
        ticks.set_major_locator(FixedLocator([position for position, _ in chart.ticks]))
        ticks.set_ticklabels([name if first or chart.shape != "dots" else "" for _, name in chart.ticks])
    if chart.shape == "dots":
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(chart.panels) > 1 else 8))
        if chart.y_zero:
            axes.set_xlim(left=0)
    elif chart.shape != "scatter":
        _scale_x(axes, chart)
        _scale_y(axes, chart)
    if limits is not None:
        axes.set_ylim(*limits)
        if not first:
            axes.yaxis.set_major_formatter(NullFormatter())
    if last:
        axes.set_xlabel(chart.x_label)
    elif chart.share_y and chart.ticks and chart.shape != "dots":
        axes.tick_params(labelbottom=False)
    if first and chart.y_label:
        axes.set_ylabel(chart.y_label)


def _scale_x(axes: Axes, chart: Chart) -> None:
    positions = [position for position, _ in chart.ticks]
    if chart.symlog:
        axes.set_xscale("symlog", base=2, linthresh=chart.symlog, linscale=1)
        axes.xaxis.set_major_locator(FixedLocator(positions))
        axes.xaxis.set_ticklabels([name for _, name in chart.ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    elif chart.shape == "lines" and positions:
        axes.set_xlim(min(positions) - 0.3, max(positions) + 0.3)
    elif chart.shape == "lines":
        axes.xaxis.set_major_locator(MaxNLocator(4))


def _scale_y(axes: Axes, chart: Chart) -> None:
    if chart.y_scale == "root":
        axes.set_yscale("function", functions=(_root, np.square))
        axes.yaxis.set_major_locator(FixedLocator([0, 2, 10, 25, 50, 100]))
    elif chart.y_scale == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(FixedLocator([0.1, 0.5, 1, 2, 5, 10, 20, 50, 100]))
        axes.yaxis.set_major_formatter("{x:g}")
    if chart.y_scale != "linear":
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4 if chart.panel_height < 2.2 else 6, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(y=0.08)


def _root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))
