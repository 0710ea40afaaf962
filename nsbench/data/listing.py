"""Stored images before any is decoded: their ids, their classes, and where each lies."""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from nsbench.files import fingerprint

_COMPARED_FILES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing(abc.ABC):
    """Everything about a set of stored images but the pixels. A layout on disk is a subclass."""

    name: str
    """What the set is called in protocols and tables."""
    ids: tuple[str, ...]
    """[N] stable and unique: the same image has the same id in every layout that a set is published in."""
    labels: npt.NDArray[np.int64]
    """[N] class indices, as the model's head counts them."""
    classes: tuple[str, ...]
    """Class names by index."""

    def __len__(self) -> int:
        return len(self.ids)

    @abc.abstractmethod
    def stored(self, row: int) -> Path | io.BytesIO:
        """What Pillow opens to see one image."""

    @abc.abstractmethod
    def where(self, row: int) -> str:
        """Where one image lies, for messages."""

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Self:
        """The images at `rows`, in that order; the classes stay."""
        return dataclasses.replace(self, ids=tuple(self.ids[row] for row in rows), labels=self.labels[list(rows)])

    def limited(self, limit: int | None) -> Self:
        """At most `limit` images, in order: the first of every class, then the second of every class, and so on."""
        if limit is None or limit >= len(self):
            return self
        return self.take(first_of_every_class(self.labels, limit))

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over ids, labels and the contents of up to 64 images spread over the set.

        Reading all of ImageNet's 6.7 GB would take minutes; another set, or the same one processed otherwise, differs
        in every file. What cannot be read counts as such: whoever decodes it says so.
        """
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        rows = np.unique(np.linspace(0, max(0, len(self) - 1), _COMPARED_FILES).round().astype(int))[: len(self)]
        contents = [_digest(self.stored(row)) for row in rows.tolist()]
        return fingerprint(self.ids, self.labels, contents)


AnyListing = TypeVar("AnyListing", bound=Listing)


def first_of_every_class(labels: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Rows [limit], ascending: the first of every class, then the second of every class, and so on."""
    return np.sort(np.lexsort((labels, _turns(labels)))[:limit])


def _turns(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Place [N] of each image within its class."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    turns = np.empty(len(labels), dtype=np.int64)
    turns[order] = np.arange(len(labels)) - starts
    return turns


def _digest(stored: Path | io.BytesIO) -> str:
    try:
        content = stored.read_bytes() if isinstance(stored, Path) else stored.getvalue()
    except OSError:
        return "unreadable"
    return hashlib.sha256(content).hexdigest()
