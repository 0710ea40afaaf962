"""The training runs that make a generation: what each toggle of the configuration does to batches, phases and rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nsbench.config import Config
from nsbench.data.images import Task
from nsbench.engine.phases import Phases
from nsbench.engine.supervision import HumanLabels, TeacherLabels
from nsbench.engine.trainingrun import TrainingRun
from nsbench.runfolder import RunFolder
from nsbench.trainingconfig import ModelConfig

from .test_generations import changed

STUDENTS = ("1", "2", "3")
LABELS = TeacherLabels(labels=Path("l"), selection=Path("s"), num_shards=1, num_classes=4, made_by="teacher")


def phases(config: Config, task: Task) -> Phases:
    labelled = HumanLabels(pool=task.labelled, num_classes=4, smoothing=config.train.label_smoothing)
    return Phases(
        config=config,
        folder=RunFolder(Path("nowhere")),
        image_px=task.image_px,
        labelled=labelled,
        unlabelled=task.unlabelled,
    )


def runs(config: Config, task: Task, name: str) -> list[TrainingRun]:
    return phases(config, task).of(name, 64, None if name in ("0", "control") else LABELS, "")


@pytest.mark.parametrize(("loss", "scale"), [("code", 4.0), ("algorithm1", 2.0), ("concat_mean", 1.0)])
def test_ratio_of_each_generation_and_the_control_of_the_last_one(
    config: Config, task: Task, loss: str, scale: float
) -> None:
    many = changed(dataclasses.replace(config, generations=3), {"train": {"unlabelled_ratio": (1, 3), "loss": loss}})
    batches = {name: [part.batch for part in runs(many, task, name)[0].parts] for name in STUDENTS}
    assert batches == {"1": [4, 4], "2": [4, 12], "3": [4, 12]}
    (control,) = runs(many, task, "control")
    assert [part.batch for part in control.parts] == [16]
    assert control.loss_scale == pytest.approx(scale)
    assert all(runs(many, task, name)[0].loss_scale == 1 for name in ("0", *STUDENTS))


def test_a_ratio_of_0_is_labelled_images_alone(config: Config, task: Task) -> None:
    (run,) = runs(changed(config, {"train": {"unlabelled_ratio": (0, 2)}}), task, "1")
    assert [part.labelled for part in run.parts] == [True]


@pytest.mark.parametrize(
    ("where", "on"),
    [("both", (True, True)), ("labelled", (True, False)), ("unlabelled", (False, True)), ("none", (False, False))],
)
@pytest.mark.parametrize(
    ("kind", "flag"), [("augment", "augmented"), ("dropout", "dropout"), ("stochastic_depth", "stochastic_depth")]
)
def test_each_kind_of_noise_is_switched_for_each_kind_of_image(  # noqa: PLR0917
    config: Config, task: Task, kind: str, flag: str, where: str, on: tuple[bool, bool]
) -> None:
    """Of the students and the control; generation 0 is noised always (section 1.1, step 1)."""
    switched = changed(config, {"noise": {kind: where}})
    flags = ("augmented", "dropout", "stochastic_depth")
    for name in ("1", "2"):
        (run,) = runs(switched, task, name)
        assert [part.labelled for part in run.parts] == [True, False]
        assert tuple(getattr(part, flag) for part in run.parts) == on
        assert all(getattr(part, other) for part in run.parts for other in flags if other != flag)
    (control,) = runs(switched, task, "control")
    assert getattr(control.parts[0], flag) == on[0]
    (first,) = runs(switched, task, "0")
    assert all(getattr(first.parts[0], other) for other in flags)


def test_pretrain_then_finetune(config: Config, task: Task) -> None:
    staged = {"stages": "pretrain-finetune"}
    first, second = runs(changed(config, {"train": staged}), task, "1")
    assert [(run.phase, [part.labelled for part in run.parts]) for run in (first, second)] == [
        ("pretrain", [False]), ("finetune", [True]),
    ]  # fmt: skip
    assert [first.parts[0].batch, second.parts[0].batch] == [8, 4]
    assert [first.num_steps, second.num_steps] == [5, 5]
    assert [first.steps_before, second.steps_before] == [0, 5]
    assert [first.schedule.peak, second.schedule.peak] == pytest.approx([0.1, 0.01])
    assert len({first.fingerprint, second.fingerprint}) == len({first.seed, second.seed}) == 2
    assert first.state_path != second.state_path
    told: dict[str, Any] = {**staged, "finetune_steps": 3, "finetune_learning_rate": 0.05}
    other, tuned = runs(changed(config, {"train": told}), task, "1")
    assert (tuned.num_steps, tuned.schedule.peak, tuned.schedule.num_steps) == (3, 0.05, 3)
    assert other.fingerprint == first.fingerprint
    for name in ("0", "control"):
        assert [run.phase for run in runs(changed(config, {"train": staged}), task, name)] == ["main"]


def test_the_control_of_a_staged_student_has_its_loss(config: Config, task: Task) -> None:
    """A pretrained student's batches hold one kind of images, whose loss is a mean."""
    (control,) = runs(changed(config, {"train": {"stages": "pretrain-finetune"}}), task, "control")
    assert control.loss_scale == 1


