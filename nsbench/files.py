"""Whole files or none: atomic writes, and fingerprints that say whether two records belong together."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.errors import DataError


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to a temporary name beside `path`, flush it to disk, and rename it over `path`.

    A reader sees the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomic(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); delete it and run again") from None


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays as one compressed `.npz` file, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an `.npz` file; pickled objects are refused.

    Raises:
        DataError: the file is missing, cut off or not an archive of plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib, NumPy and the file system each raise their own
        raise _unreadable_npz(path, error) from None


class MissingArray(DataError, KeyError):
    """A record without an array that it must have; a KeyError too, so that `get` gives its default."""

    __str__ = Exception.__str__


_ALIKE = ("ids", "labels")
_MOST_HELD = 8
_SMALL_BYTES = 1024  # of a file that may hold a number or a word; longer ones are no less right, read each time
_HELD: dict[tuple[str, int, int, int], npt.NDArray[Any]] = {}


class NpzArrays(Mapping[str, npt.NDArray[Any]]):
    """The arrays of an `.npz` file, each read when it is asked for: a run has hundreds of files and needs few arrays.

    Most cells of a run show the same images: `ids` and `labels` that are alike, by length and checksum in the files'
    own directories, are one array in memory, which nothing may write to, and are unpacked once.

    Raises:
        DataError: as `read_npz`, when an array is asked for; `MissingArray` where there is none of its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._names:
            raise MissingArray(f"{self.path} has no array {name!r}; delete it and run again")
        alike = self._names[name]
        if name in self._small:
            return self._small[name]
        if name in _ALIKE and (held := _HELD.get(alike)) is not None:
            return held
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                array: npt.NDArray[Any] = archive[name]
        except Exception as error:
            raise _unreadable_npz(self.path, error) from None
        if name in _ALIKE:
            array.flags.writeable = False
            if len(_HELD) >= _MOST_HELD:
                _HELD.clear()
            _HELD[alike] = array
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def _names(self) -> dict[str, tuple[str, int, int, int]]:
        """The arrays, and what tells the content of one from that of another."""
        return self._opened[0]

    @property
    def _small(self) -> dict[str, npt.NDArray[Any]]:
        """Single numbers and words, which are asked for again and again: read on first sight of the file."""
        return self._opened[1]

    @functools.cached_property
    def _opened(self) -> tuple[dict[str, tuple[str, int, int, int]], dict[str, npt.NDArray[Any]]]:
        names: dict[str, tuple[str, int, int, int]] = {}
        small: dict[str, npt.NDArray[Any]] = {}
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                for member in archive.zip.infolist():
                    name = member.filename.removesuffix(".npy")
                    names[name] = (member.filename, member.CRC, member.file_size, member.compress_size)
                    if member.file_size <= _SMALL_BYTES and (array := archive[name]).ndim == 0:
                        array.flags.writeable = False
                        small[name] = array
        except Exception as error:
            raise _unreadable_npz(self.path, error) from None
        return names, small


def _unreadable_npz(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read ({error}); delete it and run again")


def fingerprint(*parts: Any) -> str:
    """Sixteen hexadecimal digits over JSON-able values and NumPy arrays (dtype, shape and bytes count)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=_scalar).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Sixteen hexadecimal digits over the bytes of one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def derive_seed(*parts: Any) -> int:
    """A 63-bit seed that depends on every part, stable across processes, machines and versions."""
    digest = hashlib.sha256(json.dumps(parts, default=_scalar).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _scalar(value: Any) -> Any:
    """NumPy's scalars count as Python's; anything else would be told apart by its name in print, if at all."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no fingerprint")
