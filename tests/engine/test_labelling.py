"""Who labels and who selects: every toggle of `teacher` and `select`, as a run of generations uses them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nsbench.config import Config
from nsbench.configfile import to_toml
from nsbench.data.crops import generation_view
from nsbench.data.images import ImageSet, Task
from nsbench.data.pools import HeldPool
from nsbench.distributed import Ranks
from nsbench.engine.label_store import label_path, read_labels
from nsbench.engine.labelling import Labelling
from nsbench.engine.select import read_copies
from nsbench.engine.supervision import TeacherLabels
from nsbench.files import read_json, write_json
from nsbench.inference import log_probabilities
from nsbench.models import PixelModel, build, load_weights, save_weights
from nsbench.runfolder import SELF_TRAINING, RunFolder
from nsbench.track import Progress

from .conftest import CLASSES, TINY, images
from .test_generations import changed

CPU = torch.device("cpu")
VIEW = generation_view(16, photographs=False)


def model(seed: int, *, without: int | None = None) -> PixelModel:
    """A network that is sure of itself; it never says the class `without`."""
    made = build(TINY, 4, seed)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    pixels = torch.from_numpy(images("seen", 32, 7).pixels).permute(0, 3, 1, 2) / 255
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)  # of timm's branches that are dropped
        for _ in range(30):
            made.train()(pixels)
        head = made.eval().net.fc
        logits = made(pixels)
        head.weight.mul_(2 / logits.std(dim=0).mean())  # type: ignore[union-attr, operator]
        head.bias.sub_(made(pixels).mean(dim=0))  # type: ignore[union-attr, operator]
        if without is not None:
            head.bias[without] = -1e4  # type: ignore[union-attr, index]
    return made


def finished_run(root: Path, seed: int, **changes: Any) -> str:
    """The folder of a finished run of one generation, as a model's name."""
    folder = RunFolder(root)
    save_weights(folder.weights("0"), model(seed, **changes))
    write_json(folder.train_record("0"), {"view": dataclasses.asdict(VIEW)})
    folder.config.write_text(to_toml(Config(models=(TINY,), generations=0)), encoding="utf-8")
    folder.write_run({"kind": SELF_TRAINING, "classes": list(CLASSES), "name": "run"})
    return str(root)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Generations 0 and 1 of a run, averages and raw weights."""
    made = RunFolder(tmp_path / "run")
    for name in ("0", "1"):
        save_weights(made.weights(name), model(int(name)))
        save_weights(made.raw_weights(name), model(10 + int(name)))
    return made


def labelling(config: Config, task: Task, folder: RunFolder) -> Labelling:
    progress = Progress("none", folder.root / "log.txt")
    return Labelling(config=config, task=task, folder=folder, device=CPU, progress=progress, ranks=Ranks())


def soft(labels: TeacherLabels) -> npt.NDArray[np.float32]:
    return read_labels(label_path(labels.labels, 0))[1]


def copies(labels: TeacherLabels) -> npt.NDArray[np.int64]:
    return read_copies(label_path(labels.selection, 0))


def said(weights: Path | PixelModel, task: Task, size: int = 16) -> npt.NDArray[np.float32]:
    """What a model says of the stored pixels of the pool."""
    if isinstance(weights, Path):
        made = build(TINY, 4, 99)
        load_weights(weights, made)
        weights = made
    shown = task.unlabelled.shard(0)
    assert isinstance(shown, ImageSet)
    batch = torch.from_numpy(shown.pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        answers: npt.NDArray[np.float32] = log_probabilities(weights.eval(), batch, 30, input_px=size).exp().numpy()
    return answers


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_the_generation_before_labels_with_the_weights_asked_for(
    config: Config, task: Task, folder: RunFolder, weights: str
) -> None:
    made = labelling(changed(config, {"teacher": {"weights": weights}}), task, folder)
    for name, before in (("1", "0"), ("2", "1")):
        path = folder.weights(before) if weights == "ema" else folder.raw_weights(before)
        np.testing.assert_allclose(soft(made.label(name, TINY, VIEW)), said(path, task), atol=1e-3)


def test_labels_do_not_depend_on_the_students_noise_or_seed(config: Config, task: Task, folder: RunFolder) -> None:
    """A randomly augmented pass that is kept as the teacher's answer (section 5, thuml)."""
    first = soft(labelling(config, task, folder).label("1", TINY, VIEW))
    label_path(folder.labels("1"), 0).unlink()
    other = dataclasses.replace(changed(config, {"noise": {"magnitude": 30.0}}), seed=7)
    np.testing.assert_array_equal(soft(labelling(other, task, folder).label("1", TINY, VIEW)), first)


def test_a_fixed_teacher_labels_for_every_generation(
    config: Config, task: Task, folder: RunFolder, tmp_path: Path
) -> None:
    name = finished_run(tmp_path / "teacher", 5)
    made = labelling(changed(config, {"teacher": {"model": name}}), task, folder)
    first, second = made.label("1", TINY, VIEW), made.label("2", TINY, VIEW)
    np.testing.assert_allclose(soft(first), said(model(5), task), atol=1e-3)
    np.testing.assert_array_equal(soft(first), soft(second))
    assert first.fingerprint == second.fingerprint


def test_the_teachers_own_resolution_and_another(config: Config, task: Task, folder: RunFolder) -> None:
    made = labelling(changed(config, {"teacher": {"input_px": 24}}), task, folder)
    expected = said(folder.weights("0"), task, 24)
    np.testing.assert_allclose(soft(made.label("1", TINY, VIEW)), expected, atol=1e-3)
    assert np.abs(expected - said(folder.weights("0"), task)).max() > 0.01


