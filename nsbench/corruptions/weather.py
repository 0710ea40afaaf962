"""The weather of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py and its siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nsbench.corruptions.blur import directional_blur
from nsbench.corruptions.colour import luma, shades_of, to_hsv
from nsbench.corruptions.levels import GUARD, cut_unit, look_up, unit
from nsbench.corruptions.opencv import opencv
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.resampling import clipped_zoom, smoothed_field
from nsbench.errors import DataError

FROST_PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
WATER = (175 / 255.0, 238 / 255.0, 238 / 255.0)
MUD = (63 / 255.0, 42 / 255.0, 20 / 255.0)


def snow(pixels: Tensor, parameters: Sequence[float], draws: Draws) -> Tensor:
    """Whiten the image and let flakes fall on it: (mean, spread, zoom, threshold, radius, sigma, blend)."""
    mean, spread, zoom, threshold, radius, sigma, blend = parameters
    field = draws.normal(1, *pixels.shape[-2:]).mul_(spread).add_(mean)
    degrees = draws.uniform(1)[:, 0] * 90 - 135
    fallen = directional_blur(snowflakes(field, zoom, threshold), radius, sigma, degrees)
    return snowed(whitened(unit(pixels), blend), fallen)


def snowflakes(field: Tensor, zoom: float, threshold: float) -> Tensor:
    """Enlarge a random field float32 [N, 1, H, W], drop what is below `threshold`: flakes, uint8."""
    enlarged = clipped_zoom(field[:, 0].permute(1, 2, 0), zoom).permute(2, 0, 1)[:, None]
    return cut_unit(enlarged.masked_fill_(enlarged < threshold, 0))


def whitened(planes: Tensor, blend: float) -> Tensor:
    """Mix float32 [N, 3, H, W] in [0, 1] with their lightened grey where that is brighter."""
    bright = torch.maximum(planes, luma(planes).mul_(1.5).add_(0.5))
    return (planes * blend).add_(bright.mul_(1 - blend))


def snowed(planes: Tensor, flakes: Tensor) -> Tensor:
    """Add the flakes uint8 [N, 1, H, W] and the same flakes turned by 180 degrees; the result is uint8."""
    layer = unit(flakes)
    return cut_unit(planes + layer.add(layer.rot90(2, (-2, -1))), GUARD)


def frost(pixels: Tensor, weights: Sequence[float], draws: Draws) -> Tensor:
    """Add a random crop of a frosted window: (weight of the image, weight of the frost)."""
    height, width = pixels.shape[-2:]
    photographs = frost_photographs(height, width)
    chosen = draws.integers(len(photographs), 1)[:, 0].tolist()
    fractions = draws.uniform(2).double().tolist()
    crops = []
    for index, (down, across) in zip(chosen, fractions, strict=True):
        photograph = photographs[index]
        top = int(down * (photograph.shape[1] - height))
        left = int(across * (photograph.shape[2] - width))
        crops.append(photograph[:, top : top + height, left : left + width])
    crop = torch.stack(crops).to(pixels.device)
    table = _frost_table(float(weights[0]), float(weights[1]), pixels.device)
    return look_up(table, pixels.int().mul_(256).add_(crop))


@cache
def _frost_table(image_weight: float, frost_weight: float, device: torch.device) -> Tensor:
    """The mix of every level with every level of frost, uint8 [65536], as NumPy computes and cuts it."""
    level = np.arange(256.0)
    mixed = np.clip(image_weight * level[:, None] + frost_weight * level, 0, 255).astype(np.uint8)
    return torch.from_numpy(mixed.reshape(-1)).to(device)


def frost_scale(side: int) -> float:
    """The factor by which the photographs shrink: 0.2 for 32 px images, 0.3 for 64, none from 224 on."""
    return float(np.interp(side, (32, 64, 224), (0.2, 0.3, 1.0)))


@lru_cache(maxsize=4)
def frost_photographs(height: int, width: int) -> tuple[Tensor, ...]:
    """The five photographs of frost, uint8 [3, H', W'], larger than height x width.

    The sixth is never drawn by the original's randint(5). Beyond the sizes of the originals (299 px) they are
    enlarged until they cover the image.

    Raises:
        DataError: the distribution imagecorruptions-imaug, which bundles them, is missing or incomplete.
    """
    cv2 = opencv()
    spec = find_spec("imagecorruptions")  # finds without importing: the import needs numba and scikit-image
    folders = spec.submodule_search_locations if spec else None
    scale = frost_scale(min(height, width))
    photographs = []
    for name in FROST_PHOTOGRAPHS:
        photograph = cv2.imread(str(Path(folders[0]) / "frost" / name)) if folders else None
        if photograph is None:
            raise DataError(f"the frost photograph {name} is missing; pip install imagecorruptions-imaug")
        cover = max((height + 1) / photograph.shape[0], (width + 1) / photograph.shape[1])
        factor = max(scale, cover)
        resized = photograph if factor == 1 else cv2.resize(photograph, (0, 0), fx=factor, fy=factor)
        if resized.shape[0] <= height or resized.shape[1] <= width:  # OpenCV rounds the size
            resized = cv2.resize(photograph, (max(resized.shape[1], width + 1), max(resized.shape[0], height + 1)))
        photographs.append(torch.from_numpy(np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1))))
    return tuple(photographs)


def fog(pixels: Tensor, parameters: Sequence[float], draws: Draws) -> Tensor:
    """Add a plasma fractal and scale back to the image's own maximum: (thickness, decay of the wibble)."""
    thickness, decay = parameters
    height, width = pixels.shape[-2:]
    side = 2 ** math.ceil(math.log2(max(height, width)))
    clouds = plasma(draws.uniform(side * side - 1), decay)
    return fogged(pixels, clouds[:, None, :height, :width], thickness)


