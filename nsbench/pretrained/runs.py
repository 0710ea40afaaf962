"""A generation of a run folder, built from the run's own configuration."""

from __future__ import annotations

import re
from pathlib import Path

from nsbench.config import Config
from nsbench.configfile import load_config
from nsbench.data.mnist5k import SIZE
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.models import build, load_weights
from nsbench.pretrained.model import Loaded
from nsbench.pretrained.preprocessing import Overrides, Preprocessing
from nsbench.runfolder import SELF_TRAINING, RunFolder


def locate(path: Path) -> tuple[RunFolder, str] | None:
    """Run folder and generation (empty: the last one) that a path means; None where it means neither.

    A run folder, `gen2` or `control` in one, or the `model.safetensors` in those.
    """
    if path.name == "model.safetensors":
        path = path.parent
    if (path / "run.json").is_file():
        return RunFolder(path), ""
    if (path.parent / "run.json").is_file() and re.fullmatch(r"gen\d+|control", path.name, re.ASCII):
        return RunFolder(path.parent), path.name.removeprefix("gen")
    return None


def load(name: str, overrides: Overrides) -> Loaded:
    """Weights of one generation: of a run folder without a name the last that was trained.

    Images are resized to the side that the run's were of.

    Raises:
        ConfigError: the run's configuration is damaged.
        DataError: no run folder of a training; the generation is not trained; its weights are damaged.
    """
    overrides.refuse_architecture(name)
    located = locate(Path(name))
    if located is None:
        raise DataError(f"{name} is no run folder and no generation of one")
    folder, generation = located
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
    model = build(architecture, len(classes), 0)
    load_weights(folder.weights(named), model)
    mean, std = (tuple(buffer.flatten().tolist()) for buffer in (model.mean, model.std))
    if not min(std) > 0:
        raise DataError(f"weights {folder.weights(named)} are damaged: std {std}")
    view = View(size=SIZE, resize=SIZE, interpolation="bilinear")
    return Loaded(
        net=model.net,
        preprocessing=Preprocessing(view=view, input_px=SIZE, mean=mean, std=std),
        classes=tuple(map(str, classes)),
        notes=() if generation else (f"generation {named}, the last of the run",),
    )


def refuse(path: Path) -> ConfigError:
    """One line for a folder that is no model."""
    if (path / "config.json").is_file():
        return ConfigError(f"{path} is no run folder; for timm's config.json with weights write local-dir:{path}")
    return ConfigError(f"{path} is no run folder and no generation of one (no run.json)")