def test_a_noised_teacher_says_something_else(config: Config, task: Task, folder: RunFolder) -> None:
    made = labelling(changed(config, {"teacher": {"noised": True}}), task, folder)
    assert np.abs(soft(made.label("1", TINY, VIEW)) - said(folder.weights("0"), task)).max() > 0.05


def test_a_filter_model_selects_and_the_teacher_is_learned(
    config: Config, task: Task, folder: RunFolder, tmp_path: Path
) -> None:
    name = finished_run(tmp_path / "filter", 5)
    select = {"filter_model": name, "min_confidence": 0.6, "balance": "off"}
    labels = labelling(changed(config, {"select": select}), task, folder).label("1", TINY, VIEW)
    judged = said(model(5), task).max(axis=1)
    clear = np.abs(judged - 0.6) > 1e-4
    np.testing.assert_array_equal(copies(labels)[clear], (judged >= 0.6)[clear])
    assert 0 < copies(labels).sum() < 30
    np.testing.assert_allclose(labels.targets(0, np.arange(30)), said(folder.weights("0"), task), atol=1e-3)


@pytest.mark.parametrize("filtered", [False, True])
def test_select_once_and_only_relabel(
    config: Config, task: Task, folder: RunFolder, tmp_path: Path, filtered: bool
) -> None:
    """Official `reassign` (section 1.2): the selection stays, the labels are the new teacher's."""
    select = {"when": "once", "min_confidence": 0.6, "balance": "off"}
    if filtered:
        select["filter_model"] = finished_run(tmp_path / "filter", 5)
    made = labelling(changed(config, {"select": select}), task, folder)
    first = made.label("1", TINY, VIEW)
    path = label_path(first.selection, 0)
    before, old = path.stat().st_mtime_ns, soft(first)
    second = made.label("2", TINY, VIEW)
    assert second.selection == first.selection
    assert path.stat().st_mtime_ns == before
    assert np.abs(soft(second) - old).max() > 0.01
    np.testing.assert_allclose(second.targets(0, np.arange(30)), said(folder.weights("1"), task), atol=1e-3)
    records = [read_json(folder.label_record(name)) for name in ("1", "2")]
    assert [records[0][key] for key in ("kept", "copies")] == [records[1][key] for key in ("kept", "copies")]
    kept = path.read_bytes()
    path.unlink()
    made.label("2", TINY, VIEW)
    assert path.read_bytes() == kept


def test_every_generation_selects_anew_unless_told_otherwise(config: Config, task: Task, folder: RunFolder) -> None:
    made = labelling(changed(config, {"select": {"min_confidence": 0.6, "balance": "off"}}), task, folder)
    first, second = made.label("1", TINY, VIEW), made.label("2", TINY, VIEW)
    assert first.selection != second.selection
    for labels, weights in ((first, folder.weights("0")), (second, folder.weights("1"))):
        sure = said(weights, task).max(axis=1)
        clear = np.abs(sure - 0.6) > 1e-4
        np.testing.assert_array_equal(copies(labels)[clear], (sure >= 0.6)[clear])


def test_a_slice_of_confidence_and_a_share_of_the_pool(config: Config, task: Task, folder: RunFolder) -> None:
    sure = said(folder.weights("0"), task).max(axis=1)
    low, high = np.quantile(sure, [0.2, 0.7]).tolist()
    wide = {"min_confidence": low, "max_confidence": high, "balance": "off"}
    kept = copies(labelling(changed(config, {"select": wide}), task, folder).label("1", TINY, VIEW))
    clear = (np.abs(sure - low) > 1e-4) & (np.abs(sure - high) > 1e-4)
    np.testing.assert_array_equal(kept[clear], ((sure >= low) & (sure <= high))[clear])
    half = changed(config, {"select": {"fraction": 0.5, "balance": "off", "min_confidence": 0.0}})
    some = copies(labelling(half, task, folder).label("1", TINY, VIEW))
    assert 5 < some.sum() < 25
    other = copies(labelling(dataclasses.replace(half, seed=1), task, folder).label("1", TINY, VIEW))
    assert (some != other).any()


def test_a_class_that_nothing_is_labelled_as_is_reported(
    config: Config, task: Task, folder: RunFolder, tmp_path: Path
) -> None:
    """Balancing loops for ever over such a class, or fails on it (section 5, aask1357): here it is said and written."""
    name = finished_run(tmp_path / "teacher", 5, without=3)
    select = {"balance": "duplicate", "per_class": 9, "min_confidence": 0.0}
    made = labelling(changed(config, {"teacher": {"model": name}, "select": select}), task, folder)
    labels = made.label("1", TINY, VIEW)
    counts = np.bincount(soft(labels).argmax(axis=1), weights=copies(labels), minlength=4)
    assert counts[3] == 0
    assert set(counts.tolist()) <= {0, 9}
    record = read_json(folder.label_record("1"))
    assert "d" in record["empty_classes"]
    assert "of 4 classes have no pseudo-label for generation 1" in (folder.root / "log.txt").read_text(encoding="utf-8")


def test_a_shard_without_a_selected_image_is_no_error(config: Config, task: Task, folder: RunFolder) -> None:
    """A worker that keeps nothing fails in the official code (section 6, item 7)."""
    pool = task.unlabelled.shard(0)
    assert isinstance(pool, ImageSet)
    one_each = dataclasses.replace(task, unlabelled=HeldPool(pool, shard_images=1))
    sure = np.sort(said(folder.weights("0"), task).max(axis=1))
    strict = changed(config, {"select": {"min_confidence": float(sure[25]) - 1e-3, "balance": "off"}})
    labels = labelling(strict, one_each, folder).label("1", TINY, VIEW)
    assert 5 <= labels.counts.sum() < 15
    assert (labels.counts == 0).any()
