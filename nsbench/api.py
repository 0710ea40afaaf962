"""The public functions: what the commands do, from Python."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsbench.configfile import load_config
from nsbench.errors import ConfigError, DataError
from nsbench.evaluation import evaluate_models
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.results import read_results
from nsbench.runfolder import RunFolder
from nsbench.track import ProgressMode

if TYPE_CHECKING:
    import pandas as pd

    from nsbench.pretrained import Pretrained

Model = str | Callable[..., Any]


def evaluate(
    model: Model | Sequence[Model] | Mapping[str, Model],
    data_dir: str | Path,
    evals: str | Sequence[str] = ("all",),
    *,
    out: str | Path | None = None,
    progress: ProgressMode = "none",
    device: str = "auto",
    view: dict[str, Any] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Measure one or several models and return the results table.

    Args:
        model: a name that `nsbench eval` takes, or anything callable that turns float images [N, 3, H, W] in [0, 1]
            into logits [N, C], such as an nn.Module. The first is what the others are compared with. A dict gives
            each a name for the table.
        data_dir: the folder that holds `val`, `imagenet-a`, `imagenet-c` and so on, or one set of images.
        evals: names of `nsbench ls evals`; `all` is every one whose images are there.
        out: run folder for records and report; the same call continues there. None keeps nothing.
        progress: what is said meanwhile on stderr.
        device: torch device; auto is CUDA where there is one.
        view: what replaces a model's preprocessing: size, crop_pct, interpolation, mean, std.
        options: any key of the config's `eval` section, such as batch_size=64, limit=1000, epsilons_px=(0, 4).

    Returns:
        One row for every number, with interval, n, unit and protocol: the columns of `results.csv`.

    Raises:
        ConfigError: an unknown eval, option or model.
        DataError: images or weights that are not there, or a cell that could not be measured.
    """
    by_name = dict(_named(model))
    asked = evals.split(",") if isinstance(evals, str) else list(evals)
    given: dict[str, Any] = {"models": list(by_name), "data.dir": str(data_dir), "device": device, "eval.evals": asked}
    given |= {f"view.{name}": value for name, value in (view or {}).items()}
    given |= {f"eval.{name}": value for name, value in options.items()}
    config = load_config(None, kind=EvaluationConfig, overrides=given)

    def load(name: str) -> Pretrained:
        from nsbench.pretrained import load_pretrained, wrap

        one = by_name[name]
        shown = config.view.overrides()
        if isinstance(one, str):
            return dataclasses.replace(load_pretrained(one, **shown), name=name)
        return wrap(one, name=name, **shown)

    with tempfile.TemporaryDirectory(prefix="nsbench-") as scratch:
        folder = RunFolder(Path(out) if out is not None else Path(scratch) / "run")
        done = evaluate_models(config, folder, argv=["nsbench.evaluate"], progress=progress, load=load)
        if done.failed:
            raise DataError("; ".join(done.failed))
        return read_results(folder.results)


def load_results(run: str | Path) -> pd.DataFrame:
    """The results table of a run folder, with the columns and types that it was written with.

    Raises:
        DataError: there is none, or it is of another schema.
    """
    return read_results(RunFolder(Path(run)).results)


def train_and_eval(config: str | Path | None = None, *, out: str | Path | None = None, **overrides: Any) -> Path:
    """Train teacher and students, measure every generation, write the report; what `nsbench train-and-eval` does.

    Args:
        config: a preset, a TOML file or a run folder; None is the embedded default.
        out: run folder; default runs/<name>.
        overrides: top-level keys of the config, such as generations=1, seed=3.

    Returns:
        The run folder.

    Raises:
        NsbenchError: as the command says it.
    """
    from nsbench import pipeline

    resolved = load_config(config, overrides=overrides)
    folder = RunFolder(Path(out) if out is not None else Path("runs") / resolved.run_name)
    pipeline.train_and_eval(resolved, folder, argv=["nsbench.train_and_eval"], progress="none")
    return folder.root


def _named(model: Model | Sequence[Model] | Mapping[str, Model]) -> list[tuple[str, Model]]:
    """Every model with its name for the table."""
    if isinstance(model, Mapping):
        return list(model.items())
    models = [model] if isinstance(model, str) or callable(model) else list(model)
    names = [one if isinstance(one, str) else _name_of(one, place) for place, one in enumerate(models)]
    for place, one in enumerate(models):
        if names[place] in names[:place]:
            if isinstance(one, str):
                raise ConfigError(f"the model {one!r} is named twice")
            names[place] = f"{names[place]}-{place}"  # two lambdas
    return list(zip(names, models, strict=True))


def _name_of(model: Any, place: int) -> str:
    """A name for tables."""
    return str(getattr(model, "__name__", "") or f"{type(model).__name__}-{place}")
