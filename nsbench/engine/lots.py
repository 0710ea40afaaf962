"""Lots: a number in [0, 1) for every image, from seed and key alone, for what a selection leaves to chance.

The hash is our own, so that no version of a library changes a selection: eight bytes of the key at a time, each mixed
in by the finaliser of MurmurHash3 (Appleby, public domain), a bijection in which every bit moves half of all others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nsbench.files import derive_seed

_SHIFT = np.uint64(33)
_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_ROWS = 32_768  # whose numbers stay in a core's cache


def draw_lots(keys: pa.ChunkedArray, seed: int) -> npt.NDArray[np.float64]:
    """Lots [N] of string keys [N], multiples of 2^-52.

    h = derive_seed("lots", seed) + 0x9E3779B97F4A7C15 length; for each eight bytes of the UTF-8, little-endian, the
    last ones filled up with zeros: h = mix(h XOR bytes). The lot is the upper 52 bits of h.
    """
    start = np.uint64(derive_seed("lots", seed))
    hashes = [_hash(chunk[row : row + _ROWS], start) for chunk in keys.chunks for row in range(0, len(chunk), _ROWS)]
    upper = np.concatenate([np.empty(0, np.uint64), *hashes]) >> np.uint64(12)
    return np.ldexp(upper.astype(np.float64), -52)


def _hash(keys: pa.StringArray, start: np.uint64) -> npt.NDArray[np.uint64]:
    _, offsets, content = keys.buffers()
    ends = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + len(keys) + 1].astype(np.int64)
    data = np.zeros(ends[-1] - ends[0] + 8, np.uint8)
    data[:-8] = np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]]
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))  # eight bytes from every byte on
    place, left = ends[:-1] - ends[0], np.diff(ends)
    hashes = start + left.astype(np.uint64) * _SPREAD
    rows = np.arange(len(keys))  # those with bytes left
    while (left > 0).any():
        if not (left > 0).all():
            rows, place, left = rows[left > 0], place[left > 0], left[left > 0]
        word = words[place]
        short = left < 8
        if short.any():
            word[short] &= (np.uint64(1) << (np.uint64(8) * left[short].astype(np.uint64))) - np.uint64(1)
        hashes[rows] = _mix(hashes[rows] ^ word)
        place, left = place + 8, left - 8
    return hashes


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for factor in _FACTORS:
        numbers ^= numbers >> _SHIFT
        numbers *= factor
    numbers ^= numbers >> _SHIFT
    return numbers
