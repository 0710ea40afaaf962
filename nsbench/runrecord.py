"""What `run.json` says: how a run was begun, from which data and versions, and that it is finished."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import platform
import resource
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsbench import __version__
from nsbench.config import Config
from nsbench.configfile import differing_keys, load_config, to_dict, to_toml
from nsbench.errors import ConfigError, DataError
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.files import file_fingerprint, write_npz, write_text
from nsbench.measuring import Plan
from nsbench.runfolder import SELF_TRAINING, RunFolder
from nsbench.tables import read_eval_config

if TYPE_CHECKING:
    from nsbench.data.images import Task

_EXIT_CODES = {KeyboardInterrupt: 130, OSError: 3}
"""The command line's, of what is no error of ours."""
_TIME = "%Y-%m-%dT%H:%M:%S%z"
_PACKAGES = ("torch", "timm", "numpy", "scipy", "pandas", "pillow", "scikit-learn", "duckdb", "opencv-python")


def start(
    config: Config,
    folder: RunFolder,
    task: Task,
    plans: Mapping[str, Plan],
    *,
    argv: Sequence[str],
    hardware: Mapping[str, Any],
) -> None:
    """Write what is known of a training run before the work begins: config, provenance, plans, the pool's truth."""
    from nsbench.models import build, num_parameters

    models = {}
    for name in plans:
        model = config.model(config.generations if name == "control" else int(name))
        models[name] = {"label": model.label, "params": num_parameters(build(model, len(task.classes), 0))}
    write_text(folder.config, to_toml(config))
    if task.truth is not None:
        write_npz(folder.truth, {field: getattr(task.truth, field) for field in ("ids", "labels", "sources")})
    record = {
        "kind": SELF_TRAINING,
        "preset": config.preset,
        "recipe": config.recipe,
        "seed": config.seed,
        "generations": config.generations,
        "models": models,
        "classes": list(task.classes),
        "dataset": task.name,
        "dataset_title": task.title,
        "held_out": task.held_out,
        "embedded": config.data.dataset == "mnist5k",
        "data_notes": list(task.notes),
        "data_fingerprints": data_fingerprints(task),
        "order": list(plans),
        "plans": {name: dataclasses.asdict(planned) for name, planned in plans.items()},
    }
    write_started(folder, record, argv, hardware)


def take_over(folder: RunFolder, base: RunFolder) -> None:
    """Copy generation 0 of another run into one that has none; its fingerprints say whether it fits."""
    if folder.generation("0").exists() or not base.train_record("0").is_file():
        return
    unfinished = folder.root / ".taken_over"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(base.generation("0"), unfinished)
    lines = base.metrics.read_text(encoding="utf-8").splitlines() if base.metrics.is_file() else []
    own = [line for line in lines if '"generation": "0"' in line]
    write_text(folder.metrics, "".join(line + "\n" for line in own))
    unfinished.rename(folder.generation("0"))


def record_end(folder: RunFolder, error: BaseException) -> None:
    """Write into `run.json` how an unfinished run ended: under torchrun the agent's exit code replaces ours."""
    if not folder.run_json.is_file():
        return
    others = next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), 1)
    code = getattr(error, "exit_code", others)
    said = f"{error}" or type(error).__name__
    with contextlib.suppress(OSError, DataError):  # the disk may be what is full
        run = folder.read_run()
        run.pop("schema")
        folder.write_run({**run, "exit_code": code, "ended": time.strftime(_TIME), "said": said.splitlines()[0]})


def write_started(
    folder: RunFolder, record: Mapping[str, Any], argv: Sequence[str], hardware: Mapping[str, Any]
) -> None:
    """Write `run.json` of a run that is not finished: `record`, and who, when and with which versions."""
    started = folder.read_run().get("started") if folder.run_json.is_file() else None
    _sweep(folder)
    folder.report.unlink(missing_ok=True)  # never an old page beside new records
    folder.write_run(
        {
            "status": "partial",
            "name": folder.root.name,
            "started": started or time.strftime(_TIME),
            "git": _commit(),
            "argv": [shlex.quote(word) for word in argv],
            "versions": {"nsbench": __version__, "python": platform.python_version(), **_versions()},
            "hardware": {**hardware, "machine": platform.machine()},
            **record,
        }
    )


