"""The plan of a selection: what a class shows of its images, from counts over all label files (paper, section 3.1).

Every class is one division: quota // images copies of each image, and one more copy for quota % images of them. In a
class above its quota, where nobody has a copy yet, these are the most confident; in a class below it, those of the
smallest lots. The rule `bins` draws them by lot in both.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nsbench.engine.label_files import LARGEST, LabelRows
from nsbench.engine.lots import draw_lots
from nsbench.engine.places import Placed
from nsbench.trainingconfig import SelectConfig

MOST_COPIES = 65_535
"""Of one image: the largest uint16."""

_EDGES = (np.arange(100, -1, -1) / 100).astype(np.float32)  # of the official bins, from the top

_FINE = 19  # bits of a float32 that a bucket leaves away: 16 buckets from one power of two to the next
_SMALLEST = int(np.float32(2**-24).view(np.uint32)) >> _FINE  # of 1 minus a float32 below 1
NUM_BUCKETS = (int(np.float32(1).view(np.uint32)) >> _FINE) - _SMALLEST + 2

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Order(enum.IntEnum):
    """Which images of a class come first."""

    NONE = 0
    CONFIDENCE = 1
    LOT = 2


@dataclasses.dataclass(frozen=True)
class Eligible:
    """The images of one file [N], and which of them a selection considers at all."""

    label: Ints
    """-1: not eligible."""
    confidence: Floats
    lot: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: LabelRows, config: SelectConfig, seed: int) -> Eligible:
        """Images with a label, a confidence within the bounds, in float32, and a lot below `fraction`."""
        is_drawn = config.fraction < 1 or config.rule == "bins" or config.balance == "duplicate"
        lot = draw_lots(rows.key, seed) if is_drawn else np.zeros(len(rows.label))
        most = np.float32(config.max_confidence if config.max_confidence < 1 else LARGEST)
        right = (rows.confidence >= np.float32(config.min_confidence)) & (rows.confidence <= most)
        right &= lot < config.fraction
        return cls(np.where(right, rows.label, -1).astype(np.int64), rows.confidence, lot)

    def buckets(self, order: Order, rule: str) -> Ints:
        """Buckets 0..`NUM_BUCKETS` - 1 that follow `order`; with the rule `bins` the official ones of a hundredth."""
        if order == Order.LOT:
            return (self.lot * NUM_BUCKETS).astype(np.int64)
        return hundredths(self.confidence) if rule == "bins" else fine_buckets(self.confidence)

    def count(self, order: Order, rule: str, num_classes: int) -> Ints:
        """Images [C, B] of each class and bucket."""
        cell = (self.label + 1) * NUM_BUCKETS + self.buckets(order, rule)
        return np.bincount(cell, minlength=(num_classes + 1) * NUM_BUCKETS).reshape(-1, NUM_BUCKETS)[1:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What decides about an image, for every class: arrays [C + 1], the last entry for images that are not eligible."""

    rule: str
    quota: int = 0
    """Images that each class is to show; 0: there is no quota."""
    floor: Floats
    """Images below this confidence are dropped (rule `bins`)."""
    copies: Ints
    """Of every other image."""
    order: Ints
    """Who get one more copy: the first in this `Order`."""
    bucket: Ints
    """The bucket that the last one who does is in, and its place there, from 1; 0: there is none to be found."""
    place: Ints
    last_score: npt.NDArray[np.float64]
    """Minus the confidence of the last one, or its lot. Equal ones go by key, file and row."""
    last_key: npt.NDArray[np.object_]
    last_file: Ints
    last_row: Ints

    def near(self, images: Eligible, rows: LabelRows, file: int) -> pa.Table:
        """The images of file number `file` that may be the last, for `Places`."""
        order, bucket = self.order[images.label], self.bucket[images.label]
        is_near = np.zeros(len(order), bool)
        for kind in (Order.CONFIDENCE, Order.LOT):
            if (self.order == kind).any():
                is_near |= (order == kind) & (bucket == images.buckets(kind, self.rule))
        row = np.flatnonzero(is_near & (self.place[images.label] > 0))
        columns: dict[str, Any] = {
            "label": images.label[row],
            "score": self._scores(images)[row],
            "key": rows.key.take(pa.array(row)),
            "file": np.full(len(row), file),
            "row": row,
        }
        return pa.table(columns)

    def with_last(self, found: Iterable[Placed]) -> Plan:
        """With what `Places` found."""
        last = {name: getattr(self, f"last_{name}").copy() for name in ("score", "key", "file", "row")}
        for label, *image in found:
            for column, value in zip(last.values(), image, strict=True):
                column[label] = value
        return dataclasses.replace(self, **{f"last_{name}": column for name, column in last.items()})

    def count_copies(self, images: Eligible, rows: LabelRows, file: int) -> npt.NDArray[np.uint16]:
        """Copies [N] of the images of file number `file`."""
        label = images.label
        score, last = self._scores(images), self.last_score[label]
        is_first = score < last
        ties = np.flatnonzero(score == last)
        if len(ties):
            is_first[ties] = self._up_to_last(label[ties], rows.key.take(pa.array(ties)), file, ties)
        return np.where(images.confidence >= self.floor[label], self.copies[label] + is_first, 0).astype(np.uint16)

    def _scores(self, images: Eligible) -> npt.NDArray[np.float64]:
        """[N] the first ones have the smallest."""
        return np.where(self.order[images.label] == Order.CONFIDENCE, -images.confidence, images.lot)

    def _up_to_last(self, label: Ints, key: pa.ChunkedArray, file: int, row: Ints) -> npt.NDArray[np.bool_]:
        """Whether images [n] that have the last one's score come before it or are it."""
        last_key = pa.array(self.last_key, pa.string()).take(pa.array(label))
        is_earlier = (file < self.last_file[label]) | ((file == self.last_file[label]) & (row <= self.last_row[label]))
        answer: npt.NDArray[np.bool_] = pc.less(key, last_key).to_numpy()
        answer |= pc.equal(key, last_key).to_numpy() & is_earlier
        return answer


