"""Figures by name: a benchmark's mean is over exactly its own corruptions, and a misspelt one is no corruption."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TypeVar

Figure = TypeVar("Figure")


def in_order(by_name: Mapping[str, Figure], names: Sequence[str], extras: Sequence[str], what: str) -> list[Figure]:
    """The figures of `names`, in their order; those of `extras` are known, allowed and left out.

    Raises ValueError, with the nearest name, if a name is unknown, and if one of `names` is missing.
    """
    for name in by_name:
        if name not in names and name not in extras:
            nearest = difflib.get_close_matches(name, [*names, *extras], n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join((*names, *extras))}"
            raise ValueError(f"{what}: unknown name {name!r}; {hint}")
    if missing := [name for name in names if name not in by_name]:
        raise ValueError(f"{what} needs all {len(names)} of the benchmark; missing: {', '.join(missing)}")
    return [by_name[name] for name in names]
