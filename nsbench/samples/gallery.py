"""The models whose answers are shown, and the images that they answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.data.imagenet_classes import imagenet_names, names_imagenet
from nsbench.data.images import ImageSet
from nsbench.data.pictures import BadImage
from nsbench.errors import DataError
from nsbench.evals import EvalContext
from nsbench.evals.base import Arrays, Images
from nsbench.files import NpzArrays
from nsbench.runfolder import RunFolder

Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """What pictures are made of."""

    folder: RunFolder
    lines: Mapping[str, str]
    """Every model by the key of its records: what the report calls it."""
    context: EvalContext
    """Of one of the models: the images, and how they are corrupted."""
    open: Callable[[str], EvalContext]
    """The context of a model by its key, with the model."""
    classes: Sequence[str]
    """Names by class index."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes for people: words in place of ImageNet's WordNet ids."""
        return class_words(self.classes)

    @property
    def ends(self) -> tuple[str, str]:
        """Teacher and last student, or the first model and the last; the same twice where there is one."""
        keys = [key for key in self.lines if key != "control"] or list(self.lines)
        return keys[0], keys[-1]

    def name(self, number: int) -> str:
        """The name of a class."""
        return self.names[number] if number < len(self.names) else f"class {number}"

    def answers(self, eval_name: str, cell: str) -> dict[str, Arrays]:
        """The records of one cell by model, of those that have it."""
        paths = {key: self.folder.cell(key, eval_name, cell) for key in self.lines}
        return {key: NpzArrays(path) for key, path in paths.items() if path.is_file()}

    def predictions(self, answers: Mapping[str, Arrays], image: str) -> dict[str, str]:
        """What each model calls one image, of those that answered it."""
        found = {}
        for key, arrays in answers.items():
            row = row_of(arrays["ids"], image)
            if row is not None:
                found[self.lines[key]] = self.name(int(arrays["top1"][row]))
        return found


def class_words(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names for people: of ImageNet's thousand the first word of each, or all where two begin alike."""
    if not names_imagenet(classes):
        return tuple(classes)
    first = [words.split(",")[0] for words in imagenet_names()]
    return tuple(
        short if first.count(short) == 1 else whole for short, whole in zip(first, imagenet_names(), strict=True)
    )


def row_of(ids: npt.NDArray[np.str_], image: str) -> int | None:
    """The row of one image among ids [N]."""
    rows = np.flatnonzero(ids == image)
    return int(rows[0]) if len(rows) else None


def one_image(images: Images, image: str) -> ImageSet:
    """One image of a set, with its pixels in memory.

    Raises:
        DataError: it is none of the set, or can no longer be read.
    """
    row = row_of(images.ids, image)
    if row is None:
        raise DataError(f"{images.name} no longer has the image {image}, which was measured")
    pixels = images.pixels[row] if isinstance(images, ImageSet) else _shown(images, row)
    return ImageSet(
        name=images.name,
        ids=images.ids[row : row + 1],
        pixels=pixels[None],
        labels=np.asarray(images.labels[row : row + 1]),
        classes=tuple(images.classes),
    )


def _shown(images: Any, row: int) -> Pixels:
    try:
        pixels: Pixels = images.view.show(images.listing.stored(row))
        return pixels
    except BadImage as error:
        raise images.bad_image(row, str(error)) from None
