"""Clean test images: top-1, top-5, and how far the confidence can be believed.

ECE: Guo et al. 2017, 15 bins. NLL and Brier score (all classes' squared errors): Gneiting and Raftery 2007.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, classify, describe
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct, topk_correct
from nsbench.metrics.calibration import expected_calibration_error
from nsbench.results import Row

_PER_IMAGE = ("labels", "top1", "top5", "confidence", "log_prob_true", "sum_squared_prob")


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return ("val",) if "val" in sets else ()


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    return classify(context, context.sets[cell], context.sets[cell].pixels)


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, ("val",), config.replicates)
    if not panel.generations:
        return []
    answers = {g: {name: panel.array(g, name) for name in _PER_IMAGE} for g in panel.generations}
    top1 = {g: top1_correct(a["top1"], a["labels"]) for g, a in answers.items()}
    top5 = {g: topk_correct(a["top5"], a["labels"]) for g, a in answers.items()}
    ece = {g: panel.resampled(expected_calibration_error, a["confidence"], top1[g]) for g, a in answers.items()}
    nll = {g: -a["log_prob_true"] for g, a in answers.items()}
    brier = {
        g: a["sum_squared_prob"] - 2 * np.exp(a["log_prob_true"].astype(np.float64)) + 1 for g, a in answers.items()
    }
    better, worse = (functools.partial(Quantity, eval="imagenet", higher_is_better=up) for up in (True, False))
    ranks_matter = all(records[g]["val"]["num_classes"] > 5 for g in panel.generations)
    return [
        *panel.proportion(better(metric="top1"), top1),
        *(panel.proportion(better(metric="top5"), top5) if ranks_matter else ()),
        *panel.rows(worse(metric="ECE", protocol="15 bins"), ece),
        *panel.mean(worse(metric="NLL", unit="nats"), nll),
        *panel.mean(worse(metric="Brier"), brier),
    ]


def _protocol(config: EvalConfig, sets: Sets) -> str:
    return f"{describe(sets['val'])}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet",
    title="Clean images",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
