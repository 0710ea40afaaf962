"""ImageNet-P's clips as listings, decoded batch by batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsbench.data.folder import Folder, list_tree
from nsbench.data.imagenet_classes import as_imagenet, wnid_indices
from nsbench.data.pictures import BadImage
from nsbench.data.streamed import Streamed, ahead
from nsbench.data.tree import CLIP_SUFFIXES, scan
from nsbench.data.video import decode_clip, require_video
from nsbench.errors import DataError
from nsbench.files import fingerprint

NUM_FRAMES, TRANSLATE_FRAMES = 31, 41
"""Frames 0..30, and 41 of translate (hendrycks/robustness, ImageNet-P/create_p/make_imagenet_p.py)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipListing(Folder):
    """One perturbation's clips, `<root>/<class>/<file>.mp4`."""

    num_frames: int
    """Of every clip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSet(Streamed[ClipListing]):
    """Clips that come in batches."""

    @property
    def num_frames(self) -> int:
        return self.listing.num_frames

    @functools.cached_property
    def size(self) -> int:
        """Side in pixels of the first clip that can be read; a clip of another size is a bad one.

        Raises:
            DataError: PyAV is missing, no clip can be read, or the frames are not square.
        """
        require_video()
        reasons: dict[int, str] = {}
        for row in range(len(self)):
            try:
                height, width = decode_clip(self.listing.stored(row), self.num_frames).shape[1:3]
            except BadImage as error:
                reasons[row] = str(error)
                if self.on_bad_image == "error":
                    raise self.bad_clip(row, str(error)) from None
                continue
            if height != width:
                raise DataError(f"{self.listing.where(row)} is {width} x {height} px; ImageNet-P's clips are square")
            return int(height)
        raise self.bad_clip(0, reasons.get(0, "no clips"))

    @property
    def preprocessing(self) -> str:
        """For protocols."""
        return f"frames of the mp4 files, {self.size} px"

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over everything that the pixels depend on."""
        return fingerprint(self.listing.fingerprint(), self.num_frames)

    def batches(self, slices: Iterable[slice]) -> Iterator[tuple[slice, npt.NDArray[np.uint8], dict[int, str]]]:
        """Frames uint8 [n, T, size, size, 3] of each slice, and why rows of it are black; decoded ahead in threads.

        Raises:
            DataError: PyAV is missing; or a clip cannot be read and the policy is `error`.
        """
        shape = (self.num_frames, self.size, self.size, 3)
        for rows, shown in ahead(self._show, slices, len(self), self.workers):
            bad = {rows.start + place: clip for place, clip in enumerate(shown) if isinstance(clip, str)}
            if bad and self.on_bad_image == "error":
                raise self.bad_clip(*next(iter(bad.items())))
            black = np.zeros(shape, dtype=np.uint8)
            yield rows, np.stack([black if isinstance(clip, str) else clip for clip in shown]), bad

    def bad_clip(self, row: int, reason: str) -> DataError:
        """What is said of a clip that cannot be read, where that is an error."""
        return DataError(
            f"{self.listing.where(row)} cannot be read ({reason}); copy it again, or leave such clips out, counted, "
            "with --on-bad-image skip"
        )

    def _show(self, row: int) -> npt.NDArray[np.uint8] | str:
        try:
            clip = decode_clip(self.listing.stored(row), self.num_frames)
        except BadImage as error:
            return str(error)
        height, width = clip.shape[1:3]
        return clip if height == width == self.size else f"{width} x {height} px instead of {self.size}"


def open_clips(root: Path, *, num_frames: int, name: str, classes: Sequence[str] | None = None) -> ClipListing:
    """List `<root>/<class>/<file>.mp4`; no clip is opened.

    Labels count the names in `classes`; by default ImageNet's thousand where all folders are of it, else the sorted
    names of the folders.

    Raises:
        DataError: as `open_folder`.
    """
    tree = scan(root, CLIP_SUFFIXES)
    if not len(tree):
        raise DataError(f"{root} holds no clips; it must hold a folder of mp4 files for each class")
    folder = list_tree(tree, name=name, classes=classes)
    if classes is None and all(c in wnid_indices() for c in folder.classes):
        folder = as_imagenet(folder)
    fields = {field.name: getattr(folder, field.name) for field in dataclasses.fields(Folder)}
    return ClipListing(num_frames=num_frames, **fields)