def make_plan(counts: Ints, config: SelectConfig) -> Plan:
    """The plan from the images [2, C, B] of all files in buckets of confidence and of lots."""
    by_confidence, by_lot = counts
    num_classes = len(by_confidence)
    plan = Plan(
        rule=config.rule,
        floor=np.zeros(num_classes + 1, np.float32),
        copies=_with_none(np.ones(num_classes)),
        order=_with_none(np.full(num_classes, Order.NONE)),
        bucket=_with_none(np.zeros(num_classes)),
        place=_with_none(np.zeros(num_classes)),
        last_score=np.full(num_classes + 1, -np.inf),
        last_key=np.full(num_classes + 1, "", object),
        last_file=np.full(num_classes + 1, -1),
        last_row=_with_none(np.zeros(num_classes)),
    )
    if config.balance == "off":
        return plan
    quota = config.per_class or max(1, (config.total or int(by_confidence.sum())) // num_classes)
    images = by_confidence.sum(axis=1)
    if config.rule == "bins":
        floor, images = official_floors(by_confidence, quota)
        plan = dataclasses.replace(plan, floor=np.append(floor, np.float32(0)))
    copies, more = _divide(quota, images, MOST_COPIES if config.balance == "duplicate" else 1)
    order = np.where(more > 0, np.where((copies == 0) & (config.rule == "top-k"), Order.CONFIDENCE, Order.LOT), 0)
    plan = dataclasses.replace(plan, quota=quota, copies=_with_none(copies), order=_with_none(order))
    if config.rule == "bins":
        share = config.fraction * (more / np.maximum(images, 1))  # lots of eligible images are below the fraction
        return dataclasses.replace(plan, last_score=np.append(share, -np.inf))
    bucket, place = _locate(np.where((order == Order.LOT)[:, None], by_lot, by_confidence), more)
    return dataclasses.replace(plan, bucket=_with_none(bucket), place=_with_none(place))


def fine_buckets(confidence: Floats) -> Ints:
    """From the most confident down, finer towards 1, where confidences crowd: the upper bits of 1 - confidence."""
    bits: npt.NDArray[np.int32] = np.maximum(1 - confidence, np.float32(0)).view(np.int32) >> _FINE
    return np.maximum(bits - (_SMALLEST - 1), 0).astype(np.int64)


def hundredths(confidence: Floats) -> Ints:
    """The official 101 bins of [b/100, (b+1)/100), in float32, from the top: bin 1.00 is 0, bin 0.00 is 100."""
    below = np.floor(confidence.astype(np.float64) * 100)  # rounds down to the bin below at times, never up
    bins: npt.NDArray[np.float64] = below + (confidence >= ((below + 1) / 100).astype(np.float32))
    return (100 - np.minimum(bins, 100)).astype(np.int64)


def official_floors(counts: Ints, quota: int) -> tuple[Floats, Ints]:
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


def _divide(quota: int, images: Ints, most: int) -> tuple[Ints, Ints]:
    """Copies [C] of each image of a class, `most` of them, and the number [C] of its images that get one more."""
    copies, more = np.divmod(quota, np.maximum(images, 1))
    return np.where(images > 0, np.minimum(copies, most), 0), np.where((images > 0) & (copies < most), more, 0)


def _locate(counts: Ints, number: Ints) -> tuple[Ints, Ints]:
    """Bucket [C] of the image `number` [C] of each class in counts [C, B], and its place in the bucket."""
    reached = counts.cumsum(axis=1)
    bucket = (reached >= number[:, None]).argmax(axis=1)
    classes = np.arange(len(number))
    before = reached[classes, bucket] - counts[classes, bucket]
    return bucket, np.where(number > 0, number - before, 0)


def _with_none(values: npt.NDArray[Any]) -> Ints:
    return np.append(values, 0).astype(np.int64)
