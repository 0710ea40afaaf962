"""A generation's training labels: the teacher labels the pool, un-noised; the unsure go, the classes are balanced.

Paper, algorithm 1, steps 2 and 3, and section 3.1 on filtering and balancing.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import torch

from nsbench.config import Config
from nsbench.data.images import Task
from nsbench.data.pictures import View
from nsbench.distributed import Ranks
from nsbench.engine.label_store import label_path
from nsbench.engine.pseudo import Labelled, label
from nsbench.engine.select import Selection, select
from nsbench.engine.supervision import TeacherLabels
from nsbench.engine.teacher import Teacher
from nsbench.errors import TrainingError
from nsbench.files import derive_seed, fingerprint, write_json
from nsbench.runfolder import RunFolder
from nsbench.track import Progress
from nsbench.trainingconfig import ModelConfig, TeacherConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelling:
    """Makes the pseudo-labels and selections of a run's students."""

    config: Config
    task: Task
    folder: RunFolder
    device: torch.device
    progress: Progress
    ranks: Ranks

    def label(self, name: str, architecture: ModelConfig, view: View) -> TeacherLabels:
        """Labels and selection for the student of generation `name`, made or found.

        Args:
            architecture: of the generation before, for images of its size.
            view: how the generation before is shown stored images.

        Raises:
            TrainingError: no image is selected.
            DataError, ConfigError: the pool or the teacher cannot be used.
        """
        began = time.monotonic()
        teacher = self._teacher(str(int(name) - 1), architecture, view)
        labelled = self._label_with(teacher, self.folder.labels(name))
        middle = time.monotonic()
        selection, selected_by = self._select(name, teacher)
        if labelled.new_images or not self.folder.label_record(name).is_file():
            seconds = {"label_seconds": middle - began, "select_seconds": time.monotonic() - middle}
            self.ranks.first(functools.partial(self._record, name, selection, labelled, seconds))
        train = self.config.train
        return TeacherLabels(
            labels=self.folder.labels(name),
            selection=self.selection_folder(name),
            num_shards=len(self.task.unlabelled),
            num_classes=len(self.task.classes),
            made_by=fingerprint(teacher.fingerprint, self.task.unlabelled.fingerprint, selected_by),
            hard=train.pseudo_labels == "hard",
            smoothing=train.label_smoothing,
            temperature=train.temperature,
        )

    def selection_folder(self, name: str) -> Path:
        """Where the selection of a student lies: its own, or the first one's, which stays."""
        return self.folder.selection("1" if self.config.select.when == "once" else name)

    def _label_with(self, teacher: Teacher, labels: Path) -> Labelled:
        return label(
            teacher,
            self.task.unlabelled,
            labels,
            made_by=teacher.fingerprint,
            ranks=self.ranks,
            progress=self.progress,
            on_bad_image=self.config.data.on_bad_image,
        )

    def _select(self, name: str, teacher: Teacher) -> tuple[Selection, str]:
        """The selection of a student, and the fingerprint of what it was made from."""
        config, labels = self.config.select, self.folder.labels(name)
        if config.filter_model:
            teacher = self._fixed(config.filter_model, TeacherConfig(batch_size=self.config.teacher.batch_size))
            labels = self.folder.filter_labels
            self._label_with(teacher, labels)
        out, once = self.selection_folder(name), config.when == "once"
        made_by = fingerprint(
            "" if once else teacher.fingerprint, self.task.unlabelled.fingerprint, dataclasses.asdict(config),
            self.config.seed,
        )  # fmt: skip
        if once and not config.filter_model:
            labels = self.folder.labels("1")
        shards = [label_path(labels, shard) for shard in range(len(self.task.unlabelled))]
        make = functools.partial(
            select, shards, out, config, num_classes=len(self.task.classes), seed=self.config.seed, made_by=made_by
        )
        return self.ranks.first(make), made_by

    def _record(self, name: str, selection: Selection, labelled: Labelled, seconds: dict[str, float]) -> None:
        """Keep what selection did, and say it.

        Raises:
            TrainingError: no image is selected.
        """
        config = self.config.select
        if selection.copies == 0:
            raise TrainingError(
                f"no pseudo-label of generation {name} has a confidence of {config.min_confidence} to "
                f"{config.max_confidence}; lower select.min_confidence or train the teacher longer"
            )
        empty = [self.task.classes[number] for number in selection.empty_classes]
        counts = {
            "images": selection.images,
            "kept": selection.kept,
            "copies": selection.copies,
            "unreadable": labelled.unreadable,
            "empty_classes": empty,
        }
        write_json(self.folder.label_record(name), {**seconds, **counts})
        self.progress.line(
            f"generation {name}: {selection.images:,} images labelled, {selection.kept:,} kept, "
            f"{selection.copies:,} with duplicates"
        )
        if empty:
            self.progress.line(
                f"warning: {len(empty)} of {len(self.task.classes)} classes have no pseudo-label for generation {name}"
                f", first {empty[0]}; its student sees them in labelled images alone"
            )

    def _teacher(self, before: str, architecture: ModelConfig, view: View) -> Teacher:
        """The generation before, or the fixed model."""
        config = self.config.teacher
        if config.model:
            return self._fixed(config.model, config)
        weights = self.folder.raw_weights(before) if config.weights == "raw" else self.folder.weights(before)
        return Teacher.from_generation(architecture, weights, view=view, config=config, **self._common(config))

    def _fixed(self, name: str, config: TeacherConfig) -> Teacher:
        return Teacher.from_name(name, config=config, drop_rate=self.config.model(1).drop_rate, **self._common(config))

    def _common(self, config: TeacherConfig) -> dict[str, Any]:
        return {
            "num_classes": len(self.task.classes),
            "batch_size": self.config.eval.batch_size,
            "device": self.device,
            "channels_last": self.config.train.channels_last,
            "noise": self.config.noise if config.noised else None,
            "seed": derive_seed(self.config.seed, "teacher noise"),
        }
