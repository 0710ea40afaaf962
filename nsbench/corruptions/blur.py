"""The five blurs of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py and its siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from nsbench.corruptions.levels import GUARD, cut, cut_unit, divided, look_up, unit
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.resampling import clipped_zoom, correlate, fast_size, smoothed, spectrum

_QUANTA = 257.0
"""ImageMagick computes with 16 bits: 257 quanta a level."""


def gaussian_blur(pixels: Tensor, sigma: float, _draws: Draws) -> Tensor:
    """Gaussian blur, the edge pixels repeated outwards, the kernel cut at four sigma."""
    return cut_unit(smoothed(unit(pixels, torch.float64), sigma))


def defocus_blur(pixels: Tensor, parameters: Sequence[float], _draws: Draws) -> Tensor:
    """Blur with an antialiased disk: (radius, sigma of the antialiasing)."""
    radius, alias_sigma = parameters
    reach = len(disk(radius, alias_sigma)) // 2
    height, width = pixels.shape[-2:]
    frame = (fast_size(height + 2 * reach), fast_size(width + 2 * reach))
    weight, spectra = _disk_spectra(radius, alias_sigma, frame, pixels.device)
    wide = F.pad(pixels.float(), (reach,) * 4, mode="reflect")
    first, *rest = correlate(wide[:, :, None], spectra, frame)[..., :height, :width].unbind(2)
    if weight is None:
        return cut(first, GUARD)
    total = first.round_().double().mul_(weight)
    return cut(total.add_(rest[0]) if rest else total)


@lru_cache(maxsize=32)
def _disk_spectra(
    radius: float, alias_sigma: float, frame: tuple[int, int], device: torch.device
) -> tuple[float | None, Tensor]:
    """The spectra [1 or 2, ...] of the disk's parts, and the weight of the first part.

    n nearly equal taps make a mean of n levels, a whole number for every n-th pixel, and the last bits of the taps
    decide whether the cut keeps it. So the first part is of ones, for a sum that is whole, and the second is what the
    taps differ by. Where they differ by much it does not matter: there is one part, and no weight.
    """
    kernel = disk(radius, alias_sigma).astype(np.float64)
    weight = float(kernel.max())
    ones = np.where(kernel > weight / 2, 1.0, 0.0)
    rest = kernel - weight * ones
    difference = float(np.abs(rest).sum())
    parts = [kernel] if difference > 1e-3 else [ones, rest] if difference > 1e-12 else [ones]
    spectra = spectrum(torch.from_numpy(np.stack(parts).astype(np.float32)).to(device), frame)
    return None if difference > 1e-3 else weight, spectra


def disk(radius: float, alias_sigma: float) -> np.ndarray:
    """A normalised disk whose rim is softened by a small Gaussian, float32, 17 px wide at least.

    The Gaussian is OpenCV's of 3 x 3 taps, 5 x 5 above radius 8, mirrored at the edges of the kernel itself.
    """
    reach, taps = (8, 3) if radius <= 8 else (math.ceil(radius), 5)
    line = np.arange(-reach, reach + 1)
    inside = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    ramp = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * alias_sigma**2))
    ramp /= ramp.sum()
    # normalised before the softening alone, as in the original: a rim that meets the border comes back mirrored
    kernel: np.ndarray = inside / inside.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, ramp, axis=axis, mode="mirror")
    return kernel.astype(np.float32)


def glass_blur(pixels: Tensor, parameters: Sequence[float], draws: Draws) -> Tensor:
    """Blur, let pixels take a neighbour's value in place, blur again: (sigma, reach, passes)."""
    sigma, reach, passes = float(parameters[0]), int(parameters[1]), int(parameters[2])
    height, width = pixels.shape[-2:]
    # (dx, dy) of each pixel in the original's order of drawing; the upper bound of randint is never drawn
    shifts = draws.integers(2 * reach, passes, height - 2 * reach, width - 2 * reach, 2).sub_(reach)
    blurred = cut_unit(smoothed(unit(pixels, torch.float64), sigma))
    sources = displaced_sources(shifts, height, width)
    planes = [look_up(blurred[:, channel].flatten(), sources) for channel in range(pixels.shape[1])]
    shuffled = torch.stack(planes, dim=1).view_as(pixels)
    return cut_unit(smoothed(unit(shuffled, torch.float64), sigma))


