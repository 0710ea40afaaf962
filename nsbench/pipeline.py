"""The plan: teacher, then label, select and train each student, evaluate every generation, report.

The same command again continues: every stage and every cell is a file with the fingerprint of what it was made from.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import resource
import shlex
import shutil
import subprocess
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsbench import __version__
from nsbench.config import Config
from nsbench.configfile import differing_keys, to_dict, to_toml
from nsbench.errors import ConfigError, DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.files import file_fingerprint, fingerprint, read_json, read_npz, write_json, write_npz, write_text
from nsbench.results import Row, to_frame, write_results
from nsbench.runfolder import RunFolder
from nsbench.track import Progress

if TYPE_CHECKING:
    from nsbench.data.images import Task
    from nsbench.engine.generations import Engine

_TIME = "%Y-%m-%dT%H:%M:%S%z"
_PACKAGES = ("torch", "timm", "numpy", "scipy", "pandas", "pillow", "scikit-learn", "duckdb", "opencv-python")


def train_and_eval(
    config: Config, folder: RunFolder, *, argv: Sequence[str], progress: str = "auto", measure: bool = True
) -> bool:
    """Run the whole plan in `folder`, or what is left of it.

    Args:
        argv: the command line, for the record.
        measure: False trains without evaluating.

    Returns:
        False if everything was done already and nothing was written.

    Raises:
        ConfigError: the folder belongs to another configuration, or is in use; nothing is overwritten.
    """
    check_evals(config)
    _refuse_other_config(config, folder)
    if _is_finished(folder, measure):
        return False
    with folder.locked():
        _run(config, folder, list(argv), Progress(progress, folder.log), measure)  # type: ignore[arg-type]
    return True


def check_evals(config: Config) -> None:
    """Refuse names that are not in the table of evals, before anything is done.

    Raises:
        ConfigError: names the unknown one.
    """
    for name in config.eval.evals:
        if name not in EVALS:
            raise ConfigError(f"unknown eval {name!r}; known: {', '.join(EVALS)}")


def rebuild(folder: RunFolder) -> Path:
    """Make tables and report anew from the records alone; neither torch nor the data set is needed.

    Raises:
        DataError: not a run folder, or a record is damaged.
    """
    from nsbench.report.page import write_report

    write_tables(folder)
    return write_report(folder)


def compare(folders: Sequence[RunFolder], out: Path) -> Path:
    """Tables and report of several runs, in a folder of its own.

    Raises:
        ConfigError: `out` is a run folder; or runs that must not be put side by side.
    """
    from nsbench.report.page import write_comparison

    if RunFolder(out).run_json.exists():
        raise ConfigError(f"{out} is a run folder and would be overwritten; choose another with -o")
    for folder in folders:
        write_tables(folder)
    return write_comparison(folders, out)


def _run(config: Config, folder: RunFolder, argv: list[str], progress: Progress, measure: bool) -> None:
    import torch

    from nsbench.data.mnist5k import load_task
    from nsbench.engine.generations import Engine
    from nsbench.models import choose_device

    torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    began = time.time()
    task = load_task(config.data, config.seed)
    _start(config, folder, task, argv, str(device))
    engine = Engine(config=config, task=task, folder=folder, device=device, progress=progress)
    for name, model in engine.run():
        context = EvalContext(
            model=model,
            device=device,
            config=config.eval,
            sets=task.evaluation,
            cache=cache_folder(config, folder),
        )
        if measure:
            evaluate(name, context, engine)
    before = read_json(folder.total)["seconds"] if folder.total.is_file() else 0.0
    write_json(folder.total, {"seconds": before + time.time() - began, "peak_memory_bytes": _peak_memory()})
    if measure:
        from nsbench.report.page import write_report
        from nsbench.samples import write_samples

        write_samples(engine, context)
        write_tables(folder)
        _finish(folder, measure)
        write_report(folder)
    else:
        _finish(folder, measure)


def evaluate(name: str, context: EvalContext, engine: Engine) -> None:
    """Answer every cell of every eval with one generation; a cell whose record fits is left alone."""
    config, folder, sets = engine.config.eval, engine.folder, engine.task.evaluation
    weights = file_fingerprint(folder.weights(name))
    cells = [(EVALS[eval_name], cell) for eval_name in config.evals for cell in EVALS[eval_name].cells(config, sets)]
    with engine.progress.counter(f"evaluate {name}", len(cells), unit="cell") as counter:
        for evaluation, cell in cells:
            path = folder.cell(name, evaluation.name, cell)
            made_by = fingerprint(weights, evaluation.protocol(config, sets), _data_fingerprints(engine.task))
            if not _fits(path, made_by):
                began = time.monotonic()
                arrays = evaluation.predict(context, cell)
                seconds = np.array(time.monotonic() - began)
                write_npz(path, {**arrays, "made_by": np.array(made_by), "seconds": seconds})
            counter.advance(cell=f"{evaluation.name}/{cell}")
    engine.progress.line(f"generation {name}: {len(cells)} cells measured")


def cache_folder(config: Config, folder: RunFolder) -> Path:
    """Where corrupted images are kept: beside the run folders, shared by all of them."""
    return Path(config.data.cache_dir) if config.data.cache_dir else folder.root.parent / ".cache"


def write_tables(folder: RunFolder) -> None:
    """`results.csv` and `costs.csv` from the records of the run."""
    run = folder.read_run()
    config = read_config(folder)
    check_evals(config)
    answers = _read_cells(folder, run, config)
    rows: list[Row] = []
    for name in config.eval.evals:
        records = {generation: evals[name] for generation, evals in answers.items() if name in evals}
        if records:
            rows += EVALS[name].rows(records, config.eval, run["protocols"][name])
    rows += _pseudo_label_rows(folder, run, config)
    write_results(folder.results, to_frame(_named(row, run) for row in rows))
    write_results(folder.costs, to_frame(_named(row, run) for row in _cost_rows(folder, run, answers)))


def read_config(folder: RunFolder) -> Config:
    """The configuration that a run folder was made with."""
    from nsbench.configfile import load_config

    return load_config(folder.root)


def _named(row: Row, run: Mapping[str, Any]) -> Row:
    model = run["models"].get(row.generation, {}).get("label", "")
    return dataclasses.replace(row, run=run["name"], seed=str(run["seed"]), model=model)


def _read_cells(folder: RunFolder, run: Mapping[str, Any], config: Config) -> dict[str, dict[str, dict[str, Any]]]:
    """Generation to eval to cell to arrays, for the evals whose cells are all there."""
    answers: dict[str, dict[str, dict[str, Any]]] = {}
    for generation in run["generations_made"]:
        answers[generation] = {}
        for name in config.eval.evals:
            paths = {cell: folder.cell(generation, name, cell) for cell in run["cells"][name]}
            if not all(path.is_file() for path in paths.values()):
                continue
            weights = file_fingerprint(folder.weights(generation))
            made_by = fingerprint(weights, run["protocols"][name], run["data_fingerprints"])
            answers[generation][name] = {cell: read_npz(path) for cell, path in paths.items()}
            for cell, arrays in answers[generation][name].items():
                if str(arrays.get("made_by")) != made_by:
                    raise DataError(f"{paths[cell]} was made from other weights or data; run train-and-eval again")
    return answers


def _pseudo_label_rows(folder: RunFolder, run: Mapping[str, Any], config: Config) -> list[Row]:
    import pyarrow.parquet as pq

    from nsbench.data.images import PoolTruth
    from nsbench.evals.pseudo_labels import PseudoLabelRecord, measure_pseudo_labels

    records = {}
    for generation in run["generations_made"]:
        labels, selection = (folder.labels(generation) / f"{name}.parquet" for name in ("labels", "selection"))
        if labels.is_file() and selection.is_file():
            table = pq.read_table(labels, columns=["key", "label", "confidence"])
            records[generation] = PseudoLabelRecord(
                ids=np.array(table["key"].to_pylist()),
                labels=table["label"].to_numpy(),
                confidence=table["confidence"].to_numpy(),
                copies=pq.read_table(selection, columns=["copies"])["copies"].to_numpy().astype(np.int64),
            )
    if not records:
        return []
    truth = PoolTruth(**read_npz(folder.truth))
    protocol = f"{run['dataset_title']} pool, {len(truth.ids)} images; teacher un-noised, averaged weights"
    rows = measure_pseudo_labels(records, truth, run["classes"], config.select.min_confidence)
    return [dataclasses.replace(row, protocol="; ".join(filter(None, (protocol, row.protocol)))) for row in rows]


def _cost_rows(folder: RunFolder, run: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Seconds, images/s and memory of each stage; what a rerun does not reproduce."""
    rows = []

    def add(generation: str, subset: str, metric: str, value: float, unit: str) -> None:
        row = Row(
            generation=generation, eval="cost", subset=subset, metric=metric, value=value, n=1, unit=unit,
            higher_is_better=metric == "images_per_second", protocol=run["hardware"]["device"],
        )  # fmt: skip
        rows.append(row)

    for generation in run["generations_made"]:
        if not folder.train_record(generation).is_file():
            continue
        record = read_json(folder.train_record(generation))
        add(generation, "train", "seconds", record["seconds"], "seconds")
        add(generation, "train", "images_per_second", record["images_per_second"], "images/s")
        add(generation, "train", "peak_memory_bytes", record["peak_memory_bytes"], "bytes")
        labels = folder.labels(generation) / "labels.json"
        if labels.is_file():
            record = read_json(labels)
            for stage in ("label", "select"):
                add(generation, stage, "seconds", record[f"{stage}_seconds"], "seconds")
        for name, cells in answers.get(generation, {}).items():
            seconds = sum(float(arrays["seconds"]) for arrays in cells.values())
            add(generation, f"evaluate {name}", "seconds", seconds, "seconds")
    if folder.total.is_file():
        record = read_json(folder.total)
        add("all", "total", "seconds", record["seconds"], "seconds")
        add("all", "total", "peak_memory_bytes", record["peak_memory_bytes"], "bytes")
    return rows


def _start(config: Config, folder: RunFolder, task: Task, argv: list[str], device: str) -> None:
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
            "data_fingerprints": _data_fingerprints(task),
            "protocols": {name: EVALS[name].protocol(config.eval, task.evaluation) for name in config.eval.evals},
            "cells": {name: list(EVALS[name].cells(config.eval, task.evaluation)) for name in config.eval.evals},
            "started": started or time.strftime(_TIME),
            "git": _commit(),
            "argv": [shlex.quote(word) for word in argv],
            "versions": {"nsbench": __version__, "python": platform.python_version(), **_versions()},
            "hardware": {"device": device, "threads": config.threads, "machine": platform.machine()},
        }
    )


def _finish(folder: RunFolder, measured: bool) -> None:
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


def _is_finished(folder: RunFolder, measure: bool) -> bool:
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


def _refuse_other_config(config: Config, folder: RunFolder) -> None:
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


def _fits(path: Path, made_by: str) -> bool:
    if not path.is_file():
        return False
    try:
        return str(read_npz(path)["made_by"]) == made_by
    except (DataError, KeyError):
        return False


def _data_fingerprints(task: Task) -> dict[str, str]:
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


def _peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
