"""Class folders on disk: one pass over their entries in threads; no file is opened, and none is left out unsaid."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nsbench.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""torchvision's list; upper and lower case are the same."""
CLIP_SUFFIXES = frozenset({".mp4"})

_THREADS = 16
"""On network disks the time goes into waiting; a local one takes no harm."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    """What `<root>/<class>/<file>` holds. Hidden entries (a leading dot) count nowhere."""

    root: Path
    classes: tuple[str, ...]
    """Names of the folders, sorted."""
    files: tuple[tuple[str, ...], ...]
    """For each class its files, sorted."""
    left_out: tuple[str, ...]
    """`<class>/<entry>` of what is no file with a known suffix."""
    loose: tuple[str, ...]
    """Files with a known suffix that lie in `root` itself, sorted."""
    others: tuple[str, ...]
    """What else lies in `root` and is no folder, sorted."""

    def __len__(self) -> int:
        return sum(map(len, self.files))


def scan(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Tree:
    """List the class folders below `root`. Symbolic links are followed: on clusters data are often links.

    A file counts by its suffix; a link that leads nowhere counts too, so that reading it says so. Pipes, sockets and
    devices never count: opening one may wait for ever.

    Raises:
        DataError: `root` or a folder in it cannot be read, or `root` is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; it must hold a folder of images for each class")
    try:
        entries = visible(root)
        classes = sorted(entry.name for entry in entries if entry.is_dir())
        with ThreadPoolExecutor(_THREADS, "scan") as pool:
            found = list(pool.map(lambda name: _sorted_out(root / name, suffixes), classes))
    except OSError as error:
        raise unreadable(error) from None
    return Tree(
        root=root,
        classes=tuple(classes),
        files=tuple(files for files, _ in found),
        left_out=tuple(f"{c}/{name}" for c, (_, others) in zip(classes, found, strict=True) for name in others),
        loose=tuple(sorted(entry.name for entry in entries if counts(entry, suffixes))),
        others=tuple(sorted(e.name for e in entries if not counts(e, suffixes) and not e.is_dir())),
    )


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden, in no order."""
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def subfolders(folder: Path) -> dict[str, Path]:
    """Visible folders in `folder` by their names, sorted; empty where `folder` is none.

    Raises:
        DataError: it cannot be read.
    """
    if not folder.is_dir():
        return {}
    try:
        return {name: folder / name for name in sorted(entry.name for entry in visible(folder) if entry.is_dir())}
    except OSError as error:
        raise unreadable(error) from None


def counts(entry: os.DirEntry[str], suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether an entry is a file with one of the suffixes, or a link to nowhere that should be one."""
    if os.path.splitext(entry.name)[1].lower() not in suffixes:
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def unreadable(error: OSError) -> DataError:
    """What the file system said, as one line."""
    return DataError(f"{error.filename} cannot be read ({error.strerror})")


def _sorted_out(folder: Path, suffixes: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the files that count and of all else, each sorted."""
    files: list[str] = []
    others: list[str] = []
    for entry in visible(folder):
        (files if counts(entry, suffixes) else others).append(entry.name)
    return tuple(sorted(files)), tuple(sorted(others))
