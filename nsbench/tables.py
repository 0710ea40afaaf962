"""The tables of a run, `results.csv` and `costs.csv`, from its records alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nsbench.config import Config, EvalConfig
from nsbench.configfile import load_config, suggest
from nsbench.errors import ConfigError, DataError
from nsbench.evals import EVALS
from nsbench.evals.base import Arrays
from nsbench.evals.details import detail_rows
from nsbench.evals.perturbation_rows import relative_t5d_rows
from nsbench.evals.warnings import findings_of
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.files import NpzArrays, file_fingerprint, read_json, read_npz
from nsbench.measuring import Plan
from nsbench.results import Row, to_frame, write_results
from nsbench.runfolder import SELF_TRAINING, RunFolder, shows_imagenet

Job = Callable[[], list[Row]]

_THREADS = 2
"""More would each hold arrays of some 100 MB at once."""


def check_evals(config: EvalConfig) -> None:
    """Refuse names that are not in the table of evals, before anything is done.

    Raises:
        ConfigError: names the unknown one.
    """
    for name in config.evals:
        if name not in EVALS and name != "all":
            raise ConfigError(f"unknown eval {name!r}{suggest(name, EVALS)}")


def write_tables(folder: RunFolder) -> None:
    """`results.csv` and `costs.csv` from the records of the run."""
    run = folder.read_run(whole=True)
    config = read_eval_config(folder)
    check_evals(config)
    answers = read_cells(folder, run)
    protocols = {key: run["plans"][key]["protocols"] for key in answers}
    details = functools.partial(
        detail_rows, answers, protocols, config, run.get("classes", ()), is_imagenet=shows_imagenet(run)
    )
    jobs: list[Job] = [*_eval_jobs(answers, protocols, config), details]
    jobs.append(functools.partial(_against_baseline, folder, run, answers, config))
    if run["kind"] == SELF_TRAINING:
        jobs.append(functools.partial(_pseudo_label_rows, folder, run, read_config(folder)))
    rows = _in_threads(jobs)
    write_results(folder.results, to_frame(_named(row, run) for row in rows))
    write_results(folder.costs, to_frame(_named(row, run) for row in _cost_rows(folder, run, answers)))


def _eval_jobs(
    answers: Mapping[str, Mapping[str, Mapping[str, Arrays]]],
    protocols: Mapping[str, Mapping[str, str]],
    config: EvalConfig,
) -> Iterator[Job]:
    """What gives the rows of every eval, in the order of `EVALS`."""
    for name in EVALS:
        records = {key: evals.get(name, {}) for key, evals in answers.items()}
        if any(records.values()):
            said = {key: protocols[key].get(name, "") for key in records}
            yield functools.partial(EVALS[name].rows, records, config, said)
            yield functools.partial(_remarks, name, records, said)


def _in_threads(jobs: Sequence[Job]) -> list[Row]:
    """Rows of every job, in the order of the jobs; NumPy and zlib let go of Python's lock.

    BLAS keeps to the thread it is called from: its own would wait for each other at every small product.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(_THREADS, "tables") as pool:
        return [row for rows in pool.map(lambda job: job(), jobs) for row in rows]


def _against_baseline(
    folder: RunFolder, run: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]], config: EvalConfig
) -> list[Row]:
    """mT5D, where a run of the model to divide by is named.

    Raises:
        DataError: that run has no answers to ImageNet-P.
    """
    named = "" if run["kind"] == SELF_TRAINING else load_config(folder.root, kind=EvaluationConfig).baseline
    records = {key: evals["imagenet-p"] for key, evals in answers.items() if "imagenet-p" in evals}
    if not named or not records:
        return []
    other = RunFolder(Path(named))
    theirs = read_cells(other, other.read_run(whole=True))
    baseline = next((evals["imagenet-p"] for evals in theirs.values() if "imagenet-p" in evals), None)
    if baseline is None:
        raise DataError(f"the baseline {named} has no answers to imagenet-p; measure them there first")
    rows = relative_t5d_rows(records, baseline, config)
    if not rows:
        raise DataError(
            f"the baseline {named} did not answer the same clips of all ten perturbations; measure them there"
        )
    return [
        dataclasses.replace(row, protocol=f"{run['plans'][row.generation]['protocols']['imagenet-p']}; {row.protocol}")
        for row in rows
    ]


