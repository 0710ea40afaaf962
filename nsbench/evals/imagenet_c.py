"""Fifteen corruptions at five severities: error of each, CE against generation 0, and their means.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1. The pixels are made here from clean images, once for
all generations and runs. CE has generation 0 in AlexNet's place, whose errors are known only for ImageNet's sizes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, classify, describe, image_seeds
from nsbench.evals.cache import cached_array
from nsbench.evals.paired import Estimate, Floats, Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.corruption import corruption_error, mean_ce, unnormalised_ce
from nsbench.metrics.reference import CORRUPTIONS
from nsbench.results import Row

CORRUPTION_VERSION = 1
"""Raised when the code of a corruption changes a pixel; cached images of other versions are not read."""

MIN_ERRORS = 30
"""With fewer errors of generation 0 over the five severities, a ratio to them says nothing."""

_BASELINE = f"errors relative to generation 0's; a dash where it has fewer than {MIN_ERRORS}"

_SEVERITIES = ("1", "2", "3", "4", "5")
_CELLS = tuple(f"{name}-{severity}" for name in CORRUPTIONS for severity in _SEVERITIES)


def corrupted(context: EvalContext, images: ImageSet, name: str, severity: int) -> npt.NDArray[np.uint8]:
    """`images` uint8 [N, H, W, 3] under one corruption, from the cache or made now."""
    from nsbench.corruptions import corrupt

    seed = context.config.data_seed
    path = context.cache / images.fingerprint / f"{name}-{severity}-seed{seed}-v{CORRUPTION_VERSION}.npy"
    return cached_array(path, lambda: corrupt(images.pixels, name, severity, seeds=image_seeds(images.ids, seed)))


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return _CELLS if "val" in sets else ()


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    name, severity = cell.rsplit("-", 1)
    images = context.sets["val"]
    return classify(context, images, corrupted(context, images, name, int(severity)))


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, _CELLS, config.replicates)
    if not panel.generations:
        return []
    wrong = {g: _wrong(panel, g) for g in panel.generations}  # bool [N, 75]
    errors = {g: panel.means(w).reshape(-1, len(CORRUPTIONS), 5) for g, w in wrong.items()}  # [1 + B, 15, 5]
    ces = _corruption_errors(errors, wrong.get("0"))  # [1 + B, 15]
    error = functools.partial(Quantity, eval="imagenet-c", metric="error", higher_is_better=False)
    ratio = functools.partial(
        Quantity, eval="imagenet-c", level="mean", unit="percent", higher_is_better=False, protocol=_BASELINE
    )
    rows = []
    for c, name in enumerate(CORRUPTIONS):
        for s, level in enumerate(_SEVERITIES):
            cell = {g: Estimate(e[:, c, s], wrong[g][:, 5 * c + s]) for g, e in errors.items()}
            rows += panel.rows(error(subset=name, level=level), cell)
        mean = {g: Estimate(unnormalised_ce(e[:, c])) for g, e in errors.items()}
        rows += panel.rows(error(subset=name, level="mean"), mean)
        rows += panel.rows(ratio(subset=name, metric="CE"), {g: Estimate(ce[:, c]) for g, ce in ces.items()})
    for s, level in enumerate(_SEVERITIES):
        rows += panel.rows(error(level=level), {g: Estimate(e[:, :, s].mean(axis=1)) for g, e in errors.items()})
    rows += panel.rows(error(level="mean"), {g: Estimate(e.mean(axis=(1, 2))) for g, e in errors.items()})
    return rows + panel.rows(ratio(metric="mCE"), {g: Estimate(mean_ce(ce)) for g, ce in ces.items()})


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
    made = f"corrupted in memory with the constants for {images.pixels.shape[1]} px, data seed {config.data_seed}"
    return f"{describe(images)}; {made}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet-c",
    title="Corruptions",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
