"""Which image of each class is at a place of an order: DuckDB sorts those near it, out of core."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nsbench.errors import ConfigError

Placed = tuple[int, float, str, int, int]

_CREATE = "CREATE TABLE near (label INTEGER, score DOUBLE, key VARCHAR, file INTEGER, row BIGINT)"

_FIND = """
WITH placed AS (
    SELECT *, row_number() OVER (PARTITION BY label ORDER BY score, key, file, row) AS place FROM near
)
SELECT label, score, key, file, row FROM placed WHERE place = $place[label + 1]
"""


class Places:
    """Images in the order of their scores; equal ones by key, equal keys by file and row. Several threads may add.

    Args:
        memory: DuckDB's own limit, such as `4GB`; beyond it, it writes to the folder `spill`.

    Raises:
        ConfigError: `memory` is no amount of memory; from the methods, it is too little.
    """

    def __init__(self, *, threads: int, memory: str, spill: Path) -> None:
        settings: dict[str, Any] = {"threads": str(threads), "memory_limit": memory, "temp_directory": str(spill)}
        self._memory = memory
        try:
            self._connection = duckdb.connect(config=settings)
            self._connection.execute(_CREATE)
        except duckdb.Error:
            raise ConfigError(f"the memory limit is {memory!r}; give an amount such as 4GB") from None

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        if isinstance(error, duckdb.OutOfMemoryException):
            raise ConfigError(f"{self._memory} of memory is too little to sort the labels; give more") from None

    def add(self, images: pa.Table) -> None:
        """Images with the columns `label`, `score`, `key`, `file` and `row`."""
        with self._connection.cursor() as cursor:
            cursor.register("images", images)
            cursor.execute("INSERT INTO near SELECT label, score, key, file, row FROM images")

    def find(self, place: npt.NDArray[np.int64]) -> list[Placed]:
        """Label, score, key, file and row of the image at `place` [C] (1, 2, ...) of each class that has one there."""
        return cast(list[Placed], self._connection.execute(_FIND, {"place": place.tolist()}).fetchall())
