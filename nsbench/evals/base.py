"""What every eval file fills in: its cells, how a model answers one (torch), and what the answers measure (NumPy)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet, PictureSet
from nsbench.errors import DataError
from nsbench.files import derive_seed
from nsbench.results import Row

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nsbench.inference import Prepare

Arrays = Mapping[str, npt.NDArray[Any]]
"""Predictions of one cell by name; what `records` writes and `measure` reads."""

Records = Mapping[str, Mapping[str, Arrays]]
"""Generation (`0`, `1`, ..., `control`, in this order) to cell to arrays. A generation may be missing."""

Sets = Mapping[str, Any]
"""`val`, `natural-adversarial`, `complement`: ImageSet; `val-pictures`: PictureSet, where there is more than a crop."""

AnySet = ImageSet | PictureSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalContext:
    """Everything that one cell's predictions depend on."""

    model: torch.nn.Module
    """Takes float [N, 3, H, W] in [0, 1], gives logits [N, C]."""
    device: torch.device | str
    config: EvalConfig
    sets: Sets
    cache: Path
    """Folder of corrupted images, shared by all generations and runs."""
    input_px: int | None = None
    """Side of the model's input; None where it takes the images as they are."""
    _resident: dict[str, Tensor] = dataclasses.field(default_factory=dict, repr=False)

    def resident(self, images: ImageSet) -> npt.NDArray[np.uint8] | Tensor:
        """The pixels of a set, uint8 [N, H, W, 3], moved to the device once where half of its free memory holds them.

        50,000 images of 224 px are 7.5 GB.
        """
        import torch

        device = torch.device(self.device)
        if device.type != "cuda":
            return images.pixels
        if images.fingerprint not in self._resident:
            free, _ = torch.cuda.mem_get_info(device)
            if images.pixels.nbytes > free // 2:
                return images.pixels
            self._resident[images.fingerprint] = torch.from_numpy(images.pixels).to(device)
        return self._resident[images.fingerprint]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
    """One evaluation: a file in this package, a line in `EVALS`, a test."""

    name: str
    """The word in the `eval` column."""
    title: str
    cells: Callable[[EvalConfig, Sets], tuple[str, ...]]
    """The units of work; each name is safe as a file name."""
    predict: Callable[[EvalContext, str], dict[str, npt.NDArray[Any]]]
    """Arrays of one cell. The only part that needs torch, and imports it itself."""
    measure: Callable[[Records, EvalConfig], list[Row]]
    """Rows of all generations. `run`, `seed` and `model` stay empty; `protocol` says only what is the row's own."""
    protocol: Callable[[EvalConfig, Sets], str]
    """Data, provenance and arithmetic behind every row, as text for people."""

    def rows(self, records: Records, config: EvalConfig, protocol: str) -> list[Row]:
        """`measure` with the eval's protocol put in front of each row's own part."""
        return [
            dataclasses.replace(row, protocol="; ".join(part for part in (protocol, row.protocol) if part))
            for row in self.measure(records, config)
        ]


def describe(images: ImageSet) -> str:
    """`MNIST-5k val, 500 images, 32 px, no resize`."""
    return f"{images.name}, {len(images)} images, {images.pixels.shape[1]} px, {images.preprocessing}"


def arithmetic(config: EvalConfig) -> str:
    """`fp32; batch 128`: what moves the last bits of logits."""
    return f"fp32; batch {config.batch_size}"


def image_seeds(ids: npt.NDArray[np.str_], data_seed: int, *purpose: str) -> npt.NDArray[np.int64]:
    """One seed [N] for each image id, from the data seed and nothing else of the run."""
    return np.array([derive_seed(data_seed, str(key), *purpose) for key in ids], dtype=np.int64)


def classify(
    context: EvalContext,
    images: ImageSet,
    pixels: npt.NDArray[np.uint8] | Tensor,
    prepare: Prepare | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """`cell_arrays` of the model's answers to `pixels` uint8 [N, H, W, 3], which show `images` once prepared."""
    from nsbench.inference import predict

    log_probs = predict(
        context.model,
        pixels,
        batch_size=context.config.batch_size,
        device=context.device,
        prepare=prepare,
        input_px=context.input_px,
    )
    return cell_arrays(images, log_probs)


def cell_arrays(images: ImageSet, log_probs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """What is kept of log-probabilities [N, C].

    Returns:
        ids [N] str, labels [N] int64, top1 [N] int32, top5 [N, min(5, C)] int32 (most probable first, ties to the
        lower class), confidence [N] (largest probability), log_prob_true [N] (natural logarithm), sum_squared_prob
        [N] (all float32), and num_classes, a scalar.

    Raises:
        DataError: the model does not know a label.
    """
    num_classes = log_probs.shape[1]
    if len(images) and not 0 <= images.labels.min() <= images.labels.max() < num_classes:
        raise DataError(
            f"{images.name} has labels {images.labels.min()}..{images.labels.max()}, but the model gives "
            f"{num_classes} classes; use the model's own classes"
        )
    top5 = ranked(log_probs)
    probabilities = np.exp(log_probs.astype(np.float64))
    return {
        "ids": images.ids,
        "labels": images.labels,
        "top1": top5[:, 0],
        "top5": top5,
        "confidence": probabilities.max(axis=1).astype(np.float32),
        "log_prob_true": np.take_along_axis(log_probs, images.labels[:, None], axis=1)[:, 0],
        "sum_squared_prob": np.square(probabilities).sum(axis=1).astype(np.float32),
        "num_classes": np.array(num_classes, dtype=np.int32),
    }


def ranked(scores: npt.NDArray[np.floating[Any]], k: int = 5) -> npt.NDArray[np.int32]:
    """The `k` best classes [..., min(k, C)] of scores [..., C], best first, ties to the lower class."""
    return np.argsort(-scores, axis=-1, kind="stable")[..., :k].astype(np.int32)