def _sweep(folder: RunFolder) -> None:
    """Delete what killed processes left half-written; while the folder is locked nobody else writes there."""
    for path in [*folder.root.rglob(".*.part"), *folder.root.rglob(".select-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def finish(folder: RunFolder, measured: bool) -> None:
    """Mark the run complete, with the hash of every record that its numbers come from."""
    run = folder.read_run(whole=True)
    for key in ("schema", "exit_code", "ended", "said"):
        run.pop(key, None)
    records = [path for pattern in _RECORDS for path in sorted(folder.root.glob(pattern))]
    files = {str(path.relative_to(folder.root)): file_fingerprint(path) for path in records}
    folder.write_run(
        {**run, "status": "complete", "finished": time.strftime(_TIME), "evaluated": measured, "files": files}
    )


_RECORDS = (
    "config.toml", "results.csv", "pool_truth.npz", "*/model.safetensors", "*/raw.safetensors", "*/train.json",
    "*/phases/*", "*/labels/*.parquet", "*/selection/*.parquet", "filter_labels/*.parquet", "*/evals/*/*.npz",
    "models/*/evals/*/*.npz", "samples/*",
)  # fmt: skip


def is_finished(folder: RunFolder, measure: bool) -> bool:
    """Whether the run is complete and every record is still the one that it was."""
    if not folder.run_json.is_file():
        return False
    run = folder.read_run(whole=True)
    if run.get("status") != "complete" or (measure and not (run.get("evaluated") and folder.report.is_file())):
        return False
    return all(
        (folder.root / name).is_file() and file_fingerprint(folder.root / name) == made
        for name, made in run["files"].items()
    )


def same_models(folder: RunFolder, record: Mapping[str, Any], *, whole: bool) -> bool:
    """Whether a run of models has all models of `record` with the same plans, and with `whole` no others."""
    run = folder.read_run(whole=True)
    if whole and run["order"] != record["order"]:
        return False
    return all(
        run["models"].get(key) == model and run["plans"].get(key) == record["plans"][key]
        for key, model in record["models"].items()
    )


def refuse_other_config(config: Config | EvaluationConfig, folder: RunFolder) -> None:
    if not folder.config.is_file():
        if folder.root.is_dir() and any(path.name != ".lock" for path in folder.root.iterdir()):
            raise ConfigError(f"folder {folder.root} holds other files than a run; choose another with -o")
        return
    try:
        made_with = load_config(folder.root, kind=type(config))  # a key that was not there yet has its default
    except (OSError, ConfigError) as error:
        raise ConfigError(
            f"{folder.config} cannot be read ({error}); delete the folder or choose another with -o"
        ) from None
    keys = [key for key in differing_keys(to_dict(made_with), to_dict(config)) if not _may_grow(config, key)]
    if keys:
        raise ConfigError(
            f"run folder {folder.root} was made with another config (it differs in {', '.join(keys[:3])}"
            f"{' and more' if len(keys) > 3 else ''}); choose another with -o, or --fresh to start it anew"
        )


def _may_grow(config: Config | EvaluationConfig, key: str) -> bool:
    """Whether a run folder of models may go on with another value: models and evals are cells beside one another."""
    return isinstance(config, EvaluationConfig) and key in ("models", "eval.evals", "baseline")


def clear(folder: RunFolder) -> None:
    """Delete a run folder for `--fresh`.

    Raises:
        ConfigError: the folder is there and is no run folder; it is left alone.
    """
    if folder.root.exists():
        if not (folder.config.is_file() and folder.run_json.is_file()):
            raise ConfigError(f"{folder.root} is not a run folder; --fresh will not delete it")
        folder.read_run()
        read_eval_config(folder)
        with folder.locked():
            shutil.rmtree(folder.root)


def data_fingerprints(task: Task) -> dict[str, str]:
    """Of the pools and of the task's own test images; suites are in the plans."""
    pools = {"labelled": task.labelled.fingerprint, "unlabelled": task.unlabelled.fingerprint}
    return pools | {name: images.fingerprint for name, images in task.evaluation.items()}


def cache_folder(chosen: str, folder: RunFolder) -> Path:
    """Where decoded and corrupted images are kept: beside the run folders, shared by all of them."""
    return Path(chosen) if chosen else folder.root.parent / ".cache"


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
