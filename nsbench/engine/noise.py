"""Model noise of a student, row by row: dropout and stochastic depth (paper, section 3.1).

The batch holds labelled and unlabelled images in one forward pass, and each kind may be noised or not; so the noise
modules look at masks of rows. They hold no weights: those of a noised model fit a plain one, and the other way round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.errors import ConfigError
from nsbench.models import PixelModel
from nsbench.trainingconfig import ModelConfig


class RowSwitch:
    """Says which rows of the batch, or micro-batch, that comes next get which model noise."""

    def __init__(self) -> None:
        self.dropout: Tensor | None = None
        """[N] bool; None: every row."""
        self.depth: Tensor | None = None
        """[N] bool: rows that stochastic depth may drop branches of; None: every row."""


class RowDropout(nn.Module):
    """Dropout on the rows that the switch names."""

    def __init__(self, rate: float, switch: RowSwitch) -> None:
        super().__init__()
        self.rate, self.switch = rate, switch

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return features
        dropped = F.dropout(features, self.rate)
        if self.switch.dropout is None:
            return dropped
        return torch.where(_alongside(_of_rows(self.switch.dropout, features), features), dropped, features)

    def before(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Forward pre-hook of a classifier; as a method it is copied together with the model."""
        return self(inputs[0]), *inputs[1:]


class RowDropPath(nn.Module):
    """Stochastic depth: drops a residual branch for a whole image, and rescales the branches that stay.

    Official code, utils.py `stochastic_depth`: mask an image, divide by the survival probability. The rows that the
    switch leaves out are multiplied by 1.
    """

    def __init__(self, rate: float, switch: RowSwitch) -> None:
        super().__init__()
        self.rate, self.switch = rate, switch

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        survives = torch.rand(len(branch), device=branch.device) >= self.rate
        scale = survives.to(branch.dtype) / (1 - self.rate)  # [N]
        if self.switch.depth is not None:
            scale = torch.where(_of_rows(self.switch.depth, branch), scale, 1.0)
        return branch * _alongside(scale, branch)


def install_model_noise(model: PixelModel, config: ModelConfig) -> RowSwitch:
    """Give the model dropout before its classifier and row-wise stochastic depth; returns the switch of both.

    The rates of stochastic depth are timm's: `drop_path_rate` * i / L for block i of L of an EfficientNet, as in the
    official code; * i / (L - 1) in timm's ResNets, ConvNeXts and ViTs, so that the last block has the whole rate.
    Blocks without a shortcut have nothing to drop. Dropout that an architecture has elsewhere than before its
    classifier stays as it is, on every row.

    Raises:
        ConfigError: a rate that this model has no place for, or a dropout of timm's own before the classifier.
        ValueError: the model has its noise already.
    """
    from timm.layers.drop import DropPath

    if any(isinstance(module, RowDropout | RowDropPath) for module in model.modules()):
        raise ValueError("this model has its noise already; build another one")
    if config.kwargs.get("drop_rate") or getattr(model.net, "drop_rate", 0):
        raise ConfigError(
            f"{config.name!r} drops features of every image by itself; "
            "set drop_rate = 0 in models.kwargs, and the rate as models.drop_rate"
        )
    switch = RowSwitch()
    places = [
        (parent, name, child)
        for parent in model.net.modules()
        for name, child in parent.named_children()
        if isinstance(child, DropPath)
    ]
    if config.drop_path_rate and not places:
        raise ConfigError(f"{config.name!r} has no branches for models.drop_path_rate to drop; set it to 0")
    for parent, name, child in places:
        setattr(parent, name, RowDropPath(float(child.drop_prob), switch))
    if config.drop_rate:
        dropout = RowDropout(config.drop_rate, switch)
        _classifier(model, config).register_forward_pre_hook(dropout.before)
        model.add_module("head_dropout", dropout)
    return switch


@contextlib.contextmanager
def noisy_inference(model: PixelModel, switch: RowSwitch) -> Iterator[None]:
    """Within it every row gets dropout and stochastic depth, while batch norm and all the rest are in eval mode.

    Afterwards, also after an exception, modes and switch are as they were.
    """
    modes = [(module, module.training) for module in model.modules()]
    rows = switch.dropout, switch.depth
    try:
        for module, _ in modes:
            module.training = isinstance(module, RowDropout | RowDropPath)
        switch.dropout = switch.depth = None
        yield
    finally:
        for module, training in modes:
            module.training = training
        switch.dropout, switch.depth = rows


def _classifier(model: PixelModel, config: ModelConfig) -> nn.Module:
    """The one module that turns features into logits: of timm's heads, which pool first, their `fc`."""
    found = model.net.get_classifier()  # type: ignore[operator]
    if not isinstance(found, nn.Module) or isinstance(found, nn.Identity | nn.ModuleList | nn.ModuleDict):
        raise ConfigError(f"{config.name!r} has no single classifier for models.drop_rate to act before; set it to 0")
    inner: nn.Module = getattr(found, "fc", found)
    return inner


def _of_rows(rows: Tensor, features: Tensor) -> Tensor:
    """The mask of `rows` [N] for features [N * k, ...]: MobileViT and TNT have k pieces of an image in a row."""
    if len(features) % len(rows):
        raise ValueError(f"a mask of {len(rows)} rows cannot switch the noise of {len(features)}")
    return rows if len(features) == len(rows) else rows.repeat_interleave(len(features) // len(rows))


def _alongside(values: Tensor, features: Tensor) -> Tensor:
    """[N] as [N, 1, ...] of as many dimensions as `features`."""
    return values.view(-1, *[1] * (features.ndim - 1))
