"""Folders of images in ImageNet's own layout, `<root>/<class>/<file>`, as torchvision's ImageFolder reads them.

The pixels are those of `nsbench.data.pictures`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from nsbench.data.images import ImageSet, PictureSet
from nsbench.data.listing import Listing
from nsbench.data.pictures import BadImage, Interpolation, center_crop, decode, in_threads
from nsbench.data.tree import Tree, scan
from nsbench.errors import DataError
from nsbench.files import fingerprint
from nsbench.track import Progress

BadImagePolicy = Literal["error", "skip"]

IMAGENET_CLASSES = 1000
_WNID = re.compile(r"n\d{8}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder(Listing):
    """Images in files below one root."""

    root: Path
    files: tuple[str, ...] | None = None
    """[N] paths below the root, with `/` on every system; None: they are the ids, as in `<class>/<file>`."""
    left_out: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    """What lies beside the images and is none by its suffix or kind, by path below the root; no hidden files."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """[N] where the images are."""
        return tuple(self.root / file for file in self.files or self.ids)

    @property
    def is_imagenet(self) -> bool:
        """Whether the classes are ImageNet's thousand: then a class is the index that ImageNet models use."""
        return len(self.classes) == IMAGENET_CLASSES and all(map(_WNID.fullmatch, self.classes))

    def stored(self, row: int) -> Path:
        return self.root / (self.files or self.ids)[row]

    def where(self, row: int) -> str:
        return str(self.stored(row))

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Self:
        taken = super().take(rows)
        return taken if self.files is None else dataclasses.replace(taken, files=tuple(self.files[r] for r in rows))


def open_folder(root: str | Path, *, name: str | None = None, classes: Sequence[str] | None = None) -> Folder:
    """List `<root>/<class>/<file>`; no image is opened.

    Files count by their suffix (`nsbench.data.tree`); hidden files and folders, other files and deeper folders do not.
    Symbolic links are followed: on clusters data are often links.

    Args:
        root: the folder of class folders.
        name: for protocols and tables; by default the last two parts of the path, such as `imagenet val`.
        classes: names of the folders in the order of their indices, some of which may be absent; by default the
            sorted names of the folders that there are, an empty one too.

    Raises:
        DataError: no such folder, it cannot be read, there are no class folders or no images in it, or a folder with
            images is none of `classes`.
    """
    return list_tree(scan(Path(root)), name=name, classes=classes)


def list_tree(tree: Tree, *, name: str | None = None, classes: Sequence[str] | None = None) -> Folder:
    """As `open_folder`, from a pass over the disk that was made already."""
    if not len(tree):
        raise DataError(_why_empty(tree))
    index = {c: number for number, c in enumerate(tree.classes if classes is None else classes)}
    strange = [c for c, files in zip(tree.classes, tree.files, strict=True) if files and c not in index]
    if strange:
        raise DataError(
            f"{tree.root / strange[0]} is the folder of none of the {len(index):,} classes"
            f"{f', nor are {len(strange) - 1} others' if len(strange) > 1 else ''}; move it elsewhere"
        )
    found = sorted((index[c], c, files) for c, files in zip(tree.classes, tree.files, strict=True) if c in index)
    return Folder(
        root=tree.root,
        name=name or " ".join(tree.root.resolve().parts[-2:]),
        ids=tuple(f"{c}/{file}" for _, c, files in found for file in files),
        labels=np.repeat(np.array([i for i, _, _ in found], dtype=np.int64), [len(files) for _, _, files in found]),
        classes=tuple(index),
        left_out=tree.left_out + tree.loose,
    )


