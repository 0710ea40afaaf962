"""Fifteen corruptions at five severities: error of each, CE against generation 0, and their means.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1. The pixels are computed from clean images on the
device. The headline is the unnormalised mean. CE has generation 0 in AlexNet's place; for ImageNet's own classes at
224 px, CE by AlexNet's published errors stands beside it under a name that says that these are of other pixels.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.errors import DataError
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, classify, describe
from nsbench.evals.computed import (
    CACHED_BYTES,
    cached_corrupted,
    constants_label,
    preparation,
    provenance,
    version_label,
)
from nsbench.evals.paired import Estimate, Floats, Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.corruption import corruption_error, mean_ce, unnormalised_ce
from nsbench.metrics.reference import ALEXNET_ERRORS, CORRUPTION_SIZES, CORRUPTIONS
from nsbench.results import Row

MIN_ERRORS = 30
"""With fewer errors of generation 0 over the five severities, a ratio to them says nothing."""

_BASELINE = f"errors relative to generation 0's; a dash where it has fewer than {MIN_ERRORS}"

_ALEXNET = "errors relative to AlexNet's on the released JPEGs (other pixels than these)"
_IMAGENET_CLASSES, _IMAGENET_PX = 1000, 224

_SEVERITIES = ("1", "2", "3", "4", "5")
_CELLS = tuple(f"{name}-{severity}" for name in CORRUPTIONS for severity in _SEVERITIES)


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return _CELLS if "val" in sets else ()


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    name, severity = cell.rsplit("-", 1)
    images = context.sets["val"]
    if images.pixels.nbytes <= CACHED_BYTES:
        arrays = classify(context, images, cached_corrupted(context, images, name, int(severity)))
    else:
        prepare = preparation(images, name, int(severity), context.config)
        arrays = classify(context, images, context.resident(images), prepare)
    side = np.array(min(images.pixels.shape[1:3]), dtype=np.int32)
    return {**arrays, "provenance": np.array(provenance(images, context.config)), "side": side}


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, _CELLS, config.replicates)
    if not panel.generations:
        return []
    wrong = {g: _wrong(panel, g) for g in panel.generations}  # bool [N, 75]
    errors = {g: panel.means(w).reshape(-1, len(CORRUPTIONS), 5) for g, w in wrong.items()}  # [1 + B, 15, 5]
    error = functools.partial(Quantity, eval="imagenet-c", metric="error", higher_is_better=False)
    ratio = functools.partial(Quantity, eval="imagenet-c", level="mean", unit="percent", higher_is_better=False)
    rows = []
    for c, name in enumerate(CORRUPTIONS):
        for s, level in enumerate(_SEVERITIES):
            cell = {g: Estimate(e[:, c, s], wrong[g][:, 5 * c + s]) for g, e in errors.items()}
            rows += panel.rows(error(subset=name, level=level), cell)
        mean = {g: Estimate(unnormalised_ce(e[:, c])) for g, e in errors.items()}
        rows += panel.rows(error(subset=name, level="mean"), mean)
    for s, level in enumerate(_SEVERITIES):
        rows += panel.rows(error(level=level), {g: Estimate(e[:, :, s].mean(axis=1)) for g, e in errors.items()})
    rows += panel.rows(error(level="mean"), {g: Estimate(e.mean(axis=(1, 2))) for g, e in errors.items()})
    origin = _origin(panel)
    if origin is not None and origin[1] not in CORRUPTION_SIZES:
        return rows  # nobody's benchmark: no CE, and nothing that is called mCE
    relative = functools.partial(ratio, protocol=_BASELINE)
    rows += _normalised(panel, relative, "", _corruption_errors(errors, wrong.get("0")))
    if suffix := _alexnet_suffix(panel, origin):
        table = np.array([ALEXNET_ERRORS[name] for name in CORRUPTIONS])
        by_alexnet = {g: corruption_error(e, table) for g, e in errors.items()}
        rows += _normalised(panel, functools.partial(ratio, protocol=_ALEXNET), suffix, by_alexnet)
    return rows


def _normalised(panel: Panel, ratio: functools.partial[Quantity], suffix: str, ces: dict[str, Floats]) -> list[Row]:
    """CE of each corruption, and mCE, from CEs [1 + B, 15] by generation."""
    rows = []
    for c, name in enumerate(CORRUPTIONS):
        rows += panel.rows(ratio(subset=name, metric=f"CE{suffix}"), {g: Estimate(ce[:, c]) for g, ce in ces.items()})
    return rows + panel.rows(ratio(metric=f"mCE{suffix}"), {g: Estimate(mean_ce(ce)) for g, ce in ces.items()})


def _origin(panel: Panel) -> tuple[str, int] | None:
    """Provenance and side of the pixels behind every cell; None for records older than the question.

    Raises:
        DataError: the cells show different pixels, so that no difference between them means anything.
    """
    cells = [panel.records[g][cell] for g in panel.generations for cell in _CELLS]
    origins = {(str(arrays["provenance"]), int(arrays["side"])) for arrays in cells if "side" in arrays}
    if len(origins) > 1:
        found = " and ".join(f"{source} at {side} px" for source, side in sorted(origins))
        raise DataError(f"cells of imagenet-c show {found}, which cannot be compared; measure them again alike")
    return origins.pop() if origins else None


def _alexnet_suffix(panel: Panel, origin: tuple[str, int] | None) -> str:
    """`, AlexNet table, device-jpeg85`, where AlexNet's errors are of the same classes and size; else nothing."""
    classes = (
        {int(panel.records[g][cell]["num_classes"]) for g in panel.generations for cell in _CELLS} if origin else ()
    )
    if origin is None or origin[1] != _IMAGENET_PX or classes != {_IMAGENET_CLASSES}:
        return ""
    return f", AlexNet table, {origin[0]}"


def _wrong(panel: Panel, generation: str) -> npt.NDArray[np.bool_]:
    """[N, 75] in the order of `_CELLS`."""
    columns = ((panel.array(generation, name, cell) for name in ("top1", "labels")) for cell in _CELLS)
    return np.stack([~top1_correct(*column) for column in columns], axis=1)


def _corruption_errors(errors: dict[str, Floats], wrong0: npt.NDArray[np.bool_] | None) -> dict[str, Floats]:
    """CE [1 + B, 15] of each generation, in percent; nan without generation 0 or with too few errors of it."""
    if wrong0 is None:
        return {g: np.full(e.shape[:2], np.nan) for g, e in errors.items()}
    enough = wrong0.reshape(len(wrong0), len(CORRUPTIONS), 5).sum(axis=(0, 2)) >= MIN_ERRORS
    return {g: np.where(enough, corruption_error(e, errors["0"]), np.nan) for g, e in errors.items()}


def _protocol(config: EvalConfig, sets: Sets) -> str:
    images = sets["val"]
    made = f"{provenance(images, config)}, {constants_label(images, config)}, {version_label()}"
    made += f", data seed {config.data_seed}"
    return f"{describe(images)}; {made}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet-c",
    title="Corruptions",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
