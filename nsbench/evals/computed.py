"""What a computed cell of ImageNet-C or -P shows: where its pixels come from, and the pixels.

The images are corrupted on the model's device, batch by batch, on the way to the model; only small sets, which the
generations of a run share, go through files.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.images import ImageSet, PictureSet
from nsbench.evals.base import EvalContext, image_seeds
from nsbench.evals.cache import cached_array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nsbench.inference import Prepare

Provenance = Literal["released-jpeg", "released-h264", "device-jpeg85", "device-memory", "imagecorruptions"]
"""Where corrupted pixels come from; numbers of different provenance never share a column or a difference."""

JPEG_QUALITY = 85
"""ImageNet-C was saved with it."""

CACHED_BYTES = 2**22
"""Sets up to this size are kept on disk once corrupted: 75 cells of them are 300 MB at most."""


def provenance(images: ImageSet, config: EvalConfig) -> Provenance:
    """Where the corrupted pixels of `images` come from."""
    if config.corruption_source != "auto":
        return config.corruption_source
    return "device-memory" if images.pixels.shape[1] <= 32 else "device-jpeg85"


def constants_label(images: ImageSet, config: EvalConfig) -> str:
    """The constants in words: `constants for 224 px`, or `device-native-size: ... unofficial`."""
    from nsbench.corruptions import table_label

    if provenance(images, config) == "imagecorruptions":
        return f"imagecorruptions-imaug {version('imagecorruptions-imaug')}, its one table of constants"
    label = table_label(min(images.pixels.shape[1:3]))
    return f"device-native-size: {label}" if "unofficial" in label else label


def preparation(images: ImageSet, name: str, severity: int, config: EvalConfig) -> Prepare:
    """The corruption of one cell, for batches of `images` on their way to a model."""
    import torch

    from nsbench.corruptions import corrupt, jpeg_roundtrip

    seeds = torch.from_numpy(image_seeds(images.ids, config.data_seed))
    source = provenance(images, config)
    backend: Literal["native", "imagecorruptions"] = "imagecorruptions" if source == "imagecorruptions" else "native"

    def prepare(batch: Tensor, rows: slice) -> Tensor:
        shown = corrupt(batch, name, severity, seeds=seeds[rows], backend=backend)
        return jpeg_roundtrip(shown, JPEG_QUALITY) if source == "device-jpeg85" else shown

    return prepare


def corrupted(images: ImageSet, name: str, severity: int, config: EvalConfig) -> npt.NDArray[np.uint8]:
    """`images` uint8 [N, H, W, 3] under one corruption."""
    import torch

    batch = torch.from_numpy(images.pixels).permute(0, 3, 1, 2)
    shown = preparation(images, name, severity, config)(batch, slice(None))
    return shown.permute(0, 2, 3, 1).contiguous().numpy()


def cached_corrupted(context: EvalContext, images: ImageSet, name: str, severity: int) -> npt.NDArray[np.uint8]:
    """`corrupted`, from the cache or made now."""
    config, source = context.config, provenance(images, context.config)
    path = context.cache / images.fingerprint / f"{name}-{severity}-{source}-seed{config.data_seed}-{_version()}.npy"
    return cached_array(path, lambda: corrupted(images, name, severity, config))


def films(
    images: ImageSet | PictureSet,
    rows: Sequence[int],
    name: str,
    config: EvalConfig,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Videos uint8 [V, T, 3, crop, crop] of some of the images under one perturbation, made on `device`."""
    import torch

    from nsbench.corruptions import perturbation_sequence

    pictures = [torch.tensor(_picture(images, row)).to(device).permute(2, 0, 1) for row in rows]
    seeds = torch.from_numpy(image_seeds(images.ids[list(rows)], config.data_seed))
    return perturbation_sequence(pictures, name, crop=crop_of(images), seeds=seeds)


def cached_films(context: EvalContext, images: ImageSet, name: str) -> npt.NDArray[np.uint8]:
    """Videos uint8 [V, T, H, W, 3] of a small set, from the cache or made now."""
    config = context.config
    path = context.cache / images.fingerprint / f"{name}-video-seed{config.data_seed}-{_version()}.npy"

    def make() -> npt.NDArray[np.uint8]:
        return films(images, range(len(images)), name, config).permute(0, 1, 3, 4, 2).contiguous().numpy()

    return cached_array(path, make)


def crop_of(images: ImageSet | PictureSet) -> int:
    """Side of what is shown of the images."""
    return images.crop if isinstance(images, PictureSet) else images.pixels.shape[1]


def version_label() -> str:
    """The version of the pixels, for protocols: a change of a corruption's code makes other cells."""
    return f"pixels {_version()}"


def _version() -> str:
    from nsbench.corruptions import CORRUPTION_VERSION

    return f"v{CORRUPTION_VERSION}"


def _picture(images: ImageSet | PictureSet, row: int) -> npt.NDArray[np.uint8]:
    return images.decode(row) if isinstance(images, PictureSet) else images.pixels[row]
