"""Who labels the unlabelled images, and how it is shown them (paper, algorithm 1, step 2; official data_input.py)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nsbench.data.folder import BadImagePolicy
from nsbench.data.images import ImageSet
from nsbench.data.listing import Listing
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet
from nsbench.engine.label_noise import AugmentedSet, LabelNoise, install_label_noise
from nsbench.errors import ConfigError
from nsbench.files import file_fingerprint, fingerprint
from nsbench.inference import batches
from nsbench.models import build, load_weights
from nsbench.pretrained import load_pretrained
from nsbench.trainingconfig import ModelConfig, NoiseConfig, TeacherConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained model, on its device, and everything beside the images that decides its labels."""

    model: nn.Module
    """Takes float [N, 3, H, W] in [0, 1], gives logits [N, num_classes]. Its mode does not matter: it labels in eval
    mode."""
    view: View
    """How it sees a stored image: at its own resolution, not the student's."""
    num_classes: int
    weights: str
    """Fingerprint of its weights."""
    batch_size: int
    """Images of one forward pass; moves last bits."""
    device: torch.device
    channels_last: bool = True
    """Memory layout of the images; moves last bits."""
    top_k: int = 0
    """Classes whose probabilities are stored; 0: all where they are few (`nsbench.engine.label_store`)."""
    noise: LabelNoise | None = None
    """None: un-noised, as the method has it."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over everything but the images that the labels depend on."""
        noise = self.noise and self.noise.identity
        shown = (dataclasses.asdict(self.view), self.batch_size, self.channels_last)
        return fingerprint(self.weights, shown, self.num_classes, self.top_k, noise)

    def shown(
        self, images: Listing | ImageSet, on_bad_image: BadImagePolicy, workers: int | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.uint8], Mapping[int, str]]]:
        """Images batch by batch, as the teacher sees them: files are decoded ahead in threads.

        Returns:
            Slices of the images, their pixels uint8 [n, H, W, 3], and why rows of the set are black. Files come in the
            size of the view, images in memory in their own.

        Raises:
            DataError: a file is no image, and the policy is `error`.
        """
        slices = batches(len(images), self.batch_size)
        noise = self.noise if self.noise is not None and self.noise.augments else None
        if isinstance(images, Listing):
            files: dict[str, Any] = {"listing": images, "view": self.view, "on_bad_image": on_bad_image}
            files["workers"] = workers
            yield from (StreamedSet(**files) if noise is None else AugmentedSet(**files, noise=noise)).batches(slices)
            return
        for rows in slices:
            pixels = images.pixels[rows].copy()  # of a mapped file, which nothing may write to
            yield rows, pixels if noise is None else noise.augmented(pixels, images.ids[rows]), {}

    def noised(self, *place: int) -> contextlib.AbstractContextManager[None]:
        """Within it the model noise is on, where there is any; what is drawn follows from the place, shard and row."""
        return contextlib.nullcontext() if self.noise is None else self.noise.in_model(*place)

    @classmethod
    def from_generation(
        cls,
        architecture: ModelConfig,
        weights: Path,
        *,
        view: View,
        num_classes: int,
        config: TeacherConfig,
        batch_size: int,
        device: torch.device,
        channels_last: bool = True,
        noise: NoiseConfig | None = None,
        seed: int = 0,
    ) -> Teacher:
        """A generation that this run trained.

        Args:
            weights: what `nsbench.models.save_weights` wrote.
            view: how the generation is shown images (`nsbench.data.crops.generation_view`).
            num_classes: of the task.
            config: `input_px`, `batch_size`, `top_k` and `noised` count here.
            batch_size: of evaluation, where `config` has none.
            noise: the students', for `config.noised`; the rates of model noise are the architecture's.
            seed: of that noise.

        Raises:
            DataError: the weights are missing, damaged or of another architecture.
        """
        model = build(architecture, num_classes, 0)
        load_weights(weights, model)
        return cls(
            model=model.to(device).eval(),
            view=_of_size(view, config.input_px),
            num_classes=num_classes,
            weights=fingerprint(file_fingerprint(weights), dataclasses.asdict(architecture)),
            batch_size=config.batch_size or batch_size,
            device=device,
            channels_last=channels_last,
            top_k=config.top_k,
            noise=install_label_noise(model, architecture, noise, seed) if config.noised else None,
        )

    @classmethod
    def from_name(
        cls,
        name: str,
        *,
        num_classes: int | None,
        config: TeacherConfig,
        batch_size: int,
        device: torch.device,
        channels_last: bool = True,
        noise: NoiseConfig | None = None,
        drop_rate: float = 0.0,
        seed: int = 0,
    ) -> Teacher:
        """A fixed model, by any name of `nsbench.pretrained.MODEL_FORMS`, that sees images as its authors showed them.

        Args:
            num_classes: of the task; None where there is none.
            config: `input_px`, `batch_size`, `top_k` and `noised` count here; `input_px` keeps the share of the image
                that is cropped.
            batch_size: of evaluation, where `config` has none.
            noise: the students', for `config.noised`.
            drop_rate: of their dropout; residual branches are skipped at the model's own rates.
            seed: of that noise.

        Raises:
            ConfigError: the name or size is wrong, the classes are not the task's, or the model cannot be noised.
            DataError: weights that are missing, damaged or cannot be fetched.
        """
        loaded = load_pretrained(name, size=config.input_px or None)
        if num_classes not in (None, loaded.num_classes):
            raise ConfigError(
                f"teacher {name} has {loaded.num_classes} classes, but the data set {num_classes}; "
                "set teacher.model to a model of its classes"
            )
        rates = ModelConfig(name=name, drop_rate=drop_rate)
        return cls(
            model=loaded.model.to(device),
            view=loaded.view,
            num_classes=loaded.num_classes,
            weights=loaded.fingerprint,
            batch_size=config.batch_size or batch_size,
            device=device,
            channels_last=channels_last,
            top_k=config.top_k,
            noise=install_label_noise(loaded.model, rates, noise, seed) if config.noised else None,
        )


def _of_size(view: View, size: int) -> View:
    """The view at another size with the same margin around the crop, 32 px for photographs; 0 leaves it as it is."""
    if not size or view.resize is None:
        return dataclasses.replace(view, size=size or view.size)
    return dataclasses.replace(view, size=size, resize=size + view.resize - view.size)
