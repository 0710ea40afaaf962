"""Hue, saturation and value, to the bit as scikit-image computes them (skimage.color.rgb2hsv, hsv2rgb).

Brightness adds whole or half levels to the value, so the truncation afterwards shows the last bit of every step: the
steps and their order are scikit-image's, in double precision, on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nsbench.corruptions.levels import divided, unit

_VALUE, _P, _Q, _T = range(4)
_SECTORS = ((_VALUE, _Q, _P, _P, _T, _VALUE), (_T, _VALUE, _VALUE, _Q, _P, _P), (_P, _P, _T, _VALUE, _VALUE, _Q))
"""What red, green and blue are in each sixth of the circle of hues."""


def to_hsv(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 RGB [N, 3, H, W] as hue, saturation and value, float64 [N, H, W] in [0, 1]."""
    red, green, blue = unit(pixels, torch.float64).unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    delta = value - torch.minimum(torch.minimum(red, green), blue)
    grey = delta == 0
    hue = torch.where(
        blue == value,
        (red - green).div_(delta).add_(4.0),
        torch.where(green == value, (blue - red).div_(delta).add_(2.0), (green - blue).div_(delta)),
    )
    hue = divided(hue, 6).remainder_(1.0).masked_fill_(grey, 0)
    return hue, (delta / value).masked_fill_(grey, 0), value


def shades_of(hue: Tensor, saturation: Tensor) -> Tensor:
    """RGB over value, float64 [N, 3, H, W], of hue and saturation float64 [N, H, W]; times the value it is the RGB."""
    turn = hue * 6
    sector = turn.floor()
    part = turn.sub_(sector)
    p = 1 - saturation
    t = (1 - part).mul_(saturation).neg_().add_(1)
    q = part.mul_(saturation).neg_().add_(1)
    which = torch.tensor(_SECTORS, device=hue.device)[:, sector.long() % 6].movedim(0, 1)  # [N, 3, H, W]
    return torch.stack([torch.ones_like(p), p, q, t], dim=1).gather(1, which)


def luma(planes: Tensor) -> Tensor:
    """OpenCV's grey of float32 RGB [N, 3, H, W], [N, 1, H, W]."""
    red, green, blue = planes.chunk(3, dim=1)
    return (red * 0.299).add_(green * 0.587).add_(blue * 0.114)
