"""A generation of a run folder, built from the run's own configuration."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from nsbench.config import Config
from nsbench.configfile import load_config
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.files import read_json
from nsbench.models import build, load_weights
from nsbench.pretrained.model import Loaded
from nsbench.pretrained.preprocessing import Overrides, Preprocessing
from nsbench.runfolder import SELF_TRAINING, RunFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Located:
    """A generation of a run folder."""

    folder: RunFolder
    generation: str = ""
    """Empty: the last that is trained."""
    phase: str = ""
    """A phase before its last one, such as `main` before FixRes."""


def locate(path: Path) -> Located | None:
    """What a path means: a run folder, `gen2` or `control` in one, `gen2/phases/main` in that, or the weights in those.

    None where it is nothing of the kind.
    """
    phase = ""
    if path.name == "model.safetensors":
        path = path.parent
    if path.parent.name == "phases":
        phase, path = path.name.removesuffix(".safetensors"), path.parent.parent
    if (path / "run.json").is_file() and not phase:
        return Located(folder=RunFolder(path))
    if (path.parent / "run.json").is_file() and re.fullmatch(r"gen\d+|control", path.name, re.ASCII):
        return Located(folder=RunFolder(path.parent), generation=path.name.removeprefix("gen"), phase=phase)
    return None


def load(name: str, overrides: Overrides) -> Loaded:
    """Weights of one generation: of a run folder without a name the last that was trained.

    Images are shown as in the run.

    Raises:
        ConfigError: the run's configuration is damaged.
        DataError: no run folder of a training; the generation is not trained; its weights are damaged.
    """
    overrides.refuse_architecture(name)
    located = locate(Path(name))
    if located is None:
        raise DataError(f"{name} is no run folder and no generation of one")
    folder, generation = located.folder, located.generation
    run = folder.read_run()
    classes = run.get("classes")
    if run.get("kind") != SELF_TRAINING or not isinstance(classes, list) or len(classes) < 2:
        raise DataError(f"{folder.root} holds the records of an evaluation, and no trained generation")
    config = load_config(folder.root, kind=Config)
    trained = [one for one in map(str, range(config.generations + 1)) if folder.train_record(one).is_file()]
    if not generation and not trained:
        raise DataError(f"{folder.root} has no trained generation yet; continue the run")
    named = generation or trained[-1]
    if not folder.train_record(named).is_file():
        raise DataError(f"{folder.generation(named)} is not trained; there is {', '.join(trained) or 'nothing'}")
    architecture = config.model(config.generations if named == "control" else int(named))
    weights, record = folder.weights(named), folder.train_record(named)
    if located.phase:
        weights, record = folder.phase_weights(named, located.phase), folder.phase_record(named, located.phase)
    view = _view(record)
    model = build(dataclasses.replace(architecture, input_px=view.size), len(classes), 0)
    load_weights(weights, model)
    mean, std = (tuple(buffer.flatten().tolist()) for buffer in (model.mean, model.std))
    if not min(std) > 0:
        raise DataError(f"weights {weights} are damaged: std {std}")
    return Loaded(
        net=model.net,
        preprocessing=Preprocessing(view=view, input_px=view.size, mean=mean, std=std),
        classes=tuple(map(str, classes)),
        notes=() if generation else (f"generation {named}, the last of the run",),
    )


def _view(record: Path) -> View:
    """How a generation is shown stored images."""
    try:
        return View(**read_json(record)["view"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{record} does not say how images are shown ({error}); continue the run") from None


def refuse(path: Path) -> ConfigError:
    """One line for a folder that is no model."""
    if (path / "config.json").is_file():
        return ConfigError(f"{path} is no run folder; for timm's config.json with weights write local-dir:{path}")
    return ConfigError(f"{path} is no run folder and no generation of one (no run.json)")
