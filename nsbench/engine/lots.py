"""Lots: a number in [0, 1) for every image, from seed and key alone, for all choices of a selection that are left to chance.

The hash is our own, so that no version of a library changes a selection: eight bytes of the key at a time, each mixed in
with the finaliser of MurmurHash3 (Appleby, public domain), a bijection in which every bit moves half of all others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nsbench.files import derive_seed

_SHIFT = np.uint64(33)
_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_ROWS = 16_384  # whose numbers stay in a core's cache


def draw_lots(keys: pa.ChunkedArray, seed: int) -> npt.NDArray[np.float64]:
    """Lots [N] of string keys [N], multiples of 2^-52.

    h = derive_seed("lots", seed); for each eight bytes of the UTF-8, little-endian, the last ones filled up with zeros:
    h = mix(h XOR bytes); at the end h = mix(h XOR length). The lot is the upper 52 bits of h.
    """
    start = np.uint64(derive_seed("lots", seed))
    hashes = [_hash(chunk[row : row + _ROWS], start) for chunk in keys.chunks for row in range(0, len(chunk), _ROWS)]
    return np.ldexp((np.concatenate([np.empty(0, np.uint64), *hashes]) >> np.uint64(12)).astype(np.float64), -52)


def _hash(keys: pa.StringArray, start: np.uint64) -> npt.NDArray[np.uint64]:
    _, offsets, content = keys.buffers()
    ends = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + len(keys) + 1]
    first = ends[0]
    data = np.zeros(ends[-1] - first + 8, np.uint8)
    data[:-8] = np.frombuffer(content, np.uint8)[first : ends[-1]] if content else 0
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))  # eight bytes from every byte on
    place, left = (ends[:-1] - first).astype(np.int64), np.diff(ends).astype(np.int64)
    hashes, lengths = np.full(len(keys), start), left.astype(np.uint64)
    rows = np.flatnonzero(left)
    place, left = place[rows], left[rows]
    while len(rows):
        word = words[place]
        short = left < 8
        word[short] &= (np.uint64(1) << (np.uint64(8) * left[short].astype(np.uint64))) - np.uint64(1)
        hashes[rows] = _mix(hashes[rows] ^ word)
        more = left > 8
        rows, place, left = rows[more], place[more] + 8, left[more] - 8
    return _mix(hashes ^ lengths)


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for factor in _FACTORS:
        numbers ^= numbers >> _SHIFT
        numbers *= factor
    numbers ^= numbers >> _SHIFT
    return numbers
