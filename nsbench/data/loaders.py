"""Training batches that are a pure function of the step, so that a resumed run sees what an unbroken one saw."""

from __future__ import annotations

import dataclasses
import functools
import signal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nsbench.config import NoiseConfig
from nsbench.data.augment import augment
from nsbench.files import derive_seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Images of one kind, with their targets, that fill a fixed share of every batch."""

    pixels: npt.NDArray[np.uint8]
    """[N, H, W, 3]."""
    targets: npt.NDArray[np.float32]
    """[N, C], each row a distribution."""
    rows: npt.NDArray[np.int64]
    """[M] rows of `pixels` that one pass visits; a duplicated image stands here several times."""
    batch: int
    """Images of this part in a batch."""
    noised: bool
    """Whether its images are augmented and get model noise."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """One step's images: the parts one after the other."""

    pixels: Tensor  # uint8 [B, H, W, 3]
    targets: Tensor  # float32 [B, C]
    noised: Tensor  # bool [B]


class StepBatches(Dataset[Batch]):
    """`batches[step]` for steps 0, 1, ...; order and augmentation follow from (seed, part, step) alone."""

    def __init__(self, parts: tuple[Part, ...], noise: NoiseConfig, seed: int, num_steps: int) -> None:
        self.parts, self.noise, self.seed, self.num_steps = parts, noise, seed, num_steps

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Batch:
        pixels, targets, noised = [], [], []
        for index, part in enumerate(self.parts):
            rows = part.rows[_visits(len(part.rows), part.batch, step, derive_seed(self.seed, "order", index))]
            images = part.pixels[rows]
            if part.noised:
                rng = np.random.Generator(np.random.Philox(derive_seed(self.seed, "augment", index, step)))
                images = np.stack([augment(image, self.noise, rng) for image in images])
            pixels.append(images)
            targets.append(part.targets[rows])
            noised.append(np.full(len(rows), part.noised))
        return Batch(*(torch.from_numpy(np.concatenate(column)) for column in (pixels, targets, noised)))


def step_loader(batches: StepBatches, first_step: int, workers: int) -> DataLoader[Batch]:
    """Batches of steps `first_step`, `first_step + 1`, ..., made ahead of time in `workers` processes."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=workers,
        prefetch_factor=8 if workers else None,
        worker_init_fn=_leave_stopping_to_the_parent,
    )


def _leave_stopping_to_the_parent(_worker: int) -> None:
    """A SIGTERM to the whole process group must not kill a worker: the parent ends its step, saves, and ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _visits(num_rows: int, batch: int, step: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions [batch] of one step: passes over all rows, each pass in an order of its own."""
    positions = np.arange(step * batch, (step + 1) * batch)
    passes, offsets = np.divmod(positions, num_rows)
    return np.concatenate([_order(num_rows, seed, int(p))[offsets[passes == p]] for p in np.unique(passes)])


@functools.lru_cache(maxsize=8)
def _order(num_rows: int, seed: int, pass_number: int) -> npt.NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(derive_seed(seed, pass_number))).permutation(num_rows)
