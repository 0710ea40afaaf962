"""Label files as a selection reads them: their key, label and confidence, whoever wrote them; a broken one is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nsbench.errors import DataError
from nsbench.files import fingerprint


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


LARGEST = 1.001
"""A confidence of 1 with the errors of rounding (the official code lets 2 pass)."""

_COLUMNS = {"key": _is_text, "label": pa.types.is_integer, "confidence": pa.types.is_floating}
_TYPES = pa.schema({"key": pa.string(), "label": pa.int32(), "confidence": pa.float32()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelRows:
    """The rows of one file."""

    key: pa.ChunkedArray
    """[N] string."""
    label: npt.NDArray[np.int32]
    """[N] -1: none."""
    confidence: npt.NDArray[np.float32]
    """[N] in [0, 1], but for rounding."""


def label_files(folder: Path) -> list[Path]:
    """The label files of a folder, by name.

    Raises:
        DataError: there is none.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataError(f"{folder} has no label files (*.parquet); `nsbench label` writes them")
    return files


def count_classes(labels: Sequence[Path]) -> int:
    """The number of classes that the files name in their metadata; where none does, their largest label and 1.

    Raises:
        DataError: a file is broken, or the files differ.
    """
    counts = [_named_classes(path) for path in labels]
    for path, count in zip(labels, counts, strict=True):
        if count != counts[0]:
            raise DataError(
                f"{path} names {count or 'no'} classes and {labels[0]} {counts[0] or 'none'}; select from each alone"
            )
    return counts[0] or 1 + max(int(_read(path, ["label"])["label"].to_numpy().max(initial=0)) for path in labels)


def labels_fingerprint(labels: Sequence[Path]) -> str:
    """Over the names and sizes of the files and what made them; of files that do not say so, the time of writing."""
    parts = []
    for path in labels:
        made_by = (read_schema(path).metadata or {}).get(b"made_by", b"").hex()
        parts.append([path.name, path.stat().st_size, made_by or path.stat().st_mtime_ns])
    return fingerprint(parts)


def read_schema(path: Path) -> pa.Schema:
    """The schema of a file that has the columns.

    Raises:
        DataError: the file is broken, or a column is missing or of another type.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: names that are no UTF-8
        raise _unreadable(path, error) from None
    for name, is_right in _COLUMNS.items():
        found = str(schema.field(name).type) if name in schema.names else "missing"
        if found == "missing" or not is_right(schema.field(name).type):
            raise DataError(
                f"label file {path}: the column {name} is {found}; key must be string, label whole, confidence float"
            )
    return schema


def read_rows(path: Path, num_classes: int) -> LabelRows:
    """Read a whole file in this thread, checksums included.

    Raises:
        DataError: the file is damaged, or a row has no key, or a label or a confidence that is none.
    """
    table = _read(path, _TYPES.names)
    label, confidence = (table[name].to_numpy() for name in ("label", "confidence"))  # nan where null
    right = (label >= -1) & (label < num_classes) & (confidence >= 0) & (confidence <= LARGEST)
    if table["key"].null_count:
        right &= table["key"].is_valid().to_numpy()
    if not right.all():
        row = int(right.argmin())
        found = {name: column[0].as_py() for name, column in zip(table.column_names, table.slice(row, 1), strict=True)}
        raise DataError(
            f"label file {path}: row {row} is {found}; it must have a key, a label of -1 (none) to {num_classes - 1} "
            "and a confidence of 0 to 1"
        )
    return LabelRows(key=table["key"], label=label, confidence=confidence)


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns=columns, use_threads=False)
            return table.cast(pa.schema([_TYPES.field(name) for name in table.column_names]))
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: names that are no UTF-8
        raise _unreadable(path, error) from None


def _named_classes(path: Path) -> int:
    """0: none."""
    named = (read_schema(path).metadata or {}).get(b"num_classes", b"0")
    if not named.isdigit():
        raise DataError(f"label file {path} is of {named!r} classes; delete it and label its shard again")
    return int(named)


def _unreadable(path: Path, error: Exception) -> DataError:
    why = str(error).splitlines()[0]
    return DataError(f"label file {path} cannot be read ({why}); delete it and label its shard again")
