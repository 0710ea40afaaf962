"""Selection: drop the unsure and balance the classes (paper, section 3.1), over any number of label files.

Three passes over the files, each in threads: count, in buckets of confidence and of lots; collect what is in the
buckets that the quotas end in, which alone is sorted; write. What they do for a row, in nanoseconds of one core:
reading and checking it 50 and drawing its lot 30, both in each pass; counting it 30, comparing it with the plan 30,
writing its key and copies 80, summing up 20. All of it is linear in the rows; what is held grows with the classes, and
with the largest file.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nsbench.engine.label_files import (
    LabelRows,
    count_classes,
    label_files,
    labels_fingerprint,
    read_rows,
    read_schema,
)
from nsbench.engine.label_store import is_made_by, write_parquet
from nsbench.engine.places import Places
from nsbench.engine.selection_plan import Eligible, Order, Plan, make_plan
from nsbench.errors import DataError
from nsbench.files import fingerprint
from nsbench.trainingconfig import SelectConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """What was selected, over all label files and for each class: arrays [C]."""

    images: int
    """Rows of the label files, those without a label among them."""
    quota: int
    """Images that each class was to show; 0: there was no quota."""
    predicted_per_class: npt.NDArray[np.int64]
    """Images with this label."""
    kept_per_class: npt.NDArray[np.int64]
    """Those that are shown at all."""
    copies_per_class: npt.NDArray[np.int64]
    """Times that an image of the class is shown."""
    thresholds: npt.NDArray[np.float32]
    """Smallest confidence that is shown; nan where nothing is."""

    @property
    def kept(self) -> int:
        """Images that are shown at all."""
        return int(self.kept_per_class.sum())

    @property
    def copies(self) -> int:
        """Images of one pass, a duplicated one several times."""
        return int(self.copies_per_class.sum())

    @property
    def empty_classes(self) -> tuple[int, ...]:
        """Classes without a single image."""
        return tuple(np.flatnonzero(self.kept_per_class == 0).tolist())

    def summary(self, out: Path) -> str:
        """One line about it, for the user."""
        num_classes, empty = len(self.kept_per_class), self.empty_classes
        quota = f", {self.quota:,} a class" if self.quota else ""
        missing = f"; {len(empty)} of {num_classes:,} classes have no image, first {empty[0]}" if empty else ""
        return (
            f"{self.kept:,} of {self.images:,} images kept, {self.copies:,} with duplicates{quota}, in {out}{missing}"
        )


def select(
    labels: Sequence[Path],
    out: Path,
    config: SelectConfig,
    *,
    num_classes: int,
    seed: int,
    made_by: str,
    threads: int = 1,
    memory: str = "4GB",
) -> Selection:
    """Write how often each labelled image is to be shown.

    For each label file there is one of its name in `out`: `key` string and `copies` uint16 (0: dropped), row for row.
    A file that is there, made by the same, is left alone. The files are the same for any number of threads.

    An image is used at all if it has a label, its confidence is within the bounds, and its lot (a number in [0, 1) from
    seed and key) is below `fraction`. A class above its quota keeps the most confident ones: with `top-k` exactly, ties
    by key; with `bins` a random sample of what reaches the official threshold. With `duplicate` a class below it shows
    its images several times, 65,535 times at most, until the quota is met exactly (`bins`: in expectation); which ones
    get the odd copy follows from their lots. A class without an image stays empty.

    Args:
        made_by: fingerprint of all that the selection depends on, kept in the files.
        threads: cores to use, each with key, label and confidence of one label file in memory.
        memory: DuckDB's limit for sorting, such as `4GB`; beyond it, it writes to a folder in `out`.

    Raises:
        ConfigError: `memory` is no amount of memory, or too little.
        DataError: there is no label file, or one is broken or has other columns, labels or confidences.
        OSError: a file cannot be written.
    """
    _check(labels, out)
    out.mkdir(parents=True, exist_ok=True)
    work = _Work(labels=labels, out=out, config=config, num_classes=num_classes, seed=seed, made_by=made_by)
    files = range(len(labels))
    with ThreadPoolExecutor(threads) as pool:
        plan = make_plan(functools.reduce(np.add, pool.map(work.count, files)), config)
        is_made = list(pool.map(work.is_made, files))
        if not all(is_made) and (plan.place > 0).any():
            with (
                tempfile.TemporaryDirectory(prefix=".select-", dir=out) as spill,
                Places(threads=threads, memory=memory, spill=Path(spill)) as places,
            ):
                list(pool.map(lambda file: places.add(work.near(file, plan)), files))
                plan = plan.with_last(places.find(plan.place[:-1]))
        shown = list(pool.map(lambda file: work.shown(file, None if is_made[file] else plan), files))
    return _sum_up(shown, plan.quota)


def select_folder(
    labels: Path, out: Path, config: SelectConfig, *, seed: int, threads: int = 1, memory: str = "4GB"
) -> Selection:
    """`select` from all label files of a folder, with as many classes as they say."""
    files = label_files(labels)
    num_classes = count_classes(files)
    made_by = fingerprint(labels_fingerprint(files), dataclasses.asdict(config), num_classes, seed)
    return select(
        files, out, config, num_classes=num_classes, seed=seed, made_by=made_by, threads=threads, memory=memory
    )


def read_copies(path: Path) -> npt.NDArray[np.int64]:
    """Copies [N] of every image, in the labels' row order.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=["copies"], page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"selection {path} cannot be read ({error}); delete the file and run again") from None
    copies: npt.NDArray[np.int64] = table["copies"].to_numpy().astype(np.int64)
    return copies


