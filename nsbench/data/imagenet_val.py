"""ImageNet's validation images in every layout that people have, with the same ids and labels in each.

An id is `<wnid>/ILSVRC2012_val_XXXXXXXX.JPEG`, whether the image lies in the folder of its class, flat beside the
devkit's ground truth, caffe's `val.txt` or Kaggle's `LOC_val_solution.csv`, or under a name that carries its class.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nsbench.data.folder import Folder
from nsbench.data.id_lists import wrong_labels
from nsbench.data.imagenet_classes import imagenet_wnids, wnid_indices
from nsbench.data.tree import Tree
from nsbench.errors import DataError

_VAL_IMAGE = re.compile(r"(ILSVRC2012_val_(\d{8}))(?:_(n\d{8}))?\.jpe?g", re.IGNORECASE)
"""The second form is that of the archives on Hugging Face."""
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_DEVKITS = ("", "data", "ILSVRC2012_devkit_t12/data", "devkit/data")
_LABEL_SUFFIXES = (".txt", ".csv", ".mat")
_FEW_PERCENT = 0.05


def val_id(file: str, wnid: str) -> str | None:
    """The id of a validation image by the name of its file; None for any other image."""
    found = _VAL_IMAGE.fullmatch(file.rsplit("/", 1)[-1])
    return f"{wnid}/{found[1]}.JPEG" if found else None


def with_val_ids(folder: Folder) -> Folder:
    """The same listing; where every file is a validation image of ImageNet, under the ids that all layouts share."""
    ids = [val_id(key, key.split("/", 1)[0]) for key in folder.ids]
    if tuple(ids) == folder.ids or None in ids or len(set(ids)) < len(ids):
        return folder
    return dataclasses.replace(folder, ids=tuple(map(str, ids)), files=folder.files or folder.ids)


def open_flat_val(tree: Tree, name: str) -> Folder:
    """List validation images that lie in one folder, with the labels of a file beside them.

    Raises:
        DataError: a file is no `ILSVRC2012_val_XXXXXXXX.JPEG`; there are no labels, they cannot be read, lack an
            image, or are not in ImageNet's order of classes.
    """
    root, files = tree.root, tree.loose
    strange = [file for file in files if not _VAL_IMAGE.fullmatch(file)]
    if strange:
        raise DataError(
            f"{root} holds images without class folders, such as {strange[0]}; move each into the folder of its class"
        )
    source, wnids = _labels(root)
    keys = {file: _VAL_IMAGE.fullmatch(file)[1] for file in files}  # type: ignore[index]
    unknown = [file for file in files if keys[file] not in wnids]
    if unknown:
        raise DataError(f"{source} has no label for {len(unknown):,} of {len(files):,} images, first {unknown[0]}")
    ids = {file: f"{wnids[keys[file]]}/{keys[file]}.JPEG" for file in files}
    order = sorted(files, key=lambda file: ids[file])
    labels = np.array([wnid_indices()[wnids[keys[file]]] for file in order], dtype=np.int64)
    listing = Folder(
        root=root,
        name=name,
        ids=tuple(ids[file] for file in order),
        files=tuple(order),
        labels=labels,
        classes=imagenet_wnids(),
        left_out=tuple(file for file in tree.others if not file.endswith(_LABEL_SUFFIXES)),
    )
    wrong, compared = wrong_labels(listing)
    if wrong > _FEW_PERCENT * compared:
        raise DataError(
            f"{source}: {wrong} of {compared} labels that are known are others; it counts the classes in another order "
            "than ImageNet models, 0 to 999 by sorted WordNet id"
        )
    return listing


def _labels(root: Path) -> tuple[Path, Mapping[str, str]]:
    """The file that labels the images in `root`, and WordNet ids by names without suffix."""
    sources: list[tuple[Path, Callable[[Path], Mapping[str, str]]]] = []
    near = (root, root.parent)
    sources += [(place / kit / _TRUTH, _from_devkit) for place in near for kit in _DEVKITS]
    sources += [(place / "LOC_val_solution.csv", _from_kaggle) for place in _above(root)]
    sources += [(place / folder / "val.txt", _from_caffe) for place in near for folder in ("", "caffe_ilsvrc12")]
    found = [(path, read) for path, read in sources if path.is_file()]
    usable = [(path, read) for path, read in found if read is not _from_devkit or (path.parent / _META).is_file()]
    if usable:
        path, read = usable[0]
        return path, read(path)
    if found:
        raise DataError(
            f"{found[0][0]} counts the classes in the devkit's own order; put its {_META} beside it, which says what "
            "they are, or caffe's val.txt or Kaggle's LOC_val_solution.csv into the images' folder"
        )
    raise DataError(
        f"{root} holds images without class folders and no labels; put {_TRUTH} and {_META} of the devkit beside them, "
        "or caffe's val.txt, or Kaggle's LOC_val_solution.csv, or move each into the folder of its class"
    )


def _above(root: Path) -> list[Path]:
    """`root` and four folders above it, also above where a link leads: Kaggle's val is `ILSVRC/Data/CLS-LOC/val`."""
    return list(dict.fromkeys((root, *root.absolute().parents[:4], *root.resolve().parents[:4])))


