"""What every eval file fills in: its cells, how a model answers one (torch), and what the answers measure (NumPy)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet, PictureSet
from nsbench.data.streamed import StreamedSet
from nsbench.distributed import Ranks
from nsbench.files import derive_seed
from nsbench.results import Row
from nsbench.track import Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Arrays = Mapping[str, npt.NDArray[Any]]
"""Predictions of one cell by name; what `records` writes and `measure` reads."""

Records = Mapping[str, Mapping[str, Arrays]]
"""Model to cell to arrays. Models are the generations of a run (`0`, `1`, ..., `control`, in this order), or any
models side by side, by their names. One may be missing."""

Sets = Mapping[str, Any]
"""What there is to be shown, by name; `nsbench.evals.sets` has the list."""

Images = ImageSet | StreamedSet
AnySet = ImageSet | StreamedSet | PictureSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalContext:
    """Everything that one cell's predictions depend on."""

    model: torch.nn.Module
    """Takes float [N, 3, H, W] in [0, 1], gives logits [N, C]."""
    device: torch.device | str
    config: EvalConfig
    sets: Sets
    cache: Path
    """Folder of corrupted images, shared by all generations and runs."""
    input_px: int | None = None
    """Side of the model's input for images of a size of their own (C, P); None where it takes them as they are."""
    ranks: Ranks = dataclasses.field(default_factory=Ranks)
    """Who else works on the same cells."""
    progress: Progress = dataclasses.field(default_factory=lambda: Progress("none"), repr=False)
    """Told of every image that was answered."""
    _held: dict[str, ImageSet] = dataclasses.field(default_factory=dict, repr=False)
    _resident: dict[str, Tensor] = dataclasses.field(default_factory=dict, repr=False)

    def held(self, key: str, make: Callable[[], ImageSet]) -> ImageSet:
        """`make()`, once for this context; rank 0 writes what the others read."""
        from nsbench.inference import enough_memory

        def made(*, here: bool) -> dict[int, None]:
            if here:
                with enough_memory("to make or hold a set of images; measure fewer with --limit"):
                    self._held[key] = make()
            return {}

        if key not in self._held:  # on all ranks alike, and a failure of one fails all
            self.ranks.joined(lambda: made(here=self.ranks.is_main))
            self.ranks.joined(lambda: made(here=not self.ranks.is_main))
        return self._held[key]

    def resident(self, images: ImageSet) -> npt.NDArray[np.uint8] | Tensor:
        """The pixels of a set, uint8 [N, H, W, 3], moved to the device once where half of its free memory holds them.

        50,000 images of 224 px are 7.5 GB.
        """
        import torch

        device = torch.device(self.device)
        if device.type != "cuda":
            return images.pixels
        if images.fingerprint not in self._resident:
            free, _ = torch.cuda.mem_get_info(device)
            if images.pixels.nbytes > free // 2:
                return images.pixels
            self._resident[images.fingerprint] = torch.from_numpy(images.pixels).to(device)
        return self._resident[images.fingerprint]

    def release(self) -> None:
        """Give back what lies on the device and is not in use."""
        import torch

        self._resident.clear()
        if torch.device(self.device).type == "cuda":
            torch.cuda.empty_cache()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval:
    """One evaluation: a file in this package, a line in `EVALS`, a test."""

    name: str
    """The word in the `eval` column."""
    title: str
    cells: Callable[[EvalConfig, Sets], tuple[str, ...]]
    """The units of work; each name is safe as a file name. None where the sets do not hold what is needed."""
    shown: Callable[[Sets, str], str]
    """Fingerprint of what one cell shows, whatever the model: part of its record's fingerprint."""
    predict: Callable[[EvalContext, str], dict[str, npt.NDArray[Any]]]
    """Arrays of one cell. The only part that needs torch, and imports it itself."""
    measure: Callable[[Records, EvalConfig], list[Row]]
    """Rows of all models. `run`, `seed` and `model` stay empty; `protocol` says only what is the row's own."""
    protocol: Callable[[EvalConfig, Sets], str]
    """Data, provenance and arithmetic behind every row, as text for people."""

    def rows(self, records: Records, config: EvalConfig, protocols: Mapping[str, str]) -> list[Row]:
        """`measure` with the protocol of each row's model put in front of the row's own part."""
        return [
            dataclasses.replace(row, protocol="; ".join(filter(None, (protocols[row.generation], row.protocol))))
            for row in self.measure(records, config)
        ]


def describe(images: Images) -> str:
    """`MNIST-5k val, 500 images, 32 px, no resize`."""
    return f"{images.name}, {len(images)} images, {images.size} px, {images.preprocessing}"


def arithmetic(config: EvalConfig, *, full_precision: bool = False) -> str:
    """`fp32; batch 128`: what moves the last bits of logits."""
    number = "fp32" if config.amp == "off" or full_precision else f"{config.amp} autocast"
    layout = "" if config.channels_last else "; channels first"
    compiled = "; compiled" if config.compile else ""
    return f"{number}; batch {config.batch_size}{layout}{compiled}"


def image_seeds(ids: npt.NDArray[np.str_], data_seed: int, *purpose: str) -> npt.NDArray[np.int64]:
    """One seed [N] for each image id, from the data seed and nothing else of the run."""
    return np.array([derive_seed(data_seed, str(key), *purpose) for key in ids], dtype=np.int64)
