"""ImageNet-C-bar: ten corruptions that are unlike ImageNet-C's, from their files.

Mintun et al. 2021 (arXiv:2102.11273). There is no AlexNet here: the headline is the unnormalised mean, as theirs is.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.corrupted import C_BAR_STRENGTHS
from nsbench.evals.answers import classify
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic
from nsbench.evals.paired import Estimate, Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.results import Row

_NAME = "imagenet-c-bar"
_CELLS = tuple(f"{name}-{severity}" for name in C_BAR_STRENGTHS for severity in range(1, 6))
_error = functools.partial(Quantity, eval=_NAME, metric="error", higher_is_better=False)


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return sets[_NAME].cells if _NAME in sets else ()


def _shown(sets: Sets, cell: str) -> str:
    fingerprint: str = sets[_NAME].fingerprint(cell)
    return fingerprint


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    return classify(context, context.sets[_NAME].open(cell), input_px=context.input_px)


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    rows = []
    for cell in _CELLS:
        name, severity = cell.rsplit("-", 1)
        panel = Panel(records, (cell,), config.replicates)
        wrong = {g: _wrong(panel, g, cell) for g in panel.generations}
        rows += panel.proportion(_error(subset=name, level=severity), wrong)
    panel = Panel(records, _CELLS, config.replicates)
    means = {
        g: Estimate(panel.means(np.stack([_wrong(panel, g, cell) for cell in _CELLS], axis=1)).mean(axis=1))
        for g in panel.generations
    }
    return rows + panel.rows(_error(level="mean", protocol="unnormalised mean over 10 corruptions"), means)


def _wrong(panel: Panel, model: str, cell: str) -> npt.NDArray[np.bool_]:
    return ~top1_correct(panel.array(model, "top1", cell), panel.array(model, "labels", cell))


def _protocol(config: EvalConfig, sets: Sets) -> str:
    released = sets[_NAME]
    return f"{released.name}, released-jpeg, {released.size} px, {released.preprocessing}; {arithmetic(config)}"


EVAL = Eval(
    name=_NAME,
    title="Corruptions unlike ImageNet-C's",
    cells=_cells,
    shown=_shown,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
