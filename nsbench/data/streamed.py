"""Images of a listing as a model is shown them, decoded batch by batch: any number of them, in any layout."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from nsbench.data.folder import BadImagePolicy
from nsbench.data.listing import Listing
from nsbench.data.pictures import BadImage, View, default_workers
from nsbench.errors import DataError
from nsbench.files import fingerprint

_AHEAD = 2
"""Batches that are decoded while the model works on one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamedSet:
    """What `ImageSet` is in memory, from files: the same fields, but the pixels come in batches.

    A file that is no image is an error, or is shown black and named: whoever measures leaves it out and counts it.
    """

    listing: Listing
    view: View
    on_bad_image: BadImagePolicy = "error"
    workers: int | None = None
    """Threads that decode; by default one a core, at most 16."""
    subset: tuple[int, ...] | None = None
    """The classes, ascending, that an answer may name; None: all of the model's."""
    note: str = ""
    """What protocols must say of the set: `not held out`, `partial: ...`."""

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
        waiting: list[tuple[slice, list[Future[npt.NDArray[np.uint8] | str]]]] = []
        pool = ThreadPoolExecutor(self.workers or default_workers(), "decode")
        try:
            for rows in slices:
                waiting.append((rows, [pool.submit(self._show, row) for row in range(*rows.indices(len(self)))]))
                if len(waiting) > _AHEAD:
                    yield self._joined(*waiting.pop(0))
            for item in waiting:
                yield self._joined(*item)
        finally:
            pool.shutdown(cancel_futures=True)

    def _show(self, row: int) -> npt.NDArray[np.uint8] | str:
        try:
            return self.view.show(self.listing.stored(row))
        except BadImage as error:
            return str(error)

    def _joined(
        self, rows: slice, shown: list[Future[npt.NDArray[np.uint8] | str]]
    ) -> tuple[slice, npt.NDArray[np.uint8], dict[int, str]]:
        pixels = np.zeros((len(shown), self.size, self.size, 3), dtype=np.uint8)
        bad: dict[int, str] = {}
        for place, future in enumerate(shown):
            picture = future.result()
            if isinstance(picture, str):
                bad[rows.start + place] = picture
            else:
                pixels[place] = picture
        if bad and self.on_bad_image == "error":
            row, reason = next(iter(bad.items()))
            raise DataError(
                f"{self.listing.where(row)} cannot be read ({reason}); copy it again, or leave such images out, "
                "counted, with --on-bad-image skip"
            )
        return rows, pixels, bad
