"""What a student learns its images as: people's labels, smoothed, or a teacher's, soft or hard (paper, section 3.1)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsbench.data.pools import Pool
from nsbench.engine.label_store import ShardTargets, label_path
from nsbench.engine.select import read_copies
from nsbench.errors import DataError
from nsbench.files import fingerprint

_OPEN_SHARDS = 32
"""Shards whose labels and visits lie in memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HumanLabels:
    """Every image of a pool once a pass, with its own label."""

    pool: Pool
    num_classes: int
    smoothing: float

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """[S] images of each shard."""
        return np.array([len(self.pool.shard(shard)) for shard in range(len(self.pool))], dtype=np.int64)

    @property
    def fingerprint(self) -> str:
        """Over pool and smoothing."""
        return fingerprint("labels", self.pool.fingerprint, self.num_classes, self.smoothing)

    def rows(self, shard: int) -> npt.NDArray[np.int64]:
        """[counts[shard]]."""
        return np.arange(self.counts[shard], dtype=np.int64)

    def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """[n, C]."""
        return one_hot(self.pool.shard(shard).labels[rows], self.num_classes, self.smoothing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherLabels:
    """The selected images of a pool, as often as the selection says, with a teacher's labels."""

    labels: Path
    """Folder of one file a shard."""
    selection: Path
    """Folder of one file a shard."""
    num_shards: int
    num_classes: int
    made_by: str
    """Fingerprint of teacher, pool and selection."""
    hard: bool = False
    smoothing: float = 0.0
    """Of hard labels; soft ones are never smoothed."""
    temperature: float = 1.0
    """Of soft labels."""

    def __hash__(self) -> int:
        return id(self)

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """[S] visits of each shard."""
        shards = range(self.num_shards)
        return np.array([read_copies(label_path(self.selection, shard)).sum() for shard in shards], dtype=np.int64)

    @property
    def fingerprint(self) -> str:
        """Over teacher, pool, selection and the form of the labels."""
        return fingerprint("pseudo-labels", self.made_by, self.hard, self.hard and self.smoothing, self.temperature)

    @functools.lru_cache(maxsize=_OPEN_SHARDS)  # noqa: B019 one object a generation, as long as its training
    def rows(self, shard: int) -> npt.NDArray[np.int64]:
        """[counts[shard]]."""
        copies = read_copies(label_path(self.selection, shard))
        return np.repeat(np.arange(len(copies), dtype=np.int64), copies)

    def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """[n, C]."""
        stored = self._stored(shard)
        if self.hard:
            return one_hot(stored.labels[rows], self.num_classes, self.smoothing)
        return sharpen(stored.rows(rows), self.temperature)

    @functools.lru_cache(maxsize=_OPEN_SHARDS)  # noqa: B019
    def _stored(self, shard: int) -> ShardTargets:
        return ShardTargets(label_path(self.labels, shard))


def one_hot(labels: npt.NDArray[np.integer], num_classes: int, smoothing: float) -> npt.NDArray[np.float32]:
    """Targets [N, C] of hard labels [N]: 1 - smoothing on the class, the rest spread over all (official main.py).

    Raises:
        DataError: a label is none of the classes.
    """
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"a labelled image has the label {wrong}, but there are {num_classes} classes; mend its label")
    targets = np.full((len(labels), num_classes), smoothing / num_classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets


def sharpen(soft: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Soft labels [N, C] at a temperature: p^(1/T), renormalised (official main.py, stored probabilities)."""
    if temperature == 1:
        return soft
    powered = soft ** np.float32(1 / temperature)
    sharpened: npt.NDArray[np.float32] = powered / powered.sum(axis=1, keepdims=True)
    return sharpened
