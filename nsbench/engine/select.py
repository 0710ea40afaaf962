"""Selection: drop the unsure and balance the classes (paper, section 3.1), over any number of label files.

Operations for N images of C classes: label and confidence of each are looked at three times (a check, a count in 417
buckets a class, the buckets that the quotas end in; those alone are sorted). Where odd copies are drawn by lot, so is
the key of each image of a small class, twice, with one MD5. Then, file by file, each key is read, has its MD5 taken
where its lot decides, and is written again with its copies. All of it is linear in N; what is held grows with C, and
with the largest label file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nsbench.engine.label_files import (
    check_rows,
    count_classes,
    label_files,
    labels_fingerprint,
    read_columns,
    read_schema,
)
from nsbench.engine.label_store import is_made_by, write_parquet
from nsbench.engine.selection_plan import Plan, make_plan
from nsbench.engine.selection_queries import Answer, LabelQueries
from nsbench.errors import ConfigError, DataError
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
        threads: cores to use, each with the columns of one label file in memory.
        memory: DuckDB's own limit for counting and sorting; beyond it, it writes to a folder in `out`.

    Raises:
        ConfigError: `memory` is no amount of memory, or too little.
        DataError: there is no label file, or one is broken or has other columns, labels or confidences.
        OSError: a file cannot be written.
    """
    _check(labels, out)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".select-", dir=out) as spill, ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda path: check_rows(path, num_classes), labels):
            pass  # raises what is wrong
        try:
            with contextlib.closing(
                LabelQueries(labels, config, seed=seed, threads=threads, memory=memory, spill=Path(spill))
            ) as queries:
                plan = make_plan(queries, config, num_classes)
                queries.one_thread()
                shown = pool.map(lambda path: _select_file(queries, path, out / path.name, plan, made_by), labels)
                return _sum_up(list(shown), num_classes, plan.quota)
        except duckdb.OutOfMemoryException:
            raise ConfigError(
                f"{memory} of memory is too little to count {len(labels)} label files; give more"
            ) from None
        except duckdb.Error as error:
            _explain(error, labels)
            raise


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


def _explain(error: duckdb.Error, labels: Sequence[Path]) -> None:
    """Turn what the user can mend into one line: a file that only DuckDB takes offence at, or a full disk."""
    why = str(error).splitlines()[0]
    for path in labels:
        try:
            duckdb.execute("SELECT max(key), max(label), max(confidence) FROM read_parquet($path)", {"path": str(path)})
        except duckdb.Error:
            raise DataError(f"label file {path} cannot be read ({why}); delete it and label its shard again") from None
    if isinstance(error, duckdb.OperationalError):
        raise DataError(f"label files in {labels[0].parent} cannot be counted ({why}); run again") from None


def _select_file(queries: LabelQueries, path: Path, target: Path, plan: Plan, made_by: str) -> Answer:
    """Write the selection of one label file unless it is there; what it shows of each label that occurs in it."""
    if not is_made_by(target, made_by):
        batch = read_columns(path)
        copies = queries.copies(batch, plan.lists(path))
        write_parquet(target, pa.table({"key": batch["key"], "copies": copies}), made_by)
    return queries.shown(path, target)


def _sum_up(files: Sequence[Answer], num_classes: int, quota: int) -> Selection:
    sums = {name: np.zeros(num_classes, np.int64) for name in ("predicted", "kept", "copies")}
    thresholds = np.full(num_classes, np.inf, np.float32)
    for shown in files:
        is_label = shown["label"] >= 0
        label = shown["label"][is_label]
        for name, total in sums.items():
            total[label] += shown[name][is_label]
        least = np.ma.filled(shown["threshold"], np.inf)[is_label]  # null where nothing is shown
        thresholds[label] = np.minimum(thresholds[label], least)
    return Selection(
        images=sum(int(shown["predicted"].sum()) for shown in files),
        quota=quota,
        predicted_per_class=sums["predicted"],
        kept_per_class=sums["kept"],
        copies_per_class=sums["copies"],
        thresholds=np.where(np.isfinite(thresholds), thresholds, np.float32(np.nan)),
    )
