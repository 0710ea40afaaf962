"""The reference, fed the random numbers that `nsbench.corruptions.corrupt` draws: only arithmetic may then differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nsbench.corruptions.constants import table_for
from nsbench.corruptions.randomness import Draws
from tests.corruptions.reference import blur, digital, weather

FUNCTIONS = {
    name: getattr(module, name)
    for module, names in (
        (blur, ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")),
        (weather, ("snow", "frost", "fog", "brightness", "spatter")),
        (digital, ("contrast", "saturate", "pixelate", "jpeg_compression", "elastic_transform")),
    )
    for name in names
}
"""All but the noises, which are compared by their distributions."""


class Given:
    """Stands in for a numpy.random.Generator and hands out `values` in turn, whatever it is asked for."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = iter(values)

    def standard_normal(self, *, out: np.ndarray) -> None:
        out[...] = next(self._values)

    def random(self, *, out: np.ndarray) -> None:
        out[...] = next(self._values)

    def uniform(self, low: float, high: float, size: tuple[int, ...] | None = None) -> Any:
        value = next(self._values)
        assert np.shape(value) == (size or ())
        assert np.min(value) >= low
        assert np.max(value) <= high
        return value

    def integers(self, low: int, high: int | None = None, size: tuple[int, ...] | None = None) -> Any:
        value = next(self._values)
        low, high = (0, low) if high is None else (low, high)
        assert np.shape(value) == (size or ())
        assert np.min(value) >= low
        assert np.max(value) < high
        return value


def reference_corrupt(
    images: Tensor, name: str, severity: int, seeds: Tensor | None = None, *, variant: int | None = None
) -> Tensor:
    """What `corrupt(images, name, severity, seeds=seeds, variant=variant)` should give, uint8 [N, 3, H, W].

    Without `seeds` it is for the corruptions that draw nothing.
    """
    seeds = torch.zeros(len(images), dtype=torch.int64) if seeds is None else seeds
    constant = table_for(min(images.shape[-2:]), variant)[name][severity - 1]
    draws = Draws(seeds, f"corruption/{name}/{severity}", "cpu")
    values = _VALUES[name](draws, constant, *images.shape[-2:]) if name in _VALUES else [() for _ in seeds]
    levels = FUNCTIONS[name](array(images), constant, [Given(row) for row in values])
    return tensor(levels.astype(np.uint8))


def array(images: Tensor) -> np.ndarray:
    """[N, C, H, W] as NumPy's [N, H, W, C]."""
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def tensor(images: np.ndarray) -> Tensor:
    """[N, H, W, C] as torch's [N, C, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _glass_blur(draws: Draws, constant: Any, height: int, width: int) -> list[tuple[Any, ...]]:
    reach, passes = constant[1:]
    drawn = draws.integers(2 * reach, passes, height - 2 * reach, width - 2 * reach, 2)
    return [(shifts,) for shifts in drawn.numpy() - reach]


def _motion_blur(draws: Draws, _constant: Any, _height: int, _width: int) -> list[tuple[Any, ...]]:
    return [(degrees,) for degrees in (draws.uniform(1)[:, 0] * 90 - 45).tolist()]


def _snow(draws: Draws, _constant: Any, height: int, width: int) -> list[tuple[Any, ...]]:
    fields = draws.normal(height, width).numpy()
    return list(zip(fields, (draws.uniform(1)[:, 0] * 90 - 135).tolist(), strict=True))


def _frost(draws: Draws, _constant: Any, height: int, width: int) -> list[tuple[Any, ...]]:
    photographs = weather.frost_photographs(weather.frost_scale(height))
    chosen = draws.integers(len(photographs), 1)[:, 0].tolist()
    fractions = draws.uniform(2).double().tolist()
    values = []
    for index, (down, across) in zip(chosen, fractions, strict=True):
        tall, wide = photographs[index].shape[:2]
        values.append((index, int(down * (tall - height)), int(across * (wide - width))))
    return values


def _fog(draws: Draws, _constant: Any, height: int, width: int) -> list[tuple[Any, ...]]:
    side = 2 ** math.ceil(math.log2(max(height, width)))
    return [(row,) for row in draws.uniform(side * side - 1).numpy()]


def _elastic_transform(draws: Draws, constant: Any, height: int, width: int) -> list[tuple[Any, ...]]:
    jitter = constant[2]
    moves = (draws.uniform(3, 2) * (2 * jitter) - jitter).numpy()
    fields = (draws.uniform(2, height, width) * 2 - 1).permute(0, 2, 3, 1).numpy()
    return list(zip(moves, fields, strict=True))


def _spatter(draws: Draws, _constant: Any, height: int, width: int) -> list[tuple[Any, ...]]:
    return [(field,) for field in draws.normal(height, width).numpy()]


_VALUES: dict[str, Callable[[Draws, Any, int, int], Sequence[Sequence[Any]]]] = {
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "elastic_transform": _elastic_transform,
    "spatter": _spatter,
}
"""Each random corruption's draws in the order of its calls, a row of values for each image."""
