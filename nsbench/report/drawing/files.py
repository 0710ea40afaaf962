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

_PROCESSES = 2


def write_figures(charts: Sequence[Chart], colours: Colours, folder: Path) -> None:
    """Write every chart as SVG, PDF and PNG."""
    with drawing_style(PAPER.scale):
        for chart in charts:
            write_figure(draw(chart, colours, PAPER), folder, chart.id)


@contextlib.contextmanager
def figures_beside(charts: Sequence[Chart], colours: Colours, folder: Path) -> Iterator[None]:
    """`write_figures` in processes of their own while the caller does something else; here, if one of them fails.

    A fork of a process with torch's threads may hang, and multiprocessing imports the caller's script again: so they
    are interpreters that know the charts alone.
    """
    shares = [charts[first::_PROCESSES] for first in range(min(_PROCESSES, len(charts)))]
    with contextlib.ExitStack() as started:
        processes = [started.enter_context(_drawing(share, colours, folder)) for share in shares]
        try:
            yield
        except BaseException:
            for process in processes:
                process.kill()
            raise
    for process, share in zip(processes, shares, strict=True):
        if process.returncode:
            write_figures(share, colours, folder)


def _drawing(charts: Sequence[Chart], colours: Colours, folder: Path) -> subprocess.Popen[bytes]:
    """A process that has been told what to draw."""
    command = [sys.executable, "-m", "nsbench.report.drawing"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        pickle.dump((tuple(charts), colours, folder.absolute()), process.stdin)
        process.stdin.close()
    return process
