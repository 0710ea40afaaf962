"""One Parquet or Arrow file of images: its labels and names at once, its images when they are asked for."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nsbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels")

_CACHED_GROUPS = 4
"""Row groups in memory; threads that decode ahead are spread over two or three of the hub's, 100 rows each."""


class Images(Protocol):
    """Random access to a column of image files."""

    def __getitem__(self, row: int) -> bytes | None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
    """One file's rows."""

    path: Path
    images: Images = dataclasses.field(repr=False)
    paths: tuple[str | None, ...]
    """[N] names that the images had, where they are kept."""
    labels: npt.NDArray[np.int64]
    """[N]."""
    class_names: tuple[str, ...]
    """The names of `datasets`' ClassLabel; empty where the file has none."""


def open_shard(path: Path) -> Shard:
    """Open one file; no image is read.

    Raises:
        DataError: it cannot be read, has not the columns, or a label is missing.
    """
    import pyarrow as pa

    try:
        return _open_arrow(path) if path.suffix.lower() == ".arrow" else _open_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); copy it again") from None


class _ParquetImages:
    """One file's image column, a few row groups of it in memory at a time."""

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        self._file, self._column = file, column
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._ends = np.cumsum(groups)
        self._cache: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()  # pyarrow's files are for one thread at a time

    def __getitem__(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self._ends, row, side="right"))
        with self._lock:
            if group not in self._cache:
                while len(self._cache) >= _CACHED_GROUPS:
                    self._cache.popitem(last=False)
                self._cache[group] = self._file.read_row_group(group, columns=[self._column]).column(0)
            self._cache.move_to_end(group)
            column = self._cache[group]
        return _content(column[row - (int(self._ends[group - 1]) if group else 0)].as_py())


class _ArrowImages:
    """A memory-mapped column; the system's page cache does the rest."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __getitem__(self, row: int) -> bytes | None:
        return _content(self._column[row].as_py())


def _content(value: Any) -> bytes | None:
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None


def _open_parquet(path: Path) -> Shard:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    image, label = _columns(path, schema)
    is_struct = pa.types.is_struct(schema.field(image).type)
    paths: list[str | None] = [None] * file.metadata.num_rows
    if is_struct and schema.field(image).type.get_field_index("path") >= 0:
        column = file.read(columns=[f"{image}.path"]).column(0)
        paths = [item["path"] for item in column.to_pylist()]
    labels = _labels(path, file.read(columns=[label]).column(0))
    images = _ParquetImages(file, f"{image}.bytes" if is_struct else image)
    return Shard(path=path, images=images, paths=tuple(paths), labels=labels, class_names=_class_names(schema))


def _open_arrow(path: Path) -> Shard:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
    image, label = _columns(path, table.schema)
    column = table.column(image)
    paths: list[str | None] = [None] * len(table)
    if pa.types.is_struct(column.type) and column.type.get_field_index("path") >= 0:
        paths = [item for chunk in column.chunks for item in chunk.field("path").to_pylist()]
    return Shard(
        path=path,
        images=_ArrowImages(column),
        paths=tuple(paths),
        labels=_labels(path, table.column(label)),
        class_names=_class_names(table.schema),
    )


def _columns(path: Path, schema: pa.Schema) -> tuple[str, str]:
    """Names of the image and of the label column."""
    import pyarrow as pa

    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    kinds = {name: schema.field(name).type for name in (image, label) if name is not None}
    if image is None or label is None:
        raise DataError(f"{path} needs the columns image and label; it has {', '.join(schema.names) or 'none'}")
    kind = kinds[image]
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{path}: column {image} holds {kinds[image]}, not the bytes of image files")
    if not pa.types.is_integer(kinds[label]):
        raise DataError(f"{path}: column {label} holds {kinds[label]}, not class numbers")
    return image, label


def _labels(path: Path, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    if column.null_count:
        raise DataError(f"{path} has {column.null_count} rows without a label")
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _class_names(schema: pa.Schema) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(next(names for key in LABEL_COLUMNS if (names := features.get(key, {}).get("names"))))
    except (KeyError, ValueError, TypeError, AttributeError, StopIteration):
        return ()
