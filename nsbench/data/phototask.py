"""Tasks of photographs, which stay where they are and are read as they come."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from nsbench.config import DataConfig
from nsbench.data.class_names import agreed
from nsbench.data.imagenet_classes import names_imagenet, wnid_indices
from nsbench.data.images import PoolTruth, Task
from nsbench.data.listing import Listing
from nsbench.data.named import draw, open_named, slug, suites_of, title_of, unseen
from nsbench.data.overlap import same_pictures
from nsbench.data.pools import FilePool, JoinedPool, Pool, part
from nsbench.data.real_labels import val_number
from nsbench.track import Progress

_KNOWN_IMAGES = 1_000_000
"""Of a larger pool the truth is not kept: its ids alone would fill the run's folder."""


def photo_task(config: DataConfig, seed: int, progress: Progress) -> Task:
    """What the paths of a configuration name, and the test sets on disk as `nsbench eval` finds them.

    Raises:
        DataError: as `open_pool` and `open_suites`; class names differ.
    """
    suites = suites_of(config)
    val = suites.val
    labelled, unlabelled = open_named(config, progress)
    classes = labelled.classes if val is None else _classes(labelled, val)
    said: list[str] = []
    labels, apart = _told_apart(labelled, val, said)
    drawn = draw(np.where(apart, labels, -1), classes, config.labelled_per_class, seed, labelled.name)
    said += unseen(labels[apart], classes, labelled.name)
    left = apart & ~drawn
    rest = part(labelled, left, hidden=True) if config.rest_unlabelled and left.any() else None
    others = None if unlabelled is None else _without(unlabelled, val, said)
    pools = tuple(pool for pool in (rest, others) if pool is not None)
    joined = JoinedPool(name=f"{title_of(config)} unlabelled", pools=pools)
    return Task(
        name=slug(title_of(config)),
        title=title_of(config),
        classes=classes,
        image_px=0,
        labelled=part(labelled, drawn),
        unlabelled=joined,
        truth=_truth(rest, labels[left], labelled.name) if rest is not None and others is None else None,
        held_out=False if suites.val_note else None,
        evaluation={},
        suites=suites,
        notes=tuple(said),
    )


def _classes(labelled: Pool, val: Listing) -> tuple[str, ...]:
    """Those that both have; of ImageNet's thousand a val may show some."""
    if names_imagenet(labelled.classes) and set(val.classes) <= set(wnid_indices()):
        return labelled.classes
    return agreed([("data.labelled", labelled.classes), (val.name, val.classes)])


def _without(pool: Pool, val: Listing | None, said: list[str]) -> Pool:
    """The pool without the images of val; tars and tables are searched when they are opened, for ImageNet's alone."""
    if val is None:
        return pool
    if isinstance(pool, JoinedPool):
        return dataclasses.replace(pool, pools=tuple(_without(one, val, said) for one in pool.pools))
    if not isinstance(pool, FilePool):
        return part(pool, _told_apart(pool, val, said)[1])
    is_imagenet = val_number(val.ids[0]) is not None
    found = (
        "ImageNet's val images are left out by their names" if is_imagenet else "they are not searched for val's images"
    )
    said.append(f"{pool.name}: of tars and tables, {found}")
    return dataclasses.replace(pool, without_val=is_imagenet)


def _told_apart(
    pool: Pool, val: Listing | None, said: list[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Labels [N] of the images of a pool of listings, and whether each is none of val's [N]."""
    labels, lost = [], []
    for index in range(len(pool)):
        shard = pool.shard(index)
        assert isinstance(shard, Listing)
        labels.append(shard.labels)
        lost.append(np.zeros(len(shard), dtype=np.bool_) if val is None else same_pictures(shard, val))
    found = np.concatenate(lost)
    if val is not None and found.any():
        said.append(
            f"{pool.name}: {found.sum():,} of {len(found):,} images are left out, for they are {val.name}'s too"
        )
    return np.concatenate(labels), ~found


def _truth(rest: Pool, labels: npt.NDArray[np.int64], name: str) -> PoolTruth | None:
    if len(labels) > _KNOWN_IMAGES:
        return None
    ids = [key for index in range(len(rest)) for key in rest.shard(index).ids]
    return PoolTruth(ids=np.array(ids), labels=labels, sources=np.full(len(ids), f"{name}, not drawn"))
