"""What evaluations find to show a model: the test sets on disk, as this model sees them.

| name | what |
| --- | --- |
| `val` | clean images at the model's test-time view |
| `corruption-base` | clean images of 224 px (or of a small set's own size) that ImageNet-C is computed of |
| `val-pictures` | the pictures before their crop, that ImageNet-P is filmed of |
| `imagenet-a`, `-r`, `-o` and each with `-clean` | natural images, and val's of the same classes |
| `imagenet-v2-<sampling>`, `imagenet-sketch`, `objectnet` | other test images |
| `imagenet-c`, `imagenet-c-bar`, `imagenet-p` | released corrupted images and clips |
| `natural-adversarial`, `complement` | the embedded task's stand-ins for ImageNet-A and clean images beside it |
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsbench.config import EvalConfig
from nsbench.data.corrupted import CorruptionTree, PerturbationTree
from nsbench.data.folder import picture_set
from nsbench.data.id_lists import load_ids
from nsbench.data.imagenet_classes import as_imagenet, imagenet_wnids, wnid_indices
from nsbench.data.listing import AnyListing, Listing
from nsbench.data.pictures import View
from nsbench.data.released import ReleasedClips, ReleasedImages
from nsbench.data.streamed import StreamedSet
from nsbench.data.suites import Suites, restricted_to
from nsbench.data.variants import Variant
from nsbench.files import fingerprint

_LARGEST_SMALL_PX = 96
"""Sets whose images are all squares up to this size are corrupted at it; larger ones as ImageNet-C was made."""
_PROBED = 16

BASE_224 = View(size=224, resize=256, interpolation="bilinear")
"""What ImageNet-C and -P were made of (hendrycks/robustness, create_c/make_imagenet_c.py:583)."""
BASE_299 = View.of_crop(299, 0.875, "bilinear")
"""The same of the variant for Inception (make_imagenet_c_inception.py)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllowedSet(StreamedSet):
    """Images of which several classes are right (ObjectNet)."""

    allowed: tuple[tuple[int, ...], ...]
    """Right classes of each group."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """As that of `StreamedSet`, and over what is right."""
        return fingerprint(super().fingerprint, self.allowed)

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """[N] group of each image."""
        return self.listing.labels

    @functools.cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """[N] the first of the right classes."""
        return np.array([classes[0] for classes in self.allowed], dtype=np.int64)[self.listing.labels]


class LazySets(Mapping[str, Any]):
    """Sets by name, each opened when it is first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers, self._made = dict(makers), dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The set, or `default` where there is none; what goes wrong in opening it is not hidden."""
        return self[name] if name in self._makers else default

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclasses.dataclass(frozen=True)
class _Opener:
    """Turns listings into sets for one model."""

    suites: Suites
    view: View
    num_classes: int
    config: EvalConfig
    workers: int | None

    def streamed(self, listing: Listing, view: View, note: str = "", subset: tuple[int, ...] | None = None) -> Any:
        return StreamedSet(**self._fields(listing.limited(self.config.limit or None), view, note), subset=subset)

    def _fields(self, listing: Listing, view: View, note: str) -> dict[str, Any]:
        limit = f"partial: at most {self.config.limit} images" if self.config.limit else ""
        note = "; ".join(filter(None, (note, limit)))
        return {
            "listing": listing,
            "view": view,
            "note": note,
            "on_bad_image": self.config.on_bad_image,
            "workers": self.workers,
        }

    @functools.cached_property
    def val(self) -> Listing:
        """All clean images that are measured, with the labels of the model's classes."""
        listing = self.suites.val
        assert listing is not None
        return self.chosen(listing)

    def chosen(self, listing: AnyListing) -> AnyListing:
        """The images on the list asked for; wnids become ImageNet's indices for a model of its thousand classes.

        Raises:
            DataError: some of the classes are ImageNet's and others are not: their order would say nothing.
        """
        if self.num_classes == len(imagenet_wnids()) and any(name in wnid_indices() for name in listing.classes):
            listing = as_imagenet(listing)
        return load_ids(self.config.subset).of(listing) if self.config.subset else listing

    @property
    def knows_val(self) -> bool:
        """Whether the model has val's classes; to another one its labels are numbers without a meaning.

        A table without names tells its classes by its largest label: there may be more of them.
        """
        classes = self.val.classes
        numbered = classes == tuple(map(str, range(len(classes))))
        return len(classes) == self.num_classes or (numbered and len(classes) < self.num_classes)

    @property
    def val_note(self) -> str:
        partial = f"partial: {load_ids(self.config.subset).name}" if self.config.subset else ""
        held_out = self.suites.val_note if self.suites.val is not None else ""
        return "; ".join(filter(None, (held_out, partial)))

    def clean(self) -> Any:
        return self.streamed(self.val, self.view, self.val_note)

    def base(self) -> Any:
        return self.streamed(self.val, self.base_view, self.val_note)

    @property
    def base_view(self) -> View:
        released = self.suites.imagenet_c
        if released is not None:
            return BASE_299 if released.size == 299 else BASE_224
        side = small_side(self.val)
        return BASE_224 if side is None else View(size=side, resize=None)

    def pictures(self) -> Any:
        side = small_side(self.val)
        listing = self.val.limited(self.config.limit or None)
        shown = picture_set(listing) if side is None else picture_set(listing, resize=None, crop=side)
        note = self._fields(listing, self.view, self.val_note)["note"]
        return dataclasses.replace(shown, preprocessing="; ".join(filter(None, (shown.preprocessing, note))))

    def variant(self, variant: Variant) -> Any:
        view = dataclasses.replace(self.view, border=variant.border)
        listing = variant.listing.limited(self.config.limit or None)
        if variant.allowed is not None:
            return AllowedSet(**self._fields(listing, view, variant.note), allowed=variant.allowed)
        return self.streamed(variant.listing, view, variant.note, variant.subset)

    def same_classes(self, variant: Variant) -> Any:
        """Val's images of the classes that a variant shows."""
        subset = variant.subset or tuple(range(len(imagenet_wnids())))
        return self.streamed(restricted_to(self.val, subset), self.view, self.val_note, variant.subset)

    def images(self, tree: CorruptionTree) -> ReleasedImages:
        return ReleasedImages(tree=tree, open=self._open_cell(tree))

    def _open_cell(self, tree: CorruptionTree) -> Callable[[str], StreamedSet]:
        def opened(cell: str) -> StreamedSet:
            listing = self.chosen(tree.listing(cell, self._classes))
            cell_set: StreamedSet = self.streamed(listing, View(size=tree.size, resize=None), self.val_note)
            return cell_set

        return opened

    def clips(self, tree: PerturbationTree) -> ReleasedClips:
        def opened(cell: str) -> Any:
            clips = tree.clips(cell, on_bad_image=self.config.on_bad_image, workers=self.workers, classes=self._classes)
            listing = self.chosen(clips.listing).limited(self.config.limit or None)
            return dataclasses.replace(clips, listing=listing)

        return ReleasedClips(tree=tree, open=opened)

    @property
    def _classes(self) -> tuple[str, ...] | None:
        """Class names of released images: those of val where they are not ImageNet's."""
        val = self.suites.val
        return None if val is None or all(name in wnid_indices() for name in val.classes) else val.classes


