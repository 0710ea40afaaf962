"""Whose errors CE divides by, and what CE is then called.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1. AlexNet's table is of the released 224 px images: over
any other pixels the name of CE says so. Generation 0 of a run takes its place where AlexNet was never measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nsbench.errors import DataError
from nsbench.evals.paired import Floats, Panel
from nsbench.metrics.corruption import corruption_error, relative_corruption_error
from nsbench.metrics.reference import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, CORRUPTIONS

MIN_ERRORS = 30
"""With fewer errors of generation 0 over the five severities (for relative CE: beyond its clean ones), a ratio to them
says nothing."""

_IMAGENET_CLASSES = 1000
_RELEASED_PX = (224, 299)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """Which images each model has wrong, over the images that all of them answered."""

    panel: Panel
    wrong: Mapping[str, npt.NDArray[np.bool_]]
    """[N, C, 5] by model."""
    errors: Mapping[str, Floats]
    """[1 + B, C, 5] by model: measured, then resampled."""
    clean_wrong: Mapping[str, npt.NDArray[np.bool_]] = dataclasses.field(default_factory=dict)
    """[N] by model; empty where the clean images are no part of the panel."""

    def clean_errors(self, model: str) -> Floats:
        """[1 + B]."""
        return self.panel.means(self.clean_wrong[model][:, None])[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """Errors that CE divides by."""

    suffix: str
    """What CE, mCE and the rest are called besides."""
    protocol: str
    errors: Floats
    """[15, 5] or [1 + B, 15, 5]."""
    clean: Floats
    """[] or [1 + B]; nan where there are no clean answers."""
    enough: npt.NDArray[np.bool_]
    """[15] whether the errors are enough to divide by."""
    enough_relative: npt.NDArray[np.bool_]
    """[15] the same of what they are beyond clean ones."""

    def ces(self, answers: Answers, model: str) -> Floats:
        """CE [1 + B, 15] of a model in percent."""
        return np.where(self.enough, corruption_error(answers.errors[model], self.errors), np.nan)

    def relative_ces(self, answers: Answers, model: str) -> Floats:
        """Relative CE [1 + B, 15] of a model in percent, from answers with clean ones."""
        clean = answers.clean_errors(model)[:, None]
        ces = relative_corruption_error(answers.errors[model], clean, self.errors, self.clean[..., None])
        return np.where(self.enough_relative, ces, np.nan)


def origin_of(panel: Panel) -> tuple[str, int] | None:
    """Provenance and side of the pixels behind every cell; None for records older than the question.

    Raises:
        DataError: the cells show different pixels, so that no difference between them means anything.
    """
    cells = [panel.records[g][cell] for g in panel.generations for cell in panel.cells]
    origins = {(str(arrays["provenance"]), int(arrays["side"])) for arrays in cells if "side" in arrays}
    if len(origins) > 1:
        found = " and ".join(f"{source} at {side} px" for source, side in sorted(origins))
        raise DataError(f"cells of imagenet-c show {found}, which cannot be compared; measure them again alike")
    return origins.pop() if origins else None


def baselines(answers: Answers, origin: tuple[str, int] | None) -> list[Baseline]:
    """AlexNet where its errors are of these classes, and generation 0 where AlexNet's are not of these pixels."""
    cells = [answers.panel.records[g][cell] for g in answers.panel.generations for cell in answers.panel.cells]
    imagenet = {int(arrays.get("num_classes", 0)) for arrays in cells} == {_IMAGENET_CLASSES}
    source, side = origin or ("", 0)
    released = source == "released-jpeg" and side in _RELEASED_PX
    found = []
    if "0" in answers.errors and not (imagenet and released):
        found.append(_generation_zero(answers))
    if imagenet and (side == 224 or released):
        found.append(_alexnet(source, side))
    return found


def _alexnet(source: str, side: int) -> Baseline:
    suffix, of = "", "the same released JPEGs"
    if source != "released-jpeg":
        suffix, of = f", AlexNet table, {source}", "the released JPEGs (other pixels than these)"
    elif side == 299:
        suffix, of = ", c-299", "the released 224 px JPEGs"
    every = np.ones(len(CORRUPTIONS), dtype=np.bool_)
    return Baseline(
        suffix=suffix,
        protocol=f"errors relative to AlexNet's on {of}",
        errors=np.array([ALEXNET_ERRORS[name] for name in CORRUPTIONS]),
        clean=np.array(ALEXNET_CLEAN_ERROR),
        enough=every,
        enough_relative=every,
    )


def _generation_zero(answers: Answers) -> Baseline:
    count = answers.wrong["0"].sum(axis=(0, 2))  # [15]
    clean = answers.clean_wrong.get("0")
    beyond = count - 5 * (0 if clean is None else clean.sum())
    return Baseline(
        suffix="",
        protocol=f"errors relative to generation 0's; a dash where it has fewer than {MIN_ERRORS}",
        errors=answers.errors["0"],
        clean=np.array(np.nan) if clean is None else answers.clean_errors("0"),
        enough=count >= MIN_ERRORS,
        enough_relative=beyond >= MIN_ERRORS,
    )
