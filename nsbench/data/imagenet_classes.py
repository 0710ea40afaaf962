"""ImageNet's thousand classes and the 200 of ImageNet-A and -R, from the lists that timm ships (`timm/data/_info`)."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nsbench.data.listing import AnyListing, Listing
from nsbench.errors import DataError


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
    """[1000] WordNet ids, sorted: place i is the class that ImageNet models call i."""
    return tuple(_lines("imagenet_synsets.txt"))


@functools.cache
def wnid_indices() -> Mapping[str, int]:
    """Class index by WordNet id."""
    return MappingProxyType({wnid: index for index, wnid in enumerate(imagenet_wnids())})


@functools.cache
def imagenet_a_classes() -> tuple[int, ...]:
    """[200] ascending class indices of ImageNet-A (Hendrycks et al. 2021, arXiv:1907.07174)."""
    return tuple(map(int, _lines("imagenet_a_indices.txt")))


@functools.cache
def imagenet_r_classes() -> tuple[int, ...]:
    """[200] ascending class indices of ImageNet-R (Hendrycks et al. 2021, arXiv:2006.16241)."""
    return tuple(map(int, _lines("imagenet_r_indices.txt")))


@functools.cache
def imagenet_names() -> tuple[str, ...]:
    """[1000] the words of each class, such as `tench, Tinca tinca`."""
    lemmas = dict(line.split("\t", 1) for line in _lines("imagenet_synset_to_lemma.txt"))
    return tuple(lemmas[wnid] for wnid in imagenet_wnids())


def names_imagenet(classes: Sequence[str]) -> bool:
    """Whether these are ImageNet's thousand, in the order in which models count them."""
    return tuple(classes) == imagenet_wnids()


def as_imagenet(listing: AnyListing) -> AnyListing:
    """The same images with ImageNet's class indices 0..999 as labels and the thousand WordNet ids as classes.

    For folders that hold some of ImageNet's classes only: sorted folder names are then other numbers.

    Raises:
        DataError: a class is none of ImageNet's thousand.
    """
    if names_imagenet(listing.classes):
        return listing
    strange = [name for name in listing.classes if name not in wnid_indices()]
    if strange:
        raise DataError(f"{listing.name}: {strange[0]!r} is none of ImageNet's 1,000 WordNet ids")
    indices = np.array([wnid_indices()[name] for name in listing.classes], dtype=np.int64)
    return dataclasses.replace(listing, labels=indices[listing.labels], classes=imagenet_wnids())


def present(listing: Listing) -> tuple[int, ...]:
    """Ascending class indices that occur among the labels."""
    return tuple(np.unique(listing.labels).tolist())


def _lines(file: str) -> list[str]:
    """The lines of one of timm's lists; timm itself is not imported, which takes seconds."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None  # a requirement of this package
    assert spec.origin is not None
    return (Path(spec.origin).parent / "data" / "_info" / file).read_text(encoding="utf-8").splitlines()
