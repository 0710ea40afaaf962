"""The frozen configuration of `nsbench eval`: which models, on which images, seen how."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from nsbench.config import EvalConfig
from nsbench.errors import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuitesConfig:
    """Where test images lie. A suite that is not named is looked for in `dir`, by the names it is published under.

    Each may be a folder in any of the layouts that the suite is published in, or a Parquet file or folder.
    """

    dir: str = ""
    """Folder of all suites (`--data-dir`), or of the classes of one set of images."""
    val: str = ""
    """Clean test images: ImageNet's validation images, or any set with classes of its own."""
    imagenet_a: str = ""
    imagenet_r: str = ""
    imagenet_v2: str = ""
    imagenet_sketch: str = ""
    imagenet_o: str = ""
    objectnet: str = ""
    imagenet_c: str = ""
    imagenet_c_bar: str = ""
    imagenet_p: str = ""
    cache_dir: str = ""
    """Where decoded images are kept; empty: `.cache` beside the run folder."""

    def overrides(self) -> dict[str, str]:
        """The suites that are named alone."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: path for name, path in fields.items() if path and name not in ("dir", "cache_dir")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """What replaces a model's own preprocessing; nothing by default."""

    size: int = 0
    """Side of the model's input in pixels; 0: the model's own."""
    crop_pct: float = 0.0
    """Share of the resized image that is cropped; 0: the model's own."""
    interpolation: Literal["", "nearest", "bilinear", "bicubic", "lanczos"] = ""
    mean: tuple[float, ...] = ()
    """Three means of [0, 1] pixels."""
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(self.size >= 0, f"view.size is {self.size}; it must be 0 or more")
        require(0 <= self.crop_pct <= 1, f"view.crop_pct is {self.crop_pct}; it must be in 0..1")
        for name in ("mean", "std"):
            require(len(getattr(self, name)) in (0, 3), f"view.{name} must have three values, one a channel")
        require(all(std > 0 for std in self.std), "view.std must be above 0")

    def overrides(self) -> dict[str, Any]:
        """What was given."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in given.items() if value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What `nsbench eval` does: any models, side by side, on any suites."""

    models: tuple[str, ...] = ()
    """Names that `nsbench.pretrained.load_pretrained` knows; the first is what the others are compared with."""
    device: str = "auto"
    """torch device; `auto`: CUDA where there is one."""
    threads: int = 1
    """Threads of torch on the CPU; part of the protocol, since it moves the last bits."""
    workers: int = 0
    """Threads that decode images; 0: one a core. Does not change a number."""
    baseline: str = ""
    """Run folder of AlexNet on the same clips, for mT5D: its top-5 distances were never published."""
    data: SuitesConfig = SuitesConfig()
    view: ViewConfig = ViewConfig()
    eval: EvalConfig = dataclasses.field(default_factory=lambda: EvalConfig(evals=("all",)))

    def __post_init__(self) -> None:
        require(len(self.models) > 0, "no model is named; give at least one, such as resnet50.tv_in1k")
        require(len(set(self.models)) == len(self.models), "a model is named twice")
        require(self.threads > 0, f"threads is {self.threads}; it must be 1 or more")
        require(self.workers >= 0, f"workers is {self.workers}; it must be 0 or more")
