"""A model that was loaded, whatever it came from: on [0, 1] pixels, tried once, and with a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from typing import Any

import torch
from torch import Tensor, nn

from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.models import PixelModel, num_parameters
from nsbench.pretrained.heads import Columns, head_of
from nsbench.pretrained.preprocessing import Overrides, Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A classifier, and what its images must look like."""

    name: str
    """As the user wrote it; the name in tables."""
    model: nn.Module
    """In eval mode; float [N, 3, H, W] in [0, 1] to logits [N, num_classes]. On the CPU, unless it was wrapped."""
    view: View
    """Its own test-time view of a photograph: for val, A, R, V2, Sketch, O, ObjectNet and attacks."""
    input_px: int
    """Side that the images of ImageNet-C and -P are resized to."""
    num_classes: int
    """After the selection of ImageNet's classes: 1000 for ImageNet's heads."""
    classes: tuple[str, ...] | None
    """Names of the classes where known: WordNet ids for ImageNet's thousand; else None."""
    fingerprint: str
    """Sixteen hexadecimal digits over weights, normalisation, selected logits, view and `input_px`."""
    num_parameters: int
    """Trainable scalars."""
    notes: tuple[str, ...] = ()
    """One line each: what the reader of a number should know of the model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a loader hands over."""

    net: nn.Module
    """Takes normalised images, or [0, 1] pixels where the preprocessing has no mean."""
    preprocessing: Preprocessing
    """Before the user's overrides."""
    classes: tuple[str, ...] | None = None
    """The head's class names, where the source has them."""
    notes: tuple[str, ...] = ()
    code: str = ""
    """Fingerprint of code that decides the logits beside the weights."""


def assemble(name: str, loaded: Loaded, overrides: Overrides) -> Pretrained:
    """Normalisation first, ImageNet's logits last, one grey image through it.

    Raises:
        ConfigError: the number of classes is not the expected one.
        DataError: the model fails on an image of its size, or gives no finite logits [N, C].
    """
    preprocessing = loaded.preprocessing.overridden(overrides)
    view, input_px = preprocessing.view, preprocessing.input_px
    model = _normalised(loaded.net, preprocessing).eval()
    widths = {side: _probe(name, model, side) for side in dict.fromkeys((view.size, input_px))}
    width = widths[view.size]
    head = head_of(name, width, loaded.classes)
    num_classes = width if head.columns is None else len(head.columns)
    if overrides.num_classes not in (None, width, num_classes):
        raise ConfigError(f"{name} has {num_classes} classes, not {overrides.num_classes}")
    if head.columns is not None:
        model = _normalised(nn.Sequential(loaded.net, Columns(head.columns)), preprocessing).eval()
    return Pretrained(
        name=name,
        model=model,
        view=view,
        input_px=input_px,
        num_classes=num_classes,
        classes=head.classes,
        fingerprint=_fingerprint(model, dataclasses.asdict(view), input_px, loaded.code),
        num_parameters=num_parameters(model),
        notes=(*loaded.notes, *([head.note] if head.note else [])),
    )


def first_line(error: BaseException) -> str:
    """An exception's message on one line; of torch's list of unfit tensors the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading state_dict"):
        lines = lines[1:]
    line = lines[0].rstrip(".") if lines else type(error).__name__
    return line if len(line) <= 200 else line[:199] + "…"


def _normalised(net: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    if preprocessing.mean is None or preprocessing.std is None:
        return net
    return PixelModel(net, preprocessing.mean, preprocessing.std).to(memory_format=torch.channels_last)


_SUM_OF_PROBABILITIES = 1e-4
"""Logits that are all positive and sum to 1 this closely are a softmax's output: calibration and attacks of it mean
nothing."""


def _probe(name: str, model: nn.Module, side: int) -> int:
    """Number of logits for one grey image."""
    at = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    grey = torch.full((1, 3, side, side), 0.5, device=at)
    try:
        with torch.no_grad():  # not inference_mode: a tensor that the model keeps could take no part in an attack
            logits: Any = model(grey)
    except Exception as error:  # whatever a user's code, or a network of another input size, may raise
        message = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"{name} fails on an image of {side} x {side} px ({message})") from None
    if not isinstance(logits, Tensor):
        raise DataError(f"{name} gives {type(logits).__name__}; it must give one tensor of logits [N, C]")
    if logits.ndim != 2 or logits.shape[0] != 1 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise DataError(
            f"{name} gives {str(logits.dtype).removeprefix('torch.')} {list(logits.shape)} for one image; "
            "it must give floating logits [1, C] of at least two classes"
        )
    if not bool(torch.isfinite(logits).all()):
        raise DataError(f"{name} gives logits that are not finite for a grey image; its weights are damaged")
    if _are_probabilities(logits) and _are_probabilities(model(grey / 5)):
        raise DataError(f"{name} gives probabilities; it must give logits, from before its softmax")
    return int(logits.shape[1])


def _are_probabilities(logits: Tensor) -> bool:
    return bool((logits >= 0).all()) and abs(float(logits.detach().double().sum()) - 1) < _SUM_OF_PROBABILITIES


def _fingerprint(model: nn.Module, *parts: Any) -> str:
    """Over names, dtypes, shapes and bytes of all tensors, and what else decides the predictions.

    A model without tensors could be anything: its fingerprint is a fresh random one, so that no record of another is
    taken for its own.
    """
    tensors = model.state_dict()
    if not tensors:
        return secrets.token_hex(8)
    digest = hashlib.sha256(json.dumps(parts).encode())
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        plain = tensor.detach().cpu()
        plain = plain.dequantize() if plain.is_quantized else plain.to_dense() if plain.is_sparse else plain
        digest.update(plain.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
