"""One training run: labelled and unlabelled images in one batch, one loss, one weight average (paper, algorithm 1)."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nsbench.data.loaders import Batch, StepBatches, step_loader
from nsbench.distributed import Ranks, losses_told
from nsbench.engine.checkpoint import load_state, save_state
from nsbench.engine.freezing import freeze_blocks, prepare, set_training
from nsbench.engine.noise import install_model_noise
from nsbench.engine.optim import build_optimizer, weight_average
from nsbench.engine.step import Stepper, loss_weights
from nsbench.engine.stopping import Flag, stop_flag
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import ConfigError, DataError, NsbenchError, Stopped, TrainingError
from nsbench.files import derive_seed
from nsbench.models import PixelModel
from nsbench.track import Curves, Progress

_WATCH_STEPS = {"cpu": 1}
"""Steps between two looks at the loss and at a SIGTERM; on a GPU each costs a wait for it."""
_WATCH_STEPS_ELSEWHERE = 20
_SAVING_SHARE = 0.05
"""Share of the time that saving states may take."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """The weight average, the last weights, and what they cost."""

    model: PixelModel
    raw: PixelModel
    seconds: float
    images: int


def train(
    run: TrainingRun,
    model: PixelModel,
    *,
    device: torch.device,
    workers: int,
    progress: Progress,
    curves: Curves,
    ranks: Ranks = Ranks(),
) -> Trained:
    """Train `model` in place and return its weight average; continues from a saved state of the same run.

    Under several ranks each works on its share of every step; all end with the same weights, rank 0 saves and speaks.

    Raises:
        TrainingError: the loss is not finite; the message names the step, and the last good state stays.
        DataError: an image cannot be read, or a process that reads them was killed.
        Stopped: SIGTERM arrived; the state is saved.
    """
    training = _Training(run, model, device=device, workers=workers, progress=progress, curves=curves, ranks=ranks)
    with losses_told():
        try:
            return training.run_all()
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DataError(
                "a process that reads images was killed, most probably for want of memory or of shared memory "
                "(/dev/shm); take fewer workers, and the same command continues"
            ) from error


class _Training:
    """A model on its way, and what a saved state holds."""

    def __init__(
        self,
        run: TrainingRun,
        model: PixelModel,
        *,
        device: torch.device,
        workers: int,
        progress: Progress,
        curves: Curves,
        ranks: Ranks,
    ) -> None:
        self.run, self.device, self.workers, self.ranks = run, device, workers, ranks
        self.progress, self.curves = progress, curves
        layout = torch.channels_last if run.train.channels_last else torch.contiguous_format
        self.model = prepare(model.to(device).to(memory_format=layout), run.train, world=ranks.world)
        self.average = weight_average(self.model, run.train.ema_decay)
        switch = install_model_noise(self.model, run.model)
        freeze_blocks(self.model, run.frozen_blocks)
        self.optimizer = build_optimizer(self.model, run.train)
        self.first_step, self.seconds_before = self._restored()
        self.began = self.last_save = time.monotonic()
        self.save_seconds = 0.0
        counts = [sum(part.batch for part in run.parts if part.labelled is labelled) for labelled in (True, False)]
        weights = loss_weights(run.train.loss, *counts)
        self.num_labelled, self.num_unlabelled = counts
        self.stepper = Stepper(
            model=self._wrapped(),
            optimizer=self.optimizer,
            switch=switch,
            weights=(weights[0] * run.loss_scale, weights[1] * run.loss_scale),
            device=device,
            world=ranks.world,
            clip_norm=run.train.clip_norm,
            amp=run.train.amp == "bf16",
        )
        self.watch_steps = _WATCH_STEPS.get(device.type, _WATCH_STEPS_ELSEWHERE)

    def _restored(self) -> tuple[int, float]:
        """The step to go on with, and the seconds spent before; the state of another run is none."""
        saved = load_state(self.run.state_path, self.run.fingerprint)
        step = 0 if saved is None else int(saved["step"])
        found = self.ranks.joined(lambda: {self.ranks.rank: step})  # and none is replaced before all have read it
        if len(set(found.values())) > 1:
            raise ConfigError(
                f"ranks find different states at {self.run.state_path}; the run folder must lie where all machines "
                "see the same files"
            )
        if saved is None:
            return 0, 0.0
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.progress.line(f"{self.run.title}: goes on after step {step:,}")
        return step, float(saved["seconds"])

    def _wrapped(self) -> nn.Module:
        model: nn.Module = self.model
        if self.run.train.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        if self.ranks.world > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            model = nn.parallel.DistributedDataParallel(model, device_ids=ids)
            if self.device.type == "cpu":
                self._settle(model)
        return model

    def _settle(self, model: nn.Module) -> None:
        """A backward pass whose gradients are dropped: DDP regroups them after its first one.

        The last bits of a sum over more than two ranks depend on the groups; a resumed run must begin with those that
        an unbroken one has by then.
        """
        shown = next(model.parameters()).new_zeros((1, 3, self.run.size, self.run.size))
        model.eval()(shown).sum().backward()

    def run_all(self) -> Trained:
        run = self.run
        if self.ranks.is_main:
            self.curves.rewind(run.generation, run.steps_before + self.first_step)
        batches = StepBatches(
            parts=run.parts, noise=run.noise, seed=run.seed, num_steps=run.num_steps, size=run.size, ranks=self.ranks,
            accumulation=run.train.accumulation, window=run.window, on_bad_image=run.on_bad_image,
        )  # fmt: skip
        loader = step_loader(batches, self.first_step, self.workers, pinned=self.device.type == "cuda")
        set_training(self.model, run.train)
        self._refuse_small_shares()
        with stop_flag() as stop, self.progress.counter(run.title, run.num_steps, start=self.first_step) as counter:
            for step, batch in enumerate(loader, start=self.first_step):
                readable = self._readable(batch)
                rate = self._set_rate(step)
                torch.manual_seed(derive_seed(run.seed, "model noise", step, self.ranks.rank))
                sums = self.stepper.update(readable)
                self.average.update_parameters(self.model)
                figures: dict[str, str] = {}
                if self._is_watched(step + 1):
                    figures = self._watched(step, rate, sums, stop)
                elif self._save_is_due():
                    self._save(step + 1)
                counter.advance(1, **figures)
        seconds = self.seconds_before + time.monotonic() - self.began
        return Trained(self.average.module, self.model, seconds, run.images_a_step * run.num_steps)  # type: ignore[arg-type]

    def _refuse_small_shares(self) -> None:
        """Refuse a batch that is cut into more pieces than it has images for; batch norm needs two in each."""
        pieces = self.ranks.world * self.run.train.accumulation
        smallest = sum(part.batch // pieces for part in self.run.parts)
        norms = [module for module in self.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if smallest < (2 if any(norm.training for norm in norms) else 1):
            raise ConfigError(
                f"{self.run.title} has {self.run.images_a_step} images a step, too few for {self.ranks.world} x "
                f"{self.run.train.accumulation} (ranks x train.accumulation); lower one of them"
            )

    def _readable(self, batch: Batch | NsbenchError) -> Batch:
        """The batch; what one rank cannot read is raised on all of them, before they wait for its gradient."""
        self.ranks.raised(batch if isinstance(batch, NsbenchError) else None)
        assert isinstance(batch, Batch)
        return batch

    def _set_rate(self, step: int) -> float:
        rate = self.run.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _is_watched(self, done: int) -> bool:
        return done % self.watch_steps == 0 or done % self.run.train.log_steps == 0 or done == self.run.num_steps

    def _watched(self, step: int, rate: float, sums: Tensor, stop: Flag) -> dict[str, str]:
        """Look at the losses of all ranks, log, save and stop where it is time to; the figures for the counter."""
        done, run = step + 1, self.run
        loss, labelled, unlabelled, right, count, stopped = self._of_all_ranks(sums, stop.is_set)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of {run.title} is {loss:.3g} at step {step}; lower train.learning_rate or set "
                "train.clip_norm (the last good state is kept)"
            )
        speed = run.images_a_step * (done - self.first_step) / (time.monotonic() - self.began)
        if self.ranks.is_main and (done % run.train.log_steps == 0 or done == run.num_steps):
            self.curves.add(
                generation=run.generation,
                phase=run.phase,
                step=run.steps_before + done,
                loss=loss,
                loss_labelled=labelled / self.num_labelled if self.num_labelled else None,
                loss_unlabelled=unlabelled / self.num_unlabelled if self.num_unlabelled else None,
                accuracy_labelled=right / count if count else None,
                lr=rate,
                images_per_second=speed,
            )
        if stopped:
            self.ranks.first(functools.partial(self._save, done))  # torchrun ends all as soon as one has left
            raise Stopped(f"stopped by SIGTERM in {run.title}, step {done}; run again to continue")
        if self._save_is_due():
            self._save(done)
        return {"loss": f"{loss:.3f}", "images_per_second": f"{speed:.0f}"}

    def _of_all_ranks(self, sums: Tensor, stopped: bool) -> list[float]:
        """Sums over ranks, and whether one of them is to stop."""
        joined = torch.cat([sums, sums.new_tensor([float(stopped)])])
        if self.ranks.world > 1:
            dist.all_reduce(joined)
        values: list[float] = joined.tolist()
        return values

    def _save_is_due(self) -> bool:
        due = max(self.run.train.checkpoint_seconds, self.save_seconds / _SAVING_SHARE)
        return self.ranks.is_main and time.monotonic() - self.last_save > due

    def _save(self, step: int) -> None:
        """Save the state after `step` steps, unless it is broken.

        Raises:
            TrainingError: a weight is not finite.
        """
        if not self.ranks.is_main:
            return
        began = time.monotonic()
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": step,
            "seconds": self.seconds_before + began - self.began,
        }
        if not all(bool(torch.isfinite(value).all()) for value in state["model"].values()):
            raise TrainingError(
                f"a weight of {self.run.title} is not finite after step {step - 1}; lower train.learning_rate or set "
                "train.clip_norm (the last good state is kept)"
            )
        save_state(self.run.state_path, self.run.fingerprint, state)
        self.last_save = time.monotonic()
        self.save_seconds = self.last_save - began
