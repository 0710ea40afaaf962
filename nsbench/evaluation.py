"""Any models on any suites: load each, show it every cell that its records lack, then tables and report.

The same command again continues: a cell is a file with the fingerprint of weights, protocol and images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsbench.allocator import keep_freed_memory
from nsbench.configfile import to_toml
from nsbench.data.suites import Suites, open_suites
from nsbench.distributed import Ranks, connected
from nsbench.errors import ConfigError, DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.evals.sets import suite_sets
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.files import write_text
from nsbench.measuring import Measured, Plan, measure, plan
from nsbench.results import read_results
from nsbench.runfolder import MODELS, RunFolder, is_generation
from nsbench.runrecord import (
    cache_folder,
    finish,
    is_finished,
    refuse_other_config,
    same_models,
    write_started,
)
from nsbench.tables import check_evals, write_tables
from nsbench.track import Progress, ProgressMode

if TYPE_CHECKING:
    import torch

    from nsbench.pretrained import Pretrained

Load = Callable[[str], "Pretrained"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """How an evaluation went."""

    new: int
    """Cells that were answered now."""
    failed: tuple[str, ...]
    """One line for each cell that could not be."""
    skipped: Mapping[str, str]
    """Evals that were asked for and whose images are not there, and why."""
    notes: tuple[str, ...]
    """What the models' loader has to say."""
    is_main: bool
    """Whether this rank is the one that speaks."""


