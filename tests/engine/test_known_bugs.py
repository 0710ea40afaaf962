"""Bugs that other implementations have or had (noisy-student.md, sections 5 and 6), each with a test that catches it.

Tests elsewhere cover: soft cross-entropy with a wrong sign (`test_step`, float64 reference); the labelled mean (6.9:
`test_step`); a teacher that labels in training mode (`test_pseudo`, `test_teacher`); labels from an augmented pass, a
class without a label, a shard without a selected image (`test_labelling`); labels of other images or at another size
(6.1, 6.2: `test_generations`, `test_teacher`); unseeded selection and thresholds (6.7: `test_select`); pseudo-label
accuracy without truth (6.10: `evals/test_pseudo_labels`); RandAugment (6.11: `data/test_randaugment`); drop_path 0.8
for survival 0.8 (`test_presets`, `test_noise`); a mode that trains nothing, or cannot be measured (6.5, 6.6, 6.12:
`test_pipeline`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from nsbench.config import Config
from nsbench.data.images import ImageSet, Task
from nsbench.data.loaders import Batch, StepBatches
from nsbench.data.pools import HeldPool
from nsbench.engine.label_store import label_path, read_labels
from nsbench.engine.loop import train
from nsbench.engine.noise import install_model_noise
from nsbench.engine.step import Stepper
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import ConfigError
from nsbench.files import read_json
from nsbench.models import build, load_weights, num_parameters
from nsbench.runfolder import RunFolder
from nsbench.track import Curves, Progress

from .conftest import NOISE, TINY, images
from .test_generations import changed, engine, phases, run

MakeRun = Callable[..., TrainingRun]
CPU = torch.device("cpu")
QUIET = dataclasses.replace(NOISE, augment="none")


@pytest.fixture(scope="module")
def small(config: Config) -> Config:
    """One student; the teacher's last weights are kept as well."""
    return changed(dataclasses.replace(config, generations=1, control=False), {"teacher": {"weights": "raw"}})


