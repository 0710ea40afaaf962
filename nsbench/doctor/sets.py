"""Sets of single images: their number, the order of their classes, what was left out, and a few images decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from nsbench.data.folder import Folder
from nsbench.data.id_lists import wrong_labels
from nsbench.data.imagenet_classes import names_imagenet, present, wnid_indices
from nsbench.data.listing import Listing
from nsbench.data.pictures import BadImage, View
from nsbench.data.real_labels import val_number
from nsbench.data.suites import NOT_HELD_OUT
from nsbench.data.variants import Variant
from nsbench.doctor.finding import Seen, named

PUBLISHED_COUNTS: Mapping[str, int] = MappingProxyType(
    {
        "val": 50_000,  # Russakovsky et al. 2015, arXiv:1409.0575
        "imagenet_a": 7_500,  # Hendrycks et al. 2021, arXiv:1907.07174
        "imagenet_r": 30_000,  # Hendrycks et al. 2021, arXiv:2006.16241
        "imagenet_v2": 10_000,  # each of the three; Recht et al. 2019, arXiv:1902.10811
        "imagenet_sketch": 50_889,  # Wang et al. 2019, arXiv:1905.13549; from memory
        "imagenet_o": 2_000,  # Hendrycks et al. 2021, arXiv:1907.07174; from memory
    }
)
"""Images of each set as it was published."""

_SIZE, _RESIZE = 224, 256
_LOOKED_AT = 4
"""Images of a set that are decoded."""


def val_seen(listing: Listing) -> Iterator[Seen]:
    """What there is to say of val, whosever images it holds."""
    counted = f"{len(listing):,} images of {len(listing.classes):,} classes"
    numbers = [val_number(key) for key in listing.ids]
    if not names_imagenet(listing.classes):
        yield "ok", counted
        others = [name for name in listing.classes if name not in wnid_indices()]
        if not others:
            yield "warning", f"{len(listing.classes)} of ImageNet's 1,000 classes"
        elif len(others) < len(listing.classes):
            words = f"{len(listing.classes) - len(others)} classes are ImageNet's and {len(others)} are not, first"
            yield "warning", f"{words} {others[0]}; a model of ImageNet's classes will refuse them"
    elif all(numbers):
        yield _counted(len(listing), PUBLISHED_COUNTS["val"], "ImageNet val")
        wrong, compared = wrong_labels(listing)
        if wrong:
            yield "problem", f"{wrong} of {compared} images that can be checked are in the folder of another class"
    else:
        yield "ok", f"{counted}, ImageNet's 1,000 in order"
        yield "warning", NOT_HELD_OUT
    empty = len(listing.classes) - len(present(listing))
    if empty:
        yield "warning", f"{empty} of {len(listing.classes):,} classes have no image"
    yield from _looked_at(listing, View(size=_SIZE, resize=_RESIZE))


def variant_seen(name: str, variant: Variant, title: str) -> Iterator[Seen]:
    """What there is to say of ImageNet-A, -R, -V2, -Sketch, -O or ObjectNet."""
    published = PUBLISHED_COUNTS.get(name)
    classes = len(present(variant.listing))
    if published is None:
        yield "ok", f"{title}: {len(variant.listing):,} images of {classes} classes"
    else:
        yield _counted(len(variant.listing), published, title)
    if variant.note:
        yield "warning", f"{title}: {variant.note}"
    yield from _looked_at(variant.listing, View(size=_SIZE, resize=_RESIZE, border=variant.border))


def _counted(found: int, published: int, title: str) -> Seen:
    if found == published:
        return "ok", f"{title}: all {found:,} images"
    return "warning", f"{title}: {found:,} images instead of {published:,}"


def _looked_at(listing: Listing, view: View) -> Iterator[Seen]:
    """What was left out of the listing, and whether some images can be decoded."""
    if isinstance(listing, Folder) and listing.left_out:
        yield "warning", f"not counted as images: {named(listing.left_out, 'file')}"
    for row in np.unique(np.linspace(0, len(listing) - 1, _LOOKED_AT).round().astype(int)).tolist():
        try:
            view.show(listing.stored(row))
        except BadImage as error:
            yield "problem", f"{listing.where(row)} cannot be read ({error})"
