"""Pseudo-labels of the last student's teacher: the most confident, the filtered-out, and the wrong ones it kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from nsbench.data.images import ImageSet, PoolTruth
from nsbench.data.listing import Listing
from nsbench.data.pictures import BadImage, View
from nsbench.engine.select import read_copies
from nsbench.samples.album import THUMBNAIL_PX, Album, Pixels

_PICTURES_A_GROUP = 12
_THUMBNAIL = View(size=THUMBNAIL_PX, resize=THUMBNAIL_PX, interpolation="bicubic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of the pool's first shard, and what became of them."""

    labels: Path
    """Label file of the shard."""
    selection: Path
    """Its selection file."""
    images: ImageSet | Listing
    truth: PoolTruth | None
    min_confidence: float
    teacher: str
    """Generation that gave the labels."""


def add_labelled(album: Album, given: Labels, names: Sequence[str]) -> None:
    """Three groups of pictures; the wrong ones only where the truth is known."""
    truth = given.truth
    table = pq.read_table(given.labels, columns=["label", "confidence"])
    labels, confidence = table["label"].to_numpy(), table["confidence"].to_numpy()
    known = np.full(len(labels), -1) if truth is None else truth.labels[: len(labels)]
    for group, title, rows in _groups(given, labels, confidence, known):
        album.group(group, title)
        for row, pixels in _first_shown(given.images, rows.tolist()):
            source = str(truth.sources[row]) if truth is not None else ""
            shown = names[known[row]] if known[row] >= 0 else "none of the classes"
            album.add(
                pixels,
                ", ".join(filter(None, (f"{confidence[row]:.2f}", source))),
                subset=source,
                level="",
                truth=shown if truth is not None else "",
                predictions={given.teacher: names[labels[row]]},
            )


def _groups(
    given: Labels, labels: npt.NDArray[Any], confidence: npt.NDArray[Any], known: npt.NDArray[np.int64]
) -> Iterator[tuple[str, str, npt.NDArray[np.int64]]]:
    """Name, title and rows of each group, most confident first; those without a label could not be read."""
    order = np.argsort(-confidence, kind="stable")
    order = order[labels[order] >= 0]
    kept = read_copies(given.selection)[order] > 0
    yield "confident", "Most confident pseudo-labels of the last student's teacher", order
    yield "filtered", "Dropped as unsure", order[~kept & (confidence[order] < given.min_confidence)]
    if given.truth is not None:
        yield "wrong", "Kept and wrong, most confident first", order[kept & (labels[order] != known[order])]


def _first_shown(images: ImageSet | Listing, rows: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    """The first dozen of the rows that can be read."""
    left = _PICTURES_A_GROUP
    for row in rows:
        try:
            pixels = images.pixels[row] if isinstance(images, ImageSet) else _THUMBNAIL.show(images.stored(row))
        except BadImage:
            continue
        yield row, pixels
        left -= 1
        if not left:
            return
