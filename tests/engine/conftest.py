"""A model of 6,000 weights and a task of four easy classes at 16 px: real training in a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nsbench.config import Config, EvalConfig
from nsbench.data.images import ImageSet, PoolTruth, Task
from nsbench.data.loaders import Part
from nsbench.data.pools import HeldPool, Pool
from nsbench.engine.optim import schedule
from nsbench.engine.supervision import one_hot
from nsbench.engine.trainingrun import TrainingRun
from nsbench.files import fingerprint
from nsbench.trainingconfig import ModelConfig, NoiseConfig, SelectConfig, TrainConfig

CLASSES = ("a", "b", "c", "d")
TINY = ModelConfig(
    name="test_resnet",
    drop_rate=0.2,
    drop_path_rate=0.3,
    stem_pool=False,
    kwargs={"channels": [4, 4, 8, 8], "stem_type": "deep", "stem_width": 4},
)
NOISE = NoiseConfig(magnitude=9, translate_px=4, cutout_px=4, crop_padding_px=2, flip=False)
TRAIN = TrainConfig(
    steps=5,
    labelled_batch=4,
    teacher_batch=8,
    unlabelled_ratio=(2,),
    optimizer="sgd",
    learning_rate=0.1,
    schedule="cosine",
    warmup_steps=2,
    ema_decay=0.9,
    clip_norm=5.0,
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(name: str, count: int, seed: int, *, known: bool = True) -> ImageSet:
    """Each class is bright in a quarter of its own, on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    pixels = rng.integers(0, 160, (count, 16, 16, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        top, left = 8 * (label // 2), 8 * (label % 2)
        image[top : top + 8, left : left + 8] += 90
    return ImageSet(
        name=name,
        ids=np.array([f"{name}-{i:03d}" for i in range(count)]),
        pixels=pixels,
        labels=labels if known else np.full(count, -1),
        classes=CLASSES,
    )


@pytest.fixture(scope="session")
def task() -> Task:
    pool = images("pool", 30, 1, known=False)
    return Task(
        name="quarters",
        title="Quarters",
        held_out=True,
        labelled=HeldPool(images("labelled", 12, 0)),
        unlabelled=HeldPool(pool),
        truth=PoolTruth(ids=pool.ids, labels=np.arange(30) % 4, sources=np.full(30, "quarters")),
        classes=CLASSES,
        image_px=16,
        evaluation={"val": images("val", 8, 2)},
    )


@pytest.fixture(scope="session")
def config() -> Config:
    return Config(
        generations=2,
        workers=0,
        device="cpu",
        models=(TINY,),
        noise=NOISE,
        train=TRAIN,
        select=SelectConfig(min_confidence=0.0),
        eval=EvalConfig(batch_size=8),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedTargets:
    """Targets by row of a single shard, each image once a pass."""

    table: npt.NDArray[np.float32]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return np.array([len(self.table)])

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.table)

    def rows(self, shard: int) -> npt.NDArray[np.int64]:
        assert shard == 0
        return np.arange(len(self.table))

    def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        assert shard == 0
        return self.table[rows]


def part(pool: Pool, table: npt.NDArray[np.float32], batch: int, *, labelled: bool, noised: bool = True) -> Part:
    """Images with these targets; all noise or none."""
    return Part(
        pool=pool,
        supervision=FixedTargets(table=table),
        batch=batch,
        labelled=labelled,
        augmented=noised,
        dropout=noised,
        stochastic_depth=noised,
    )


@pytest.fixture
def make_run(task: Task, tmp_path: Path) -> Callable[..., TrainingRun]:
    """A student's training run; `labels_alone` drops the second part."""

    def make(*, labels_alone: bool = False, noised: tuple[bool, bool] = (True, True), **changes: Any) -> TrainingRun:
        hard = one_hot(images("labelled", 12, 0).labels, 4, 0.1)
        soft = np.random.default_rng(5).dirichlet(np.ones(4), 30).astype(np.float32)
        labelled = part(task.labelled, hard, 4, labelled=True, noised=noised[0])
        pool = part(task.unlabelled, soft, 8, labelled=False, noised=noised[1])
        plain: dict[str, Any] = {
            "generation": "1",
            "model": TINY,
            "train": TRAIN,
            "noise": NOISE,
            "parts": (labelled,) if labels_alone else (labelled, pool),
            "num_steps": 5,
            "size": 16,
            "seed": 3,
            "fingerprint": "f",
            "state_path": tmp_path / "state" / "main.pt",
            **changes,
        }
        rates = schedule(plain["train"], num_steps=plain["num_steps"], num_labelled=12)
        return TrainingRun(**{"schedule": rates, **plain})

    return make