@pytest.fixture(scope="module")
def finished(small: Config, task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    root = tmp_path_factory.mktemp("run")
    return root, run(small, task, root)


def test_test_images_are_never_trained_on_or_chosen_by(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    """Training or choosing a model on the test set (section 5, aask1357 and huanranchen)."""
    other = dataclasses.replace(task, evaluation={"val": images("val", 16, 77)})
    assert run(small, other, tmp_path) == finished[1]


def test_labels_of_the_pool_are_never_used(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    """Unlabelled data that has labels (section 5, sally20921, issue 4)."""
    known = dataclasses.replace(task, unlabelled=HeldPool(images("pool", 30, 1)), truth=None)
    assert run(small, known, tmp_path) == finished[1]


def test_unlabelled_images_are_the_pools_with_the_stored_labels(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]]
) -> None:
    """An unlabelled loader over the training set (section 5, ChanLIM); labels that are stored and then not read
    (6.4); soft labels made hard on the way to the loss (section 5, tsai)."""
    quiet = dataclasses.replace(small, noise=QUIET)
    (student,) = phases(quiet, task, finished[0], "1")
    batches = StepBatches(parts=student.parts, noise=QUIET, seed=3, num_steps=20, size=16)
    keys, soft = read_labels(label_path(RunFolder(finished[0]).labels("1"), 0))
    pool, ours = task.unlabelled.shard(0), task.labelled.shard(0)
    assert isinstance(pool, ImageSet)
    assert isinstance(ours, ImageSet)
    stored = {pool.pixels[row].tobytes(): soft[list(keys).index(pool.ids[row])] for row in range(30)}
    labelled = {image.tobytes() for image in ours.pixels}
    seen = set()
    for step in range(20):
        batch = batches[step]
        assert isinstance(batch, Batch)
        for pixels, target, is_labelled in zip(batch.pixels, batch.targets, batch.labelled, strict=True):
            shown = pixels.numpy().tobytes()
            assert (shown in labelled) == bool(is_labelled)
            if not is_labelled:
                np.testing.assert_allclose(target, stored[shown], rtol=1e-5)
                assert target.max() < 0.999
                seen.add(shown)
    assert seen <= set(stored)
    assert len(seen) > 5  # duplicates fill the quotas of an early teacher


def test_another_pool_makes_another_student(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    """The pool's images reach the student, and the teacher does not see them (section 5, ChanLIM)."""
    other = dataclasses.replace(task, unlabelled=HeldPool(images("pool", 30, 55, known=False)), truth=None)
    weights = run(small, other, tmp_path)
    assert weights["0"] == finished[1]["0"]
    assert weights["1"] != finished[1]["1"]


def test_the_teacher_is_trained(task: Task, small: Config, tmp_path: Path) -> None:
    """A teacher of a few warm-up steps, or of none (section 5, ChanLIM)."""
    still = dataclasses.replace(NOISE, num_ops=0, crop_padding_px=0)
    taught = changed(small, {"train": {"teacher_steps": 60}})
    made = engine(dataclasses.replace(taught, noise=still), task, tmp_path)
    name, teacher = next(made.run())
    shown = task.evaluation["val"]
    with torch.no_grad():
        answers = teacher(torch.from_numpy(shown.pixels).permute(0, 3, 1, 2) / 255).argmax(dim=1).numpy()
    assert name == "0"
    assert (answers == shown.labels).mean() >= 0.7


@pytest.mark.parametrize("before", ["eval", "train"])
def test_the_model_is_in_training_mode_until_the_last_step(make_run: MakeRun, tmp_path: Path, before: str) -> None:
    """A model that an evaluation left in eval mode (section 5, sally20921): no dropout, and statistics that stay."""
    modes, means = [], []
    model = build(TINY, 4, 3).train(before == "train")

    def look(module: torch.nn.Module, _given: Any, _said: Any) -> None:
        modes.append({part.training for part in module.modules()})
        means.append(module.state_dict()["net.layer4.0.bn1.running_mean"].clone())

    model.register_forward_hook(look)
    train(make_run(), model, device=CPU, workers=0, progress=Progress("none"), curves=Curves(tmp_path / "c"))
    assert modes == [{True}] * 5
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(means))


@pytest.mark.parametrize("kind", ["dropout", "stochastic_depth"])
def test_model_noise_falls_on_the_images_that_it_is_for(make_run: MakeRun, kind: str) -> None:
    """Noise on all images of a batch, or on none, whatever is asked for (section 4, noise switches)."""
    student = make_run(noised=(False, False))
    for which in (0, 1):
        parts = tuple(dataclasses.replace(part, **{kind: number == which}) for number, part in enumerate(student.parts))
        batch = StepBatches(parts=parts, noise=NOISE, seed=3, num_steps=1, size=16)[0]
        assert isinstance(batch, Batch)
        sums = []
        for rates in ((0.5, 0.9), (0.0, 0.0)):
            config = dataclasses.replace(TINY, drop_rate=rates[0], drop_path_rate=rates[1])
            model = build(config, 4, 3)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.ones_(module.weight)
            switch = install_model_noise(model, config)
            model.train()
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
            torch.manual_seed(0)
            still = torch.optim.SGD(model.parameters(), lr=0.0)
            step = Stepper(model=model, optimizer=still, switch=switch, weights=(1, 1), device=CPU)
            sums.append(step.update(batch).tolist()[1:3])
        same = [noisy == pytest.approx(plain, rel=1e-6) for noisy, plain in zip(*sums, strict=True)]
        assert same == [which == 1, which == 0]


def test_every_generations_weights_are_kept_and_are_the_average(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]]
) -> None:
    """Weights that are lost after a generation; raw weights where the average is meant (section 5, USB 8); names with
    the prefix of a wrapper."""
    made = engine(small, task, finished[0])
    names = build(TINY, 4, 0).state_dict().keys()
    for name, model in made.run():
        average = safetensors.torch.load(made.folder.weights(name).read_bytes())
        raw = safetensors.torch.load(made.folder.raw_weights(name).read_bytes())
        assert average.keys() == raw.keys() == names
        handed = model.state_dict()
        assert all(torch.equal(handed[key], value) for key, value in average.items())
        assert not torch.equal(raw["net.fc.weight"], average["net.fc.weight"])
        fresh = build(TINY, 4, 9)
        load_weights(made.folder.weights(name), fresh)


