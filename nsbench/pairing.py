"""Models that were measured in folders of their own, paired image by image from their records.

Two models are paired in an eval whose protocols say the same but for the number of images, and only over the images
that both answered. The differences come out of the evals' own code, as if both had been measured in one run.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsbench.config import EvalConfig
from nsbench.errors import DataError
from nsbench.evals import EVALS
from nsbench.evals.base import Arrays
from nsbench.evals.details import detail_rows
from nsbench.files import file_fingerprint, fingerprint
from nsbench.report.gathered_models import Against
from nsbench.results import Row, to_frame
from nsbench.runfolder import SELF_TRAINING, RunFolder, shows_imagenet
from nsbench.tables import read_cells, read_eval_config

FIRST, OTHER = "first", "other"
"""`model` in the rows of a pair."""

_COUNTED = re.compile(r"\b[\d,]+ (images|videos)\b|; partial: [^;]*")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One model of a run folder with its records; equal where these are, to the fingerprint."""

    made_of: str
    """Fingerprint of folder, model and records."""
    answers_of: str
    """Fingerprint of weights, images and protocols alone: a copy of a folder has the same."""
    run: str
    """Name of the folder's run."""
    label: str
    """What the run's table calls it; of a self-training run, which generation it is."""
    generation: str
    """Of a self-training run; else a name that no row has."""
    seed: str
    """Of a self-training run; else empty."""
    protocols: Mapping[str, str]
    """By eval."""
    shown: Mapping[str, Mapping[str, str]]
    """Fingerprint of what each cell shows, by eval and cell."""
    records: Mapping[str, Mapping[str, Arrays]]
    """Arrays by eval and cell."""
    config: EvalConfig
    classes: Sequence[str]
    is_imagenet: bool
    """Whether the clean images are ImageNet's own."""
    is_finished: bool
    """Whether its run has everything that it was to measure."""

    @property
    def name(self) -> str:
        return f"{self.label} of {self.run}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Side) and self.made_of == other.made_of

    def __hash__(self) -> int:
        return hash(self.made_of)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """What is measured of two models on the images that both answered."""

    rows: pd.DataFrame
    """Rows of `FIRST` and of `OTHER`, and the differences of the second to the first (`versus` is `first`)."""
    apart: Mapping[str, str]
    """Evals that both answered and that are not paired, and why."""
    common: Mapping[str, tuple[int, int]]
    """By paired eval, of the cell of which the other answered the least: images in common, and all of the first's."""


def sides_of(folder: RunFolder) -> list[Side]:
    """The models of a run in their order; of a self-training run its last student alone.

    Raises:
        DataError: not a run folder, damaged or changed records, or a self-training run without a student.
    """
    run = folder.read_run(whole=True)
    _require_unchanged(folder, run)
    answers, config = read_cells(folder, run), read_eval_config(folder)
    return [
        Side(
            made_of=fingerprint(str(folder.root.resolve()), key, _answers_of(answers[key]), repr(config)),
            answers_of=_answers_of(answers[key]),
            run=run["name"],
            label=_label(run, key),
            generation=key if run["kind"] == SELF_TRAINING else "none",
            seed=str(run["seed"]) if run["kind"] == SELF_TRAINING else "",
            protocols=run["plans"][key]["protocols"],
            shown=run["plans"][key]["cells"],
            records=answers[key],
            config=config,
            classes=run.get("classes", ()),
            is_imagenet=shows_imagenet(run),
            is_finished=run.get("status") == "complete",
        )
        for key in _sides(folder, run)
    ]


def _require_unchanged(folder: RunFolder, run: Mapping[str, Any]) -> None:
    """Refuse answers that are not those that the finished run had: what is compared must have been measured."""
    for name, made in run.get("files", {}).items():
        path = folder.root / name
        if path.suffix == ".npz" and path.is_file() and file_fingerprint(path) != made:
            raise DataError(f"{path} was changed after the run; measure it again by the same command")


def _answers_of(answers: Mapping[str, Mapping[str, Arrays]]) -> str:
    cells = [(name, cell, str(arrays["made_by"])) for name, of in answers.items() for cell, arrays in of.items()]
    return fingerprint(sorted(cells))


