"""What a computed cell of ImageNet-C or -P shows: where its pixels come from, and the pixels.

The images are corrupted on the model's device, batch by batch, on the way to the model; only small sets, which the
generations of a run share, go through files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.data.held import hold
from nsbench.data.images import ImageSet, PictureSet
from nsbench.evals.base import EvalContext, Images, image_seeds
from nsbench.evals.cache import cached_array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Provenance = Literal["released-jpeg", "released-h264", "device-jpeg85", "device-memory", "imagecorruptions"]
"""Where corrupted pixels come from; numbers of different provenance never share a column or a difference."""

JPEG_QUALITY = 85
"""ImageNet-C was saved with it."""

CACHED_BYTES = 2**22
"""Sets up to this size are kept on disk once corrupted: 75 cells of them are 300 MB at most."""


def provenance(images: Images, config: EvalConfig) -> Provenance:
    """Where the corrupted pixels of `images` come from."""
    if config.corruption_source != "auto":
        return config.corruption_source
    return "device-memory" if images.size <= 32 else "device-jpeg85"


def constants_label(images: Images, config: EvalConfig) -> str:
    """The constants in words: `constants for 224 px`, or `device-native-size: ... unofficial`."""
    from nsbench.corruptions import table_label

    if provenance(images, config) == "imagecorruptions":
        return f"imagecorruptions-imaug {version('imagecorruptions-imaug')}, its one table of constants"
    label = table_label(images.size)
    return f"device-native-size: {label}" if "unofficial" in label else label


def corruption(images: ImageSet, name: str, severity: int, config: EvalConfig) -> Callable[[Tensor, slice], Tensor]:
    """The corruption of one cell, for batches of `images` on their way to a model."""
    import torch

    from nsbench.corruptions import corrupt, jpeg_roundtrip

    seeds = torch.from_numpy(image_seeds(images.ids, config.data_seed))
    source = provenance(images, config)
    backend: Literal["native", "imagecorruptions"] = "imagecorruptions" if source == "imagecorruptions" else "native"

    def corrupted_batch(batch: Tensor, rows: slice) -> Tensor:
        shown = corrupt(batch, name, severity, seeds=seeds[rows], backend=backend)
        return jpeg_roundtrip(shown, JPEG_QUALITY) if source == "device-jpeg85" else shown

    return corrupted_batch


def corrupted(images: ImageSet, name: str, severity: int, config: EvalConfig) -> npt.NDArray[np.uint8]:
    """`images` uint8 [N, H, W, 3] under one corruption.

    Raises:
        OutOfMemory: they do not fit all at once.
    """
    import torch

    from nsbench.inference import enough_memory

    with enough_memory(f"to corrupt {len(images):,} images of {images.name} at once; measure fewer with --limit"):
        batch = torch.tensor(images.pixels).permute(0, 3, 1, 2)
        shown = corruption(images, name, severity, config)(batch, slice(None))
    return shown.permute(0, 2, 3, 1).contiguous().numpy()


def cached_corrupted(context: EvalContext, images: ImageSet, name: str, severity: int) -> npt.NDArray[np.uint8]:
    """`corrupted`, from the cache or made now."""
    config, source = context.config, provenance(images, context.config)
    path = context.cache / images.fingerprint / f"{name}-{severity}-{source}-seed{config.data_seed}-{_version()}.npy"
    return cached_array(path, lambda: corrupted(images, name, severity, config))


def held(context: EvalContext, images: Images) -> ImageSet:
    """The pixels of a set, decoded once for all corruptions; a set in memory as it is."""
    if isinstance(images, ImageSet):
        return images
    return context.held(images.fingerprint, lambda: hold(images, context.cache, context.progress))


def films(
    images: ImageSet | PictureSet,
    rows: Sequence[int],
    name: str,
    config: EvalConfig,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Videos uint8 [V, T, 3, size, size] of some of the images under one perturbation, made on `device`.

    Raises:
        DataError: a picture cannot be read.
    """
    seeds = image_seeds(images.ids[list(rows)], config.data_seed)
    return film([picture(images, row) for row in rows], name, seeds, images.size, device)


def film(
    pictures: Sequence[npt.NDArray[np.uint8]],
    name: str,
    seeds: npt.NDArray[np.int64],
    size: int,
    device: torch.device | str,
) -> Tensor:
    """Videos uint8 [V, T, 3, size, size] of pictures uint8 [H, W, 3], with a seed [V] for each one's noise."""
    import torch

    from nsbench.corruptions import perturbation_sequence

    moved = [torch.tensor(shown).to(device).permute(2, 0, 1) for shown in pictures]
    return perturbation_sequence(moved, name, crop=size, seeds=torch.from_numpy(seeds))


def picture(images: ImageSet | PictureSet, row: int) -> npt.NDArray[np.uint8]:
    """What is filmed of one image: uint8 [H, W, 3]."""
    return images.decode(row) if isinstance(images, PictureSet) else images.pixels[row]


def cached_films(context: EvalContext, images: ImageSet, name: str) -> npt.NDArray[np.uint8]:
    """Videos uint8 [V, T, H, W, 3] of a small set, from the cache or made now."""
    config = context.config
    path = context.cache / images.fingerprint / f"{name}-video-seed{config.data_seed}-{_version()}.npy"

    def make() -> npt.NDArray[np.uint8]:
        return films(images, range(len(images)), name, config).permute(0, 1, 3, 4, 2).contiguous().numpy()

    return cached_array(path, make)


def version_label() -> str:
    """The version of the pixels, for protocols: a change of a corruption's code makes other cells."""
    return f"pixels {_version()}"


def _version() -> str:
    from nsbench.corruptions import CORRUPTION_VERSION

    return f"v{CORRUPTION_VERSION}"
