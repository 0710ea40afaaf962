"""Synthetic label files, and what selecting from them takes in a process of its own.

python -m benchmarks.selection 10 30 100     # millions of rows; 100 take 2 GB of the temporary folder for a while
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nsbench.engine.label_store import label_path, write_parquet
from nsbench.engine.select import select_folder
from nsbench.trainingconfig import SelectConfig

ROWS = 1_000_000
NUM_CLASSES = 1000
SELECTIONS: dict[str, dict[str, Any]] = {
    "top-k, duplicate": {},
    "bins, duplicate": {"rule": "bins"},
    "top-k, cap": {"balance": "cap"},
    "half of the pool": {"fraction": 0.5},
}


def write_shard(folder: Path, shard: int, sure: float = 0.0) -> None:
    """A label file of a million rows: keys of 16 bytes, classes as frequent as 1 / sqrt(rank), confidences that crowd
    below 1 (a tenth above 0.99), and a share `sure` of exactly 1."""
    rng = np.random.default_rng([shard, 0])
    shares = np.arange(1, NUM_CLASSES + 1) ** -0.5
    confidence = 1 - rng.random(ROWS, np.float32) ** 2 * np.float32(0.999)
    confidence[rng.random(ROWS, np.float32) < sure] = 1
    number = (np.arange(shard * ROWS, (shard + 1) * ROWS) * 2_654_435_761) % 10**12  # no order, none twice
    digits = number[:, None] // 10 ** np.arange(11, -1, -1) % 10  # [N, 12]
    names = np.hstack([np.full((ROWS, 4), np.frombuffer(b"img-", np.uint8)), (48 + digits).astype(np.uint8)])
    offsets = np.arange(0, names.size + 1, 16, dtype=np.int32)
    columns = {
        "key": pa.StringArray.from_buffers(ROWS, pa.py_buffer(offsets), pa.py_buffer(names)),
        "label": rng.choice(NUM_CLASSES, ROWS, p=shares / shares.sum()).astype(np.int32),
        "confidence": confidence,
    }
    write_parquet(label_path(folder, shard), pa.table(columns), "synthetic", num_classes=NUM_CLASSES)


def write_shards(folder: Path, millions: int, sure: float = 0.0) -> Path:
    """That many label files in a folder of their own."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(write_shard, folder, sure=sure), range(millions)))
    return folder


def measure(labels: Path, out: Path, **config: Any) -> dict[str, float]:
    """Seconds of a selection on two cores, and the largest memory of its process in GB, libraries included."""
    command = [sys.executable, "-m", "benchmarks.selection", "--child", str(labels), str(out), json.dumps(config)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def _child(labels: str, out: str, config: str) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    done = select_folder(Path(labels), Path(out), SelectConfig(**json.loads(config)), seed=0, threads=2)
    figures = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "copies": done.copies,
    }
    print(json.dumps(figures))


def main(arguments: list[str]) -> None:
    """Print a table of seconds and memory for each number of rows and kind of selection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", type=int, nargs="+")
    parser.add_argument("--sure", type=float, default=0.0, help="share of the confidences that are exactly 1")
    options = parser.parse_args(arguments)
    print(
        "| million rows | selection | seconds | seconds of processor / 2 | peak GB | load before |\n"
        "|---:|---|---:|---:|---:|---:|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for millions in options.millions:
            labels = write_shards(Path(folder) / f"labels-{millions}", millions, options.sure)
            for name, config in SELECTIONS.items():
                load = os.getloadavg()[0]
                with tempfile.TemporaryDirectory(dir=folder) as out:
                    took = measure(labels, Path(out), **config)
                print(
                    f"| {millions} | {name} | {took['seconds']:.1f} | {took['cpu_seconds'] / 2:.1f} | "
                    f"{took['peak_gb']:.2f} | {load:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(*sys.argv[2:])
    else:
        main(sys.argv[1:])
