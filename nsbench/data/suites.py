"""The test sets of a data folder: `--data-dir D` holds `val`, `imagenet-a`, `imagenet-c` and so on, as they unpack.

Each can also be set alone. Finding them reads the names in one folder; each set is listed when it is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nsbench.configfile import suggest
from nsbench.data.corrupted import (
    CorruptionTree,
    PerturbationTree,
    open_imagenet_c,
    open_imagenet_c_bar,
    open_imagenet_p,
)
from nsbench.data.folder import list_tree
from nsbench.data.imagenet_classes import names_imagenet, wnid_indices
from nsbench.data.imagenet_val import open_flat_val, with_val_ids
from nsbench.data.listing import AnyListing, Listing
from nsbench.data.real_labels import val_number
from nsbench.data.tables import open_table, table_files
from nsbench.data.tree import Tree, scan, subfolders
from nsbench.data.variants import (
    Variant,
    open_imagenet_a,
    open_imagenet_o,
    open_imagenet_r,
    open_imagenet_sketch,
    open_imagenet_v2,
    open_objectnet,
    v2_subset,
)
from nsbench.errors import ConfigError, DataError

SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "val": ("val", "validation", "ILSVRC2012_val", "ILSVRC2012_img_val", "imagenet-val"),
        "imagenet_a": ("imagenet-a",),
        "imagenet_r": ("imagenet-r",),
        "imagenet_v2": ("imagenetv2", "imagenet-v2"),
        "imagenet_sketch": ("sketch", "imagenet-sketch"),
        "imagenet_o": ("imagenet-o",),
        "objectnet": ("objectnet-1.0", "objectnet"),
        "imagenet_c": ("imagenet-c",),
        "imagenet_c_bar": ("imagenet-c-bar",),
        "imagenet_p": ("imagenet-p",),
    }
)
"""Names of the sets, and of their folders in a data folder; case and punctuation do not count."""

NOT_HELD_OUT = "not held out: ImageNet classes, but not ImageNet's val images"

_KAGGLE_VAL = Path("ILSVRC", "Data", "CLS-LOC", "val")
_WRAPPERS = 2
"""Folders around the classes that are looked through, as in `imagenet-a/imagenet-a/n01498041`."""


@dataclasses.dataclass(frozen=True)
class Suites:
    """What there is. A set is listed, once, when its property is read; None where its folder is not there.

    Reading a property raises DataError where the folder is there and is not what its name says.
    """

    roots: Mapping[str, Path]
    """The folder of each set that is there, by the names of `SUITES`."""
    missing: Mapping[str, str]
    """Why each of the others is not."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sets that are there."""
        return tuple(self.roots)

    @functools.cached_property
    def val(self) -> Listing | None:
        return open_val(self.roots["val"]) if "val" in self.roots else None

    @functools.cached_property
    def imagenet_a(self) -> Variant | None:
        return open_imagenet_a(self._unwrapped("imagenet_a")) if "imagenet_a" in self.roots else None

    @functools.cached_property
    def imagenet_r(self) -> Variant | None:
        return open_imagenet_r(self._unwrapped("imagenet_r")) if "imagenet_r" in self.roots else None

    @functools.cached_property
    def imagenet_v2(self) -> Mapping[str, Variant]:
        """By the name of the subset: `matched-frequency`, `threshold-0.7`, `top-images`; empty where there is none."""
        return open_imagenet_v2(self.roots["imagenet_v2"]) if "imagenet_v2" in self.roots else {}

    @functools.cached_property
    def imagenet_sketch(self) -> Variant | None:
        return open_imagenet_sketch(self._unwrapped("imagenet_sketch")) if "imagenet_sketch" in self.roots else None

    @functools.cached_property
    def imagenet_o(self) -> Variant | None:
        return open_imagenet_o(self._unwrapped("imagenet_o")) if "imagenet_o" in self.roots else None

    @functools.cached_property
    def objectnet(self) -> Variant | None:
        return open_objectnet(self.roots["objectnet"]) if "objectnet" in self.roots else None

    @functools.cached_property
    def imagenet_c(self) -> CorruptionTree | None:
        return open_imagenet_c(self.roots["imagenet_c"]) if "imagenet_c" in self.roots else None

    @functools.cached_property
    def imagenet_c_bar(self) -> CorruptionTree | None:
        return open_imagenet_c_bar(self.roots["imagenet_c_bar"]) if "imagenet_c_bar" in self.roots else None

    @functools.cached_property
    def imagenet_p(self) -> PerturbationTree | None:
        return open_imagenet_p(self.roots["imagenet_p"]) if "imagenet_p" in self.roots else None

    @property
    def is_imagenet(self) -> bool:
        """Whether val's classes are ImageNet's thousand, so that a label is the index that ImageNet models use."""
        return self.val is not None and names_imagenet(self.val.classes)

    @property
    def val_note(self) -> str:
        """What protocols must say of val: it has classes of ImageNet, and images that models may have learnt from."""
        if self.val is None or not all(name in wnid_indices() for name in self.val.classes):
            return ""
        return "" if all(val_number(key) for key in self.val.ids) else NOT_HELD_OUT

    def _unwrapped(self, name: str) -> Path:
        return unwrapped(self.roots[name])


