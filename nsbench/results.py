"""The results table: one row is one number with its interval, its n and its protocol."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pandas as pd

from nsbench.errors import DataError
from nsbench.files import write_text

SCHEMA_VERSION = 1
"""Changes when a column changes its name or meaning."""

Versus = Literal["", "gen0", "previous", "control", "first"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One measured number.

    Fractions are stored as fractions; CE, mCE, FR and mFR in percent. `nan` means: too little data, or a zero
    denominator.
    """

    run: str = ""
    """Name of the run; `all seeds` for a row over several runs."""
    seed: str = ""
    """Seed of the run, as text; empty for a row over several runs."""
    generation: str
    """`0`, `1`, ... or `control`; empty for a model that is no generation of a run."""
    model: str = ""
    """Label of the architecture; the model's name where it is no generation of a run."""
    eval: str
    """Name of the evaluation: imagenet, imagenet-a, imagenet-c, imagenet-p, fgsm, attacks, pseudo-labels, ..."""
    subset: str = "all"
    """Corruption, perturbation, class or source; `all` for the whole evaluation."""
    level: str = ""
    """Severity, epsilon in 1/255, or `mean` over the levels; empty where there is none."""
    metric: str
    """top1, top5, error, CE, mCE, flip_probability, FR, mFR, T5D, ECE, NLL, Brier, RMS, AURRA, ..."""
    versus: Versus = ""
    """Empty, or what the number is a paired difference against; `first` is the first of several models."""
    value: float
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    n: int
    """Number of independent units: images, videos, or seeds."""
    unit: str = "fraction"
    """fraction, percent, nats, count, seconds, ..."""
    higher_is_better: bool
    protocol: str = ""
    """Data, provenance, baseline and arithmetic behind the number."""


COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(Row))
"""Column names of `results.csv` and `costs.csv`, in order."""

_FLOATS = ("value", "ci_low", "ci_high", "p_value")
_TRUTH = {"True": True, "False": False}
_KEY = ("run", "seed", "generation", "model", "eval", "subset", "level", "metric", "versus")


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table with `COLUMNS`, in the order given.

    Raises:
        ValueError: two rows measure the same thing, so one of them would be lost or believed by chance.
    """
    frame = pd.DataFrame([vars(row) for row in rows], columns=list(COLUMNS))
    doubled = frame[frame.duplicated(list(_KEY))]
    if len(doubled):
        raise ValueError(f"two rows for {doubled.iloc[0][list(_KEY)].to_dict()}")
    return frame


def write_results(path: Path, frame: pd.DataFrame) -> None:
    """Write the table as CSV, atomically; floats keep the digits that give them back exactly."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, columns=list(COLUMNS), lineterminator="\n")
    write_text(path, buffer.getvalue())


def read_results(path: Path) -> pd.DataFrame:
    """Read a table written by `write_results`, with the same values and dtypes.

    Raises:
        DataError: the file is missing, or its columns are not those of this schema.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in _FLOATS:
            frame[column] = [float(text or "nan") for text in frame[column]]  # exact, unlike pandas' own parser
        frame["n"] = frame["n"].astype(int)
        frame["higher_is_better"] = [_TRUTH[text] for text in frame["higher_is_better"]]
    except KeyError:
        raise DataError(_foreign(path)) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a results table ({error}); run `nsbench report` again") from None
    if tuple(frame.columns) != COLUMNS or not isinstance(frame.index, pd.RangeIndex):
        raise DataError(_foreign(path))
    return frame


def _foreign(path: Path) -> str:
    return f"{path} is not a table of results schema {SCHEMA_VERSION}; rebuild it with `nsbench report`"
