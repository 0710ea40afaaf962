"""What `--fail-on` takes: `EVAL.METRIC[.SUBSET[.LEVEL]]`, `<` or `>`, and a threshold; or `EVAL.regression`."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Literal

from nsbench.errors import ConfigError
from nsbench.report.rows import Key
from nsbench.report.words import clean, metric_base

ANY, REGRESSION = "any", "regression"

FORM = (
    "EVAL.METRIC[.SUBSET[.LEVEL]]>+0.5 (of the difference, in points), EVAL.METRIC<75 (of the value, in percent), "
    "EVAL.regression or any.regression"
)

_COMPARISON = re.compile(r"(?P<name>.+?)\s*(?P<op>[<>])\s*(?P<sign>[+\-−]?)(?P<number>\d+(?:\.\d+)?)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """One `--fail-on`; the gate fails where it holds."""

    text: str
    """As it was given."""
    name: str
    """`imagenet-c.mCE`, or the eval before `.regression`."""
    op: Literal["<", ">", ""]
    """Empty: a regression."""
    threshold: float = 0.0
    """In the unit that is shown: percent of a value, percentage points of a difference."""
    of_difference: bool = True
    """Whether it is about the difference to the baseline."""

    def holds(self, shown: float) -> bool:
        """Whether a number, in the unit that is shown, lies beyond the threshold."""
        return shown > self.threshold if self.op == ">" else shown < self.threshold


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    Raises:
        ConfigError: it has another form.
    """
    name, dot, last = text.strip().rpartition(".")
    if dot and name and last == REGRESSION:
        return Condition(text=text.strip(), name=name, op="")
    found = _COMPARISON.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"--fail-on {clean(text)!r} is no condition; write {FORM}")
    number = float(found["number"])
    return Condition(
        text=text.strip(),
        name=found["name"],
        op=">" if found["op"] == ">" else "<",
        threshold=-number if found["sign"] in ("-", "−") else number,
        of_difference=bool(found["sign"]),
    )


def keys_of(condition: Condition, known: Collection[Key]) -> list[Key]:
    """What a comparison is about: one measure, or several where a metric is relative to several baselines.

    Raises:
        ConfigError: nothing of that name was measured; the nearest name is suggested.
    """
    found = [key for key in known if condition.name in set(names_of(key))]
    if not found:
        raise ConfigError(
            f"--fail-on {clean(condition.text)!r} names nothing that was measured{_nearest(condition.name, known)}"
        )
    return found


def names_of(key: Key) -> Iterator[str]:
    """The names that a measure goes by; what its metric is relative to, and a whole or a mean, may stay unsaid."""
    for metric in dict.fromkeys((key.metric, metric_base(key.metric))):
        start = f"{key.eval}.{metric}"
        if key.level in ("", "mean"):
            yield f"{start}.{key.subset}"
            if key.subset == "all":
                yield start
        if key.level:
            yield f"{start}.{key.subset}.{key.level}"


def evals_of(condition: Condition, known: Iterable[Key]) -> list[str]:
    """The evals of a regression.

    Raises:
        ConfigError: no such eval was measured.
    """
    evals = list(dict.fromkeys(key.eval for key in known))
    if condition.name == ANY:
        return evals
    if condition.name not in evals:
        nearest = difflib.get_close_matches(condition.name, [*evals, ANY], n=1)
        words = f"did you mean '{nearest[0]}.{REGRESSION}'?" if nearest else f"measured: {', '.join(map(clean, evals))}"
        raise ConfigError(f"--fail-on {clean(condition.text)!r} names an eval that was not measured; {words}")
    return [condition.name]


def _nearest(name: str, known: Collection[Key]) -> str:
    names = {short for key in known for short in names_of(key)}
    nearest = difflib.get_close_matches(name, sorted(names, key=len), n=1)
    if nearest:
        return f"; did you mean {clean(nearest[0])!r}?"
    return f"; measured: {', '.join(dict.fromkeys(clean(key.eval) for key in known))}"
