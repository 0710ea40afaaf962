"""The headline tables as Markdown, for the terminal and for pasting into an issue."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from nsbench.report.flags import flags_of
from nsbench.report.lines import measured_models, model_lines
from nsbench.report.protocols import Protocols
from nsbench.report.records import read_records
from nsbench.report.rows import Key, Rows
from nsbench.report.suites import column_title, headline_keys
from nsbench.report.words import DASH, number_text, scale_of
from nsbench.results import read_results
from nsbench.runfolder import RunFolder

_HEADLINES = {
    "top-1": ("imagenet", "", "top1"),
    "A top-1": ("imagenet-a", "", "top1"),
    "C error": ("imagenet-c", "mean", "error"),
    "P flips": ("imagenet-p", "", "flip_probability"),
    "FGSM mean": ("fgsm", "mean", "top1"),
}
_VERSUS = (("", ""), ("gen0", "vs gen 0"), ("control", "vs control"))


def headline_table(folder: RunFolder) -> str:
    """Generations by the five axes, in percent with 95 % intervals, and the last student's paired differences.

    Raises:
        DataError: the run has no results.
    """
    results = read_results(folder.results)
    measured = results[(results["versus"] == "") & (results["eval"] != "pseudo-labels")]
    names = list(dict.fromkeys(measured.generation))
    numbered = [name for name in names if name.isdigit()]
    lines = [(f"gen {name}" if name.isdigit() else name, name, "") for name in names]
    if len(numbered) > 1:
        last = numbered[-1]
        lines += [(f"gen {last} {words}", last, versus) for versus, words in _VERSUS[1:]]
    header = ["", *(f"{title} {_arrow(results, *key)}" for title, key in _HEADLINES.items())]
    table = [header, ["---"] + ["---:"] * len(_HEADLINES)]
    for title, name, versus in lines:
        cells = [_cell(results, name, versus, key) for key in _HEADLINES.values()]
        if any(cell != "–" for cell in cells):
            table.append([title, *cells])
    return _markdown(table)


def model_table(folder: RunFolder) -> str:
    """Models by the headlines of every suite that was measured, in percent with 95 % intervals.

    Below it the paired differences to the first model, and a line for each thing that must not be overlooked.

    Raises:
        DataError: the run has no results.
    """
    records = read_records(folder)
    lines = model_lines(measured_models(records.results, records.run))
    rows, keys = Rows(records.results, Protocols(), lines=lines), headline_keys(records.results)
    skipped = records.run | {"skipped": {}}  # the command says them, run after run
    flags = flags_of(dataclasses.replace(records, run=skipped), rows)
    parts = [_model_lines(rows, keys, "", lines.names)]
    compared = [name for name in lines.names if any(rows.raw(name, key, "first") is not None for key in keys)]
    if compared:
        parts.append(_model_lines(rows, keys, "first", compared))
    if flags:
        parts.append("\n".join(f"{'!' if flag.state == 'worse' else '-'} {flag.text}" for flag in flags))
    return "\n\n".join(parts)


def _model_lines(rows: Rows, keys: Sequence[Key], versus: str, names: Iterable[str]) -> str:
    """One line a model. A number behind which something looks wrong bears a mark."""
    corner = f"difference to {_escaped(rows.lines.versus['first'])}" if versus else ""
    table = [[corner, *(_escaped(_head(rows, key)) for key in keys)], ["---"] + ["---:"] * len(keys)]
    for name in names:
        cells = [_number(rows.raw(name, key, versus)) + (" !" if rows.is_warned(name, key) else "") for key in keys]
        table.append([_escaped(rows.lines.label(name)), *cells])
    return _markdown(table)


def _head(rows: Rows, key: Key) -> str:
    row = next(row for name in rows.names if (row := rows.raw(name, key)) is not None)
    return f"{column_title(key)} {'↑' if row.higher_is_better else '↓'}"


def _number(row: Any) -> str:
    """`76.13 [75.76, 76.50]`."""
    if row is None or math.isnan(row.value):
        return DASH
    signed, scale = bool(row.versus), scale_of(row.metric, row.unit)
    text = number_text(row.value * scale, 2, signed)
    if math.isnan(row.ci_low) or math.isnan(row.ci_high):
        return text
    return f"{text} [{', '.join(number_text(end * scale, 2, signed) for end in (row.ci_low, row.ci_high))}]"


def _escaped(text: str) -> str:
    """Names from outside as text, whatever Markdown would make of them."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", text)


def _markdown(table: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def _find(results: pd.DataFrame, eval_name: str, level: str, metric: str) -> pd.DataFrame:
    return results[
        (results["eval"] == eval_name)
        & (results.subset == "all")
        & (results.level == level)
        & (results.metric == metric)
    ]


def _arrow(results: pd.DataFrame, eval_name: str, level: str, metric: str) -> str:
    found = _find(results, eval_name, level, metric)
    return "" if found.empty else ("↑" if found.iloc[0].higher_is_better else "↓")


def _cell(results: pd.DataFrame, generation: str, versus: str, key: tuple[str, str, str]) -> str:
    found = _find(results, *key)
    found = found[(found.generation == generation) & (found.versus == versus)]
    if found.empty or math.isnan(found.iloc[0].value):
        return "–"
    row, sign = found.iloc[0], "+" if versus else ""
    text = f"{100 * row.value:{sign}.2f}"
    if not math.isnan(row.ci_low):
        text += f" [{100 * row.ci_low:{sign}.2f}, {100 * row.ci_high:{sign}.2f}]"
    return text.replace("-", "−")
