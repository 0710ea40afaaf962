"""What a pool of images is, whatever holds them, and pools that are made of others."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nsbench.data.images import ImageSet
from nsbench.data.listing import Listing
from nsbench.files import fingerprint

KEPT_SHARDS = 32
"""Shards that stay open, without pixels: two windows of 16."""


class Pool(Protocol):
    """Stored images in shards. It can be pickled and forked: what is open is open in one process alone."""

    @property
    def name(self) -> str:
        """For protocols."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index; empty where they are not known."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over all shards."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """[S] images of each shard; where it is not known each is opened."""

    def __len__(self) -> int:
        """Number of shards S."""

    def shard_name(self, index: int) -> str:
        """For messages: the path of a tar."""

    def shard(self, index: int) -> Listing | ImageSet:
        """Ids, unique and stable, and labels, -1 where they are not known; the last few stay open.

        Raises:
            DataError: what it was made of is gone, or is damaged.
        """

    def shard_fingerprint(self, index: int) -> str:
        """Sixteen hexadecimal digits, cheap: over names, lengths and a sample of the contents."""


class Shards(abc.ABC):
    """What all pools have in common. A forked process opens its own: its number is part of what is looked up."""

    kept: int = KEPT_SHARDS

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def _open(self, index: int) -> Any: ...

    @abc.abstractmethod
    def shard_fingerprint(self, index: int) -> str: ...

    def shard(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"shard {index} of {len(self)}")
        return self._recent(os.getpid(), index)

    @functools.cached_property
    def _recent(self) -> Callable[[int, int], Any]:
        return functools.lru_cache(self.kept)(lambda _process, index: self._open(index))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_recent"}

    @functools.cached_property
    def fingerprint(self) -> str:
        return fingerprint([self.shard_fingerprint(index) for index in range(len(self))])

    @functools.cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        return np.array([len(self.shard(index)) for index in range(len(self))], dtype=np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PartPool(Shards):
    """Some images of each shard of another pool; shards of which none is left are left out."""

    pool: Pool
    rows: tuple[npt.NDArray[np.int64], ...] = dataclasses.field(repr=False)
    """For each shard of `pool`, the rows that are here."""
    hidden: bool = False
    """Whether labels are not told."""
    kept: int = KEPT_SHARDS

    @property
    def name(self) -> str:
        return self.pool.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pool.classes

    @functools.cached_property
    def _shards(self) -> tuple[int, ...]:
        return tuple(index for index, rows in enumerate(self.rows) if len(rows))

    @functools.cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        return np.array([len(self.rows[shard]) for shard in self._shards], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._shards)

    def shard_name(self, index: int) -> str:
        return self.pool.shard_name(self._shards[index])

    def shard_fingerprint(self, index: int) -> str:
        shard = self._shards[index]
        return fingerprint(self.pool.shard_fingerprint(shard), self.rows[shard])

    def _open(self, index: int) -> Any:
        shard = self._shards[index]
        taken = self.pool.shard(shard).take(self.rows[shard])
        return dataclasses.replace(taken, labels=np.full(len(taken), -1)) if self.hidden else taken


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class JoinedPool:
    """The shards of several pools, one pool after the other."""

    name: str
    pools: tuple[Pool, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.pools))

    def _at(self, index: int) -> tuple[Pool, int]:
        for pool in self.pools:
            if 0 <= index < len(pool):
                return pool, index
            index -= len(pool)
        raise IndexError(f"{self.name} has {len(self)} shards")

    def shard_name(self, index: int) -> str:
        pool, place = self._at(index)
        return pool.shard_name(place)

    def shard(self, index: int) -> Listing | ImageSet:
        pool, place = self._at(index)
        return pool.shard(place)

    def shard_fingerprint(self, index: int) -> str:
        pool, place = self._at(index)
        return pool.shard_fingerprint(place)

    @functools.cached_property
    def fingerprint(self) -> str:
        return fingerprint([pool.fingerprint for pool in self.pools])

    @functools.cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        return np.concatenate([pool.sizes for pool in self.pools] or [np.empty(0, np.int64)])
