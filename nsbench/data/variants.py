"""ImageNet-A, -R, -V2, -Sketch, -O and ObjectNet as they unpack, with ImageNet's class indices as labels."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nsbench.data.folder import list_tree, open_folder
from nsbench.data.imagenet_classes import imagenet_a_classes, imagenet_r_classes, imagenet_wnids, present
from nsbench.data.listing import Listing
from nsbench.data.tree import scan, subfolders
from nsbench.errors import DataError

V2_SUBSETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "matched-frequency": ("matchedfrequency",),
        "threshold-0.7": ("threshold07", "threshold"),
        "top-images": ("topimages",),
    }
)
"""ImageNet-V2's three samplings (Recht et al. 2019, arXiv:1902.10811) and how their folders are spelled, without
punctuation and without `imagenetv2` and `format-val`."""

OBJECTNET_BORDER = 2
"""Pixels of the red border that the authors ask to be cut before use (ObjectNet's own README)."""
OBJECTNET_CLASSES = 113
"""Of ObjectNet's 313, those that are ImageNet's as well (Barbu et al. 2019)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One test set, and which answers count."""

    listing: Listing
    subset: tuple[int, ...] | None = None
    """ImageNet's class indices, ascending, that an answer may name; None: all thousand."""
    allowed: tuple[tuple[int, ...], ...] | None = None
    """For each label the ImageNet classes that are right; None: the label is the class."""
    border: int = 0
    """Pixels to cut from every side of an image, see `View.border`."""
    note: str = ""
    """What protocols must say: `partial: ...`."""


def open_imagenet_a(root: Path) -> Variant:
    """ImageNet-A: 200 folders named by WordNet id.

    Raises:
        DataError: as `open_folder`, or a folder is none of ImageNet's thousand classes.
    """
    return _of_classes(root, "imagenet-a", imagenet_a_classes())


def open_imagenet_r(root: Path) -> Variant:
    """ImageNet-R: 200 folders named by WordNet id.

    Raises:
        DataError: as `open_imagenet_a`.
    """
    return _of_classes(root, "imagenet-r", imagenet_r_classes())


def open_imagenet_sketch(root: Path) -> Variant:
    """ImageNet-Sketch: a thousand folders named by WordNet id.

    Raises:
        DataError: as `open_imagenet_a`.
    """
    return _of_classes(root, "imagenet-sketch", range(len(imagenet_wnids())))


def open_imagenet_o(root: Path) -> Variant:
    """ImageNet-O: images of none of ImageNet's classes, in 200 folders named by in-distribution classes.

    Raises:
        DataError: as `open_imagenet_a`.
    """
    listing = open_folder(root, name="imagenet-o", classes=imagenet_wnids())
    subset = present(listing)
    note = "" if len(subset) == 200 else f"partial: {len(subset)} of 200 classes"
    return Variant(listing=listing, subset=subset, note=note)


def open_imagenet_v2(root: Path) -> dict[str, Variant]:
    """The subsets of ImageNet-V2 in `root`, by their names in `V2_SUBSETS`; or `root` itself, where it is one.

    Class folders are `0` to `999`, or WordNet ids; ids are `<wnid>/<file>` either way.

    Raises:
        DataError: as `open_imagenet_a`; or there is none of the three.
    """
    found = {name: path for folder, path in subfolders(root).items() if (name := v2_subset(folder)) is not None}
    if found:
        return {name: _open_v2(found[name], name) for name in V2_SUBSETS if name in found}
    name = v2_subset(root.name)
    if name is not None:
        return {name: _open_v2(root, name)}
    if any(_is_class(folder) for folder in subfolders(root)):
        variant = _open_v2(root, "unnamed")
        note = "; ".join(filter(None, ("which of the three samplings is not told by the folder's name", variant.note)))
        return {"unnamed": dataclasses.replace(variant, note=note)}
    raise DataError(
        f"{root} holds no imagenetv2-matched-frequency-format-val, -threshold0.7- or -top-images-format-val"
    )


def open_objectnet(root: Path) -> Variant:
    """ObjectNet's images of 113 classes, those that its `mappings` find in ImageNet; labels 0..112.

    Args:
        root: `objectnet-1.0` with `images` and `mappings`, or the folder that holds it.

    Raises:
        DataError: no images or mappings, or they cannot be read or contradict one another.
    """
    root = next((path for path in (root, *subfolders(root).values()) if (path / "images").is_dir()), root)
    if not (root / "images").is_dir():
        raise DataError(f"{root} holds no folder images; ObjectNet unpacks to objectnet-1.0 with images and mappings")
    allowed = _objectnet_classes(root / "mappings")
    tree = scan(root / "images")
    kept = [(c, files) for c, files in zip(tree.classes, tree.files, strict=True) if c in allowed]
    inside = dataclasses.replace(tree, classes=tuple(c for c, _ in kept), files=tuple(files for _, files in kept))
    listing = list_tree(inside, name="objectnet", classes=sorted(allowed))
    count = len(present(listing))
    return Variant(
        listing=listing,
        allowed=tuple(allowed[folder] for folder in sorted(allowed)),
        border=OBJECTNET_BORDER,
        note="" if count == OBJECTNET_CLASSES else f"partial: {count} of {OBJECTNET_CLASSES} classes",
    )


def v2_subset(folder: str) -> str | None:
    """Which of ImageNet-V2's samplings a folder of this name holds; None: none."""
    bare = re.sub(r"[^a-z0-9]", "", folder.lower()).removeprefix("imagenetv2").removesuffix("formatval")
    return next((name for name, spellings in V2_SUBSETS.items() if bare in spellings), None)


def _of_classes(root: Path, name: str, published: Collection[int]) -> Variant:
    """A set in folders of WordNet ids; what is not the published set of classes is said."""
    listing = open_folder(root, name=name, classes=imagenet_wnids())
    subset = present(listing)
    missing, strange = len(set(published) - set(subset)), len(set(subset) - set(published))
    said = (
        f"partial: {len(published) - missing} of {len(published)} classes" if missing else "",
        f"{strange} classes that are not in the published set" if strange else "",
    )
    everything = len(subset) == len(imagenet_wnids())
    return Variant(listing=listing, subset=None if everything else subset, note="; ".join(filter(None, said)))


def _is_class(folder: str) -> bool:
    return (folder.isdecimal() and int(folder) < len(imagenet_wnids())) or folder in imagenet_wnids()


def _open_v2(root: Path, name: str) -> Variant:
    folders = subfolders(root)
    by_number = {folder: int(folder) for folder in folders if folder.isdecimal()}
    if not by_number:
        return _of_classes(root, f"imagenet-v2 {name}", range(len(imagenet_wnids())))
    spelled = {number: folder for folder, number in by_number.items()}  # 7 or 007
    if len(spelled) < len(by_number):
        raise DataError(f"{root} has two folders for one class number; ImageNet-V2's are 0 to 999")
    classes = [spelled.get(index, str(index)) for index in range(len(imagenet_wnids()))]
    folder = open_folder(root, name=f"imagenet-v2 {name}", classes=classes)
    wnids = imagenet_wnids()
    ids = (f"{wnids[by_number[key.partition('/')[0]]]}/{key.partition('/')[2]}" for key in folder.ids)
    listing = dataclasses.replace(folder, ids=tuple(ids), files=folder.ids, classes=wnids)
    subset = present(listing)
    partial = len(subset) < len(wnids)
    note = f"partial: {len(subset)} of {len(wnids)} classes" if partial else ""
    return Variant(listing=listing, subset=subset if partial else None, note=note)


def _objectnet_classes(mappings: Path) -> dict[str, tuple[int, ...]]:
    """ImageNet class indices by ObjectNet folder, from the four files that the images come with.

    folder_to_objectnet_label.json: folder -> label; objectnet_to_imagenet_1k.json: label -> ImageNet's names, joined by
    `; `; imagenet_to_label_2012_v2: one name a line, in the devkit's order; pytorch_to_imagenet_2012_id.json: class
    index -> number of the line, from 0.
    """
    labels: Mapping[str, str] = _json(mappings / "folder_to_objectnet_label.json")
    names: Mapping[str, str] = _json(mappings / "objectnet_to_imagenet_1k.json")
    lines: Mapping[str, int] = _json(mappings / "pytorch_to_imagenet_2012_id.json")
    path = next((p for p in mappings.glob("imagenet_to_label_2012_v2*") if p.is_file()), mappings)
    try:
        words: Sequence[str] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        index = {words[line]: int(number) for number, line in lines.items()}
        folders = {label: folder for folder, label in labels.items()}
        return {
            folders[label]: tuple(sorted(index[name] for name in joined.split("; "))) for label, joined in names.items()
        }
    except OSError:
        raise DataError(f"{mappings} lacks imagenet_to_label_2012_v2; copy ObjectNet's mappings again") from None
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{mappings}: the four files contradict one another at {error}; copy them again") from None


def _json(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); copy ObjectNet's mappings again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is no table of names; copy ObjectNet's mappings again")
    return content
