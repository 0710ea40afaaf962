"""The weather of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py and its siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nsbench.errors import DataError
from tests.corruptions.reference.blur import clipped_zoom, directional_blur, smooth
from tests.corruptions.reference.digital import adjust_hsv
from tests.corruptions.reference.noise import Floats, Pixels, to_bytes_scale
from tests.corruptions.reference.randomness import Generators, standard_normals, uniforms

FROST_PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
WATER = np.array([175, 238, 238]) / 255.0
MUD = np.array([63, 42, 20]) / 255.0


def snow(images: Pixels, parameters: Sequence[float], rngs: Generators) -> Floats:
    """Whiten the image and let flakes fall on it: (mean, spread, zoom, threshold, radius, sigma, blend)."""
    mean, spread, zoom, threshold, radius, sigma, blend = parameters
    flakes = snowflakes(standard_normals(rngs, images.shape[1:3]) * spread + mean, zoom, threshold)
    fallen = directional_blur(flakes, radius, sigma, [rng.uniform(-135, -45) for rng in rngs])
    unit = images.astype(np.float32) / 255.0
    return to_bytes_scale(snowed(whitened(unit, blend), fallen))


def snowflakes(field: Floats, zoom: float, threshold: float) -> Pixels:
    """Enlarge a random field [N, H, W], drop what is below `threshold`: flakes [N, H, W, 1]."""
    enlarged = clipped_zoom(field.transpose(1, 2, 0), zoom).transpose(2, 0, 1)
    kept = np.where(enlarged < threshold, 0, enlarged)
    return (np.clip(kept, 0, 1) * 255).astype(np.uint8)[..., None]


def whitened(unit: Floats, blend: float) -> Floats:
    """Mix images [N, H, W, 3] in [0, 1] with their lightened grey where that is brighter."""
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in unit.astype(np.float32)])[..., None]
    return blend * unit + (1 - blend) * np.maximum(unit, grey * 1.5 + 0.5)


def snowed(unit: Floats, flakes: Pixels) -> Floats:
    """Add the flakes [N, H, W, 1] and the same flakes turned by 180 degrees."""
    layer = flakes / 255.0
    return unit + layer + np.rot90(layer, k=2, axes=(1, 2))


def frost(images: Pixels, weights: Sequence[float], rngs: Generators) -> Floats:
    """Add a random crop of a frosted window: (weight of the image, weight of the frost)."""
    side = images.shape[1]
    photographs = frost_photographs(frost_scale(side))
    crops = np.stack([_random_crop(photographs, side, rng) for rng in rngs])
    return np.clip(weights[0] * images + weights[1] * crops, 0, 255)


def _random_crop(photographs: Sequence[Pixels], side: int, rng: np.random.Generator) -> Pixels:
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    if side >= min(height, width):
        raise ValueError(f"frost needs images smaller than its photographs' {min(height, width)} px, got {side}")
    top, left = rng.integers(0, height - side), rng.integers(0, width - side)
    crop: Pixels = photograph[top : top + side, left : left + side]
    return crop


def frost_scale(side: int) -> float:
    """Return the factor by which the photographs shrink: 0.2 for 32 px images, 0.3 for 64, none above."""
    return 0.2 if side <= 32 else 0.3 if side <= 64 else 1.0


@cache
def frost_photographs(scale: float) -> tuple[Pixels, ...]:
    """Return the five photographs of frost in RGB; the sixth is never drawn by the original's randint(5).

    Raises:
        DataError: the distribution imagecorruptions-imaug, which bundles them, is missing or incomplete.
    """
    spec = find_spec("imagecorruptions")  # finds without importing: the import needs numba and scikit-image
    folders = spec.submodule_search_locations if spec else None
    photographs = []
    for name in FROST_PHOTOGRAPHS:
        photograph = cv2.imread(str(Path(folders[0]) / "frost" / name)) if folders else None
        if photograph is None:
            raise DataError(f"the frost photograph {name} is missing; pip install imagecorruptions-imaug")
        resized = photograph if scale == 1 else cv2.resize(photograph, (0, 0), fx=scale, fy=scale)
        photographs.append(np.ascontiguousarray(resized[..., ::-1]))
    return tuple(photographs)


def fog(images: Pixels, parameters: Sequence[float], rngs: Generators) -> Floats:
    """Add a plasma fractal and scale back to the image's own maximum: (thickness, decay of the wibble)."""
    thickness, decay = parameters
    unit = images / 255.0
    height, width = images.shape[1:3]
    side = 2 ** math.ceil(math.log2(max(height, width)))
    clouds = plasma(uniforms(rngs, (side**2 - 1,)), decay)[:, :height, :width, None]
    brightest = unit.max(axis=(1, 2, 3), keepdims=True)
    return to_bytes_scale((unit + thickness * clouds) * brightest / (brightest + thickness))


