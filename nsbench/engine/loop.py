"""One training run: labelled and unlabelled images in one batch, one loss, one weight average (paper, algorithm 1)."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nsbench.config import ModelConfig, NoiseConfig, TrainConfig
from nsbench.data.loaders import Batch, Part, StepBatches, step_loader
from nsbench.engine.checkpoint import load_state, save_state
from nsbench.engine.noise import install_model_noise
from nsbench.engine.optim import build_optimizer, learning_rate, weight_average
from nsbench.errors import Stopped, TrainingError
from nsbench.files import derive_seed
from nsbench.inference import to_batch
from nsbench.models import PixelModel
from nsbench.track import Curves, Progress

CURVE_EVERY_STEPS = 25


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything that decides the weights of one generation, and where its state lies."""

    generation: str
    model: ModelConfig
    train: TrainConfig
    noise: NoiseConfig
    parts: tuple[Part, ...]
    """Labelled images, and for a student the unlabelled ones."""
    num_steps: int
    loss_scale: float = 1.0
    """Factor on the loss; the control gets the total weight that the students' two terms have."""
    seed: int
    """Derived from the run's seed and the generation."""
    fingerprint: str
    state_folder: Path


@dataclasses.dataclass(frozen=True)
class Trained:
    """The weight average and what it cost."""

    model: PixelModel
    seconds: float
    images: int


def train(
    run: TrainingRun, model: PixelModel, *, device: torch.device, workers: int, progress: Progress, curves: Curves
) -> Trained:
    """Train `model` and return its weight average; continues from a saved state of the same run.

    Raises:
        TrainingError: the loss is not finite; the message names the step.
        Stopped: SIGTERM arrived; the state is saved.
    """
    model = model.to(device)
    average = weight_average(model, run.train.ema_decay)
    switch = install_model_noise(model, run.model)
    optimizer = build_optimizer(model, run.train)
    state_path = run.state_folder / "state.pt"
    saved = load_state(state_path, run.fingerprint)
    first_step, seconds_before = 0, 0.0
    if saved is not None:
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        first_step, seconds_before = saved["step"], saved["seconds"]
    curves.rewind(run.generation, first_step)
    batches = StepBatches(run.parts, run.noise, run.seed, run.num_steps)
    images_a_step = sum(part.batch for part in run.parts)
    began = last_save = time.monotonic()

    def save(step: int) -> None:
        save_state(
            state_path,
            run.fingerprint,
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": seconds_before + time.monotonic() - began,
            },
        )

    model.train()
    title = f"generation {run.generation}"
    with _stop_flag() as stop, progress.counter(title, run.num_steps, start=first_step) as counter:
        for step, batch in enumerate(step_loader(batches, first_step, workers), start=first_step):
            rate = learning_rate(run.train, step, run.num_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            switch.rows = batch.noised.to(device)
            torch.manual_seed(derive_seed(run.seed, "model noise", step))
            losses, accuracy = _step(model, optimizer, batch, run, device)
            if not torch.isfinite(losses).all():
                raise TrainingError(_not_finite(run, step, losses))
            average.update_parameters(model)
            images_per_second = images_a_step * (step + 1 - first_step) / (time.monotonic() - began)
            counter.advance(loss=f"{losses[0]:.3f}", images_per_second=f"{images_per_second:.0f}")
            if (step + 1) % CURVE_EVERY_STEPS == 0 or step + 1 == run.num_steps:
                curves.add(
                    generation=run.generation,
                    step=step + 1,
                    loss=float(losses[0]),
                    loss_labelled=float(losses[1]),
                    loss_unlabelled=float(losses[2]) if len(losses) > 2 else None,
                    accuracy_labelled=accuracy,
                    lr=rate,
                    images_per_second=images_per_second,
                )
            if stop.is_set or time.monotonic() - last_save > run.train.checkpoint_seconds:
                save(step + 1)
                last_save = time.monotonic()
            if stop.is_set:
                raise Stopped(
                    f"stopped by SIGTERM in generation {run.generation}, step {step + 1}; run again to continue"
                )
    seconds = seconds_before + time.monotonic() - began
    return Trained(average.module, seconds, images_a_step * run.num_steps)  # type: ignore[arg-type]


def combine(labelled: Tensor, unlabelled: Tensor | None, kind: str) -> Tensor:
    """The loss of one step from per-image cross-entropies [B_l] and [B_u].

    `algorithm1`: mean + mean (paper, algorithm 1). `concat_mean`: one mean over the concatenated batch (paper,
    section 3.1 text). `code`: sum over the labelled count, L_l + ratio * L_u (official main.py).
    """
    if unlabelled is None:
        return labelled.mean()
    if kind == "algorithm1":
        return labelled.mean() + unlabelled.mean()
    total = labelled.sum() + unlabelled.sum()
    return total / (len(labelled) + len(unlabelled) if kind == "concat_mean" else len(labelled))


def total_weight(kind: str, ratio: int) -> float:
    """Loss of a student whose every image has cross-entropy 1, at `ratio` unlabelled images for a labelled one.

    A run on labelled images alone has 1: to be a student's control it must be scaled by this, or it would learn at a
    fraction of the student's rate.
    """
    return float({"code": 1 + ratio, "algorithm1": 1 + (ratio > 0), "concat_mean": 1}[kind])


def _step(
    model: PixelModel, optimizer: torch.optim.Optimizer, batch: Batch, run: TrainingRun, device: torch.device
) -> tuple[Tensor, float]:
    """One update; returns the losses (total, labelled, unlabelled) and the accuracy on the labelled images."""
    targets = batch.targets.to(device)
    logits = model(to_batch(batch.pixels.numpy(), device))
    entropies = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)  # [B]
    num_labelled = run.parts[0].batch
    labelled = entropies[:num_labelled]
    unlabelled = entropies[num_labelled:] if len(run.parts) > 1 else None
    loss = run.loss_scale * combine(labelled, unlabelled, run.train.loss)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if run.train.clip_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.train.clip_norm)
    optimizer.step()
    means = [loss, labelled.mean()] + ([unlabelled.mean()] if unlabelled is not None else [])
    right = logits[:num_labelled].argmax(dim=1) == targets[:num_labelled].argmax(dim=1)
    return torch.stack([mean.detach() for mean in means]).cpu(), float(right.float().mean())


def _not_finite(run: TrainingRun, step: int, losses: Tensor) -> str:
    return (
        f"the loss of generation {run.generation} is {losses[0]:.3g} at step {step}; "
        "lower train.learning_rate or set train.clip_norm"
    )


@dataclasses.dataclass
class _Flag:
    is_set: bool = False


@contextlib.contextmanager
def _stop_flag() -> Iterator[_Flag]:
    """Within it SIGTERM sets a flag, so that a step is never cut in two; outside, the caller's handler is back."""
    flag = _Flag()

    def set_flag(_number: int, _frame: Any) -> None:
        flag.is_set = True

    try:
        before = signal.signal(signal.SIGTERM, set_flag)
    except ValueError:  # not the main thread: the caller handles signals
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, before)
