"""What one training run is: everything that decides its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from nsbench.data.loaders import Part
from nsbench.engine.optim import Schedule
from nsbench.trainingconfig import ModelConfig, NoiseConfig, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything that decides the weights of one phase of one generation, and where its state lies."""

    generation: str
    phase: str = "main"
    model: ModelConfig
    train: TrainConfig
    noise: NoiseConfig
    parts: tuple[Part, ...]
    """Labelled images, unlabelled ones, or both."""
    schedule: Schedule
    num_steps: int
    size: int
    """Side of the images in pixels."""
    loss_scale: float = 1.0
    """Factor on the loss; the control gets the total weight that the students' two terms have."""
    frozen_blocks: int = 0
    steps_before: int = 0
    """Of the generation's earlier phases; curves count on."""
    seed: int
    """Derived from the run's seed and the generation."""
    window: int = 16
    on_bad_image: str = "error"
    fingerprint: str
    state_path: Path

    @property
    def title(self) -> str:
        """For messages."""
        return f"generation {self.generation}" + (f", {self.phase}" if self.phase != "main" else "")

    @property
    def images_a_step(self) -> int:
        return sum(part.batch for part in self.parts)
