"""Cheap questions to records that are there anyway: what got worse image by image, and for whom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nsbench.evals.paired import Estimate, Panel, Quantity, share
from nsbench.metrics.diagnostics import negative_flips, worst_class_accuracy
from nsbench.metrics.resamples import resampled_worst_class_accuracy
from nsbench.results import Row

WORST_SHARE = 0.1


def clean_diagnostics(panel: Panel, correct: Mapping[str, npt.NDArray[np.bool_]]) -> list[Row]:
    """Worst tenth of the classes, and negative flips against each reference.

    Args:
        correct: bool [N] by model.
    """
    labels = {g: panel.array(g, "labels") for g in correct}
    worst = {
        g: panel.resampled(worst_class_accuracy, hits, labels[g], at_once=resampled_worst_class_accuracy)
        for g, hits in correct.items()
    }
    quantity = Quantity(
        eval="imagenet",
        metric="worst_tenth_top1",
        higher_is_better=True,
        protocol="mean top-1 of the tenth of the classes with the lowest",
    )
    return [*panel.rows(quantity, worst), *_negative_flips(panel, correct)]


def _negative_flips(panel: Panel, correct: Mapping[str, npt.NDArray[np.bool_]]) -> list[Row]:
    """Share of all images that the reference has right and the model wrong (Yan et al. 2021, arXiv:2011.09161)."""
    rows = []
    for name, hits in correct.items():
        for versus, other in panel.references(name, correct):
            flips = negative_flips(correct[other], hits)
            quantity = Quantity(
                eval="imagenet",
                metric="negative_flips",
                higher_is_better=False,
                protocol="right in the reference, wrong here; a share of all images, not a difference",
            )
            rows.append(panel.one(quantity, name, share(flips), versus=versus))
    return rows


def where_both_right(
    panel: Panel,
    quantity: Quantity,
    clean: Mapping[str, npt.NDArray[np.bool_]],
    errors: Mapping[str, npt.NDArray[np.float64]],
) -> list[Row]:
    """A model's error minus the reference's, on the images that both see right when they are clean.

    What is left of a difference when clean accuracy is taken out of it.

    Args:
        clean: bool [N] by model.
        errors: mean error [N] of each image over the corruptions, by model.
    """
    pairs = [(name, versus, other) for name in errors for versus, other in panel.references(name, errors)]
    both = {pair: clean[pair[0]] & clean[pair[2]] for pair in pairs}
    both = {pair: known for pair, known in both.items() if known.any()}
    differences = {pair: (errors[pair[0]] - errors[pair[2]]) * known for pair, known in both.items()}
    sums = panel.means_of({pair: np.stack([differences[pair], both[pair]], axis=1) for pair in both})
    rows = []
    for pair, known in both.items():
        (name, versus, _), draws = pair, sums[pair]
        with np.errstate(invalid="ignore", divide="ignore"):
            estimate = Estimate(draws[:, 0] / draws[:, 1])
        rows.append(panel.one(quantity, name, estimate, versus=versus, n=int(known.sum())))
    return rows