def displaced_sources(shifts: Tensor, height: int, width: int) -> Tensor:
    """Say for each pixel from which pixel its value comes in the end.

    The original means to swap two pixels, but its tuple assignment is of NumPy views: the second assignment reads
    what the first has written, so the pixel takes its neighbour's value and the neighbour keeps it. Pixels are
    visited from the bottom right to the top left; a neighbour visited before hands on what it was given, one visited
    later what it had. These hand-ons are pointers, resolved by doubling: n rounds follow chains of 2^n.

    Args:
        shifts: int32 [N, passes, H - 2 reach, W - 2 reach, 2], (dx, dy) in the order of the visits.

    Returns:
        int32 [N, H * W], indices into the N * H * W pixels of the batch.
    """
    count, passes, rows, _, _ = shifts.shape
    reach, total = (height - rows) // 2, count * height * width
    places = torch.arange(total, dtype=torch.int32, device=shifts.device)
    area = (slice(None), slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    inside = torch.zeros(count, height, width, dtype=torch.bool, device=shifts.device)
    inside[area] = True
    had = places + total  # a second set of nodes: what each pixel had before the pass
    sources = places
    for step in range(passes):
        towards = shifts[:, step].flip(1, 2)  # in reading order
        pointer = had.clone().view(count, height, width)
        here = places.view(count, height, width)[area]
        neighbour = here + towards[..., 1] * width + towards[..., 0]
        waits = (neighbour <= here) | ~look_up(inside.flatten(), neighbour)
        pointer[area] = neighbour + waits * total
        ends = pointer.flatten()
        while True:
            further = look_up(torch.cat([ends, had]), ends)
            if torch.equal(further, ends):
                break
            ends = further
        sources = look_up(sources, ends - total)
    return sources.view(count, height * width)


def motion_blur(pixels: Tensor, parameters: Sequence[float], draws: Draws) -> Tensor:
    """Blur along a random direction within 45 degrees of the horizontal: (radius, sigma)."""
    radius, sigma = parameters
    return directional_blur(pixels, radius, sigma, draws.uniform(1)[:, 0] * 90 - 45)


def directional_blur(pixels: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """ImageMagick's motion blur of uint8 [N, C, H, W], image i along `degrees[i]`.

    Semantics of MotionBlurImage (ImageMagick 6.9, magick/effect.c): half a Gaussian that starts at the pixel and
    trails 2 radius pixels along the angle, each tap on the nearest pixel, edges repeated, 16-bit arithmetic.
    """
    reach = 2 * math.ceil(radius)
    steps = torch.arange(reach + 1, dtype=torch.float64)
    falloff = torch.exp(-(steps**2) / (2 * sigma * sigma))
    places = trail(degrees, reach + 1) + reach  # [N, reach + 1, 2], in the padded picture
    wide = F.pad(pixels.float(), (reach,) * 4, mode="replicate")
    along = _summed_along if pixels.device.type == "cpu" else _correlated_along
    quanta = along(wide, falloff / falloff.sum(), places).mul_(_QUANTA)
    # rounded to 16-bit quanta, then cut to 8 bits, as ImageMagick 6.9.11 writes a PNG (6.8 rounds twice)
    return cut(divided(quanta.add_(0.5).floor_(), _QUANTA), GUARD)


def _summed_along(wide: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """Weighted sums of shifted pictures, float32 [N, C, H, W], tap by tap; `wide` is one picture or N."""
    reach = len(weights) - 1
    height, width = (side - 2 * reach for side in wide.shape[-2:])
    sums = wide.new_zeros(len(places), wide.shape[1], height, width)
    for row, (total, offsets) in enumerate(zip(sums, places.tolist(), strict=True)):
        picture = wide[row if len(wide) > 1 else 0]
        for weight, (x, y) in zip(weights.tolist(), offsets, strict=True):
            total.add_(picture[:, y : y + height, x : x + width], alpha=weight)
    return sums


def _correlated_along(wide: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """`_summed_along` by Fourier transforms, all pictures at once."""
    reach = len(weights) - 1
    side = 2 * reach + 1
    height, width = (length - 2 * reach for length in wide.shape[-2:])
    frame = (fast_size(wide.shape[-2]), fast_size(wide.shape[-1]))
    kernels = torch.zeros(len(places), side * side, dtype=torch.float64, device=wide.device)
    places, weights = places.to(wide.device), weights.to(wide.device)
    kernels.scatter_add_(1, places[..., 1] * side + places[..., 0], weights.expand(len(places), -1))
    kernel_spectrum = spectrum(kernels.view(-1, 1, side, side).float(), frame)
    return correlate(wide, kernel_spectrum, frame)[..., :height, :width]


def trail(degrees: Tensor, length: int) -> Tensor:
    """The offsets (dx, dy), int64 [N, length, 2], of the pixels nearest to rays; halves round down."""
    radians = degrees.double() * math.pi / 180
    direction = torch.stack([length * torch.cos(radians), length * torch.sin(radians)], dim=-1)
    direction /= torch.hypot(direction[:, 0], direction[:, 1])[:, None]
    steps = torch.arange(length, dtype=torch.float64, device=degrees.device)
    return torch.ceil(steps[None, :, None] * direction[:, None] - 0.5).long()


def zoom_blur(pixels: Tensor, steps: dict[str, Sequence[float]], _draws: Draws) -> Tensor:
    """Average the image with itself enlarged by each factor of numpy.arange(start, stop, step).

    numpy's own arange, as in the originals: rounding lets it reach some of the stops, 1.06 for one.
    """
    factors = np.arange(*steps["arange"])
    sharp = unit(pixels).flatten(0, 1).permute(1, 2, 0).contiguous()  # [H, W, N * 3]
    total = sharp.clone()
    for factor in factors:
        total.add_(clipped_zoom(sharp, factor))
    return cut_unit(divided(total, len(factors) + 1), GUARD).permute(2, 0, 1).view_as(pixels)
