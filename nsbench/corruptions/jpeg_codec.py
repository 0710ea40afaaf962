"""Baseline JPEG at 4:2:0 on the device, bit for bit as libjpeg-turbo with its defaults (what Pillow's `save` runs).

Everything between the RGB pixels and the quantised coefficients, both ways; the lossless entropy coding between them
is left out.

Sources: ITU-T T.81 (the tables of Annex K) and libjpeg-turbo's integer arithmetic, named by its files below:
jccolor.c, jcsample.c, jcprepct.c, jfdctint.c ("islow", Loeffler, Ligtenberg and Moschytz 1989), jcdctmgr.c,
jcparam.c, jidctint.c, jdsample.c, jdcolor.c. Exactness: every 1-D DCT pass there is a linear map with an integer
matrix followed by one rounding shift, so here it is a float64 product, far below 2**53, and one truncation. float32
serves elementwise only, where it is exact or its rounding cannot matter: neither TF32 nor autocast changes a pixel.

Cost at H and W multiples of 16: 70 passes over planes (85 kernels, whatever N is), 490 bytes read and written per
pixel, 250 of them in the DCTs, and about 150 operations. No loop over images or blocks, no wait for the host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_CONST_BITS, _PASS1_BITS = 13, 2  # jfdctint.c: fraction bits of the constants, extra bits kept between the passes
_POSITIVE = 2**14  # above every |coefficient| (8,192) and every |pass-1 sum| (9,100): added, truncation is floor
_CHUNK_VALUES = 2**26  # float64 temporaries of 0.5 GB
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def coded(pixels: Tensor, quality: int) -> Tensor:
    """uint8 [N, 3, H, W] RGB coded and decoded at `quality`, in batched tensor operations on a device with float64."""
    per_chunk = max(1, _CHUNK_VALUES // pixels[0].numel())
    starts = range(0, len(pixels), per_chunk)
    chunks = [_coded_chunk(pixels[start : start + per_chunk], quality) for start in starts]
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def _coded_chunk(pixels: Tensor, quality: int) -> Tensor:
    height, width = pixels.shape[2:]
    small_height, small_width = (height + 1) // 2, (width + 1) // 2
    luminance, chrominance = _tables(quality, pixels.device)
    # Columns are repeated to whole 16-pixel units before the chroma is halved, rows only to an even number: the
    # missing rows of chroma repeat its last row, not the image's (jcprepct.c).
    y, chroma = _luma_chroma(_stretched(pixels, -(-height // 2) * 2, -(-width // 16) * 16))
    y = _requantised(_stretched(y, -(-height // 8) * 8), luminance)
    chroma = _requantised(_stretched(_halved(chroma), -(-small_height // 8) * 8), chrominance)
    chroma = _doubled(chroma[:, :, :small_height, :small_width])
    return _rgb(y[:, 0, :height, :width], chroma[:, :, :height, :width])


def _stretched(planes: Tensor, height: int, width: int | None = None) -> Tensor:
    """[..., H, W] with its last row and column repeated up to `height` and `width`."""
    for dim, size in ((-2, height), (-1, width)):
        if size is not None and size != planes.shape[dim]:
            taken = torch.arange(size, device=planes.device).clamp_(max=planes.shape[dim] - 1)
            planes = planes.index_select(dim, taken)
    return planes


# --- colour and sampling (jccolor.c, jcsample.c, jdsample.c, jdcolor.c): colour constants in 1/65536 ---


def _weighted(bias: float, *terms: tuple[Tensor, int]) -> Tensor:
    """float32 bias + sum of integer plane x weight / 65536: exact while each partial sum is below 2**24 / 65536."""
    (first, weight), *others = terms
    start = torch.full((), bias, dtype=torch.float32, device=first.device)
    total = torch.add(start, first, alpha=weight / 65536)
    for plane, weight in others:
        total.add_(plane, alpha=weight / 65536)
    return total


def _luma_chroma(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 [N, 3, H, W] -> int16 Y [N, 1, H, W] and Cb, Cr [N, 2, H, W], all in 0..255: copying to int16 is floor."""
    red, green, blue = pixels.unbind(1)
    luma = pixels.new_empty((len(pixels), 1, *pixels.shape[2:]), dtype=torch.int16)
    chroma = pixels.new_empty((len(pixels), 2, *pixels.shape[2:]), dtype=torch.int16)
    middle = 128 + 32767 / 65536
    luma[:, 0].copy_(_weighted(0.5, (red, 19595), (green, 38470), (blue, 7471)))
    chroma[:, 0].copy_(_weighted(middle, (red, -11059), (green, -21709), (blue, 32768)))
    chroma[:, 1].copy_(_weighted(middle, (red, 32768), (green, -27439), (blue, -5329)))
    return luma, chroma