def test_the_fixres_phase(config: Config, task: Task) -> None:
    fixed = changed(config, {"fixres": {"steps": 2, "input_px": 24, "frozen_blocks": 1}})
    for name in ("1", "control"):
        main, last = runs(fixed, task, name)
        assert (main.size, last.size, last.phase, last.num_steps) == (16, 24, "fixres", 2)
        assert (main.frozen_blocks, last.frozen_blocks) == (0, 1)
        (part,) = last.parts
        assert (part.labelled, part.augmented, part.batch) == (True, False, 4)
        assert part.dropout
        assert part.stochastic_depth
        assert [last.schedule.rate(step) for step in (0, 1)] == [main.schedule.rate(step) for step in (3, 4)]
        assert phases(fixed, task).final_px(name, 64) == 24
    assert [run.phase for run in runs(fixed, task, "0")] == ["main"]
    assert phases(fixed, task).final_px("0", 64) == 16


def test_fixres_with_a_rate_of_its_own_and_in_epochs(config: Config, task: Task) -> None:
    fixed = changed(config, {"fixres": {"epochs": 3.0, "learning_rate": 0.007}})
    *_, last = runs(fixed, task, "1")
    assert last.num_steps == 9  # 12 images, 4 a step
    assert [last.schedule.rate(step) for step in (0, 4, 8)] == [0.007] * 3
    assert last.size == 16
    *_, tail = runs(changed(config, {"fixres": {"steps": 50}}), task, "1")
    assert tail.schedule.first_step == 0


def test_every_generation_has_its_own_model_and_size(config: Config, task: Task) -> None:
    small, large = config.models[0], dataclasses.replace(config.models[0], input_px=24, drop_rate=0.5)
    two = dataclasses.replace(config, models=(small, large))
    assert [runs(two, task, name)[0].size for name in ("0", "1", "2", "control")] == [16, 24, 24, 24]
    assert [runs(two, task, name)[0].model.drop_rate for name in ("0", "1", "2")] == [small.drop_rate, 0.5, 0.5]
    photographs = dataclasses.replace(phases(config, task), image_px=0)
    assert photographs.final_px("0", 64) == 64
    own = dataclasses.replace(photographs, config=dataclasses.replace(config, models=(ModelConfig(input_px=96),)))
    assert own.final_px("0", 64) == 96


def test_teacher_batch_and_steps_are_generation_0s_alone(config: Config, task: Task) -> None:
    told = changed(config, {"train": {"teacher_batch": 6, "teacher_steps": 9}})
    (first,) = runs(told, task, "0")
    assert (first.parts[0].batch, first.num_steps) == (6, 9)
    for name in ("1", "control"):
        assert runs(told, task, name)[0].num_steps == 5
    (plain,) = runs(changed(config, {"train": {"teacher_batch": 0}}), task, "0")
    assert (plain.parts[0].batch, plain.num_steps) == (4, 5)
