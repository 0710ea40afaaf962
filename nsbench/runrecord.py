"""What `run.json` says: how a run was begun, from which data and versions, and that it is finished."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import shlex
import shutil
import subprocess
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from nsbench import __version__
from nsbench.config import Config
from nsbench.configfile import differing_keys, to_dict, to_toml
from nsbench.errors import ConfigError
from nsbench.evals import EVALS
from nsbench.files import file_fingerprint, write_npz, write_text
from nsbench.runfolder import RunFolder
from nsbench.tables import read_config

if TYPE_CHECKING:
    from nsbench.data.images import Task

_TIME = "%Y-%m-%dT%H:%M:%S%z"
_PACKAGES = ("torch", "timm", "numpy", "scipy", "pandas", "pillow", "scikit-learn", "duckdb", "opencv-python")


def start(config: Config, folder: RunFolder, task: Task, argv: list[str], device: str) -> None:
    """Write what is known before the work begins: config, provenance, protocols, the pool's truth."""
    from nsbench.engine.generations import generation_names
    from nsbench.models import build, num_parameters

    names = generation_names(config)
    models = {}
    for name in names:
        model = config.model(config.generations if name == "control" else int(name))
        parameters = num_parameters(build(model, len(task.labelled.classes), 0))
        models[name] = {"label": model.label, "params": parameters}
    started = folder.read_run().get("started") if folder.run_json.is_file() else None
    folder.report.unlink(missing_ok=True)  # never an old page beside new records
    write_text(folder.config, to_toml(config))
    write_npz(folder.truth, {field: getattr(task.truth, field) for field in ("ids", "labels", "sources")})
    folder.write_run(
        {
            "status": "partial",
            "name": folder.root.name,
            "preset": config.preset,
            "recipe": config.recipe,
            "seed": config.seed,
            "generations": config.generations,
            "generations_made": names,
            "models": models,
            "classes": list(task.labelled.classes),
            "dataset": task.name,
            "dataset_title": task.title,
            "held_out": task.held_out,
            "embedded": True,
            "data_fingerprints": data_fingerprints(task),
            "protocols": {name: EVALS[name].protocol(config.eval, task.evaluation) for name in config.eval.evals},
            "cells": {name: list(EVALS[name].cells(config.eval, task.evaluation)) for name in config.eval.evals},
            "started": started or time.strftime(_TIME),
            "git": _commit(),
            "argv": [shlex.quote(word) for word in argv],
            "versions": {"nsbench": __version__, "python": platform.python_version(), **_versions()},
            "hardware": {"device": device, "threads": config.threads, "machine": platform.machine()},
        }
    )


def finish(folder: RunFolder, measured: bool) -> None:
    """Mark the run complete, with the hash of every record that its numbers come from."""
    run = folder.read_run()
    run.pop("schema")
    records = [path for pattern in _RECORDS for path in sorted(folder.root.glob(pattern))]
    files = {str(path.relative_to(folder.root)): file_fingerprint(path) for path in records}
    folder.write_run(
        {**run, "status": "complete", "finished": time.strftime(_TIME), "evaluated": measured, "files": files}
    )


_RECORDS = (
    "config.toml", "results.csv", "pool_truth.npz", "*/model.safetensors", "*/train.json", "*/labels/*.parquet",
    "*/evals/*/*.npz", "samples/*",
)  # fmt: skip


def is_finished(folder: RunFolder, measure: bool) -> bool:
    """Whether the run is complete and every record is still the one that it was."""
    if not folder.run_json.is_file():
        return False
    run = folder.read_run()
    if run.get("status") != "complete" or (measure and not (run.get("evaluated") and folder.report.is_file())):
        return False
    return all(
        (folder.root / name).is_file() and file_fingerprint(folder.root / name) == made
        for name, made in run["files"].items()
    )


def refuse_other_config(config: Config, folder: RunFolder) -> None:
    if not folder.config.is_file():
        if folder.root.is_dir() and any(path.name != ".lock" for path in folder.root.iterdir()):
            raise ConfigError(f"folder {folder.root} holds other files than a run; choose another with -o")
        return
    try:
        made_with = tomllib.loads(folder.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder.config} cannot be read ({error}); delete the folder or choose another with -o"
        ) from None
    keys = differing_keys(made_with, to_dict(config))
    if keys:
        raise ConfigError(
            f"run folder {folder.root} was made with another config (it differs in {', '.join(keys[:3])}"
            f"{' and more' if len(keys) > 3 else ''}); choose another with -o, or --fresh to start it anew"
        )


def clear(folder: RunFolder) -> None:
    """Delete a run folder for `--fresh`.

    Raises:
        ConfigError: the folder is there and is no run folder; it is left alone.
    """
    if folder.root.exists():
        if not (folder.config.is_file() and folder.run_json.is_file()):
            raise ConfigError(f"{folder.root} is not a run folder; --fresh will not delete it")
        folder.read_run()
        read_config(folder)
        with folder.locked():
            shutil.rmtree(folder.root)


def data_fingerprints(task: Task) -> dict[str, str]:
    sets = {"labelled": task.labelled, "unlabelled": task.unlabelled, **task.evaluation}
    return {name: images.fingerprint for name, images in sets.items()}


def _commit() -> str:
    """Commit of the checkout that runs, marked where files differ from it; empty for an installed package."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:  # the first call fails where an environment merely lies inside somebody's checkout
        for command in (["ls-files", "--error-unmatch", "__init__.py"], ["describe", "--always", "--dirty"]):
            done = subprocess.run([*git, *command], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
