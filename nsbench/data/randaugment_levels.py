"""What a magnitude of RandAugment means for each operation, on the official 0-10 scale (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

from nsbench.trainingconfig import NoiseConfig


def level_arguments(op: str, magnitude: float, noise: NoiseConfig) -> tuple[float, ...]:
    """What an operation may be given at a magnitude, each equally likely; empty for those that have no level.

    Official `level_to_arg`, l = magnitude / 10: degrees of Rotate, +-30 l; bits that Posterize keeps, int(4 l);
    threshold of Solarize, int(256 l); what SolarizeAdd adds, int(110 l); factor of Color, Contrast, Brightness and
    Sharpness, 1.8 l + 0.1; slope of ShearX and ShearY, +-0.3 l; pixels of TranslateX and TranslateY, +-l times
    `translate_px`; half side of Cutout, int(`cutout_px` l).

    In the variant `monotone` Solarize has timm's 256 - int(256 l), at least 0, and the four enhancements timm's
    1 +- 0.9 l, at least 0.1. Posterize keeps 8 - int(4 l) bits, at least 1: timm's 4 - int(4 l) is no identity at 0,
    and black from 10 on. The other operations are monotone as they are.

    Args:
        magnitude: 0 or more; 10 is the official `_MAX_LEVEL`, above it the scale is extrapolated.
        noise: `variant`, `translate_px` and `cutout_px`.
    """
    level = magnitude / 10
    if noise.variant == "monotone" and op in _MONOTONE:
        return _MONOTONE[op](level)
    return _OFFICIAL[op](level, noise)


_ENHANCEMENTS = ("Color", "Contrast", "Brightness", "Sharpness")

_OFFICIAL: dict[str, Callable[[float, NoiseConfig], tuple[float, ...]]] = {
    **dict.fromkeys(("AutoContrast", "Equalize", "Invert"), lambda *_: ()),
    **dict.fromkeys(_ENHANCEMENTS, lambda level, _: (level * 1.8 + 0.1,)),
    **dict.fromkeys(("ShearX", "ShearY"), lambda level, _: (level * 0.3, -level * 0.3)),
    **dict.fromkeys(("TranslateX", "TranslateY"), lambda level, noise: _either_sign(level * noise.translate_px)),
    "Rotate": lambda level, _: _either_sign(level * 30),
    "Posterize": lambda level, _: (int(level * 4),),
    "Solarize": lambda level, _: (int(level * 256),),
    "SolarizeAdd": lambda level, _: (int(level * 110),),
    "Cutout": lambda level, noise: (int(level * noise.cutout_px),),
}

_MONOTONE: dict[str, Callable[[float], tuple[float, ...]]] = {
    **dict.fromkeys(_ENHANCEMENTS, lambda level: (1 + level * 0.9, max(0.1, 1 - level * 0.9))),
    "Posterize": lambda level: (max(1, 8 - int(level * 4)),),
    "Solarize": lambda level: (max(0, 256 - int(level * 256)),),
}


def _either_sign(value: float) -> tuple[float, float]:
    return value, -value
