"""ImageNet-C, -C-bar and -P: which cells there are, and how many images each holds, counted until time is up."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nsbench.data.corrupted import CorruptionTree, PerturbationTree
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.pictures import BadImage, View
from nsbench.data.tree import CLIP_SUFFIXES, IMAGE_SUFFIXES, subfolders
from nsbench.data.video import decode_clip
from nsbench.doctor.finding import Seen, named
from nsbench.errors import DataError

PER_CELL = 50_000
"""Images of a cell of ImageNet-C, and clips of a perturbation of ImageNet-P: one for each of val's."""

_THREADS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Count:
    """The folders of one cell."""

    files: int
    others: tuple[str, ...]
    """Entries that are no images by their suffix."""
    is_imagenet: bool
    """Whether the folders are those of ImageNet's thousand classes."""


def corruptions_seen(tree: CorruptionTree, wanted: tuple[str, ...], deadline: float) -> Iterator[Seen]:
    """What there is to say of ImageNet-C or -C-bar; `wanted` are the cells that its mean needs."""
    if tree.size not in (224, 299):
        yield "warning", f"images of {tree.size} px; ImageNet-C was published at 224 and 299"
    yield from _complete(tree.cells, wanted, f"{tree.size} px")
    yield from _counted(tree, IMAGE_SUFFIXES, deadline)
    listing = tree.listing(tree.cells[0])
    try:
        View(size=tree.size, resize=None).show(listing.stored(0))
    except BadImage as error:
        yield "problem", f"{listing.where(0)} cannot be read ({error})"


def perturbations_seen(tree: PerturbationTree, wanted: tuple[str, ...], deadline: float) -> Iterator[Seen]:
    """What there is to say of ImageNet-P; `wanted` are the perturbations that its mean needs."""
    listing = tree.listing(tree.cells[0])
    try:
        frames = decode_clip(listing.stored(0), listing.num_frames)
        yield from _complete(tree.cells, wanted, f"{frames.shape[2]} x {frames.shape[1]} px")
    except BadImage as error:
        yield "problem", f"{listing.where(0)} cannot be read ({error})"
    yield from _counted(tree, CLIP_SUFFIXES, deadline)


def _complete(cells: tuple[str, ...], wanted: tuple[str, ...], size: str) -> Iterator[Seen]:
    """Whether the published mean can be taken."""
    absent = [cell for cell in wanted if cell not in cells]
    if absent:
        yield "warning", f"{len(absent)} of {len(wanted)} cells are absent, first {absent[0]}; {size}"
    else:
        yield "ok", f"all {len(wanted)} cells, {size}"
    others = tuple(cell for cell in cells if cell not in wanted)
    if others:
        yield "ok", f"beside them {named(others, 'cell')}"


def _counted(tree: CorruptionTree | PerturbationTree, suffixes: Collection[str], deadline: float) -> Iterator[Seen]:
    """Whether every cell is whole, of those that time sufficed for."""
    counted: dict[str, _Count] = {}
    with ThreadPoolExecutor(_THREADS, "count") as pool:
        for cell, folder in tree.folders.items():
            if time.monotonic() > deadline and counted:
                yield (
                    "warning",
                    f"{len(tree.cells) - len(counted)} of {len(tree.cells)} cells were not counted: no time",
                )
                break
            counted[cell] = _count(folder, suffixes, pool)
    partial = {cell: count.files for cell, count in counted.items() if count.files != PER_CELL}
    if partial:
        cell, number = next(iter(partial.items()))
        yield "warning", f"{len(partial)} of {len(counted)} cells have not {PER_CELL:,} files, first {cell}: {number:,}"
    else:
        yield "ok", f"{PER_CELL:,} files in each of {len(counted)} cells"
    strange = tuple(cell for cell, count in counted.items() if not count.is_imagenet)
    if strange:
        yield "warning", f"class folders other than ImageNet's 1,000: {named(strange, 'cell')}"
    others = tuple(f"{cell}/{name}" for cell, count in counted.items() for name in count.others)
    if others:
        yield "warning", f"not counted as images: {named(others, 'file')}"


def _count(folder: Path, suffixes: Collection[str], pool: ThreadPoolExecutor) -> _Count:
    classes = subfolders(folder)
    try:
        contents = list(pool.map(os.listdir, classes.values()))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror})") from None
    names = [(c, name) for c, content in zip(classes, contents, strict=True) for name in content if name[0] != "."]
    others = tuple(f"{c}/{name}" for c, name in names if os.path.splitext(name)[1].lower() not in suffixes)
    is_imagenet = tuple(classes) == imagenet_wnids()
    return _Count(files=len(names) - len(others), others=others, is_imagenet=is_imagenet)
