"""Images decoded once and kept: every corruption, model, rank and later run starts from the same file of pixels."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nsbench.data.images import ImageSet
from nsbench.data.streamed import StreamedSet
from nsbench.errors import DataError
from nsbench.files import fingerprint, read_json, write_json
from nsbench.track import Progress

_SLICE = 256


def hold(images: StreamedSet, cache: Path, progress: Progress | None = None) -> ImageSet:
    """The images as one array, mapped from a file in `cache` that is written the first time: N x size x size x 3 bytes.

    The system keeps of it in memory what fits: 50,000 images of 224 px are 7.5 GB. An image that could not be read is
    tried again each time; once it can be, all are decoded anew.

    Returns:
        The images that can be read; the others are named in `unreadable`.

    Raises:
        DataError: a file is no image and the set's policy is `error`; or the cache cannot be written, or holds
            something else.
    """
    pixels_path = cache / f"pixels-{images.fingerprint}.npy"
    index_path = pixels_path.with_suffix(".json")
    unreadable = _index(index_path) if pixels_path.is_file() else None
    if unreadable is None or _mended(images, unreadable):
        try:
            unreadable = _decode(images, pixels_path, progress or Progress("none"))
            write_json(index_path, {"unreadable": sorted(unreadable.items())})  # last: it says that all is there
        except OSError as error:
            raise DataError(
                f"{pixels_path} cannot be written ({error.strerror}); {_bytes(images) / 2**30:.1f} GiB are needed, or "
                "choose another folder with --set data.cache_dir=..."
            ) from None
    good = np.array([row for row in range(len(images)) if row not in unreadable], dtype=np.int64)
    return ImageSet(
        name=images.name,
        ids=images.ids[good],
        pixels=_mapped(pixels_path, (len(good), images.size, images.size, 3)),
        labels=images.labels[good],
        classes=images.classes,
        preprocessing=images.preprocessing,
        subset=images.subset,
        made_from=fingerprint(images.fingerprint, sorted(unreadable)) if unreadable else images.fingerprint,
        unreadable=tuple((str(images.ids[row]), reason) for row, reason in sorted(unreadable.items())),
    )


def _index(path: Path) -> dict[int, str] | None:
    """Which rows the file of pixels lacks, and why; None where nothing says so."""
    try:
        return {int(row): str(reason) for row, reason in read_json(path)["unreadable"]}
    except (DataError, KeyError, TypeError, ValueError):
        return None


def _mended(images: StreamedSet, unreadable: Collection[int]) -> bool:
    """Whether one of the rows can be read by now.

    Raises:
        DataError: one cannot, and the set's policy is `error`.
    """
    return any(not bad for row in unreadable for _, _, bad in images.batches([slice(row, row + 1)]))


def _decode(images: StreamedSet, path: Path, progress: Progress) -> dict[int, str]:
    """Write the pixels of all readable rows whole or not at all; returns the others, and why."""
    unreadable: dict[int, str] = {}
    slices = [slice(start, min(start + _SLICE, len(images))) for start in range(0, len(images), _SLICE)]
    with _unfinished(path) as stream, progress.counter(f"read {images.name}", len(images), unit="image") as counter:
        _write_header(stream, images, len(images))
        for rows, shown, bad in images.batches(slices):
            good = [place for place in range(len(shown)) if rows.start + place not in bad]
            stream.write((shown[good] if bad else shown).data)
            unreadable |= bad
            counter.advance(len(shown))
        stream.seek(0)
        _write_header(stream, images, len(images) - len(unreadable))
    return unreadable


def _write_header(stream: BinaryIO, images: StreamedSet, count: int) -> None:
    """NumPy leaves room in it, so that it is as long for fewer images."""
    shape = (count, images.size, images.size, 3)
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that becomes it when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _mapped(path: Path, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    try:
        pixels: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it and its .json, and run again") from None
    if not isinstance(pixels, np.ndarray) or pixels.shape != shape or pixels.dtype != np.uint8:
        raise DataError(f"{path} holds other pixels than its name says; delete it and its .json, and run again")
    return pixels


def _bytes(images: StreamedSet) -> int:
    return len(images) * images.size**2 * 3
