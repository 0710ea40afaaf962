"""One model, every cell: what is measured already is left alone, and what fails does not stop the rest."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nsbench.config import EvalConfig
from nsbench.errors import DataError, NsbenchError, OutOfMemory
from nsbench.evals import EVALS, EvalContext, Sets
from nsbench.evals.warnings import HALVED
from nsbench.files import fingerprint, read_npz, write_npz
from nsbench.runfolder import RunFolder, is_generation
from nsbench.track import Progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured of one model, and what its records depend on besides the weights."""

    protocols: Mapping[str, str]
    """By eval."""
    cells: Mapping[str, Mapping[str, str]]
    """Fingerprint of what each cell shows, by eval and cell."""

    def made_by(self, weights: str, eval_name: str, cell: str) -> str:
        """Fingerprint of a cell's record."""
        return fingerprint(weights, self.protocols[eval_name], self.cells[eval_name][cell])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """How the measuring of one model went."""

    new: int
    """Cells that were answered now."""
    failed: tuple[str, ...]
    """One line for each cell that could not be."""


def planned_evals(config: EvalConfig, sets: Sets) -> tuple[str, ...]:
    """The evals asked for whose images are there; `all` asks for every one."""
    asked = tuple(EVALS) if "all" in config.evals else config.evals
    return tuple(name for name in asked if EVALS[name].cells(config, sets))


def plan(config: EvalConfig, sets: Sets, note: str = "") -> Plan:
    """What is to be measured with these images; `note` is what every protocol must say of the model."""
    names = planned_evals(config, sets)
    return Plan(
        protocols={name: "; ".join(filter(None, (EVALS[name].protocol(config, sets), note))) for name in names},
        cells={
            name: {cell: EVALS[name].shown(sets, cell) for cell in EVALS[name].cells(config, sets)} for name in names
        },
    )


def measure(folder: RunFolder, key: str, weights: str, context: EvalContext, planned: Plan) -> Measured:
    """Answer every cell of every eval with one model; a cell whose record fits is left alone.

    Args:
        key: the generation, or the model's name: where the records go.
        weights: fingerprint of the model.
    """
    who = f"generation {key}" if is_generation(key) else key
    cells = [(name, cell) for name, of_eval in planned.cells.items() for cell in of_eval]
    new, failed = 0, []
    progress = context.progress if context.ranks.is_main else Progress("none")
    with progress.counter(f"evaluate {who}", len(cells), unit="cell") as counter:
        for name, cell in cells:
            path, made_by = folder.cell(key, name, cell), planned.made_by(weights, name, cell)
            if not context.ranks.first(functools.partial(_fits, path, made_by)):
                new += 1
                try:
                    _answer(context, name, cell, path, made_by)
                except DataError as error:
                    failed.append(f"{name}/{cell}: {error}")
                    progress.line(f"failed: {failed[-1]}")
            counter.advance(cell=f"{name}/{cell}")
    if new:
        progress.line(f"{who}: {len(cells) - len(failed)} of {len(cells)} cells measured")
    return Measured(new=new, failed=tuple(failed))


def _answer(context: EvalContext, name: str, cell: str, path: Path, made_by: str) -> None:
    """Write the record of one cell. Where memory runs out its batches are halved, and the record says so."""
    began, asked = time.monotonic(), context.config.batch_size
    arrays = _predict(context, name, cell)
    while arrays is None:
        smaller = context.config.batch_size // 2
        context.progress.line(f"{name}/{cell}: not enough memory; goes on with batches of {smaller:,} images")
        context = dataclasses.replace(context, config=dataclasses.replace(context.config, batch_size=smaller))
        arrays = _predict(context, name, cell)
    if context.config.batch_size < asked:
        arrays[HALVED] = np.array(context.config.batch_size)
    arrays |= {"made_by": np.array(made_by), "seconds": np.array(time.monotonic() - began)}

    def write() -> None:
        write_npz(path, arrays)

    context.ranks.first(write)


def _predict(context: EvalContext, name: str, cell: str) -> dict[str, Any] | None:
    """A cell's arrays; None where a smaller batch may fit. By then nothing holds on to the tensors of the large one."""
    try:
        return EVALS[name].predict(context, cell)
    except OutOfMemory:
        if context.config.batch_size == 1:
            raise
    context.release()
    return None


def refuse_failures(measured: Sequence[Measured]) -> None:
    """Raise the first failure of a run that is complete or nothing.

    Raises:
        DataError: a cell failed.
    """
    for one in measured:
        for line in one.failed:
            raise DataError(line)


def _fits(path: Path, made_by: str) -> bool:
    if not path.is_file():
        return False
    try:
        return str(read_npz(path)["made_by"]) == made_by
    except (NsbenchError, KeyError):
        return False
