"""The order of passes: each visits everything once, and any part of the stream is found without the parts before it."""

from __future__ import annotations

import pickle
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsbench.data import order
from nsbench.data.order import PassOrder
from nsbench.files import derive_seed


def make(counts: list[int], seed: int = 0, window: int = 2) -> PassOrder:
    return PassOrder(counts=np.array(counts, dtype=np.int64), seed=seed, window=window)


def slowly(counts: list[int], seed: int, window: int, passes: int) -> list[tuple[int, int]]:
    """The definition, one visit after the other: shards that are visited, shuffled; windows of them, shuffled."""
    stream = []
    for number in range(passes):
        rng = np.random.Generator(np.random.Philox(derive_seed("order", seed, "shards", number)))
        shards = rng.permutation([shard for shard, count in enumerate(counts) if count]).tolist()
        for index in range(0, len(shards), window):
            visits = [(shard, visit) for shard in shards[index : index + window] for visit in range(counts[shard])]
            key = derive_seed("order", seed, "window", number, index // window)
            rng = np.random.Generator(np.random.Philox(key))
            stream += [visits[place] for place in rng.permutation(np.arange(len(visits), dtype=np.uint32))]
    return stream


def pairs(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))


COUNTS = st.lists(st.integers(0, 7), min_size=1, max_size=9).filter(any)


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 5), window=st.integers(1, 12))
def test_it_is_its_definition(counts: list[int], seed: int, window: int) -> None:
    total = sum(counts)
    assert pairs(make(counts, seed, window).at(0, 3 * total)) == slowly(counts, seed, window, 3)


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 2**62), window=st.integers(1, 12), number=st.integers(0, 10**12))
def test_each_pass_visits_everything_once(counts: list[int], seed: int, window: int, number: int) -> None:
    passes = make(counts, seed, window)
    total = sum(counts)
    visited = Counter(pairs(passes.at(number * total, (number + 1) * total)))
    assert visited == {(shard, visit): 1 for shard, count in enumerate(counts) for visit in range(count)}


@settings(max_examples=100, deadline=None)
@given(counts=COUNTS, start=st.integers(0, 10**12), first=st.integers(0, 40), second=st.integers(0, 40))
def test_any_split_of_a_range_says_the_same(counts: list[int], start: int, first: int, second: int) -> None:
    whole = make(counts).at(start, start + first + second)
    fresh = make(counts)  # which was nowhere before
    parts = [fresh.at(start, start + first), fresh.at(start + first, start + first + second)]
    for place in (0, 1):
        np.testing.assert_array_equal(whole[place], np.concatenate([part[place] for part in parts]))
        assert whole[place].dtype == np.int64


@given(counts=COUNTS, window=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_a_window_holds_no_more_shards_than_it_says(counts: list[int], window: int) -> None:
    passes = make(counts, 3, window)
    shards = passes.at(0, sum(counts))[0].tolist()
    seen: list[set[int]] = [set()]
    for shard in shards:
        if shard not in seen[-1] and len(seen[-1]) == window:
            seen.append(set())
        assert not any(shard in earlier for earlier in seen[:-1])  # a window is left for good
        seen[-1].add(shard)


def test_seeds_passes_and_windows_differ() -> None:
    counts = [50] * 6
    streams = [tuple(pairs(make(counts, seed).at(0, 300))) for seed in range(3)]
    streams += [tuple(pairs(make(counts).at(300, 600))), tuple(pairs(make(counts, window=3).at(0, 300)))]
    assert len(set(streams)) == 5
    assert pairs(make(counts).at(0, 300)) == list(streams[0])
    windows = [make(counts, window=1).at(50 * k, 50 * k + 50)[1].tolist() for k in range(6)]
    assert len(set(map(tuple, windows))) == 6


def test_the_mix_is_even() -> None:
    """Of the first half of a window, half of each shard: 4,000 draws of probability 1/2, five standard deviations."""
    shards = make([8000] * 4, window=4).at(0, 16_000)[0]
    assert np.abs(np.bincount(shards) - 4000).max() < 5 * np.sqrt(8000 / 4 * 3 / 4)


def test_a_worker_gets_the_same_after_it_was_pickled() -> None:
    passes = make([3, 0, 5])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(passes)).at(5, 60), passes.at(5, 60))
    assert [len(part) for part in passes.at(7, 7)] == [0, 0]


@pytest.mark.parametrize(
    ("counts", "window", "words"),
    [([0, 0], 2, "one of them above 0"), ([], 2, "above 0"), ([3, -1], 2, "0 or more"), ([3], 0, "a window of 0")],
)
def test_what_is_no_order(counts: list[int], window: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(counts, window=window)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3)])
def test_what_is_no_range(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="none of the stream"):
        make([3]).at(start, stop)


@pytest.mark.parametrize("first", [0, 10**12])
def test_a_step_of_a_pass_of_a_hundred_million_costs_far_less_than_a_millisecond(first: int) -> None:
    counts = np.random.default_rng(0).integers(9000, 11_000, 10_000)
    passes = PassOrder(counts=counts, seed=1, window=16)
    passes.at(first, first + 128)
    made = order._window.cache_info().misses
    began = time.process_time()
    for step in range(1, 400):
        passes.at(first + 128 * step, first + 128 * (step + 1))
    assert (time.process_time() - began) / 399 < 1e-3
    assert order._window.cache_info().misses - made <= 1  # a window of 160,000 visits is permuted once, not each step