def read_config(folder: RunFolder) -> Config:
    """The configuration that a training run was made with."""
    config = load_config(folder.root)
    assert isinstance(config, Config)
    return config


def read_eval_config(folder: RunFolder) -> EvalConfig:
    """How the models of a run folder were measured."""
    kind = Config if folder.read_run(whole=True)["kind"] == SELF_TRAINING else EvaluationConfig
    return load_config(folder.root, kind=kind).eval


def _named(row: Row, run: Mapping[str, Any]) -> Row:
    model = run["models"].get(row.generation, {}).get("label", "")
    generation = row.generation if run["kind"] == SELF_TRAINING or row.generation == "all" else ""
    return dataclasses.replace(row, run=run["name"], seed=str(run["seed"]), model=model, generation=generation)


def read_cells(folder: RunFolder, run: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Arrays]]]:
    """Model to eval to cell to arrays, of the cells that are there."""
    answers: dict[str, dict[str, dict[str, Arrays]]] = {}
    for key in run["order"]:
        planned = run["plans"][key]
        plan = Plan(protocols=planned["protocols"], cells=planned["cells"])
        paths = {(name, c): folder.cell(key, name, c) for name, cells in plan.cells.items() for c in cells}
        there = {place: path for place, path in paths.items() if path.is_file()}
        made = run["files"] if run.get("status") == "complete" else {}
        gone = [path for place, path in paths.items() if place not in there and _below(folder, path) in made]
        if gone:
            raise DataError(f"{gone[0]} is gone, which the finished run had; run the same command again")
        weights = weights_fingerprint(folder, run, key) if there else ""
        answers[key] = {}
        for (name, cell), path in there.items():
            arrays = NpzArrays(path)
            if str(arrays.get("made_by")) != plan.made_by(weights, name, cell):
                raise DataError(f"{path} was made from other weights or data; run the same command again")
            answers[key].setdefault(name, {})[cell] = arrays
    return answers


def _below(folder: RunFolder, path: Path) -> str:
    return str(path.relative_to(folder.root))


def weights_fingerprint(folder: RunFolder, run: Mapping[str, Any], key: str) -> str:
    """What the records of a model depend on besides its plan."""
    if run["kind"] == SELF_TRAINING:
        return file_fingerprint(folder.weights(key))
    return str(run["models"][key]["fingerprint"])


def _place(eval_name: str, cell: str) -> tuple[str, str]:
    """The subset and level that a cell is called by in the table."""
    if eval_name in ("imagenet-c", "imagenet-c-bar") and cell[-1:].isdigit():
        name, _, severity = cell.rpartition("-")
        return name, severity
    return ("all" if cell in ("val", "sweep", eval_name) else cell), ""


def _remarks(name: str, records: Mapping[str, Mapping[str, Arrays]], protocols: Mapping[str, str]) -> list[Row]:
    """Rows for what is odd about a cell: images that could not be read, and answers that no sound model gives."""
    rows = []
    for key, cells in records.items():
        for cell, arrays in cells.items():
            subset, level = _place(name, cell)
            row = functools.partial(
                Row, generation=key, eval=name, subset=subset, level=level, unit="count", higher_is_better=False
            )
            count = len(arrays["ids"])
            if (bad := arrays.get("unreadable")) is not None:
                said = f"left out: {', '.join(bad[:5].tolist())}{' and more' if len(bad) > 5 else ''}"
                protocol = f"{protocols[key]}; {said}"
                rows.append(row(metric="unreadable_images", value=float(len(bad)), n=count, protocol=protocol))
            if findings := findings_of(name, arrays):
                protocol = f"{protocols[key]}; {'; '.join(findings)}"
                rows.append(row(metric="warnings", value=float(len(findings)), n=count, protocol=protocol))
    return rows


