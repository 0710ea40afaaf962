"""The short films of ImageNet-P: hendrycks/robustness, ImageNet-P/create_p/make_imagenet_p.py and its siblings.

Each perturbation films one picture, uint8 [3, H, W], as uint8 [T, 3, crop, crop]; the frames are its batch. Zoom
blur, translate, rotate, tilt, scale and shear move the whole picture behind the frame, so that its borders come into
view as they do in the originals; the others see the middle crop alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nsbench.corruptions.blur import directional_blur
from nsbench.corruptions.colour import shades_of, to_hsv
from nsbench.corruptions.filming import NUM_FRAMES, Shot
from nsbench.corruptions.levels import GUARD, cut, cut_unit, divided, unit
from nsbench.corruptions.noise import sampled
from nsbench.corruptions.resampling import smoothed, smoothed_field
from nsbench.corruptions.warps import tilted, turned
from nsbench.corruptions.weather import WATER, coloured, snowed, snowflakes, water, whitened

_MIDDLE = 15
"""The frame of rotate, tilt, shear and brightness with no change."""

Film = Callable[[Shot], Tensor]


def gaussian_noise(shot: Shot) -> Tensor:
    """The clean image, then thirty draws of N(0, sigma^2) on it."""
    return _noisy(shot, "gaussian")


def shot_noise(shot: Shot) -> Tensor:
    """The clean image, then thirty Poisson draws of it."""
    return _noisy(shot, "shot")


def speckle_noise(shot: Shot) -> Tensor:
    """The clean image, then thirty draws of noise proportional to it."""
    return _noisy(shot, "speckle")


def _noisy(shot: Shot, kind: str) -> Tensor:
    clean = shot.middle
    strength = float(shot.constants.noise[kind][shot.difficulty - 1])
    return torch.cat([clean, *(sampled(clean, (kind, strength), shot.draws) for _ in range(NUM_FRAMES - 1))])


def motion_blur(shot: Shot) -> Tensor:
    """Motion blur that turns a little each frame, the last one horizontal."""
    radius, sigma, turn, count = shot.constants.motion
    clear, degrees = shot.middle, (shot.steps(count) - (count - 1)) * turn
    return shot.film(lambda frames: directional_blur(clear, radius, sigma, degrees[frames]), count)


def zoom_blur(shot: Shot) -> Tensor:
    """The running mean of the image enlarged by 0, 0.4, 0.8, ... per cent."""
    film = turned(shot, [{"scale": 1 + 0.004 * frame} for frame in range(NUM_FRAMES)])
    film[0] = shot.middle[0]
    total = unit(film[0])
    for frame in range(1, NUM_FRAMES):
        mean = divided(total.add_(unit(film[frame])).clone(), frame + 1)
        film[frame] = cut(mean.mul_(255), GUARD)
    return film


def snow(shot: Shot) -> Tensor:
    """The same flakes, falling in a direction that turns by 4 degrees a frame."""
    zoom, radius, sigma = shot.constants.snow
    white = whitened(unit(shot.middle), 0.85)
    field = shot.draws.normal(1, shot.crop, shot.crop).mul_(0.3).add_(0.05)
    flakes, degrees = snowflakes(field, zoom, 0.5), shot.steps() * 4 - 150
    return shot.film(lambda frames: snowed(white, directional_blur(flakes, radius, sigma, degrees[frames])))


def brightness(shot: Shot) -> Tensor:
    """The value of HSV from 15 steps below to 15 steps above the image's own."""
    hue, saturation, value = to_hsv(shot.middle)
    shades = shades_of(hue, saturation)
    amount = ((shot.steps() - _MIDDLE) * shot.constants.brightness / 100.0).view(-1, 1, 1)
    return shot.film(lambda frames: cut_unit(shades * (value + amount[frames]).clamp_(0, 1)[:, None]))


def translate(shot: Shot) -> Tensor:
    """Shift by whole pixels to the right, black coming in behind the picture's border."""
    first, count = shot.constants.translate
    top, left = shot.corner
    margin = max(-first, first + count - 1)
    wide = F.pad(shot.picture, (margin, margin))[:, top : top + shot.crop]
    starts = [margin + left - shift for shift in range(first, first + count)]
    return torch.stack([wide[:, :, start : start + shot.crop] for start in starts])


def rotate(shot: Shot) -> Tensor:
    """Turn by -15 to 15 degrees."""
    return turned(shot, [{"degrees": frame - _MIDDLE} for frame in range(NUM_FRAMES)])


def scale(shot: Shot) -> Tensor:
    """Scale from 0.4 to 1.15 (from 0.7 to 1.3 at 32 px)."""
    first, step = shot.constants.scale
    return turned(shot, [{"scale": (frame * step + first) / 100.0} for frame in range(NUM_FRAMES)])


def shear(shot: Shot) -> Tensor:
    """Shear by -15 to 15 degrees."""
    return turned(shot, [{"shear": frame - _MIDDLE} for frame in range(NUM_FRAMES)])


def tilt(shot: Shot) -> Tensor:
    """Turn about both axes of the image plane, seen in perspective."""
    return tilted(shot, [shot.constants.tilt * (frame - _MIDDLE) for frame in range(NUM_FRAMES)])


def gaussian_blur(shot: Shot) -> Tensor:
    """A little more Gaussian blur each frame."""
    first, step, truncate = shot.constants.blur
    clear = unit(shot.middle, torch.float64)
    frames = [cut_unit(smoothed(clear, first + step * frame, truncate).clone()) for frame in range(NUM_FRAMES)]
    return torch.cat(frames)


def spatter(shot: Shot) -> Tensor:
    """Water that runs down the picture, a part of it staying behind at each frame."""
    mean, spread, sigma, threshold = shot.constants.spatter
    clear = shot.middle
    field = smoothed_field(shot.draws.normal(1, *clear.shape[-2:]).mul_(spread).add_(mean), sigma, "nearest")
    drops = [field.masked_fill(field < threshold, 0)]
    for _ in range(NUM_FRAMES - 1):
        drops.append(_run_down(drops[-1], shot.constants.runs))
    return cut_unit(unit(clear) + water(torch.cat(drops), 0.6) * coloured(WATER, field), GUARD)


def _run_down(drops: Tensor, runs: Mapping[int, float]) -> Tensor:
    """Move parts of the water [1, 1, H, W] down, or up where negative; what leaves the picture is gone."""
    height = drops.shape[-2]
    moved = torch.zeros_like(drops)
    for down, part in runs.items():
        moved[..., max(down, 0) : height + min(down, 0), :] += (
            drops[..., max(-down, 0) : height - max(down, 0), :] * part
        )
    return moved


FILMS: dict[str, Film] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "brightness": brightness,
    "translate": translate,
    "rotate": rotate,
    "tilt": tilt,
    "scale": scale,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "shear": shear,
}
DIFFICULTIES = {"gaussian_noise": 3, "shot_noise": 3, "speckle_noise": 3}
"""Every other perturbation has one."""
