"""One Parquet or Arrow file of images: its labels and names at once, its images when they are asked for."""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
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
"""Row groups in memory, of all files together; threads that decode ahead are spread over two or three of the hub's,
100 rows each, and training reads from dozens of files in turn."""


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
    """[N]; all -1 where they were not asked for."""
    class_names: tuple[str, ...]
    """The names of `datasets`' ClassLabel; empty where the file has none."""


def open_shard(path: Path, *, labelled: bool = True) -> Shard:
    """Open one file; no image is read.

    Args:
        labelled: False needs no column of labels, and reads none.

    Raises:
        DataError: it cannot be read, has not the columns, or a label is missing.
    """
    import pyarrow as pa

    try:
        return (_open_arrow if path.suffix.lower() == ".arrow" else _open_parquet)(path, labelled)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); copy it again")


class _ParquetImages:
    """One file's image column, a few row groups of it in memory at a time."""

    def __init__(self, path: Path, file: pq.ParquetFile, column: str) -> None:
        self._path, self._file, self._column = path, file, column
        groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._ends = np.cumsum(groups)
        self._lock = threading.Lock()  # pyarrow's files are for one thread at a time

    def __getitem__(self, row: int) -> bytes | None:
        group = int(np.searchsorted(self._ends, row, side="right"))
        with self._lock:
            column = _group(self, group)
        return _content(column[row - (int(self._ends[group - 1]) if group else 0)].as_py())

    def read(self, group: int) -> pa.ChunkedArray:
        """The images of one row group.

        Raises:
            DataError: it is damaged.
        """
        import pyarrow as pa

        try:
            return self._file.read_row_group(group, columns=[self._column]).column(0)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self._path, error) from None


@functools.lru_cache(_CACHED_GROUPS)
def _group(images: _ParquetImages, group: int) -> pa.ChunkedArray:
    return images.read(group)


class _ArrowImages:
    """A memory-mapped column; the system's page cache does the rest."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __getitem__(self, row: int) -> bytes | None:
        return _content(self._column[row].as_py())


def _content(value: Any) -> bytes | None:
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None


def _open_parquet(path: Path, labelled: bool) -> Shard:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    image, label = _columns(path, schema, labelled)
    is_struct = pa.types.is_struct(schema.field(image).type)
    num_rows = file.metadata.num_rows
    paths: list[str | None] = [None] * num_rows
    if is_struct and schema.field(image).type.get_field_index("path") >= 0:
        column = file.read(columns=[f"{image}.path"]).column(0)
        paths = [item["path"] for item in column.to_pylist()]
    labels = _labels(path, file.read(columns=[label]).column(0)) if label else np.full(num_rows, -1)
    images = _ParquetImages(path, file, f"{image}.bytes" if is_struct else image)
    return Shard(path=path, images=images, paths=tuple(paths), labels=labels, class_names=_class_names(schema))


def _open_arrow(path: Path, labelled: bool) -> Shard:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
    image, label = _columns(path, table.schema, labelled)
    column = table.column(image)
    paths: list[str | None] = [None] * len(table)
    if pa.types.is_struct(column.type) and column.type.get_field_index("path") >= 0:
        paths = [item for chunk in column.chunks for item in chunk.field("path").to_pylist()]
    return Shard(
        path=path,
        images=_ArrowImages(column),
        paths=tuple(paths),
        labels=_labels(path, table.column(label)) if label else np.full(len(table), -1),
        class_names=_class_names(table.schema),
    )


def _columns(path: Path, schema: pa.Schema, labelled: bool) -> tuple[str, str | None]:
    """Names of the image and of the label column; None where labels are not asked for."""
    import pyarrow as pa

    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None) if labelled else None
    if image is None or (labelled and label is None):
        needed = "columns image and label" if labelled else "column image"
        raise DataError(f"{path} needs the {needed}; it has {', '.join(schema.names) or 'none'}")
    kind = of_image = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{path}: column {image} holds {of_image}, not the bytes of image files")
    if label is not None and not pa.types.is_integer(schema.field(label).type):
        raise DataError(f"{path}: column {label} holds {schema.field(label).type}, not class numbers")
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
