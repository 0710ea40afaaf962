"""The only inference loop: uint8 pixels to log-probabilities in fp32, shared by pseudo-labelling and evaluation.

Every batch has one shape, so a prediction depends on the order of the images and the batch size alone
(architecture rule 7), never on how many images follow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.errors import DataError, OutOfMemory

Device = torch.device | str
T = TypeVar("T", bound=np.generic)


def to_batch(pixels: npt.NDArray[np.uint8], device: Device) -> Tensor:
    """Pixels uint8 [N, H, W, 3] as a float32 batch [N, 3, H, W] in [0, 1] on `device`."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float().div_(255)


def batches(num_images: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most `batch_size` images; at least one, so that an empty set still shows a model's classes."""
    for start in range(0, max(num_images, 1), batch_size):
        yield slice(start, min(start + batch_size, num_images))


def pad(array: npt.NDArray[T], length: int) -> npt.NDArray[T]:
    """`array` [N, ...] with zeros behind it, [length, ...]."""
    padded = np.zeros((length, *array.shape[1:]), dtype=array.dtype)
    padded[: len(array)] = array
    return padded


Prepare = Callable[[Tensor, slice], Tensor]
"""Turns images uint8 [n, 3, H, W] on the device, and the rows that they are, into those that the model is shown."""

Amp = Literal["off", "bf16"]
"""`bf16`: forward passes under autocast to bfloat16; faster, and its numbers are of another arithmetic."""


def predict(
    model: nn.Module,
    pixels: npt.NDArray[np.uint8] | Tensor,
    *,
    batch_size: int,
    device: Device,
) -> npt.NDArray[np.float32]:
    """Log-probabilities of a model in eval mode, without gradients, in fp32 with TF32 and autocast off.

    Args:
        model: takes float32 [B, 3, H, W] in [0, 1], gives logits [B, C]; its mode is restored.
        pixels: uint8 [N, H, W, 3]; a tensor may lie on the device already.
        batch_size: images of every forward pass; the last batch is filled up with black images that are cut off.
        device: where the model is.

    Returns:
        float32 [N, C], natural logarithms.

    Raises:
        DataError: a logit is not finite.
    """
    parts = []
    with evaluating(model, device), torch.inference_mode():
        for rows in batches(len(pixels), batch_size):
            shown = torch.as_tensor(pixels[rows]).to(device).permute(0, 3, 1, 2)
            parts.append(log_probabilities(model, shown, batch_size).cpu())
    log_probs = torch.cat(parts)
    require_finite(log_probs)
    array: npt.NDArray[np.float32] = log_probs.numpy()
    return array


def log_probabilities(
    model: nn.Module,
    shown: Tensor,
    batch_size: int,
    *,
    input_px: int | None = None,
    amp: Amp = "off",
    channels_last: bool = True,
) -> Tensor:
    """Log-probabilities of one batch, inside `evaluating`: one forward pass of `batch_size` images, filled up.

    Args:
        model: takes float32 [B, 3, H, W] in [0, 1], gives logits [B, C].
        shown: uint8 [n, 3, H, W] on the model's device, n at most `batch_size`.
        batch_size: images of the forward pass.
        input_px: side that the images are resized to (bicubic, antialiased); None leaves them as they are.
        amp: arithmetic of the forward pass; the softmax is fp32.
        channels_last: memory layout of the images.

    Returns:
        float32 [n, C] on the device; not checked for values that are not finite.
    """
    missing = batch_size - len(shown)
    filled = F.pad(shown, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else shown
    batch = _model_input(filled, input_px, torch.channels_last if channels_last else torch.contiguous_format)
    with torch.autocast(shown.device.type, torch.bfloat16, enabled=amp == "bf16"):
        logits = _logits(model, batch)
    return F.log_softmax(logits.float(), dim=-1)[: len(shown)]


def _logits(model: nn.Module, batch: Tensor) -> Tensor:
    try:
        logits = model(batch)
    except Exception as error:  # a user's model may raise anything
        if "memory" in str(error).lower() or isinstance(error, MemoryError):
            raise  # whoever knows the batch size says so
        words = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"the model fails on {len(batch)} images of {batch.shape[-1]} px ({type(error).__name__}: {words})"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(batch):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"the model gives {shape} for {len(batch)} images; it must give logits [{len(batch)}, classes]")
    return logits


def _model_input(images: Tensor, input_px: int | None, layout: torch.memory_format) -> Tensor:
    batch = images.contiguous(memory_format=layout).float().div_(255)
    if input_px is None or tuple(batch.shape[-2:]) == (input_px, input_px):
        return batch
    size = (input_px, input_px)
    return F.interpolate(batch, size, mode="bicubic", antialias=True, align_corners=False).clamp_(0, 1)


@contextlib.contextmanager
def enough_memory(words: str) -> Iterator[None]:
    """Say in one line, with `words`, that a batch does not fit.

    Raises:
        OutOfMemory: an accelerator's memory ran out: a smaller batch may fit.
        DataError: this machine's ran out. A smaller batch that is only just allowed would be more than there is: Linux
            grants memory that it does not have, and kills who uses it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError) or ("memory" in said and "cud" in said):
            raise OutOfMemory(f"not enough memory {words}") from error
        if isinstance(error, MemoryError) or "memory" in said:
            raise DataError(f"not enough memory {words}") from error
        raise


def require_finite(logits: Tensor) -> None:
    """Refuse logits or log-probabilities [N, C] with a value that is not finite.

    Raises:
        DataError: names how many of the N rows are affected, and the first of them.
    """
    broken = (~torch.isfinite(logits)).any(dim=-1).nonzero().flatten().tolist()
    if broken:
        raise DataError(
            f"the model's logits are not finite for {len(broken)} of {len(logits)} images, first in row {broken[0]}; "
            "check its weights, or train it again"
        )


@contextlib.contextmanager
def evaluating(model: nn.Module, device: Device) -> Iterator[None]:
    """Eval mode and plain fp32 (no autocast, no TF32), each module's mode and the settings restored afterwards."""
    training = [module for module in model.modules() if module.training]
    cudnn: Any = torch.backends.cudnn  # its type does not show what is set per operation
    backends = (torch.backends.cuda.matmul, cudnn.conv)
    precisions = [backend.fp32_precision for backend in backends]
    model.eval()
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        for module in training:
            module.training = True
