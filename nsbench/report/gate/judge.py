"""Judges candidates by conditions: every cell that a condition is about, with its difference and its verdict."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from nsbench.errors import ConfigError
from nsbench.report.gate.cells import Candidate, Judged
from nsbench.report.gate.conditions import Condition, evals_of, keys_of
from nsbench.report.gate.significance import Effect, regressions
from nsbench.report.rows import Key
from nsbench.report.suites import headline_keys
from nsbench.report.words import clean, metric_words, scale_of


def judge(candidates: Sequence[Candidate], conditions: Sequence[Condition], least: float) -> list[Judged]:
    """Every condition on every candidate; regressions are one family over all candidates.

    Args:
        least: points that a regression must lie beyond.

    Raises:
        ConfigError: a condition names nothing that was measured, would hold for an improvement, needs a baseline where
            there is none, or is about an eval that was measured under another protocol.
    """
    judged: list[Judged] = []
    family: list[tuple[Candidate, Key, Condition]] = []
    for candidate in candidates:
        for condition in conditions:
            if condition.of_difference and not candidate.paired:
                raise ConfigError(f"--fail-on {clean(condition.text)!r} needs a baseline: nsbench report BASELINE RUN")
            if not condition.op:
                taken = {key for one, key, _ in family if one is candidate}
                family += [(candidate, key, condition) for key in _gated(candidate, condition) if key not in taken]
            else:
                keys = keys_of(condition, _known(candidate))
                judged += [_compared(candidate, key, condition) for key in keys]
    return [_covered(one) for one in (*judged, *_family_judged(family, least))]


def _covered(one: Judged) -> Judged:
    """A difference passes over all of the baseline's images alone: over a few of them any model would."""
    for paired in one.candidate.paired if one.condition.of_difference and one.verdict == "passed" else ():
        common, of = paired.common.get(one.key.eval, (0, 0))
        if common < of:
            reason = f"answered {common:,} of the baseline's {of:,} images; measure both on the same"
            return dataclasses.replace(one, verdict="unknown", reason=reason)
    return one


def _known(candidate: Candidate) -> dict[Key, Any]:
    known = dict(candidate.own.by_key)
    for paired in candidate.paired:
        known |= paired.baseline.by_key
    return known


def _gated(candidate: Candidate, condition: Condition) -> Iterator[Key]:
    """The headline numbers of the evals, and the same of their subsets, that the baseline has.

    Raises:
        ConfigError: an eval that was not measured, or that cannot be compared.
    """
    known = _known(candidate)
    evals = evals_of(condition, known)
    for name in evals:
        _require_paired(candidate, name)
    for paired in candidate.paired[:1]:
        heads = [key for key in headline_keys(paired.baseline.frame) if key.eval in evals]
        for key, row in paired.baseline.by_key.items():
            alike = [head for head in heads if (head.eval, head.metric) == (key.eval, key.metric)]
            whole = key.level in {"", "mean", *(head.level for head in alike)}
            points = row.unit == "percent" or (row.unit == "fraction" and metric_words(row.metric).percent)
            if alike and whole and points and not key.subset.startswith("class:") and paired.baseline.has(key):
                yield key


def _require_paired(candidate: Candidate, name: str) -> None:
    for paired in candidate.paired:
        if name in paired.apart:
            raise ConfigError(
                f"{clean(name)} of {clean(candidate.name)} is not comparable with {clean(candidate.baseline)}: "
                f"{clean(paired.apart[name], 400)}; measure both alike"
            )


def _compared(candidate: Candidate, key: Key, condition: Condition) -> Judged:
    """One cell by a threshold."""
    row = _known(candidate)[key]
    if condition.op == (">" if row.higher_is_better else "<"):
        better, other = ("higher", "<") if row.higher_is_better else ("lower", ">")
        raise ConfigError(
            f"--fail-on {clean(condition.text)!r} would fail on an improvement: of {clean(key.metric)}, {better} is "
            f"better; write {other}"
        )
    if not condition.of_difference:
        _require_percent(condition, row)
        return _value_compared(candidate, key, condition, row)
    _require_paired(candidate, key.eval)
    if not any(paired.baseline.by_key.get(key) for paired in candidate.paired):
        raise ConfigError(f"{clean(candidate.baseline)} has no {condition.name}; measure it there, or gate the value")
    found = _difference(candidate, key, condition)
    if found.verdict == "unknown":
        return found
    return dataclasses.replace(found, verdict="failed" if condition.holds(found.difference) else "passed")


