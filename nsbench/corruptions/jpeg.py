"""Images through JPEG and back, 4:2:0, as Pillow saves and reads them: a library on the CPU, ours on other devices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from nsbench.corruptions.jpeg_codec import coded

__all__ = ["coded", "jpeg_roundtrip", "roundtrip"]


def jpeg_roundtrip(images: Tensor, quality: int) -> Tensor:
    """`images` saved as baseline JPEG 4:2:0 at `quality` and read again, each by itself.

    images: [N, 3, H, W] RGB on any device, floating point in [0, 1] (rounded to the nearest of 256 levels) or uint8
    in 0..255; H and W from 1. quality: 1..100, libjpeg's scale. Returns the same shape, dtype, range and device.
    Raises ValueError for another dtype or shape, a value outside [0, 1] or NaN, or another quality.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a torch tensor [N, 3, H, W], got {type(images).__name__}: torch.from_numpy")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"images must be [N, 3, H, W], got {list(images.shape)}: stack RGB images into one batch")
    if not isinstance(quality, Integral) or isinstance(quality, bool) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be an integer from 1 to 100, got {quality!r}: pass 85 for ImageNet-C's")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"images must be uint8 or floating point, got {images.dtype}: convert with .to(torch.uint8)")
    if images.dtype == torch.uint8 or len(images) == 0:
        return roundtrip(images, int(quality))
    low, high = torch.stack(images.detach().aminmax()).tolist()
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ValueError(f"float images must lie in [0, 1], got {low:g} to {high:g}: divide by 255 or clamp them")
    pixels = images.detach().float().mul(255).round_().to(torch.uint8)
    return roundtrip(pixels, int(quality)).float().div_(255).to(images.dtype)


def roundtrip(pixels: Tensor, quality: int) -> Tensor:
    """uint8 [N, 3, H, W] RGB -> uint8 [N, 3, H, W] on the same device; quality 1..100; nothing is checked.

    torchvision's codec, one thread per torch thread, where the pixels are on the CPU (or on MPS, which lacks
    float64); `coded` elsewhere. Both give the same pixels.
    """
    if len(pixels) == 0:
        return pixels.clone()
    if pixels.device.type in {"cpu", "mps"}:
        return _library(pixels.cpu(), quality).to(pixels.device)
    return coded(pixels, quality)


def _library(pixels: Tensor, quality: int) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

    result = torch.empty(pixels.shape, dtype=torch.uint8)
    sources, results, workers = pixels.numpy(), result.numpy(), min(torch.get_num_threads(), len(pixels))

    def every(first: int) -> None:
        for i in range(first, len(sources), workers):  # NumPy moves the layouts: torch would start threads in threads
            interleaved = torch.from_numpy(np.stack(tuple(sources[i]), -1)).permute(2, 0, 1)
            results[i] = decode_jpeg(encode_jpeg(interleaved, quality), ImageReadMode.RGB).numpy()

    if workers == 1:
        every(0)
    else:
        with ThreadPoolExecutor(workers) as pool:  # the codec releases the GIL
            list(pool.map(every, range(workers)))
    return result
