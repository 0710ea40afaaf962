"""Teacher, students and control on a tiny task: twice the same, and nothing made twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nsbench.config import Config
from nsbench.data.images import ImageSet, Task
from nsbench.engine.generations import Engine, generation_names
from nsbench.engine.label_store import label_path, read_labels
from nsbench.engine.select import read_copies
from nsbench.engine.supervision import one_hot, sharpen
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import TrainingError
from nsbench.files import read_json
from nsbench.runfolder import RunFolder
from nsbench.track import Curves, Progress

NAMES = ["0", "1", "2", "control"]


def engine(config: Config, task: Task, root: Path) -> Engine:
    root.mkdir(parents=True, exist_ok=True)
    return Engine(
        config=config,
        task=task,
        folder=RunFolder(root),
        device=torch.device("cpu"),
        progress=Progress("none"),
        curves=Curves(RunFolder(root).metrics),
    )


def run(config: Config, task: Task, root: Path) -> dict[str, bytes]:
    """Weights files of all generations."""
    made = engine(config, task, root)
    for name, model in made.run():
        assert not model.training
        assert made.folder.train_record(name).is_file()
        assert not list(made.folder.train_state(name).glob("*"))
    return {name: made.folder.weights(name).read_bytes() for name in generation_names(config)}


def times(root: Path) -> dict[str, int]:
    """Moment of the last change of every file but the log."""
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(config: Config, task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    root = tmp_path_factory.mktemp("run")
    return root, run(config, task, root)


def test_one_hot_by_hand() -> None:
    np.testing.assert_allclose(
        one_hot(np.array([2, 0]), 4, 0.2), [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6
    )
    np.testing.assert_array_equal(one_hot(np.array([1]), 3, 0.0), [[0, 1, 0]])
    assert one_hot(np.array([1]), 3, 0.1).dtype == np.float32


def test_sharpen_by_hand() -> None:
    soft = np.array([[0.6, 0.3, 0.1], [1, 0, 0]], np.float32)
    np.testing.assert_allclose(sharpen(soft, 1.0), soft, rtol=1e-6)
    np.testing.assert_allclose(sharpen(soft, 0.5), [[36 / 46, 9 / 46, 1 / 46], [1, 0, 0]], rtol=1e-6)
    flat = np.sqrt([0.6, 0.3, 0.1])
    np.testing.assert_allclose(sharpen(soft, 2.0)[0], flat / flat.sum(), rtol=1e-6)
    assert sharpen(soft, 2.0).dtype == np.float32


def test_names_of_generations(config: Config) -> None:
    assert generation_names(config) == NAMES
    assert generation_names(dataclasses.replace(config, control=False)) == NAMES[:3]
    assert generation_names(dataclasses.replace(config, generations=0)) == ["0"]


def test_two_runs_give_the_same_weights_and_every_generation_its_own(
    config: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    _, weights = finished
    assert run(config, task, tmp_path) == weights
    assert len(set(weights.values())) == 4
    assert list(weights) == NAMES


def test_a_finished_run_is_left_alone(config: Config, task: Task, finished: tuple[Path, dict[str, bytes]]) -> None:
    root, weights = finished
    before = times(root)
    assert run(config, task, root) == weights
    assert times(root) == before


def test_labels_come_from_the_generation_before(
    config: Config, task: Task, finished: tuple[Path, dict[str, bytes]]
) -> None:
    folder = RunFolder(finished[0])
    soft = {}
    for name in ("1", "2"):
        keys, soft[name] = read_labels(label_path(folder.labels(name), 0))
        np.testing.assert_array_equal(keys, task.unlabelled.shard(0).ids)
    assert not np.array_equal(soft["1"], soft["2"])
    assert not folder.labels("control").exists()
    made = engine(config, task, folder.root)
    pool = task.unlabelled.shard(0)
    assert isinstance(pool, ImageSet)
    teacher = next(model for name, model in made.run() if name == "0")
    scaled = torch.from_numpy(pool.pixels).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        np.testing.assert_allclose(teacher(scaled).softmax(dim=1).numpy(), soft["1"], atol=1e-3)


def phases(config: Config, task: Task, root: Path, name: str) -> list[TrainingRun]:
    """What a generation is trained by; labels are those of the finished run."""
    made = engine(config, task, root)
    labels = made._labelling.label(name, made.architecture("0"), made.view("0")) if name in ("1", "2") else None
    return made._phases.of(name, 16, labels, "")


def test_what_a_batch_is_made_of(config: Config, task: Task, finished: tuple[Path, dict[str, bytes]]) -> None:
    root = finished[0]
    parts = {name: phases(config, task, root, name)[0].parts for name in NAMES}
    assert {name: [part.batch for part in of] for name, of in parts.items()} == {
        "0": [8], "1": [4, 8], "2": [4, 8], "control": [12],
    }  # fmt: skip
    copies = read_copies(label_path(RunFolder(root).selection("1"), 0))
    ours = parts["1"][1].supervision
    np.testing.assert_array_equal(np.bincount(ours.rows(0), minlength=30), copies)
    _, soft = read_labels(label_path(RunFolder(root).labels("1"), 0))
    every = np.arange(30)
    np.testing.assert_allclose(ours.targets(0, every), soft, rtol=1e-5)
    hard = dataclasses.replace(config, train=dataclasses.replace(config.train, pseudo_labels="hard"))
    targets = phases(hard, task, root, "1")[0].parts[1].supervision.targets(0, every)
    np.testing.assert_array_equal(targets, one_hot(soft.argmax(axis=1), 4, 0.1))


def test_damaged_weights_are_trained_again_to_the_same_bytes(
    config: Config, task: Task, finished: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    _, weights = finished
    small = dataclasses.replace(config, generations=1, control=False)
    first = run(small, task, tmp_path)
    assert first["0"] == weights["0"]
    assert first["1"] == weights["1"]
    path = RunFolder(tmp_path).weights("1")
    flipped = bytearray(first["1"])
    flipped[-1] ^= 1
    for content in (bytes(flipped), first["1"][:100], b""):
        path.write_bytes(content)
        assert run(small, task, tmp_path) == first
    path.unlink()
    RunFolder(tmp_path).train_record("0").write_text("{", encoding="utf-8")
    before = times(tmp_path)
    assert run(small, task, tmp_path) == first
    changed = {name for name, moment in times(tmp_path).items() if before.get(name) != moment}
    assert changed == {
        "gen0/model.safetensors", "gen0/train.json", "gen1/model.safetensors", "gen1/train.json",
    } | ({"metrics.jsonl"} & changed)  # fmt: skip


@pytest.mark.parametrize("part", ["labels", "selection"])
def test_damaged_labels_are_made_again(config: Config, task: Task, part: str, tmp_path: Path) -> None:
    small = dataclasses.replace(config, generations=1, control=False)
    first = run(small, task, tmp_path)
    path = label_path(getattr(RunFolder(tmp_path), part)("1"), 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert run(small, task, tmp_path) == first
    assert path.read_bytes() == whole


ABLATIONS: list[dict[str, dict[str, Any]]] = [
    {"noise": {"augment": "labelled", "dropout": "labelled", "stochastic_depth": "labelled"}},
    {"noise": {"augment": "none", "dropout": "none", "stochastic_depth": "none"}},
    {"train": {"pseudo_labels": "hard"}},
    {"train": {"unlabelled_ratio": (1,), "temperature": 2.0, "checkpoint_seconds": 1.0}},
    {"train": {"stages": "pretrain-finetune", "finetune_steps": 3}},
    {"select": {"min_confidence": 0.9}},
    {"teacher": {"noised": True}},
    {"fixres": {"steps": 2, "input_px": 24}},
    {"eval": {"batch_size": 3}},
]


def changed(config: Config, changes: dict[str, dict[str, Any]]) -> Config:
    sections = {name: dataclasses.replace(getattr(config, name), **values) for name, values in changes.items()}
    return dataclasses.replace(config, **sections)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", ABLATIONS, ids=str)
def test_an_ablation_of_students_keeps_generation_0(
    config: Config, task: Task, finished: tuple[Path, dict[str, bytes]], changes: dict[str, dict[str, Any]]
) -> None:
    record = read_json(RunFolder(finished[0]).train_record("0"))
    ablation = dataclasses.replace(changed(config, changes), control=False, generations=1, ablation="x")
    assert phases(ablation, task, finished[0], "0")[0].fingerprint == record["fingerprint"]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"learning_rate": 0.2}},
        {"train": {"teacher_batch": 7}},
        {"train": {"teacher_steps": 6}},
        {"train": {"label_smoothing": 0.2}},
        {"train": {"ema_decay": 0.8}},
        {"noise": {"magnitude": 8.0}},
    ],
    ids=str,
)
def test_what_changes_generation_0_changes_its_fingerprint(
    config: Config, task: Task, finished: tuple[Path, dict[str, bytes]], changes: dict[str, dict[str, Any]]
) -> None:
    record = read_json(RunFolder(finished[0]).train_record("0"))
    assert phases(changed(config, changes), task, finished[0], "0")[0].fingerprint != record["fingerprint"]


def test_nothing_kept_is_one_line_with_the_way_out(config: Config, task: Task, tmp_path: Path) -> None:
    strict = changed(dataclasses.replace(config, generations=1), {"select": {"min_confidence": 1.0}})
    with pytest.raises(TrainingError, match=r"has a confidence of 1\.0 to 1\.0; lower select\.min_confidence"):
        run(strict, task, tmp_path)
