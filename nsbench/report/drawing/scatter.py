"""One measure against another: points with both intervals, before what others published and a line to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator
from scipy import special

from nsbench.report.drawing.legend import is_hollow, is_line, line_style_of, marker_of
from nsbench.report.drawing.palette import role_colour
from nsbench.report.model import Chart, Panel, Series

LOGIT_TICKS = (0.1, 0.3, 1, 3, 10, 20, 40, 60, 80, 90, 95, 98, 99, 99.5, 99.9)
"""Percent."""

_EDGE = 0.02
"""Percent: nearer to 0 or 100 the logit scale has no place."""


def paint_scatter(axes: Axes, _: Chart, panel: Panel, colours: Mapping[str, tuple[str, str]]) -> None:
    """Lines below, published points above them, measured points on top."""
    for k, one in enumerate(sorted(panel.series, key=lambda one: (not is_line(one), not is_hollow(one)))):
        colour = role_colour(dict(colours), one.role)
        if is_line(one):
            axes.plot(one.x, one.y, color=colour, linestyle="--", linewidth=1.2, zorder=1.5)
        elif is_hollow(one):
            axes.plot(
                one.x, one.y, linestyle="none", marker=marker_of(one), markersize=4, markerfacecolor="none",
                markeredgecolor=colour, markeredgewidth=0.9, zorder=2,
            )  # fmt: skip
        else:
            _measured(axes, one, colour, colours["surface"][0], 3 + 0.01 * k)


def _measured(axes: Axes, one: Series, colour: str, edge: str, zorder: float) -> None:
    whisker: dict[str, Any] = {"color": colour, "linewidth": 1.3, "alpha": 0.75, "zorder": zorder}
    if one.low:
        axes.plot(_segments(one.x, one.x), _segments(one.low, one.high), **whisker)
    if one.x_low:
        axes.plot(_segments(one.x_low, one.x_high), _segments(one.y, one.y), **whisker)
    axes.plot(
        one.x, one.y, linestyle=line_style_of(one) if len(one.x) > 1 else "none", marker=marker_of(one), color=colour,
        linewidth=1.1, markersize=5.6, markeredgecolor=edge, markeredgewidth=0.7, zorder=zorder,
    )  # fmt: skip


def _segments(starts: tuple[float, ...], ends: tuple[float, ...]) -> np.ndarray:
    """Starts and ends in turn, each pair apart from the next: one path in the file instead of many."""
    return np.column_stack([starts, ends, np.full(len(starts), np.nan)]).ravel()


def scale_axes(axes: Axes, chart: Chart, panel: Panel) -> None:
    """Logit and logarithmic scales of both axes, with room around the points."""
    for scale, axis, values in (
        (chart.x_scale, "x", [x for one in panel.series for x in (*one.x, *one.x_low, *one.x_high)]),
        (chart.y_scale, "y", [y for one in panel.series for y in (*one.y, *one.low, *one.high)]),
    ):
        known = np.array([value for value in values if np.isfinite(value)])
        if scale == "logit":
            _logit(axes, axis, known)
        elif scale == "log" and len(known) and known.min() > 0:
            _log(axes, axis, known)
        else:
            axes.margins(x=0.1) if axis == "x" else axes.margins(y=0.1)


def _logit(axes: Axes, axis: str, values: np.ndarray) -> None:
    ends = _to_logit(np.array([values.min(), values.max()])) + np.array([-0.2, 0.2])
    low, high = _from_logit(ends)
    getattr(axes, f"set_{axis}scale")("function", functions=(_to_logit, _from_logit))
    getattr(axes, f"set_{axis}lim")(low, high)
    line: Any = getattr(axes, f"{axis}axis")
    inside = [tick for tick in LOGIT_TICKS if low <= tick <= high]
    line.set_major_locator(FixedLocator(inside))
    line.set_minor_locator(NullLocator())
    line.set_major_formatter("{x:g}")


def _log(axes: Axes, axis: str, values: np.ndarray) -> None:
    getattr(axes, f"set_{axis}scale")("log")
    getattr(axes, f"set_{axis}lim")(values.min() / 1.4, values.max() * 1.4)
    line: Any = getattr(axes, f"{axis}axis")
    wide = values.max() > 20 * values.min()
    line.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    line.set_minor_formatter(NullFormatter())
    line.set_major_formatter("{x:g}")


def _to_logit(percents: Any) -> Any:
    return special.logit(np.clip(np.asarray(percents, dtype=float), _EDGE, 100 - _EDGE) / 100)


def _from_logit(values: Any) -> Any:
    return 100 * special.expit(values)
