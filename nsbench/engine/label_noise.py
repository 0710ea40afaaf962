"""A noised teacher, the negative control: it labels under the noise of students' unlabelled images (paper, ablation).

Batch norm and everything else stay in eval mode.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nsbench.data.augment import augment, image_rng
from nsbench.data.crops import training_view
from nsbench.data.pictures import BadImage
from nsbench.data.streamed import StreamedSet
from nsbench.engine.noise import RowDropPath, RowSwitch, install_model_noise, noisy_inference
from nsbench.errors import ConfigError
from nsbench.files import derive_seed
from nsbench.models import PixelModel
from nsbench.trainingconfig import ModelConfig, NoiseConfig

_UNLABELLED = ("both", "unlabelled")
"""Settings with which unlabelled images get a kind of noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelNoise:
    """Noise on images, and in a model."""

    config: NoiseConfig
    model: PixelModel
    switch: RowSwitch
    drop_rate: float
    """Of the model's dropout."""
    seed: int

    @property
    def identity(self) -> tuple[Any, ...]:
        """Everything but the model that the noise depends on."""
        return dataclasses.asdict(self.config), self.drop_rate, self.seed

    @property
    def augments(self) -> bool:
        """Whether the images are augmented."""
        return self.config.augment in _UNLABELLED

    def rng(self, image_id: str) -> np.random.Generator:
        """Randomness of an image's augmentation: the same in every shard and on every rank."""
        return image_rng(self.seed, image_id, copy=0, step=0)

    def augmented(self, pixels: npt.NDArray[np.uint8], ids: npt.NDArray[np.str_]) -> npt.NDArray[np.uint8]:
        """Images uint8 [N, H, W, 3], of ids [N], as a student sees them."""
        shown = np.empty_like(pixels)
        for row, image_id in enumerate(ids):
            shown[row] = augment(pixels[row], self.config, self.rng(str(image_id)))
        return shown

    @contextlib.contextmanager
    def in_model(self, *place: int) -> Iterator[None]:
        """Within it dropout and stochastic depth are on; what they draw follows from the seed and the place."""
        device = self.model.mean.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.seed, "label noise", *place))
            with noisy_inference(self.model, self.switch):
                yield


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedSet(StreamedSet):
    """Stored images as a student sees them."""

    noise: LabelNoise

    def _show(self, row: int) -> npt.NDArray[np.uint8] | str:
        try:
            rng = self.noise.rng(self.listing.ids[row])
            return training_view(self.listing.stored(row), self.size, self.noise.config, rng)
        except BadImage as error:
            return str(error)


def install_label_noise(model: nn.Module, student: ModelConfig, config: NoiseConfig | None, seed: int) -> LabelNoise:
    """Give a model the kinds of noise that students' unlabelled images get; its branches are dropped at its own rates.

    Args:
        student: `drop_rate` is that of dropout before the classifier; `name` is for messages.
        config: None is the default noise.

    Raises:
        ConfigError: the model is no network with layers to put noise between, or has no classifier.
    """
    if not isinstance(model, PixelModel):
        raise ConfigError(f"teacher.noised finds no layers to put noise between in {student.name}; name a timm model")
    config = config or NoiseConfig()
    rate = student.drop_rate if config.dropout in _UNLABELLED else 0.0
    switch = install_model_noise(model, ModelConfig(name=student.name, drop_rate=rate))
    for module in model.modules():
        if isinstance(module, RowDropPath) and config.stochastic_depth not in _UNLABELLED:
            module.rate = 0.0
    return LabelNoise(config=config, model=model, switch=switch, drop_rate=rate, seed=seed)
