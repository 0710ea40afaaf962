"""The options that several commands share; their order is that of `--help`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

PROGRESS = click.option(
    "--progress", type=click.Choice(["auto", "bar", "log", "none"]), default="auto", show_default=True
)
DATA_OPTIONS = (
    click.option("--data-dir", type=click.Path(), help="Folder that holds val, imagenet-a, imagenet-c, ..."),
    click.option("-j", "--workers", type=int, help="Threads that decode images; default one a core."),
    click.option("--device", help="torch device; auto is CUDA where there is one."),
    click.option("-b", "--batch-size", type=int, help="Images of one forward pass."),
    click.option("--limit", type=int, help="At most so many images of every set; marks everything partial."),
    click.option("--on-bad-image", type=click.Choice(["error", "skip"]), help="An image that cannot be read."),
    click.option("-s", "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config."),
    click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder; default runs/eval/<models>."),
    PROGRESS,
)
RUN_OPTIONS = (
    click.argument("config", required=False),
    click.option("--generations", type=int, help="Students trained one after the other."),
    click.option("--model", help="timm architecture of every generation."),
    click.option("--data-dir", type=click.Path(), help="Folder of the preset's images, and of the suites."),
    click.option("--epochs", type=float, help="Passes over the labelled images, of every student."),
    click.option("--seed", help="Seed of the draw of labelled images and of training; 0,1,2 runs and compares three."),
    click.option("--ablation", help="Groups of `nsbench ls ablations`, such as noise,labels: runs and compares them."),
    click.option("--evals", help="Comma-separated names of `nsbench ls evals`."),
    click.option("-b", "--batch-size", type=int, help="Images of one forward pass in evaluation."),
    click.option("--limit", type=int, help="Measure at most so many images of every set; marks everything partial."),
    click.option("-j", "--workers", type=int, help="Processes that read and augment images."),
    click.option("--device", help="torch device; auto is CUDA where there is one."),
    click.option("--amp", type=click.Choice(["off", "bf16"]), help="Arithmetic of training."),
    click.option("--on-bad-image", type=click.Choice(["error", "skip"]), help="An image that cannot be read."),
    click.option("-s", "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config."),
    click.option("-o", "--out", type=click.Path(path_type=Path), help="Run folder; default runs/<name>."),
    click.option("--fresh", is_flag=True, help="Delete the run folder first."),
    click.option("--dry-run", is_flag=True, help="Print the resolved config and the plan, and stop."),
    PROGRESS,
)


def options(chosen: Sequence[Any]) -> Callable[[Any], Any]:
    """A decorator that adds several options in their order."""
    return lambda command: functools.reduce(lambda wrapped, option: option(wrapped), reversed(chosen), command)
