"""A student's noise on small images: RandAugment, Cutout, crop and flip (paper, sections 2.2 and 3.1).

`nsbench.data.crops` has the photographs' order.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

from nsbench.data.randaugment import below, cut_out, rand_augment
from nsbench.trainingconfig import NoiseConfig


def augment(pixels: npt.NDArray[np.uint8], noise: NoiseConfig, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One image with a student's noise, in the order of the official small-image recipe (`preprocessing.py`).

    What `distort` does, then reflect padding and a random crop of the original size, then a flip.

    Args:
        pixels: uint8 [H, W, 3], H and W at least 1; left as it is.
        noise: operations and magnitudes; which images are noised is the caller's business.
        rng: the only source of randomness.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    pixels = distort(pixels, noise, rng)
    rows, columns = (_window(length, noise.crop_padding_px, rng) for length in pixels.shape[:2])
    if noise.flip and rng.random() < 0.5:
        columns = columns[::-1]
    return pixels.take(rows, axis=0).take(columns, axis=1)


def distort(pixels: npt.NDArray[np.uint8], noise: NoiseConfig, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """RandAugment, then the always-on Cutout.

    Returns:
        uint8 of the shape of `pixels`, which is left as it is; `pixels` itself where nothing changed.
    """
    pixels = rand_augment(pixels, noise, rng)
    return cut_out(pixels, noise.always_cutout_px, rng) if noise.always_cutout_px else pixels


def image_rng(seed: int, image_id: str, copy: int, step: int) -> np.random.Generator:
    """The generator of one image's noise: the same whichever rank, worker or batch the image falls to.

    Philox, its key the BLAKE2b digest of all four. NumPy's own seeding would hash once more, in the same time again.

    Args:
        seed: of the run, generation and part of the batch.
        copy: of a duplicated image: 0, 1, ...
        step: at which the image is shown.
    """
    parts = f"{seed} {copy} {step} {image_id}".encode("utf-8", "surrogatepass")  # an id may be any file's name
    key = np.frombuffer(hashlib.blake2b(parts, digest_size=16).digest(), "<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(_Key(key)))  # type: ignore[arg-type]  # NumPy's stubs forget it


class _Key(ISeedSequence):
    """Gives a bit generator the key that it asks for as it is."""

    def __init__(self, key: npt.NDArray[np.uint64]) -> None:
        self.key = key

    def generate_state(self, _n_words: int, _dtype: Any = np.uint64) -> npt.NDArray[np.uint64]:
        return self.key


def _window(length: int, padding: int, rng: np.random.Generator) -> npt.NDArray[np.integer]:
    """The rows (or columns) of a random crop of the padded image."""
    first = below(2 * padding + 1, rng) if padding else 0
    return _reflected(length, padding)[first : first + length]


@functools.lru_cache(maxsize=64)
def _reflected(length: int, padding: int) -> npt.NDArray[np.integer]:
    """Rows of the padded image, without repeating the border, as `numpy.pad(mode="reflect")` has them."""
    return np.pad(np.arange(length), padding, mode="reflect" if length > 1 else "edge")
