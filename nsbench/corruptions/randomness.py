"""Counter-based random numbers: those of an image are a function of (its seed, purpose), on every device.

Philox4x64-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), keyed by
(seed, hash of the purpose). On the CPU it is NumPy's, elsewhere the same words from int64 tensors.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

Device = torch.device | str

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_WORDS_A_BLOCK = 8


class Draws:
    """The random numbers of a batch, drawn in turn; row i depends on `seeds[i]`, `purpose` and the turn alone."""

    def __init__(self, seeds: Tensor, purpose: str, device: Device) -> None:
        """`seeds` int64 [N]; numbers are made on `device`."""
        self.seeds = seeds
        self.device = torch.device(device)
        self._purpose = stream_key(purpose)
        self._block = 0

    def __len__(self) -> int:
        return len(self.seeds)

    def words(self, *shape: int) -> Tensor:
        """32 random bits each, int32 [N, *shape]."""
        count = math.prod(shape)
        blocks = -(-count // _WORDS_A_BLOCK)
        make = _numpy_blocks if self.device.type == "cpu" else philox_blocks
        drawn = make(self.seeds.to(self.device), self._purpose, self._block, blocks)
        self._block += blocks
        return drawn.view(torch.int32)[:, :count].reshape(len(self), *shape)

    def uniform(self, *shape: int) -> Tensor:
        """U(0, 1), float32 [N, *shape]: the middles of 2^23 equal cells, so neither 0 nor 1."""
        return ((self.words(*shape) >> 9) & 0x7FFFFF).float().add_(0.5).mul_(2.0**-23)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), float32 [N, *shape], at most 5.3 from 0: the inverse of the distribution function."""
        return self.uniform(*shape).mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2))

    def integers(self, high: int, *shape: int) -> Tensor:
        """0, ..., high - 1 with equal chances (to 2^-16 of each other), int32 [N, *shape]; high at most 2^14."""
        count = math.prod(shape)
        words = self.words(-(-count // 2))
        halves = torch.stack([words & 0xFFFF, (words >> 16) & 0xFFFF], dim=-1).flatten(1)[:, :count]
        return halves.mul(high).bitwise_right_shift_(16).reshape(len(self), *shape)


def stream_key(purpose: str) -> int:
    """Return 64 bits that are the same for `purpose` in every process and version (hash() is salted)."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def philox_blocks(seeds: Tensor, key: int, first: int, count: int) -> Tensor:
    """Philox4x64-10 of the keys (seeds[i], key) at the counters first + 1, ..., first + count.

    Returns:
        int64 [N, 4 * count]: the bits of the words, as `numpy.random.Philox.random_raw` gives them.
    """
    counter = torch.arange(first + 1, first + count + 1, dtype=torch.int64, device=seeds.device)
    c0 = counter.expand(len(seeds), count)
    c1 = c2 = c3 = torch.zeros_like(counter)[None]
    keys = [seeds[:, None], torch.tensor(_signed(key), device=seeds.device)]
    for round_ in range(_ROUNDS):
        k0, k1 = (k + _signed(round_ * weyl) for k, weyl in zip(keys, _WEYL, strict=True))
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return torch.stack([c0, c1, c2, c3], dim=-1).flatten(1)


def _multiply(value: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of an unsigned product; int64 stands for uint64 and wraps."""
    high, low = factor >> 32, factor & _LOW
    value_high, value_low = _shifted(value), value & _LOW
    lowest = value_low * low
    middle = value_high * low + _shifted(lowest)
    other = value_low * high + (middle & _LOW)
    return value_high * high + _shifted(middle) + _shifted(other), value * _signed(factor)


def _shifted(value: Tensor) -> Tensor:
    """The upper 32 bits, as unsigned."""
    return (value >> 32) & _LOW


def _signed(value: int) -> int:
    """The int64 with the low 64 bits of `value`."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _numpy_blocks(seeds: Tensor, key: int, first: int, count: int) -> Tensor:
    """`philox_blocks` by NumPy."""
    drawn = np.empty((len(seeds), 4 * count), dtype=np.uint64)
    for row, seed in zip(drawn, seeds.numpy().astype(np.uint64), strict=True):
        row[:] = np.random.Philox(key=np.array([seed, key], dtype=np.uint64), counter=first).random_raw(4 * count)
    return torch.from_numpy(drawn.view(np.int64))
