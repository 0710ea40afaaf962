"""Pseudo-labels: the un-noised teacher's distribution over classes for every unlabelled image (paper, algorithm 1).

The store is Parquet, one row an image: `key` string, `label` int32, `confidence` float32, `soft_label` float16 [C].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from nsbench.data.images import ImageSet
from nsbench.errors import DataError
from nsbench.files import write_atomic
from nsbench.inference import predict
from nsbench.models import PixelModel


def label(
    teacher: PixelModel, pool: ImageSet, path: Path, *, batch_size: int, device: torch.device, made_by: str
) -> None:
    """Label the pool with `teacher` in eval mode and write one Parquet shard, atomically.

    Args:
        made_by: fingerprint of teacher and pool, kept in the file; `is_made_by` asks for it.
    """
    probabilities = np.exp(predict(teacher, pool.pixels, batch_size=batch_size, device=device))  # [N, C]
    soft = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.astype(np.float16).ravel()), probabilities.shape[1])
    table = pa.table(
        {
            "key": pa.array(pool.ids.tolist(), pa.string()),
            "label": pa.array(probabilities.argmax(axis=1).astype(np.int32)),
            "confidence": pa.array(probabilities.max(axis=1).astype(np.float32)),
            "soft_label": soft,
        }
    )
    write_parquet(path, table, made_by)


def write_parquet(path: Path, table: pa.Table, made_by: str) -> None:
    """Write a table with its fingerprint, atomically."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"made_by": made_by}), sink, write_page_checksum=True)
    write_atomic(path, sink.getvalue().to_pybytes())


def is_made_by(path: Path, made_by: str) -> bool:
    """Whether a Parquet file is whole and was made from these inputs."""
    try:
        if not path.is_file():
            return False
        table = pq.read_table(path, page_checksum_verification=True)
        return bool((table.schema.metadata or {}).get(b"made_by") == made_by.encode())
    except (OSError, pa.ArrowException):
        return False


def read_labels(path: Path) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
    """Keys [N] and distributions [N, C], renormalised after half precision.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=["key", "soft_label"], page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"pseudo-labels {path} cannot be read ({error}); delete the file and run again") from None
    column = table["soft_label"].combine_chunks()
    soft = column.flatten().to_numpy().astype(np.float32).reshape(len(table), -1)
    return np.array(table["key"].to_pylist()), soft / soft.sum(axis=1, keepdims=True)