def plasma(draws: npt.NDArray[np.float64], decay: float) -> npt.NDArray[np.float64]:
    """Grow diamond-square height maps [N, side, side] in [0, 1] from uniform draws [N, side^2 - 1].

    Each level sets the centres of the squares, then the middles of their edges, to the mean of four neighbours
    plus noise; the map wraps around. The noise falls by `decay` per level, and its amplitude by its square,
    because the original multiplies the wibble by a draw of +-wibble.
    """
    side = math.isqrt(draws.shape[1] + 1)
    heights = np.zeros((len(draws), side, side))
    step, wibble, used = side, 100.0, 0
    while step >= 2:
        half, cells = step // 2, side // step
        levels = draws[:, used : used + 3 * cells**2].reshape(-1, 3, cells, cells)
        noise = wibble * (2 * wibble * levels - wibble)
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        heights[:, half::step, half::step] = (pairs + np.roll(pairs, -1, axis=2)) / 4 + noise[:, 0]
        centres, corners = heights[:, half::step, half::step], heights[:, ::step, ::step]
        above, left = np.roll(centres, 1, axis=1), np.roll(centres, 1, axis=2)
        right, below = np.roll(corners, -1, axis=2), np.roll(corners, -1, axis=1)
        heights[:, ::step, half::step] = ((centres + above) + (corners + right)) / 4 + noise[:, 1]
        heights[:, half::step, ::step] = ((centres + left) + (corners + below)) / 4 + noise[:, 2]
        used += 3 * cells**2
        step, wibble = half, wibble / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights


def brightness(images: Pixels, amount: float, _rngs: Generators) -> Floats:
    """Raise the value of HSV by `amount`."""
    return adjust_hsv(images, channel=2, factor=1.0, offset=amount)


def spatter(images: Pixels, parameters: Sequence[float], rngs: Generators) -> Floats:
    """Splash water or mud: (mean, spread, sigma, threshold, strength of water or sigma of mud, 1 if mud)."""
    mean, spread, sigma, threshold, strength, muddy = parameters
    liquid = smooth(standard_normals(rngs, images.shape[1:3]) * spread + mean, sigma)
    unit = images.astype(np.float32) / 255.0
    if muddy:
        cover = mud((liquid > threshold).astype(np.float32), strength)[..., None]
        return to_bytes_scale(unit * (1 - cover) + MUD.astype(np.float32) * cover)
    drops = np.where(liquid < threshold, 0, liquid)
    return to_bytes_scale(unit + water(drops, strength)[..., None] * WATER.astype(np.float32))


def mud(splashes: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Soften the splashes [N, H, W] and keep their thick parts."""
    soft = ndimage.gaussian_filter(splashes, (0, sigma, sigma), mode="nearest")
    return np.where(soft < 0.8, np.float32(0), soft)


def water(drops: Floats, strength: float) -> npt.NDArray[np.float32]:
    """Return the sheen [N, H, W] of drops, at most `strength`; no drops, no sheen.

    Without a drop the original divides 0 by 0 and writes a black image; here the image stays as it is.
    """
    # Above 1 the original's cast to bytes wraps on the usual processors; two casts do so on every one.
    levels = (drops * 255).astype(np.int32).astype(np.uint8)
    sheen: npt.NDArray[np.float32] = np.stack([level * _relief(level) for level in levels])
    peak = sheen.max(axis=(1, 2), keepdims=True)
    peak[peak == 0] = 1
    sheen /= peak
    sheen *= np.float32(strength)
    return sheen


def _relief(level: Pixels) -> npt.NDArray[np.float32]:
    """Emboss the distance to the drops' rims: light from one corner."""
    distance = cv2.distanceTransform(255 - cv2.Canny(level, 50, 150), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    slope = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
    embossed = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, slope)
    relief: npt.NDArray[np.float32] = cv2.blur(embossed, (3, 3)).astype(np.float32)
    return relief
