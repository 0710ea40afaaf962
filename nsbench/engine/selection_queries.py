"""What a selection asks of its label files: questions in SQL, which DuckDB answers out of core.

A lot is a number in [0, 1) from the MD5 of seed and key: the same in every version of DuckDB and for any number of
threads, with 52 bits, which a double holds exactly.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nsbench.engine.label_files import LARGEST
from nsbench.errors import ConfigError
from nsbench.trainingconfig import SelectConfig


class Order(enum.IntEnum):
    """Which images of a class come first."""

    NONE = 0
    CONFIDENCE = 1
    LOT = 2


_SCORES = {Order.CONFIDENCE: "-confidence", Order.LOT: "lot(key)"}  # smallest first

_STEPS = 16
_NUM_FINE = 26 * _STEPS + 1
# Confidences crowd below 1, so buckets are steps in log(1 - confidence), from 1 down to the last bit of a float.
_FINE = f"{26 * _STEPS} + floor({_STEPS} * log2(greatest(1 - confidence, {2.0**-26})))::INTEGER"
# The product can round down to the bin below, never up: one look at the next edge sets it right.
_HUNDREDTHS = """100 - least(100, floor(confidence::DOUBLE * 100)::INTEGER
    + (confidence >= ((floor(confidence::DOUBLE * 100) + 1) / 100)::FLOAT)::INTEGER)"""

_MACROS = """
CREATE MACRO lot(key) AS (md5_number('{seed}:' || key) & 4503599627370495)::BIGINT::DOUBLE / 4503599627370496;
CREATE MACRO is_eligible(label, confidence, key) AS
    label >= 0 AND confidence >= '{least}'::FLOAT AND confidence <= '{most}'::FLOAT AND {is_drawn};
CREATE MACRO confidence_bucket(confidence) AS {bucket};
"""

_COUNT = """
SELECT label, {bucket} AS bucket, count(*) AS images
FROM labels WHERE $asked[label + 1] AND is_eligible(label, confidence, key) GROUP BY ALL
"""

_AT_PLACE = """
WITH near AS (
    SELECT label, {score} AS score, key, filename, file_row_number AS row FROM labels
    WHERE $place[label + 1] > 0 AND is_eligible(label, confidence, key) AND {bucket} = $bucket[label + 1]
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY label ORDER BY score, key, filename, row) AS place FROM near
)
SELECT label, score, key, filename, row FROM placed WHERE place = $place[label + 1]
"""

_COPIES = f"""
WITH eligible AS (
    SELECT label, confidence, key, row, CASE
        WHEN is_eligible(label, confidence, key) AND confidence >= $floor[label + 1] THEN $order[label + 1] END AS extra
    FROM batch
), scored AS (
    SELECT label, key, row, extra, CASE extra
        WHEN {Order.CONFIDENCE} THEN -confidence WHEN {Order.LOT} THEN lot(key) END AS score
    FROM eligible
)
SELECT (CASE WHEN extra IS NULL THEN 0 ELSE $copies[label + 1] + CASE
    WHEN score < $last_score[label + 1] THEN 1
    WHEN score > $last_score[label + 1] OR score IS NULL THEN 0
    WHEN key < $last_key[label + 1] OR (key = $last_key[label + 1] AND row <= $last_row[label + 1]) THEN 1
    ELSE 0 END END)::USMALLINT AS copies
FROM scored
"""

_SHOWN = """
SELECT label, count(*) AS predicted, count(*) FILTER (copies > 0) AS kept, sum(copies)::BIGINT AS copies,
    min(confidence) FILTER (copies > 0) AS threshold
FROM read_parquet($labels, hive_partitioning = false)
    POSITIONAL JOIN (SELECT copies FROM read_parquet($selection, hive_partitioning = false)) GROUP BY label
