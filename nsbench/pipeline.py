"""The plan: teacher, then label, select and train each student, evaluate every generation, report.

The same command again continues: every stage and every cell is a file with the fingerprint of what it was made from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nsbench.config import Config
from nsbench.errors import ConfigError, DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.files import file_fingerprint, fingerprint, read_json, read_npz, write_json, write_npz
from nsbench.runfolder import RunFolder
from nsbench.runrecord import data_fingerprints, finish, is_finished, peak_memory, refuse_other_config, start
from nsbench.tables import check_evals, write_tables
from nsbench.track import Progress

if TYPE_CHECKING:
    from nsbench.engine.generations import Engine


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
    refuse_other_config(config, folder)
    if is_finished(folder, measure):
        return False
    with folder.locked():
        _run(config, folder, list(argv), Progress(progress, folder.log), measure)  # type: ignore[arg-type]
    return True


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
    start(config, folder, task, argv, str(device))
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
    write_json(folder.total, {"seconds": before + time.time() - began, "peak_memory_bytes": peak_memory()})
    if measure:
        from nsbench.report.page import write_report
        from nsbench.samples import write_samples

        write_samples(engine, context)
        write_tables(folder)
        finish(folder, measure)
        write_report(folder)
    else:
        finish(folder, measure)


def evaluate(name: str, context: EvalContext, engine: Engine) -> None:
    """Answer every cell of every eval with one generation; a cell whose record fits is left alone."""
    config, folder, sets = engine.config.eval, engine.folder, engine.task.evaluation
    weights = file_fingerprint(folder.weights(name))
    cells = [(EVALS[eval_name], cell) for eval_name in config.evals for cell in EVALS[eval_name].cells(config, sets)]
    with engine.progress.counter(f"evaluate {name}", len(cells), unit="cell") as counter:
        for evaluation, cell in cells:
            path = folder.cell(name, evaluation.name, cell)
            made_by = fingerprint(weights, evaluation.protocol(config, sets), data_fingerprints(engine.task))
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


def _fits(path: Path, made_by: str) -> bool:
    if not path.is_file():
        return False
    try:
        return str(read_npz(path)["made_by"]) == made_by
    except (DataError, KeyError):
        return False
