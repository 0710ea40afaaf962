"""The plan: teacher, then label, select and train each student, evaluate every generation, report.

The same command again continues: every stage and every cell is a file with the fingerprint of what it was made from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nsbench.allocator import keep_freed_memory
from nsbench.config import Config
from nsbench.configfile import to_dict
from nsbench.data.images import ImageSet
from nsbench.data.listing import first_of_every_class
from nsbench.distributed import Ranks, connected
from nsbench.errors import ConfigError
from nsbench.evals import EvalContext
from nsbench.files import file_fingerprint, read_json, write_json
from nsbench.measuring import Plan, plan, refuse_failures
from nsbench.measuring import measure as measure_cells
from nsbench.results import read_results
from nsbench.runfolder import MODELS, RunFolder
from nsbench.runrecord import (
    cache_folder,
    finish,
    is_finished,
    peak_memory,
    record_end,
    refuse_other_config,
    start,
    take_over,
)
from nsbench.tables import check_evals, write_tables
from nsbench.track import Curves, Mirror, Progress, ProgressMode


def train_and_eval(
    config: Config,
    folder: RunFolder,
    *,
    argv: Sequence[str],
    progress: ProgressMode = "auto",
    measure: bool = True,
    base: RunFolder | None = None,
) -> bool:
    """Run the whole plan in `folder`, or what is left of it; under torchrun together with other ranks.

    Args:
        argv: the command line, for the record.
        measure: False trains without evaluating.
        base: another run, whose generation 0 is taken over; it is made anew if this run's is another.

    Returns:
        False if everything was done already and nothing was written.

    Raises:
        ConfigError: the folder belongs to another configuration, or is in use; nothing is overwritten.
    """
    check_evals(config.eval)
    with connected() as ranks, ExitStack() as held:
        ranks.first(lambda: refuse_other_config(config, folder))
        if ranks.first(lambda: is_finished(folder, measure)):
            return False
        ranks.first(lambda: held.enter_context(folder.locked()) and None)
        speaker = Progress(progress, folder.log) if ranks.is_main else Progress("none")
        run = _Run(config=config, folder=folder, ranks=ranks, progress=speaker, measure=measure, base=base)
        try:
            run.run(list(argv))
        except BaseException as error:
            if ranks.is_main:
                record_end(folder, error)
            raise
    return True


def rebuild(folder: RunFolder, *, pictures: bool = True) -> Path:
    """Make tables and report anew from the records alone; neither torch nor the data set is needed.

    Tables whose predictions were left behind, or are of an older schema, stay as they were found.

    Raises:
        DataError: not a run folder, or a record is damaged.
    """
    from nsbench.report.page import write_report
    from nsbench.report.records import is_archive

    if not is_archive(folder):
        write_tables(folder)
    return write_report(folder, pictures=pictures)


def compare(folders: Sequence[RunFolder], out: Path, *, last_students: bool = False, pictures: bool = True) -> Path:
    """Tables and report of several runs, in a folder of its own; models of different runs are paired by their records.

    Args:
        last_students: take a self-training run as the one model that it ended with.

    Raises:
        ConfigError: `out` is a run folder; or runs that must not be put side by side.
    """
    from nsbench.pairing import against_first, sides_of
    from nsbench.report.page import write_comparison
    from nsbench.report.records import is_archive

    if RunFolder(out).run_json.exists():
        raise ConfigError(f"{out} is a run folder and would be overwritten; choose another with -o")
    for folder in folders:
        if not is_archive(folder):
            write_tables(folder)
    models = last_students or all(folder.read_run().get("kind") == MODELS for folder in folders)
    paired = models and not any(map(is_archive, folders))
    against = against_first([sides_of(folder) for folder in folders]) if paired else []
    return write_comparison(folders, out, against=against, last_students=last_students, pictures=pictures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """One run of the plan, on one of its ranks."""

    config: Config
    folder: RunFolder
    ranks: Ranks
    progress: Progress
    measure: bool
    base: RunFolder | None

    def run(self, argv: list[str]) -> None:
        import torch

        from nsbench.data.tasks import load_task
        from nsbench.models import choose_device

        config, folder, ranks = self.config, self.folder, self.ranks
        keep_freed_memory()
        torch.set_num_threads(config.threads)
        device = choose_device(config.device)
        data = dataclasses.replace(config.data, cache_dir=str(self._cache))
        task = load_task(data, config.seed, self.progress)
        mirrors: list[Mirror] = []
        ranks.first(lambda: mirrors.extend(self._mirrors()))
        with contextlib.closing(Curves(folder.metrics, mirrors)) as curves:
            self._work(task, device, curves, argv)

    def _work(self, task: Any, device: Any, curves: Curves, argv: list[str]) -> None:
        """Make and measure every generation."""
        from nsbench.engine.generations import Engine, generation_names

        config, folder, ranks = self.config, self.folder, self.ranks
        began = time.time()
        engine = Engine(
            config=config, task=task, folder=folder, device=device, progress=self.progress, curves=curves, ranks=ranks
        )
        sets = {name: self._sets(engine, name) for name in generation_names(config)}
        plans = {name: plan(config.eval, sets[name], _note(engine, name)) for name in sets}
        hardware = {"device": str(device), "threads": config.threads, "ranks": ranks.world}
        ranks.first(lambda: start(config, folder, task, plans, argv=argv, hardware=hardware))
        if self.base is not None:
            ranks.first(functools.partial(take_over, folder, self.base))
        for name, model in engine.run():
            if self.measure:
                self._measure(name, self._context(engine, name, model, sets[name]), plans[name])
        ranks.first(lambda: self._end(engine, began))

    def _context(self, engine: Any, name: str, model: Any, sets: Mapping[str, Any]) -> EvalContext:
        return EvalContext(
            model=model,
            device=engine.device,
            config=self.config.eval,
            sets=sets,
            cache=self._cache,
            input_px=engine.view(name).size if engine.task.suites is not None else None,
            ranks=self.ranks,
            progress=self.progress,
        )

    @property
    def _cache(self) -> Path:
        return cache_folder(self.config.data.cache_dir, self.folder)

    def _mirrors(self) -> tuple[Mirror, ...]:
        if not self.config.track or not self.ranks.is_main:
            return ()
        from nsbench.mirrors import open_mirrors

        return open_mirrors(
            self.config.track, self.folder.root, name=self.folder.root.name, config=to_dict(self.config)
        )

    def _sets(self, engine: Any, name: str) -> Mapping[str, Any]:
        """What a generation is measured on: the task's own test images, or the suites as it sees them."""
        task = engine.task
        if task.suites is None:
            return {key: _limited(images, self.config.eval.limit) for key, images in task.evaluation.items()}
        from nsbench.evals.sets import suite_sets

        return suite_sets(task.suites, engine.view(name), len(task.classes), self.config.eval)

    def _measure(self, name: str, context: EvalContext, planned: Plan) -> None:
        weights = self.ranks.first(functools.partial(file_fingerprint, self.folder.weights(name)))
        refuse_failures([measure_cells(self.folder, name, weights, context, planned)])

    def _end(self, engine: Any, began: float) -> None:
        """Costs, pictures, tables and page of a run whose work is done."""
        folder = self.folder
        before = read_json(folder.total)["seconds"] if folder.total.is_file() else 0.0
        write_json(folder.total, {"seconds": before + time.time() - began, "peak_memory_bytes": peak_memory()})
        if not self.measure:
            finish(folder, measured=False)
            return
        from nsbench.report.page import write_report

        if self.config.eval.samples:
            self._write_samples(engine)
        write_tables(folder)
        _mirror(engine.curves, folder)
        finish(folder, measured=True)
        write_report(folder)

    def _write_samples(self, engine: Any) -> None:
        from nsbench.engine.generations import generation_names
        from nsbench.engine.label_store import label_path
        from nsbench.samples import Gallery, Labels, write_samples

        def opened(name: str) -> EvalContext:
            return self._context(engine, name, engine.model(name), self._sets(engine, name))

        names, last = generation_names(self.config), str(self.config.generations)
        gallery = Gallery(
            folder=self.folder,
            lines={name: name for name in names},
            context=opened(last),
            open=opened,
            classes=engine.task.classes,
        )
        labels = None if last == "0" else Labels(
            labels=label_path(self.folder.labels(last), 0),
            selection=label_path(engine.selection(last), 0),
            images=engine.task.unlabelled.shard(0),
            truth=engine.task.truth,
            min_confidence=self.config.select.min_confidence,
            teacher=str(self.config.generations - 1),
        )  # fmt: skip
        write_samples(gallery, labels)


def _limited(images: ImageSet, limit: int) -> ImageSet:
    """At most `limit` images, the first of every class first, and marked so; 0: all."""
    if not limit or len(images) <= limit:
        return images
    some = images.take(first_of_every_class(images.labels, limit))
    return dataclasses.replace(some, preprocessing=f"{images.preprocessing}; partial: at most {limit} images")


def _mirror(curves: Curves, folder: RunFolder) -> None:
    """Show the generations' own means beside their curves."""
    frame = read_results(folder.results)
    whole = frame[(frame["versus"] == "") & (frame["subset"] == "all") & (frame["level"] == "")]
    for row in whole[whole["eval"] != "pseudo-labels"].to_dict("records"):
        curves.result(str(row["generation"]), f"{row['eval']}/{row['metric']}", float(row["value"]))


def _note(engine: Any, name: str) -> str:
    """What protocols must say of how a generation sees images that are resized for it."""
    return "" if engine.task.suites is None else f"model sees {engine.view(name).size} px"
