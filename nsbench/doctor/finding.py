"""One thing that the data doctor saw."""

from __future__ import annotations

import dataclasses
from typing import Literal

State = Literal["ok", "warning", "problem", "absent"]
"""`warning`: it can be measured, but is not the published set; `problem`: it cannot be measured as it is."""

Seen = tuple[State, str]
"""A state, and words for people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What is said of one set."""

    suite: str
    """A name of `nsbench.data.suites.SUITES`."""
    state: State
    words: str


def named(many: tuple[str, ...], what: str) -> str:
    """`3 files, first n01440764/notes.txt`."""
    return f"{len(many):,} {what}{'' if len(many) == 1 else 's'}, first {many[0]}"
