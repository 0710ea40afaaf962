"""The authors' ImageNet-C code itself (PyPI's `imagenet-c` 0.0.3, 224 px) as an oracle for the tests and benchmarks.

The package is of 2018 and imports with names that have died since. They are replaced in its own namespace only: NumPy,
SciPy and scikit-image stay as they are for the rest of the process. What had to be replaced:

- `scipy.ndimage.interpolation.map_coordinates`, now `scipy.ndimage.map_coordinates`;
- `np.float_` and `np.fromstring` on bytes, now `np.float64` and `np.frombuffer`;
- `multichannel=True` of `skimage.filters.gaussian`, now `channel_axis=-1`;
- `pkg_resources.resource_filename`: the wheel holds no frost photographs; those of imagecorruptions-imaug are the same;
- the random numbers, which come from a `RandomState` of the call, so that they can be seeded, read and given. It draws
  what `np.random.seed(seed)` would have drawn. (`skimage.util.random_noise` no longer draws from `np.random`: impulse
  noise comes from a `Generator` of the same seed.)

Its own requirements (opencv-python 3.4) would break the environment: install it with `pip install --no-deps
imagenet-c==0.0.3`; Wand is in the extra `dev`, and ImageMagick is Debian's libmagickwand-6.q16-6.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

SIZE = 224
DRAWS = {
    "gaussian_noise": ("noise",),
    "shot_noise": ("counts",),
    "impulse_noise": ("flip", "salt"),
    "glass_blur": ("shifts",),
    "motion_blur": ("angle",),
    "snow": ("field", "angle"),
    "frost": ("choice", "top", "left"),
    "fog": ("plasma",),
    "elastic_transform": ("jitter", "dx", "dy"),
    "speckle_noise": ("noise",),
    "spatter": ("liquid",),
}
"""What each random corruption draws, in the order of its calls. With H = W = 224 and the severity's constants:

noise: float [H, W, 3], the normal deviates times sigma. counts: int [H, W, 3], Poisson. flip, salt: float [H, W, 3] in
[0, 1); a value is replaced where flip <= amount, by 1 where salt <= 0.5, else by 0. shifts: int [iterations, n, n, 2] =
(dx, dy), n = 224 - 2 max_delta, in the loop's order, bottom right first (`glass_maps` lays them out on the picture).
angle: degrees. field: float [H, W], snow's normal field before its zoom. choice, top, left: the frost file's number and
the corner of the crop. plasma: float [256, 256] in [0, 1]. jitter: float [3, 2] pixels, (x, y) per point; dx, dy:
float [H, W] in (-1, 1), before their smoothing. liquid: float [H, W], spatter's normal field before its smoothing.
"""
GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # sigma, max_delta, iterations


class Draws:
    """The random calls of one corruption: drawn from a seed or taken from `given`, and kept by name in `taken`."""

    def __init__(self, name: str, seed: int | Sequence[int], given: Mapping[str, Any] | None = None) -> None:
        self.state = np.random.RandomState(seed)
        self.names = iter(DRAWS.get(name, ()))
        self.given = given
        self.taken: dict[str, Any] = {}

    def take(self, draw: Callable[[], Any]) -> Any:
        name = next(self.names)
        drawn = draw() if self.given is None else self.given[name]
        self.taken[name] = drawn
        return drawn

    def __getattr__(self, distribution: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.take(lambda: getattr(self.state, distribution)(*args, **kwargs))


class _Uniforms(np.random.Generator):
    """The generator that `skimage.util.random_noise` asks for its two uniform fields."""

    draws: Draws

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return self.draws.take(lambda: super(_Uniforms, self).random(*args, **kwargs))


class _NumPy(types.ModuleType):
    """NumPy with the names of 2018 and a random module of our choice."""

    float_ = np.float64
    fromstring = staticmethod(np.frombuffer)

    def __init__(self, random: Any) -> None:
        super().__init__("numpy")
        self.random = random

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def original(
    image: np.ndarray,
    name: str,
    severity: int,
    seed: int | Sequence[int] = 0,
    *,
    given: Mapping[str, Any] | None = None,
    taken: dict[str, Any] | None = None,
    own_loop: bool = False,
) -> np.ndarray:
    """`image` corrupted by the authors' code, as they would have saved it (truncated to uint8, before their JPEG).

    image: uint8 [224, 224, 3]. name: one of the 19. severity: 1..5. seed: what `np.random.seed` takes. given: values by
    the names of `DRAWS` instead of random ones. taken: a dict to be filled with the values that were used. own_loop:
    run the package's own pixel loop of glass blur, slow; it draws the same, but `given` and `taken` do not reach it.
    Returns uint8 [224, 224, 3]. Not for several threads at once: the package's globals are set for the call.
    """
    if image.dtype != np.uint8 or image.shape != (SIZE, SIZE, 3):
        raise ValueError(f"the original code takes uint8 [224, 224, 3], not {image.dtype} {list(image.shape)}")
    package, draws = _package(), Draws(name, seed, given)
    if name == "glass_blur" and not own_loop:
        corrupted = _glass_blur(image, severity, draws)
    else:
        package.np = _NumPy(draws.state if name in ("glass_blur", "fog") else draws)
        package.sk = types.SimpleNamespace(
            color=importlib.import_module("skimage.color"),
            util=types.SimpleNamespace(random_noise=functools.partial(_random_noise, draws, seed)),
        )
        fractal = package.plasma_fractal
        package.plasma_fractal = lambda **settings: draws.take(lambda: fractal(**settings))
        try:
            corrupted = np.asarray(getattr(package, name)(Image.fromarray(image), severity)).astype(np.uint8)
        finally:
            package.plasma_fractal, package.np = fractal, np
    if taken is not None:
        taken.update(draws.taken)
    return corrupted


def glass_maps(shifts: np.ndarray) -> np.ndarray:
    """`DRAWS`' shifts, int [iterations, n, n, 2], laid out as (dy, dx) maps: int [iterations, 224, 224, 2]."""
    reach = (SIZE - shifts.shape[1]) // 2
    maps = np.zeros((len(shifts), SIZE, SIZE, 2), shifts.dtype)
    maps[:, reach + 1 : SIZE - reach + 1, reach + 1 : SIZE - reach + 1] = shifts[:, ::-1, ::-1, ::-1]
    return maps


