"""How a model's answers to a set of images become the arrays of a cell: batches, ranks, and images that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.data.images import ImageSet
from nsbench.errors import DataError
from nsbench.evals.base import AnySet, EvalContext, Images

if TYPE_CHECKING:
    from torch import Tensor

Respond = Callable[["Tensor", slice], Mapping[str, Any]]
"""Arrays or tensors [n, ...] for images uint8 [n, 3, H, W] on the device, which are the rows of a slice."""

Shown = Iterator[tuple[slice, Any, Mapping[int, str]]]
"""Slices, their pixels uint8 [n, ..., H, W, 3], and why rows show nothing."""

UNREADABLE = "unreadable"


def answered(
    context: EvalContext,
    images: AnySet,
    shown: Callable[[Iterable[slice]], Shown],
    respond: Respond,
    units: int,
) -> dict[str, npt.NDArray[Any]]:
    """What a model answers to a set, joined over batches and ranks; images that cannot be read are left out and named.

    Args:
        images: whose ids and labels these are; any classes are checked by `respond`.
        shown: gives the pixels of slices of the set, in order.
        respond: answers one slice.
        units: images (or videos) of one slice.

    Returns:
        The arrays of `respond` over all readable images, with ids [N] and labels [N]; where some are not readable,
        also `unreadable` [M] and `unreadable_why` [M], both str.

    Raises:
        DataError: as `shown` and `respond`; or no image is readable.
        OutOfMemory: on any rank, so on all.
    """
    from nsbench.inference import batches, enough_memory, evaluating

    own = context.ranks.own(list(batches(len(images), units)))
    count = sum(rows.stop - rows.start for rows in own)

    def work() -> dict[int, tuple[dict[str, npt.NDArray[Any]], dict[int, str]]]:
        with enough_memory(f"for batches of {context.config.batch_size:,} images; choose a smaller -b"):
            return answer()

    def answer() -> dict[int, tuple[dict[str, npt.NDArray[Any]], dict[int, str]]]:
        parts = {}
        counter = context.progress.counter(images.name, count, unit="image")
        with evaluating(context.model, context.device), counter as answers:
            for rows, pixels, bad in shown(own):
                parts[rows.start] = (respond(_on_device(pixels, context), rows), dict(bad))
                answers.advance(len(pixels))
        return {start: (_arrays(answer), bad) for start, (answer, bad) in parts.items()}

    parts = context.ranks.joined(work)
    answers = [answer for answer, _ in parts.values()]
    joined = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    bad = {row: reason for _, reasons in parts.values() for row, reason in reasons.items()}
    return _with_unreadable({"ids": images.ids, "labels": images.labels, **joined}, images, bad)


def classify(
    context: EvalContext,
    images: Images,
    *,
    corruption: Callable[[Tensor, slice], Tensor] | None = None,
    input_px: int | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """`class_arrays` of the model's answers to a set of images.

    Args:
        corruption: what happens to a batch uint8 [n, 3, H, W] on the device first.
        input_px: side that the images are resized to; None leaves them as they are.
    """
    import torch

    from nsbench.inference import log_probabilities

    config = context.config
    subset = getattr(images, "subset", None)
    classes: set[int] = set()

    def respond(batch: Tensor, rows: slice) -> dict[str, Tensor]:
        with torch.inference_mode():
            seen = corruption(batch, rows) if corruption is not None and len(batch) else batch
            log_probs = log_probabilities(
                context.model,
                seen,
                config.batch_size,
                input_px=input_px,
                amp=config.amp,
                channels_last=config.channels_last,
            )
            classes.add(log_probs.shape[1])
            return class_arrays(images, rows, log_probs, subset)

    arrays = answered(context, images, lambda slices: shown(context, images, slices), respond, config.batch_size)
    among = {} if subset is None else {"answers_among": np.array(subset, dtype=np.int32)}
    return {**arrays, **among, "num_classes": np.array(max(classes, default=0), dtype=np.int32)}


def shown(context: EvalContext, images: Images, slices: Iterable[slice]) -> Shown:
    """The pixels of slices of a set; those in memory lie on the device where they fit."""
    if not isinstance(images, ImageSet):
        yield from images.batches(slices)
        return
    pixels = context.resident(images)
    for rows in slices:
        yield rows, pixels[rows], {}


def attackable_batch(context: EvalContext, images: Images, batch: Tensor, rows: slice) -> tuple[Tensor, Tensor, int]:
    """A batch uint8 [n, 3, H, W] as an attack takes it, and how many images count.

    Returns:
        Images float32 [B, 3, H, W] in [0, 1] and labels int64 [B], filled up to the batch size (black, class 0), and n.
    """
    import torch
    import torch.nn.functional as F

    from nsbench.inference import pad

    size, count = context.config.batch_size, len(batch)
    labels = torch.from_numpy(pad(images.labels[rows], size)).to(context.device)
    filled = F.pad(batch, (0, 0, 0, 0, 0, 0, 0, size - count)) if count < size else batch
    layout = torch.channels_last if context.config.channels_last else torch.contiguous_format
    return filled.contiguous(memory_format=layout).float().div_(255), labels, count


def class_arrays(
    images: Images, rows: slice, log_probs: Tensor, subset: tuple[int, ...] | None = None
) -> dict[str, Tensor]:
    """What is kept of log-probabilities [n, C] of the images at `rows`.

    Args:
        subset: classes, ascending, that an answer may name: probabilities are renormalised over them.

    Returns:
        top1 [n] int32, top5 [n, min(5, C)] int32 (most probable first, ties to the lower class), confidence [n]
        (largest probability), log_prob_true [n] (natural logarithm), sum_squared_prob [n] (all float32), and with
        `subset` also top1_all [n], the most probable of all classes.

    Raises:
        DataError: a value is not finite, or the model does not know a label.
    """
    import torch

    from nsbench.inference import require_finite

    require_finite(log_probs)
    labels = images.labels[rows]
    _require_known(images, labels, log_probs.shape[1] if subset is None else subset)
    arrays = {}
    scores = log_probs
    if subset is not None:
        arrays["top1_all"] = ranked(log_probs, 1)[:, 0]
        allowed = torch.tensor(subset, device=log_probs.device)
        scores = log_probs[:, allowed].log_softmax(dim=-1)
        labels = np.searchsorted(np.array(subset), labels)
    top5 = ranked(scores)
    probabilities = scores.double().exp()
    truth = torch.from_numpy(np.ascontiguousarray(labels)).to(scores.device)
    return arrays | {
        "top1": top5[:, 0] if subset is None else allowed[top5[:, 0].long()].int(),
        "top5": top5 if subset is None else allowed[top5.long()].int(),
        "confidence": probabilities.amax(dim=-1).float(),
        "log_prob_true": scores.gather(1, truth[:, None])[:, 0],
        "sum_squared_prob": probabilities.square().sum(dim=-1).float(),
    }


def ranked(scores: Tensor, k: int = 5) -> Tensor:
    """The `k` best classes int32 [..., min(k, C)] of scores [..., C], best first, ties to the lower class."""
    import torch

    k = min(k, scores.shape[-1])
    if scores.device.type != "cpu":
        return scores.sort(dim=-1, descending=True, stable=True).indices[..., :k].int()
    best = scores.topk(k, dim=-1)
    tied = (scores >= best.values[..., -1:]).sum(dim=-1) > k
    if k > 1:
        tied |= (best.values[..., 1:] == best.values[..., :-1]).any(dim=-1)
    classes = best.indices
    if tied.any():
        exact = torch.sort(scores[tied], dim=-1, descending=True, stable=True).indices[..., :k]
        classes[tied] = exact
    return classes.int()


def _require_known(images: AnySet, labels: npt.NDArray[np.int64], known: int | tuple[int, ...]) -> None:
    if len(labels) == 0:
        return
    strange = (labels < 0) | (labels >= known) if isinstance(known, int) else ~np.isin(labels, known)
    if strange.any():
        classes = f"{known} classes" if isinstance(known, int) else f"the {len(known)} classes asked for"
        raise DataError(
            f"{images.name} has label {labels[strange][0]}, but the model gives {classes}; use a model of these classes"
        )


def _on_device(pixels: Any, context: EvalContext) -> Tensor:
    """uint8 [n, 3, H, W] (or [n, T, 3, H, W]) on the model's device."""
    import torch

    if isinstance(pixels, np.ndarray) and not pixels.flags.writeable:
        pixels = pixels.copy()  # of a mapped file: nothing may write to it
    batch = torch.as_tensor(pixels).to(context.device, non_blocking=True)
    return batch.movedim(-1, -3)


def _arrays(answer: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.asarray(value.cpu() if hasattr(value, "cpu") else value) for name, value in answer.items()}


def _with_unreadable(
    arrays: dict[str, npt.NDArray[Any]], images: AnySet, bad: Mapping[int, str]
) -> dict[str, npt.NDArray[Any]]:
    known = dict(getattr(images, "unreadable", ()))
    known |= {str(images.ids[row]): reason for row, reason in sorted(bad.items())}
    if not known:
        return arrays
    if len(bad) == len(images):
        first, why = next(iter(known.items()))
        raise DataError(f"none of the {len(known)} images of {images.name} can be read, first {first} ({why})")
    good = np.setdiff1d(np.arange(len(images)), np.array(list(bad), dtype=np.int64))
    kept = {name: array[good] for name, array in arrays.items()}
    return kept | {UNREADABLE: np.array(list(known)), f"{UNREADABLE}_why": np.array(list(known.values()))}