def test_the_teacher_is_no_part_of_the_students_training(
    finished: tuple[Path, dict[str, bytes]],
) -> None:
    """Its variables in the L2 term, in the average and in the checkpoint (6.8)."""
    for name in ("0", "1"):
        record = read_json(RunFolder(finished[0]).train_record(name))
        assert record["parameters"] == num_parameters(build(TINY, 4, 0))


FROZEN = {"learning_rate": 1e-12, "batch_norm": "frozen", "weight_decay": 0.0}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_student_starts_from_the_checkpoint_that_is_named(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path, prefix: str
) -> None:
    """A start that is ignored where there is a teacher (6.8), and the prefixes that wrappers leave (section 5)."""
    weights = safetensors.torch.load(finished[1]["1"])
    torch.save({"state_dict": {prefix + key: value for key, value in weights.items()}}, tmp_path / "start.pt")
    run(changed(small, {"train": {**FROZEN, "init": str(tmp_path / "start.pt")}}), task, tmp_path / "run")
    for name in ("0", "1"):
        got = safetensors.torch.load(RunFolder(tmp_path / "run").weights(name).read_bytes())
        for key, value in weights.items():
            torch.testing.assert_close(got[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("init", ["teacher", "scratch"])
def test_a_student_starts_from_its_teacher_where_it_is_told_to(
    small: Config, task: Task, tmp_path: Path, init: str
) -> None:
    """6.8, the other start."""
    run(changed(small, {"train": {**FROZEN, "init": init}}), task, tmp_path)
    first, second = (safetensors.torch.load(RunFolder(tmp_path).weights(name).read_bytes()) for name in ("0", "1"))
    key = "net.fc.weight"
    assert torch.allclose(first[key], second[key], atol=1e-6) == (init == "teacher")


def test_a_start_that_does_not_fit_is_refused(small: Config, task: Task, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no file"):
        run(changed(small, {"train": {"init": str(tmp_path / "no.pt")}}), task, tmp_path / "a")
    larger = dataclasses.replace(TINY, kwargs={**TINY.kwargs, "channels": [8, 8, 8, 8]})
    two = dataclasses.replace(small, models=(TINY, larger))
    with pytest.raises(ConfigError, match="needs one architecture"):
        changed(two, {"train": {"init": "teacher"}})


@pytest.mark.parametrize("smaller", [True, False])
def test_a_smaller_student_is_warned_of(small: Config, task: Task, tmp_path: Path, smaller: bool) -> None:
    larger = dataclasses.replace(TINY, kwargs={**TINY.kwargs, "channels": [8, 8, 8, 8]})
    models = (larger, TINY) if smaller else (TINY, larger)
    made = engine(dataclasses.replace(small, models=models), task, tmp_path)
    made = dataclasses.replace(made, progress=Progress("none", tmp_path / "log.txt"))
    list(made.run())
    said = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert ("wants an equal or larger student" in said) == smaller


def test_raw_weights_that_are_missing_are_made(
    small: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    """A generation 0 taken over from a run that kept its average alone."""
    plain = changed(small, {"teacher": {"weights": "ema"}})
    run(plain, task, tmp_path)
    assert not RunFolder(tmp_path).raw_weights("0").exists()
    assert run(small, task, tmp_path) == finished[1]
