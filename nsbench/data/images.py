"""A set of images: ids that never change, pixels, and classes where they are known."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nsbench.files import fingerprint

if TYPE_CHECKING:
    from nsbench.data.pools import Pool
    from nsbench.data.suites import Suites


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one size in memory.

    Raises:
        ValueError: lengths or dtypes disagree, or an id occurs twice.
    """

    name: str
    """What the set is called in protocols and tables."""
    ids: npt.NDArray[np.str_]
    """[N] stable, unique ids."""
    pixels: npt.NDArray[np.uint8]
    """[N, H, W, 3]."""
    labels: npt.NDArray[np.int64]
    """[N] class indices; -1 where the class is not known."""
    classes: tuple[str, ...]
    """Class names by index."""
    preprocessing: str = "no resize"
    """How the pixels came from the stored images, for protocols."""
    subset: tuple[int, ...] | None = None
    """The classes, ascending, that an answer may name; None: all of the model's."""
    made_from: str = ""
    """Fingerprint of what the pixels were made from; empty: they speak for themselves."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Ids of stored images that could not be read, and why; they are none of `ids`."""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.pixels) == len(self.labels):
            raise ValueError(f"{self.name}: {len(self.ids)} ids, {len(self.pixels)} images, {len(self.labels)} labels")
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[-1] != 3:
            raise ValueError(
                f"{self.name}: pixels must be uint8 [N, H, W, 3], not {self.pixels.dtype} {self.pixels.shape}"
            )
        if len(np.unique(self.ids)) != len(self.ids):
            raise ValueError(f"{self.name}: an id occurs twice")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.integer] | slice, name: str | None = None) -> ImageSet:
        """The images at `rows`, in that order."""
        return dataclasses.replace(
            self,
            name=name or self.name,
            ids=self.ids[rows],
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            made_from=self.made_from and fingerprint(self.made_from, self.ids[rows]),
        )

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.pixels.shape[1])

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over ids, pixels and labels, or over what they were made from."""
        return self.made_from or fingerprint(self.ids, self.pixels, self.labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureSet:
    """Images of different sizes, decoded when they are asked for: ImageNet-P films the picture before its crop."""

    name: str
    ids: npt.NDArray[np.str_]
    """[N] stable, unique ids."""
    labels: npt.NDArray[np.int64]
    """[N] class indices."""
    classes: tuple[str, ...]
    """Class names by index."""
    size: int
    """Side of the middle crop in pixels; no picture is smaller."""
    preprocessing: str
    """How the pictures came from the stored images, for protocols."""
    fingerprint: str
    """Sixteen hexadecimal digits over everything that the pixels depend on."""
    decode: Callable[[int], npt.NDArray[np.uint8]]
    """uint8 [H, W, 3] of one row of `ids`; a DataError where it is no image."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.integer]) -> PictureSet:
        """The pictures at `rows`, in that order."""
        numbers = rows.tolist()
        return dataclasses.replace(
            self,
            ids=self.ids[rows],
            labels=self.labels[rows],
            fingerprint=fingerprint(self.fingerprint, self.ids[rows]),
            decode=lambda row: self.decode(numbers[row]),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolTruth:
    """What is known of the unlabelled pool. The engine never sees it; only the report does."""

    ids: npt.NDArray[np.str_]
    """[N] the pool's ids, in its order, over all shards."""
    labels: npt.NDArray[np.int64]
    """[N] true classes; -1 for an image that shows none of them, or of which nobody knows."""
    sources: npt.NDArray[np.str_]
    """[N] where each image comes from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One self-training problem: what to learn from, and what to measure on."""

    name: str
    title: str
    """The data set's real name, for people."""
    classes: tuple[str, ...]
    """Class names by index."""
    image_px: int
    """Side of the images, which are all in memory; 0: photographs, read as they come."""
    labelled: Pool
    unlabelled: Pool
    """Its labels are all -1."""
    truth: PoolTruth | None
    """None: nothing is known of the unlabelled images, or they are too many to keep it."""
    held_out: bool | None
    """No image of `evaluation` was used to train or to choose; None: nobody knows of all of them."""
    evaluation: Mapping[str, ImageSet]
    """Images in memory: `val`, and of the embedded task `natural-adversarial` and `complement`; of photographs none."""
    suites: Suites | None = None
    """The test sets of photographs on disk, as `nsbench eval` finds them."""
    notes: tuple[str, ...] = ()
    """What was left out of the images, and why: one line each."""
