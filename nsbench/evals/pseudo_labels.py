"""Health of the self-training: what a teacher's labels were worth, and which of them the student saw.

Not an evaluation of a model: the images are the unlabelled pool, whose truth the engine never sees.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.data.images import PoolTruth
from nsbench.metrics.intervals import t_interval, wilson_interval
from nsbench.results import Row

_BINS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabelRecord:
    """The labels that one generation's student was trained with, given by the generation before."""

    ids: npt.NDArray[Any]
    """[M] keys, or row numbers where nothing is known of any image."""
    labels: npt.NDArray[np.integer[Any]]
    """[M] the teacher's most probable class."""
    confidence: npt.NDArray[np.floating[Any]]
    """[M] its probability."""
    copies: npt.NDArray[np.integer[Any]]
    """[M] how often the image stands in the student's training set: 0 is dropped, above 1 duplicated."""


def measure_pseudo_labels(
    records: Mapping[str, PseudoLabelRecord], truth: PoolTruth | None, classes: Sequence[str], min_confidence: float
) -> list[Row]:
    """Rows of every generation's pseudo-labels; an image that `truth` does not know counts as of source `unknown`.

    Args:
        records: by the generation whose student was trained with them: `1`, `2`, ...
        truth: what is known of the pool, if anything is.
        classes: names by class index.
        min_confidence: threshold of the filter.
    """
    rows: list[Row] = []
    for generation, record in records.items():
        row = functools.partial(Row, generation=generation, eval="pseudo-labels")
        labels, sources = _join(record.ids, truth)
        rows += _quality(row, record, labels, min_confidence)
        for source in sorted(set(sources.tolist())) if truth is not None else ():
            of_source = sources == source
            part = PseudoLabelRecord(**{k: v[of_source] for k, v in vars(record).items()})
            rows += _quality(functools.partial(row, subset=source), part, labels[of_source], min_confidence)
        rows += _selection(row, record, min_confidence)
        rows += _classes(row, record, classes, min_confidence)
        rows += _histogram(row, record)
        if generation.isdigit() and (previous := records.get(str(int(generation) - 1))) is not None:
            rows.append(_agreement(row, record, previous))
    return rows


def _quality(
    row: functools.partial[Row], record: PseudoLabelRecord, truth: npt.NDArray[np.int64], min_confidence: float
) -> list[Row]:
    """How many, how sure and how right; `truth` [M] is -1 where no class is known."""
    kept, known, right = record.confidence >= min_confidence, truth >= 0, record.labels == truth
    mean, low, high = t_interval(record.confidence)
    foreign = not known.any()  # then the filter should stop the images, and confidence in them is misplaced
    return [
        _count(row, "images", len(kept), len(kept)),
        _share(row, "kept", kept, higher_is_better=not foreign),
        _share(row, "accuracy", right[known]),
        _share(row, "kept_accuracy", right[known & kept]),
        row(metric="mean_confidence", value=mean, ci_low=low, ci_high=high, n=len(kept), higher_is_better=not foreign),
    ]


def _selection(row: functools.partial[Row], record: PseudoLabelRecord, min_confidence: float) -> list[Row]:
    num, unique = len(record.ids), int(np.count_nonzero(record.copies))
    duplicates = int(record.copies.sum()) - unique
    capped = int(np.count_nonzero(_capped(record, min_confidence)))
    return [
        row(metric="threshold", value=min_confidence, n=num, higher_is_better=True),
        _count(row, "unique", unique, num),
        _count(row, "capped", capped, num, higher_is_better=False),
        _count(row, "duplicates", duplicates, num, higher_is_better=False),
    ]


def _capped(record: PseudoLabelRecord, min_confidence: float) -> npt.NDArray[np.bool_]:
    """[M] sure enough for the filter, and left out all the same: their class has enough without them."""
    return np.asarray((record.confidence >= min_confidence) & (record.copies == 0))


def _classes(
    row: functools.partial[Row], record: PseudoLabelRecord, classes: Sequence[str], min_confidence: float
) -> list[Row]:
    labelled = record.labels >= 0
    labels, copies = record.labels[labelled], record.copies[labelled]
    capped = _capped(record, min_confidence)[labelled]
    of_class = functools.partial(np.bincount, minlength=len(classes))
    totals = (
        of_class(labels),
        of_class(labels[copies > 0]),
        of_class(labels, weights=copies),
        of_class(labels[capped]),
    )
    rows = []
    for name, predicted, kept, shown, cut in zip(classes, *totals, strict=False):
        of_row = functools.partial(row, subset=f"class:{name}")
        for metric, count in (("predicted", predicted), ("kept_images", kept), ("copies", shown)):
            rows.append(_count(of_row, metric, int(count), int(predicted)))
        rows.append(_count(of_row, "capped", int(cut), int(predicted), higher_is_better=False))
    return rows


def _histogram(row: functools.partial[Row], record: PseudoLabelRecord) -> list[Row]:
    edges = np.arange(_BINS + 1) / _BINS
    counts, _ = np.histogram(np.clip(record.confidence.astype(np.float64), 0, 1), bins=edges)
    levels = [f"{low:.2f}-{high:.2f}" for low, high in itertools.pairwise(edges)]
    num = len(record.ids)
    return [
        _count(functools.partial(row, level=level), "confidence_histogram", int(count), num)
        for level, count in zip(levels, counts, strict=True)
    ]


def _agreement(row: functools.partial[Row], record: PseudoLabelRecord, previous: PseudoLabelRecord) -> Row:
    """Share of the images that both teachers labelled on which they give the same class."""
    _, mine, theirs = np.intersect1d(record.ids, previous.ids, assume_unique=True, return_indices=True)
    return _share(row, "agreement", record.labels[mine] == previous.labels[theirs])


def _join(ids: npt.NDArray[Any], truth: PoolTruth | None) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """True class (-1: not known) and source of each id."""
    if truth is None:
        return np.full(len(ids), -1, dtype=np.int64), np.full(len(ids), "unknown")
    known = {str(key): i for i, key in enumerate(truth.ids)}
    rows = np.array([known.get(str(key), -1) for key in ids], dtype=np.int64)
    labels = np.append(truth.labels, -1)[rows]
    sources = np.append(truth.sources.astype(object), "unknown")[rows]
    return labels, sources


def _share(row: functools.partial[Row], metric: str, hits: npt.NDArray[np.bool_], higher_is_better: bool = True) -> Row:
    low, high = wilson_interval(int(hits.sum()), len(hits))
    value = float(hits.mean()) if len(hits) else float("nan")
    return row(metric=metric, value=value, ci_low=low, ci_high=high, n=len(hits), higher_is_better=higher_is_better)


def _count(row: functools.partial[Row], metric: str, count: int, num: int, higher_is_better: bool = True) -> Row:
    return row(metric=metric, value=float(count), n=num, unit="count", higher_is_better=higher_is_better)