"""

Answer = Mapping[str, npt.NDArray[Any]]
Last = tuple[int, float, str, str, int]


class LabelQueries:
    """All label files as one table, and the rows of it that a selection considers at all.

    Args:
        labels: Parquet files with the columns `key`, `label` and `confidence`.
        memory: DuckDB's own limit, such as `4GB`; beyond it, it writes to the folder `spill`.

    Raises:
        ConfigError: `memory` is no amount of memory.
        duckdb.Error: a file cannot be read; the methods raise it too.
    """

    def __init__(
        self, labels: Sequence[Path], config: SelectConfig, *, seed: int, threads: int, memory: str, spill: Path
    ) -> None:
        settings: dict[str, Any] = {"threads": str(threads), "memory_limit": memory, "temp_directory": str(spill)}
        try:
            self._connection = duckdb.connect(config=settings)
        except duckdb.Error:
            raise ConfigError(f"the memory limit is {memory!r}; give an amount such as 4GB") from None
        macros = _MACROS.format(
            seed=seed,
            least=float(np.float32(config.min_confidence)),
            most=float(np.float32(config.max_confidence)) if config.max_confidence < 1 else LARGEST,
            is_drawn=f"lot(key) < '{config.fraction!r}'::DOUBLE" if config.fraction < 1 else "true",
            bucket=_HUNDREDTHS if config.rule == "bins" else _FINE,
        )
        self._connection.execute(macros)
        files = self._connection.read_parquet(
            [str(path) for path in labels], filename=True, file_row_number=True, hive_partitioning=False
        )
        columns = "key, label::INTEGER AS label, confidence::FLOAT AS confidence, filename, file_row_number"
        files.project(columns).create_view("labels")

    def count(self, order: Order, asked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Eligible images [C, B] of the classes [C] that are asked for, in buckets that follow `order`.

        Buckets of confidence are, for the rule `bins`, the 101 hundredths from 1.00 down.
        """
        query = _COUNT.format(bucket=_bucket(order))
        found = self._connection.execute(query, {"asked": asked.tolist()}).fetchnumpy()
        counts = np.zeros((len(asked), _NUM_FINE), np.int64)
        counts[found["label"], found["bucket"]] = found["images"]
        return counts

    def at_place(self, order: Order, counts: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> list[Last]:
        """Label, score, key, file and row of the image at `place` [C] (1, 2, ...; 0: none is asked for) of each class.

        Only the bucket that it is in is sorted. Equal scores go by key, equal keys by file and row.

        Args:
            counts: [C, B] what `count` says.
        """
        reached = counts.cumsum(axis=1)
        bucket = (reached >= place[:, None]).argmax(axis=1)
        before = np.where(bucket > 0, reached[np.arange(len(place)), bucket - 1], 0)
        query = _AT_PLACE.format(score=_SCORES[order], bucket=_bucket(order))
        asked = {"bucket": bucket.tolist(), "place": np.where(place > 0, place - before, 0).tolist()}
        return cast(list[Last], self._connection.execute(query, asked).fetchall())

    def one_thread(self) -> None:
        """From now on an answer takes one thread, and `copies` and `shown` may be asked from several."""
        self._connection.execute("SET threads = 1")

    def copies(self, batch: pa.Table, plan: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.uint16]:
        """Copies [N] of the images of one label file.

        Args:
            batch: [N] its columns.
            plan: lists [C] `floor`, `order`, `copies`, `last_score`, `last_key` and `last_row`; see `Plan`.
        """
        with self._connection.cursor() as cursor:
            cursor.register("batch", batch.append_column("row", pa.array(np.arange(len(batch)))))
            return np.asarray(cursor.execute(_COPIES, plan).fetchnumpy()["copies"])

    def shown(self, labels: Path, selection: Path) -> Answer:
        """Of each `label` of one file: images `predicted`, those `kept`, their `copies`, and the least confidence."""
        with self._connection.cursor() as cursor:
            files = {"labels": str(labels), "selection": str(selection)}
            return cast(Answer, cursor.execute(_SHOWN, files).fetchnumpy())

    def close(self) -> None:
        self._connection.close()


def _bucket(order: Order) -> str:
    return "confidence_bucket(confidence)" if order == Order.CONFIDENCE else f"floor(lot(key) * {_NUM_FINE})::INTEGER"