def _require_percent(condition: Condition, row: Any) -> None:
    """Refuse an accuracy below 1 %: a fraction was meant, or a difference without its sign, and nothing would fail."""
    if condition.op == "<" and row.unit == "fraction" and metric_words(row.metric).percent and condition.threshold < 1:
        raise ConfigError(
            f"--fail-on {clean(condition.text)!r} asks for {condition.threshold:g} %; write "
            f"<{100 * condition.threshold:g} for a value, or <-{condition.threshold:g} for a loss in points"
        )


def _value_compared(candidate: Candidate, key: Key, condition: Condition, row: Any) -> Judged:
    value, own = candidate.own.value(key), candidate.own.by_key.get(key)
    scale = scale_of(row.metric, row.unit)
    common = {"candidate": candidate, "key": key, "condition": condition, "unit": row.unit}
    if own is None or math.isnan(value):
        return Judged(**common, verdict="unknown", reason="no number", higher_is_better=row.higher_is_better)
    return Judged(
        **common,
        verdict="failed" if condition.holds(value) else "passed",
        value=value,
        low=own.ci_low * scale,
        high=own.ci_high * scale,
        n=int(own.n),
        higher_is_better=row.higher_is_better,
    )


def _family_judged(family: Sequence[tuple[Candidate, Key, Condition]], least: float) -> list[Judged]:
    """Every gated cell, those that got worse by Holm's correction over all whose difference is known."""
    judged = [_difference(candidate, key, condition) for candidate, key, condition in family]
    worse = iter(regressions([one.effect for one in judged if one.effect is not None], least))
    return [dataclasses.replace(_regressed(one, worse, least), num_gated=len(family)) for one in judged]


def _regressed(one: Judged, worse: Iterator[bool], least: float) -> Judged:
    if one.effect is None:
        return one
    if next(worse):
        return dataclasses.replace(one, verdict="failed")
    if math.isnan(one.effect.low) and one.effect.worse > least:
        return dataclasses.replace(one, verdict="unknown", reason="a difference without an interval")
    return one


def _difference(candidate: Candidate, key: Key, condition: Condition) -> Judged:
    """The paired difference of a cell to the baseline, or to the mean of its seeds; `passed` where it is known."""
    sample, value = _known(candidate)[key], candidate.paired[0].candidate.value(key)
    before = [paired.baseline.value(key) for paired in candidate.paired]
    told = Judged(
        candidate=candidate,
        key=key,
        condition=condition,
        verdict="unknown",
        reason="no number of the candidate" if math.isnan(value) else "no number of the baseline",
        before=sum(before) / len(before),
        value=value,
        unit=sample.unit,
        higher_is_better=sample.higher_is_better,
    )
    found = [paired.differences.by_key.get(key) for paired in candidate.paired]
    rows = [row for row in found if row is not None and not math.isnan(row.value)]
    if math.isnan(value) or math.isnan(told.before) or len(rows) < len(found):
        return told
    effect = _effect(rows, before, candidate.resolution)
    low, high = effect.interval()
    sign = -1 if sample.higher_is_better else 1
    return dataclasses.replace(
        told,
        verdict="passed",
        reason="",
        difference=sign * effect.worse,
        low=min(sign * low, sign * high),
        high=max(sign * low, sign * high),
        n=min(int(row.n) for row in rows),
        effect=effect,
    )


def _effect(rows: Sequence[Any], before: Sequence[float], resolution: float) -> Effect:
    """The difference to one baseline, or the mean of those to its seeds, for the worse."""
    row, num = rows[0], len(rows)
    scale = scale_of(row.metric, row.unit) * (-1 if row.higher_is_better else 1)
    ends = [(r.value, r.value) if num > 1 and math.isnan(r.ci_low) else (r.ci_low, r.ci_high) for r in rows]
    one, other = (scale * sum(end[k] for end in ends) / num for k in (0, 1))
    return Effect(
        worse=scale * sum(r.value for r in rows) / num,
        low=min(one, other),
        high=max(one, other),
        p_value=float(row.p_value) if num == 1 else math.nan,
        resolution=resolution,
        seed_spread=statistics.stdev(before) * math.sqrt(1 + 1 / num) if num > 1 else 0.0,
        num_seeds=num,
    )
