"""The headline tables as Markdown, for the terminal and for pasting into an issue."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nsbench.errors import DataError
from nsbench.report.ablations import Setting, one_seed_words, setting_groups
from nsbench.report.lines import measured_models, model_lines
from nsbench.report.protocols import Protocols
from nsbench.report.records import read_records
from nsbench.report.rows import HEADLINES, Key, Rows
from nsbench.report.sections.flags import flags_of
from nsbench.report.seeds import Gathered, gather
from nsbench.report.suites import column_title, headline_keys
from nsbench.report.view import INTERVALS_OVER_IMAGES, INTERVALS_OVER_SEEDS
from nsbench.report.words import DASH, number_text, scale_of
from nsbench.results import read_results
from nsbench.runfolder import RunFolder

_HEADLINES = dict(zip(("top-1", "A top-1", "C error", "P flips", "FGSM mean"), HEADLINES, strict=True))
_VERSUS = (("", ""), ("gen0", "vs gen 0"), ("control", "vs control"))


def headline_table(folder: RunFolder) -> str:
    """Generations by the five axes, in percent with 95 % intervals, and the last student's paired differences.

    Raises:
        DataError: the run has no results.
    """
    return _generation_lines(read_results(folder.results))


def _generation_lines(results: pd.DataFrame) -> str:
    """One line a generation, then the last student's differences."""
    measured = results[(results["versus"] == "") & (results["eval"] != "pseudo-labels")]
    names = list(dict.fromkeys(measured.generation))
    numbered = [name for name in names if name.isdigit()]
    lines = [(f"gen {name}" if name.isdigit() else name, name, "") for name in names]
    if len(numbered) > 1:
        last = numbered[-1]
        lines += [(f"gen {last} {words}", last, versus) for versus, words in _VERSUS[1:]]
    header = ["", *(f"{title} {_arrow(results, key)}" for title, key in _HEADLINES.items())]
    table = [header, ["---"] + ["---:"] * len(_HEADLINES)]
    for title, name, versus in lines:
        cells = [_cell(results, name, versus, key) for key in _HEADLINES.values()]
        if any(cell != "–" for cell in cells):
            table.append([title, *cells])
    return _markdown(table)


def ablation_table(folder: Path) -> str:
    """A comparison's settings by the five axes, then their paired differences to the full recipe, in percent.

    Seeds of one recipe alone have their generations in the lines: means with 95 % t intervals over seeds.

    Args:
        folder: of the comparison, with its runs below.

    Raises:
        DataError: the folder holds no comparison, or not the runs that it is of.
    """
    gathered = _gathered_below(folder)
    if len(gathered.runs) == 1:
        return f"{_generation_lines(gathered.rows_of(gathered.main))}\n\n{_said_of(gathered)}"
    groups = setting_groups(gathered, Protocols())
    settings = [one for group in groups.values() for one in group]
    parts = [_setting_lines(settings, "")]
    differing = [one for one in settings if one.against is not None and one.common]
    if differing:
        parts.append(_setting_lines(differing, gathered.main))
    several = len(gathered.runs[gathered.main]) > 1
    return "\n\n".join((*parts, *([_said_of(gathered)] if several else []), one_seed_words(groups))).strip()


def _gathered_below(folder: Path) -> Gathered:
    """The runs below a folder that are in its table."""
    path = folder / "results.csv"
    compared = set(read_results(path)["run"])
    runs = [RunFolder(record.parent) for record in sorted(folder.glob("*/run.json"))]
    records = [read_records(run) for run in runs if run.read_run(older=True).get("name") in compared]
    if not records:
        raise DataError(f"none of the runs of {path} lies below {folder}; run the command of the comparison again")
    return gather(records)


def _said_of(gathered: Gathered) -> str:
    num_seeds = len(gathered.runs[gathered.main])
    if num_seeds > 1:
        return f"{num_seeds} seeds; {INTERVALS_OVER_SEEDS}; differences are paired within a seed."
    return f"One seed; {INTERVALS_OVER_IMAGES}."


def _setting_lines(settings: Sequence[Setting], versus: str) -> str:
    """One line a setting: its values, or its differences to the recipe `versus`."""
    header = [f"difference to {_escaped(versus)}" if versus else ""]
    for title, key in _HEADLINES.items():
        found = (row for one in settings if (row := one.rows.raw(one.generation, key)) is not None)
        row = next(found, None)
        header.append(f"{title} {'' if row is None else '↑' if row.higher_is_better else '↓'}")
    table = [header, ["---"] + ["---:"] * len(_HEADLINES)]
    for one in settings:
        rows = one.against if versus and one.against is not None else one.rows
        cells = [_number(rows.raw(one.generation, key, versus)) for key in HEADLINES]
        table.append([_escaped(one.head), *cells])
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


def _find(results: pd.DataFrame, key: Key) -> pd.DataFrame:
    return results[
        (results["eval"] == key.eval)
        & (results.subset == key.subset)
        & (results.level == key.level)
        & (results.metric == key.metric)
    ]


def _arrow(results: pd.DataFrame, key: Key) -> str:
    found = _find(results, key)
    return "" if found.empty else ("↑" if found.iloc[0].higher_is_better else "↓")


def _cell(results: pd.DataFrame, generation: str, versus: str, key: Key) -> str:
    found = _find(results, key)
    found = found[(found.generation == generation) & (found.versus == versus)]
    if found.empty or math.isnan(found.iloc[0].value):
        return "–"
    row, sign = found.iloc[0], "+" if versus else ""
    text = f"{100 * row.value:{sign}.2f}"
    if not math.isnan(row.ci_low):
        text += f" [{100 * row.ci_low:{sign}.2f}, {100 * row.ci_high:{sign}.2f}]"
    return text.replace("-", "−")
