"""Optimizer, learning-rate schedule and weight average of one training run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nsbench.config import TrainConfig
from nsbench.errors import ConfigError

Tensors = tuple[Tensor, ...] | list[Tensor]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Any timm optimizer by name; no weight decay on biases and normalisation.

    Raises:
        ConfigError: timm does not know the name.
    """
    from timm.optim._optim_factory import create_optimizer_v2

    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            model, config.optimizer, lr=config.learning_rate, weight_decay=config.weight_decay, momentum=config.momentum
        )
    except (AssertionError, ValueError) as error:
        raise ConfigError(f"train.optimizer {config.optimizer!r} is not known to timm: {error}") from None
    return optimizer


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Rate of step 0, 1, ...: linear warm-up from 0, then stairs of 0.97 or a cosine to zero.

    The staircase counts from step 0, not from the end of the warm-up (official code, utils.py build_learning_rate).
    """
    warmup = min(config.warmup_steps, num_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "staircase":
        return config.learning_rate * 0.97 ** (step // config.decay_steps)
    progress = (step - warmup) / max(1, num_steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and batch-norm statistics.

    The first update copies the weights; update number t after it uses min(decay, (1 + t) / (10 + t)), as
    tf.train.ExponentialMovingAverage does with `num_updates` (official code, main.py). A decay of 0 follows the raw
    weights.
    """

    def update(averages: Tensors, currents: Tensors, num_averaged: Tensor | int) -> None:
        updates = float(num_averaged)
        weight = 1 - min(decay, (1 + updates) / (10 + updates))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
