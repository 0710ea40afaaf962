"""What panels share: the order of their units, and the resamples of as many units, drawn once."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.metrics.bootstrap import bootstrap_weights, resample_counts

SEED = 0
"""Of the bootstrap; never the run's, so that intervals do not add to what a seed changes."""

_DRAWING = threading.Lock()


def weights_of(num_units: int, replicates: int) -> npt.NDArray[np.float32]:
    """Drawn once for the panels of one size: 50,000 units take seconds, and 200 MB."""
    with _DRAWING:
        return _drawn_weights(num_units, replicates)


@functools.lru_cache(maxsize=2)
def _drawn_weights(num_units: int, replicates: int) -> npt.NDArray[np.float32]:
    return bootstrap_weights(num_units, replicates=replicates, seed=SEED)


@functools.lru_cache(maxsize=1)
def counts_of(num_units: int, replicates: int) -> npt.NDArray[np.uint8]:
    """How often each of the resamples holds each unit, for statistics that are no means."""
    counts: npt.NDArray[np.uint8] = resample_counts(num_units, replicates=replicates, seed=SEED)
    return counts


def is_ascending(ids: npt.NDArray[np.str_]) -> bool:
    """Whether ids are sorted and distinct, as those of a folder are: it spares sorting them for every panel."""
    return bool((ids[1:] > ids[:-1]).all())


def places_of(ids: npt.NDArray[np.str_], wanted: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Where each of the ids that are wanted stands among `ids`."""
    if wanted is ids or (len(wanted) == len(ids) and np.array_equal(wanted, ids)):
        return np.arange(len(ids))
    sorter = np.argsort(ids)
    return np.asarray(sorter[np.searchsorted(ids, wanted, sorter=sorter)])


def gaps_by_bin(confidence: npt.NDArray[Any], correct: npt.NDArray[Any], num_bins: int) -> npt.NDArray[np.float64]:
    """[N, num_bins] sum of correctness less confidence of a unit's answers [N] or [N, K] in each bin."""
    columns = confidence.reshape(len(confidence), -1).astype(np.float64)
    gaps = correct.reshape(columns.shape) - columns
    bins = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], columns, side="left")
    places = bins + num_bins * np.arange(len(columns))[:, None]
    by_bin = np.bincount(places.ravel(), weights=gaps.ravel(), minlength=len(columns) * num_bins)
    return np.asarray(by_bin.reshape(-1, num_bins), dtype=np.float64)