def _check(labels: Sequence[Path], out: Path) -> None:
    if not labels:
        raise DataError(f"there are no label files to select from for {out}; `nsbench label` writes them")
    if len({path.name for path in labels}) < len(labels):
        raise DataError(f"two of the label files for {out} have the same name; rename one")
    if out.resolve() in {path.parent.resolve() for path in labels}:
        raise DataError(f"the selection would overwrite the labels in {out}; give another folder")
    for path in labels:
        read_schema(path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
    """The passes over one label file."""

    labels: Sequence[Path]
    out: Path
    config: SelectConfig
    num_classes: int
    seed: int
    made_by: str

    def count(self, file: int) -> npt.NDArray[np.int64]:
        """Eligible images [2, C, B] of each class in buckets of confidence and of lots."""
        _, images = self._read(file)
        orders = (Order.CONFIDENCE, Order.LOT)
        return np.stack([images.count(order, self.config.rule, self.num_classes) for order in orders])

    def near(self, file: int, plan: Plan) -> pa.Table:
        """The images at the cut-offs."""
        rows, images = self._read(file)
        return plan.near(images, rows, file)

    def is_made(self, file: int) -> bool:
        """Whether the selection is there."""
        return is_made_by(self._target(file), self.made_by)

    def shown(self, file: int, plan: Plan | None) -> _Shown:
        """Write the selection, or read it where there is no plan; what it shows."""
        if plan is None:
            rows = read_rows(self.labels[file], self.num_classes)
            return _Shown.of(rows, read_copies(self._target(file)), self.num_classes)
        rows, images = self._read(file)
        copies = plan.count_copies(images, rows, file)
        write_parquet(self._target(file), pa.table({"key": rows.key, "copies": copies}), self.made_by)
        return _Shown.of(rows, copies, self.num_classes)

    def _target(self, file: int) -> Path:
        return self.out / self.labels[file].name

    def _read(self, file: int) -> tuple[LabelRows, Eligible]:
        rows = read_rows(self.labels[file], self.num_classes)
        return rows, Eligible.of(rows, self.config, self.seed)


@dataclasses.dataclass(frozen=True)
class _Shown:
    """What one file shows of each class: arrays [C]."""

    images: int
    predicted: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]

    @classmethod
    def of(cls, rows: LabelRows, copies: npt.NDArray[Any], num_classes: int) -> _Shown:
        shown, label = copies > 0, rows.label
        threshold = np.full(num_classes, np.inf, np.float32)
        np.minimum.at(threshold, label[shown], rows.confidence[shown])
        return cls(
            len(label),
            np.bincount(label[label >= 0], minlength=num_classes),
            np.bincount(label[shown], minlength=num_classes),
            np.bincount(label[shown], copies[shown], num_classes).astype(np.int64),
            threshold,
        )


def _sum_up(files: Sequence[_Shown], quota: int) -> Selection:
    threshold = np.min([shown.threshold for shown in files], axis=0)
    return Selection(
        images=sum(shown.images for shown in files),
        quota=quota,
        predicted_per_class=np.sum([shown.predicted for shown in files], axis=0),
        kept_per_class=np.sum([shown.kept for shown in files], axis=0),
        copies_per_class=np.sum([shown.copies for shown in files], axis=0),
        thresholds=np.where(np.isfinite(threshold), threshold, np.float32(np.nan)),
    )