def read_folder(
    root: str | Path,
    *,
    resize: int = 256,
    crop: int = 224,
    interpolation: Interpolation = "bilinear",
    workers: int | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> ImageSet:
    """Read a folder of images into memory, shorter side resized, middle cropped; see `read_images`.

    Returns:
        pixels uint8 [N, crop, crop, 3]; ids and classes as in `open_folder`; at most `limit` images, see
        `Folder.limited`.

    Raises:
        DataError: as `open_folder` and `read_images`.
    """
    folder = open_folder(root, name=name).limited(limit)
    images, _ = read_images(
        folder, resize=resize, crop=crop, interpolation=interpolation, workers=workers, progress=progress
    )
    return images


def read_images(
    folder: Folder,
    *,
    resize: int = 256,
    crop: int = 224,
    interpolation: Interpolation = "bilinear",
    workers: int | None = None,
    progress: Progress | None = None,
    on_bad_image: BadImagePolicy = "error",
) -> tuple[ImageSet, tuple[str, ...]]:
    """Read the images of a listing in threads (Pillow decodes and resizes without Python's lock).

    Args:
        folder: from `open_folder`.
        resize: length of the shorter side in pixels, at least `crop`.
        crop: side of the square that is cut from the middle.
        interpolation: Pillow's filter; ImageNet-C and -P were made with `bilinear`.
        workers: threads; by default one a core, at most 16.
        progress: shows a counter.
        on_bad_image: `skip` leaves out files that are no images; `error` reads all and refuses once.

    Returns:
        The images, and the ids of those skipped.

    Raises:
        DataError: a file is no image and the policy is `error`, or all of them are none.
        ValueError: `resize` is smaller than `crop`.
    """
    if not 0 < crop <= resize:
        raise ValueError(f"crop {crop} must be positive and at most resize {resize}")
    pixels = np.empty((len(folder), crop, crop, 3), dtype=np.uint8)

    def read(row: int) -> str | None:
        try:
            pixels[row] = center_crop(decode(folder.stored(row), resize, interpolation), crop)
        except BadImage as error:
            return str(error)
        return None

    reasons: dict[int, str] = {}
    with (progress or Progress("none")).counter(f"read {folder.name}", len(folder), unit="image") as counter:
        for row, reason in enumerate(in_threads(read, range(len(folder)), workers)):
            if reason is not None:
                reasons[row] = reason
            counter.advance()
    if reasons and (on_bad_image == "error" or len(reasons) == len(folder)):
        raise bad_images_error(folder, reasons)
    good = folder
    if reasons:
        rows = np.array([row for row in range(len(folder)) if row not in reasons], dtype=np.int64)
        good, pixels = folder.take(rows), pixels[rows]
    images = ImageSet(
        name=folder.name,
        ids=np.array(good.ids, dtype=np.str_),
        pixels=pixels,
        labels=good.labels,
        classes=good.classes,
        preprocessing=f"shorter side resized to {resize} ({interpolation}), middle {crop} cropped",
    )
    return images, tuple(folder.ids[row] for row in reasons)


def picture_set(folder: Listing, *, resize: int | None = 256, crop: int = 224) -> PictureSet:
    """The images of a listing before their crop, decoded when asked for, for ImageNet-P (bilinear, as the authors).

    With `resize` None they are as they are stored.

    A file that is no image is a DataError when its row is asked for.
    """
    return PictureSet(
        name=folder.name,
        ids=np.array(folder.ids, dtype=np.str_),
        labels=folder.labels,
        classes=folder.classes,
        size=crop,
        preprocessing="no resize" if resize is None else f"shorter side resized to {resize} (bilinear)",
        fingerprint=fingerprint(folder.fingerprint(), resize, crop),
        decode=functools.partial(_decode_row, folder, resize),
    )


def _decode_row(folder: Listing, resize: int | None, row: int) -> npt.NDArray[np.uint8]:
    try:
        return decode(folder.stored(row), resize)
    except BadImage as error:
        raise bad_images_error(folder, {row: str(error)}) from None


def bad_images_error(folder: Listing, reasons: dict[int, str]) -> DataError:
    """One line for all files that are no images: how many, the first, and why. `reasons` is row to reason."""
    first = min(reasons)
    return DataError(
        f"{len(reasons)} of {len(folder)} images cannot be read, first {folder.where(first)} "
        f"({reasons[first]}); copy it again, or leave such images out with --on-bad-image skip"
    )


def _why_empty(tree: Tree) -> str:
    """What a person most probably meant."""
    if "val" in tree.classes:
        return f"{tree.root} holds no folders of images for its classes; {tree.root / 'val'} may be meant"
    if tree.loose:
        return (
            f"{tree.root} holds {len(tree.loose)} images but no class folders; move each into the folder of its class"
        )
    if not tree.classes:
        return f"{tree.root} is empty; it must hold a folder of images for each class"
    return f"none of the {len(tree.classes)} folders in {tree.root} holds an image"
