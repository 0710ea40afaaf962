"""The answer of a self-training run: verdict and headline cards."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from nsbench.report.family import family_words
from nsbench.report.model import Card, Finding, Verdict
from nsbench.report.numbers import Number, Parts, State
from nsbench.report.rows import HEADLINES, Key, Rows, better_text
from nsbench.report.words import eval_short, level_label, metric_words, plural, subset_label


def headline_words(key: Key, imagenet: Collection[str]) -> str:
    """Name of a headline measure inside a sentence."""
    short = eval_short(key.eval, imagenet)
    words = {"top1": "top-1", "flip_probability": "flips"}.get(key.metric, metric_words(key.metric).label)
    if key.eval in ("fgsm", "attacks"):
        name = short if key.subset == "all" else subset_label(key.subset).upper()
        level = "mean over ε" if key.level == "mean" else level_label(key.eval, key.level)
        return f"{name} {words}" + (f" ({level})" if level else "")
    known = {
        Key("imagenet-c", "error", level="mean"): "corruption error",
        Key("imagenet-p", "flip_probability"): "flip probability",
    }
    if key.eval not in imagenet and key in known:
        return known[key]
    level = "" if key.level == "mean" else level_label(key.eval, key.level)
    parts = (short if key.eval in imagenet else short.lower(), "" if key.subset == "all" else subset_label(key.subset))
    return " ".join(part for part in (*parts, words, level) if part)


def title_words(key: Key, imagenet: Collection[str]) -> str:
    words = headline_words(key, imagenet)
    return words[0].upper() + words[1:]


def panel_title(key: Key, imagenet: Collection[str]) -> str:
    """Name of a headline measure where there is little room."""
    return title_words(key, imagenet).split(" (")[0] + ", %"


def make_verdict(rows: Rows, imagenet: Collection[str], data: str, num_seeds: int) -> Verdict:
    """What can be said, and about what: one seed speaks of models, several speak of the method."""
    against = next((v for v in ("control", "gen0") if headline_deltas(rows, rows.final, v, HEADLINES)), "")
    several = num_seeds > 1
    if against:
        lead = _lead(rows, against, several)
        findings = findings_against(rows, rows.final, against, HEADLINES, imagenet)
        beside = headline_deltas(rows, rows.final, "gen0", HEADLINES)
        if against == "control" and beside:
            findings = (*findings, Finding(state="", parts=listed_parts("Against generation 0: ", beside, imagenet)))
    else:
        values = [(key, number) for key in HEADLINES if (number := rows.number(rows.final, key))]
        start = f"{rows.lines.subject(rows.final)} alone was measured: "
        lead = listed_parts(start, values, imagenet, ", ") if values else ("Nothing was measured yet.",)
        findings = ()
    caveat = _caveat(against, data, num_seeds) + family_words(rows, HEADLINES)
    return Verdict(lead=lead, findings=findings, caveat=caveat)


def headline_deltas(rows: Rows, name: str, versus: str, keys: Sequence[Key]) -> list[tuple[Key, Number]]:
    """The differences of one generation or model that are known."""
    found = ((key, rows.number(name, key, versus)) for key in keys)
    return [(key, number) for key, number in found if number and not math.isnan(number.value)]


def _lead(rows: Rows, against: str, several: bool) -> Parts:
    deltas = headline_deltas(rows, rows.final, against, HEADLINES)
    count = {state: sum(n.state == state for _, n in deltas) for state in ("better", "worse", "unclear")}
    total = plural(len(deltas), "headline measure")
    if against == "control" and several:
        if count["better"] and not count["worse"]:
            start = "Self-training helped: "
        elif count["worse"] and not count["better"]:
            start = "Self-training hurt: "
        elif count["better"]:
            start = "Self-training helped in part: "
        else:
            start = "No effect of self-training was found: "
    else:
        start = ""
    who = rows.lines.subject(rows.final)
    who = who[0].lower() + who[1:] if start else who
    return (f"{start}{who} {standing(count, rows.lines.versus[against], total)}.",)


def standing(count: dict[str, int], other: str, total: str) -> str:
    """`is better than the control on 4 of 5 headline measures, and cannot be told apart from it on 1`."""
    if not count["better"]:
        verb = "is worse than" if count["worse"] else "cannot be told apart from"
        return f"{verb} {other} on {count['worse'] or count['unclear']} of {total}"
    words = f"is better than {other} on {count['better']} of {total}"
    if count["worse"]:
        words += f", worse on {count['worse']}"
    return words + (f", and cannot be told apart from it on {count['unclear']}" if count["unclear"] else "")


_FINDING: tuple[tuple[State, str], ...] = (
    ("better", "Better than"), ("worse", "Worse than"), ("unclear", "Not to be told apart from"),
)  # fmt: skip


def findings_against(
    rows: Rows, name: str, against: str, keys: Sequence[Key], imagenet: Collection[str]
) -> tuple[Finding, ...]:
    """A sentence for what is better, for what is worse, and for what is neither."""
    deltas = headline_deltas(rows, name, against, keys)
    return tuple(
        Finding(state=state, parts=listed_parts(f"{words} {rows.lines.versus[against]}: ", chosen, imagenet))
        for state, words in _FINDING
        if (chosen := [(key, number) for key, number in deltas if number.state == state])
    )


def listed_parts(
    start: str, numbers: Sequence[tuple[Key, Number]], imagenet: Collection[str], between: str = "; "
) -> Parts:
    """A sentence that lists measures and their numbers."""
    parts: list[Number | str] = [start]
    for key, number in numbers:
        parts += [f"{headline_words(key, imagenet)} ", number, between]
    return (*parts[:-1], ".")


def _caveat(against: str, data: str, num_seeds: int) -> str:
    control = "" if against == "control" else " Without a control nothing is said about self-training itself."
    if num_seeds > 1:
        if against == "control":
            control = (
                " The control is the student's architecture with the same noise and steps, trained on the labelled "
                "images alone."
            )
        return (
            f"Means over {num_seeds} seeds on {data}; the intervals are 95 % t intervals over seeds, and differences "
            "are paired within a seed." + control
        )
    return (
        f"One seed: this speaks of these models on {data} and of nothing else. The 95 % intervals cover the "
        "choice of test images, not the luck of training; whether the method works takes several seeds." + control
    )


def make_cards(rows: Rows, imagenet: Collection[str]) -> tuple[Card, ...]:
    """Five cards, also for what was not measured: a gap is an answer too."""
    cards = []
    for key in HEADLINES:
        number = rows.number(rows.final, key)
        deltas = (
            (f"vs {word}", rows.number(rows.final, key, v)) for v, word in (("gen0", "gen 0"), ("control", "control"))
        )
        cards.append(
            Card(
                title=title_words(key, imagenet),
                better=better_text(rows.raw(rows.final, key)),
                number=number,
                deltas=tuple((word, delta) for word, delta in deltas if number and rows.final != "0"),
            )
        )
    return tuple(cards)
