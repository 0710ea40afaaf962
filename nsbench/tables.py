"""The tables of a run, `results.csv` and `costs.csv`, from its records alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from nsbench.config import Config
from nsbench.errors import ConfigError, DataError
from nsbench.evals import EVALS
from nsbench.files import file_fingerprint, fingerprint, read_json, read_npz
from nsbench.results import Row, to_frame, write_results
from nsbench.runfolder import RunFolder


def check_evals(config: Config) -> None:
    """Refuse names that are not in the table of evals, before anything is done.

    Raises:
        ConfigError: names the unknown one.
    """
    for name in config.eval.evals:
        if name not in EVALS:
            raise ConfigError(f"unknown eval {name!r}; known: {', '.join(EVALS)}")


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
