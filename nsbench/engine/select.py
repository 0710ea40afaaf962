"""Selection: drop the unsure, balance the classes (paper, section 3.1), in DuckDB over the Parquet labels.

The answer is one Parquet file in the labels' row order: `key` string, `copies` uint16 (0 = dropped).
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nsbench.config import SelectConfig
from nsbench.engine.pseudo import write_parquet
from nsbench.errors import DataError

_SELECT = """
WITH labels AS (
    SELECT file_row_number AS position, key, label, confidence FROM read_parquet($labels, file_row_number = true)
), kept AS (
    SELECT *,
        row_number() OVER (PARTITION BY label ORDER BY confidence DESC, key) AS rank,
        row_number() OVER (PARTITION BY label ORDER BY md5($seed || key), key) AS lot,
        count(*) OVER (PARTITION BY label) AS available
    FROM labels WHERE confidence >= $min_confidence
), quota AS (
    SELECT CASE WHEN $per_class > 0 THEN $per_class
        ELSE greatest(1, (SELECT count(*) FROM kept) // $num_classes) END AS quota
)
SELECT labels.key, CAST(least(65535, CASE
        WHEN kept.key IS NULL THEN 0
        WHEN $balance = 'off' THEN 1
        WHEN kept.available >= quota THEN CASE WHEN kept.rank <= quota THEN 1 ELSE 0 END
        WHEN $balance = 'cap' THEN 1
        ELSE quota // kept.available + CASE WHEN kept.lot <= quota % kept.available THEN 1 ELSE 0 END
    END) AS USMALLINT) AS copies
FROM labels LEFT JOIN kept USING (position) CROSS JOIN quota
ORDER BY labels.position
"""


def select(labels: Path, out: Path, config: SelectConfig, *, num_classes: int, seed: int, made_by: str) -> None:
    """Write how often each labelled image is to be shown.

    An image is kept if its confidence is at least `min_confidence`. A class above its quota keeps the most confident
    ones (strict top-k, ties by key). With `duplicate` a class below it repeats its images until the quota is met
    exactly (65,535 copies of one image at most); which ones get the odd copy follows from a hash of (seed, key). A
    class without an image stays empty.
    """
    with duckdb.connect(config={"threads": "1"}) as connection:
        answer = connection.sql(
            _SELECT,
            params={
                "labels": str(labels),
                "min_confidence": float(np.float32(config.min_confidence)),
                "per_class": config.per_class,
                "num_classes": num_classes,
                "balance": config.balance,
                "seed": f"{seed}:",
            },
        ).to_arrow_table()
    write_parquet(out, answer, made_by)


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
