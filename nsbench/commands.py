"""What the commands say and return; the command line has their options, other modules their work."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from nsbench.configfile import load_config, preset_title, presets, to_toml
from nsbench.evaluation import Evaluated, evaluate_models, require_data
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.runfolder import RunFolder, plain_name

_FLAGS = {
    "workers": "workers",
    "device": "device",
    "baseline": "baseline",
    "data_dir": "data.dir",
    "batch_size": "eval.batch_size",
    "limit": "eval.limit",
    "on_bad_image": "eval.on_bad_image",
    "subset": "eval.subset",
    "amp": "eval.amp",
}


def evaluation_config(models: Sequence[str], options: Mapping[str, Any]) -> EvaluationConfig:
    """The configuration of the command's flags."""
    overrides = {key: options[flag] for flag, key in _FLAGS.items() if options.get(flag) is not None}
    if options.get("evals"):
        overrides["eval.evals"] = options["evals"].split(",")
    if options.get("no_samples"):
        overrides["eval.samples"] = False
    if models:
        overrides["models"] = list(models)
    return load_config(
        options.get("config"), kind=EvaluationConfig, overrides=overrides, assignments=options["assignments"]
    )


def evaluate_command(models: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Run an evaluation and print its headlines; whether cells failed, or evals asked for by name could not run."""
    from nsbench.runrecord import clear

    config = evaluation_config(models, options)
    folder = RunFolder(options["out"] or default_folder(config))
    if options["dry_run"]:
        click.echo(f"# run folder: {folder.root}\n{to_toml(config)}", nl=False)
        return False
    require_data(config)
    if options["fresh"]:
        clear(folder)
    done = evaluate_models(config, folder, argv=["nsbench", *sys.argv[1:]], progress=options["progress"])
    if done.is_main:
        _say(done, folder)
    named = [] if "all" in config.eval.evals else [name for name in config.eval.evals if name in done.skipped]
    return done.is_main and bool(done.failed or named)  # torchrun stops the rank that still speaks for another's 5


def default_folder(config: EvaluationConfig) -> Path:
    """`runs/eval/<models>`; what a folder was made with is in it, and another config is refused."""
    return Path("runs") / "eval" / plain_name("+".join(config.models))


def _say(done: Evaluated, folder: RunFolder) -> None:
    from nsbench.report.summary import model_table

    if not done.new:
        click.echo(f"everything in {folder.root} is done; nothing was measured", err=True)
    for line in done.notes:
        click.echo(f"note: {line}", err=True)
    for name, reason in done.skipped.items():
        click.echo(f"skipped {name}: {reason}", err=True)
    for line in done.failed:
        click.echo(f"failed {line}", err=True)
    if folder.report.is_file():
        click.echo(model_table(folder))
        click.echo(f"\nreport: {folder.report}")


def check_command(data_dir: str | None, assignments: Sequence[str], golden: bool) -> bool:
    """Print what is found; whether nothing is wrong."""
    if golden:
        return _check_golden()
    from nsbench.data.suites import open_suites
    from nsbench.doctor import check_suites, render, verdicts

    config = load_config(
        None,
        kind=EvaluationConfig,
        overrides={"models": ["none"], **({"data.dir": data_dir} if data_dir else {})},
        assignments=assignments,
    )
    require_data(config)
    overrides = {name: Path(path) for name, path in config.data.overrides().items()}
    suites = open_suites(Path(config.data.dir) if config.data.dir else None, overrides)
    findings = check_suites(suites)
    click.echo(render(findings, verdicts(suites, findings)))
    return not any(finding.state == "problem" for finding in findings)


def _check_golden() -> bool:
    from nsbench.golden import NOT_RECOMPUTED, check_golden

    checks = check_golden()
    rows = [
        [
            one.model,
            one.metric + (" (derived)" if one.derived else ""),
            f"{one.computed:.3f}",
            f"{one.published:.3f}",
            "ok" if one.passed else "WRONG",
            one.source,
        ]
        for one in checks
    ]
    click.echo(_table(("model", "metric", "computed", "published", "", "source"), rows))
    for line in NOT_RECOMPUTED:
        click.echo(f"not recomputed: {line}")
    return all(one.passed for one in checks)


def certify_command(models: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Measure models of known figures and print both; whether all that could be compared agree."""
    from nsbench.certify import DEFAULT_MODELS, certified_evals, compare

    models = models or DEFAULT_MODELS
    config = evaluation_config(models, {**options, "evals": options["evals"] or ",".join(certified_evals(models))})
    require_data(config)
    folder = RunFolder(options["out"] or Path("runs") / "certify")
    done = evaluate_models(config, folder, argv=["nsbench", *sys.argv[1:]], progress=options["progress"])
    compared = compare(folder)
    rows = [
        [one.model, one.what, f"{one.measured:.2f}", f"{one.published:.2f}", f"{one.tolerance:.2f}", one.verdict]
        for one in compared
    ]
    click.echo(_table(("model", "figure", "measured", "published", "tolerance", ""), rows))
    for name, reason in done.skipped.items():
        click.echo(f"not compared, {name}: {reason}", err=True)
    for line in done.failed:
        click.echo(f"failed {line}", err=True)
    return bool(compared) and all(one.agrees for one in compared) and not done.failed


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def names_of(what: str) -> list[tuple[str, str]]:
    """Names of one kind (`evals`, `models`, `presets`, `corruptions`), and what each is."""
    if what == "presets":
        return [(name, preset_title(name)) for name in presets()]
    if what == "ablations":
        from nsbench.ablations import groups

        return [(name, f"{group.title}: {', '.join(group.arms)}") for name, group in groups().items()]
    if what == "evals":
        from nsbench.evals import EVALS

        return [(name, evaluation.title) for name, evaluation in EVALS.items()]
    if what == "models":
        from nsbench.pretrained import MODEL_FORMS

        return list(MODEL_FORMS.items())
    from nsbench.metrics import reference

    kinds = {
        "ImageNet-C": reference.CORRUPTIONS,
        "ImageNet-C, extra": reference.EXTRA_CORRUPTIONS,
        "ImageNet-P": reference.PERTURBATIONS,
        "ImageNet-P, extra": reference.EXTRA_PERTURBATIONS,
    }
    return [(name, kind) for kind, names in kinds.items() for name in names]
