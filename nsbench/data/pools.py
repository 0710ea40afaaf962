"""Sets of stored images cut into shards, which are labelled, resumed and mixed as wholes."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsbench.data.class_names import agreed
from nsbench.data.folder import Folder
from nsbench.data.images import ImageSet
from nsbench.data.listing import Listing
from nsbench.data.real_labels import val_number
from nsbench.data.sharded import KEPT_SHARDS, JoinedPool, PartPool, Pool, Shards
from nsbench.data.sources import find, sampled_fingerprint
from nsbench.data.tables import list_rows
from nsbench.data.tars import open_tar
from nsbench.errors import DataError
from nsbench.files import derive_seed, fingerprint
from nsbench.track import Progress

__all__ = ["FilePool", "HeldPool", "JoinedPool", "ListedPool", "PartPool", "Pool", "open_pool", "part"]


class _Sliced(Shards):
    """Neighbours of one set, `shard_images` to a shard; 0: all in one."""

    shard_images: int

    @property
    @abc.abstractmethod
    def _all(self) -> Listing | ImageSet: ...

    @property
    def name(self) -> str:
        return self._all.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self._all.classes

    def __len__(self) -> int:
        return math.ceil(len(self._all) / (self.shard_images or max(1, len(self._all))))

    def shard_name(self, index: int) -> str:
        rows = self._rows(index)
        return f"{self.name}, images {rows.start:,} to {rows.stop - 1:,}"

    def _rows(self, index: int) -> range:
        size = self.shard_images or len(self._all)
        return range(index * size, min((index + 1) * size, len(self._all)))


@dataclasses.dataclass(frozen=True, eq=False)
class HeldPool(_Sliced):
    """Images in memory."""

    images: ImageSet
    shard_images: int = 0

    @property
    def _all(self) -> ImageSet:
        return self.images

    def _open(self, index: int) -> ImageSet:
        rows = self._rows(index)
        return self.images if len(self) == 1 else self.images.take(slice(rows.start, rows.stop))

    def shard_fingerprint(self, index: int) -> str:
        shard: ImageSet = self.shard(index)
        return shard.fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ListedPool(_Sliced):
    """Images in files of their own."""

    listing: Folder
    shard_images: int
    kept: int = KEPT_SHARDS

    @property
    def _all(self) -> Folder:
        return self.listing

    def _open(self, index: int) -> Folder:
        shard = self.listing.take(self._rows(index))
        for folder in dict.fromkeys(path.parent for path in shard.paths):
            if not folder.is_dir():
                raise DataError(f"{folder} is gone since its images were listed; put it back and run again")
        return shard

    def shard_fingerprint(self, index: int) -> str:
        shard: Folder = self.shard(index)
        sample = sorted({0, len(shard) // 2, len(shard) - 1})
        return fingerprint(shard.ids, shard.labels, shard.take(sample).fingerprint())


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FilePool(Shards):
    """A tar, Parquet or Arrow file is a shard."""

    name: str
    paths: tuple[Path, ...]
    labelled: bool
    classes: tuple[str, ...] = ()
    kept: int = KEPT_SHARDS
    index: Path | None = None
    """Folder that keeps where the images of each tar lie."""
    lengths: tuple[int, ...] = dataclasses.field(default=(), repr=False)
    """Images of each file, where all have been opened already."""
    without_val: bool = False
    """Whether ImageNet's validation images, known by their names, are left out of every shard."""

    def __len__(self) -> int:
        return len(self.paths)

    def shard_name(self, index: int) -> str:
        return str(self.paths[index])

    def shard_fingerprint(self, index: int) -> str:
        return sampled_fingerprint(self.paths[index])

    @functools.cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        return np.array(self.lengths, dtype=np.int64) if self.lengths else super().sizes

    def _open(self, index: int) -> Listing:
        listing = self._listing(index)
        if self.without_val:
            listing = listing.take([row for row, key in enumerate(listing.ids) if val_number(key) is None])
        return dataclasses.replace(listing, classes=self.classes or listing.classes)

    def _listing(self, index: int) -> Listing:
        path = self.paths[index]
        if path.suffix.lower() != ".tar":
            return list_rows([path], self.name, labelled=self.labelled)
        kind = "labelled" if self.labelled else "images"
        kept = self.index and self.index / f"tar-{self.shard_fingerprint(index)}-{kind}.npz"
        return open_tar(path, name=self.name, labelled=self.labelled, index=kept)


