"""Images in tables: Parquet files as Hugging Face's hub has them, and Arrow files as `datasets.save_to_disk` writes.

A table has a column `image`, a struct of `bytes` and `path` or the bytes alone, and a column `label` of whole numbers;
`datasets` keeps the names of the classes in the schema's metadata. Images are read when they are asked for.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from nsbench.data.imagenet_classes import imagenet_names, imagenet_wnids, names_imagenet, wnid_indices
from nsbench.data.imagenet_val import val_id
from nsbench.data.listing import Listing
from nsbench.data.shards import Shard, open_shard
from nsbench.errors import DataError

_LEADING_WORD = re.compile(r"[A-Za-z]*")

SPLITS = ("validation", "val", "valid", "test")
"""What to measure on of a folder that holds several splits, the first that is there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table(Listing):
    """Images in the rows of one or several files."""

    shards: tuple[Shard, ...] = dataclasses.field(repr=False)
    places: npt.NDArray[np.int64]
    """[N, 2] shard, and row in it."""

    def stored(self, row: int) -> io.BytesIO:
        shard, place = self.places[row].tolist()
        return io.BytesIO(self.shards[shard].images[place] or b"")

    def where(self, row: int) -> str:
        shard, place = self.places[row].tolist()
        return f"{self.shards[shard].path}, row {place}"

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Self:
        return dataclasses.replace(super().take(rows), places=self.places[list(rows)])


def table_files(root: Path, splits: Sequence[str] = SPLITS) -> list[Path]:
    """The Parquet or Arrow files at `root`: itself, those in it or in its folder `data`, of one split; none: [].

    Args:
        splits: what to take where there are several, the first that is there.

    Raises:
        DataError: there are files of several splits and none of them is one of `splits`.
    """
    if root.is_file():
        return [root] if root.suffix.lower() in (".parquet", ".arrow") else []
    for folder in (root, root / "data"):
        for pattern in ("*.parquet", "data-*.arrow"):
            files = sorted(path for path in folder.glob(pattern) if path.is_file())
            if files:
                return _one_split(root, files, splits)
    return []


def open_table(files: Sequence[Path], name: str) -> Table:
    """List the images in the rows of Parquet or Arrow files, in the order of their ids.

    Ids are the stored paths where they are there and unique (for ImageNet's validation images `<wnid>/<file>`), else
    file and row. Class names come from the metadata of `datasets`; for ImageNet's thousand they are the WordNet ids.

    Raises:
        DataError: a file cannot be read, has not these columns, or a label is missing, negative or beyond the names.
    """
    table = list_rows(files, name)
    return table.take(sorted(range(len(table)), key=table.ids.__getitem__))


def list_rows(files: Sequence[Path], name: str, *, labelled: bool = True) -> Table:
    """As `open_table`, in the order of the rows, which is read fastest.

    Args:
        labelled: False reads no labels, which need not be there: all are -1, and there are no classes.
    """
    shards = [open_shard(path, labelled=labelled) for path in files]
    labels = np.concatenate([shard.labels for shard in shards])
    if not len(labels):
        raise DataError(f"{files[0]} holds no rows")
    paths = [path for shard in shards for path in shard.paths]
    classes = _classes(files[0], shards[0].class_names, paths, labels) if labelled else ()
    places = np.array([(n, row) for n, shard in enumerate(shards) for row in range(len(shard.labels))], dtype=np.int64)
    ids = _ids(paths, [classes[label] if labelled else "" for label in labels], files, places)
    return Table(name=name, ids=ids, labels=labels, classes=classes, shards=tuple(shards), places=places)


def _classes(
    file: Path, named: tuple[str, ...], paths: Sequence[str | None], labels: npt.NDArray[np.int64]
) -> tuple[str, ...]:
    """Class names of all labels; numbers where the file names none."""
    if labels.min() < 0:
        raise DataError(f"{file} has labels of -1: this split was published without them; take another")
    names = named or tuple(map(str, range(int(labels.max()) + 1)))
    if labels.max() >= len(names):
        raise DataError(f"{file} has a label {labels.max()}, but names {len(names)} classes")
    return _as_wnids(names, paths, labels)


def _as_wnids(names: tuple[str, ...], paths: Sequence[str | None], labels: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """ImageNet's WordNet ids where the thousand names or the stored paths say that these are its classes in order."""
    if len(names) != len(imagenet_wnids()) or names_imagenet(names):
        return names
    words = sum(one.split(",")[0] == other.split(",")[0] for one, other in zip(names, imagenet_names(), strict=True))
    told = [(wnid_indices().get(_wnid_of(path)), label) for path, label in zip(paths, labels.tolist(), strict=True)]
    by_paths = [index == label for index, label in told if index is not None]
    return imagenet_wnids() if words > 0.95 * len(names) or (by_paths and all(by_paths)) else names


def _wnid_of(path: str | None) -> str:
    """The WordNet id at the end of `ILSVRC2012_val_00000293_n01440764.JPEG`."""
    return (path or "").rpartition(".")[0].rpartition("_")[2]


def _ids(
    paths: Sequence[str | None], class_names: Sequence[str], files: Sequence[Path], places: npt.NDArray[np.int64]
) -> tuple[str, ...]:
    stored = [path and ((name and val_id(path, name)) or path) for path, name in zip(paths, class_names, strict=True)]
    if all(stored) and len(set(stored)) == len(stored):
        return tuple(map(str, stored))
    return tuple(f"{files[shard].stem}/{row:08}" for shard, row in places.tolist())


def _one_split(root: Path, files: list[Path], preferred: Sequence[str]) -> list[Path]:
    """The files of one split; `validation-00003-of-00014.parquet` is of `validation`."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        splits.setdefault(_LEADING_WORD.match(path.stem)[0], []).append(path)  # type: ignore[index]
    if len(splits) == 1:
        return files
    for split in preferred:
        if split in splits:
            return splits[split]
    raise DataError(f"{root} holds the splits {', '.join(splits)}; name the file of one of them")
