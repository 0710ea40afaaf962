"""The images that a configuration names by their paths, and the draw of those whose labels are used."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsbench.config import DataConfig
from nsbench.data.listing import Listing
from nsbench.data.pools import Pool, open_pool
from nsbench.data.suites import Suites, open_suites, open_val
from nsbench.errors import DataError
from nsbench.files import derive_seed
from nsbench.track import Progress


def open_named(config: DataConfig, progress: Progress) -> tuple[Pool, Pool | None]:
    """The labelled images, and the unlabelled ones where any are named.

    Raises:
        DataError: as `open_pool`.
    """
    base, title = Path(config.dir), title_of(config)

    def opened(paths: Sequence[str], kind: str, labelled: bool) -> Pool:
        return open_pool(
            [base / path for path in paths],
            name=f"{title} {kind}",
            shard_images=sys.maxsize if config.image_px else config.shard_images,
            labelled=labelled,
            kept=2 * config.window_shards,  # the window that ends and the one that begins
            index=Path(config.cache_dir) if config.cache_dir else None,
            progress=progress,
        )

    unlabelled = opened(config.unlabelled, "unlabelled", False) if config.unlabelled else None
    return opened([config.labelled], "labelled", True), unlabelled


def suites_of(config: DataConfig) -> Suites:
    """The test sets of the data's folder, with `val` where it is named by itself.

    Raises:
        DataError: as `open_suites`.
    """
    base = Path(config.dir)
    return open_suites(base if config.dir else None, {"val": base / config.val} if config.val else {})


def open_beside(config: DataConfig) -> dict[str, Listing]:
    """The test images that an independent classifier got wrong, and those that it got right, where they are named.

    Raises:
        DataError: as `open_val`.
    """
    paths = {"natural-adversarial": config.natural_adversarial, "complement": config.complement}
    base, title = Path(config.dir), title_of(config)
    return {name: open_val(base / path, f"{title} {name}") for name, path in paths.items() if path}


def title_of(config: DataConfig) -> str:
    """The data set's name for people; by default where its labelled images lie."""
    return config.title or " ".join((Path(config.dir) / config.labelled).resolve().parts[-2:])


def slug(title: str) -> str:
    """The data set's name for machines."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def draw(
    labels: npt.NDArray[np.int64], classes: Sequence[str], per_class: int, seed: int, name: str
) -> npt.NDArray[np.bool_]:
    """Which images [N] are drawn, `per_class` of each class; 0: all. A larger number draws the same ones and more.

    Args:
        labels: [N] class indices; what is below 0 is never drawn.
        name: of the images, for messages.

    Raises:
        DataError: a class has fewer images; or there are none at all.
    """
    if not (labels >= 0).any():
        raise DataError(f"{name}: no image is left that is not measured on; name others with data.labelled")
    if not per_class:
        return labels >= 0
    rng = np.random.Generator(np.random.Philox(derive_seed("labelled", seed)))
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    drawn = np.zeros(len(labels), dtype=np.bool_)
    for index, start in enumerate(np.searchsorted(labels[order], np.arange(len(classes))).tolist()):
        rows = order[start : start + per_class]
        if len(rows) < per_class or labels[rows[-1]] != index:
            count = int((labels == index).sum())
            raise DataError(
                f"{name}: class {classes[index]} has {count:,} images, but data.labelled_per_class is {per_class:,}"
            )
        drawn[rows] = True
    return drawn


def unseen(labels: npt.NDArray[np.int64], classes: Sequence[str], name: str) -> list[str]:
    """What must be said of classes without an image."""
    absent = np.setdiff1d(np.arange(len(classes)), labels)
    if not len(absent):
        return []
    return [f"{name}: {len(absent):,} of {len(classes):,} classes have no image, first {classes[absent[0]]}"]
