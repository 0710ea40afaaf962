"""The hash against its definition in whole numbers of Python, and what it is for: even, independent lots."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from nsbench.engine.lots import draw_lots
from nsbench.files import derive_seed


def defined(key: str, seed: int) -> float:
    content = key.encode()
    number = (derive_seed("lots", seed) + 0x9E3779B97F4A7C15 * len(content)) % 2**64
    for place in range(0, len(content), 8):
        number ^= int.from_bytes(content[place : place + 8], "little")
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            number = (number ^ number >> 33) * factor % 2**64
        number ^= number >> 33
    return (number >> 12) / 2**52


@settings(deadline=None)
@given(
    chunks=st.lists(st.lists(st.text(max_size=40), max_size=12), max_size=3),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 5),
)
def test_against_the_definition(chunks: list[list[str]], seed: int, start: int) -> None:
    """Keys of any length and alphabet, empty ones and zero bytes too, in chunks that begin anywhere."""
    keys = pa.chunked_array([pa.array(chunk, pa.string())[start:] for chunk in chunks], pa.string())
    assert draw_lots(keys, seed).tolist() == [defined(key, seed) for key in keys.to_pylist()]


def test_more_rows_than_are_hashed_at_once() -> None:
    keys = [f"image {number}" * (number % 4) for number in range(70_000)]
    got = draw_lots(pa.chunked_array([keys]), 1)
    rows = [0, 1, 32_767, 32_768, 65_535, 65_536, 69_999]
    assert got[rows].tolist() == [defined(keys[row], 1) for row in rows]


def test_the_numbers_never_change() -> None:
    """A change here changes every selection."""
    keys = pa.chunked_array([["", "a", "n01440764/n01440764_10026.JPEG", "ä"]])
    assert draw_lots(keys, 0).tolist() == [
        0.08789424344301344,
        0.8936751370552098,
        0.9891378946445439,
        0.630535951715893,
    ]


def test_even_and_independent_of_neighbours_seeds_and_lengths() -> None:
    keys = [f"{number:09d}" for number in range(200_000)]
    lots = draw_lots(pa.chunked_array([keys]), 0)
    assert len(np.unique(lots)) == len(lots)
    counts, _ = np.histogram(lots, 100, (0, 1))
    assert ((counts - 2000) ** 2 / 2000).sum() < 99 + 5 * np.sqrt(2 * 99)  # chi square
    others = [draw_lots(pa.chunked_array([keys]), 1), draw_lots(pa.chunked_array([[f"{key}0" for key in keys]]), 0)]
    for other in (np.roll(lots, 1), *others):
        assert abs(np.corrcoef(lots, other)[0, 1]) < 5 / np.sqrt(len(lots))
