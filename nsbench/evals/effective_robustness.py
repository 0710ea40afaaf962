"""Effective robustness of models on ImageNet's other test sets: two sets of images at once, each resampled by itself.

Taori et al. 2020 (arXiv:2007.00644); the lines are those of `nsbench.metrics.effective_robustness`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import Records
from nsbench.evals.paired import Estimate, Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.effective_robustness import FITS, FITTED, SOURCE, Fit
from nsbench.results import Row

METRIC = "effective_robustness"

_CLASSES = 1000


class _Place(NamedTuple):
    eval: str
    cell: str


class _Sets(NamedTuple):
    shifted: _Place
    clean: _Place
    subset: str = "all"


_SETS = {
    "imagenet-a": _Sets(_Place("imagenet-a", "imagenet-a"), _Place("imagenet-a", "imagenet-a-clean")),
    "imagenet-r": _Sets(_Place("imagenet-r", "imagenet-r"), _Place("imagenet-r", "imagenet-r-clean")),
    "imagenet-v2": _Sets(
        _Place("imagenet-v2", "imagenet-v2-matched-frequency"), _Place("imagenet", "val"), "matched-frequency"
    ),
    "imagenet-sketch": _Sets(_Place("imagenet-sketch", "imagenet-sketch"), _Place("imagenet", "val")),
}


def effective_rows(answers: Mapping[str, Records], config: EvalConfig) -> list[Row]:
    """Rows of every set that has a line and that was measured beside clean images of the same classes.

    Args:
        answers: records of ImageNet's own images, by eval.
    """
    rows = []
    for name, sets in _SETS.items():
        shifted, clean = (answers.get(place.eval, {}) for place in (sets.shifted, sets.clean))
        both = [
            model
            for model in shifted
            if sets.shifted.cell in shifted[model]
            and sets.clean.cell in clean.get(model, {})
            and shifted[model][sets.shifted.cell]["num_classes"] == _CLASSES
        ]
        hard = Panel({model: shifted[model] for model in both}, (sets.shifted.cell,), config.replicates)
        easy = Panel({model: clean[model] for model in both}, (sets.clean.cell,), config.replicates)
        if both and len(hard.ids) and len(easy.ids):
            rows += _of_set(name, sets.subset, hard, easy)
    return rows


def _of_set(name: str, subset: str, hard: Panel, easy: Panel) -> list[Row]:
    fit = FITS[name]
    hits, clean = (_accuracies(panel, purpose) for purpose, panel in enumerate((hard, easy)))
    quantity = Quantity(
        eval=name, metric=METRIC, subset=subset, higher_is_better=True, protocol=_said(fit, len(easy.ids))
    )
    estimates = {
        model: Estimate(hits[:, k] - fit.expected(clean[:, k]))
        for k, model in enumerate(hard.generations)
        if clean[0, k] >= fit.lowest
    }
    return hard.rows(quantity, estimates)


def _said(fit: Fit, num_clean: int) -> str:
    below = f", of a clean accuracy of at least {fit.lowest:.2%}" if fit.lowest else ""
    return (
        f"accuracy beyond the line through {fit.num_models} models that timm publishes, trained on ImageNet-1k alone"
        f"{below} ({SOURCE}, fitted {FITTED}); clean accuracy on {num_clean} images of the same classes; the interval "
        f"covers both sets of images, not the line, about which those models scatter by {fit.spread:.2%} (one standard "
        "deviation)"
    )


def _accuracies(panel: Panel, purpose: int) -> npt.NDArray[np.float64]:
    """Accuracies [1 + B, M] of the panel's models: measured, then resampled.

    Images that the same models have right are alike, so their Poisson weights are drawn as one sum (a sum of Poissons
    is a Poisson). Two sets are two samples: `purpose` tells their draws apart.
    """
    hits = np.stack([top1_correct(panel.array(g, "top1"), panel.array(g, "labels")) for g in panel.generations], axis=1)
    patterns, counts = np.unique(hits, axis=0, return_counts=True)
    draws = np.random.default_rng([0, purpose]).poisson(counts, size=(panel.replicates, len(counts)))
    weights = np.concatenate([counts[None], draws]).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ patterns / weights.sum(axis=1, keepdims=True))
