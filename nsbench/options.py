"""The options that several commands share; their order is that of `--help`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

PROGRESS = click.option(
    "--progress", type=click.Choice(["auto", "bar", "log", "none"]), default="auto", show_default=True
)
NO_SAMPLES = click.option("--no-samples", is_flag=True, help="No sample pictures: for data that is not to be shown.")
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
    NO_SAMPLES,
    click.option("--fresh", is_flag=True, help="Delete the run folder first."),
    click.option("--dry-run", is_flag=True, help="Print the resolved config and the plan, and stop."),
    PROGRESS,
)
REPORT_OPTIONS = (
    click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path)),
    click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of a comparison of several runs."),
    NO_SAMPLES,
    click.option(
        "--fail-on",
        multiple=True,
        metavar="CONDITION",
        help="Exit 4 where it holds: EVAL.METRIC[.SUBSET[.LEVEL]]>+0.5 (a threshold with a sign: of the difference to "
        "the first run, in percentage points), EVAL.METRIC<75 (without: of the value, in percent), EVAL.regression, "
        "any.regression; may be repeated.",
    ),
    click.option("--min-effect", type=float, metavar="POINTS", help="Least points of a regression; default 0.2."),
    click.option(
        "--baseline-runs",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="RUN...",
        help="Two or more runs of the baseline, of different seeds, in place of the first of RUNS; name them last.",
    ),
    click.option("--summary", type=click.Path(path_type=Path), help="Append the gate's Markdown to this file."),
)


class RunsCommand(click.Command):
    """Takes `--baseline-runs A1 A2 A3`, as a shell writes several files, for the option thrice."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_repeated("--baseline-runs", args)))


def _repeated(option: str, words: Sequence[str]) -> Iterator[str]:
    """The words with an option that has several values said once for each of them."""
    inside = False
    for word in words:
        if word.startswith("-"):
            inside = word == option
            if not inside:
                yield word
        else:
            yield from (option, word) if inside else (word,)


def options(chosen: Sequence[Any]) -> Callable[[Any], Any]:
    """A decorator that adds several options in their order."""
    return lambda command: functools.reduce(lambda wrapped, option: option(wrapped), reversed(chosen), command)
