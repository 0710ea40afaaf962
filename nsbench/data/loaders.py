"""Training batches that are a pure function of the step, so that a resumed run sees what an unbroken one saw.

Order follows from (seed, kind of image, step), augmentation from (seed, image id, copy, step); how many ranks, workers
and micro-batches share the work changes neither.
"""

from __future__ import annotations

import dataclasses
import functools
import signal
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nsbench.data.augment import augment, image_rng
from nsbench.data.crops import plain_view, training_view
from nsbench.data.images import ImageSet
from nsbench.data.listing import Listing
from nsbench.data.order import PassOrder
from nsbench.data.pictures import BadImage
from nsbench.data.pools import Pool
from nsbench.distributed import Ranks
from nsbench.errors import DataError, NsbenchError
from nsbench.files import derive_seed
from nsbench.trainingconfig import NoiseConfig


class Supervision(Protocol):
    """What the images of a pool are to be learned as, and how often a pass visits each."""

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """[S] visits of each shard in one pass."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over everything that targets and visits depend on."""

    def rows(self, shard: int) -> npt.NDArray[np.int64]:
        """[counts[shard]] row of each visit, ascending; a duplicated image stands here several times."""

    def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """[n, C] of these rows, each a distribution."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Images of one kind that fill a fixed share of every batch."""

    pool: Pool
    supervision: Supervision
    batch: int
    """Images of this part in a step, over all ranks."""
    labelled: bool
    """Whether people labelled them, or a teacher did."""
    augmented: bool
    dropout: bool
    stochastic_depth: bool

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything that a training run depends on of it."""
        switches = (self.augmented, self.dropout, self.stochastic_depth)
        return (self.pool.fingerprint, self.supervision.fingerprint, self.batch, self.labelled, *switches)


@dataclasses.dataclass(frozen=True)
class Batch:
    """One rank's images of a step: micro-batches one after the other, in each the parts one after the other."""

    pixels: Tensor  # uint8 [B, H, W, 3]
    targets: Tensor  # float32 [B, C]
    labelled: Tensor  # bool [B]
    dropout: Tensor  # bool [B]
    stochastic_depth: Tensor  # bool [B]
    sizes: tuple[int, ...]
    """Images of each micro-batch."""

    def pin_memory(self) -> Batch:
        """Called by torch's DataLoader, for copies to a GPU that overlap with work."""
        tensors = {name: value.pin_memory() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Batch(**tensors, sizes=self.sizes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepBatches(Dataset["Batch | NsbenchError"]):
    """`batches[step]` for steps 0, 1, ...; what cannot be read is an error in the place of a batch."""

    parts: tuple[Part, ...]
    noise: NoiseConfig
    seed: int
    num_steps: int
    size: int
    """Side of the images in pixels."""
    ranks: Ranks = Ranks()
    accumulation: int = 1
    window: int = 16
    """Shards whose images are mixed."""
    on_bad_image: str = "error"

    def __len__(self) -> int:
        return self.num_steps

    def __getitem__(self, step: int) -> Batch | NsbenchError:
        try:
            return self._batch(step)
        except NsbenchError as error:  # torch's loader would wrap it in the worker's traceback
            return error

    def _batch(self, step: int) -> Batch:
        pieces = []  # of a micro-batch and a part each
        for index, part in enumerate(self.parts):
            shards, visits = self._orders[index].at(step * part.batch, (step + 1) * part.batch)
            mine = slice(self.ranks.rank, None, self.ranks.world)
            shards, visits = shards[mine], visits[mine]
            for micro in range(self.accumulation):
                own = slice(micro, None, self.accumulation)
                pieces.append((micro, part, *self._shown(index, step, shards[own], visits[own])))
        pieces.sort(key=lambda piece: piece[0])
        flags = {
            name: np.concatenate([np.full(len(pixels), getattr(part, name)) for _, part, pixels, _ in pieces])
            for name in ("labelled", "dropout", "stochastic_depth")
        }
        sizes = [sum(len(pixels) for m, _, pixels, _ in pieces if m == micro) for micro in range(self.accumulation)]
        return Batch(
            pixels=torch.from_numpy(np.concatenate([pixels for _, _, pixels, _ in pieces])),
            targets=torch.from_numpy(np.concatenate([targets for _, _, _, targets in pieces])),
            **{name: torch.from_numpy(flag) for name, flag in flags.items()},
            sizes=tuple(sizes),
        )

    def _shown(
        self, index: int, step: int, shards: npt.NDArray[np.int64], visits: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Pixels [n, size, size, 3] and targets [n, C] of these visits to part `index`."""
        part = self.parts[index]
        pixels = np.empty((len(shards), self.size, self.size, 3), dtype=np.uint8)
        targets: list[npt.NDArray[np.float32]] = []
        places: list[npt.NDArray[np.int64]] = []
        for shard in np.unique(shards).tolist():
            of_shard = np.flatnonzero(shards == shard)
            all_rows = part.supervision.rows(shard)
            rows = all_rows[visits[of_shard]]
            copies = visits[of_shard] - np.searchsorted(all_rows, rows)
            images = part.pool.shard(shard)
            for number, (place, row, copy) in enumerate(zip(of_shard, rows.tolist(), copies.tolist(), strict=True)):
                shown, pixels[place] = self._image(index, images, row, copy, step)
                rows[number] = shown
            targets.append(part.supervision.targets(shard, rows))
            places.append(of_shard)
        if not targets:
            return pixels, part.supervision.targets(0, np.zeros(0, np.int64))
        back = np.argsort(np.concatenate(places))
        return pixels, np.concatenate(targets)[back]

    def _image(
        self, index: int, images: ImageSet | Listing, row: int, copy: int, step: int
    ) -> tuple[int, npt.NDArray[np.uint8]]:
        """The row that is shown, another one where this cannot be read, and its pixels."""
        part = self.parts[index]
        first = row
        while True:
            rng = image_rng(self._seeds[index], str(images.ids[row]), copy, step)
            try:
                if isinstance(images, ImageSet):
                    image = _sized(images.pixels[row], self.size)
                    return row, augment(image, self.noise, rng) if part.augmented else image
                stored = images.stored(row)
                if part.augmented:
                    return row, training_view(stored, self.size, self.noise, rng)
                return row, plain_view(self.size).show(stored)
            except BadImage as error:
                assert not isinstance(images, ImageSet)
                if self.on_bad_image == "error" or not part.labelled:
                    raise DataError(
                        f"{images.where(row)} cannot be read ({error}); copy it again, or show others in the place of "
                        "such images with --on-bad-image skip"
                    ) from None
            row = (row + 1) % len(images)
            if row == first:
                raise DataError(f"no image of {part.pool.name} can be read; copy it again")

    @functools.cached_property
    def _seeds(self) -> tuple[int, ...]:
        """Of each part's augmentation."""
        return tuple(derive_seed(self.seed, "augment", index) for index in range(len(self.parts)))

    @functools.cached_property
    def _orders(self) -> tuple[PassOrder, ...]:
        return tuple(
            PassOrder(counts=part.supervision.counts, seed=derive_seed(self.seed, "order", index), window=self.window)
            for index, part in enumerate(self.parts)
        )


def step_loader(
    batches: StepBatches, first_step: int, workers: int, *, pinned: bool = False
) -> DataLoader[Batch | NsbenchError]:
    """Batches of steps `first_step`, `first_step + 1`, ..., made ahead of time in `workers` processes.

    A rank of several has threads of gloo and NCCL: a process that is forked beside them may hang in the fork itself, so
    there workers are started anew.
    """
    images = sum(part.batch for part in batches.parts) // batches.ranks.world
    ahead = max(2, min(8, _AHEAD_BYTES // max(1, images * batches.size**2 * 3)))
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        multiprocessing_context="spawn" if workers and batches.ranks.world > 1 else None,
        pin_memory=pinned,
        worker_init_fn=_leave_stopping_to_the_parent,
    )


_AHEAD_BYTES = 2**28
"""Pixels that one worker keeps ready."""


def _leave_stopping_to_the_parent(_worker: int) -> None:
    """A SIGTERM to the whole process group must not kill a worker: the parent ends its step, saves, and ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _sized(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """An image held in memory at the model's size (bicubic where it has another)."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))
