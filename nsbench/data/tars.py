"""WebDataset tars: where the images of one lie, found in one pass over its headers, and read by position.

Nothing is unpacked, and no file stays open: a forked worker shares no handle. Keys are WebDataset's own.
"""

from __future__ import annotations

import dataclasses
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nsbench.data.listing import Listing
from nsbench.data.tarheaders import Member, members
from nsbench.data.tree import IMAGE_SUFFIXES, unreadable
from nsbench.errors import DataError
from nsbench.files import read_npz, write_npz

_KEY = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
"""webdataset's `base_plus_ext`: all up to the first dot of the file's name, and what follows it."""
_META = re.compile(r"__[^/]*__($|/)")
"""Members that webdataset skips."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarListing(Listing):
    """The images of one tar, in its order; an id is WebDataset's `__key__`."""

    path: Path
    num_bytes: int
    """Of the tar when it was listed."""
    places: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    """[N, 2] first byte and length of each image."""

    def stored(self, row: int) -> io.BytesIO:
        """One image file's bytes.

        Raises:
            DataError: the tar is gone, or is not as long as it was.
        """
        start, length = self.places[row].tolist()
        try:
            handle = os.open(self.path, os.O_RDONLY)
            try:
                content = os.pread(handle, length, start) if os.fstat(handle).st_size == self.num_bytes else b""
            finally:
                os.close(handle)
        except OSError as error:
            raise unreadable(error) from None
        if len(content) < length:
            raise DataError(f"{self.path} has changed since its images were listed; copy it again and run again")
        return io.BytesIO(content)

    def where(self, row: int) -> str:
        return f"{self.path}, {self.ids[row]}"

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Self:
        return dataclasses.replace(super().take(rows), places=self.places[list(rows)])


def open_tar(path: Path, *, name: str = "", labelled: bool = False, index: Path | None = None) -> TarListing:
    """List the images of a tar; of its contents only the `.cls` members are read, and those only if `labelled`.

    Args:
        name: for protocols and tables; by default the file's.
        labelled: labels are the numbers in the `.cls` members; otherwise all are -1.
        index: a file that keeps what was found in this very tar: with it the next process reads no header.

    Raises:
        DataError: it cannot be read, is compressed or cut off, or holds no images; a key has two images; or with
            `labelled` an image has no `.cls`, or one that is no class number.
    """
    if index is not None and index.is_file():
        found = read_npz(index)
    else:
        found = _scan(path, labelled)
        if index is not None:
            _write(index, found)
    return TarListing(
        name=name or path.name,
        ids=tuple(found["keys"].tobytes().decode().split("\0")),
        labels=found["labels"],
        classes=(),
        path=path,
        num_bytes=int(found["num_bytes"]),
        places=found["places"],
    )


def _scan(path: Path, labelled: bool) -> dict[str, npt.NDArray[Any]]:
    """Keys (UTF-8, parted by NUL), labels, places and the tar's length."""
    images: dict[str, Member] = {}
    labels: dict[str, int] = {}
    others = 0
    try:
        with path.open("rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size
            for member in members(path, file):
                key, ending = split_key(member[0])
                if key is None or _META.match(member[0]):
                    continue
                if "." + ending.rpartition(".")[2] in IMAGE_SUFFIXES:
                    _add(images, path, key, member)
                elif labelled and ending == "cls":
                    labels[key] = _class_number(path, member[0], os.pread(file.fileno(), member[2], member[1]))
                else:
                    others += 1
    except OSError as error:
        raise unreadable(error) from None
    if not images:
        raise DataError(f"{path} holds no images{f' among its {others:,} members' if others else ''}")
    without = [key for key in images if key not in labels] if labelled else []
    if without:
        raise DataError(f"{path} has no .cls for {len(without):,} of its {len(images):,} images, first {without[0]}")
    return {
        "keys": np.frombuffer("\0".join(images).encode(), dtype=np.uint8),
        "labels": np.array([labels[key] if labelled else -1 for key in images], dtype=np.int64),
        "places": np.array([place for _, *place in images.values()], dtype=np.int64),
        "num_bytes": np.array(num_bytes, dtype=np.int64),
    }


def _write(index: Path, found: Mapping[str, npt.NDArray[Any]]) -> None:
    try:
        write_npz(index, found)
    except OSError as error:
        raise DataError(f"{index} cannot be written ({error.strerror}); set data.cache_dir") from None


def split_key(member: str) -> tuple[str | None, str]:
    """WebDataset's key of a member and its ending in lower case; None where its name has no ending."""
    found = _KEY.fullmatch(member)
    return (found[1], found[2].lower()) if found else (None, "")


def _add(images: dict[str, Member], path: Path, key: str, found: Member) -> None:
    """Keep the image of a key. Beside `a.jpg` an `a.mask.png` is none; two of equal right are one too many."""
    if key in images:
        plain = [one for one in (images[key], found) if "." not in one[0][len(key) + 1 :]]
        if len(plain) != 1:
            raise DataError(
                f"{path} has two images of the key {key}: {images[key][0]} and {found[0]}; in WebDataset's tars a key "
                "ends at the first dot of a file's name, and is there once"
            )
        found = plain[0]
    images[key] = found


def _class_number(path: Path, member: str, content: bytes) -> int:
    text = content.strip()
    if not text.isdigit() or len(text) > 9:
        raise DataError(f"{path}: {member} holds {content[:20]!r}, which is no class number")
    return int(text)
