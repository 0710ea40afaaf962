"""What `nsbench report` says and does: pages and exports of runs, and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from nsbench import pipeline
from nsbench.errors import ConfigError, DataError, GateFailed
from nsbench.runfolder import RunFolder

_OUT = Path("runs/comparison")


def report_command(runs: Sequence[Path], options: Mapping[str, Any]) -> None:
    """Write the report of the runs and say where it lies; with conditions judge them as well.

    Raises:
        GateFailed: a condition holds; the page and the summary are written by then.
    """
    folders = [RunFolder(path) for path in runs]
    if options["fail_on"]:
        try:
            _gate(folders, options)
        except (ConfigError, DataError) as error:
            _say_refused(error, options["summary"])
            raise
        return
    for name in ("baseline_runs", "min_effect", "summary"):
        if options[name] not in (None, ()):
            raise click.UsageError(f"--{name.replace('_', '-')} is for --fail-on, which was not given")
    click.echo(_write(folders, options["out"], last_students=False, pictures=not options["no_samples"]))


def _write(folders: Sequence[RunFolder], out: Path | None, *, last_students: bool, pictures: bool) -> Path:
    if len(folders) > 1:
        return pipeline.compare(folders, out or _OUT, last_students=last_students, pictures=pictures)
    if out is not None:
        raise click.UsageError("-o is for a comparison of several runs; the report of one run lies in its folder")
    return pipeline.rebuild(folders[0], pictures=pictures)


def _gate(folders: Sequence[RunFolder], options: Mapping[str, Any]) -> None:
    """The conditions are read before anything is written, and judged after everything is."""
    from nsbench.gating import MIN_EFFECT, Gate, check
    from nsbench.report.gate.conditions import parse_condition
    from nsbench.report.gate.markdown import markdown, sentence

    least = MIN_EFFECT if options["min_effect"] is None else options["min_effect"]
    if not 0 <= least < 100:
        raise ConfigError(f"--min-effect is {least}; it must be 0 or more percentage points, and below 100")
    gate = Gate(
        conditions=tuple(dict.fromkeys(map(parse_condition, options["fail_on"]))),
        min_effect=least,
        baselines=_seeds(options["baseline_runs"]),
    )
    if len({folder.root.resolve() for folder in folders}) < len(folders):
        raise ConfigError("a run is named twice, and would be held against itself; name the baseline and the candidate")
    known = {folder.root.resolve(): folder for folder in (*gate.baselines, *folders)}
    page = _write(list(known.values()), options["out"], last_students=True, pictures=not options["no_samples"])
    judged = check(folders, gate)
    _say(markdown(judged, least, str(page)), page, options["summary"])
    if any(one.fails for one in judged):
        raise GateFailed(sentence(judged, least))


def _seeds(paths: Sequence[Path]) -> tuple[RunFolder, ...]:
    """The baseline's runs.

    Raises:
        ConfigError: fewer than two, or one twice: nothing is then known of the variance between them.
    """
    distinct = {path.resolve() for path in paths}
    if paths and len(distinct) < max(2, len(paths)):
        raise ConfigError("--baseline-runs takes two different runs at least, and each once; three or more are better")
    return tuple(RunFolder(path) for path in paths)


def _say(text: str, page: Path, summary: Path | None) -> None:
    """To stdout; or to the end of a file, which in a CI job others have written to as well."""
    if summary is None:
        click.echo(text, nl=False)
        return
    _append(text, summary)
    click.echo(page)


def _say_refused(error: Exception, summary: Path | None) -> None:
    """Where a pull request is read, it must not look as if nothing had been asked."""
    from nsbench.report.gate.markdown import escaped

    if summary is not None:
        _append(f"### Gate not judged\n\n{escaped(str(error))}\n", summary)


def _append(text: str, summary: Path) -> None:
    summary.parent.mkdir(parents=True, exist_ok=True)
    with summary.open("a", encoding="utf-8") as stream:
        stream.write(text)
