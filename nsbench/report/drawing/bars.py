"""Counts as bars, and the value at which a filter cuts them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from nsbench.report.drawing.palette import role_colour
from nsbench.report.model import Chart, Panel, Series


def paint_bars(axes: Axes, _: Chart, panel: Panel, colours: Mapping[str, tuple[str, str]]) -> None:
    """Bars of a panel's series, the later ones in front; what was predicted as dashes above them."""
    for one in panel.series:
        colour = role_colour(dict(colours), one.role)
        step = min((b - a for a, b in zip(one.x, one.x[1:], strict=False)), default=1.0)
        if one.role == "predicted":
            axes.plot(
                one.x, one.y, linestyle="none", marker="_", markersize=9, markeredgewidth=1.6, color=colour, zorder=4
            )
        else:
            wide = 0.86 if one.role != "kept_images" else 0.5
            axes.add_patch(PathPatch(_bars(one, wide * step), facecolor=colour, linewidth=0, zorder=2))
    axes.autoscale_view()
    if math.isfinite(panel.threshold):
        axes.axvline(panel.threshold, color=colours["worse"][0], linewidth=1.3, linestyle=(0, (4, 2)), zorder=5)


def _bars(one: Series, width: float) -> Path:
    """All bars of a series as one path: a class more is a few numbers in the file, not an element."""
    x, y = np.array(one.x), np.array(one.y)
    left, right, none = x - width / 2, x + width / 2, np.zeros(len(x))
    corners = np.stack([[left, none], [left, y], [right, y], [right, none], [left, none]])  # [5, 2, K]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(x)
    return Path(corners.transpose(2, 0, 1).reshape(-1, 2), codes)
