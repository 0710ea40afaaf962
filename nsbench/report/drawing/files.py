"""The figures of a report as files of a paper's width, drawn beside the page: matplotlib keeps one core busy."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from nsbench.report.drawing.charts import PAPER, Colours, draw
from nsbench.report.drawing.svg import drawing_style, write_figure
from nsbench.report.model import Chart


def write_figures(charts: Sequence[Chart], colours: Colours, folder: Path) -> None:
    """Write every chart as SVG, PDF and PNG."""
    with drawing_style(PAPER.scale):
        for chart in charts:
            write_figure(draw(chart, colours, PAPER), folder, chart.id)


@contextlib.contextmanager
def figures_beside(charts: Sequence[Chart], colours: Colours, folder: Path) -> Iterator[None]:
    """`write_figures` in a process of its own while the caller does something else; here, if that one fails.

    A fork of a process with torch's threads may hang, and multiprocessing imports the caller's script again: so it is
    an interpreter that knows the charts alone.
    """
    command = [sys.executable, "-m", "nsbench.report.drawing"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, stdin=subprocess.PIPE, **silent) as process:  # type: ignore[call-overload]
        with contextlib.suppress(BrokenPipeError):
            pickle.dump((tuple(charts), colours, folder.absolute()), process.stdin)
            process.stdin.close()
        try:
            yield
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        write_figures(charts, colours, folder)