def _pseudo_label_rows(folder: RunFolder, run: Mapping[str, Any], config: Config) -> list[Row]:
    from nsbench.data.images import PoolTruth
    from nsbench.evals.pseudo_labels import PseudoLabelRecord, measure_pseudo_labels

    records: dict[str, PseudoLabelRecord] = {}
    for generation in run["order"]:
        if columns := _pseudo_labels(folder, generation, config):
            records[generation] = PseudoLabelRecord(**columns)
    if not records:
        return []
    images = len(next(iter(records.values())).ids)
    truth = PoolTruth(**read_npz(folder.truth)) if folder.truth.is_file() else None
    weights = "last weights" if config.teacher.weights == "raw" else "averaged weights"
    how = "NOISED (negative control)" if config.teacher.noised else "un-noised"
    who = f"teacher {config.teacher.model}" if config.teacher.model else f"teacher {how}, {weights}"
    protocol = f"{run['dataset_title']} pool, {images} images; {who}"
    rows = measure_pseudo_labels(records, truth, run["classes"], config.select.min_confidence)
    return [dataclasses.replace(row, protocol="; ".join(filter(None, (protocol, row.protocol)))) for row in rows]


def _pseudo_labels(folder: RunFolder, generation: str, config: Config) -> dict[str, Any]:
    """Columns of a generation's labels and selection, all shards together; none where it has none."""
    import pyarrow.parquet as pq

    chosen_by = "1" if config.select.when == "once" else generation
    labels = sorted(folder.labels(generation).glob("*.parquet"))
    selections = [folder.selection(chosen_by) / path.name for path in labels]
    if not labels or not all(path.is_file() for path in selections):
        return {}
    keys = ["key"] if folder.truth.is_file() else []  # 10^8 of them would fill the memory, and nothing is known of any
    tables = [pq.read_table(path, columns=[*keys, "label", "confidence"]) for path in labels]
    num = sum(map(len, tables))
    copies = [pq.read_table(path, columns=["copies"])["copies"].to_numpy() for path in selections]
    return {
        "ids": np.array([key for table in tables for key in table["key"].to_pylist()]) if keys else np.arange(num),
        "labels": np.concatenate([table["label"].to_numpy() for table in tables]),
        "confidence": np.concatenate([table["confidence"].to_numpy() for table in tables]),
        "copies": np.concatenate(copies).astype(np.int64),
    }


def _cost_rows(folder: RunFolder, run: Mapping[str, Any], answers: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Seconds, images/s and memory of each stage; what a rerun does not reproduce."""
    rows = []

    def add(generation: str, subset: str, metric: str, value: float, unit: str) -> None:
        row = Row(
            generation=generation, eval="cost", subset=subset, metric=metric, value=value, n=1, unit=unit,
            higher_is_better=metric == "images_per_second", protocol=run["hardware"]["device"],
        )  # fmt: skip
        rows.append(row)

    for key in run["order"]:
        if (params := run["models"].get(key, {}).get("params")) is not None:
            add(key, "model", "parameters", float(params), "count")
        if run["kind"] == SELF_TRAINING and folder.train_record(key).is_file():
            _training_costs(folder, key, functools.partial(add, key))
        for name, cells in answers.get(key, {}).items():
            seconds = sum(float(arrays["seconds"]) for arrays in cells.values())
            add(key, f"evaluate {name}", "seconds", seconds, "seconds")
    if folder.total.is_file():
        record = read_json(folder.total)
        add("all", "total", "seconds", record["seconds"], "seconds")
        add("all", "total", "peak_memory_bytes", record["peak_memory_bytes"], "bytes")
    return rows


def _training_costs(folder: RunFolder, key: str, add: Callable[[str, str, float, str], None]) -> None:
    record = read_json(folder.train_record(key))
    add("train", "seconds", record["seconds"], "seconds")
    add("train", "images_per_second", record["images_per_second"], "images/s")
    add("train", "peak_memory_bytes", record["peak_memory_bytes"], "bytes")
    labels = folder.label_record(key)
    if labels.is_file():
        record = read_json(labels)
        for stage in ("label", "select"):
            add(stage, "seconds", record[f"{stage}_seconds"], "seconds")
