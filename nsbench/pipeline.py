"""The plan: teacher, then label, select and train each student, evaluate every generation, report.

The same command again continues: every stage and every cell is a file with the fingerprint of what it was made from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from nsbench.allocator import keep_freed_memory
from nsbench.config import Config
from nsbench.errors import ConfigError
from nsbench.evals import EvalContext
from nsbench.files import file_fingerprint, read_json, write_json
from nsbench.measuring import measure as measure_cells
from nsbench.measuring import plan, refuse_failures
from nsbench.runfolder import RunFolder
from nsbench.runrecord import cache_folder, finish, is_finished, peak_memory, refuse_other_config, start
from nsbench.tables import check_evals, write_tables
from nsbench.track import Progress


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
    check_evals(config.eval)
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

    keep_freed_memory()
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
            cache=cache_folder(config.data.cache_dir, folder),
            progress=progress,
        )
        if measure:
            planned = plan(config.eval, task.evaluation)
            refuse_failures([measure_cells(folder, name, file_fingerprint(folder.weights(name)), context, planned)])
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
