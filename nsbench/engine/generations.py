"""The outer loop: the teacher of generation g is the student of generation g - 1 (paper, algorithm 1, step 4).

Every stage ends with a record that carries the fingerprint of what it was made from; a stage whose record fits is
not run again.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nsbench.config import Config
from nsbench.configfile import to_dict
from nsbench.data.images import Task
from nsbench.data.loaders import Part
from nsbench.engine import pseudo
from nsbench.engine.loop import TrainingRun, total_weight, train
from nsbench.engine.select import read_copies, select
from nsbench.errors import DataError, TrainingError
from nsbench.files import derive_seed, file_fingerprint, fingerprint, read_json, write_json
from nsbench.models import PixelModel, build, load_weights, num_parameters, save_weights
from nsbench.runfolder import RunFolder
from nsbench.track import Curves, Progress

CONTROL = "control"
"""The last student's architecture, noise, steps, batch size and total loss weight on the labelled images alone."""

_SEEN_IN_PARTS = (
    "steps", "teacher_steps", "labelled_batch", "teacher_batch", "unlabelled_ratio", "pseudo_labels", "temperature",
    "on_labelled", "on_unlabelled",
)  # fmt: skip
"""Settings that act through the images, targets and batch sizes alone, which are in a generation's fingerprint anyway:
so a generation 0 is the same record whatever becomes of the students."""


