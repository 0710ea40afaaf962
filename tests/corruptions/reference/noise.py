"""The four noises of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py and its siblings.

Every corruption of this package takes uint8 images [N, H, W, 3], the severity's constant and one random
generator per image, and returns [N, H, W, 3] in [0, 255], not yet truncated to whole numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests.corruptions.reference.randomness import Generators, standard_normals, uniforms

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]


def to_bytes_scale(unit: Floats) -> Floats:
    """Clip to [0, 1] and scale to [0, 255], as every original ends."""
    return np.clip(unit, 0, 1) * 255


def gaussian_noise(images: Pixels, sigma: float, rngs: Generators) -> Floats:
    """Add N(0, sigma^2) to each value of [0, 1]."""
    return to_bytes_scale(images / 255.0 + sigma * standard_normals(rngs, images.shape[1:]))


def shot_noise(images: Pixels, photons: float, rngs: Generators) -> Floats:
    """Draw each value as a Poisson count where `photons` are white."""
    return to_bytes_scale(poisson(images / 255.0 * photons, rngs) / photons)


def impulse_noise(images: Pixels, amount: float, rngs: Generators) -> Floats:
    """Turn each value with probability `amount` into salt (255) or pepper (0), equally often.

    The original calls skimage.util.random_noise(mode="s&p"), which draws twice; one uniform draw says both.
    """
    drawn = uniforms(rngs, images.shape[1:])
    return np.where(drawn < amount / 2, 255.0, np.where(drawn < amount, 0.0, images))


def speckle_noise(images: Pixels, sigma: float, rngs: Generators) -> Floats:
    """Add N(0, (sigma x)^2) to each value x of [0, 1]."""
    unit = images / 255.0
    return to_bytes_scale(unit + unit * (sigma * standard_normals(rngs, images.shape[1:])))


def poisson(rates: Floats, rngs: Generators) -> npt.NDArray[np.int64]:
    """Return Poisson counts for `rates` [N, ...], row i from generator i alone."""
    return np.stack([rng.poisson(rate) for rate, rng in zip(rates, rngs, strict=True)])
