"""Natural images that an independent classifier gets wrong, beside those it gets right.

ImageNet-A's way of choosing (Hendrycks et al. 2019, arXiv:1907.07174); RMS calibration error and AURRA as there.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, classify, describe
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.calibration import aurra, rms_calibration_error
from nsbench.results import Row

_HARD, _REST = "natural-adversarial", "complement"


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return tuple(name for name in (_HARD, _REST) if name in sets)


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    return classify(context, context.sets[cell], context.sets[cell].pixels)


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    better = functools.partial(Quantity, eval="imagenet-a", higher_is_better=True)
    hard, rest = (Panel(records, (cell,), config.replicates) for cell in (_HARD, _REST))
    correct, confidence = _correct(hard), {g: hard.array(g, "confidence") for g in hard.generations}
    rms = {g: hard.resampled(rms_calibration_error, confidence[g], correct[g]) for g in correct}
    area = {g: hard.resampled(aurra, confidence[g], correct[g]) for g in correct}
    return [
        *hard.proportion(better(metric="top1"), correct),
        *hard.rows(better(metric="RMS", higher_is_better=False, protocol="bins of 100 images"), rms),
        *hard.rows(better(metric="AURRA"), area),
        *rest.proportion(better(metric="top1", subset="complement"), _correct(rest)),
    ]


def _correct(panel: Panel) -> dict[str, npt.NDArray[Any]]:
    return {g: top1_correct(panel.array(g, "top1"), panel.array(g, "labels")) for g in panel.generations}


def _protocol(config: EvalConfig, sets: Sets) -> str:
    beside = " beside ".join(describe(sets[name]) for name in _cells(config, sets))
    return f"{beside}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet-a",
    title="Natural adversarial images",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
