"""SIGTERM during training: schedulers send it before they take a machine back."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass
class Flag:
    """Whether SIGTERM has arrived."""

    is_set: bool = False


@contextlib.contextmanager
def stop_flag() -> Iterator[Flag]:
    """Within it SIGTERM sets a flag, so that a step is never cut in two; outside, the caller's handler is back."""
    flag = Flag()

    def set_flag(_number: int, _frame: Any) -> None:
        flag.is_set = True

    try:
        before = signal.signal(signal.SIGTERM, set_flag)
    except ValueError:  # not the main thread: the caller handles signals
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, before)
    if flag.is_set:  # it came after the last look
        signal.raise_signal(signal.SIGTERM)
