"""The four noises of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py and its siblings.

A noise on 8-bit pixels that are cut to 8 bits again is a matrix: row x holds the probabilities of the 256 values
that level x may become. It is exact, and sampled with one 32-bit word a value by Walker's alias method (Walker 1977,
ACM TOMS 3, 253): two table look-ups instead of logarithms, sines or Poisson loops, the same bits on every device.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from nsbench.corruptions.randomness import Draws

Transitions = npt.NDArray[np.float64]
"""[256, 256]: the probability of each new level (column), given the old one (row)."""

_LEVELS = np.arange(256)


def gaussian_noise(pixels: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Add N(0, sigma^2) to each value of [0, 1]."""
    return sampled(pixels, ("gaussian", float(sigma)), draws)


def shot_noise(pixels: Tensor, photons: float, draws: Draws) -> Tensor:
    """Draw each value as a Poisson count where `photons` are white."""
    return sampled(pixels, ("shot", float(photons)), draws)


def impulse_noise(pixels: Tensor, amount: float, draws: Draws) -> Tensor:
    """Turn each value with probability `amount` into salt (255) or pepper (0), equally often."""
    return sampled(pixels, ("impulse", float(amount)), draws)


def speckle_noise(pixels: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Add N(0, (sigma x)^2) to each value x of [0, 1]."""
    return sampled(pixels, ("speckle", float(sigma)), draws)


def gaussian_transitions(sigma: float) -> Transitions:
    """The transitions of trunc(255 clip(x + sigma z)), z ~ N(0, 1)."""
    return _normal_transitions(np.full(256, 255.0 * sigma))


def speckle_transitions(sigma: float) -> Transitions:
    """The transitions of trunc(255 clip(x + x sigma z)), z ~ N(0, 1); black stays black."""
    return _normal_transitions(sigma * _LEVELS)


def shot_transitions(photons: float) -> Transitions:
    """The transitions of trunc(255 clip(Poisson(photons x) / photons))."""
    counts = np.arange(int(np.ceil(photons)) + 1)
    probability = np.asarray(stats.poisson.pmf(counts[None, :], (_LEVELS / 255.0 * photons)[:, None]))
    probability[:, -1] += stats.poisson.sf(counts[-1], _LEVELS / 255.0 * photons)  # as bright or brighter than white
    become = (np.clip(counts / float(photons), 0, 1) * 255).astype(np.uint8)
    transitions = np.zeros((256, 256))
    np.add.at(transitions.T, become, probability.T)
    return transitions


def impulse_transitions(amount: float) -> Transitions:
    """Salt and pepper as skimage.util.random_noise; the rest passes 255 (x / 255), which is x in double precision."""
    transitions = np.zeros((256, 256))
    transitions[_LEVELS, (_LEVELS / 255.0 * 255).astype(np.uint8)] = 1 - amount
    transitions[:, [0, 255]] += amount / 2
    return transitions


_TRANSITIONS = {
    "gaussian": gaussian_transitions,
    "shot": shot_transitions,
    "impulse": impulse_transitions,
    "speckle": speckle_transitions,
}


def sampled(pixels: Tensor, kind: tuple[str, float], draws: Draws) -> Tensor:
    """Draw each value of uint8 [N, ...] anew by the transitions of `kind`: (name, strength)."""
    words = draws.words(*pixels.shape[1:])
    column = (words >> 24).bitwise_and_(255)  # which of the 256 columns ...
    place = pixels.int().bitwise_left_shift_(8).bitwise_or_(column)
    entry = _alias_table(*kind, pixels.device).index_select(0, place.view(-1)).view_as(place)
    threshold = (entry >> 8).bitwise_and_(0xFFFFFF)
    keep = words.bitwise_and_(0xFFFFFF).sub_(threshold).bitwise_right_shift_(31)  # ... all bits if that one, else none
    alias = entry.bitwise_and_(255)
    return column.bitwise_xor_(alias).bitwise_and_(keep).bitwise_xor_(alias).to(torch.uint8)


@cache
def _alias_table(name: str, strength: float, device: torch.device) -> Tensor:
    """int32 [65536], at 256 x + column: the column's threshold in 2^-24 above, its alias in the lowest byte."""
    thresholds, aliases = alias_method(_TRANSITIONS[name](strength))
    fitting = np.minimum(thresholds, _COLUMN - 1)  # a full column is its own alias, whatever the word says
    packed = (fitting << 8 | aliases).astype(np.uint32).view(np.int32).reshape(-1)
    return torch.from_numpy(packed).to(device)


_COLUMN = 2**24
"""What one of the 256 equal columns holds of a probability of 2^32."""


def alias_method(transitions: Transitions) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Walker's tables: column k of row x stays k with probability thresholds[x, k] / 2^24, else becomes aliases[x, k].

    A column that keeps all of its probability is its own alias. The probabilities are rounded to 2^-32 first and the
    rest is whole numbers: a library whose normal distribution has another last bit must not make other pixels.
    """
    rows = np.arange(256)
    shares = np.rint(transitions / transitions.sum(axis=1, keepdims=True) * (256 * _COLUMN)).astype(np.int64)
    shares[rows, shares.argmax(axis=1)] += 256 * _COLUMN - shares.sum(axis=1)
    thresholds, aliases = np.full((256, 256), _COLUMN), np.tile(rows, (256, 1))
    open_ = np.ones((256, 256), dtype=bool)
    for _ in range(255):
        poorest = np.where(open_, shares, 2**40).argmin(axis=1)
        richest = np.where(open_, shares, -1).argmax(axis=1)
        kept = shares[rows, poorest]
        thresholds[rows, poorest], aliases[rows, poorest] = kept, np.where(kept == _COLUMN, poorest, richest)
        shares[rows, richest] -= _COLUMN - kept
        open_[rows, poorest] = False
    return thresholds, aliases


def _normal_transitions(spread: npt.NDArray[np.floating]) -> Transitions:
    """Level x plus N(0, spread[x]^2), clipped to 0..255 and truncated."""
    with np.errstate(divide="ignore", invalid="ignore"):
        edges = stats.norm.cdf((_LEVELS[None, 1:] - _LEVELS[:, None]) / spread[:, None])  # below 1, ..., below 255
    still = spread == 0
    edges[still] = _LEVELS[None, 1:] > _LEVELS[still, None]
    return np.diff(edges, axis=1, prepend=0.0, append=1.0)
