"""Which changes of a recipe an ablation names: the paper's tables as groups of arms, and a config's own arms."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """One table of the paper: the full recipe against these arms."""

    title: str
    source: str
    arms: Mapping[str, Mapping[str, Any]]
    """Keys that replace the recipe's, by the arm's name."""


ONE_STUDENT: Mapping[str, Any] = {"generations": 1, "control": False}
"""Of every arm, as in the paper's ablations."""


@functools.cache
def groups() -> Mapping[str, Group]:
    """The groups that come with the package."""
    text = (resources.files("nsbench") / "ablations.toml").read_text(encoding="utf-8")
    return {name: Group(**group) for name, group in tomllib.loads(text).items()}


def arms() -> dict[str, Mapping[str, Any]]:
    """Every arm of every group, by its name."""
    return {name: {**ONE_STUDENT, **keys} for group in groups().values() for name, keys in group.arms.items()}
