"""Draws the figure files of a report in a process of its own: charts come pickled by standard input, from `page`."""

from __future__ import annotations

import pickle
import sys

from nsbench.report.drawing.files import write_figures

if __name__ == "__main__":
    write_figures(*pickle.load(sys.stdin.buffer))  # what our own parent process has just written
