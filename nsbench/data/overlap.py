"""Which images to learn from are images to be measured on: they must be left out."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsbench.data.images import ImageSet
from nsbench.data.listing import Listing
from nsbench.data.real_labels import val_number


def same_pixels(images: ImageSet, val: ImageSet) -> npt.NDArray[np.bool_]:
    """Whether each image [N] has exactly the pixels of one of val's, whatever it is called."""
    known = {_digest(pixels) for pixels in val.pixels}
    return np.fromiter((_digest(pixels) in known for pixels in images.pixels), dtype=np.bool_, count=len(images))


def same_pictures(listing: Listing, val: Listing) -> npt.NDArray[np.bool_]:
    """Whether each stored image [N] is one of val's, told without decoding any.

    ImageNet's validation images are known by their names. Any other one is the same if it has the name, the folder
    and the bytes of one of val's: training and test images of one class are often called alike.
    """
    rows = {_name(key): row for row, key in enumerate(val.ids)}

    def is_vals(row: int, key: str) -> bool:
        found = rows.get(_name(key))
        if found is None:
            return False
        return val_number(key) is not None or _same_bytes(listing.stored(row), val.stored(found))

    return np.fromiter((is_vals(row, key) for row, key in enumerate(listing.ids)), dtype=np.bool_, count=len(listing))


def _name(key: str) -> str:
    """What an id ends in, in every layout: folder and file without suffix; of ImageNet's val the number."""
    number = val_number(key)
    return os.path.splitext("/".join(key.split("/")[-2:]))[0] if number is None else f"ILSVRC2012_val_{number:08}"


def _same_bytes(one: Path | io.BytesIO, other: Path | io.BytesIO) -> bool:
    """Whether two files are equal; one that cannot be read is not, and whoever decodes it says so."""
    try:
        return _length(one) == _length(other) and _bytes(one) == _bytes(other)
    except OSError:
        return False


def _length(stored: Path | io.BytesIO) -> int:
    return stored.stat().st_size if isinstance(stored, Path) else len(stored.getvalue())


def _bytes(stored: Path | io.BytesIO) -> bytes:
    return stored.read_bytes() if isinstance(stored, Path) else stored.getvalue()


def _digest(pixels: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
