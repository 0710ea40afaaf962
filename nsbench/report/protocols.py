"""The protocols of a page, numbered, so that every number can point at its own."""

from __future__ import annotations

from nsbench.report.words import clean


class Protocols:
    """Protocols of the page, numbered in the order they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._evals: dict[str, dict[str, None]] = {}

    def note(self, text: str, eval_name: str) -> int:
        """Number of a protocol; 0 where a row has none."""
        if not text:
            return 0
        self._evals.setdefault(text, {})[eval_name] = None
        return self._numbers.setdefault(text, len(self._numbers) + 1)

    def listed(self) -> tuple[tuple[int, str, str], ...]:
        """(number, evals, text) of each."""
        return tuple((k, ", ".join(self._evals[text]), clean(text, 2000)) for text, k in self._numbers.items())