def evaluate_models(
    config: EvaluationConfig,
    folder: RunFolder,
    *,
    argv: Sequence[str],
    progress: ProgressMode = "auto",
    load: Load | None = None,
) -> Evaluated:
    """Measure every model of `config` in `folder`, or what is left of it; under torchrun together with other ranks.

    Args:
        argv: the command line, for the record.
        load: gives a model by its name, in place of `nsbench.pretrained.load_pretrained`.

    Raises:
        ConfigError: an unknown eval or model; the folder belongs to another configuration, or is in use.
        DataError: weights or images that are not there; or none of the evals can run.
    """
    check_evals(config.eval)
    if config.baseline:
        RunFolder(Path(config.baseline)).read_run()
    if config.eval.torchattacks:
        from nsbench.attacks import torchattacks_class

        for name in config.eval.torchattacks:
            torchattacks_class(name)
    suites = open_suites(
        Path(config.data.dir) if config.data.dir else None,
        {name: Path(path) for name, path in config.data.overrides().items()},
    )
    with connected() as ranks, ExitStack() as held:
        ranks.first(lambda: refuse_other_config(config, folder))
        ranks.first(lambda: held.enter_context(folder.locked()) and None)
        speaker = Progress(progress, folder.log) if ranks.is_main else Progress("none")
        run = _Run(config=config, folder=folder, suites=suites, ranks=ranks, progress=speaker, argv=tuple(argv))
        done = run.measure_all(load or _loader(config))
        ranks.first(lambda: run.report(done, load or _loader(config)))
    return done


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """One evaluation of several models."""

    config: EvaluationConfig
    folder: RunFolder
    suites: Suites
    ranks: Ranks
    progress: Progress
    argv: tuple[str, ...]

    def measure_all(self, load: Load) -> Evaluated:
        """Load and measure one model after the other: two never lie in memory together."""
        import torch

        from nsbench.models import choose_device

        config = self.config
        keep_freed_memory()
        torch.set_num_threads(config.threads)
        device = choose_device(config.device)
        if len(config.models) > 1:
            for name in config.models:
                load(name)  # a name that is wrong, or weights that are not there, are said before hours of work
        outcomes: list[Measured] = []
        models: dict[str, Any] = {}
        plans: dict[str, Plan] = {}
        skipped: dict[str, str] = {}
        for name in config.models:
            model = load(name)
            key = f"./{model.name}" if is_generation(model.name) else model.name
            context = self._context(model, device)
            seen = f"model sees {model.view.size} px, and C and P at {model.input_px} px (bicubic from other sizes)"
            plans[key] = plan(config.eval, context.sets, seen)
            skipped |= self._skipped(plans[key], model)
            weights = self.ranks.first(functools.partial(getattr, model, "fingerprint"))  # a function's is random
            models[key] = {
                "label": model.name,
                "params": model.num_parameters,
                "fingerprint": weights,
                "notes": list(model.notes),
            }
            if not plans[key].cells:
                raise DataError(_nothing_to_do(skipped))
            record = self._record(models, plans, skipped)
            last = name == config.models[-1]
            self.ranks.first(functools.partial(self._start, record, str(device), whole=last))
            outcomes.append(measure(self.folder, key, weights, context, plans[key]))
        return Evaluated(
            new=sum(outcome.new for outcome in outcomes),
            failed=tuple(line for outcome in outcomes for line in outcome.failed),
            skipped=skipped,
            notes=(
                *(f"{key}: {note}" for key, model in models.items() for note in model["notes"]),
                *_not_images(self.suites),
            ),
            is_main=self.ranks.is_main,
        )

    def report(self, done: Evaluated, load: Load) -> None:
        """Pictures, tables and page, where anything is new."""
        from nsbench.report.page import write_report

        complete = not done.failed
        if not done.new and is_finished(self.folder, measure=True):
            return
        write_tables(self.folder)
        if not len(read_results(self.folder.results)):
            return  # every cell failed: there is nothing to show
        if self.config.eval.samples:
            self._write_samples(load)
        if complete:
            finish(self.folder, measured=True)
        write_report(self.folder)

    def _write_samples(self, load: Load) -> None:
        from nsbench.models import choose_device
        from nsbench.samples import Gallery, write_samples

        run, device = self.folder.read_run(), choose_device(self.config.device)
        names = dict(zip(run["order"], dict.fromkeys(self.config.models), strict=False))

        def opened(key: str) -> EvalContext:
            return self._context(load(names[key]), device)

        context = opened(run["order"][-1])
        gallery = Gallery(
            folder=self.folder,
            lines={key: run["models"][key]["label"] for key in run["order"]},
            context=context,
            open=opened,
            classes=context.sets["val"].classes if "val" in context.sets else run["classes"],
        )
        write_samples(gallery)

    def _context(self, model: Pretrained, device: torch.device) -> EvalContext:
        import torch

        config = self.config
        net = model.model.to(device)
        layout = torch.channels_last if config.eval.channels_last else torch.contiguous_format
        net = net.to(memory_format=layout)
        return EvalContext(
            model=torch.compile(net) if config.eval.compile else net,  # type: ignore[arg-type]
            device=device,
            config=config.eval,
            sets=suite_sets(self.suites, model.view, model.num_classes, config.eval, config.workers or None),
            cache=cache_folder(config.data.cache_dir, self.folder),
            input_px=model.input_px,
            ranks=self.ranks,
            progress=self.progress,
        )

    def _skipped(self, planned: Plan, model: Pretrained) -> dict[str, str]:
        """Evals that were asked for by name, or whose images are there, and that cannot run; and why."""
        asked = EVALS if "all" in self.config.eval.evals else self.config.eval.evals
        reasons = {}
        for name in asked:
            if name not in planned.cells:
                field = name.replace("-", "_")
                reasons[name] = self.suites.missing.get(field, "") or self.suites.missing.get("val", "")
                if field in self.suites.names:
                    reasons[name] = f"{model.name} has {model.num_classes:,} classes, not ImageNet's thousand"
                elif not reasons[name] and self.suites.val is not None:
                    known = len(self.suites.val.classes)
                    reasons[name] = f"{model.name} has {model.num_classes:,} classes, and val {known:,}"
        return reasons

    def _record(
        self, models: Mapping[str, Any], plans: Mapping[str, Plan], skipped: Mapping[str, str]
    ) -> dict[str, Any]:
        """What `run.json` says of the models so far."""
        val, config = self.suites.val, self.config.eval
        limit = f"at most {config.limit} images of a set" if config.limit else ""
        return {
            "kind": MODELS,
            "seed": config.data_seed,
            "order": list(models),
            "models": dict(models),
            "plans": {key: dataclasses.asdict(planned) for key, planned in plans.items()},
            "skipped": dict(skipped),
            "classes": list(val.classes) if val is not None else [],
            "dataset": val.name if val is not None else "",
            "dataset_title": val.name if val is not None else "",
            "held_out": None if not self.suites.val_note else False,
            "embedded": False,
            "partial": ", ".join(filter(None, (limit, config.subset))),
        }

    def _start(self, record: Mapping[str, Any], device: str, *, whole: bool) -> None:
        """Write what is known so far, unless the folder has all of it and is finished."""
        if is_finished(self.folder, measure=True) and same_models(self.folder, record, whole=whole):
            return
        write_text(self.folder.config, to_toml(self.config))
        write_started(self.folder, record, self.argv, {"device": device, "threads": self.config.threads})


def _loader(config: EvaluationConfig) -> Load:
    from nsbench.pretrained import load_pretrained

    options = config.view.overrides()
    return lambda name: load_pretrained(name, **options)


def _not_images(suites: Suites) -> Iterator[str]:
    """What lies among the clean images and is not measured."""
    left_out = getattr(suites.val, "left_out", ())
    if left_out:
        yield f"val: {len(left_out):,} files are no images by their names and are left out, first {left_out[0]}"


def _nothing_to_do(skipped: Mapping[str, str]) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return f"none of the evals asked for can run ({reasons}{more})"


def require_data(config: EvaluationConfig) -> None:
    """Refuse an evaluation without data, before a model is loaded.

    Raises:
        ConfigError: nothing says where the images lie.
    """
    if not config.data.dir and not config.data.overrides():
        raise ConfigError("no images are named; give --data-dir, or single sets such as --set data.val=...")
