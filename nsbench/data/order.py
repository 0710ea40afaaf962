"""The order of an endless stream of passes over sharded images: a pure function of the seed and of the position.

No shuffle buffer: a pass visits the shards in an order of its own, and mixes the visits of a window of neighbours. Any
rank, worker or resumed run finds its place without having been anywhere before.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from nsbench.files import derive_seed

_KEPT = 8
"""Passes and windows in memory: two parts of a batch, each crossing into a new one."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PassOrder:
    """Passes over shards, each a seeded permutation of the shards, cut into windows whose visits are permuted.

    Every pass visits each visit of each shard once. Two orders of the same fields say the same; memory is that of a
    few windows, and of one permutation of the shards.

    Raises:
        ValueError: no counts, a negative one, none above 0, or a window below 1.
    """

    counts: npt.NDArray[np.int64]
    """[S] visits of each shard in one pass: its images, a duplicated one several times, a dropped one never."""
    seed: int
    window: int
    """Shards that are mixed with one another."""

    def __post_init__(self) -> None:
        if self.counts.ndim != 1 or not self.counts.any() or self.counts.min() < 0:
            raise ValueError("counts must be whole numbers of 0 or more, and one of them above 0")
        if self.window < 1:
            raise ValueError(f"a window of {self.window} shards must have 1 or more")

    @functools.cached_property
    def visits(self) -> int:
        """Of one pass."""
        return int(self.counts.sum())

    def at(self, start: int, stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where the stream is at positions start..stop-1.

        Returns:
            Shard [n], and visit within the shard [n], in 0..counts[shard]-1.

        Raises:
            ValueError: positions are not 0 <= start <= stop.
        """
        if not 0 <= start <= stop:
            raise ValueError(f"positions {start}..{stop} are none of the stream")
        shards, visits = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while start < stop:
            number, offset = divmod(start, self.visits)
            order, ends = _pass(self, number)
            index = int(np.searchsorted(ends, offset, side="right"))
            begin = int(ends[index - 1]) if index else 0
            taken = slice(offset - begin, min(int(ends[index]), offset + stop - start) - begin)
            of_window = order[index * self.window : (index + 1) * self.window]
            last = np.cumsum(self.counts[of_window])
            mixed = _window(self, number, index)[taken].astype(np.int64)
            place = np.searchsorted(last, mixed, side="right")
            shards.append(of_window[place])
            visits.append(mixed - (last - self.counts[of_window])[place])
            start += len(mixed)
        return np.concatenate(shards), np.concatenate(visits)


@functools.lru_cache(_KEPT)
def _pass(order: PassOrder, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The shards that are visited at all, in the order of one pass; and where each window ends [W]."""
    shards = _rng(order.seed, "shards", number).permutation(np.flatnonzero(order.counts))
    ends = np.cumsum(order.counts[shards])
    return shards, np.append(ends[order.window - 1 : -1 : order.window], ends[-1])


@functools.lru_cache(_KEPT)
def _window(order: PassOrder, number: int, index: int) -> npt.NDArray[np.uint32]:
    """The visits of one window in their order: place k is the k-th visit of its shards laid end to end."""
    _, ends = _pass(order, number)
    length = int(ends[index]) - (int(ends[index - 1]) if index else 0)
    return _rng(order.seed, "window", number, index).permutation(np.arange(length, dtype=np.uint32))


def _rng(*parts: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(derive_seed("order", *parts)))