def generation_names(config: Config) -> list[str]:
    """Generations in the order in which they are made."""
    numbered = [str(number) for number in range(config.generations + 1)]
    return [*numbered, CONTROL] if config.control and config.generations else numbered


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """What all stages of one run share."""

    config: Config
    task: Task
    folder: RunFolder
    device: torch.device
    progress: Progress

    def run(self) -> Iterator[tuple[str, PixelModel]]:
        """Make every generation and hand it out in eval mode, ready to be measured."""
        for name in generation_names(self.config):
            if name not in ("0", CONTROL):
                self._label(name)
            yield name, self._train(name)

    def _label(self, name: str) -> None:
        """Label the pool with the generation before, and select from it."""
        folder = self.folder.labels(name)
        labels, selection = folder / "labels.parquet", folder / "selection.parquet"
        teacher_name, config = str(int(name) - 1), self.config
        made_by = fingerprint(
            file_fingerprint(self.folder.weights(teacher_name)),
            self.task.unlabelled.fingerprint,
            config.eval.batch_size,
        )
        selected_by = fingerprint(made_by, dataclasses.asdict(config.select), config.seed)
        if pseudo.is_made_by(labels, made_by) and pseudo.is_made_by(selection, selected_by):
            return
        began = time.monotonic()
        teacher = build(config.model(int(teacher_name)), len(self.task.labelled.classes), 0)
        load_weights(self.folder.weights(teacher_name), teacher)
        pseudo.label(
            teacher.to(self.device),
            self.task.unlabelled,
            labels,
            batch_size=config.eval.batch_size,
            device=self.device,
            made_by=made_by,
        )
        labelled = time.monotonic()
        num_classes = len(self.task.labelled.classes)
        select(labels, selection, config.select, num_classes=num_classes, seed=config.seed, made_by=selected_by)
        selected = time.monotonic()
        costs = {"label_seconds": labelled - began, "select_seconds": selected - labelled}
        write_json(folder / "labels.json", {**costs, "images": len(self.task.unlabelled)})
        copies = read_copies(selection)
        self.progress.line(
            f"generation {name}: {len(copies)} images labelled by generation {teacher_name}, "
            f"{np.count_nonzero(copies)} kept, {copies.sum()} with duplicates"
        )

    def _train(self, name: str) -> PixelModel:
        """The trained model of one generation, from its record or from training."""
        run = self._training_run(name)
        model = build(run.model, len(self.task.labelled.classes), run.seed)
        weights, record_path = self.folder.weights(name), self.folder.train_record(name)
        if not _is_trained(record_path, run.fingerprint, self.folder.weights(name)):
            self.progress.line(
                f"generation {name}: training {run.model.label} ({num_parameters(model) / 1000:.0f}k parameters), "
                f"{run.num_steps} steps of {sum(part.batch for part in run.parts)} images"
            )
            curves = Curves(self.folder.metrics)
            trained = train(
                run, model, device=self.device, workers=self.config.workers, progress=self.progress, curves=curves
            )
            save_weights(weights, trained.model)
            write_json(
                record_path,
                {
                    "fingerprint": run.fingerprint,
                    "weights": file_fingerprint(weights),
                    "model": run.model.label,
                    "parameters": num_parameters(model),
                    "seconds": trained.seconds,
                    "images_per_second": trained.images / trained.seconds,
                    "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                },
            )
            (run.state_folder / "state.pt").unlink(missing_ok=True)
        finished = build(run.model, len(self.task.labelled.classes), 0)
        load_weights(weights, finished)
        return finished.to(self.device).eval()

    def _training_run(self, name: str) -> TrainingRun:
        config = self.config
        number = config.generations if name == CONTROL else int(name)
        parts = self._parts(name)
        num_steps = (config.train.teacher_steps or config.train.steps) if name == "0" else config.train.steps
        seed = derive_seed(config.seed, "train", name)
        inputs = [value for part in parts for value in (part.pixels, part.targets, part.rows, part.batch, part.noised)]
        settings = to_dict(config)
        for key in ("checkpoint_seconds", *_SEEN_IN_PARTS):
            settings["train"].pop(key, None)
            settings["noise"].pop(key, None)
        loss_scale = total_weight(config.train.loss, config.train.unlabelled_ratio) if name == CONTROL else 1.0
        made_by = (dataclasses.asdict(config.model(number)), settings["train"], settings["noise"], config.threads, seed)
        return TrainingRun(
            generation=name,
            model=config.model(number),
            train=config.train,
            noise=config.noise,
            parts=parts,
            num_steps=num_steps,
            seed=seed,
            loss_scale=loss_scale,
            fingerprint=fingerprint(made_by, num_steps, *([loss_scale] if name == CONTROL else []), *inputs),
            state_folder=self.folder.train_state(name),
        )

    def _parts(self, name: str) -> tuple[Part, ...]:
        """What a batch consists of: labelled images, and for a student the selected pseudo-labelled ones."""
        train, labelled = self.config.train, self.task.labelled
        student_batch = train.labelled_batch * (1 + train.unlabelled_ratio)
        batch = {"0": train.teacher_batch or train.labelled_batch, CONTROL: student_batch}.get(
            name, train.labelled_batch
        )
        ours = Part(
            pixels=labelled.pixels,
            targets=one_hot(labelled.labels, len(labelled.classes), train.label_smoothing),
            rows=np.arange(len(labelled)),
            batch=batch,
            noised=name == "0" or self.config.noise.on_labelled,
        )
        if name in ("0", CONTROL) or train.unlabelled_ratio == 0:
            return (ours,)
        return ours, self._pseudo_labelled(name)

    def _pseudo_labelled(self, name: str) -> Part:
        train, pool = self.config.train, self.task.unlabelled
        folder = self.folder.labels(name)
        keys, soft = pseudo.read_labels(folder / "labels.parquet")
        copies = read_copies(folder / "selection.parquet")
        if not np.array_equal(keys, pool.ids):
            raise DataError(f"{folder} labels other images than the pool holds; delete the folder and run again")
        if copies.sum() == 0:
            raise TrainingError(
                f"no pseudo-label of generation {name} reaches confidence {self.config.select.min_confidence}; "
                "lower select.min_confidence or train the teacher longer"
            )
        if train.pseudo_labels == "hard":
            targets = one_hot(soft.argmax(axis=1), soft.shape[1], train.label_smoothing)
        else:
            targets = sharpen(soft, train.temperature)
        return Part(
            pixels=pool.pixels,
            targets=targets,
            rows=np.repeat(np.arange(len(keys)), copies),
            batch=train.labelled_batch * train.unlabelled_ratio,
            noised=self.config.noise.on_unlabelled,
        )


def one_hot(labels: npt.NDArray[np.integer], num_classes: int, smoothing: float) -> npt.NDArray[np.float32]:
    """Targets [N, C] of hard labels [N]: 1 - smoothing on the class, the rest spread over all (official main.py)."""
    targets = np.full((len(labels), num_classes), smoothing / num_classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets


def sharpen(soft: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Soft labels [N, C] at a temperature: p^(1/T), renormalised (official main.py, stored probabilities)."""
    powered = soft ** np.float32(1 / temperature)
    sharpened: npt.NDArray[np.float32] = powered / powered.sum(axis=1, keepdims=True)
    return sharpened


def _is_trained(record_path: Path, made_by: str, weights: Path) -> bool:
    """Whether the record fits these inputs and the weights file is the one that it describes."""
    if not (record_path.is_file() and weights.is_file()):
        return False
    try:
        record = read_json(record_path)
    except DataError:
        return False
    return bool(record.get("fingerprint") == made_by and record.get("weights") == file_fingerprint(weights))