def _rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """int16 Y [N, H, W] in 0..255 and Cb, Cr [N, 2, H, W] in -128..127 -> uint8 [N, 3, H, W].

    Y is added last: the sum is exact wherever it is within 0..255, and the clamp hides what is not.
    """
    blueness, redness = chroma.unbind(1)
    colours = (
        _weighted(0.5, (redness, 91881)),
        _weighted(0.5, (blueness, -22554), (redness, -46802)),
        _weighted(0.5, (blueness, 116130)),
    )
    pixels = torch.empty((len(luma), 3, *luma.shape[1:]), dtype=torch.uint8, device=luma.device)
    for channel, colour in enumerate(colours):
        pixels[:, channel].copy_(colour.add_(luma).clamp_(0, 255))
    return pixels


def _halved(planes: Tensor) -> Tensor:
    """int16 [N, C, H, W], both even -> the means of 2 x 2, rounded with the bias 1, 2, 1, 2... along a row / 4."""
    quads = planes.view(*planes.shape[:2], planes.shape[2] // 2, 2, -1, 2)
    total = quads[..., 0, :, 0] + quads[..., 0, :, 1]
    total += quads[..., 1, :, 0]
    total += quads[..., 1, :, 1]
    total += torch.arange(total.shape[-1], dtype=torch.int16, device=planes.device).remainder_(2).add_(1)
    return total.bitwise_right_shift_(2)


def _doubled(planes: Tensor) -> Tensor:
    """int16 [N, 2, H, W] in 0..255 -> [N, 2, 2H, 2W] minus 128: 3/4 of the nearer and 1/4 of the further neighbour.

    Up to two columns jdsample.c repeats instead.
    """
    height, width = planes.shape[2:]
    if width <= 2:
        return (planes - 128).repeat_interleave(2, -1).repeat_interleave(2, -2)
    rows, columns = (torch.arange(-1, n + 1, device=planes.device).clamp_(0, n - 1) for n in (height, width))
    planes = planes.index_select(-2, rows).index_select(-1, columns)
    tall = planes.new_empty((*planes.shape[:2], height, 2, width + 2))
    torch.add(planes[:, :, :-2], planes[:, :, 1:-1], alpha=3, out=tall[:, :, :, 0])
    torch.add(planes[:, :, 2:], planes[:, :, 1:-1], alpha=3, out=tall[:, :, :, 1])
    tall = tall.flatten(2, 3)
    wide = planes.new_empty((*tall.shape[:3], width, 2))
    torch.add(tall[..., :-2], tall[..., 1:-1], alpha=3, out=wide[..., 0])
    torch.add(tall[..., 2:], tall[..., 1:-1], alpha=3, out=wide[..., 1])
    bias = torch.arange(8, 6, -1, dtype=torch.int16, device=planes.device)  # halves go up and down in turn
    return wide.add_(bias.sub_(16 * 128)).bitwise_right_shift_(4).flatten(3)


# --- transform and quantisation (jfdctint.c, jcdctmgr.c, jidctint.c) ---


class _Pass(NamedTuple):
    """One 1-D DCT pass over integers v, floor((M @ v + half) / 2**bits), as the whole part of matrix @ (v + shift).

    matrix: float64 [8, 8], M / 2**bits (exact). shift: float64 [8]; carries the half and every constant added to
    or taken from inputs and outputs.
    """

    matrix: Tensor
    shift: Tensor


class _Table(NamedTuple):
    """One quantisation table, float32 [8, 1, 8] (row frequency, block, column frequency)."""

    steps: Tensor
    inverse: Tensor


def _butterfly(v: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """jfdctint.c's 8-point transform of the rows of v [8, M], in 1/2**13, before any descaling.

    Its matrix is not that of the rounded cosines (2260 here is -2259 there), hence the steps of the original.
    """
    (t0, t1, t2, t3), (t7, t6, t5, t4) = v[:4] + v[:3:-1], v[:4] - v[:3:-1]
    t10, t13, t11, t12 = t0 + t3, t0 - t3, t1 + t2, t1 - t2
    even = (t12 + t13) * 4433
    z5 = (t4 + t6 + t5 + t7) * 9633
    z1, z2, z3, z4 = (t4 + t7) * -7373, (t5 + t6) * -20995, (t4 + t6) * -16069 + z5, (t5 + t7) * -3196 + z5
    return np.stack(
        [
            (t10 + t11) << _CONST_BITS,
            t7 * 12299 + z1 + z4,
            even + t13 * 6270,
            t6 * 25172 + z2 + z3,
            (t10 - t11) << _CONST_BITS,
            t5 * 16819 + z2 + z4,
            even + t12 * -15137,
            t4 * 2446 + z1 + z3,
        ]
    )


@lru_cache(maxsize=16)
def _passes(device: torch.device) -> tuple[_Pass, _Pass, _Pass, _Pass]:
    """Forward rows and columns, inverse columns and rows; jidctint.c's matrix is exactly jfdctint.c's transposed."""
    forward = _butterfly(np.eye(8, dtype=np.int64))
    first, second, last = _CONST_BITS - _PASS1_BITS, _CONST_BITS + _PASS1_BITS, _CONST_BITS + _PASS1_BITS + 3

    def one(matrix: npt.NDArray[np.int64], bits: int, less: int, more: int) -> _Pass:
        # The products are whole numbers, so half + 1/2 rounds as half does and leaves room for the solver's error.
        outputs = np.full(8, 2 ** (bits - 1) + 0.5 + more * 2**bits)
        scaled, shift = matrix / 2**bits, np.linalg.solve(matrix, outputs) - less
        return _Pass(torch.from_numpy(scaled).to(device), torch.from_numpy(shift).to(device))

    return (
        one(forward, first, 128, _POSITIVE),
        one(forward, second, _POSITIVE, _POSITIVE),
        one(forward.T, first, 0, _POSITIVE),
        one(forward.T, last, _POSITIVE, 128),  # the clamp at 0 makes truncation do for floor here
    )


@lru_cache(maxsize=64)
def _tables(quality: int, device: torch.device) -> tuple[_Table, _Table]:
    """jcparam.c's tables for luma and chroma, 1..255 (baseline).

    jcdctmgr.c divides by 8 x step and rounds halves away from zero. Here: times the inverse, rounded half to even,
    where the inverse is 2**-18 too large; that pushes every half over and nothing else, since |coefficient| < 2**14.
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = []
    for base in (_LUMINANCE, _CHROMINANCE):
        steps = ((torch.tensor(base) * scale + 50) // 100).clamp_(1, 255).double().unsqueeze(1)
        tables.append(_Table(steps.float().to(device), ((1 + 2**-18) / (8 * steps)).float().to(device)))
    return tables[0], tables[1]


def _requantised(planes: Tensor, table: _Table) -> Tensor:
    """int16 planes [N, C, H, W] of whole blocks, 0..255 -> the same after transform, quantisation and back."""
    forward_rows, forward_columns, inverse_columns, inverse_rows = _passes(planes.device)
    rows = _across(forward_rows, planes).view(-1, 8, planes.shape[-1])  # [N x C x H/8, 8, W]
    columns = _down(forward_columns, torch.add(forward_columns.shift.unsqueeze(1), rows)).sub_(_POSITIVE)
    levels = columns.view(-1, 8, planes.shape[-1] // 8, 8).mul(table.inverse).round_()  # [N x C x H/8, 8, W/8, 8]
    coefficients = torch.addcmul(inverse_columns.shift.view(8, 1, 1), levels, table.steps).flatten(2)
    samples = _across(inverse_rows, _down(inverse_columns, coefficients))
    return samples.clamp_(0, 255).view(planes.shape)


def _across(step: _Pass, rows: Tensor) -> Tensor:
    """int16 [..., W] -> int16 [..., W/8, 8]."""
    return (torch.add(step.shift, rows.view(*rows.shape[:-1], -1, 8)) @ step.matrix.T).to(torch.int16)


def _down(step: _Pass, columns: Tensor) -> Tensor:
    """float64 [B, 8, W], shifted -> int16 [B, 8, W]."""
    return torch.bmm(step.matrix.expand(len(columns), 8, 8), columns).to(torch.int16)
