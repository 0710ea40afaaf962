"""Clean test images: top-1, top-5, and how far the confidence can be believed.

ReaL: Beyer et al. 2020 (arXiv:2006.07159). ECE: Guo et al. 2017, 15 bins. NLL and Brier score (all classes' squared
errors): Gneiting and Raftery 2007.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.real_labels import real_labels
from nsbench.evals.answers import classify
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe
from nsbench.evals.diagnostics import clean_diagnostics
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct, topk_correct
from nsbench.metrics.calibration import debiased_expected_calibration_error
from nsbench.metrics.resamples import resampled_debiased_ece
from nsbench.results import Row

_CELL = "val"
_IMAGENET = 1000
_PER_IMAGE = ("labels", "top1", "top5", "confidence", "log_prob_true", "sum_squared_prob")


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return (_CELL,) if _CELL in sets else ()


def _shown(sets: Sets, cell: str) -> str:
    fingerprint: str = sets[cell].fingerprint
    return fingerprint


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    return classify(context, context.sets[cell])


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, (_CELL,), config.replicates)
    if not panel.generations:
        return []
    answers = {g: {name: panel.array(g, name) for name in _PER_IMAGE} for g in panel.generations}
    top1 = {g: top1_correct(a["top1"], a["labels"]) for g, a in answers.items()}
    top5 = {g: topk_correct(a["top5"], a["labels"]) for g, a in answers.items()}
    confidence = {g: a["confidence"] for g, a in answers.items()}
    ece = panel.calibration_errors(confidence, top1)
    debiased = functools.partial(panel.resampled, debiased_expected_calibration_error, at_once=resampled_debiased_ece)
    unbiased = {g: debiased(confidence[g], top1[g]) for g in answers}
    nll = {g: -a["log_prob_true"] for g, a in answers.items()}
    brier = {
        g: a["sum_squared_prob"] - 2 * np.exp(a["log_prob_true"].astype(np.float64)) + 1 for g, a in answers.items()
    }
    better, worse = (functools.partial(Quantity, eval="imagenet", higher_is_better=up) for up in (True, False))
    ranks_matter = all(records[g][_CELL]["num_classes"] > 5 for g in panel.generations)
    return [
        *panel.proportion(better(metric="top1"), top1),
        *(panel.proportion(better(metric="top5"), top5) if ranks_matter else ()),
        *_real(records, config),
        *panel.rows(worse(metric="ECE", protocol="15 bins"), ece),
        *panel.rows(worse(metric="ECE_debiased", protocol="15 bins"), unbiased),
        *panel.mean(worse(metric="NLL", unit="nats"), nll),
        *panel.mean(worse(metric="Brier"), brier),
        *clean_diagnostics(panel, top1),
    ]


def _real(records: Records, config: EvalConfig) -> list[Row]:
    """Accuracy by the reassessed labels, over ImageNet's validation images that have any: an n of its own."""
    known = {g: cells for g, cells in records.items() if _CELL in cells and cells[_CELL]["num_classes"] == _IMAGENET}
    panel = Panel(known, (_CELL,), config.replicates, keep=_reassessed)
    seen = real_labels(panel.ids) if panel.generations else []
    right = {
        g: np.array([t in s for t, s in zip(panel.array(g, "top1").tolist(), seen, strict=True)])
        for g in panel.generations
    }
    quantity = Quantity(
        eval="imagenet", metric="ReaL", higher_is_better=True, protocol="reassessed labels; images without are left out"
    )
    return panel.proportion(quantity, right) if right else []


def _reassessed(ids: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    """Whether people saw any of the classes in an image of ImageNet's val."""
    return np.array([len(seen) > 0 for seen in real_labels(ids)], dtype=np.bool_)


def _protocol(config: EvalConfig, sets: Sets) -> str:
    return f"{describe(sets[_CELL])}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet",
    title="Clean images",
    cells=_cells,
    shown=_shown,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
