"""Corruptions at five severities, beside the clean image: the released files where they are, else computed.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1. Released images are not resized, only cropped to 224 px
(the 299 px variant is taken whole). Computed ones are made on the device of clean images of 224 px, whatever the model.
Either way they are then resized to the model's input. What the answers measure is in `corruption_rows`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.evals.answers import classify
from nsbench.evals.base import Eval, EvalContext, Images, Sets, arithmetic, describe
from nsbench.evals.computed import (
    CACHED_BYTES,
    cached_corrupted,
    constants_label,
    corruption,
    held,
    provenance,
    version_label,
)
from nsbench.evals.corruption_rows import CLEAN, measure_corruptions
from nsbench.metrics.reference import CORRUPTIONS, EXTRA_CORRUPTIONS

_RELEASED = "imagenet-c"


def base_images(sets: Sets) -> Images | None:
    """The clean images that are corrupted, or that the released ones were made of."""
    base: Images | None = sets.get("corruption-base", sets.get("val"))
    return base


def _cells(config: EvalConfig, sets: Sets) -> tuple[str, ...]:
    clean = (CLEAN,) if base_images(sets) is not None else ()
    if _RELEASED in sets:
        return (*clean, *sets[_RELEASED].cells)
    names = (*CORRUPTIONS, *EXTRA_CORRUPTIONS) if config.extra_corruptions else CORRUPTIONS
    return (*clean, *(f"{name}-{s}" for name in names for s in range(1, 6))) if clean else ()


def _shown(sets: Sets, cell: str) -> str:
    base = base_images(sets)
    if _RELEASED in sets and cell != CLEAN:
        fingerprint: str = sets[_RELEASED].fingerprint(cell)
        return fingerprint
    return base.fingerprint if base is not None else ""


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    if _RELEASED in context.sets:
        released = context.sets[_RELEASED]
        images = base_images(context.sets) if cell == CLEAN else released.open(cell)
        assert images is not None
        return _labelled(_clean(context, images), "released-jpeg", images.size)
    base = base_images(context.sets)
    assert base is not None
    images = held(context, base)
    arrays = _clean(context, images) if cell == CLEAN else _corrupted(context, images, cell)
    return _labelled(arrays, provenance(images, context.config), images.size)


def _clean(context: EvalContext, images: Images) -> dict[str, npt.NDArray[Any]]:
    return classify(context, images, input_px=context.input_px)


def _corrupted(context: EvalContext, images: ImageSet, cell: str) -> dict[str, npt.NDArray[Any]]:
    name, severity = cell.rsplit("-", 1)
    if images.pixels.nbytes <= CACHED_BYTES:
        kept = dataclasses.replace(images, pixels=cached_corrupted(context, images, name, int(severity)))
        return classify(context, kept, input_px=context.input_px)
    applied = corruption(images, name, int(severity), context.config)
    return classify(context, images, corruption=applied, input_px=context.input_px)


def _labelled(arrays: dict[str, npt.NDArray[Any]], source: str, side: int) -> dict[str, npt.NDArray[Any]]:
    return {**arrays, "provenance": np.array(source), "side": np.array(side, dtype=np.int32)}


def _protocol(config: EvalConfig, sets: Sets) -> str:
    if _RELEASED in sets:
        released = sets[_RELEASED]
        shown = f"{released.name}, released-jpeg, c-{released.size}, {released.preprocessing}"
        base = base_images(sets)
        beside = f" beside clean {describe(base)}" if base is not None else ""
        return f"{shown}{beside}; {arithmetic(config)}"
    images = base_images(sets)
    assert images is not None
    made = f"{provenance(images, config)}, {constants_label(images, config)}, {version_label()}"
    return f"{describe(images)}; {made}, data seed {config.data_seed}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet-c",
    title="Corruptions",
    cells=_cells,
    shown=_shown,
    predict=_predict,
    measure=measure_corruptions,
    protocol=_protocol,
)
