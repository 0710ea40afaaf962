"""The digital corruptions of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py and siblings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nsbench.corruptions import jpeg
from nsbench.corruptions.colour import shades_of, to_hsv
from nsbench.corruptions.levels import GUARD, cut_unit, divided, look_up, unit
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.resampling import pixel_grid, sampled_at, smoothed_field

_FRACTION_BITS = 22
"""Pillow's resampling weights for 8-bit images are multiples of 2^-22."""


def contrast(pixels: Tensor, factor: float, _draws: Draws) -> Tensor:
    """Scale the distance of each channel from its mean by `factor`: one table of 256 levels a channel."""
    count, channels, height, width = pixels.shape
    mean = divided(pixels.flatten(2).sum(dim=2, dtype=torch.int64).double(), 255.0 * height * width)  # [N, C]
    levels = divided(torch.arange(256, device=pixels.device, dtype=torch.float64), 255)
    mean = mean[..., None]
    table = cut_unit((levels - mean).mul_(factor).add_(mean))  # [N, C, 256]
    row = torch.arange(count * channels, device=pixels.device, dtype=torch.int32).view(count, channels, 1, 1) * 256
    return look_up(table.flatten(), row + pixels)


def saturate(pixels: Tensor, parameters: Sequence[float], _draws: Draws) -> Tensor:
    """Map the saturation s of HSV to factor * s + offset: (factor, offset)."""
    factor, offset = parameters
    hue, saturation, value = to_hsv(pixels)
    shades = shades_of(hue, saturation.mul_(factor).add_(offset).clamp_(0, 1))
    return cut_unit(shades.mul_(value[:, None]))


def pixelate(pixels: Tensor, scale: float, _draws: Draws) -> Tensor:
    """Shrink by `scale` and enlarge again, both with the box filter, which is the nearest pixel when enlarging."""
    height, width = pixels.shape[-2:]
    small = (int(height * scale), int(width * scale))
    shrunk = _pillow_resized(pixels, small) if pixels.device.type == "cpu" else box_resized(pixels, small)
    rows, columns = (
        ((torch.arange(side, device=pixels.device, dtype=torch.float64) + 0.5) * (part / side)).long()
        for side, part in zip((height, width), small, strict=True)
    )
    wide = shrunk.gather(-1, columns.expand(*shrunk.shape[:-1], width))
    return wide.index_select(-2, rows)


def _pillow_resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """`box_resized` by Pillow, all planes as one tall picture: a box never reaches over the edge of its plane."""
    height, width = size
    planes = pixels.shape[0] * pixels.shape[1]
    tall = Image.fromarray(pixels.reshape(-1, pixels.shape[-1]).numpy())
    narrow = tall.resize((width, tall.height), Image.Resampling.BOX)  # one axis at a time, in our order
    shrunk = np.array(narrow.resize((width, planes * height), Image.Resampling.BOX))
    return torch.from_numpy(shrunk).view(*pixels.shape[:2], height, width)


def box_resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 [N, C, H, W] by Pillow's box filter, to the bit: columns first, 22-bit weights, halves up."""
    for axis, side in ((-1, size[1]), (-2, size[0])):
        weights = box_weights(pixels.shape[axis], side, pixels.device)
        wide = pixels.double()
        total = wide @ weights.T if axis == -1 else weights @ wide
        pixels = total.add_(2.0 ** (_FRACTION_BITS - 1)).div_(2.0**_FRACTION_BITS).floor_().to(torch.uint8)
    return pixels


def box_weights(source: int, target: int, device: torch.device | str = "cpu") -> Tensor:
    """Pillow's box filter of a line, in units of 2^-22, float64 [target, source] (whole numbers)."""
    scale = source / target
    reach = 0.5 * max(scale, 1)
    centre = (np.arange(target) + 0.5) * scale
    low = np.maximum(centre - reach + 0.5, 0).astype(int)
    high = np.minimum(centre + reach + 0.5, source).astype(int)
    place = np.arange(source)
    offset = (place[None] - centre[:, None] + 0.5) * (1 / max(scale, 1))
    inside = (place >= low[:, None]) & (place < high[:, None]) & (offset > -0.5) & (offset <= 0.5)
    weights = inside / inside.sum(axis=1, keepdims=True)
    return torch.from_numpy(np.floor(weights * 2**_FRACTION_BITS + 0.5)).to(device)


def jpeg_compression(pixels: Tensor, quality: int, _draws: Draws) -> Tensor:
    """Encode as JPEG of `quality` and decode."""
    return jpeg.roundtrip(pixels, int(quality))


def elastic_transform(pixels: Tensor, parameters: Sequence[float], draws: Draws) -> Tensor:
    """Warp by a random affine map, then by a smooth random field: (amplitude, sigma, affine jitter) in px."""
    amplitude, sigma, jitter = parameters
    height, width = pixels.shape[-2:]
    moves = draws.uniform(3, 2) * (2 * jitter) - jitter
    fields = draws.uniform(2, height, width) * 2 - 1  # dx, dy
    return warped_elastically(pixels, moves, smoothed_field(fields, sigma, "reflect", truncate=3.0) * amplitude)


def warped_elastically(pixels: Tensor, moves: Tensor, shifts: Tensor) -> Tensor:
    """Warp uint8 [N, 3, H, W] so that three corners of the middle square move, then each pixel.

    Args:
        moves: float32 [N, 3, 2], (x, y) of each corner.
        shifts: float32 [N, 2, H, W], dx and dy.
    """
    height, width = pixels.shape[-2:]
    x, y = pixel_grid(height, width, pixels.device)
    inverse = corner_map(height, width, moves)[..., None, None]  # [N, 2, 3, 1, 1]
    affine = sampled_at(
        unit(pixels),
        (inverse[:, 0, 0] * x).add_(inverse[:, 0, 1] * y).add_(inverse[:, 0, 2]),
        (inverse[:, 1, 0] * x).add_(inverse[:, 1, 1] * y).add_(inverse[:, 1, 2]),
        "mirror",
    )
    return cut_unit(sampled_at(affine, x + shifts[:, 0], y + shifts[:, 1], "reflect"), GUARD)


def corner_map(height: int, width: int, moves: Tensor) -> Tensor:
    """The affine maps from output to input, float32 [N, 2, 3], that undo the corners' `moves` [N, 3, 2].

    The corners are those of the original: the middle plus (arm, arm), (arm, -arm), (-arm, -arm).
    """
    arm = min(height, width) // 3
    middle = torch.tensor([height // 2, width // 2], dtype=torch.float64)  # the original's order: rows as x
    corners = middle + arm * torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    moved = corners + moves.double().cpu()
    ones = torch.ones(*moved.shape[:2], 1, dtype=torch.float64)
    solution = torch.linalg.solve(torch.cat([moved, ones], dim=2), corners.expand(len(moves), -1, -1))  # [N, 3, 2]
    inverse: Tensor = solution.mT.float()
    return inverse.to(moves.device)
