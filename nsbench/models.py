"""Any timm model on [0, 1] pixels: normalisation is its first layer, so that epsilon means pixels for every model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nsbench.config import ModelConfig
from nsbench.errors import ConfigError, DataError
from nsbench.files import derive_seed, write_atomic


class PixelModel(nn.Module):
    """A classifier that takes float images [N, 3, H, W] in [0, 1] and gives logits [N, C]."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits


def build(config: ModelConfig, num_classes: int, seed: int) -> PixelModel:
    """A fresh model with initial weights that are a function of `seed` alone.

    Model noise is not in it: dropout and stochastic depth belong to training (`nsbench.engine.noise`), except for
    the residual branches' `DropPath` modules, which rest in eval mode.

    Raises:
        ConfigError: timm does not know the name or refuses an argument.
    """
    import timm
    from timm.data.config import resolve_data_config

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        try:
            net = timm.create_model(
                config.name, num_classes=num_classes, drop_path_rate=config.drop_path_rate or None, **config.kwargs
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"timm cannot build {config.name!r}: {str(error).splitlines()[0]}") from None
    if not config.stem_pool:
        if not isinstance(getattr(net, "maxpool", None), nn.Module):
            raise ConfigError(f"models.stem_pool = false needs a ResNet with a max-pool; {config.name!r} has none")
        net.maxpool = nn.Identity()
    data: dict[str, Any] = resolve_data_config(model=net)  # type: ignore[no-untyped-call]
    return PixelModel(net, data["mean"], data["std"]).to(memory_format=torch.channels_last)


def num_parameters(model: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_weights(path: Path, model: nn.Module) -> None:
    """Write parameters and buffers as safetensors, atomically; equal weights give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomic(path, safetensors.torch.save(tensors))


def load_weights(path: Path, model: nn.Module) -> None:
    """Load what `save_weights` wrote; nothing in the file is executed.

    Raises:
        DataError: the file is missing, damaged, or made for another architecture.
    """
    try:
        model.load_state_dict(safetensors.torch.load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"weights {path} cannot be loaded ({str(error).splitlines()[0]})") from None


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: torch does not know the device, or it is not there.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
