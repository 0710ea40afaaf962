"""Ten perturbation sequences: how often a prediction flips along them, and how far the top five move.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.2; at 32 px the ten of CIFAR-10-P (spatter in place of
snow). The unit is the video, one for each source image. The headline is the unnormalised mean. FR has generation 0 in
AlexNet's place; for ImageNet's classes at 224 px, FR by AlexNet's published flips stands beside it under a name that
says that those are of other pixels. Sequences are filmed from the pictures before their crop where there are any
(the set `val-pictures`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet, PictureSet
from nsbench.evals.base import AnySet, Eval, EvalContext, Records, Sets, arithmetic, ranked
from nsbench.evals.computed import CACHED_BYTES, cached_films, crop_of, films, version_label
from nsbench.evals.paired import Estimate, Floats, Panel, Quantity
from nsbench.files import derive_seed
from nsbench.metrics.corruption import mean_ce
from nsbench.metrics.flips import flip_rate, flips_per_video, is_noise_perturbation, top5_distance_per_video
from nsbench.metrics.reference import ALEXNET_FLIP_PROBABILITIES, CIFAR_P_PERTURBATIONS, PERTURBATIONS
from nsbench.results import Row

if TYPE_CHECKING:
    from torch import Tensor

MIN_FLIPS = 30
"""With fewer flips of generation 0 over all videos, a ratio to them says nothing."""

_FRAMES = 31
_BASELINE = f"flips relative to generation 0's; a dash where it has fewer than {MIN_FLIPS}"


_ALEXNET = "flips relative to AlexNet's on the released videos (other pixels than these)"
_IMAGENET_CLASSES, _IMAGENET_PX = 1000, 224
_LARGEST_CIFAR_PX = 84
"""Up to this size the films are CIFAR-10-P's, above ImageNet-P's: the size is nearer to 32 px than to 224."""


def source_images(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, balanced over the classes, chosen by a hash of their ids alone."""
    return images.take(source_rows(images, count))


def source_rows(images: AnySet, count: int) -> npt.NDArray[np.int64]:
    """The rows of `source_images`, ascending."""
    keys = np.array([derive_seed("imagenet-p", str(key)) for key in images.ids], dtype=np.int64)
    by_hash = np.argsort(keys, kind="stable")
    turn = np.empty(len(images), dtype=np.int64)  # place of an image within its class
    for label in np.unique(images.labels):
        members = by_hash[images.labels[by_hash] == label]
        turn[members] = np.arange(len(members))
    return np.sort(np.lexsort((keys, turn))[:count])


def perturbations_of(images: AnySet) -> tuple[str, ...]:
    """The ten perturbations at the size of the images."""
    return CIFAR_P_PERTURBATIONS if crop_of(images) <= _LARGEST_CIFAR_PX else PERTURBATIONS


def _source(sets: Sets) -> AnySet | None:
    """What is filmed."""
    source: AnySet | None = sets.get("val-pictures", sets.get("val"))
    return source


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    images = _source(sets)
    return perturbations_of(images) if images is not None else ()


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    images = _source(context.sets)
    assert images is not None
    rows = source_rows(images, context.config.perturbation_images)
    if isinstance(images, ImageSet) and images.pixels.nbytes <= CACHED_BYTES:
        small = images.take(rows)
        videos = cached_films(context, small, cell)
        top5, num_classes = _top5(context, videos)
    else:
        top5, num_classes = _filmed_top5(context, images, rows, cell)
    return {
        "ids": images.ids[rows],
        "labels": images.labels[rows],
        "top1": top5[..., 0],
        "top5": top5,
        "num_classes": np.array(num_classes, dtype=np.int32),
        "side": np.array(crop_of(images), dtype=np.int32),
    }


