"""Perturbation sequences: how often a prediction flips along them, and how far the top five move.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.2. The unit is the video. Released clips are shown as they
are; where there are none, they are filmed on the device from the pictures before their crop (the set `val-pictures`),
and never encoded. At 32 px the ten are CIFAR-10-P's (spatter in place of snow). Either way frames are resized to the
model's input. What the answers measure is in `perturbation_rows`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet, PictureSet
from nsbench.errors import DataError
from nsbench.evals.answers import Shown, answered, ranked
from nsbench.evals.base import AnySet, Eval, EvalContext, Sets, arithmetic, image_seeds
from nsbench.evals.computed import CACHED_BYTES, cached_films, film, picture, version_label
from nsbench.evals.perturbation_rows import measure_perturbations
from nsbench.files import derive_seed, fingerprint
from nsbench.metrics.reference import CIFAR_P_PERTURBATIONS, PERTURBATIONS

if TYPE_CHECKING:
    from torch import Tensor

_RELEASED = "imagenet-p"
_FRAMES = 31
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
    return CIFAR_P_PERTURBATIONS if images.size <= _LARGEST_CIFAR_PX else PERTURBATIONS


def _source(sets: Sets) -> ImageSet | PictureSet | None:
    """What is filmed."""
    source: ImageSet | PictureSet | None = sets.get("val-pictures", sets.get("val"))
    return source


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    if _RELEASED in sets:
        cells: tuple[str, ...] = sets[_RELEASED].cells
        return cells
    images = _source(sets)
    return perturbations_of(images) if images is not None else ()


def _shown(sets: Sets, cell: str) -> str:
    if _RELEASED in sets:
        clips: str = sets[_RELEASED].fingerprint(cell)
        return clips
    images = _source(sets)
    return fingerprint(images.fingerprint) if images is not None else ""


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    if _RELEASED in context.sets:
        clips = context.sets[_RELEASED].open(cell)
        return _answers(context, clips, clips.batches) | {"provenance": np.array("released-h264")}
    images = _source(context.sets)
    assert images is not None
    rows = source_rows(images, context.config.perturbation_images)
    source = images.take(rows)
    if isinstance(source, ImageSet) and source.pixels.nbytes <= CACHED_BYTES:
        videos = cached_films(context, source, cell)
        return _answers(context, source, lambda slices: ((s, videos[s], {}) for s in slices)) | _MEMORY

    return _answers(context, source, lambda slices: _filmed(context, source, slices, cell)) | _MEMORY


def _filmed(context: EvalContext, source: ImageSet | PictureSet, slices: Iterable[slice], cell: str) -> Shown:
    """Videos made on the device, a few at a time; of a picture that cannot be read, one of nothing."""
    for part in slices:
        numbers, bad, pictures = range(*part.indices(len(source))), {}, []
        for number in numbers:
            try:
                pictures.append(picture(source, number))
            except DataError as error:
                if context.config.on_bad_image == "error":
                    raise
                bad[number] = str(error)
                pictures.append(np.zeros((source.size + 32, source.size + 32, 3), dtype=np.uint8))
        seeds = image_seeds(source.ids[part], context.config.data_seed)
        shown = film(pictures, cell, seeds, source.size, context.device)
        yield part, shown.permute(0, 1, 3, 4, 2), bad


_MEMORY = {"provenance": np.array("device-memory")}


def _answers(context: EvalContext, source: Any, shown: Any) -> dict[str, npt.NDArray[Any]]:
    """The five best classes int32 [V, T, 5] of every frame, most probable first, and what they are of."""
    import torch

    from nsbench.inference import log_probabilities, require_finite

    config = context.config
    size = config.batch_size
    classes: set[int] = set()

    def respond(videos: Tensor, _: slice) -> dict[str, Tensor]:
        frames = videos.flatten(0, 1)  # [V T, 3, H, W]
        parts = []
        with torch.inference_mode():
            for start in range(0, len(frames), size):
                batch = frames[start : start + size]
                log_probs = log_probabilities(
                    context.model, batch, size, input_px=context.input_px, channels_last=config.channels_last
                )
                require_finite(log_probs)
                classes.add(log_probs.shape[1])
                parts.append(ranked(log_probs))
        top5 = torch.cat(parts).reshape(*videos.shape[:2], -1)
        return {"top1": top5[..., 0], "top5": top5}

    at_once = max(1, 4 * size // _FRAMES)
    arrays = answered(context, source, shown, respond, at_once)
    return {
        **arrays,
        "num_classes": np.array(max(classes, default=0), dtype=np.int32),
        "side": np.array(source.size, dtype=np.int32),
    }


def _protocol(config: EvalConfig, sets: Sets) -> str:
    number = arithmetic(config, full_precision=True)
    if _RELEASED in sets:
        released = sets[_RELEASED]
        return f"{released.name}, released-h264, {released.size} px frames as released; {number}"
    images = _source(sets)
    assert images is not None
    count = min(len(images), config.perturbation_images)
    shown = f"{images.name}, {count} images, {images.size} px, {images.preprocessing}"
    official = "" if images.size in (32, 224) else "device-native-size, unofficial; "
    whole = "pictures" if isinstance(images, PictureSet) else "images"
    made = f"device-memory, filmed from the {whole}, {version_label()}, data seed {config.data_seed}"
    return f"{shown}; {official}{made}; {number}"


EVAL = Eval(
    name="imagenet-p",
    title="Perturbation sequences",
    cells=_cells,
    shown=_shown,
    predict=_predict,
    measure=measure_perturbations,
    protocol=_protocol,
)
