"""What people name as images to train on: folders, trees, Parquet and Arrow files, tars, and patterns of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nsbench.data.folder import Folder, list_tree
from nsbench.data.imagenet_classes import wnid_indices
from nsbench.data.tables import table_files
from nsbench.data.tree import Tree, counts, scan, unreadable, visible
from nsbench.errors import DataError
from nsbench.files import fingerprint

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SPLITS = {True: ("train",), False: ("unlabelled", "unlabeled", "train")}
"""What of a folder with several splits is meant, for labelled and for unlabelled images; never a test split."""
_MEASURED = re.compile(r"(?<![a-z])(val|valid|validation|test|dev)(?![a-z])")
_FILES = (".tar", ".parquet", ".arrow")
_THREADS = 16
_SAMPLED_BYTES = 4096


def find(source: str | Path, *, labelled: bool) -> Folder | list[Path]:
    """The images of one source: listed where they are files of their own, else the tars, Parquet or Arrow files.

    Args:
        source: a folder of class folders; without labels also any tree of images; a Parquet, Arrow or tar file, or a
            folder of them; or many by a pattern, such as `train-{000000..000146}.tar`.
        labelled: whether the images' classes are needed; if not, none is told.

    Raises:
        DataError: there is no such thing, or nothing in it; a file of a pattern is missing; it has several splits, and
            which is meant is not clear.
    """
    path = Path(source)
    if not path.exists():
        return [_known(file) for file in _expanded(str(source))]
    if path.is_file():
        return [_known(path)]
    tables, tars = table_files(path, _SPLITS[labelled]), _tars(path)
    if tables and tars:
        raise DataError(f"{path} holds {tables[0].name} and {tars[0].name}; move one kind elsewhere")
    if tables or tars:
        return tables or tars
    return _class_folders(path) if labelled else list_images(path)


def list_images(root: Path) -> Folder:
    """All images in a folder and in the folders below it, without classes; ids are their paths below `root`.

    Hidden entries do not count; symbolic links are followed.

    Raises:
        DataError: a folder cannot be read or is linked into itself, or there are no images.
    """
    files: list[str] = []
    left_out: list[str] = []
    level: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    try:
        with ThreadPoolExecutor(_THREADS, "scan") as pool:
            while level:
                found = list(pool.map(lambda item: _entries(root, *item), level))
                level = [(prefix, above) for folders, _, _, above in found for prefix in folders]
                files += [file for _, images, _, _ in found for file in images]
                left_out += [file for _, _, others, _ in found for file in others]
    except OSError as error:
        raise unreadable(error) from None
    if not files:
        others = f" among its {len(left_out):,} files, such as {left_out[0]}" if left_out else ""
        raise DataError(f"{root} holds no images{others}; name a folder of images, Parquet files or tars")
    ids = tuple(sorted(files))
    name = " ".join(root.resolve().parts[-2:])
    labels = np.full(len(ids), -1, dtype=np.int64)
    return Folder(root=root, name=name, ids=ids, labels=labels, classes=(), left_out=tuple(sorted(left_out)))


def sampled_fingerprint(path: Path) -> str:
    """Sixteen hexadecimal digits over a file's name, length, and 4 KB each at its head, middle and tail.

    The same for a copy elsewhere; cheap for tars of gigabytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            places = (0, length // 2, max(0, length - _SAMPLED_BYTES))
            sampled = [os.pread(file.fileno(), _SAMPLED_BYTES, place).hex() for place in places]
    except OSError as error:
        raise unreadable(error) from None
    return fingerprint(path.name, length, sampled)


def _entries(
    root: Path, prefix: str, above: frozenset[tuple[int, int]]
) -> tuple[list[str], list[str], list[str], frozenset[tuple[int, int]]]:
    """Folders, images and other files of one folder by their paths below `root`, and which folders it lies in."""
    folder = root / prefix
    status = folder.stat()
    this = (status.st_dev, status.st_ino)
    if this in above:
        raise DataError(f"{folder} is a link to a folder that it lies in; remove it")
    folders: list[str] = []
    images: list[str] = []
    others: list[str] = []
    for entry in visible(folder):
        if entry.is_dir():
            folders.append(f"{prefix}{entry.name}/")
        else:
            (images if counts(entry) else others).append(prefix + entry.name)
    return folders, images, others, above | {this}


def _class_folders(root: Path) -> Folder:
    tree = scan(root)
    return list_tree(tree, classes=_wnids(tree))


def _wnids(tree: Tree) -> Sequence[str] | None:
    """ImageNet's class folders where no other folder holds an image: an empty `lost+found` would shift all labels."""
    known = [name for name in tree.classes if name in wnid_indices()]
    filled = [name for name, files in zip(tree.classes, tree.files, strict=True) if files]
    return known if filled and set(filled) <= set(known) else None


def _known(path: Path) -> Path:
    if path.is_dir():
        raise DataError(f"{path} is a folder, but a pattern is for files; name each folder by itself")
    if path.suffix.lower() in _FILES:
        return path
    if ".tar" in path.suffixes or path.suffix.lower() == ".tgz":
        raise DataError(f"{path} is compressed; unpack it first: its images are read by their position")
    raise DataError(f"{path} is no tar, Parquet or Arrow file by its name, and no folder")


def _expanded(pattern: str) -> list[Path]:
    """The files of a pattern, all of which must be there."""
    files = [Path(name) for name in expand(pattern)]
    missing = [file for file in files if not file.exists()]
    if missing == files:
        none = f"; nor does any other of its {len(files):,} files" if len(files) > 1 else ""
        raise DataError(f"{files[0]} does not exist{none}")
    if missing:
        raise DataError(
            f"{missing[0]} does not exist, the first of {len(missing):,} missing of {len(files):,}: {pattern}"
        )
    return files


def expand(pattern: str) -> list[str]:
    """The names that `{000000..000146}` stands for, as shells and webdataset read it; several ranges multiply."""
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = int(found[1]), int(found[2])
    padded = any(len(text) > 1 and text.startswith("0") for text in found.groups())
    width = max(map(len, found.groups())) if padded else 1
    numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    rests = expand(pattern[found.end() :])
    return [f"{pattern[: found.start()]}{number:0{width}}{rest}" for number in numbers for rest in rests]


def _tars(folder: Path) -> list[Path]:
    """The tars in a folder, of one split."""
    try:
        tars = sorted(folder / entry.name for entry in visible(folder) if entry.name.lower().endswith(".tar"))
    except OSError as error:
        raise unreadable(error) from None
    measured = [path for path in tars if _MEASURED.search(path.stem.lower())]
    if measured and len(measured) < len(tars):
        other = next(path for path in tars if path not in measured)
        raise DataError(
            f"{folder} holds tars of several splits, such as {measured[0].name} and {other.name}; name one's with a "
            "pattern such as train-{000000..000146}.tar"
        )
    return tars
