"""ImageNet-C, ImageNet-C-bar and ImageNet-P as they unpack, with or without the folders of their archives.

`<corruption>/<severity>/<wnid>/<image>` and `<perturbation>/<wnid>/<clip>`, in the root or below folders such as
`noise` and `blur`. Which cells there are is told from the names of folders; images are listed a cell at a time, since
ImageNet-C has 4.75 million.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from nsbench.configfile import suggest
from nsbench.data.clips import NUM_FRAMES, TRANSLATE_FRAMES, ClipListing, ClipSet, open_clips
from nsbench.data.folder import BadImagePolicy, Folder, open_folder
from nsbench.data.imagenet_classes import as_imagenet, wnid_indices
from nsbench.data.tree import IMAGE_SUFFIXES, counts, subfolders, unreadable, visible
from nsbench.errors import DataError
from nsbench.metrics.reference import CORRUPTIONS, EXTRA_CORRUPTIONS, EXTRA_PERTURBATIONS, PERTURBATIONS

SEVERITIES = (1, 2, 3, 4, 5)

C_BAR_STRENGTHS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
        "brownish_noise": (1.0, 2.0, 3.0, 4.0, 5.0),
        "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
        "checkerboard_cutout": (2.0, 3.0, 4.0, 5.0, 6.0),
        "cocentric_sine_waves": (3.0, 5.0, 8.0, 9.0, 10.0),
        "inverse_sparkles": (1.0, 2.0, 4.0, 9.0, 10.0),
        "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
        "plasma_noise": (4.75, 7.0, 8.5, 9.25, 10.0),
        "single_frequency_greyscale": (1.0, 1.5, 2.0, 4.5, 5.0),
        "sparkles": (1.0, 2.0, 3.0, 5.0, 6.0),
    }
)
"""ImageNet-C-bar (Mintun et al. 2021, arXiv:2102.11273): facebookresearch/augmentation-corruption,
imagenet_c_bar/imagenet_c_bar.csv. Its script names the folders of severities 1..5 by these, with two digits after the
point; the archive that can be downloaded calls them 1..5."""

_MOST_GROUPS = 64
"""A folder with more subfolders holds classes, no corruptions."""
_DEPTH = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptionTree:
    """ImageNet-C or ImageNet-C-bar. A cell is called `<corruption>-<severity>`."""

    name: str
    root: Path
    names: tuple[str, ...]
    """The corruptions that there could be, in their published order."""
    folders: Mapping[str, Path]
    """Of each cell that is there, in the order of `names`."""

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(self.folders)

    def absent(self, names: Iterable[str]) -> tuple[str, ...]:
        """Cells of these corruptions that are not there."""
        return tuple(cell for cell in cells_of(names) if cell not in self.folders)

    def listing(self, cell: str, classes: Sequence[str] | None = None) -> Folder:
        """The images of one cell. Labels count the names in `classes`, by default ImageNet's where all folders are.

        Raises:
            DataError: no such cell, it cannot be read, or it has no images.
        """
        if cell not in self.folders:
            raise DataError(f"{self.root} has no {cell}{suggest(cell, self.folders)}")
        folder = open_folder(self.folders[cell], name=f"{self.name} {cell}", classes=classes)
        is_imagenet = classes is None and all(c in wnid_indices() for c in folder.classes)
        return as_imagenet(folder) if is_imagenet else folder

    @functools.cached_property
    def size(self) -> int:
        """Side of the images in pixels, from one of every cell: 224, or 299 of the variant for Inception.

        Raises:
            DataError: an image cannot be read or is not square, or they differ.
        """
        sizes = {cell: _size(folder) for cell, folder in self.folders.items()}
        (first, size), *others = sizes.items()
        strange = [cell for cell, other in others if other != size]
        if strange:
            raise DataError(
                f"{self.root} mixes images of {size} px ({first}) and of {sizes[strange[0]]} px ({strange[0]}), which "
                "are different benchmarks; keep each in a folder of its own"
            )
        return size


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerturbationTree:
    """ImageNet-P. A cell is a perturbation; `<noise>_2` and `<noise>_3` are of higher difficulty."""

    name: str
    root: Path
    folders: Mapping[str, Path]

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(self.folders)

    def absent(self, names: Iterable[str]) -> tuple[str, ...]:
        """Perturbations that are not there."""
        return tuple(name for name in names if name not in self.folders)

    def listing(self, cell: str, classes: Sequence[str] | None = None) -> ClipListing:
        """The clips of one perturbation; labels as those of `CorruptionTree.listing`.

        Raises:
            DataError: no such perturbation, its folder cannot be read, or it has no clips.
        """
        if cell not in self.folders:
            raise DataError(f"{self.root} has no {cell}{suggest(cell, self.folders)}")
        num_frames = TRANSLATE_FRAMES if cell == "translate" else NUM_FRAMES
        return open_clips(self.folders[cell], num_frames=num_frames, name=f"{self.name} {cell}", classes=classes)

    def clips(
        self,
        cell: str,
        *,
        on_bad_image: BadImagePolicy = "error",
        workers: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> ClipSet:
        """The same, decoded batch by batch."""
        return ClipSet(listing=self.listing(cell, classes), on_bad_image=on_bad_image, workers=workers)


def cells_of(corruptions: Iterable[str]) -> tuple[str, ...]:
    """Names of the cells of these corruptions at all five severities."""
    return tuple(f"{name}-{severity}" for name in corruptions for severity in SEVERITIES)


def open_imagenet_c(root: Path) -> CorruptionTree:
    """Find the 15 corruptions and 4 extra ones below `root`.

    Raises:
        DataError: none is there, one is there twice, or a folder cannot be read.
    """
    return _open_corruptions("imagenet-c", root, (*CORRUPTIONS, *EXTRA_CORRUPTIONS), {})


def open_imagenet_c_bar(root: Path) -> CorruptionTree:
    """Find the ten corruptions of ImageNet-C-bar below `root`.

    Raises:
        DataError: as `open_imagenet_c`.
    """
    return _open_corruptions("imagenet-c-bar", root, tuple(C_BAR_STRENGTHS), C_BAR_STRENGTHS)


def open_imagenet_p(root: Path) -> PerturbationTree:
    """Find the ten perturbations and four extra ones below `root`.

    Raises:
        DataError: as `open_imagenet_c`.
    """
    names = dict.fromkeys((*PERTURBATIONS, *EXTRA_PERTURBATIONS))
    harder = [f"{name}_{difficulty}" for name in names if name.endswith("_noise") for difficulty in (2, 3)]
    found = _groups(root, (*names, *harder))
    return PerturbationTree(name="imagenet-p", root=root, folders=found)


def _open_corruptions(
    title: str, root: Path, names: tuple[str, ...], strengths: Mapping[str, tuple[float, ...]]
) -> CorruptionTree:
    cells: dict[str, Path] = {}
    for name, folder in _groups(root, names).items():
        spelled = {f"{value:.2f}": severity for severity, value in enumerate(strengths.get(name, ()), 1)}
        spelled |= {str(severity): severity for severity in SEVERITIES}
        levels = {spelled[level]: path for level, path in subfolders(folder).items() if level in spelled}
        cells |= {f"{name}-{severity}": levels[severity] for severity in sorted(levels)}
    if not cells:
        raise DataError(f"{root} has corruptions but no folders 1 to 5 of severities in them")
    return CorruptionTree(name=title, root=root, names=names, folders=cells)


def _groups(root: Path, names: Collection[str]) -> dict[str, Path]:
    """The folders with these names in `root` or in folders of it, in the order of `names`."""
    found: dict[str, Path] = {}
    others: list[str] = []
    level = [root]
    for _ in range(_DEPTH):
        below = []
        for parent in level:
            for name, path in subfolders(parent).items():
                if name not in names:
                    others.append(name)
                    below.append(path)
                elif name in found:
                    raise DataError(f"{root} holds {name} twice: {found[name]} and {path}; remove one")
                else:
                    found[name] = path
        level = [path for path in below if len(subfolders(path)) <= _MOST_GROUPS]
    if not found:
        near = next((hint for other in others if "mean" in (hint := suggest(other, names))), "")
        raise DataError(f"{root} holds none of the folders {', '.join(list(names)[:3])} and so on{near}")
    return {name: found[name] for name in names if name in found}


def _size(folder: Path) -> int:
    """Side in pixels of the first image of the first class that has one."""
    try:
        for path in subfolders(folder).values():
            files = sorted(entry.name for entry in visible(path) if counts(entry, IMAGE_SUFFIXES))
            if files:
                with Image.open(path / files[0]) as image:
                    if image.width != image.height:
                        size = f"{image.width} x {image.height}"
                        raise DataError(f"{path / files[0]} is {size} px; the images of ImageNet-C are square")
                    return image.width
    except Image.DecompressionBombError:
        raise DataError(f"{path / files[0]} has too many pixels; the images of ImageNet-C have 224 x 224") from None
    except OSError as error:
        if error.filename and not os.path.isfile(error.filename):
            raise unreadable(error) from None
        raise DataError(f"{path / files[0]} is no image of a known format; copy it again") from None
    raise DataError(f"{folder} holds no images")
