"""Any timm model on [0, 1] pixels: normalisation is its first layer, so that epsilon means pixels for every model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nsbench.errors import ConfigError, DataError
from nsbench.files import derive_seed, write_atomic
from nsbench.trainingconfig import ModelConfig


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

    Models made for one size of image, such as vision transformers, are built for `input_px` where it is given.
    Model noise is not in it: dropout and stochastic depth belong to training (`nsbench.engine.noise`), except for
    the residual branches' `DropPath` modules, which rest in eval mode.

    Raises:
        ConfigError: timm does not know the name or refuses an argument; `small_image` or `stem_pool` do not fit the
            architecture.
    """
    import timm
    from timm.data.config import resolve_data_config

    size: dict[str, int] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init"))
        try:
            if config.input_px and has_fixed_size(config):
                size = {"img_size": config.input_px}
            arguments = {**size, **config.kwargs}
            rate = config.drop_path_rate or None
            net = timm.create_model(config.name, num_classes=num_classes, drop_path_rate=rate, **arguments)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            at = f" for images of {config.input_px} px" if size else ""
            raise ConfigError(f"timm cannot build {config.name!r}{at}: {str(error).splitlines()[0]}") from None
    if not config.stem_pool:
        if not isinstance(getattr(net, "maxpool", None), nn.Module):
            raise ConfigError(f"models.stem_pool = false needs a ResNet with a max-pool; {config.name!r} has none")
        net.maxpool = nn.Identity()
    if config.small_image:
        _keep_resolution(net, config.name)
    data: dict[str, Any] = resolve_data_config(model=net)  # type: ignore[no-untyped-call]
    return PixelModel(net, data["mean"], data["std"]).to(memory_format=torch.channels_last)


def _keep_resolution(net: nn.Module, name: str) -> None:
    """Stages 2 and 3 of an EfficientNet keep their resolution; the stem still halves it: 32 px end in a 4x4 map.

    Official efficientnet_builder.py, `small_image_model`. Only strides change, so weights keep their shapes; padding is
    right for either stride, timm's static one (half the kernel) and TensorFlow's "same" one (found from the stride).
    """
    from timm.models.efficientnet import EfficientNet

    stages = list(net.blocks[1:3]) if isinstance(net, EfficientNet) and "efficientnet" in name else []
    strided = [
        [conv for conv in stage.modules() if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1)] for stage in stages
    ]
    if [len(convs) for convs in strided] != [1, 1]:
        raise ConfigError(
            f"models.small_image = true needs an EfficientNet with strides in stages 2 and 3; {name!r} is none"
        )
    for (conv,) in strided:
        conv.stride = (1, 1)


def has_fixed_size(config: ModelConfig) -> bool:
    """Whether an architecture is made for images of one size, as vision transformers are."""
    import timm

    made_for = timm.models.get_pretrained_cfg(config.name)
    return made_for is not None and bool(made_for.fixed_input_size)


def native_px(config: ModelConfig) -> int:
    """Side of the images that timm made an architecture for, in pixels.

    Raises:
        ConfigError: as `build`.
    """
    from timm.data.config import resolve_data_config

    size: int = resolve_data_config(model=build(config, 2, 0).net)["input_size"][-1]  # type: ignore[no-untyped-call]
    return size


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
    """`auto` is CUDA where there is one, else the CPU; under torchrun each rank of a machine has a GPU of its own.

    Raises:
        ConfigError: torch does not know the device, or it is not there.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
            torch.cuda.set_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
