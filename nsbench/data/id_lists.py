"""Lists of image ids: named subsets and the user's own, and five thousand val labels that are known for certain.

`robustbench-5k` is the subset that RobustBench (Croce et al. 2021, arXiv:2010.09670) measures on ImageNet and
ImageNet-C; numbers and classes are those of `imagenet_test_image_ids.txt` in its package (MIT licence), kept in
`robustbench_5k.json`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nsbench.configfile import suggest
from nsbench.data.listing import AnyListing, Listing
from nsbench.data.real_labels import val_number
from nsbench.errors import ConfigError, DataError

ROBUSTBENCH_5K = "robustbench-5k"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdList:
    """Images by their ids; what follows the last dot of a file's name does not count."""

    name: str
    """For protocols: a known name, or that of the file."""
    ids: tuple[str, ...]
    """Each `<class>/<file>`, or a bare file name, which is looked up in every class."""

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, listing: AnyListing) -> AnyListing:
        """The images of `listing` that are on this list, in the listing's order.

        Raises:
            DataError: ids are missing in it, or a bare name is that of several images.
        """
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(listing.ids):
            full = _stem(key)
            for known in {full, full.rsplit("/", 1)[-1]}:
                rows.setdefault(known, []).append(row)
        missing = [key for key in self.ids if _stem(key) not in rows]
        if missing:
            raise DataError(
                f"{len(missing):,} of the {len(self):,} images of {self.name} are missing in {listing.name}, "
                f"first {missing[0]}"
            )
        several = [key for key in self.ids if len(rows[_stem(key)]) > 1]
        if several:
            raise DataError(
                f"{self.name}: {several[0]} is the name of several images of {listing.name}; write the class"
            )
        return listing.take(np.array(sorted({rows[_stem(key)][0] for key in self.ids}), dtype=np.int64))


def load_ids(name_or_path: str | Path) -> IdList:
    """`robustbench-5k`, or a text file with one id a line (`<class>/<file>` or `<file>`; `#` begins a comment).

    Raises:
        ConfigError: neither a known name nor a file.
        DataError: the file cannot be read, is empty, is no text, or has an id twice.
    """
    if str(name_or_path) == ROBUSTBENCH_5K:
        return IdList(name=ROBUSTBENCH_5K, ids=tuple(f"ILSVRC2012_val_{number:08}" for number in known_val_labels()))
    path = Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"{path} is no list of images: no such file{suggest(str(path), [ROBUSTBENCH_5K])}")
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of images ({error})") from None
    ids = [line.replace("\\", "/") for line in lines if line]
    if not ids:
        raise DataError(f"{path} lists no image; write one id a line, such as n01440764/ILSVRC2012_val_00000293.JPEG")
    if len(set(map(_stem, ids))) < len(ids):
        seen: set[str] = set()
        twice = next(key for key in ids if _stem(key) in seen or seen.add(_stem(key)))  # type: ignore[func-returns-value]
        raise DataError(f"{path} lists {twice} twice")
    return IdList(name=path.name, ids=tuple(ids))


@functools.cache
def known_val_labels() -> Mapping[int, int]:
    """Class index 0..999 by number of the file, for 5,000 of ImageNet's 50,000 validation images."""
    content = json.loads((resources.files("nsbench.data") / "robustbench_5k.json").read_text(encoding="utf-8"))
    return MappingProxyType(dict(zip(content["numbers"], content["labels"], strict=True)))


def wrong_labels(listing: Listing) -> tuple[int, int]:
    """How many of the listing's labels contradict `known_val_labels`, and how many could be compared.

    The labels must be ImageNet's indices. A val set sorted into the wrong class folders, or labelled in the devkit's
    order, contradicts nearly all.
    """
    known = known_val_labels()
    numbers = [val_number(key) for key in listing.ids]
    compared = [
        known[n] != label for n, label in zip(numbers, listing.labels.tolist(), strict=True) if n and n in known
    ]
    return sum(compared), len(compared)


def _stem(key: str) -> str:
    folder, slash, file = key.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