def open_suites(data_dir: Path | None, overrides: Mapping[str, Path] = MappingProxyType({})) -> Suites:
    """Find the test sets of a data folder.

    Args:
        data_dir: holds a folder for each, or is itself `val`: class folders, ImageNet's flat images or Parquet files.
        overrides: places of single sets by the names of `SUITES`.

    Raises:
        ConfigError: an override has an unknown name.
        DataError: a folder is not there, or `data_dir` holds none of the sets.
    """
    for name, path in overrides.items():
        if name not in SUITES:
            raise ConfigError(f"unknown data set {name!r}{suggest(name, SUITES)}")
        if not path.exists():
            raise DataError(f"data.{name} is {path}, which does not exist")
    roots = {name: Path(path) for name, path in overrides.items()}
    missing = dict.fromkeys(SUITES, "no folder was given")
    if data_dir is not None:
        found, missing = _found(Path(data_dir))
        roots = found | roots
        if not roots:
            looked = ", ".join(spellings[0] for spellings in SUITES.values())
            raise DataError(f"{data_dir} holds none of {looked}, and no folders of images for classes")
    return Suites(
        roots={name: roots[name] for name in SUITES if name in roots},
        missing={name: missing[name] for name in SUITES if name not in roots},
    )


def open_val(root: Path, name: str | None = None) -> Listing:
    """Labelled images in any layout: class folders, ImageNet's flat val, Kaggle's tree, Parquet or Arrow files.

    Raises:
        DataError: `root` is none of these, or is damaged; see `open_folder`, `open_flat_val` and `open_table`.
    """
    name = name or " ".join(root.resolve().parts[-2:])
    files = table_files(root)
    if files:
        return open_table(files, name)
    if (root / _KAGGLE_VAL).is_dir():
        root = root / _KAGGLE_VAL
    tree = scan(root)
    if tree.loose and not len(tree):
        return open_flat_val(tree, name)
    return with_val_ids(list_tree(tree, name=name, classes=_classes(tree)))


def _classes(tree: Tree) -> list[str] | None:
    """The class folders where all that hold images are of WordNet ids: `lost+found` beside them is no class."""
    with_images = [name for name, files in zip(tree.classes, tree.files, strict=True) if files]
    if not with_images or not all(name in wnid_indices() for name in with_images):
        return None
    return [name for name in tree.classes if name in wnid_indices()]


def restricted_to(listing: AnyListing, subset: Collection[int]) -> AnyListing:
    """The images of the given classes; labels stay what they are."""
    return listing.take(np.flatnonzero(np.isin(listing.labels, list(subset))))


def unwrapped(root: Path) -> Path:
    """The folder with folders named by WordNet ids: `root`, or the one inside it that was packed around them."""
    for _ in range(_WRAPPERS):
        folders = subfolders(root)
        if len(folders) != 1 or next(iter(folders)) in wnid_indices():
            break
        root = next(iter(folders.values()))
    return root


def _found(data_dir: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Folders of the sets in `data_dir` by name, and why the others are not there."""
    if not data_dir.exists():
        raise DataError(f"{data_dir} does not exist")
    folders = subfolders(data_dir)
    roots: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for name, spellings in SUITES.items():
        matching = [path for folder, path in folders.items() if _bare(folder) in map(_bare, spellings)]
        if len(matching) == 1:
            roots[name] = matching[0]
        elif matching:
            missing[name] = f"both {matching[0]} and {matching[1].name} are there; set data.{name} to one of them"
        else:
            missing[name] = f"no folder {' or '.join(spellings[:2])} in {data_dir}"
    if "imagenet_v2" not in roots and any(
        v2_subset(folder) for folder in folders if _bare(folder).startswith("imagenetv2")
    ):
        roots["imagenet_v2"] = data_dir
    if "val" not in roots and (data_dir / _KAGGLE_VAL).is_dir():
        roots["val"] = data_dir / _KAGGLE_VAL
    if not roots and _is_val(data_dir, list(folders)):
        roots["val"] = data_dir
    return roots, {name: reason for name, reason in missing.items() if name not in roots}


def _is_val(root: Path, folders: Sequence[str]) -> bool:
    """Whether a folder without any set in it is one: table files, flat images, or folders with images."""
    if root.is_file() or table_files(root):
        return bool(table_files(root))
    tree = scan(root)
    return bool(tree.loose) or (len(tree) > 0 and len(folders) > 0)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
