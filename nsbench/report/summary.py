"""The headline table as Markdown, for the terminal and for pasting into an issue."""

from __future__ import annotations

import math

import pandas as pd

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
