"""Two one-sided t tests over photographs, and the tables of `benchmarks/fidelity.py`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from scipy import stats

ALPHA = 0.05
ERROR_MARGIN, MEAN_ERROR_MARGIN = 0.025, 0.010  # of a corruption; of the mean over all
LOGP_MARGIN = 0.10  # nat; or twice the original's difference from itself


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences with its 95 % t interval and the p of two one-sided tests within +-margin."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def equivalent(self) -> bool:
        return self.p < ALPHA


def difference(differences: np.ndarray, margin: float) -> Difference:
    """`differences`: float [N], one per photograph. Schuirmann 1987: equivalent at 5 % where both tests reject."""
    n, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1)) / n**0.5
    if error < 1e-12:  # the codes agree on every photograph
        return Difference(mean, mean, mean, 0.0 if abs(mean) < margin else 1.0)
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * error
    p = float(max(stats.t.sf((mean + margin) / error, n - 1), stats.t.sf((margin - mean) / error, n - 1)))
    return Difference(mean, mean - half, mean + half, p)


@dataclass(frozen=True)
class Row:
    """A line of the table. Errors and their differences are in percent (points), log-probabilities in nat."""

    code: str
    provenance: str
    corruption: str
    n: int
    original_error: float
    error: float
    error_difference: float
    error_low: float
    error_high: float
    error_p: float
    error_equivalent: bool
    error_floor: float | None
    logp_difference: float
    logp_low: float
    logp_high: float
    logp_margin: float
    logp_p: float
    logp_equivalent: bool
    logp_floor: float | None

    @property
    def equivalent(self) -> bool:
        return self.error_equivalent and self.logp_equivalent


@dataclass(frozen=True)
class Scores:
    """A code's answers on one corruption or several, averaged over severities and runs: float [N] per photograph."""

    wrong: np.ndarray
    logp: np.ndarray


def row(
    code: str,
    provenance: str,
    corruption: str,
    scores: Scores,
    original: Scores,
    *,
    floor: tuple[float, float] | None,
    error_margin: float = ERROR_MARGIN,
) -> Row:
    """Compare a code with the original. `floor`: the original's differences from itself, (error, log-probability)."""
    logp_margin = max(LOGP_MARGIN, 2 * abs(floor[1])) if floor else LOGP_MARGIN
    error = difference(scores.wrong - original.wrong, error_margin)
    logp = difference(scores.logp - original.logp, logp_margin)
    return Row(
        code=code, provenance=provenance, corruption=corruption, n=len(scores.wrong),
        original_error=100 * float(original.wrong.mean()), error=100 * float(scores.wrong.mean()),
        error_difference=100 * error.mean, error_low=100 * error.low, error_high=100 * error.high,
        error_p=error.p, error_equivalent=error.equivalent, error_floor=100 * floor[0] if floor else None,
        logp_difference=logp.mean, logp_low=logp.low, logp_high=logp.high, logp_margin=logp_margin,
        logp_p=logp.p, logp_equivalent=logp.equivalent, logp_floor=floor[1] if floor else None,
    )  # fmt: skip


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for each in rows:
            cells = asdict(each)
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in cells.items()})


def readable(p: float) -> str:
    return "<1e-6" if p < 1e-6 else f"{p:.2g}"


def markdown(rows: Sequence[Row]) -> str:
    """One table: per row the errors, the differences with intervals, the tests' p and the original against itself."""
    lines = [
        "| corruption | original % | error % | difference, points [95 %] | p | itself | log p difference, nat [95 %] "
        "| margin | p | itself | equivalent |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in rows:
        itself = "" if each.error_floor is None else f"{each.error_floor:+.2f}"
        logp_itself = "" if each.logp_floor is None else f"{each.logp_floor:+.3f}"
        cells = (
            each.corruption,
            f"{each.original_error:.2f}",
            f"{each.error:.2f}",
            f"{each.error_difference:+.2f} [{each.error_low:+.2f}, {each.error_high:+.2f}]",
            readable(each.error_p),
            itself,
            f"{each.logp_difference:+.3f} [{each.logp_low:+.3f}, {each.logp_high:+.3f}]",
            f"{each.logp_margin:.2f}",
            readable(each.logp_p),
            logp_itself,
            "yes" if each.equivalent else "**no**",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
