"""Ten perturbation sequences: how often a prediction flips along them, and how far the top five move.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.2, in the 32 px variant (spatter in place of snow).
The unit is the video, one for each source image. FR has generation 0 in AlexNet's place.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe, image_seeds, ranked
from nsbench.evals.cache import cached_array
from nsbench.evals.paired import Estimate, Floats, Panel, Quantity
from nsbench.files import derive_seed
from nsbench.metrics.corruption import mean_ce
from nsbench.metrics.flips import flip_rate, flips_per_video, is_noise_perturbation, top5_distance_per_video
from nsbench.metrics.reference import CIFAR_P_PERTURBATIONS as PERTURBATIONS
from nsbench.results import Row

PERTURBATION_VERSION = 1
"""Raised when the code of a perturbation changes a pixel; cached videos of other versions are not read."""

MIN_FLIPS = 30
"""With fewer flips of generation 0 over all videos, a ratio to them says nothing."""

_BASELINE = f"flips relative to generation 0's; a dash where it has fewer than {MIN_FLIPS}"


def source_images(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, balanced over the classes, chosen by a hash of their ids alone."""
    keys = np.array([derive_seed("imagenet-p", str(key)) for key in images.ids], dtype=np.int64)
    by_hash = np.argsort(keys, kind="stable")
    turn = np.empty(len(images), dtype=np.int64)  # place of an image within its class
    for label in np.unique(images.labels):
        members = by_hash[images.labels[by_hash] == label]
        turn[members] = np.arange(len(members))
    return images.take(np.sort(np.lexsort((keys, turn))[:count]))


def perturbed(context: EvalContext, images: ImageSet, name: str) -> npt.NDArray[np.uint8]:
    """Videos uint8 [V, T, H, W, 3] of `images` under one perturbation, from the cache or made now."""
    from nsbench.corruptions import perturbation_sequence

    seed = context.config.data_seed
    path = context.cache / images.fingerprint / f"{name}-video-seed{seed}-v{PERTURBATION_VERSION}.npy"
    return cached_array(path, lambda: perturbation_sequence(images.pixels, name, seeds=image_seeds(images.ids, seed)))


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return PERTURBATIONS if "val" in sets else ()


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    from nsbench.inference import predict

    images = source_images(context.sets["val"], context.config.perturbation_images)
    videos = perturbed(context, images, cell)
    frames = videos.reshape(-1, *videos.shape[2:])
    log_probs = predict(context.model, frames, batch_size=context.config.batch_size, device=context.device)
    top5 = ranked(log_probs).reshape(*videos.shape[:2], -1)
    num_classes = np.array(log_probs.shape[1], dtype=np.int32)
    return {
        "ids": images.ids,
        "labels": images.labels,
        "top1": top5[..., 0],
        "top5": top5,
        "num_classes": num_classes,
    }


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, PERTURBATIONS, config.replicates)
    if not panel.generations:
        return []
    quantity = functools.partial(Quantity, eval="imagenet-p", higher_is_better=False)
    ratio = functools.partial(quantity, unit="percent", protocol=_BASELINE)
    flips = {g: panel.means(_per_video(panel, g, "top1")) for g in panel.generations}  # [1 + B, 10]
    rates = _flip_rates(panel, flips)
    rows = _each_and_mean(panel, functools.partial(quantity, metric="flip_probability"), flips)
    for k, name in enumerate(PERTURBATIONS):
        rows += panel.rows(ratio(subset=name, metric="FR"), {g: Estimate(r[:, k]) for g, r in rates.items()})
    rows += panel.rows(ratio(metric="mFR"), {g: Estimate(mean_ce(r)) for g, r in rates.items()})
    if all(records[g][PERTURBATIONS[0]]["num_classes"] > 5 for g in panel.generations):
        moves = {g: panel.means(_per_video(panel, g, "top5")) for g in panel.generations}
        rows += _each_and_mean(panel, functools.partial(quantity, metric="T5D", unit="ranks"), moves)
    return rows


def _each_and_mean(panel: Panel, quantity: functools.partial[Quantity], means: dict[str, Floats]) -> list[Row]:
    rows = []
    for k, name in enumerate(PERTURBATIONS):
        rows += panel.rows(quantity(subset=name), {g: Estimate(m[:, k]) for g, m in means.items()})
    return rows + panel.rows(quantity(), {g: Estimate(m.mean(axis=1)) for g, m in means.items()})


def _per_video(panel: Panel, generation: str, array: str) -> Floats:
    """Flips (of `top1`) or top-5 distances (of `top5`) [V, 10] in the order of `PERTURBATIONS`."""
    measure = {"top1": flips_per_video, "top5": top5_distance_per_video}[array]
    columns = [measure(panel.array(generation, array, p), is_noise_perturbation(p)) for p in PERTURBATIONS]
    return np.stack(columns, axis=1)


def _flip_rates(panel: Panel, flips: dict[str, Floats]) -> dict[str, Floats]:
    """FR [1 + B, 10] of each generation, in percent; nan without generation 0 or with too few flips of it."""
    if "0" not in flips:
        return {g: np.full_like(f, np.nan) for g, f in flips.items()}
    pairs = np.array([panel.array("0", "top1", name).shape[1] - 1 for name in PERTURBATIONS])
    enough = np.round(flips["0"][0] * pairs * len(panel.ids)) >= MIN_FLIPS
    return {g: np.where(enough, flip_rate(f, flips["0"]), np.nan) for g, f in flips.items()}


def _protocol(config: EvalConfig, sets: Sets) -> str:
    images = source_images(sets["val"], config.perturbation_images)
    made = f"sequences made in memory, {images.pixels.shape[1]} px variant, data seed {config.data_seed}"
    return f"{describe(images)}; {made}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet-p",
    title="Perturbation sequences",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
