"""Philox against NumPy's and the published vectors; the draws against their distributions and each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nsbench.corruptions.randomness import Draws, philox_blocks, stream_key

WORD = 2**64
KNOWN_ANSWERS = (  # Random123, tests/kat_vectors, philox4x64 with 10 rounds: counter, key, words
    (
        (0, 0, 0, 0), (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (WORD - 1,) * 4, (WORD - 1,) * 2,
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
)  # fmt: skip


def numpy_words(seed, key, first, count):
    """NumPy steps its counter before each block, so that `first` itself is never used."""
    philox = np.random.Philox(key=np.array([seed % WORD, key], dtype=np.uint64), counter=first)
    return philox.random_raw(4 * count)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_numpys_philox_is_the_published_one(counter, key, words):
    before = (sum(part * WORD**i for i, part in enumerate(counter)) - 1) % WORD**4
    philox = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=before)
    assert tuple(philox.random_raw(4).tolist()) == words


def test_ours_gives_the_published_words():
    """The vector whose upper counters are 0; the others hold through NumPy."""
    words = philox_blocks(torch.tensor([0]), key=0, first=-1, count=1)
    assert tuple(word % WORD for word in words[0].tolist()) == KNOWN_ANSWERS[0][2]


@given(
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
    key=st.integers(0, WORD - 1),
    first=st.integers(0, 2**62),
    count=st.integers(1, 9),
)
def test_philox_is_numpys_bit_for_bit(seeds, key, first, count):
    words = philox_blocks(torch.tensor(seeds), key, first, count)
    assert words.dtype == torch.int64
    expected = np.stack([numpy_words(seed, key, first, count) for seed in seeds])
    assert np.array_equal(words.numpy().view(np.uint64), expected)


@given(
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3),
    purpose=st.text(max_size=20),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
def test_words_follow_each_other_in_whole_blocks(seeds, purpose, sizes):
    """A call takes whole blocks of eight words; the next one goes on behind them."""
    draws, block = Draws(torch.tensor(seeds), purpose, "cpu"), 0
    for size in sizes:
        blocks = -(-size // 8)
        expected = [numpy_words(seed, stream_key(purpose), block, blocks).view(np.int32)[:size] for seed in seeds]
        assert np.array_equal(draws.words(size).numpy(), np.stack(expected))
        block += blocks


def test_streams_never_change():
    """Stored results name their cells by seed: these numbers are a promise across versions and machines."""
    assert stream_key("corruption/fog/3") == 0xD59DBE74F1AAAD1
    words = Draws(torch.tensor([-1]), "corruption/fog/3", "cpu").words(3)[0].tolist()
    assert [word % 2**32 for word in words] == [3209504623, 6035161, 3222082875]


def test_shapes_and_types():
    draws = Draws(torch.arange(3), "shapes", "cpu")
    assert len(draws) == 3
    for drawn, dtype in (
        (draws.words(2, 5), torch.int32),
        (draws.uniform(2, 5), torch.float32),
        (draws.normal(2, 5), torch.float32),
        (draws.integers(7, 2, 5), torch.int32),
    ):
        assert drawn.dtype == dtype
        assert drawn.shape == (3, 2, 5)


@pytest.fixture(scope="module")
def many():
    """A million values each: 20 seeds, 50,000 counters."""
    return lambda kind, *high: getattr(Draws(torch.arange(20) - 9, kind, "cpu"), kind)(*high, 50_000).double().numpy()


def test_uniform(many):
    drawn = many("uniform")
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.0012)  # four standard errors
    assert drawn.var() == pytest.approx(1 / 12, abs=0.0003)
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    assert np.array_equal(drawn * 2**24 % 2, np.ones_like(drawn))  # the middles of 2^23 cells, no other value


def test_the_outermost_uniforms_are_no_ends(monkeypatch):
    draws = Draws(torch.arange(1), "ends", "cpu")
    monkeypatch.setattr(draws, "words", lambda *_: torch.tensor([[0, -1]], dtype=torch.int32))
    assert draws.uniform(2).tolist() == [[2.0**-24, 1 - 2.0**-24]]
    lowest, highest = draws.normal(2)[0].tolist()
    assert lowest == pytest.approx(stats.norm.ppf(2.0**-24), abs=0.01)
    assert lowest == -highest
    assert draws.integers(6, 4).tolist() == [[0, 0, 5, 5]]


def test_normal(many):
    drawn = many("normal").ravel()
    assert np.isfinite(drawn).all()
    assert 4.3 < np.abs(drawn).max() < 5.4
    assert drawn.mean() == pytest.approx(0, abs=0.004)
    assert drawn.std() == pytest.approx(1, abs=0.003)
    assert stats.skew(drawn) == pytest.approx(0, abs=0.01)
    assert stats.kurtosis(drawn) == pytest.approx(0, abs=0.02)
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    for tail in (2, 3, 4):
        expected = len(drawn) * 2 * stats.norm.sf(tail)
        assert (np.abs(drawn) > tail).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))


@pytest.mark.parametrize("high", [2, 3, 5, 8, 100, 2**14])
def test_integers(many, high):
    drawn = many("integers", high).astype(int).ravel()
    assert drawn.min() == 0
    assert drawn.max() == high - 1
    counts = np.bincount(drawn, minlength=high)
    # 2^16 does not divide by `high`: the chances are known exactly, and differ by at most 2^-16
    chances = np.bincount(np.arange(2**16) * high >> 16, minlength=high) / 2**16
    assert np.ptp(chances) <= 2.0**-16
    assert stats.chisquare(counts, chances * counts.sum()).pvalue > 1e-3


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_neighbours_are_independent(kind):
    """Neighbouring counters, seeds, severities and calls; |r| below five standard errors, of the squares as well."""
    seeds = torch.arange(50) + 2**40
    draws = Draws(seeds, "corruption/gaussian_noise/3", "cpu")
    first, second = (getattr(draws, kind)(4096).double().numpy() for _ in range(2))
    severity = getattr(Draws(seeds, "corruption/gaussian_noise/4", "cpu"), kind)(4096).double().numpy()
    opposite = getattr(Draws(-seeds, "corruption/gaussian_noise/3", "cpu"), kind)(4096).double().numpy()
    pairs = {
        "next word": (first[:, 1:], first[:, :-1]),
        "same word of the next block": (first[:, 8:], first[:, :-8]),
        "next seed": (first[1:], first[:-1]),
        "next call": (first, second),
        "next severity": (first, severity),
        "opposite seed": (first, opposite),
    }
    centre = first.mean()
    for what, (a, b) in pairs.items():
        bound = 5 / np.sqrt(a.size)
        assert abs(correlation(a, b)) < bound, what
        assert abs(correlation((a - centre) ** 2, (b - centre) ** 2)) < bound, what


def test_seeds_that_differ_in_one_bit_share_no_word():
    seeds = torch.tensor([0, *(1 << bit for bit in range(63)), -(2**63)])
    words = Draws(seeds, "bits", "cpu").words(64).numpy()
    assert len(np.unique(words, axis=0)) == len(seeds)
    flipped = np.unpackbits((words[1:] ^ words[0]).view(np.uint8), axis=1)
    assert np.abs(flipped.mean(axis=1) - 0.5).max() < 0.06  # 2,048 bits each: five standard errors


@pytest.mark.parametrize("kind", ["words", "uniform", "normal"])
def test_a_row_depends_on_its_seed_alone(kind):
    seeds = torch.tensor([5, -5, 2**62, 5, 0])
    together = getattr(Draws(seeds, "rows", "cpu"), kind)(3, 7)
    assert torch.equal(together[0], together[3])
    for row, seed in enumerate(seeds):
        assert torch.equal(getattr(Draws(seed[None], "rows", "cpu"), kind)(3, 7)[0], together[row])
    assert not torch.equal(getattr(Draws(seeds, "other rows", "cpu"), kind)(3, 7), together)
