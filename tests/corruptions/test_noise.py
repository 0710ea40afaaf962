"""The noises against their originals' formulas, a million draws each, and against matrices worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.util import random_noise

from nsbench.corruptions import corrupt, noise
from nsbench.corruptions.constants import tables

LEVELS = np.arange(256)
TRANSITIONS = {
    "gaussian_noise": noise.gaussian_transitions,
    "shot_noise": noise.shot_transitions,
    "impulse_noise": noise.impulse_transitions,
    "speckle_noise": noise.speckle_transitions,
}
NAMES = tuple(TRANSITIONS)
STRONGER = {  # the mutants: noise of 1.1 times the strength
    "gaussian_noise": lambda sigma: sigma * 1.1,
    "shot_noise": lambda photons: photons / 1.21,
    "impulse_noise": lambda amount: amount * 1.1,
    "speckle_noise": lambda sigma: sigma * 1.1,
}
ACCEPTED, REJECTED = 1e-4, 1e-6


def original_levels(name, levels, strength, rng):
    """The authors' statements on uint8 levels, NumPy's random functions and the cut to uint8 included."""
    unit = levels / 255.0
    if name == "gaussian_noise":
        noisy = unit + rng.normal(size=unit.shape, scale=strength)
    elif name == "shot_noise":
        noisy = rng.poisson(unit * strength) / float(strength)
    elif name == "impulse_noise":
        noisy = random_noise(unit, mode="s&p", amount=strength, rng=rng)
    else:
        noisy = unit + unit * rng.normal(size=unit.shape, scale=strength)
    return np.uint8(np.clip(noisy, 0, 1) * 255)


def counted(before, after):
    """How often each level became each other: [256, 256]."""
    pairs = before.astype(np.int64).ravel() * 256 + after.ravel()
    return np.bincount(pairs, minlength=256 * 256).reshape(256, 256)


def probability(counts, transitions):
    """The chance of counts at least so far from the matrix: the least of three tests'.

    Pearson's test sees all rows at once (entries that expect fewer than five are pooled row by row). A normal test of
    the sum of all new levels sees a common shift, such as that of rounding; one of the number of values that changed
    sees rare changes, such as those of impulse noise. What the matrix forbids may not occur.
    """
    if counts[transitions == 0].any():
        return 0.0
    totals = counts.sum(axis=1)
    expected = transitions * totals[:, None]
    statistic, freedom = 0.0, 0
    for row in np.flatnonzero(totals):
        rare = expected[row] < 5
        seen = np.append(counts[row, ~rare], counts[row, rare].sum())
        wanted = np.append(expected[row, ~rare], expected[row, rare].sum())
        seen, wanted = seen[wanted > 1e-3], wanted[wanted > 1e-3]
        statistic += ((seen - wanted) ** 2 / wanted).sum()
        freedom += len(wanted) - 1
    chances = [stats.chi2.sf(statistic, freedom)]
    levels = np.broadcast_to(LEVELS.astype(float), (256, 256))
    for score in (levels, 1 - np.eye(256)):
        means = (transitions * score).sum(axis=1)
        variance = totals @ ((transitions * score**2).sum(axis=1) - means**2)
        chances.append(2 * stats.norm.sf(abs((counts * score).sum() - totals @ means) / np.sqrt(variance)))
    return float(min(chances))


def rounded_transitions(name, strength):
    """The second mutant: the original's formula, rounded where it truncates."""
    if name == "shot_noise":
        counts = np.arange(int(np.ceil(strength)) + 1)
        rates = (LEVELS / 255 * strength)[:, None]
        chances = stats.poisson.pmf(counts, rates)
        chances[:, -1:] += stats.poisson.sf(counts[-1], rates)
        matrix = np.zeros((256, 256))
        np.add.at(matrix.T, np.rint(np.clip(counts / strength, 0, 1) * 255).astype(int), chances.T)
        return matrix
    spread = np.full(256, 255 * strength) if name == "gaussian_noise" else strength * LEVELS
    edges = (LEVELS[1:] - 0.5 - LEVELS[:, None]) / np.maximum(spread, 1e-9)[:, None]
    return np.diff(stats.norm.cdf(edges), axis=1, prepend=0.0, append=1.0)