def fogged(pixels: Tensor, clouds: Tensor, thickness: float) -> Tensor:
    """Add clouds float [N, 1, H, W] in [0, 1], then scale by maximum / (maximum + thickness)."""
    clear = unit(pixels)
    brightest = clear.amax(dim=(1, 2, 3), keepdim=True)
    return cut_unit(clear.add_(clouds * thickness).mul_(brightest).div_(brightest + thickness), GUARD)


def plasma(draws: Tensor, decay: float) -> Tensor:
    """Grow diamond-square height maps [N, side, side] in [0, 1] from uniform draws [N, side^2 - 1].

    Each level sets the centres of the squares, then the middles of their edges, to the mean of four neighbours
    plus noise; the map wraps around. The noise falls by `decay` per level, and its amplitude by its square,
    because the original multiplies the wibble by a draw of +-wibble.
    """
    side = math.isqrt(draws.shape[1] + 1)
    heights = draws.new_zeros(len(draws), side, side)
    step, wibble, used = side, 100.0, 0
    while step >= 2:
        half, cells = step // 2, side // step
        levels = draws[:, used : used + 3 * cells**2].reshape(-1, 3, cells, cells)
        noise = (levels * (2 * wibble)).sub_(wibble).mul_(wibble)
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)).div_(4).add_(noise[:, 0])
        heights[:, half::step, half::step] = centres
        heights[:, ::step, half::step] = (
            (centres + centres.roll(1, 1)).add_(corners).add_(corners.roll(-1, 2)).div_(4).add_(noise[:, 1])
        )
        heights[:, half::step, ::step] = (
            (centres + centres.roll(1, 2)).add_(corners).add_(corners.roll(-1, 1)).div_(4).add_(noise[:, 2])
        )
        used += 3 * cells**2
        step, wibble = half, wibble / decay
    heights.sub_(heights.amin(dim=(1, 2), keepdim=True))
    return heights.div_(heights.amax(dim=(1, 2), keepdim=True))


def brightness(pixels: Tensor, amount: float, _draws: Draws) -> Tensor:
    """Raise the value of HSV by `amount`."""
    hue, saturation, value = to_hsv(pixels)
    return cut_unit(shades_of(hue, saturation).mul_(value.add_(amount).clamp_(0, 1)[:, None]))


def spatter(pixels: Tensor, parameters: Sequence[float], draws: Draws) -> Tensor:
    """Splash water or mud: (mean, spread, sigma, threshold, strength of water or sigma of mud, 1 if mud)."""
    mean, spread, sigma, threshold, strength, muddy = parameters
    field = draws.normal(1, *pixels.shape[-2:]).mul_(spread).add_(mean)
    liquid = smoothed_field(field, sigma, "nearest")
    clear = unit(pixels)
    if muddy > 0.5:
        cover = mud((liquid > threshold).float(), strength)
        return cut_unit(clear.mul_(1 - cover).add_(coloured(MUD, cover) * cover), GUARD)
    drops = liquid.masked_fill(liquid < threshold, 0)
    return cut_unit(clear.add_(water(drops, strength) * coloured(WATER, clear)), GUARD)


def coloured(rgb: Sequence[float], like: Tensor) -> Tensor:
    """A colour [1, 3, 1, 1] in the dtype and on the device of another tensor."""
    return torch.tensor(rgb, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def mud(splashes: Tensor, sigma: float) -> Tensor:
    """Soften the splashes float32 [N, 1, H, W] and keep their thick parts."""
    soft = smoothed_field(splashes, sigma, "nearest")
    return soft.masked_fill(soft < 0.8, 0)


def water(drops: Tensor, strength: float) -> Tensor:
    """The sheen float32 [N, 1, H, W] of drops, at most `strength`; no drops, no sheen.

    The relief is OpenCV's, image by image on the host, whatever the device: its edge detector follows contours.
    Without a drop the original divides 0 by 0 and writes a black image; here the image stays as it is.
    """
    # Above 1 the original's cast to bytes wraps on the usual processors; two casts do so on every one.
    levels = (drops * 255).to(torch.int32).to(torch.uint8)
    relief = np.stack([_relief(level) for level in levels[:, 0].cpu().numpy()])
    sheen = levels.float() * torch.from_numpy(relief)[:, None].to(levels.device)
    peak = sheen.amax(dim=(-2, -1), keepdim=True)
    return sheen.div_(peak.masked_fill(peak == 0, 1)).mul_(strength)


def _relief(level: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Emboss the distance to the drops' rims: light from one corner."""
    cv2 = opencv()
    distance = cv2.distanceTransform(255 - cv2.Canny(level, 50, 150), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    slope = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
    embossed = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, slope)
    relief: npt.NDArray[np.float32] = cv2.blur(embossed, (3, 3)).astype(np.float32)
    return relief
