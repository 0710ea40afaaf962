"""The short films of ImageNet-P: hendrycks/robustness, ImageNet-P/create_p/make_imagenet_p.py and its siblings.

Each perturbation films one picture, uint8 [3, H, W], as uint8 [T, 3, crop, crop]; the frames are its batch. Zoom
blur, translate, rotate, tilt, scale and shear move the whole picture behind the frame, so that its borders come into
view as they do in the originals; the others see the middle crop alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from nsbench.corruptions.blur import directional_blur
from nsbench.corruptions.colour import shades_of, to_hsv
from nsbench.corruptions.levels import GUARD, WARP_GUARD, cut, cut_unit, divided, unit
from nsbench.corruptions.noise import sampled
from nsbench.corruptions.randomness import Draws
from nsbench.corruptions.resampling import pixel_grid, sampled_at, smoothed, smoothed_field
from nsbench.corruptions.weather import WATER, coloured, snowed, snowflakes, water, whitened


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
_MIDDLE = 15
"""The frame of rotate, tilt, shear and brightness with no change."""


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
    film = _turned(shot, [{"scale": 1 + 0.004 * frame} for frame in range(NUM_FRAMES)])
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
    return _turned(shot, [{"degrees": frame - _MIDDLE} for frame in range(NUM_FRAMES)])


def scale(shot: Shot) -> Tensor:
    """Scale from 0.4 to 1.15 (from 0.7 to 1.3 at 32 px)."""
    first, step = shot.constants.scale
    return _turned(shot, [{"scale": (frame * step + first) / 100.0} for frame in range(NUM_FRAMES)])


def shear(shot: Shot) -> Tensor:
    """Shear by -15 to 15 degrees."""
    return _turned(shot, [{"shear": frame - _MIDDLE} for frame in range(NUM_FRAMES)])


def tilt(shot: Shot) -> Tensor:
    """Turn about both axes of the image plane, seen in perspective."""
    height, width = shot.picture.shape[-2:]
    angles = [math.radians(shot.constants.tilt * (frame - _MIDDLE)) for frame in range(NUM_FRAMES)]
    inverses = np.stack([np.linalg.inv(tilt_matrix(height, width, angle)) for angle in angles])
    matrices = torch.from_numpy(inverses).to(shot.picture.device)[..., None, None]  # [T, 3, 3, 1, 1]
    x, y = _frame_grid(shot)
    picture = shot.picture[None].float()

    def tilted(frames: slice) -> Tensor:
        matrix = matrices[frames]
        far = matrix[:, 2, 0] * x + matrix[:, 2, 1] * y + matrix[:, 2, 2]
        across = (matrix[:, 0, 0] * x + matrix[:, 0, 1] * y + matrix[:, 0, 2]) / far
        down = (matrix[:, 1, 0] * x + matrix[:, 1, 1] * y + matrix[:, 1, 2]) / far
        return cut(sampled_at(picture, across.float(), down.float(), "black").add_(0.5), GUARD)  # OpenCV rounds

    return shot.film(tilted)


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


def _turned(shot: Shot, moves: list[dict[str, float]]) -> Tensor:
    """The crop of the picture turned, scaled or sheared about its middle, bilinearly, black outside; one move a frame.

    Semantics of Pillow's AFFINE transform: the outermost half pixels are not blended with the black.
    """
    height, width = shot.picture.shape[-2:]
    numbers = [inverse_affine(height, width, **move) for move in moves]
    turn = _turned_on_cpu if shot.picture.device.type == "cpu" else _turned_anywhere
    return turn(shot, torch.tensor(numbers, dtype=torch.float64))


def _turned_anywhere(shot: Shot, matrices: Tensor) -> Tensor:
    """Frames of the affine maps from output to input, float64 [T, 6], in steps that round alike on every device."""
    height, width = shot.picture.shape[-2:]
    x, y = (grid + 0.5 for grid in _frame_grid(shot))
    matrices = matrices.to(shot.picture.device)[..., None, None]
    picture = shot.picture[None].float()

    def turned(frames: slice) -> Tensor:
        matrix = matrices[frames]
        across = (matrix[:, 0] * x + matrix[:, 1] * y + matrix[:, 2]).float()
        down = (matrix[:, 3] * x + matrix[:, 4] * y + matrix[:, 5]).float()
        outside = ((across < 0) | (across >= width) | (down < 0) | (down >= height))[:, None]
        seen = sampled_at(picture, across - 0.5, down - 0.5, "nearest")
        return cut(seen.masked_fill_(outside, 0), WARP_GUARD)

    return shot.film(turned)


def _turned_on_cpu(shot: Shot, matrices: Tensor) -> Tensor:
    """`_turned_anywhere` by grid_sample, in a third of the time.

    It knows places to 1e-5 px: after the cut it agrees on 99.99 % of a photograph's values.
    """
    sides = torch.tensor(shot.picture.shape[:0:-1], dtype=torch.float64)  # width, height
    corner = torch.tensor(shot.corner[::-1], dtype=torch.float64)  # left, top
    linear, offset = matrices.view(-1, 2, 3)[..., :2], matrices.view(-1, 2, 3)[..., 2]
    offset = offset + linear @ (corner + shot.crop / 2)  # what the middle of the frame shows
    # from -1..1 over the frame to -1..1 over the picture, borders included
    scaled = torch.cat([linear * shot.crop, 2 * offset[..., None]], dim=2) / sides[:, None]
    scaled[..., 2] -= 1
    picture = shot.picture[None].float()

    def turned(frames: slice) -> Tensor:
        maps = scaled[frames].float()
        grid = F.affine_grid(maps, [len(maps), 3, shot.crop, shot.crop], align_corners=False)
        seen = F.grid_sample(picture.expand(len(maps), -1, -1, -1), grid, "bilinear", "border", align_corners=False)
        outside = ((grid < -1) | (grid >= 1)).any(dim=-1)[:, None]
        return cut(seen.masked_fill_(outside, 0), WARP_GUARD)

    return shot.film(turned)


def _frame_grid(shot: Shot) -> tuple[Tensor, Tensor]:
    """x and y in the picture of every pixel of the frame, float64 [crop, crop]."""
    top, left = shot.corner
    x, y = pixel_grid(shot.crop, shot.crop, shot.picture.device)
    return x.double() + left, y.double() + top


def inverse_affine(
    height: int, width: int, *, degrees: float = 0.0, scale: float = 1.0, shear: float = 0.0
) -> tuple[float, ...]:
    """Pillow's six numbers (output to input), as torchvision 0.2 made them when the sets were made.

    Two habits of that version differ from today's: the middle is half a pixel further right and down, and a shear
    keeps the length of the columns.
    """
    angle, lean = math.radians(degrees), math.radians(shear)
    middle_x, middle_y = width * 0.5 + 0.5, height * 0.5 + 0.5
    unscale = 1.0 / scale / math.cos(lean)
    xx, xy = unscale * math.cos(angle + lean), unscale * math.sin(angle + lean)
    yx, yy = unscale * -math.sin(angle), unscale * math.cos(angle)
    x = xx * -middle_x + xy * -middle_y + middle_x
    y = yx * -middle_x + yy * -middle_y + middle_y
    return xx, xy, x, yx, yy, y


def tilt_matrix(height: int, width: int, angle: float) -> npt.NDArray[np.float64]:
    """The homography of a turn by `angle` about both axes, the eye a diagonal away.

    The plane lies at depth 1, not 0, in the original; so even the middle frame is a little smaller.
    """
    focus = math.hypot(width, height)
    cos, sin = math.cos(angle), math.sin(angle)
    to_space = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    away = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, focus], [0, 0, 0, 1]])
    to_plane = np.array([[focus, 0, width / 2, 0], [0, focus, height / 2, 0], [0, 0, 1, 0]])
    homography: npt.NDArray[np.float64] = to_plane @ away @ about_x @ about_y @ to_space
    return homography
