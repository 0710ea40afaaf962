"""Natural images that models get wrong, over the classes that these show, beside clean images of the same classes.

ImageNet-A (Hendrycks et al. 2019, arXiv:1907.07174): 200 classes, and an answer is the best of these 200; RMS
calibration error and AURRA as there. Without the 200-class rule nearly every model is at zero. Where there is no
ImageNet, the images that an independent classifier gets wrong take its place, beside those it gets right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.answers import classify
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct, topk_correct
from nsbench.metrics.calibration import aurra, rms_calibration_error
from nsbench.metrics.resamples import resampled_aurra, resampled_rms_calibration_error
from nsbench.results import Row

_BINS = "bins of 100 images"


def natural_eval(name: str, title: str, hard: tuple[str, ...], beside: dict[str, str]) -> Eval:
    """An evaluation of natural images beside clean ones of the same classes.

    Args:
        hard: names of the set (and cell) of natural images; the first that is there is taken.
        beside: names of the set (and cell) of clean images, and the `subset` of their rows.
    """

    def cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
        found = [cell for cell in hard if cell in sets][:1]
        return tuple(found + [cell for cell in beside if cell in sets]) if found else ()

    def measure(records: Records, config: EvalConfig) -> list[Row]:
        there = {cell for answers in records.values() for cell in answers}
        rows = [row for cell in hard if cell in there for row in _hard_rows(name, records, cell, config)]
        for cell, subset in beside.items():
            if cell in there:
                rows += _beside_rows(name, records, cell, subset, config)
        return rows

    def protocol(config: EvalConfig, sets: Sets) -> str:
        shown = [sets[cell] for cell in cells(config, sets)]
        classes = f"; answers among {len(shown[0].subset)} classes" if shown and shown[0].subset else ""
        return f"{' beside '.join(map(describe, shown))}{classes}; {arithmetic(config)}"

    return Eval(name=name, title=title, cells=cells, shown=_shown, predict=_predict, measure=measure, protocol=protocol)


def _shown(sets: Sets, cell: str) -> str:
    fingerprint: str = sets[cell].fingerprint
    return fingerprint


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    return classify(context, context.sets[cell])


def _hard_rows(name: str, records: Records, cell: str, config: EvalConfig) -> list[Row]:
    panel = Panel(records, (cell,), config.replicates)
    better = functools.partial(Quantity, eval=name, higher_is_better=True)
    worse = functools.partial(Quantity, eval=name, higher_is_better=False)
    correct = _each(panel, lambda a: top1_correct(a("top1"), a("labels")))
    confidence = _each(panel, lambda a: a("confidence"))
    restricted = all("top1_all" in records[g][cell] for g in panel.generations)

    def resampled(statistic: Callable[..., float], at_once: Callable[..., Any], **options: Any) -> dict[str, Any]:
        function, every = functools.partial(statistic, **options), functools.partial(at_once, **options)
        return {g: panel.resampled(function, confidence[g], correct[g], at_once=every) for g in correct}

    rows = panel.proportion(better(metric="top1"), correct)
    if restricted:
        top5 = _each(panel, lambda a: topk_correct(a("top5"), a("labels")))
        everything = _each(panel, lambda a: top1_correct(a("top1_all"), a("labels")))
        rows += panel.proportion(better(metric="top5"), top5)
        rows += panel.proportion(better(metric="top1_all_classes", protocol="answers among all classes"), everything)
    rows += panel.rows(
        worse(metric="RMS", protocol=_BINS), resampled(rms_calibration_error, resampled_rms_calibration_error)
    )
    if restricted:
        reference = resampled(rms_calibration_error, resampled_rms_calibration_error, skip_last_bin=True)
        skipped = f"{_BINS}, without the most confident bin as in the reference code"
        rows += panel.rows(worse(metric="RMS_reference", protocol=skipped), reference)
    return rows + panel.rows(better(metric="AURRA"), resampled(aurra, resampled_aurra))


def _beside_rows(name: str, records: Records, cell: str, subset: str, config: EvalConfig) -> list[Row]:
    panel = Panel(records, (cell,), config.replicates)
    correct = _each(panel, lambda a: top1_correct(a("top1"), a("labels")))
    return panel.proportion(Quantity(eval=name, metric="top1", subset=subset, higher_is_better=True), correct)


def _each(panel: Panel, compute: Callable[[Callable[[str], npt.NDArray[Any]]], Any]) -> dict[str, npt.NDArray[Any]]:
    """`compute` of each model's arrays, which it asks for by name."""
    return {g: np.asarray(compute(functools.partial(panel.array, g))) for g in panel.generations}


EVAL = natural_eval(
    "imagenet-a",
    "Natural adversarial images",
    ("imagenet-a", "natural-adversarial"),
    {"imagenet-a-clean": "clean", "complement": "complement"},
)
