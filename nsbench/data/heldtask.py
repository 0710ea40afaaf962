"""Tasks of small images that are all held in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nsbench.config import DataConfig
from nsbench.data.class_names import agreed
from nsbench.data.held import hold
from nsbench.data.images import ImageSet, PoolTruth, Task
from nsbench.data.listing import Listing
from nsbench.data.named import draw, open_beside, open_named, slug, suites_of, title_of, unseen
from nsbench.data.overlap import same_pixels
from nsbench.data.pictures import View
from nsbench.data.pools import HeldPool, Pool
from nsbench.data.streamed import StreamedSet
from nsbench.data.svhn import read_svhn
from nsbench.errors import DataError
from nsbench.files import derive_seed
from nsbench.track import Progress

_PROBED = 64


def svhn_task(config: DataConfig, seed: int) -> Task:
    """SVHN as the official demo parts it; `eval_split` chooses its test images or those for choices.

    Raises:
        DataError: as `read_svhn`.
    """
    parts = read_svhn(Path(config.dir))
    val = parts.test if config.eval_split == "val" else parts.dev
    return _task(
        config,
        seed,
        title=config.title or "SVHN",
        labelled=parts.labelled,
        others=[parts.extra],
        evaluation={"val": val},
        notes=parts.notes,
    )


def held_task(config: DataConfig, seed: int, progress: Progress) -> Task:
    """What the paths of a configuration name, decoded to squares of `image_px`.

    Raises:
        DataError: as `open_pool`, `open_suites` and `hold`; class names differ; or there are no test images.
    """
    val = suites_of(config).val
    if val is None:
        raise DataError("there are no test images; name them with data.val")
    labelled, unlabelled = open_named(config, progress)
    tests = {"val": val} | open_beside(config)
    classes = agreed([("data.labelled", labelled.classes), *((test.name, test.classes) for test in tests.values())])
    learned = dataclasses.replace(_hold_all(labelled, config, progress), classes=classes)
    measured = {
        name: dataclasses.replace(_hold(test, config, progress), classes=classes) for name, test in tests.items()
    }
    others = [_hold_all(unlabelled, config, progress)] if unlabelled is not None else []
    return _task(config, seed, title=title_of(config), labelled=learned, others=others, evaluation=measured)


def _task(
    config: DataConfig,
    seed: int,
    *,
    title: str,
    labelled: ImageSet,
    others: Sequence[ImageSet],
    evaluation: Mapping[str, ImageSet],
    notes: Sequence[str] = (),
) -> Task:
    """Leave out what is measured on, draw the labelled images, and put all others into one pool."""
    tests = evaluation.values()
    said = [*notes, *(_unreadable(images) for images in (labelled, *others, *tests) if images.unreadable)]
    for test in tests:
        labelled, *others = (_without(images, test, said) for images in (labelled, *others))
    drawn = draw(labelled.labels, labelled.classes, config.labelled_per_class, seed, labelled.name)
    said += unseen(labelled.labels, labelled.classes, labelled.name)
    if config.rest_unlabelled and not drawn.all():
        others = [labelled.take(np.flatnonzero(~drawn), f"{labelled.name}, not drawn"), *others]
    pool, truth = _hidden(others or [labelled.take(slice(0))], f"{title} unlabelled")
    return Task(
        name=slug(title),
        title=title,
        classes=labelled.classes,
        image_px=labelled.size,
        labelled=HeldPool(labelled if drawn.all() else labelled.take(np.flatnonzero(drawn))),
        unlabelled=HeldPool(pool, config.shard_images),
        truth=truth,
        held_out=config.eval_split == "val",
        evaluation=dict(evaluation),
        notes=tuple(said),
    )


def _hidden(parts: Sequence[ImageSet], name: str) -> tuple[ImageSet, PoolTruth | None]:
    """The parts in an order that tells nothing, the same for every seed, without labels; and what they were."""
    joined = _joined(parts)
    rng = np.random.Generator(np.random.Philox(derive_seed("pool", len(joined))))
    order = rng.permutation(len(joined))
    pool = joined.take(order, name)
    sources = np.repeat([images.name for images in parts], [len(images) for images in parts])
    truth = PoolTruth(ids=pool.ids, labels=pool.labels, sources=sources[order])
    is_known = bool((pool.labels >= 0).any())
    return dataclasses.replace(pool, labels=np.full(len(pool), -1)), truth if is_known else None


def _joined(parts: Sequence[ImageSet]) -> ImageSet:
    """One set of several; where they call different images alike, an id begins with the place of its set."""
    first = parts[0]
    if len(parts) == 1:
        return first
    ids = np.concatenate([images.ids for images in parts])
    if len(np.unique(ids)) < len(ids):
        ids = np.array([f"{place}/{key}" for place, images in enumerate(parts) for key in images.ids.tolist()])
    return dataclasses.replace(
        first,
        ids=ids,
        pixels=np.concatenate([images.pixels for images in parts]),
        labels=np.concatenate([images.labels for images in parts]),
        preprocessing="; ".join(dict.fromkeys(images.preprocessing for images in parts)),
        made_from="",
        unreadable=tuple(bad for images in parts for bad in images.unreadable),
    )


def _without(images: ImageSet, test: ImageSet, said: list[str]) -> ImageSet:
    lost = same_pixels(images, test)
    if not lost.any():
        return images
    said.append(f"{images.name}: {lost.sum():,} of {len(images):,} images are left out, for they are {test.name}'s too")
    return images.take(np.flatnonzero(~lost))


def _unreadable(images: ImageSet) -> str:
    key, reason = images.unreadable[0]
    return f"{images.name}: {len(images.unreadable):,} images cannot be read and are left out, first {key} ({reason})"


def _hold_all(pool: Pool, config: DataConfig, progress: Progress) -> ImageSet:
    """Every shard of a pool of listings, as one set."""
    shards = [pool.shard(index) for index in range(len(pool))]
    return _joined([_hold(shard, config, progress) for shard in shards if isinstance(shard, Listing)])


def _hold(listing: Listing, config: DataConfig, progress: Progress) -> ImageSet:
    """The images as squares of `image_px`, not resized where they are stored so; kept in `cache_dir`, if named."""
    px = config.image_px
    view = View(size=px, resize=None if _is_stored_at(listing, px) else px)
    images = StreamedSet(listing=listing, view=view, on_bad_image=config.on_bad_image)
    with contextlib.ExitStack() as stack:
        cache = config.cache_dir or stack.enter_context(tempfile.TemporaryDirectory(prefix="nsbench-"))
        return hold(images, Path(cache), progress)


def _is_stored_at(listing: Listing, px: int) -> bool:
    """Whether all images that are looked at are squares of this size."""
    rows = np.unique(np.linspace(0, len(listing) - 1, _PROBED).round().astype(int))
    return all(_size(listing, row) in ((px, px), None) for row in rows.tolist())


def _size(listing: Listing, row: int) -> tuple[int, int] | None:
    try:
        with Image.open(listing.stored(row)) as image:
            return image.size
    except Exception:  # each of Pillow's readers raises its own; whoever decodes the image says so
        return None
