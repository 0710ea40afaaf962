"""What a model's images must look like, and what the user puts in its place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, get_args

from nsbench.configfile import suggest
from nsbench.data.pictures import Interpolation, View
from nsbench.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overrides:
    """Arguments of `load_pretrained` and `wrap`; None leaves what the model comes with."""

    size: int | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    num_classes: int | None = None
    architecture: str | None = None

    def __post_init__(self) -> None:
        _require(self.size is None or _is_count(self.size), f"size is {self.size!r}; it must be a number of pixels")
        _require(
            self.crop_pct is None or (_is_number(self.crop_pct) and 0 < self.crop_pct <= 1),
            f"crop_pct is {self.crop_pct!r}; it must be above 0 and at most 1",
        )
        known = get_args(Interpolation)
        _require(
            self.interpolation is None or self.interpolation in known,
            f"interpolation is {self.interpolation!r}{suggest(str(self.interpolation), known)}",
        )
        _require(self.mean is None or _are_channels(self.mean), f"mean is {self.mean!r}; it must be three numbers")
        _require(
            self.std is None or (_are_channels(self.std) and min(self.std) > 0),
            f"std is {self.std!r}; it must be three numbers above 0",
        )
        _require(
            self.num_classes is None or (_is_count(self.num_classes) and self.num_classes > 1),
            f"num_classes is {self.num_classes!r}; it must be 2 or more",
        )

    def refuse_architecture(self, name: str) -> None:
        """For models that say themselves what they are.

        Raises:
            ConfigError: an architecture was given.
        """
        if self.architecture is not None:
            raise ConfigError(
                f"{name} needs no architecture; to name that of a checkpoint alone, write "
                f"{self.architecture}=path/to/weights"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a stored photograph to what the network is given."""

    view: View
    input_px: int
    """Side that images of a size of their own (ImageNet-C and -P) are resized to."""
    mean: tuple[float, ...] | None = None
    """Subtracted from [0, 1] pixels, one a channel; None: the network takes the pixels themselves."""
    std: tuple[float, ...] | None = None
    """Divided by, afterwards."""

    def overridden(self, overrides: Overrides) -> Preprocessing:
        """With the user's choices in place. A size alone keeps the share of the image that is cropped, and is the
        size for ImageNet-C and -P as well."""
        view, size = self.view, overrides.size or self.view.size
        resize = view.resize if view.resize is None else size * view.resize // view.size
        if overrides.crop_pct is not None:
            resize = math.floor(size / overrides.crop_pct)
        filter_name: Any = overrides.interpolation or view.interpolation
        mean, std = self.mean, self.std
        if overrides.mean is not None or overrides.std is not None:
            mean = tuple(overrides.mean or mean or (0.0,) * 3)
            std = tuple(overrides.std or std or (1.0,) * 3)
        return Preprocessing(
            view=dataclasses.replace(view, size=size, resize=resize, interpolation=filter_name),
            input_px=overrides.size or self.input_px,
            mean=mean,
            std=std,
        )


def from_timm(name: str, config: dict[str, Any], overrides: Overrides) -> Preprocessing:
    """Preprocessing of timm's `pretrained_cfg`: its test-time size and crop where it has them.

    `input_px` is the training size, `input_size`, as the Noisy Student paper has it for ImageNet-C and -P.

    Raises:
        ConfigError: a way of showing images that nsbench does not have.
        DataError: the configuration is damaged.
    """
    from timm.data.config import resolve_data_config

    try:
        data = resolve_data_config(pretrained_cfg=config, use_test_size=True)  # type: ignore[no-untyped-call]
        channels, size, width = map(int, data["input_size"])
        input_px = int(resolve_data_config(pretrained_cfg=config)["input_size"][1])  # type: ignore[no-untyped-call]
        crop_pct = overrides.crop_pct or float(data["crop_pct"])
        mean, std = (tuple(float(value) for value in data[key]) for key in ("mean", "std"))
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise DataError(f"{name} has a damaged data configuration ({error})") from None
    if not (min(size, input_px) > 0 and 0 < crop_pct < math.inf and _are_channels(mean) and _are_channels(std)):
        raise DataError(f"{name} has a damaged data configuration (sizes, crop_pct, mean or std out of range)")
    if min(std) <= 0:
        raise DataError(f"{name} has a damaged data configuration (std {std})")
    if channels != 3 or size != width:
        raise ConfigError(
            f"{name} takes {channels} x {size} x {width} images; only squares of three channels are shown"
        )
    mode: str = data["crop_mode"]
    interpolation: Any = overrides.interpolation or data["interpolation"]
    if mode not in ("center", "squash"):
        raise ConfigError(f"{name} is shown whole inside a frame (timm's crop mode {mode!r}), which nsbench cannot do")
    if crop_pct > 1:
        raise ConfigError(f"{name} is shown inside a black frame (crop_pct {crop_pct:g}); give a crop_pct of at most 1")
    if interpolation not in get_args(Interpolation):
        raise ConfigError(f"{name} is resized by {interpolation!r}; give an interpolation")
    view = View.of_crop(size, crop_pct, interpolation, squash=mode == "squash")
    return Preprocessing(view=view, input_px=input_px, mean=mean, std=std)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_channels(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))
