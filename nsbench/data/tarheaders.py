"""The members of a tar by their headers alone; nothing else of it is read."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nsbench.data.tree import IMAGE_SUFFIXES
from nsbench.errors import DataError

Member = tuple[str, int, int]
"""Name, first byte and length."""

_BLOCK, _READ = 512, 4096
_END = bytes(_BLOCK)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_HARMLESS_PAX = re.compile(rb"(\d+ (?:mtime|atime|ctime|uid|gid|uname|gname)=[^\n]*\n)+\0*")
"""Extended headers that neither rename nor resize a member: webdataset's writer puts one before each."""


def members(path: Path, file: BinaryIO) -> Iterator[Member]:
    """The regular files of a tar. Plain headers are read here, all others by the standard library, which takes five
    times as long.

    Raises:
        DataError: what is there is no tar, is compressed, or ends too early; or an image is none by itself.
    """
    blocks = _Blocks(file.fileno())
    packed = next((kind for magic, kind in _COMPRESSED.items() if blocks.at(0).startswith(magic)), None)
    if packed and not _is_header(blocks.at(0)):
        raise DataError(f"{path} is compressed ({packed}); unpack it first: its images are read by their position")
    try:
        library = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="strict")
        position = 0
        while blocks.at(position) != _END:
            member, position = _plain(blocks, position) or _by_library(path, library, position)
            if member is None:
                continue
            if member[1] + member[2] > blocks.num_bytes:
                raise DataError(f"{path} is cut off within {member[0]}; copy it again")
            yield member
    except UnicodeDecodeError:
        raise DataError(f"{path} is cut off, or has a member whose name is not UTF-8; copy or pack it again") from None
    except tarfile.TarError as error:
        raise DataError(f"{path} is no tar, or is cut off or damaged ({error}); copy it again") from None


class _Blocks:
    """Blocks of a file by their position, read a few at a time: the next header often lies beside a small member."""

    def __init__(self, handle: int) -> None:
        self.num_bytes = os.fstat(handle).st_size
        self._handle, self._start, self._read = handle, 0, b""

    def at(self, position: int) -> bytes:
        """512 bytes; fewer at the end of the file."""
        offset = position - self._start
        if not 0 <= offset <= len(self._read) - _BLOCK:
            self._start, self._read, offset = position, os.pread(self._handle, _READ, position), 0
        return self._read[offset : offset + _BLOCK]


def _is_header(block: bytes) -> bool:
    return block[257:262] == b"ustar"


def _plain(blocks: _Blocks, position: int) -> tuple[Member, int] | None:
    """A regular file whose header says all (POSIX.1-1988 ustar), and the position of the next header; else None."""
    header = blocks.at(position)
    if header[156:157] == b"x" and _HARMLESS_PAX.fullmatch(blocks.at(position + _BLOCK)):
        position += 2 * _BLOCK
        header = blocks.at(position)
    if header[156:157] != b"0" or not _is_header(header) or header[124] & 0x80:
        return None
    try:
        check, size = (int(header[field].strip(b" \0") or b"0", 8) for field in (slice(148, 156), slice(124, 136)))
        name, prefix = (header[field].partition(b"\0")[0].decode() for field in (slice(100), slice(345, 500)))
    except ValueError:
        return None
    if check != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        return None
    start = position + _BLOCK
    return (f"{prefix}/{name}" if prefix else name, start, size), start + -(-size // _BLOCK) * _BLOCK


def _by_library(path: Path, library: tarfile.TarFile, position: int) -> tuple[Member | None, int]:
    """Any member, and the position of the next header; None for what is no regular file."""
    assert library.fileobj is not None
    library.fileobj.seek(position)
    found = tarfile.TarInfo.fromtarfile(library)
    is_image = os.path.splitext(found.name)[1].lower() in IMAGE_SUFFIXES
    if is_image and (found.issym() or found.islnk() or found.sparse is not None):
        raise DataError(
            f"{path}: {found.name} is a link or has holes, which is no image by itself; pack it again with "
            "tar --hard-dereference -h"
        )
    return ((found.name, found.offset_data, found.size) if found.isreg() else None), library.offset
