"""One picture before the camera: what differs between the sizes of the films, and how frames are put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nsbench.corruptions.randomness import Draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmConstants:
    """What differs between the sizes of the films."""

    noise: Mapping[str, tuple[float, float, float]]
    """Strength of each noise by difficulty: sigma, photons, sigma."""
    motion: tuple[float, float, float, int]
    """Radius, sigma, degrees a frame, frames."""
    snow: tuple[float, float, float]
    """Zoom, radius, sigma."""
    brightness: float
    """Change of the value a frame, in per cent."""
    translate: tuple[int, int]
    """First shift in px, frames."""
    tilt: float
    """Degrees a frame."""
    scale: tuple[float, float]
    """First scale and step, in per cent."""
    blur: tuple[float, float, float]
    """First sigma, step, and where the kernel is cut, in sigma."""
    spatter: tuple[float, float, float, float]
    """Mean, spread, sigma and threshold of the drops."""
    runs: Mapping[int, float]
    """What part of the water a frame later stands how many pixels further down."""


CONSTANTS = {
    32: FilmConstants(
        noise={"gaussian": (0.02, 0.04, 0.06), "shot": (700, 400, 200), "speckle": (0.05, 0.07, 0.1)},
        motion=(6, 1.8, 9, 21),
        snow=(2, 10, 2),
        brightness=1.5,
        translate=(-7, 16),
        tilt=0.75,
        scale=(70, 2),
        blur=(0.3, 0.015, 7.0),
        spatter=(0.6, 0.265, 1.75, 0.7),
        runs={0: 0.2, 1: 0.8},
    ),
    224: FilmConstants(
        noise={"gaussian": (0.03, 0.05, 0.08), "shot": (300, 120, 60), "speckle": (0.05, 0.10, 0.15)},
        motion=(10, 3, 4, 31),
        snow=(3, 14, 4),
        brightness=2,
        translate=(-20, 41),
        tilt=1,
        scale=(40, 2.5),
        blur=(0.25, 0.035, 6.0),
        spatter=(0.65, 0.27, 3.7, 0.69),
        runs={-1: 0.05, 0: 0.1, 1: 0.15, 2: 0.7},
    ),
}
"""make_cifar_p.py and make_imagenet_p.py."""

NUM_FRAMES = 31


def constants_for(crop: int) -> FilmConstants:
    """The constants of the nearer of the two sizes; those of others than 32 and 224 px are nobody's benchmark."""
    return CONSTANTS[min(CONSTANTS, key=lambda size: abs(math.log(crop / size)))]


def num_frames(name: str, crop: int) -> int:
    """How many frames a film has: 31, but 41 or 16 for translate, and 21 for motion blur at 32 px."""
    constants = constants_for(crop)
    return {"translate": constants.translate[1], "motion_blur": constants.motion[3]}.get(name, NUM_FRAMES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture before the camera."""

    picture: Tensor
    """uint8 [3, H, W]."""
    crop: int
    draws: Draws
    """Of one seed."""
    difficulty: int

    @property
    def constants(self) -> FilmConstants:
        return constants_for(self.crop)

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left of the middle crop, rounded as by torchvision's CenterCrop."""
        top, left = (round((side - self.crop) / 2) for side in self.picture.shape[-2:])
        return top, left

    @property
    def middle(self) -> Tensor:
        """The middle crop, uint8 [1, 3, crop, crop]."""
        top, left = self.corner
        return self.picture[None, :, top : top + self.crop, left : left + self.crop].contiguous()

    def steps(self, count: int = NUM_FRAMES) -> Tensor:
        """0, 1, ..., float64 [count] on the picture's device."""
        return torch.arange(count, dtype=torch.float64, device=self.picture.device)

    def film(self, show: Callable[[slice], Tensor], count: int = NUM_FRAMES) -> Tensor:
        """uint8 [count, 3, crop, crop]; `show` gives some frames at a time, on a CPU few enough for its cache."""
        at_once = max(1, 2**17 // self.crop**2) if self.picture.device.type == "cpu" else count
        frames = self.picture.new_empty(count, 3, self.crop, self.crop)
        for start in range(0, count, at_once):
            frames[start : start + at_once] = show(slice(start, min(start + at_once, count)))
        return frames