def frost_folder() -> str:
    """The folder of imagecorruptions-imaug, below which `frost/` lies, without importing that package."""
    return str(importlib.metadata.distribution("imagecorruptions-imaug").locate_file("imagecorruptions"))


def _glass_blur(image: np.ndarray, severity: int, draws: Draws) -> np.ndarray:
    """The package's glass blur without its loop.

    Its "swap" of two views copies: `x[h, w]` becomes what `x[h', w']` is at that moment, and `x[h', w']` stays. So
    every pixel of the loop points to one that was written before it, or to an old value; following all pointers at
    once, each time twice as far, ends at the old values.
    """
    sigma, reach, iterations = GLASS[severity - 1]
    side = SIZE - 2 * reach
    # `randint(size=(2,))` per pixel and one call for all draw the same numbers
    shifts = draws.randint(-reach, reach, size=(iterations, side, side, 2))
    blur = functools.partial(_package().gaussian, sigma=sigma, multichannel=True)
    pixels = (blur(image / 255.0) * 255).astype(np.uint8).reshape(-1, 3)
    row, column = np.indices((SIZE, SIZE))
    inside = (row > reach) & (row <= SIZE - reach) & (column > reach) & (column <= SIZE - reach)
    here = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    for shift in glass_maps(shifts):
        there = here + SIZE * shift[..., 0] + shift[..., 1]
        written = inside & (there > here) & inside.ravel()[there.clip(0, SIZE * SIZE - 1)]
        # node k is pixel k after the loop, node k + 224² its value before
        after = np.where(inside, np.where(written, there, there + SIZE * SIZE), here + SIZE * SIZE)
        follow = np.concatenate([after.ravel(), np.arange(SIZE * SIZE, 2 * SIZE * SIZE)])
        while (follow[: SIZE * SIZE] < SIZE * SIZE).any():
            follow = follow[follow]
        pixels = pixels[follow[: SIZE * SIZE] - SIZE * SIZE]
    blurred: np.ndarray = np.clip(blur(pixels.reshape(SIZE, SIZE, 3) / 255.0), 0, 1) * 255
    return blurred.astype(np.uint8)


def _random_noise(draws: Draws, seed: int | Sequence[int], image: np.ndarray, **settings: Any) -> np.ndarray:
    from skimage.util import random_noise

    uniforms = _Uniforms(np.random.PCG64(seed))
    uniforms.draws = draws
    return random_noise(image, rng=uniforms, **settings)


def _gaussian(image: np.ndarray, sigma: float, multichannel: bool = False, **settings: Any) -> np.ndarray:
    from skimage.filters import gaussian

    return gaussian(image, sigma, channel_axis=-1 if multichannel else None, **settings)


@functools.cache
def _package() -> Any:
    """The module `imagenet_c.corruptions`, imported among stand-ins for the dead modules, which are gone afterwards."""
    import scipy.ndimage

    stand_ins = {name: types.ModuleType(name) for name in ("scipy.ndimage.interpolation", "pkg_resources")}
    stand_ins["scipy.ndimage.interpolation"].map_coordinates = scipy.ndimage.map_coordinates  # type: ignore[attr-defined]
    stand_ins["pkg_resources"].resource_filename = lambda _, path: f"{frost_folder()}/{path}"  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        with warnings.catch_warnings():  # the package silences UserWarning for everybody
            package = importlib.import_module("imagenet_c.corruptions")
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    package.gaussian = _gaussian  # type: ignore[attr-defined]
    return package
