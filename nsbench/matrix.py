"""Several runs in one command: the full recipe and the arms of ablations, each for several seeds, and their comparison.

The paper's ablation tables (section 4.1), with an interval over seeds in the place of single figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from nsbench.ablations import ONE_STUDENT, groups
from nsbench.config import Config
from nsbench.configfile import suggest
from nsbench.errors import ConfigError
from nsbench.pipeline import compare, train_and_eval
from nsbench.runfolder import RunFolder
from nsbench.track import ProgressMode

Resolve = Callable[[str | None, int | None], Config]
"""The configuration of an arm (None: the full recipe) with a seed (None: the config's own)."""


def arms_of(names: Sequence[str], own: Sequence[str]) -> list[str]:
    """Arms of these groups and arms, each once, in their order.

    Args:
        own: arms of the config itself.

    Raises:
        ConfigError: an unknown name; the nearest is suggested.
    """
    known = groups()
    single = {arm for group in known.values() for arm in group.arms} | set(own)
    found: list[str] = []
    for name in names:
        if name not in known and name not in single:
            raise ConfigError(f"unknown ablation {name!r}{suggest(name, {*known, *single})}")
        found += list(known[name].arms) if name in known else [name]
    return list(dict.fromkeys(found))


def configs(resolve: Resolve, arms: Sequence[str], seeds: Sequence[int | None]) -> list[Config]:
    """Every run, seed by seed, the full recipe first; beside arms it has one student too, as in the paper's tables.

    An arm that is the recipe itself, such as no filter where there is none, is left out.
    """
    runs = []
    for seed in seeds:
        full = resolve(None, seed)
        if not arms:
            runs.append(full)
            continue
        full = dataclasses.replace(full, **ONE_STUDENT)
        others = [dataclasses.replace(resolve(arm, seed), **ONE_STUDENT) for arm in arms]
        runs += [full, *(other for other in others if dataclasses.replace(other, ablation=full.ablation) != full)]
    return runs


def run_matrix(
    runs: Sequence[Config], root: Path, *, argv: Sequence[str], progress: ProgressMode, measure: bool
) -> Path | None:
    """Make every run in a folder of its own below `root`, then compare them there; the same command continues.

    The arms take over generation 0 of the full recipe with their seed wherever it is the same.

    Returns:
        The report of the comparison; None without measuring.
    """
    folders: list[RunFolder] = []
    full: dict[int, RunFolder] = {}
    for config in runs:
        folder = RunFolder(root / config.run_name)
        base = full.setdefault(config.seed, folder)
        train_and_eval(
            config,
            folder,
            argv=argv,
            progress=progress,
            measure=measure,
            base=base if base is not folder else None,
        )
        folders.append(folder)
    return compare(folders, root) if measure else None
