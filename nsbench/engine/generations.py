"""The outer loop: the teacher of generation g is the student of generation g - 1 (paper, algorithm 1, step 4).

Every stage ends with a record that carries the fingerprint of what it was made from; a stage whose record fits is
not run again.
"""

from __future__ import annotations

import dataclasses
import functools
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from nsbench.config import Config
from nsbench.data.crops import generation_view
from nsbench.data.images import Task
from nsbench.data.pictures import View
from nsbench.distributed import Ranks
from nsbench.engine.labelling import Labelling
from nsbench.engine.loop import Trained, train
from nsbench.engine.phases import CONTROL, Phases
from nsbench.engine.supervision import HumanLabels, TeacherLabels
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import ConfigError, DataError
from nsbench.files import file_fingerprint, read_json, write_json
from nsbench.models import PixelModel, build, has_fixed_size, load_weights, native_px, num_parameters, save_weights
from nsbench.pretrained.checkpoint import fill, read_state, unprefixed, without_normalisation
from nsbench.runfolder import RunFolder
from nsbench.track import Curves, Progress
from nsbench.trainingconfig import ModelConfig


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
    curves: Curves
    ranks: Ranks = Ranks()

    def run(self) -> Iterator[tuple[str, PixelModel]]:
        """Make every generation and hand it out in eval mode, ready to be measured.

        Raises:
            ConfigError, DataError, TrainingError, Stopped: as the stages do.
        """
        self._check_starts()
        for name in generation_names(self.config):
            labels = None
            if name not in ("0", CONTROL):
                self._warn_of_a_smaller_student(int(name))
                teacher = str(int(name) - 1)
                labels = self._labelling.label(name, self.architecture(teacher), self.view(teacher))
            yield name, self._train(name, labels)

    def view(self, name: str) -> View:
        """How a finished generation is shown stored images."""
        return generation_view(self._phases.final_px(name, self._native_px(name)), photographs=not self.task.image_px)

    def model(self, name: str) -> PixelModel:
        """A generation with its finished weights, on the CPU, in eval mode."""
        model = build(self.architecture(name), len(self.task.classes), 0)
        load_weights(self.folder.weights(name), model)
        return model.eval()

    def architecture(self, name: str) -> ModelConfig:
        """That of a finished generation, for images of its final size."""
        model = self.config.model(self._phases.number(name))
        return dataclasses.replace(model, input_px=self._phases.final_px(name, native_px(model)))

    def selection(self, name: str) -> Path:
        """The selection that a student was trained with."""
        return self._labelling.selection_folder(name)

    @functools.cached_property
    def _phases(self) -> Phases:
        smoothing = self.config.train.label_smoothing
        ours = HumanLabels(pool=self.task.labelled, num_classes=len(self.task.classes), smoothing=smoothing)
        return Phases(
            config=self.config,
            folder=self.folder,
            image_px=self.task.image_px,
            labelled=ours,
            unlabelled=self.task.unlabelled,
        )

    @functools.cached_property
    def _labelling(self) -> Labelling:
        return Labelling(
            config=self.config,
            task=self.task,
            folder=self.folder,
            device=self.device,
            progress=self.progress,
            ranks=self.ranks,
        )

    def _native_px(self, name: str) -> int:
        return native_px(self.config.model(self._phases.number(name)))

    def _train(self, name: str, labels: TeacherLabels | None) -> PixelModel:
        """The trained model of one generation, from its record or from training."""
        start = self._start(name)
        came_from = file_fingerprint(start) if start is not None else ""
        runs = self._phases.of(name, self._native_px(name), labels, came_from)
        seconds = 0.0
        for run in runs:
            weights, record = self._places(run, last=run is runs[-1])
            more = [self.folder.raw_weights(name)] if self.config.teacher.weights == "raw" else []
            if not self.ranks.first(functools.partial(_is_trained, record, run.fingerprint, weights, more)):
                self._train_phase(run, start, weights, record, seconds)
            seconds = float(read_json(record)["seconds"])
            start = weights
        return self.model(name).to(self.device)

    def _train_phase(
        self, run: TrainingRun, start: Path | None, weights: Path, record: Path, seconds_before: float
    ) -> None:
        model = build(run.model, len(self.task.classes), run.seed)
        if start is not None:
            _load_start(model, start)
        self.progress.line(
            f"{run.title}: training {run.model.label} ({num_parameters(model) / 1000:,.0f}k parameters), "
            f"{run.num_steps:,} steps of {run.images_a_step:,} images of {run.size} px"
        )
        trained = train(
            run,
            model,
            device=self.device,
            workers=self.config.workers,
            progress=self.progress,
            curves=self.curves,
            ranks=self.ranks,
        )
        self.ranks.first(functools.partial(self._record, run, trained, weights, record, seconds_before))

    def _record(self, run: TrainingRun, trained: Trained, weights: Path, record: Path, seconds_before: float) -> None:
        """Weights first, the record that speaks for them last, and then the state is not needed any more."""
        save_weights(weights, trained.model)
        if self.config.teacher.weights == "raw":
            save_weights(self.folder.raw_weights(run.generation), trained.raw)
        write_json(
            record,
            {
                "fingerprint": run.fingerprint,
                "weights": file_fingerprint(weights),
                "model": run.model.label,
                "parameters": num_parameters(trained.model),
                "view": dataclasses.asdict(generation_view(run.size, photographs=not self.task.image_px)),
                "seconds": seconds_before + trained.seconds,
                "images_per_second": trained.images / trained.seconds,
                "ranks": self.ranks.world,
                "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            },
        )
        run.state_path.unlink(missing_ok=True)

    def _places(self, run: TrainingRun, *, last: bool) -> tuple[Path, Path]:
        """Weights and record of a phase; those of the last one are the generation's."""
        if last:
            return self.folder.weights(run.generation), self.folder.train_record(run.generation)
        return self.folder.phase_weights(run.generation, run.phase), self.folder.phase_record(run.generation, run.phase)

    def _start(self, name: str) -> Path | None:
        """Weights that a generation starts from; generation 0 starts from scratch or from the checkpoint."""
        init = self.config.train.init
        if init == "scratch" or (init == "teacher" and name == "0"):
            return None
        if init == "teacher":
            return self.folder.weights("0" if name == CONTROL else str(int(name) - 1))
        return Path(init)

    def _check_starts(self) -> None:
        """Refuse what cannot start, before hours of work.

        Raises:
            ConfigError: there is nothing to label, FixRes cannot change a model's size, or the checkpoint is not there.
        """
        init, config = self.config.train.init, self.config
        if config.generations and not len(self.task.unlabelled):
            raise ConfigError(
                "there are no unlabelled images; name some with data.unlabelled, or train with --generations 0"
            )
        if config.fixres.is_on and config.fixres.input_px:
            for number in range(1, config.generations + 1):
                if has_fixed_size(config.model(number)):
                    raise ConfigError(
                        f"fixres.input_px cannot change the size of {config.model(number).label}, which is made for "
                        "one; set it to 0"
                    )
        if init not in ("scratch", "teacher") and not Path(init).is_file():
            raise ConfigError(f"train.init {init!r} is no file; name a checkpoint, or 'scratch' or 'teacher'")

    def _warn_of_a_smaller_student(self, number: int) -> None:
        """Noisy Student wants students that are equal or larger (paper, section 2)."""
        if self.config.teacher.model:
            return
        student, teacher = (
            num_parameters(build(self.config.model(n), len(self.task.classes), 0)) for n in (number, number - 1)
        )
        if student < teacher:
            self.progress.line(
                f"warning: the student of generation {number} has {student:,} parameters and its teacher {teacher:,}; "
                "Noisy Student wants an equal or larger student"
            )


def _load_start(model: PixelModel, path: Path) -> None:
    """Start from saved weights of the same architecture: a generation's, or a checkpoint of any common form."""
    state, _ = read_state(path)
    net, _ = without_normalisation(unprefixed(state))
    fill(model.net, net, f"train.init {path} does not fit {model.net.__class__.__name__}")


def _is_trained(record_path: Path, made_by: str, weights: Path, more: Sequence[Path]) -> bool:
    """Whether the record fits these inputs, the weights file is the one that it describes, and the others are there."""
    if not all(path.is_file() for path in (record_path, weights, *more)):
        return False
    try:
        record = read_json(record_path)
    except DataError:
        return False
    return bool(record.get("fingerprint") == made_by and record.get("weights") == file_fingerprint(weights))