def _filmed_top5(
    context: EvalContext, images: AnySet, rows: npt.NDArray[np.int64], cell: str
) -> tuple[npt.NDArray[np.int32], int]:
    """`_top5` of films that are made on the device, a few batches of frames at a time."""
    videos_at_once = max(1, 4 * context.config.batch_size // _FRAMES)
    parts = []
    for start in range(0, len(rows), videos_at_once):
        part = films(images, rows[start : start + videos_at_once].tolist(), cell, context.config, context.device)
        parts.append(_top5(context, part.permute(0, 1, 3, 4, 2)))
    return np.concatenate([top5 for top5, _ in parts]), parts[0][1]


def _top5(context: EvalContext, videos: npt.NDArray[np.uint8] | Tensor) -> tuple[npt.NDArray[np.int32], int]:
    """The five best classes int32 [V, T, 5] of frames uint8 [V, T, H, W, 3], and how many classes there are."""
    from nsbench.inference import predict

    log_probs = predict(
        context.model,
        videos.reshape(-1, *videos.shape[2:]),
        batch_size=context.config.batch_size,
        device=context.device,
        input_px=context.input_px,
    )
    return ranked(log_probs).reshape(*videos.shape[:2], -1), log_probs.shape[1]


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    names = _filmed(records)
    panel = Panel(records, names, config.replicates)
    if not panel.generations:
        return []
    quantity = functools.partial(Quantity, eval="imagenet-p", higher_is_better=False)
    ratio = functools.partial(quantity, unit="percent")
    flips = {g: panel.means(_per_video(panel, g, "top1")) for g in panel.generations}  # [1 + B, 10]
    rows = _each_and_mean(panel, functools.partial(quantity, metric="flip_probability"), flips)
    rows += _normalised(panel, functools.partial(ratio, protocol=_BASELINE), "", _flip_rates(panel, flips))
    first = [records[g][names[0]] for g in panel.generations]
    if all(a["num_classes"] == _IMAGENET_CLASSES and a.get("side") == _IMAGENET_PX for a in first):
        table = np.array([ALEXNET_FLIP_PROBABILITIES[name] for name in names])
        by_alexnet = {g: flip_rate(f, table) for g, f in flips.items()}
        suffix = ", AlexNet table, device-memory"
        rows += _normalised(panel, functools.partial(ratio, protocol=_ALEXNET), suffix, by_alexnet)
    if all(a["num_classes"] > 5 for a in first):
        moves = {g: panel.means(_per_video(panel, g, "top5")) for g in panel.generations}
        rows += _each_and_mean(panel, functools.partial(quantity, metric="T5D", unit="ranks"), moves)
    return rows


def _filmed(records: Records) -> tuple[str, ...]:
    """The ten that were filmed: CIFAR-10-P's, if its spatter is among them."""
    cells = {cell for generation in records.values() for cell in generation}
    return CIFAR_P_PERTURBATIONS if "spatter" in cells else PERTURBATIONS


def _normalised(panel: Panel, ratio: functools.partial[Quantity], suffix: str, rates: dict[str, Floats]) -> list[Row]:
    """FR of each perturbation, and mFR, from rates [1 + B, 10] by generation."""
    rows = []
    for k, name in enumerate(panel.cells):
        rows += panel.rows(ratio(subset=name, metric=f"FR{suffix}"), {g: Estimate(r[:, k]) for g, r in rates.items()})
    return rows + panel.rows(ratio(metric=f"mFR{suffix}"), {g: Estimate(mean_ce(r)) for g, r in rates.items()})


def _each_and_mean(panel: Panel, quantity: functools.partial[Quantity], means: dict[str, Floats]) -> list[Row]:
    rows = []
    for k, name in enumerate(panel.cells):
        rows += panel.rows(quantity(subset=name), {g: Estimate(m[:, k]) for g, m in means.items()})
    return rows + panel.rows(quantity(), {g: Estimate(m.mean(axis=1)) for g, m in means.items()})


def _per_video(panel: Panel, generation: str, array: str) -> Floats:
    """Flips (of `top1`) or top-5 distances (of `top5`) [V, 10] in the order of the panel's cells."""
    measure = {"top1": flips_per_video, "top5": top5_distance_per_video}[array]
    columns = [measure(panel.array(generation, array, p), is_noise_perturbation(p)) for p in panel.cells]
    return np.stack(columns, axis=1)


def _flip_rates(panel: Panel, flips: dict[str, Floats]) -> dict[str, Floats]:
    """FR [1 + B, 10] of each generation, in percent; nan without generation 0 or with too few flips of it."""
    if "0" not in flips:
        return {g: np.full_like(f, np.nan) for g, f in flips.items()}
    pairs = np.array([panel.array("0", "top1", name).shape[1] - 1 for name in panel.cells])
    enough = np.round(flips["0"][0] * pairs * len(panel.ids)) >= MIN_FLIPS
    return {g: np.where(enough, flip_rate(f, flips["0"]), np.nan) for g, f in flips.items()}


def _protocol(config: EvalConfig, sets: Sets) -> str:
    images = _source(sets)
    assert images is not None
    count = min(len(images), config.perturbation_images)
    shown = f"{images.name}, {count} images, {crop_of(images)} px, {images.preprocessing}"
    official = "" if crop_of(images) in (32, 224) else "device-native-size, unofficial; "
    whole = "pictures" if isinstance(images, PictureSet) else "images"
    made = f"device-memory, filmed from the {whole}, {version_label()}, data seed {config.data_seed}"
    return f"{shown}; {official}{made}; {arithmetic(config)}"


EVAL = Eval(
    name="imagenet-p",
    title="Perturbation sequences",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
