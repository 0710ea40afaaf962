"""The library imagecorruptions (Michaelis et al. 2019, arXiv:1907.07484) behind the signature of `corrupt`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from nsbench.corruptions.opencv import opencv

_LOCK = Lock()


def library_corrupt(pixels: Tensor, name: str, severity: int, seeds: Tensor) -> Tensor:
    """Corrupt uint8 [N, 3, H, W] image by image on the host; the library draws from NumPy's global state.

    Raises:
        DataError: OpenCV does not import.
    """
    opencv()  # the library imports it: say what is missing before it does
    import imagecorruptions

    corrupted = torch.empty_like(pixels)
    for row, (image, seed) in enumerate(zip(pixels.cpu(), seeds.tolist(), strict=True)):
        with _global_seed(seed):
            # these two draw from generators of their own, which no global seed reaches
            own = {"seed": int(np.random.randint(2**31))} if name in ("impulse_noise", "glass_blur") else {}
            result = imagecorruptions.corrupt(image.permute(1, 2, 0).numpy(), severity, corruption_name=name, **own)
        corrupted[row] = torch.from_numpy(np.array(result)).permute(2, 0, 1)
    return corrupted


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, for one thread at a time, and give its state back afterwards."""
    with _LOCK:
        state = np.random.get_state()
        np.random.seed([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
        try:
            yield
        finally:
            np.random.set_state(state)