def suite_sets(
    suites: Suites, view: View, num_classes: int, config: EvalConfig, workers: int | None = None
) -> Mapping[str, Any]:
    """The test sets for one model, by the names of this module's table; each is listed when it is asked for.

    Args:
        view: how the model sees a stored image.
        num_classes: of the model. Sets of ImageNet's classes are for models that know them.
        workers: threads that decode; None is one a core.
    """
    opener = _Opener(suites, view, num_classes, config, workers)
    there = set(suites.names)
    if "val" in there and not opener.knows_val:
        there.remove("val")
    makers: dict[str, Callable[[], Any]] = {}
    if "val" in there:
        makers |= {"val": opener.clean, "corruption-base": opener.base, "val-pictures": opener.pictures}
    if num_classes == len(imagenet_wnids()):
        makers |= _variant_makers(suites, opener, there)
    trees = {"imagenet-c": opener.images, "imagenet-c-bar": opener.images, "imagenet-p": opener.clips}
    for name, make in trees.items():
        field = name.replace("-", "_")
        if field in there:
            makers[name] = functools.partial(lambda make, field: make(getattr(suites, field)), make, field)
    return LazySets(makers)


def _variant_makers(suites: Suites, opener: _Opener, there: set[str]) -> dict[str, Callable[[], Any]]:
    makers: dict[str, Callable[[], Any]] = {}
    for field in ("imagenet_a", "imagenet_r", "imagenet_sketch", "imagenet_o", "objectnet"):
        if field not in there:
            continue
        name = field.replace("_", "-")
        makers[name] = functools.partial(lambda field: opener.variant(getattr(suites, field)), field)
        if "val" in there and field in ("imagenet_a", "imagenet_r", "imagenet_o"):
            makers[f"{name}-clean"] = functools.partial(
                lambda field: opener.same_classes(getattr(suites, field)), field
            )
    if "imagenet_v2" in there:
        for sampling, variant in suites.imagenet_v2.items():
            makers[f"imagenet-v2-{sampling}"] = functools.partial(opener.variant, variant)
    return makers


def small_side(listing: Listing) -> int | None:
    """Side of a set's images where all that are looked at are squares of one small size; None for photographs."""
    rows = np.unique(np.linspace(0, len(listing) - 1, _PROBED).round().astype(int))
    sizes = {_size(listing, row) for row in rows.tolist()} - {None}
    if len(sizes) != 1:
        return None
    ((width, height),) = sizes
    return int(width) if width == height <= _LARGEST_SMALL_PX else None


def _size(listing: Listing, row: int) -> Any:
    try:
        with Image.open(listing.stored(row)) as image:
            return image.size
    except Exception:  # each of Pillow's readers raises its own; whoever decodes the image says so
        return None
