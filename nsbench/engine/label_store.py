"""Pseudo-labels on disk: one Parquet file a shard of the pool, row k for its image k (architecture, section 5).

Columns: `key` string, `label` int32, `confidence` float32, and `soft_label`, a list of float16: the probabilities of
all classes, or of the most probable ones, descending, with their `classes`, a list of uint16. What those leave of 1 is
spread evenly over the other classes. An image that could not be read has label -1, confidence 0 and zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nsbench.errors import ConfigError, DataError
from nsbench.files import write_atomic

MOST_WHOLE = 200
"""Classes up to which all probabilities are stored."""
STORED = 32
"""Probabilities that are stored where there are more. EfficientNet-Lite0 on 1,000 photographs leaves 8 % to the
rest, and the loss of a student that agrees with it moves by 0.075 of 1.51 (16: 0.125; 64: 0.044); half precision
alone moves it by 0.0001."""


def label_path(folder: Path, shard: int) -> Path:
    """The file of one shard, of its labels or of its selection."""
    return folder / f"shard-{shard:06d}.parquet"


def write_labels(
    path: Path, keys: Iterable[str], probabilities: npt.NDArray[np.float32], *, made_by: str, top_k: int = 0
) -> None:
    """Write the labels of one shard, atomically.

    Args:
        keys: [N] ids of the images.
        probabilities: float32 [N, C]; zeros for an image that could not be read. The label is the most probable class,
            and of equal ones the first.
        made_by: fingerprint of what the labels depend on; `is_made_by` asks for it.
        top_k: classes whose probabilities are stored; 0: all up to `MOST_WHOLE`, else `STORED`.

    Raises:
        ConfigError: some of more than 65,536 classes are to be stored, which the numbers of classes have no room for.
        OSError: the file cannot be written.
    """
    num_classes = probabilities.shape[1]
    is_read = probabilities.any(axis=1)
    columns = {
        "key": pa.array([str(key) for key in keys], pa.string()),
        "label": pa.array(np.where(is_read, probabilities.argmax(axis=1), -1).astype(np.int32)),
        "confidence": pa.array(probabilities.max(axis=1)),
    }
    stored = min(num_classes, top_k or (num_classes if num_classes <= MOST_WHOLE else STORED))
    if stored == num_classes:
        columns["soft_label"] = _lists(probabilities.astype(np.float16))
    else:
        classes, largest = _most_probable(probabilities, stored)
        columns |= {"soft_label": _lists(largest.astype(np.float16)), "classes": _lists(classes)}
    write_parquet(path, pa.table(columns), made_by, num_classes=num_classes)


def write_parquet(path: Path, table: pa.Table, made_by: str, **figures: int) -> None:
    """Write a table with its fingerprint, and figures by name, as metadata, atomically."""
    metadata = {"made_by": made_by} | {name: str(figure) for name, figure in figures.items()}
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata(metadata)
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True)
    write_atomic(path, sink.getvalue().to_pybytes())


def is_made_by(path: Path, made_by: str) -> bool:
    """Whether a Parquet file is whole and was made from these inputs."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if (file.schema_arrow.metadata or {}).get(b"made_by") != made_by.encode():
                return False
            file.read()
    except (OSError, pa.ArrowException):
        return False
    return True


class ShardTargets:
    """The labels of one shard in memory as they are stored; a dense row is made when it is asked for.

    An image takes 2 bytes for each class of a whole soft label, else 4 for each stored one, and 4 for its label: 1.3 MB
    for 10,000 images of 1000 classes, of which 32 are stored.

    Raises:
        DataError: the file is missing, damaged, or holds no labels.
    """

    def __init__(self, path: Path) -> None:
        table = _read(path, ["label", "soft_label", "classes"])
        try:
            self.num_classes = int(table.schema.metadata[b"num_classes"])
            self.labels: npt.NDArray[np.int32] = table["label"].to_numpy()
            """[N] the most probable class before any rounding; -1: the image could not be read."""
            self._soft: npt.NDArray[np.float16] = _matrix(table["soft_label"])
            is_whole = "classes" not in table.schema.names
            self._classes: npt.NDArray[np.uint16] | None = None if is_whole else _matrix(table["classes"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(f"{path} holds no pseudo-labels; delete the file and run again") from None

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, indices: npt.NDArray[np.integer] | slice) -> npt.NDArray[np.float32]:
        """Distributions [n, C] of the images at `indices`; zeros for one that could not be read."""
        soft = self._soft[indices].astype(np.float32)
        mass = soft.sum(axis=1, keepdims=True)
        if self._classes is not None:
            rest = np.maximum(1 - mass, 0)
            dense = np.repeat(rest / np.float32(self.num_classes - soft.shape[1]), self.num_classes, axis=1)
            np.put_along_axis(dense, self._classes[indices].astype(np.int64), soft, axis=1)
            soft, mass = dense, np.where(mass > 0, mass + rest, 0)
        distributions: npt.NDArray[np.float32] = np.divide(soft, mass, out=np.zeros_like(soft), where=mass > 0)
        return distributions


def read_targets(path: Path) -> npt.NDArray[np.float32]:
    """Distributions [N, C] of a whole shard; see `ShardTargets`."""
    return ShardTargets(path).rows(slice(None))


def read_labels(path: Path) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
    """Keys [N] and distributions [N, C] of a whole shard; see `ShardTargets`."""
    return np.array(_read(path, ["key"])["key"].to_pylist(), dtype=np.str_), read_targets(path)


def count_labels(path: Path) -> tuple[int, int]:
    """Images of a shard, and how many of them could not be read."""
    labels = _read(path, ["label"])["label"].to_numpy()
    return len(labels), int(np.count_nonzero(labels < 0))


def _read(path: Path, columns: list[str]) -> pa.Table:
    """Those of the columns that there are."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"pseudo-labels {path} cannot be read ({why}); delete the file and run again") from None


def _most_probable(
    probabilities: npt.NDArray[np.float32], count: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """Classes and probabilities [N, count] of each row, most probable first, of equal ones the lower class.

    The bits of floats that are not negative are ordered as the floats are; with the class below them no two are equal.
    """
    largest_class = np.uint64(2**16 - 1)
    num_classes = probabilities.shape[1]
    if num_classes > largest_class + 1:
        raise ConfigError(
            f"some of {num_classes} classes cannot be stored: a number has 16 bits; set teacher.top_k={num_classes}"
        )
    bits = probabilities.view(np.uint32).astype(np.uint64) << np.uint64(16)
    bits |= largest_class - np.arange(num_classes, dtype=np.uint64)
    best = np.sort(np.partition(bits, num_classes - count, axis=1)[:, num_classes - count :], axis=1)[:, ::-1]
    classes = (largest_class - (best & largest_class)).astype(np.uint16)
    return classes, (best >> np.uint64(16)).astype(np.uint32).view(np.float32)


def _lists(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """[N, k] as a column of lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column of lists as [N, k]."""
    lists = column.combine_chunks()
    matrix: npt.NDArray[Any] = lists.flatten().to_numpy().reshape(len(lists), lists.type.list_size)
    return matrix
