"""A checkpoint file: tensors by name, out of what the training script put around them; nothing in it is executed."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nsbench.errors import ConfigError, DataError
from nsbench.pretrained.model import Loaded, first_line
from nsbench.pretrained.preprocessing import Overrides
from nsbench.pretrained.timm_names import describe, full_name, unknown_architecture

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt")

_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_RAW = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Of DistributedDataParallel, torch.compile and Lightning."""

_NORMALISATION = {"mean", "std"}
"""Buffers of `nsbench.models.PixelModel`, beside the network `net`."""

State = Mapping[str, Tensor]


def load(name: str, overrides: Overrides) -> Loaded:
    """`architecture=path`, or a path with the architecture in the overrides.

    Preprocessing is timm's for the architecture, of its tag where one is named.

    Raises:
        ConfigError: no architecture is named, or timm does not know it.
        DataError: the file is missing, damaged, holds more than tensors, or does not fit the architecture.
    """
    before, equals, after = name.partition("=")
    architecture, path = (before, Path(after)) if equals and not Path(name).exists() else ("", Path(name))
    if architecture and overrides.architecture not in (None, architecture):
        raise ConfigError(f"{name} names an architecture, and so does {overrides.architecture!r}; give one")
    architecture = architecture or overrides.architecture or ""
    if not architecture:
        raise ConfigError(
            f"{path} does not say what network it is of; write ARCHITECTURE={path}, as in resnet50={path}"
        )
    state, notes = read_state(path)
    state, normalisation = without_normalisation(unprefixed(state))
    net = _build(architecture, state, overrides)
    fill(net, state, f"{path} does not fit {architecture}")
    loaded = describe(name, net, overrides)
    shown = dataclasses.replace(loaded.preprocessing, **normalisation)
    notes += (f"preprocessing of timm's {full_name(net)}",)
    return Loaded(net=net, preprocessing=shown, notes=notes)


def read_state(path: Path) -> tuple[State, tuple[str, ...]]:
    """Tensors of a file, and a note where they are one of several in it: averaged weights go before raw ones.

    Raises:
        DataError: the file is missing, damaged, or would run code; or holds no tensors by name.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a checkpoint")
    if not path.is_file():
        raise DataError(f"there is no checkpoint {path}")
    checkpoint = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    key = ""
    if isinstance(checkpoint, dict):
        key = next(
            (key for key in (*_AVERAGED, *_RAW) if isinstance(checkpoint.get(key), dict) and checkpoint[key]), ""
        )
        checkpoint = checkpoint[key] if key else checkpoint
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise DataError(f"{path} holds no tensors by name, but {type(checkpoint).__name__}; save a state_dict")
    checkpoint.pop("n_averaged", None)  # torch's AveragedModel counts
    for name, value in checkpoint.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            known = ", ".join(_RAW)
            raise DataError(
                f"{path} holds {name!r} beside the tensors, of {type(value).__name__}; save a state_dict, alone or "
                f"under one of the keys {known}"
            )
    return checkpoint, (f"averaged weights ({key}) of the checkpoint",) if key in _AVERAGED else ()


def unprefixed(state: State) -> State:
    """Without the prefixes of wrappers that all names share."""
    for prefix in _PREFIXES * len(_PREFIXES):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def without_normalisation(state: State) -> tuple[State, dict[str, Any]]:
    """The network's tensors, and mean and std where a `PixelModel` of ours was saved."""
    if not state.keys() >= _NORMALISATION or not all(key.startswith("net.") for key in state.keys() - _NORMALISATION):
        return state, {}
    net = {key.removeprefix("net."): state[key] for key in state if key not in _NORMALISATION}
    return net, {key: tuple(state[key].flatten().tolist()) for key in _NORMALISATION}


def fill(net: nn.Module, state: State, problem: str) -> None:
    """Load all tensors into a network that has the same ones.

    Raises:
        DataError: `problem`, and the first tensor that is missing, of another shape, or not the network's.
    """
    wanted = net.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    shaped = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    unexpected = [key for key in state if key not in wanted]
    if missing:
        raise DataError(f"{problem}: it lacks {missing[0]!r}{_more(missing)}")
    if shaped:
        found, needed = list(state[shaped[0]].shape), list(wanted[shaped[0]].shape)
        raise DataError(f"{problem}: {shaped[0]!r} is {found}, not {needed}{_more(shaped)}")
    if unexpected:
        raise DataError(f"{problem}: {unexpected[0]!r} is not one of its tensors{_more(unexpected)}")
    try:
        net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DataError(f"{problem} ({first_line(error)})") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"checkpoint {path} is damaged or no safetensors file ({first_line(error)})") from None


def _read_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm saves its arguments in one
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        what = f" ({named[1]})" if named else ""
        raise DataError(
            f"checkpoint {path} is damaged, or holds more than tensors{what}, which would run code and is not loaded; "
            "save its state_dict alone"
        ) from None
    except Exception as error:  # zipfile, torch and the file system each raise their own
        raise DataError(f"checkpoint {path} is damaged or no PyTorch file ({first_line(error)})") from None


def _build(architecture: str, state: State, overrides: Overrides) -> nn.Module:
    import timm
    from timm.models import get_pretrained_cfg

    config = None
    with contextlib.suppress(RuntimeError):  # an unknown tag of a known architecture
        config = get_pretrained_cfg(architecture)
    if config is None:
        raise unknown_architecture(architecture)
    arguments: dict[str, Any] = {"img_size": overrides.size} if config.fixed_input_size else {}
    try:
        return timm.create_model(architecture, num_classes=_width(config.classifier, state, overrides), **arguments)
    except Exception as error:  # each architecture asserts in its own way
        raise ConfigError(f"timm cannot build {architecture!r} ({first_line(error)})") from None


def _width(classifier: Any, state: State, overrides: Overrides) -> int | None:
    """Number of classes that the weights are for; None where they do not tell, which is timm's own number."""
    for layer in classifier if isinstance(classifier, list | tuple) else [classifier]:
        weight = state.get(f"{layer}.weight")
        if weight is not None and weight.ndim > 1 and len(weight) > 0:
            return len(weight)
    return overrides.num_classes


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
