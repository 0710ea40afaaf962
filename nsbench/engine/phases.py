"""Which training runs make one generation: joint or pretrain-then-finetune, and a FixRes phase (paper, section 3.1)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from nsbench.config import Config
from nsbench.configfile import to_dict
from nsbench.data.loaders import Part
from nsbench.engine.optim import Schedule, num_steps, schedule, steps_of
from nsbench.engine.step import total_weight
from nsbench.engine.supervision import HumanLabels, TeacherLabels
from nsbench.engine.trainingrun import TrainingRun
from nsbench.files import derive_seed, fingerprint
from nsbench.runfolder import RunFolder
from nsbench.trainingconfig import Where

CONTROL = "control"
"""The last student's architecture, noise, steps, batch size and total loss weight on the labelled images alone."""

_ACTS_THROUGH_PARTS = (
    "steps", "epochs", "teacher_steps", "labelled_batch", "teacher_batch", "unlabelled_ratio", "pseudo_labels",
    "temperature", "learning_rate", "schedule", "decay_steps", "decay_epochs", "final_learning_rate", "warmup_steps",
    "warmup_epochs", "stages", "finetune_steps", "finetune_learning_rate", "init", "label_smoothing", "log_steps",
    "checkpoint_seconds", "augment", "dropout", "stochastic_depth",
)  # fmt: skip
"""Settings that act through the images, targets, batch sizes and rates of a run alone, which its fingerprint holds, or
that change no number: so a generation 0 is the same record whatever becomes of the students."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phases:
    """Makes the training runs of a run's generations."""

    config: Config
    folder: RunFolder
    image_px: int
    """Side of the data set's images; 0: photographs, shown at the model's own size."""
    labelled: HumanLabels
    unlabelled: Any
    """Pool that the teachers label."""

    def of(self, name: str, native_px: int, labels: TeacherLabels | None, start: str) -> list[TrainingRun]:
        """The runs of a generation, one after the other, each from the weights of the one before.

        Args:
            native_px: side of the images that the architecture was made for.
            labels: pseudo-labels of a student; None for generation 0 and the control.
            start: fingerprint of the weights that the first one starts from; empty: from scratch.
        """
        train, number = self.config.train, self.number(name)
        ours = self._labelled_part(name)
        steps = num_steps(train, self.num_labelled, name == "0")
        rates = schedule(train, num_steps=steps, num_labelled=self.num_labelled)
        ratio = train.ratio(number)
        if labels is None or ratio == 0:
            mixed = name == CONTROL and train.stages == "joint"  # the student's batch of one kind of images has a mean
            scale = total_weight(train.loss, ratio) if mixed else 1.0
            runs = [self._run(name, "main", (ours,), steps, rates, loss_scale=scale)]
        else:
            theirs = self._unlabelled_part(labels, train.labelled_batch * ratio)
            if train.stages == "joint":
                runs = [self._run(name, "main", (ours, theirs), steps, rates)]
            else:
                last = train.finetune_steps or steps
                peak = train.finetune_learning_rate or train.learning_rate / 10
                tuned = dataclasses.replace(
                    train, learning_rate=peak, final_learning_rate=0.0, warmup_steps=0, warmup_epochs=0.0
                )
                after = schedule(tuned, num_steps=last, num_labelled=self.num_labelled)
                runs = [
                    self._run(name, "pretrain", (theirs,), steps, rates),
                    self._run(name, "finetune", (ours,), last, after),
                ]
        if self.config.fixres.is_on and name != "0":
            runs.append(self._fixres(name, ours, steps, rates))
        return self._placed(runs, native_px, start)

    def final_px(self, name: str, native_px: int) -> int:
        """Side of the images that a finished generation labels and is measured at."""
        fixres = self.config.fixres
        if fixres.is_on and name != "0" and fixres.input_px:
            return fixres.input_px
        return self.config.model(self.number(name)).input_px or self.image_px or native_px

    def number(self, name: str) -> int:
        """The generation whose architecture and ratio a generation or the control has."""
        return self.config.generations if name == CONTROL else int(name)

    @property
    def num_labelled(self) -> int:
        return int(self.labelled.counts.sum())

    def _labelled_part(self, name: str) -> Part:
        train, noise = self.config.train, self.config.noise
        batch = train.labelled_batch
        if name == CONTROL:
            batch *= 1 + train.ratio(self.number(name))
        if name == "0":
            batch = train.teacher_batch or batch

        def on(where: Where) -> bool:
            return name == "0" or where in ("both", "labelled")

        return Part(
            pool=self.labelled.pool,
            supervision=self.labelled,
            batch=batch,
            labelled=True,
            augmented=on(noise.augment),
            dropout=on(noise.dropout),
            stochastic_depth=on(noise.stochastic_depth),
        )

    def _unlabelled_part(self, labels: TeacherLabels, batch: int) -> Part:
        noise = self.config.noise
        return Part(
            pool=self.unlabelled,
            supervision=labels,
            batch=batch,
            labelled=False,
            augmented=noise.augment in ("both", "unlabelled"),
            dropout=noise.dropout in ("both", "unlabelled"),
            stochastic_depth=noise.stochastic_depth in ("both", "unlabelled"),
        )

    def _fixres(self, name: str, ours: Part, main_steps: int, rates: Schedule) -> TrainingRun:
        """Unaugmented labelled images at the final size, on the tail of the schedule unless a rate is given."""
        fixres, train = self.config.fixres, self.config.train
        part = dataclasses.replace(ours, batch=train.labelled_batch, augmented=False)
        steps = fixres.steps
        if fixres.epochs:
            steps = steps_of(fixres.epochs, train, self.num_labelled)
        tail = dataclasses.replace(rates, first_step=max(0, main_steps - steps))
        if fixres.learning_rate:
            constant = dataclasses.replace(
                train, schedule="constant", learning_rate=fixres.learning_rate, warmup_steps=0, warmup_epochs=0.0,
                final_learning_rate=0.0,
            )  # fmt: skip
            tail = schedule(constant, num_steps=steps, num_labelled=self.num_labelled)
        return self._run(name, "fixres", (part,), steps, tail, frozen_blocks=fixres.frozen_blocks)

    def _run(
        self, name: str, phase: str, parts: tuple[Part, ...], steps: int, rates: Schedule, **more: Any
    ) -> TrainingRun:
        config = self.config
        return TrainingRun(
            generation=name,
            phase=phase,
            model=config.model(self.number(name)),
            train=config.train,
            noise=config.noise,
            parts=parts,
            schedule=rates,
            num_steps=steps,
            size=0,
            seed=derive_seed(config.seed, "train", name, *([phase] if phase != "main" else [])),
            window=config.data.window_shards,
            on_bad_image=config.data.on_bad_image,
            fingerprint="",
            state_path=Path(),
            **more,
        )

    def _placed(self, runs: list[TrainingRun], native_px: int, start: str) -> list[TrainingRun]:
        """The runs with sizes, places and fingerprints; each depends on all before it."""
        settings = {"train": to_dict(self.config)["train"], "noise": to_dict(self.config)["noise"]}
        for key in _ACTS_THROUGH_PARTS:
            for section in settings.values():
                section.pop(key, None)
        placed: list[TrainingRun] = []
        before = start
        for run in runs:
            own_px = run.model.input_px or self.image_px or native_px
            size = self.final_px(run.generation, native_px) if run.phase == "fixres" else own_px
            model = dataclasses.replace(run.model, input_px=size)
            before = fingerprint(
                before, dataclasses.asdict(model), settings, [part.identity for part in run.parts],
                dataclasses.asdict(run.schedule), run.num_steps, size, run.loss_scale, run.frozen_blocks, run.seed,
                run.window, run.on_bad_image, self.config.threads,
            )  # fmt: skip
            state = self.folder.train_state(run.generation) / f"{run.phase}.pt"
            steps_before = sum(earlier.num_steps for earlier in placed)
            placed.append(
                dataclasses.replace(
                    run, model=model, size=size, fingerprint=before, state_path=state, steps_before=steps_before
                )
            )
        return placed
