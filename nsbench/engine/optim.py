"""Steps, learning rate, optimizer and weight average of one training run (paper, section 3.1; official utils.py)."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import AveragedModel

from nsbench.configfile import suggest
from nsbench.errors import ConfigError
from nsbench.trainingconfig import TrainConfig

DECAY = 0.97
"""Factor of one stair (paper, section 3.1)."""

RMSPROP = {"alpha": 0.9, "eps": 1e-3}
"""Decay and epsilon of RMSProp (official utils.py, `build_optimizer`)."""

_OWN_KEYS = {"lr": "learning_rate", "weight_decay": "weight_decay", "momentum": "momentum"}

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate of each step of one run; every duration is in steps."""

    kind: Literal["staircase", "cosine", "constant"]
    peak: float
    num_steps: int
    warmup_steps: int
    decay_steps: float
    """Steps of one stair; a fraction counts."""
    first_step: int = 0
    """Where in the schedule the run begins: FixRes goes on with the tail."""

    def rate(self, step: int) -> float:
        """Rate of step 0, 1, ...: linear warm-up from 0, so that step 0 has rate 0, then stairs, a cosine or the peak.

        Stairs count from step 0, not from the end of the warm-up (official utils.py, `build_learning_rate`). The cosine
        starts where the warm-up ends, and would be 0 one step after the last.
        """
        step += self.first_step
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if self.kind == "staircase":
            return self.peak * DECAY ** math.floor(step / self.decay_steps)
        if self.kind == "cosine":
            progress = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
            return self.peak * 0.5 * (1 + math.cos(math.pi * progress))
        return self.peak


def steps_of(epochs: float, config: TrainConfig, num_labelled: int) -> int:
    """Whole steps of so many passes over `num_labelled` images at `labelled_batch`, at least 1.

    A last, cut step is left out: 350 epochs of ImageNet at batch 4096 are 109,474.7 steps, and the official code has
    109,474. (Its 700 are twice that, 218,948; here they are 218,949.)
    """
    return max(1, _whole(epochs * _epoch(config, num_labelled)))


def num_steps(config: TrainConfig, num_labelled: int, generation_is_teacher: bool) -> int:
    """Steps of generation 0 (`teacher_steps`, where given), of a student or of the control."""
    if generation_is_teacher and config.teacher_steps:
        return config.teacher_steps
    return steps_of(config.epochs, config, num_labelled) if config.epochs else config.steps


def schedule(config: TrainConfig, *, num_steps: int, num_labelled: int) -> Schedule:
    """The schedule of a run of `num_steps` steps, with epochs turned into steps.

    Rounding is the official code's: the warm-up is cut to whole steps, a stair is not. A warm-up longer than the run
    is as long as the run. With `final_learning_rate` the stairs are as long as it takes from the end of the warm-up to
    the last step (official main.py, `final_base_lr`); counted from step 0, as they are, they end below that rate.
    """
    epoch = _epoch(config, num_labelled)
    warmup = config.warmup_epochs * epoch or config.warmup_steps
    decay_steps = config.decay_epochs * epoch or config.decay_steps
    if config.final_learning_rate:
        stairs = math.log(config.final_learning_rate / config.learning_rate) / math.log(DECAY)
        decay_steps = max(1.0, num_steps - warmup) / stairs
    return Schedule(
        kind=config.schedule,
        peak=config.learning_rate,
        num_steps=num_steps,
        warmup_steps=min(_whole(warmup), num_steps),
        decay_steps=decay_steps,
    )


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Any timm optimizer by name, over all parameters that want a gradient.

    Weights decay, normalisation never does, biases do if `decay_biases` (official main.py: all but batch norm). The
    decay of `rmsproptf` and `sgd` is coupled: it adds weight_decay * weight to the gradient, as the official L2 term
    does; that of `adamw` is not. RMSProp as TensorFlow has it gets the official decay and epsilon.

    Raises:
        ConfigError: timm does not know the name, or the optimizer refuses an argument.
    """
    from timm.optim._optim_factory import get_optimizer_class, get_optimizer_info, list_optimizers
    from timm.optim.rmsprop_tf import RMSpropTF

    name = config.optimizer.lower()
    known = [str(one) for one in list_optimizers()]
    if name not in known:
        raise ConfigError(f"train.optimizer {name!r} is not known to timm{suggest(name, known)}")
    info = get_optimizer_info(name)
    arguments: dict[str, Any] = {"momentum": config.momentum} if info.has_momentum else {}
    if info.opt_class is RMSpropTF:
        arguments |= RMSPROP
    try:
        make: Callable[..., torch.optim.Optimizer] = get_optimizer_class(name)
        _refuse_unknown(config, set(inspect.signature(make).parameters) - {"params", *_OWN_KEYS})
        groups = _parameter_groups(model, config)
        return make(groups, lr=config.learning_rate, **{**arguments, **config.optimizer_kwargs})
    except (AssertionError, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"train.optimizer {name!r} cannot be built: {str(error).splitlines()[0]}") from None


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and batch-norm statistics, in their own precision; counters are copied.

    The first update copies the weights; update number t after it keeps min(decay, (1 + t) / (10 + t)) of the average,
    as tf.train.ExponentialMovingAverage does with `num_updates` (official main.py). TensorFlow averages the first
    update with the initial weights as well, whose share after n updates is below 10! / (n + 2) ... (n + 10): under
    one in a million from the twentieth on. A decay of 0 follows the raw weights.
    """

    def update(averages: Tensors, currents: Tensors, _: Tensor | int) -> None:
        updates = int(average.n_averaged)  # stays on the CPU: reading the argument would wait for the device
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, 1 - min(decay, (1 + updates) / (10 + updates)))
        else:
            torch._foreach_copy_(averages, currents)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average


def _epoch(config: TrainConfig, num_labelled: int) -> float:
    """Steps of one epoch, a fraction included."""
    return num_labelled / config.labelled_batch


def _whole(steps: float) -> int:
    return math.floor(steps + 1e-6)  # 0.29 epochs of 100 steps are 29, not 28.999...


def _parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The parameters that decay, and those that do not; a group without parameters is left out."""
    from timm.layers.norm import RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d

    kinds = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d)
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    never = {id(parameter) for norm in norms for parameter in norm.parameters(recurse=False)}
    groups: dict[float, list[nn.Parameter]] = {config.weight_decay: [], 0.0: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = id(parameter) not in never and (config.decay_biases or not name.endswith("bias"))
            groups[config.weight_decay if decays else 0.0].append(parameter)
    return [{"params": group, "weight_decay": decay} for decay, group in groups.items() if group]


def _refuse_unknown(config: TrainConfig, known: set[str]) -> None:
    for key in config.optimizer_kwargs:
        if key in _OWN_KEYS:
            raise ConfigError(f"train.optimizer_kwargs holds {key!r}; set train.{_OWN_KEYS[key]} instead")
        if key not in known:
            raise ConfigError(f"train.optimizer_kwargs: {config.optimizer} takes no {key!r}{suggest(key, known)}")