def _sides(folder: RunFolder, run: Mapping[str, Any]) -> list[str]:
    if run["kind"] != SELF_TRAINING:
        return list(run["order"])
    students = [key for key in run["order"] if key.isdigit()]
    if not students:
        raise DataError(f"{folder.root} has no generation yet; finish the run first")
    return [max(students, key=int)]


def _label(run: Mapping[str, Any], key: str) -> str:
    return f"gen {key}" if run["kind"] == SELF_TRAINING else str(run["models"][key].get("label", key))


@functools.lru_cache(maxsize=64)
def pair(first: Side, other: Side) -> Pair:
    """Measure two models on the images that both answered; what only one of them answered is measured of it alone."""
    sides = {FIRST: first, OTHER: other}
    answered = [name for name in EVALS if all(side.records.get(name) for side in sides.values())]
    apart = {name: reason for name in answered if (reason := _why_apart(name, first, other))}
    answers = {key: {k: r for k, r in side.records.items() if k not in apart} for key, side in sides.items()}
    protocols = {key: side.protocols for key, side in sides.items()}
    rows: list[Row] = []
    for name in EVALS:
        records = {key: evals.get(name, {}) for key, evals in answers.items()}
        if any(records.values()):
            rows += EVALS[name].rows(
                records, first.config, {key: told.get(name, "") for key, told in protocols.items()}
            )
    alike = first.is_imagenet and other.is_imagenet
    rows += detail_rows(answers, protocols, first.config, first.classes, is_imagenet=alike)
    named = (dataclasses.replace(row, generation="", model=row.generation) for row in rows)
    common = {name: _common(first.records[name], other.records[name]) for name in answered if name not in apart}
    return Pair(rows=to_frame(named), apart=apart, common=common)


def _common(first: Mapping[str, Arrays], other: Mapping[str, Arrays]) -> tuple[int, int]:
    counts = [
        (len(np.intersect1d(first[cell]["ids"], other[cell]["ids"])), len(np.unique(first[cell]["ids"])))
        for cell in first.keys() & other.keys()
    ]
    return min(counts, key=lambda count: count[0] / count[1], default=(0, 0))


def _why_apart(name: str, first: Side, other: Side) -> str:
    """Why the answers of two models to an eval are not to be paired; empty where they are."""
    told = [side.protocols.get(name, "") for side in (first, other)]
    if len({_COUNTED.sub("", text) for text in told}) > 1:
        return f"measured under different protocols ({_difference(*told)})"
    for cell in first.records[name].keys() & other.records[name].keys():
        mine, theirs = first.records[name][cell], other.records[name][cell]
        alike = first.shown[name][cell] == other.shown[name][cell]
        if not alike and told[0] == told[1]:
            return f"measured on different images, though both call them alike (cell {cell})"
        if alike:
            continue
        common, rows, others = np.intersect1d(mine["ids"], theirs["ids"], return_indices=True)
        if not len(common):
            return f"no image in common (cell {cell})"
        if not _same_labels(mine, theirs, rows, others):
            return f"images of the same names have different labels (cell {cell})"
    return ""


def _same_labels(mine: Arrays, theirs: Arrays, rows: npt.NDArray[Any], others: npt.NDArray[Any]) -> bool:
    if "labels" not in mine or "labels" not in theirs:
        return True
    return np.array_equal(mine["labels"][rows], theirs["labels"][others])


def _difference(first: str, other: str) -> str:
    """The parts of two protocols that are not in both."""
    parts = [text.split("; ") for text in (first, other)]
    mine, theirs = ([part for part in parts[k] if part not in parts[1 - k]] for k in (0, 1))
    return f"{'; '.join(mine) or 'nothing'!r} and {'; '.join(theirs) or 'nothing'!r}"


def against_first(runs: Sequence[Sequence[Side]]) -> list[Against]:
    """For each run but the first, its models' differences to the first model of the first run.

    Args:
        runs: `sides_of` each folder.
    """
    first = runs[0][0]
    found = []
    for sides in runs[1:]:
        frames: list[pd.DataFrame] = []
        apart: dict[tuple[str, str], str] = {}
        for side in sides:
            paired = pair(first, side)
            differences = paired.rows[paired.rows["versus"] == "first"]
            frames.append(differences.assign(model=side.label))
            apart |= {(side.label, name): reason for name, reason in paired.apart.items()}
        found.append(Against(rows=pd.concat(frames, ignore_index=True), apart=apart))
    return found
