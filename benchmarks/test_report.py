"""What tables and page of a run on the whole of ImageNet cost: at most 10 s and 1.5 GB on two cores, linear in the
generations, over what it takes to read the same files and multiply once.

Guards `nsbench report` on records of full size (`benchmarks.full_size_report`): 50,000 answers to each of 78 cells and
8 epsilons of every generation, 10,000 labels a shard of a million, 1,000 bootstrap replicates, in a process of its
own; the page's size; and `write_tables` against a floor measured in the same run: NumPy reading `top1` of every cell,
drawing the Poisson weights once, and one single-precision product of weights and outcomes.

    pytest benchmarks/test_report.py        # three quarters of a gigabyte in the temporary folder, minutes to write

Operations for G generations of N = 50,000 images and B = 1,000 replicates:
drawing weights and resamples 2 B N (0.1 billion draws, once); products of weights and outcomes in single precision
B N (76 + 2 x 8 + ...) G = 5 billion multiply-adds a generation; in double precision, for what is no share (calibration
gaps of 15 bins x 6, NLL, Brier, differences), B N 95 G = 5 billion; statistics that are no means, 6 B N G = 0.3 billion
additions; unpacking 3 arrays of each cell, 120 MB a generation. Two cores do some 100 billion single-precision
multiply-adds a second, half as many double. The page: a dozen figures, drawn twice, once for the page and once for
paper, some 0.3 s each, on two cores side by side.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from benchmarks.full_size_report import FullSize, measure_report, write_full_size_run
from nsbench.metrics.bootstrap import bootstrap_weights
from nsbench.report.page import write_report
from nsbench.runfolder import RunFolder
from nsbench.tables import write_tables

GENERATIONS = (1, 4)
TITLE = "Report of a run on the whole of ImageNet"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, RunFolder]:
    root = tmp_path_factory.mktemp("full-size")
    return {count: write_full_size_run(root / str(count), FullSize(generations=count)) for count in GENERATIONS}


def floor(folder: RunFolder) -> float:
    """Seconds of reading every answer, drawing the weights and multiplying once."""
    began = time.perf_counter()
    wrong = []
    for path in sorted(folder.root.glob("gen*/evals/imagenet-c/*.npz")):
        with np.load(path) as arrays:
            wrong.append(arrays["top1"] != arrays["labels"])
    weights = bootstrap_weights(len(wrong[0]))
    assert (weights @ np.stack(wrong, axis=1).astype(np.float32)).shape == (1000, len(wrong))
    return time.perf_counter() - began


def test_whole_command(runs: dict[int, RunFolder], benchmark: Any, record_ratio: Any) -> None:
    took = {count: measure_report(folder) for count, folder in runs.items()}
    benchmark.pedantic(measure_report, (runs[4],), rounds=1)
    record_ratio(benchmark, TITLE, "nsbench report, 4 generations", **took[4])
    record_ratio(benchmark, TITLE, "nsbench report, 1 generation", **took[1])
    assert took[4]["seconds"] <= 10
    assert took[4]["peak_gb"] <= 1.5
    assert took[4]["page_mb"] <= 1.5
    assert took[4]["cpu_seconds"] <= 4 * took[1]["cpu_seconds"], "no more than linear"


def test_tables(runs: dict[int, RunFolder], benchmark: Any, record_ratio: Any) -> None:
    least = min(floor(runs[4]) for _ in range(2))
    began = time.perf_counter()
    write_tables(runs[4])
    took = time.perf_counter() - began
    benchmark.pedantic(write_tables, (runs[4],), rounds=1)
    record_ratio(benchmark, f"{TITLE}: tables", "over reading and multiplying", seconds=took, ratio=least / took)
    assert least / took >= 0.2


def test_page(runs: dict[int, RunFolder], benchmark: Any, record_ratio: Any) -> None:
    """Of tables that are there."""
    write_tables(runs[4])
    began = time.perf_counter()
    write_report(runs[4])
    took = time.perf_counter() - began
    benchmark.pedantic(write_report, (runs[4],), rounds=1)
    figures = len(list(runs[4].figures.glob("*.pdf")))
    record_ratio(benchmark, f"{TITLE}: page", "seconds", seconds=took, seconds_a_figure=took / figures)
    assert took / figures <= 0.8
