"""Between 8-bit levels and numbers: where the originals cut, and why a guard keeps whole numbers whole."""

from __future__ import annotations

import torch
from torch import Tensor

GUARD = 2.0**-10
"""Levels added before the cut of a value computed in single precision.

A flat region stays a whole number but for rounding (199.99998), and rounding differs from device to device; the cut
would turn that into a level. A thousandth of a level is far below anything that a metric sees.
"""

WARP_GUARD = 2.0**-7
"""The same for the warps of films: grid_sample knows a place to 1e-5 px, and neighbours may be 255 levels apart."""


def cut(levels: Tensor, guard: float = 0.0) -> Tensor:
    """Clip to 0..255 and truncate to uint8, as `numpy.uint8` does for the originals; `levels` is overwritten."""
    levels = levels.clamp_(0, 255)
    return (levels.add_(guard) if guard else levels).to(torch.uint8)


def cut_unit(unit: Tensor, guard: float = 0.0) -> Tensor:
    """Clip to [0, 1], scale to 0..255 and truncate, the order of the originals; `unit` is overwritten."""
    levels = unit.clamp_(0, 1).mul_(255)
    return (levels.add_(guard) if guard else levels).to(torch.uint8)


def unit(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 as `dtype` in [0, 1]."""
    return divided(pixels.to(dtype), 255)


def divided(values: Tensor, divisor: float) -> Tensor:
    """Divide floating-point values in place, correctly rounded: by a plain number CUDA multiplies with its inverse."""
    return values.div_(torch.full((), divisor, dtype=values.dtype, device=values.device))


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """`table[index]` for a flat table and an integer index of any shape."""
    return table.index_select(0, index.reshape(-1)).view(index.shape)
