"""Reads what one run left behind. Only `run.json` and `results.csv` must be there."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from nsbench.errors import DataError
from nsbench.files import read_json
from nsbench.results import COLUMNS, read_results
from nsbench.runfolder import RunFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records:
    """Everything the report of one run is made from."""

    run: dict[str, Any]
    results: pd.DataFrame
    costs: pd.DataFrame
    curves: pd.DataFrame
    """Lines of `metrics.jsonl`; a column a key."""
    config: str
    samples: list[dict[str, Any]]
    samples_folder: Path

    def text(self, key: str, default: str = "") -> str:
        """A key of `run.json` as text."""
        value = self.run.get(key)
        return default if value is None else str(value)


def read_records(folder: RunFolder) -> Records:
    """Read the records of one run.

    Raises:
        DataError: not a run folder, or its results are missing or unreadable.
    """
    run = folder.read_run()
    results = read_results(folder.results)
    if results.empty:
        raise DataError(f"{folder.results} has no rows; evaluate a generation first")
    return Records(
        run=run,
        results=results,
        costs=read_results(folder.costs) if folder.costs.is_file() else pd.DataFrame(columns=list(COLUMNS)),
        curves=_read_curves(folder.metrics),
        config=folder.config.read_text(encoding="utf-8", errors="replace") if folder.config.is_file() else "",
        samples=_read_samples(folder.samples / "samples.json"),
        samples_folder=folder.samples,
    )


def _read_curves(path: Path) -> pd.DataFrame:
    """Training curves. The last line of a killed run may be cut off; it is left out."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "generation" in line and "step" in line:
                lines.append({k: v for k, v in line.items() if k == "generation" or _is_number(v)})
    frame = pd.DataFrame(lines)
    return frame.astype({"generation": str}) if len(frame) else frame


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_samples(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    groups = read_json(path)
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise DataError(f"{path} is not a list of groups; delete the folder and run again")
    return groups