def open_pool(
    sources: Sequence[str | Path],
    *,
    name: str,
    shard_images: int,
    labelled: bool,
    kept: int = KEPT_SHARDS,
    index: Path | None = None,
    progress: Progress | None = None,
) -> Pool:
    """The images of all sources, one source after the other (`nsbench.data.sources.find` says what a source is).

    Files keep their order. Folders are sorted by class, which shards must not be: their images are shuffled once, in
    the same way for every seed.

    Args:
        name: for protocols and tables.
        shard_images: images of a shard of what is not sharded on disk; a file of many images is a shard.
        labelled: whether classes are needed: then every file is opened now, and all must know the same classes.
            Otherwise all labels are -1, whatever is known.
        kept: shards that stay open in each process, without pixels.
        index: folder that keeps where the images of each tar lie, so that a tar's headers are read once.
        progress: shows a counter of the files that are opened.

    Raises:
        DataError: see `find` and `open_tar`; class names of labelled sources differ; a source is named twice.
    """
    places = [Path(source).absolute() for source in sources]
    twice = next((source for source, place in zip(sources, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise DataError(f"{twice} is named twice among the sources of {name}; name it once")
    pools: list[ListedPool | FilePool] = []
    for source in sources:
        found = find(source, labelled=labelled)
        if isinstance(found, Folder):
            mixed = dataclasses.replace(found.take(_rng(len(found)).permutation(len(found))), name=name)
            pools.append(ListedPool(listing=mixed, shard_images=shard_images, kept=kept))
        else:
            pools.append(FilePool(name=name, paths=tuple(found), labelled=labelled, kept=kept, index=index))
    classes = _label(pools, progress or Progress("none")) if labelled else ()
    return pools[0] if len(pools) == 1 else JoinedPool(name=name, pools=tuple(pools), classes=classes)


def part(pool: Pool, keep: npt.NDArray[np.bool_], *, hidden: bool = False) -> Pool:
    """The images of a pool for which `keep` [N] says so, over all shards; without their labels if `hidden`."""
    if keep.all() and not hidden:
        return pool
    if isinstance(pool, ListedPool):  # whole shards again
        taken = pool.listing.take(np.flatnonzero(keep))
        labels = np.full(len(taken), -1) if hidden else taken.labels
        return dataclasses.replace(pool, listing=dataclasses.replace(taken, labels=labels))
    rows = tuple(map(np.flatnonzero, np.split(keep, np.cumsum(pool.sizes)[:-1])))
    return PartPool(pool=pool, rows=rows, hidden=hidden)


def _label(pools: list[ListedPool | FilePool], progress: Progress) -> tuple[str, ...]:
    """Give every pool the classes of all of them, which are looked up in every file."""
    facts = [_facts(pool, progress) for pool in pools]
    classes = agreed([fact[:2] for of_pool in facts for fact in of_pool])
    for place, (pool, of_pool) in enumerate(zip(pools, facts, strict=True)):
        if isinstance(pool, ListedPool):
            pools[place] = dataclasses.replace(pool, listing=dataclasses.replace(pool.listing, classes=classes))
        else:
            pools[place] = dataclasses.replace(pool, classes=classes, lengths=tuple(fact[2] for fact in of_pool))
    return classes


def _facts(pool: ListedPool | FilePool, progress: Progress) -> list[tuple[str, tuple[str, ...], int]]:
    """Place, classes and length of a listing, or of each file."""
    if isinstance(pool, ListedPool):
        return [(str(pool.listing.root), pool.classes, len(pool.listing))]
    facts = []
    with progress.counter(f"open {pool.name}", len(pool), unit="file") as counter:
        for index in range(len(pool)):
            shard = pool.shard(index)
            numbers = tuple(map(str, range(int(shard.labels.max()) + 1)))
            facts.append((pool.shard_name(index), shard.classes or numbers, len(shard)))
            counter.advance()
    return facts


def _rng(length: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(derive_seed("pool", length)))