def assert_fits(counts, name, strength):
    """The matrix is accepted, and both mutants are rejected by the same test."""
    transitions = TRANSITIONS[name](strength)
    assert probability(counts, transitions) > ACCEPTED
    assert probability(counts, TRANSITIONS[name](STRONGER[name](strength))) < REJECTED
    if name == "impulse_noise":
        return  # nothing to truncate: 255 (x / 255) is x in double precision for all 256 levels
    mutant = rounded_transitions(name, strength)
    if not np.allclose(mutant, transitions):  # 255 / 3 and 255 / 5 are whole: shot noise of 3 or 5 photons is the same
        assert probability(counts, mutant) < REJECTED


@pytest.mark.parametrize("variant", [32, 64, 224, 299])
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_distributions(name, variant):
    for strength in tables()[variant][name]:
        transitions = TRANSITIONS[name](strength)
        assert transitions.shape == (256, 256)
        assert transitions.min() >= 0
        assert np.abs(transitions.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize(("variant", "severity"), [(32, 1), (224, 3), (299, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_transitions_are_the_originals_formula_and_mutants_are_not(name, variant, severity):
    """A million draws of NumPy's, pushed through the original's statements."""
    strength = tables()[variant][name][severity - 1]
    before = np.repeat(np.uint8(LEVELS), 5000)
    counts = counted(before, original_levels(name, before, strength, np.random.default_rng(severity)))
    assert_fits(counts, name, strength)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [20, 128, 250])
def test_single_levels_with_a_million_draws(name, level):
    strength = tables()[224][name][1]
    before = np.full(10**6, level, np.uint8)
    counts = counted(before, original_levels(name, before, strength, np.random.default_rng(level)))
    assert_fits(counts, name, strength)


def test_gaussian_by_hand():
    """sigma = 1 level: level 100 stays if z is in [0, 1), falls by one if z is in [-1, 0)."""
    row = noise.gaussian_transitions(1 / 255)[100]
    within = stats.norm.cdf(1) - 0.5
    assert row[[99, 100]] == pytest.approx([within, within])
    assert row[101] == pytest.approx(stats.norm.cdf(2) - stats.norm.cdf(1))
    black, white = noise.gaussian_transitions(1 / 255)[[0, 255]]
    assert black[0] == pytest.approx(stats.norm.cdf(1))  # clipped from below, cut from (0, 1)
    assert white[255] == pytest.approx(0.5)  # the cut lets no value below 255 stay


def test_speckle_by_hand():
    """Level 100 at 0.01 has a spread of one level; black has none."""
    transitions = noise.speckle_transitions(0.01)
    assert transitions[100, 100] == pytest.approx(stats.norm.cdf(1) - 0.5)
    assert transitions[200, 200] == pytest.approx(stats.norm.cdf(0.5) - 0.5)
    assert transitions[0].tolist() == [1, *[0] * 255]


def test_shot_by_hand():
    """Three photons: 0, 1, 2 and 3 or more give 0, 85, 170 and 255."""
    transitions = noise.shot_transitions(3)
    assert np.flatnonzero(transitions.any(axis=0)).tolist() == [0, 85, 170, 255]
    exponential = np.exp(-1.0)  # level 85 expects one photon
    expected = exponential * np.array([1, 1, 1 / 2])
    assert transitions[85, [0, 85, 170]] == pytest.approx(expected)
    assert transitions[85, 255] == pytest.approx(1 - expected.sum())
    assert transitions[0, 0] == 1


def test_shot_cuts_a_grid_that_is_no_whole_number():
    """7 photons: 255 / 7 = 36.43 is cut to 36, 72.86 to 72."""
    transitions = noise.shot_transitions(7)
    assert np.flatnonzero(transitions.any(axis=0)).tolist() == [0, 36, 72, 109, 145, 182, 218, 255]


def test_impulse_by_hand():
    transitions = noise.impulse_transitions(0.2)
    assert transitions[100, [0, 255]] == pytest.approx([0.1, 0.1])
    assert transitions[[0, 255], [0, 255]] == pytest.approx([0.9, 0.9])
    assert np.diag(transitions)[1:-1] == pytest.approx(np.full(254, 0.8))


@pytest.mark.parametrize("variant", [32, 224])
@pytest.mark.parametrize("name", NAMES)
def test_alias_tables_say_the_same_as_the_matrix(name, variant):
    """The packed table, read as `sampled` reads it: a column in 256, kept below its threshold, else its alias."""
    for strength in tables()[variant][name]:
        packed = noise._alias_table(name.removesuffix("_noise"), float(strength), torch.device("cpu")).numpy()
        assert packed.shape == (65536,)
        threshold = (packed.view(np.uint32) >> 8).reshape(256, 256) / 2**24
        alias = (packed & 255).reshape(256, 256)
        chances = threshold.copy()
        np.add.at(chances, (np.repeat(LEVELS, 256), alias.ravel()), 1 - threshold.ravel())
        assert np.abs(chances / 256 - TRANSITIONS[name](strength)).max() < 2.0**-22


@pytest.mark.parametrize("name", NAMES)
def test_the_last_bit_of_a_library_changes_no_table(name):
    """Other libraries round the distribution functions otherwise; the canonical pixels must not follow."""
    rng = np.random.default_rng(0)
    for strength in tables()[224][name]:
        transitions = TRANSITIONS[name](strength)
        shaken = np.clip(transitions + rng.uniform(-2e-16, 2e-16, transitions.shape) * transitions, 0, 1)
        for one, other in zip(noise.alias_method(transitions), noise.alias_method(shaken), strict=True):
            assert (one != other).sum() <= 2


def test_alias_method_by_hand():
    """Half of level 0 becomes 0, half 1: two columns keep everything, all the others pass it on to these two."""
    transitions = np.eye(256)
    transitions[0, :2] = 0.5
    thresholds, aliases = noise.alias_method(transitions)
    assert set(aliases[0].tolist()) == {0, 1}
    assert np.array_equal(thresholds[0, 2:], np.zeros(254))
    assert np.array_equal(thresholds[0, :2], [2**24, 2**24])
    assert np.array_equal(aliases[0, :2], [0, 1])
    assert ((aliases[0, 2:] == 0).sum(), (aliases[0, 2:] == 1).sum()) == (127, 127)
    assert np.array_equal(aliases[7, np.arange(256) != 7], np.full(255, 7))


@pytest.fixture(scope="module")
def ramps():
    """Every level equally often in every channel: 32 px and 224 px."""
    made = {}
    for side, count in ((32, 200), (224, 8)):
        levels = (torch.arange(count * 3 * side * side) * 101 % 256).to(torch.uint8)
        made[side] = levels.view(count, 3, side, side)
    return made


@pytest.mark.parametrize("variant", [32, 224])
@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_sampled_frequencies(ramps, name, severity, variant):
    pixels, strength = ramps[variant], tables()[variant][name][severity - 1]
    noisy = corrupt(pixels, name, severity, seeds=torch.arange(len(pixels)) - 3)
    counts = counted(pixels.numpy(), noisy.numpy())
    assert_fits(counts, name, strength)


@pytest.mark.parametrize("name", NAMES)
def test_channels_pixels_and_images_are_independent(name):
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    samples = corrupt(grey, name, 3, seeds=torch.arange(40)).double()
    centred = samples - samples.mean()
    for dims in (0, 1, 2, 3):
        assert abs(float((centred * centred.roll(1, dims)).mean() / centred.var())) < 5 / samples.numel() ** 0.5


def test_black_takes_no_shot_or_speckle_noise():
    black = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    seeds = torch.arange(4)
    assert corrupt(black, "shot_noise", 5, seeds=seeds).max() == 0
    assert corrupt(black, "speckle_noise", 5, seeds=seeds).max() == 0
    assert corrupt(black, "gaussian_noise", 5, seeds=seeds).max() > 0