def _from_devkit(path: Path) -> Mapping[str, str]:
    """Line k is the ILSVRC2012_ID of image k; `meta.mat` says which WordNet id that is (the devkit's readme.txt)."""
    by_number = _devkit_wnids(path.parent / _META)
    lines = _read(path).split()
    try:
        return {f"ILSVRC2012_val_{k:08}": by_number[int(line)] for k, line in enumerate(lines, 1)}
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is no list of class numbers 1 to 1000 ({error})") from None


def _devkit_wnids(path: Path) -> dict[int, str]:
    """WordNet id by ILSVRC2012_ID, of the synsets that have no children among the 1,860."""
    from scipy.io import loadmat

    try:
        synsets = np.atleast_1d(loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"])
        fields = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        table = {int(number): str(wnid) for number, wnid, children in fields if int(children) == 0}
    except Exception as error:  # damaged files raise SciPy's, zlib's and NumPy's own
        raise DataError(f"{path} is not the devkit's {_META} ({' '.join(str(error).split())})") from None
    if set(table.values()) != set(imagenet_wnids()):
        raise DataError(f"{path} names {len(table)} classes, which are not ImageNet's 1,000")
    return table


def _from_kaggle(path: Path) -> Mapping[str, str]:
    """`ImageId,PredictionString`: the string begins with the WordNet id of the first box."""
    rows = list(csv.DictReader(_read(path).splitlines()))
    try:
        table = {row["ImageId"].strip(): row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError):
        raise DataError(f"{path} has no ImageId and PredictionString in every row; copy Kaggle's file again") from None
    strange = [wnid for wnid in table.values() if wnid not in wnid_indices()]
    if strange:
        raise DataError(f"{path}: {strange[0]!r} is none of ImageNet's 1,000 WordNet ids")
    return table


def _from_caffe(path: Path) -> Mapping[str, str]:
    """`ILSVRC2012_val_00000001.JPEG 65`: sorted WordNet ids counted from 0."""
    table = {}
    for number, line in enumerate(_read(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isdecimal():
            raise DataError(f"{path}, line {number}: {line!r} is not a file's name and a class index")
        table[words[0].rsplit("/", 1)[-1].rsplit(".", 1)[0]] = int(words[1])
    highest = max(table.values(), default=0)
    if highest == len(imagenet_wnids()):
        raise DataError(
            f"{path} counts classes from 1; caffe's val.txt, which counts sorted WordNet ids from 0, is needed"
        )
    if highest > len(imagenet_wnids()):
        raise DataError(
            f"{path} numbers images up to {highest:,}, not classes; Kaggle's labels are in LOC_val_solution.csv"
        )
    return {key: imagenet_wnids()[index] for key, index in table.items()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
