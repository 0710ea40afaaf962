"""`summary.json`: the headline numbers of a report and where they come from, for leaderboards and other machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nsbench.report.records import Records
from nsbench.report.rows import HEADLINES, Key
from nsbench.report.suites import headline_keys
from nsbench.results import COLUMNS

SUMMARY, VERSION = "nsbench-summary", 1
"""`schema` and `version` of the file; a field that changes its name or meaning changes the second."""

_FACTS = ("name", "kind", "status", "recipe", "preset", "seed", "dataset", "dataset_title", "partial", "git")
_TABLES = ("versions", "hardware", "data_fingerprints", "skipped")
_MODEL = ("label", "params", "fingerprint")


def summary_json(runs: Sequence[Records], results: pd.DataFrame) -> str:
    """The summary as strict JSON: what is not known is null.

    Args:
        results: the table behind the page; a number of it has the table's own columns here.
    """
    keys = {*headline_keys(results), *HEADLINES}
    found = [Key(*key) in keys for key in results[["eval", "metric", "subset", "level"]].itertuples(index=False)]
    summary = {
        "schema": SUMMARY,
        "version": VERSION,
        "runs": [_run(records) for records in runs],
        "numbers": [_known(row) for row in results.loc[found, list(COLUMNS)].to_dict("records")],
    }
    return json.dumps(summary, indent=1, allow_nan=False) + "\n"


def _run(records: Records) -> dict[str, Any]:
    run = records.run
    facts = {key: run.get(key) for key in _FACTS}
    models = _mapping(run.get("models"))
    described = {str(name): {key: _mapping(model).get(key) for key in _MODEL} for name, model in models.items()}
    tables = {key: {str(k): v for k, v in _mapping(run.get(key)).items()} for key in _TABLES}
    record: dict[str, Any] = _known({**facts, "held_out": run.get("held_out"), **tables, "models": described})
    return record


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _known(value: Any) -> Any:
    """Plain values of JSON, with null for what is no finite number."""
    if isinstance(value, Mapping):
        return {str(key): _known(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)
