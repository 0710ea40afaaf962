"""What the gate found, as one sentence and as GitHub-flavoured Markdown for a pull request."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from nsbench.report.gate.cells import Judged
from nsbench.report.gate.conditions import REGRESSION
from nsbench.report.rows import Key
from nsbench.report.words import clean, enough_decimals, metric_words, number_text, plural, shortened, unit_label

_HEAD = ("cell", "baseline", "candidate", "difference [95 %]", "n", "fails if")
_NAME_LENGTH = 60
_MARKUP = re.compile(r"[^\w \-.,()/+=:]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.", re.IGNORECASE)


def sentence(judged: Sequence[Judged], least: float, said: Callable[[str], str] = clean) -> str:
    """The first failure in full, and how many more there are; call it where one failed.

    Args:
        said: writes text from outside.
    """
    failed = sorted((one for one in judged if one.fails), key=_place)
    more = f"; and {plural(len(failed) - 1, 'more cell')}" if len(failed) > 1 else ""
    return f"gate failed: {_failure(failed[0], least, said)}{more}"


def _place(one: Judged) -> tuple[bool, bool, float]:
    """What was named before what was swept up, what is known before what is not, the worst first."""
    return not one.condition.op, one.verdict == "unknown", -(one.effect.worse if one.effect else 0.0)


def _failure(one: Judged, least: float, said: Callable[[str], str]) -> str:
    who, limit = f"{said(cell_name(one.key))} of {said(one.candidate.name)}", f"limit {_limit(one, least, said)}"
    if one.verdict == "unknown":
        return f"{who} cannot be judged ({one.reason}), and what is not known does not pass; {limit}"
    unit = _unit(one, one.condition.of_difference)
    if not one.condition.of_difference:
        return f"{who} is {_text(one, one.value)}{unit}{_interval(one)} (n = {one.n:,}); {limit}"
    change = f"{_text(one, one.difference)}{unit}{_interval(one)}"
    return f"{who} changed by {change} against {said(one.candidate.baseline)} (n = {one.n:,}); {limit}"


def _limit(one: Judged, least: float, said: Callable[[str], str]) -> str:
    if one.condition.op:
        return said(one.condition.text)
    family = f"Holm over {plural(one.num_gated, 'cell')}"
    return f"{said(one.condition.text)}, wholly more than {least:g} points worse, {family}"


def cell_name(key: Key) -> str:
    """`imagenet-c.error.fog.3`, in the form that `--fail-on` takes."""
    parts = [key.eval, key.metric]
    parts += [key.subset] if key.subset != "all" or key.level not in ("", "mean") else []
    parts += [key.level] if key.level not in ("", "mean") else []
    return ".".join(clean(part) for part in parts)


def markdown(judged: Sequence[Judged], least: float, report: str = "") -> str:
    """Pass or fail first, then what failed, then the rest, folded.

    Args:
        report: where the page lies.
    """
    failed = [one for one in judged if one.fails]
    passed = [one for one in judged if not one.fails]
    worse = sorted(passed, key=_worse_first)
    if failed:
        told = sentence(judged, least, lambda text: f"<code>{escaped(text)}</code>")
        lines = [f"### Gate failed: {len(failed)} of {plural(len(judged), 'check')}", "", f"{told}.", ""]
    else:
        lines = [f"### Gate passed: {plural(len(judged), 'check')}", ""]
    lines += [*_table(sorted(failed, key=_place), least), ""] if failed else []
    if worse:
        summary = plural(len(worse), "check") + " passed"
        lines += ["<details>", f"<summary>{summary}</summary>", "", *_table(worse, least), "", "</details>", ""]
    return "\n".join([*lines, *_notes(judged, least, report)]) + "\n"


def _worse_first(one: Judged) -> float:
    return -(one.effect.worse if one.effect else 0.0)


def _notes(judged: Sequence[Judged], least: float, report: str) -> list[str]:
    seeds = max((len(one.candidate.paired) for one in judged), default=0)
    notes = []
    if any(one.condition.of_difference for one in judged):
        notes.append("Differences are paired over the images that both models answered; points are percentage points.")
    if any(not one.condition.op for one in judged):
        num = next(one.num_gated for one in judged if not one.condition.op)
        notes.append(
            f"`{REGRESSION}`: the difference's interval lies wholly more than {least:g} points on the worse side, "
            f"Holm-corrected over {plural(num, 'gated cell')}."
        )
    if seeds > 1:
        notes.append(
            f"The baseline is the mean of {seeds} runs; intervals hold the variance between them and over images."
        )
    apart = next((one.candidate.seeds for one in judged if one.candidate.seeds), None)
    if apart:
        notes.append(
            f"**Seed {escaped(apart[0])} against seed {escaped(apart[1])}: the luck of training is in no interval "
            "here;** `--baseline-runs` brings it in."
        )
    unfinished = dict.fromkeys(name for one in judged for name in one.candidate.unfinished)
    if unfinished:
        names = ", ".join(f"<code>{escaped(name)}</code>" for name in unfinished)
        notes.append(f"**The baseline is not finished, and what it lacks is not gated:** {names}.")
    if report:
        notes.append(f"Report: <code>{escaped(report)}</code>")
    return [" ".join(notes)] if notes else []


def _table(judged: Sequence[Judged], least: float) -> list[str]:
    several = len({one.candidate.name for one in judged}) > 1
    head = (*(("run",) if several else ()), *_HEAD)
    aligned = [":---" if name in ("run", "cell", "fails if") else "---:" for name in head]
    lines = [_line(head), _line(aligned)]
    for one in judged:
        name = f"<code>{escaped(shortened(one.candidate.name, _NAME_LENGTH))}</code>"
        lines.append(_line((*((name,) if several else ()), *_cells(one, least))))
    return lines


def _cells(one: Judged, least: float) -> tuple[str, ...]:
    limit = f"<code>{escaped(one.condition.text)}</code>"
    unit = _unit(one, one.condition.of_difference)
    if one.verdict == "unknown":
        change = f"**{escaped(one.reason)}**"
    elif one.condition.of_difference:
        change = f"{_text(one, one.difference)}{unit}{_interval(one)}"
    else:
        change = "–"
    value = _text(one, one.value, signed=False) + ("" if one.condition.of_difference else f"{_interval(one)}")
    if one.fails and one.verdict != "unknown":
        change = f"**{change}**" if one.condition.of_difference else change
    limit += f" by {least:g}" if not one.condition.op else ""
    cell = f"<code>{escaped(cell_name(one.key))}</code>"
    return cell, _text(one, one.before, signed=False), value, change, f"{one.n:,}" if one.n else "–", limit


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _unit(one: Judged, of_difference: bool) -> str:
    unit = unit_label(one.key.metric, one.unit, of_difference)
    return unit if unit in ("", "%") else f" {unit}"


def _text(one: Judged, number: float, *, signed: bool | None = None) -> str:
    decimals = max(2, metric_words(one.key.metric).decimals)
    decimals = enough_decimals([number], decimals) if one.condition.of_difference else decimals
    return number_text(number, decimals, one.condition.of_difference if signed is None else signed)


def _interval(one: Judged) -> str:
    if math.isnan(one.low) or math.isnan(one.high):
        return ""
    return f" [{_text(one, one.low)}, {_text(one, one.high)}]"


def escaped(text: str) -> str:
    """Text from outside as text, whatever Markdown, HTML or GitHub would make of it: markup, links, mentions."""
    return _MARKUP.sub(_entity, clean(text, 1000))


def _entity(found: re.Match[str]) -> str:
    """A character as its number; what GitHub looks for after rendering is torn from what follows."""
    code = f"&#{ord(found.group())};"
    return f"{code}<!-- -->" if found.group() in "@#" else code
