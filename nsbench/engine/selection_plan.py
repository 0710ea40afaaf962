"""The plan of a selection: how often each class shows its images, from counts over all label files (section 3.1).

Every class is one division: quota // images copies of each image, and one more copy for quota % images of them. In a
class above its quota, where nobody has a copy yet, these are the most confident; in a class below it, those of the
smallest lots. The rule `bins` draws them by lot in both.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.engine.selection_queries import LabelQueries, Order
from nsbench.trainingconfig import SelectConfig

MOST_COPIES = 65_535
"""Of one image: the largest uint16."""

_EDGES = (np.arange(100, -1, -1) / 100).astype(np.float32)  # of the official bins, from the top

Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What decides about an image, for every class: arrays [C]."""

    quota: int
    """Images that each class is to show; 0: there is no quota."""
    floor: npt.NDArray[np.float32]
    """Images below this confidence are dropped."""
    copies: Counts
    """Of every other image."""
    order: Counts
    """Who get one more copy: the first in this `Order`."""
    last_score: npt.NDArray[np.float64]
    """Of the last one who does: minus its confidence, or its lot. Equal ones go by key, file and row."""
    last_key: npt.NDArray[np.object_]
    last_file: npt.NDArray[np.object_]
    last_row: Counts

    def lists(self, path: Path) -> dict[str, list[Any]]:
        """The plan as lists [C] for one label file; the last image's row is before or after all of another file's."""
        row = np.where(self.last_file > str(path), np.iinfo(np.int64).max, -1)
        arrays: dict[str, npt.NDArray[Any]] = {
            "floor": self.floor,
            "copies": self.copies,
            "order": self.order,
            "last_score": self.last_score,
            "last_key": self.last_key,
            "last_row": np.where(self.last_file == str(path), self.last_row, row),
        }
        return {name: array.tolist() for name, array in arrays.items()}


def make_plan(queries: LabelQueries, config: SelectConfig, num_classes: int) -> Plan:
    """The plan for all label files.

    Raises:
        duckdb.Error: DuckDB cannot count.
    """
    plan = Plan(
        quota=0,
        floor=np.zeros(num_classes, np.float32),
        copies=np.ones(num_classes, np.int64),
        order=np.full(num_classes, int(Order.NONE)),
        last_score=np.full(num_classes, -np.inf),
        last_key=np.full(num_classes, "", object),
        last_file=np.full(num_classes, "", object),
        last_row=np.full(num_classes, -1),
    )
    if config.balance == "off":
        return plan
    counts = queries.count(Order.CONFIDENCE, np.full(num_classes, True))  # [C, B]
    quota = config.per_class or max(1, (config.total or int(counts.sum())) // num_classes)
    floor, images = official_floors(counts, quota) if config.rule == "bins" else (plan.floor, counts.sum(axis=1))
    copies, more = _divide(quota, images, config)
    plan = dataclasses.replace(plan, quota=quota, floor=floor, copies=copies)
    if config.rule == "bins":
        plan.order[more > 0] = Order.LOT
        plan.last_score[:] = config.fraction * (more / np.maximum(images, 1))  # lots of eligible images are below
        return plan
    plan.order[more > 0] = np.where(copies == 0, Order.CONFIDENCE, Order.LOT)[more > 0]
    _find_last(queries, plan, more, counts)
    return plan


def official_floors(counts: Counts, quota: int) -> tuple[npt.NDArray[np.float32], Counts]:
    """Walk the bins down from 1.00 to the first where there are enough images (official code, filter_unlabel.py).

    Where there are never enough, the edge is 0: what is below `min_confidence` is not eligible anyway.

    Args:
        counts: [C, 101 or more] images in the bins of a hundredth, from the top.

    Returns:
        The edge [C] of the bin, and the images [C] at or above it.
    """
    reached = counts[:, : len(_EDGES)].cumsum(axis=1)
    enough = reached >= quota
    stop = np.where(enough.any(axis=1), enough.argmax(axis=1), len(_EDGES) - 1)
    return _EDGES[stop], reached[np.arange(len(stop)), stop]


def _divide(quota: int, images: Counts, config: SelectConfig) -> tuple[Counts, Counts]:
    """Copies [C] of each image of a class, and the number [C] of its images that get one more."""
    copies, more = np.divmod(quota, np.maximum(images, 1))
    most = 1 if config.balance == "cap" else MOST_COPIES
    return np.where(images > 0, np.minimum(copies, most), 0), np.where((images > 0) & (copies < most), more, 0)


def _find_last(queries: LabelQueries, plan: Plan, more: Counts, counts: Counts) -> None:
    """Note the `more`-th [C] image of each class; `counts` [C, B] are those by confidence."""
    for order in (Order.CONFIDENCE, Order.LOT):
        asked = plan.order == order
        if asked.any():
            counts = queries.count(order, asked) if order == Order.LOT else counts
            for label, score, key, file, row in queries.at_place(order, counts, np.where(asked, more, 0)):
                plan.last_score[label], plan.last_key[label] = score, key
                plan.last_file[label], plan.last_row[label] = file, row
