"""What the commands of self-training say and return: train, label, select."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nsbench.config import Config
from nsbench.configfile import load_config, own_ablations, to_toml
from nsbench.errors import ConfigError
from nsbench.runfolder import RunFolder

_FLAGS = {
    "generations": "generations",
    "workers": "workers",
    "device": "device",
    "data_dir": "data.dir",
    "batch_size": "eval.batch_size",
    "limit": "eval.limit",
    "epochs": "train.epochs",
    "amp": "train.amp",
}


def train_command(options: Mapping[str, Any], *, measure: bool) -> None:
    """Train, and measure if asked to, what the flags say; print the headlines."""
    seeds = _seeds(options["seed"])
    names = options["ablation"].split(",") if options["ablation"] else []
    arms, alone = _arms(options, names)
    if arms or len(seeds) > 1:
        _run_matrix(options, arms, seeds, measure=measure)
    else:
        _run_one(options, _config(options, alone, seeds[0]), measure=measure)


def _seeds(text: str | None) -> list[int | None]:
    """Seeds of `--seed 0,1,2`; one that is not given is the config's."""
    if text is None:
        return [None]
    try:
        return list(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise ConfigError(f"--seed is {text!r}; it must be whole numbers, such as 3 or 0,1,2") from None


def _arms(options: Mapping[str, Any], names: list[str]) -> tuple[list[str], str | None]:
    """The arms of a matrix; or none and the single arm that is to run alone."""
    from nsbench.ablations import groups
    from nsbench.matrix import arms_of

    arms = arms_of(names, own_ablations(options["config"]))
    if len(names) == 1 and names[0] not in groups():
        return [], names[0]
    return arms, None


def _config(options: Mapping[str, Any], ablation: str | None, seed: int | None) -> Config:
    given = {key: options[flag] for flag, key in _FLAGS.items() if options.get(flag) is not None}
    if seed is not None:
        given["seed"] = seed
    if options["evals"]:
        given["eval.evals"] = options["evals"].split(",")
    if options["no_samples"]:
        given["eval.samples"] = False
    if options["model"]:
        given["models"] = [{"name": options["model"]}]
    if options["on_bad_image"]:
        given |= {"data.on_bad_image": options["on_bad_image"], "eval.on_bad_image": options["on_bad_image"]}
    return load_config(options["config"], ablation=ablation, overrides=given, assignments=options["assignments"])


def _run_one(options: Mapping[str, Any], config: Config, *, measure: bool) -> None:
    from nsbench import pipeline
    from nsbench.distributed import is_main
    from nsbench.runrecord import clear
    from nsbench.tables import check_evals

    source = Path(options["config"] or "")
    default = source if options["config"] and source.is_dir() else Path("runs") / config.run_name
    folder = RunFolder(options["out"] or default)
    if options["dry_run"]:
        click.echo(f"# run folder: {folder.root}\n{to_toml(config)}", nl=False)
        return
    if options["fresh"] and is_main():
        check_evals(config.eval)
        clear(folder)
    worked = pipeline.train_and_eval(
        config, folder, argv=["nsbench", *sys.argv[1:]], progress=options["progress"], measure=measure
    )
    if not is_main():
        return
    if not worked:
        click.echo(f"everything in {folder.root} is done; nothing was written", err=True)
    if measure:
        from nsbench.report.summary import headline_table

        click.echo(headline_table(folder))
        click.echo(f"\nreport: {folder.report}")
    else:
        click.echo(f"weights: {folder.root}")


def _run_matrix(options: Mapping[str, Any], arms: list[str], seeds: list[int | None], *, measure: bool) -> None:
    from nsbench.distributed import is_main
    from nsbench.matrix import configs, run_matrix
    from nsbench.runrecord import clear

    runs = configs(lambda arm, seed: _config(options, arm, seed), arms, seeds)
    root = options["out"] or Path("runs") / (f"{runs[0].preset}-ablations" if arms else f"{runs[0].preset}-seeds")
    if options["dry_run"]:
        for config in runs:
            click.echo(f"# run folder: {root / config.run_name}\n{to_toml(config)}")
        return
    if options["fresh"] and is_main():
        for config in runs:
            clear(RunFolder(root / config.run_name))
    report = run_matrix(runs, root, argv=["nsbench", *sys.argv[1:]], progress=options["progress"], measure=measure)
    if not is_main():
        return
    if report is None:
        click.echo(f"weights: {root}")
        return
    from nsbench.report.summary import ablation_table

    click.echo(ablation_table(root))
    click.echo(f"\nreport: {report}")


def label_command(model: str, sources: tuple[str, ...], out: Path, options: Mapping[str, Any]) -> None:
    """Label images with any model; under torchrun each rank labels shards of its own."""
    from nsbench.data.pools import open_pool
    from nsbench.distributed import connected
    from nsbench.engine.pseudo import label
    from nsbench.engine.teacher import Teacher
    from nsbench.models import choose_device
    from nsbench.track import Progress
    from nsbench.trainingconfig import TeacherConfig

    with connected() as ranks:
        pool = open_pool(sources, name="unlabelled", shard_images=options["shard_images"], labelled=False)
        teacher = Teacher.from_name(
            model,
            num_classes=None,
            config=TeacherConfig(top_k=options["top_k"]),
            batch_size=options["batch_size"],
            device=choose_device(options["device"]),
        )
        progress = Progress(options["progress"] if ranks.is_main else "none")
        done = label(
            teacher,
            pool,
            out,
            made_by=teacher.fingerprint,
            ranks=ranks,
            progress=progress,
            on_bad_image=options["on_bad_image"],
        )
    if ranks.is_main:
        click.echo(
            f"{done.images:,} images in {done.new_shards + done.kept_shards:,} files of {out}; {done.new_images:,} new"
            f", {done.images_per_second:,.0f} a second; {done.unreadable:,} cannot be read"
        )


def select_command(labels: Path, out: Path, options: Mapping[str, Any]) -> None:
    """Filter and balance labels, out of core."""
    from nsbench.data.pictures import default_workers
    from nsbench.engine.select import select_folder
    from nsbench.trainingconfig import SelectConfig

    keys = ("min_confidence", "max_confidence", "balance", "per_class", "total", "rule", "fraction")
    config = SelectConfig(**{key: options[key] for key in keys if options[key] is not None})
    done = select_folder(
        labels,
        out,
        config,
        seed=options["seed"],
        threads=options["threads"] or default_workers(),
        memory=options["memory"],
    )
    click.echo(done.summary(out))
