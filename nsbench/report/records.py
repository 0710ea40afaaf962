"""Reads what one run left behind. Only `run.json` and `results.csv` must be there."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nsbench.errors import DataError
from nsbench.files import read_json
from nsbench.report.rows import NOT_EVALS
from nsbench.results import COLUMNS, read_results
from nsbench.runfolder import MODELS, SCHEMA_VERSION, RunFolder, is_generation

MAX_DIGITS = 4
"""Of a generation's number."""


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
    shows_pictures: bool = True
    """False where the page was asked to have none."""
    is_archive: bool = False
    """Whether the tables could not be made anew, and are as they were found."""
    unmeasured: dict[str, dict[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    """Cells that were planned and have no record, by generation or model, and eval."""

    def without_pictures(self) -> Records:
        """The same for a page that has no pictures."""
        return dataclasses.replace(self, samples=[], shows_pictures=False)

    @property
    def is_models(self) -> bool:
        """Whether these are plain models side by side, and no generations of a run."""
        return self.run.get("kind") == MODELS

    def planned(self, line: str) -> Mapping[str, Any]:
        """The plan of a generation or model: `protocols` and `cells` by eval; empty where there is none."""
        for key, plan in _mappings(self.run.get("plans")).items():
            if _line(self.run, key) == line:
                return plan
        return {}

    def model(self, line: str) -> Mapping[str, Any]:
        """What `run.json` says of a generation or model; empty where it says nothing."""
        for key, model in _mappings(self.run.get("models")).items():
            if _line(self.run, key) == line:
                return model
        return {}

    def text(self, key: str, default: str = "") -> str:
        """A key of `run.json` as text."""
        value = self.run.get(key)
        return default if value is None else str(value)


def read_records(folder: RunFolder) -> Records:
    """Read the records of one run.

    Raises:
        DataError: not a run folder, or its results are missing or unreadable.
    """
    run = _utf8(folder.read_run(older=True))
    results = read_results(folder.results)
    if results.empty:
        raise DataError(f"{folder.results} has no rows; measure something first")
    _refuse_strange_generations(folder, results)
    return Records(
        run=run,
        results=results,
        costs=read_results(folder.costs) if folder.costs.is_file() else pd.DataFrame(columns=list(COLUMNS)),
        curves=_read_curves(folder.metrics),
        config=folder.config.read_text(encoding="utf-8", errors="replace") if folder.config.is_file() else "",
        is_archive=is_archive(folder),
        samples=_read_samples(folder.samples / "samples.json"),
        samples_folder=folder.samples,
        unmeasured=_unmeasured(folder, run),
    )


def is_archive(folder: RunFolder) -> bool:
    """Whether the table of results is what there is: the predictions were left behind, or lie in an older layout.

    Raises:
        DataError: not a run folder, a record of no known schema, or an unreadable table.
    """
    if not folder.results.is_file():
        return False
    if folder.read_run(older=True)["schema"] != SCHEMA_VERSION:
        return True
    is_kept = next(folder.root.glob("**/evals/*/*.npz"), None) is not None
    return not is_kept and not read_results(folder.results)["eval"].isin(NOT_EVALS).all()


def _refuse_strange_generations(folder: RunFolder, results: pd.DataFrame) -> None:
    for name in sorted(set(results["generation"]) - {"", "all", "control"}):
        if not is_generation(name) or len(name) > MAX_DIGITS:
            raise DataError(f"{folder.results} names a generation {name[:40]!r}; rebuild it with `nsbench report`")


def _mappings(value: object) -> dict[str, Mapping[str, Any]]:
    """The entries of a mapping that are mappings themselves; whatever else the record holds is nothing."""
    entries = value.items() if isinstance(value, Mapping) else ()
    return {str(key): entry for key, entry in entries if isinstance(entry, Mapping)}


def _line(run: Mapping[str, Any], key: str) -> str:
    """What the tables call a model of `run.json`."""
    if run.get("kind") != MODELS:
        return key
    return str(_mappings(run.get("models")).get(key, {}).get("label", key))


def _unmeasured(folder: RunFolder, run: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Nothing where no cell at all is there: the records were left behind, and the table is what there is."""
    lacking: dict[str, dict[str, tuple[str, ...]]] = {}
    found = False
    for key, plan in _mappings(run.get("plans")).items():
        for name, cells in _mappings(plan.get("cells")).items():
            there = [folder.cell(key, name, str(cell)).is_file() for cell in cells]
            found = found or any(there)
            if not all(there):
                gone = tuple(str(cell) for cell, is_there in zip(cells, there, strict=True) if not is_there)
                lacking.setdefault(_line(run, key), {})[name] = gone
    return lacking if found else {}


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
    return [_utf8(group) for group in groups]


def _utf8(value: Any) -> Any:
    """The value of a JSON file with U+FFFD for lone surrogates, which JSON can spell and no UTF-8 file can hold."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_utf8(key): _utf8(entry) for key, entry in value.items()}
    return [_utf8(entry) for entry in value] if isinstance(value, list) else value
