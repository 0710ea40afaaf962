"""One random stream for each (seed, purpose): an image's pixels depend on nothing else in its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Generators = Sequence[np.random.Generator]


def stream_key(purpose: str) -> int:
    """Return 64 bits that are the same for `purpose` in every process and version (hash() is salted)."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def generators(seeds: npt.NDArray[np.integer], purpose: str) -> list[np.random.Generator]:
    """Return one counter-based generator per seed; streams of different seeds or purposes are independent."""
    key = stream_key(purpose)
    return [
        np.random.Generator(np.random.Philox(key=np.array([seed, key], dtype=np.uint64)))
        for seed in seeds.astype(np.int64).astype(np.uint64)
    ]


def standard_normals(rngs: Generators, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return N(0, 1) draws [len(rngs), *shape], row i from generator i alone."""
    drawn = np.empty((len(rngs), *shape))
    for row, rng in zip(drawn, rngs, strict=True):
        rng.standard_normal(out=row)
    return drawn


def uniforms(rngs: Generators, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return U[0, 1) draws [len(rngs), *shape], row i from generator i alone."""
    drawn = np.empty((len(rngs), *shape))
    for row, rng in zip(drawn, rngs, strict=True):
        rng.random(out=row)
    return drawn
