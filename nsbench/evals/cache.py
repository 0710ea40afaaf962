"""Corrupted pixels, made once and kept for every generation and run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.errors import DataError
from nsbench.files import write_atomic

_DIGEST_BYTES = 32


def cached_array(path: Path, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The array in `path`, made and written first where the file is missing or damaged.

    The file is a plain `.npy` followed by the SHA-256 of its bytes; `numpy.load` reads it too.

    Raises:
        DataError: the file cannot be written.
    """
    array = _read(path)
    if array is None:
        array = make()
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        content = buffer.getvalue()
        try:
            write_atomic(path, content + hashlib.sha256(content).digest())
        except OSError as error:
            raise DataError(f"cache {path} cannot be written ({error.strerror}); set data.cache_dir") from None
    return array


def _read(path: Path) -> npt.NDArray[Any] | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    array: npt.NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
    return array
