"""Where an output pixel takes its value from: smoothing, zooms and warps, as linear maps of whole batches."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from nsbench.corruptions.levels import look_up

Border = Literal["nearest", "reflect"]
Outside = Literal["mirror", "reflect", "nearest", "black"]


def gaussian_taps(sigma: float, truncate: float) -> list[float]:
    """Half of a normalised Gaussian, from the middle outwards, as scipy.ndimage.gaussian_filter makes it."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return [1.0]
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    half: list[float] = (weights / weights.sum())[radius:].tolist()
    return half


def smoothed(planes: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """Gaussian-filter float64 [N, C, H, W], edges repeated, to the bit as scipy.ndimage.gaussian_filter.

    Truncation shows the last bit wherever an image is flat, so the order of the additions is SciPy's: the middle,
    then the pairs of neighbours from the outermost inwards, rows before columns.
    """
    if planes.device.type == "cpu":
        filtered = ndimage.gaussian_filter(planes.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=truncate)
        return torch.from_numpy(filtered)
    return smoothed_in_order(planes, sigma, truncate)


def smoothed_in_order(planes: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """`smoothed` on any device."""
    half = gaussian_taps(sigma, truncate)
    reach = len(half) - 1
    if reach == 0:
        return planes
    for axis, pad in ((-2, (0, 0, reach, reach)), (-1, (reach, reach, 0, 0))):
        side = planes.shape[axis]
        wide = F.pad(planes, pad, mode="replicate")
        total = planes * half[0]
        pair = torch.empty_like(total)
        for step in range(reach, 0, -1):
            before, after = wide.narrow(axis, reach - step, side), wide.narrow(axis, reach + step, side)
            total.add_(torch.add(before, after, out=pair).mul_(half[step]))
        planes = total
    return planes


@lru_cache(maxsize=32)
def smoothing_matrix(side: int, sigma: float, border: Border, truncate: float, device: torch.device) -> Tensor:
    """The Gaussian filter of a line of `side` values as a matrix [side, side]; borders are part of it.

    In double precision but on the CPU: a GPU's TF32, where a caller allows it, keeps ten bits of single precision.
    """
    filtered = ndimage.gaussian_filter1d(np.eye(side), sigma, axis=0, mode=border, truncate=truncate)
    return torch.from_numpy(filtered.astype(np.float32 if device.type == "cpu" else np.float64)).to(device)


def smoothed_field(field: Tensor, sigma: float, border: Border, truncate: float = 4.0) -> Tensor:
    """Gaussian-filter a random field float32 [..., H, W] by two matrix products, however wide the filter."""
    if int(truncate * sigma + 0.5) == 0:
        return field
    rows, columns = (smoothing_matrix(side, float(sigma), border, truncate, field.device) for side in field.shape[-2:])
    return (rows @ field.to(rows.dtype) @ columns.T).float()


@lru_cache(maxsize=256)
def zoom_taps(side: int, factor: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Where the originals' `clipped_zoom` takes the pixels of one axis from.

    It enlarges the middle ceil(side / factor) pixels by scipy.ndimage.zoom, order 1, and cuts back to `side`.

    Returns:
        int64 lower neighbour, int64 upper neighbour, float32 weight of the upper one, each [side].
    """
    kept = math.ceil(side / factor)
    first = (side - kept) // 2
    enlarged = round(kept * factor)
    trim = (enlarged - side) // 2
    ratio = (kept - 1) / (enlarged - 1) if enlarged > 1 else 0.0
    place = np.minimum(ratio * (np.arange(side) + trim), kept - 1)
    lower = np.minimum(np.floor(place), max(kept - 2, 0)).astype(np.int64)
    upper = np.minimum(lower + 1, kept - 1)
    weight = (place - lower).astype(np.float32)
    return tuple(torch.from_numpy(part).to(device) for part in (lower + first, upper + first, weight))  # type: ignore[return-value]


def clipped_zoom(planes: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of float32 [H, W, ...] by `factor`, bilinearly, and cut back to its size.

    Rows and columns come first, so that whole runs of values move.
    """
    device = planes.device
    lower, upper, weight = zoom_taps(planes.shape[0], float(factor), device)
    tall = _between(planes.index_select(0, lower), planes.index_select(0, upper), weight[:, None, None])
    lower, upper, weight = zoom_taps(planes.shape[1], float(factor), device)
    return _between(tall.index_select(1, lower), tall.index_select(1, upper), weight[:, None])


def _between(low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    """low + (high - low) weight, never fused into one rounding."""
    return high.sub_(low).mul_(weight).add_(low)


def sampled_at(planes: Tensor, x: Tensor, y: Tensor, outside: Outside) -> Tensor:
    """Sample float32 [N, C, H, W] bilinearly at x, y float32 [M, H', W'] in pixels, where N is M or 1.

    Every step is one rounding of IEEE arithmetic, so every device gives the same bits.

    Args:
        outside: what lies around the picture. `mirror`: its mirror image, the mirror in the middle of the outermost
            pixels (OpenCV's REFLECT_101); `reflect`: the mirror at their outer border (SciPy's reflect); `nearest`:
            the outermost pixels; `black`: zeros.

    Returns:
        float32 [M, C, H', W'].
    """
    if outside == "black":
        planes, x, y = F.pad(planes, (1, 1, 1, 1)), x + 1, y + 1
    count, channels, height, width = planes.shape
    left, above = x.floor(), y.floor()
    across, down = x - left, y - above
    columns = [_inside(left.int() + step, width, outside) for step in (0, 1)]
    rows = [_inside(above.int() + step, height, outside).mul_(width) for step in (0, 1)]
    if count > 1:
        picture = torch.arange(count, dtype=torch.int32, device=planes.device) * (height * width)
        rows = [row.add_(picture.view(-1, 1, 1)) for row in rows]
    places = [[row + column for column in columns] for row in rows]
    sampled = planes.new_empty(len(x), channels, *x.shape[1:])
    for channel in range(channels):
        flat = planes[:, channel].flatten()
        upper, lower = (
            _between(look_up(flat, at_left), look_up(flat, at_right), across) for at_left, at_right in places
        )
        sampled[:, channel] = _between(upper, lower, down)
    return sampled


def _inside(index: Tensor, side: int, outside: Outside) -> Tensor:
    """The pixel that stands for `index`; mirrors repeat, for an affine map may reach many pictures away."""
    if outside == "mirror":
        period = 2 * (side - 1)
        index = _folded(index.abs(), period)
        index = torch.minimum(index, period - index)
    elif outside == "reflect":
        period = 2 * side
        index = _folded(torch.maximum(index, -1 - index), period)
        index = torch.minimum(index, period - 1 - index)
    return index.clamp_(0, side - 1)


def _folded(index: Tensor, period: int) -> Tensor:
    """Indices from 0 on modulo `period`; the division, slow on CPUs, only where one reaches so far."""
    far = index.device.type != "cpu" or int(index.max()) >= period
    return index.remainder_(period) if far else index


def pixel_grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y of every pixel, float32 [H, W]."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return x, y


def fast_size(least: int) -> int:
    """A multiple of 32 that is at least `least`: a size at which Fourier transforms are quick."""
    return -(-least // 32) * 32


def correlate(planes: Tensor, kernel_spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    """Correlate float32 planes [N, C, H, W] with kernels given as `spectrum(kernel)` of `size`; both broadcast."""
    correlated: Tensor = torch.fft.irfft2(torch.fft.rfft2(planes, s=size) * kernel_spectrum.conj(), s=size)
    return correlated


def spectrum(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """The Fourier transform of kernels [..., K, K'] whose first tap stands at offset 0, in a frame of `size`."""
    transformed: Tensor = torch.fft.rfft2(kernel, s=size)
    return transformed
