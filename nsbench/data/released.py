"""Released corrupted images and clips as evaluations ask for them: a cell at a time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from nsbench.data.clips import ClipSet
from nsbench.data.corrupted import CorruptionTree, PerturbationTree
from nsbench.data.streamed import StreamedSet
from nsbench.data.tree import subfolders, visible
from nsbench.errors import DataError
from nsbench.files import fingerprint

_PROBED_CLASSES = 16

Tree = TypeVar("Tree", CorruptionTree, PerturbationTree)
Cell = TypeVar("Cell")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Released(Generic[Tree, Cell]):
    """A tree of cells, and how one of them is opened for a model."""

    tree: Tree
    open: Callable[[str], Cell]
    """The images or clips of one cell."""

    @property
    def name(self) -> str:
        return self.tree.name

    @property
    def cells(self) -> tuple[str, ...]:
        return self.tree.cells

    def fingerprint(self, cell: str) -> str:
        """Of one cell, see `probe`."""
        return probe(self.tree.folders[cell])


class ReleasedImages(_Released[CorruptionTree, StreamedSet]):
    """ImageNet-C or ImageNet-C-bar."""

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.tree.size

    @property
    def preprocessing(self) -> str:
        """For protocols."""
        return self.open(self.cells[0]).preprocessing


class ReleasedClips(_Released[PerturbationTree, ClipSet]):
    """ImageNet-P."""

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return self.open(self.cells[0]).size


def probe(root: Path) -> str:
    """Sixteen hexadecimal digits over the class folders' names and, of 16 of them, the files' names and the first file.

    A cell has 50,000 files and ImageNet-C 95 cells: listing all of them at every start would take minutes. Another set,
    or the same one made otherwise, differs in every file.

    Raises:
        DataError: a folder or file cannot be read.
    """
    folders = subfolders(root)
    names = sorted(folders)
    places = np.unique(np.linspace(0, max(0, len(names) - 1), _PROBED_CLASSES).round().astype(int))[: len(names)]
    parts: list[Any] = [names]
    try:
        for name in (names[place] for place in places):
            files = sorted(entry.name for entry in visible(folders[name]) if entry.is_file())
            content = (folders[name] / files[0]).read_bytes() if files else b""
            parts.append([files, hashlib.sha256(content).hexdigest()])
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})") from None
    return fingerprint(*parts)
