"""Images of a listing as a model is shown them, decoded batch by batch: any number of them, in any layout."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from nsbench.data.folder import BadImagePolicy
from nsbench.data.listing import Listing
from nsbench.data.pictures import BadImage, View, default_workers
from nsbench.errors import DataError
from nsbench.files import fingerprint

T = TypeVar("T")
L = TypeVar("L", bound=Listing)

_AHEAD = 2
"""Batches that are decoded while the model works on one."""


def ahead(
    show: Callable[[int], T], slices: Iterable[slice], length: int, workers: int | None
) -> Iterator[tuple[slice, list[T]]]:
    """`show(row)` of all rows of each slice, worked out in threads while the caller is busy with an earlier slice."""
    waiting: list[tuple[slice, list[Future[T]]]] = []
    pool = ThreadPoolExecutor(workers or default_workers(), "decode")
    try:
        for rows in slices:
            waiting.append((rows, [pool.submit(show, row) for row in range(*rows.indices(length))]))
            if len(waiting) > _AHEAD:
                first, futures = waiting.pop(0)
                yield first, [future.result() for future in futures]
        for rows, futures in waiting:
            yield rows, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streamed(Generic[L]):
    """Stored images or clips that come in batches. One that cannot be read is an error, or is shown black and named:
    whoever measures leaves it out and counts it."""

    listing: L
    on_bad_image: BadImagePolicy = "error"
    workers: int | None = None
    """Threads that decode; by default one a core, at most 16."""

    def __len__(self) -> int:
        return len(self.listing)

    @property
    def name(self) -> str:
        return self.listing.name

    @functools.cached_property
    def ids(self) -> npt.NDArray[np.str_]:
        """[N]."""
        return np.array(self.listing.ids, dtype=np.str_)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """[N]."""
        return self.listing.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.listing.classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamedSet(Streamed[Listing]):
    """What `ImageSet` is in memory, from files: the same fields, but the pixels come in batches."""

    view: View
    subset: tuple[int, ...] | None = None
    """The classes, ascending, that an answer may name; None: all of the model's."""
    note: str = ""
    """What protocols must say of the set: `not held out`, `partial: ...`."""

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.view.size

    @property
    def preprocessing(self) -> str:
        """How the pixels come from the stored images, for protocols."""
        return "; ".join(filter(None, (str(self.view), self.note)))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over everything that the pixels depend on."""
        return fingerprint(self.listing.fingerprint(), dataclasses.asdict(self.view), self.subset)

    def batches(self, slices: Iterable[slice]) -> Iterator[tuple[slice, npt.NDArray[np.uint8], dict[int, str]]]:
        """Pixels uint8 [n, size, size, 3] of each slice, and why rows of it are black; decoded ahead in threads.

        Raises:
            DataError: a file is no image, and the policy is `error`.
        """
        for rows, shown in ahead(self._show, slices, len(self), self.workers):
            yield self._joined(rows, shown)

    def _show(self, row: int) -> npt.NDArray[np.uint8] | str:
        try:
            return self.view.show(self.listing.stored(row))
        except BadImage as error:
            return str(error)

    def _joined(
        self, rows: slice, shown: Sequence[npt.NDArray[np.uint8] | str]
    ) -> tuple[slice, npt.NDArray[np.uint8], dict[int, str]]:
        pixels = np.zeros((len(shown), self.size, self.size, 3), dtype=np.uint8)
        bad = {rows.start + place: picture for place, picture in enumerate(shown) if isinstance(picture, str)}
        for place, picture in enumerate(shown):
            if not isinstance(picture, str):
                pixels[place] = picture
        if bad and self.on_bad_image == "error":
            raise self.bad_image(*next(iter(bad.items())))
        return rows, pixels, bad

    def bad_image(self, row: int, reason: str) -> DataError:
        """What is said of an image that cannot be read, where that is an error."""
        return DataError(
            f"{self.listing.where(row)} cannot be read ({reason}); copy it again, or leave such images out, counted, "
            "with --on-bad-image skip"
        )
