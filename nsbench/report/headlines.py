"""The answer: verdict, headline cards, the table of generations and its trends."""

from __future__ import annotations

import math

from nsbench.report.model import Card, Chart, Finding, Number, Panel, Parts, Section, Verdict
from nsbench.report.rows import HEADLINES, NOT_EVALS, Key, Rows, better_text, listed
from nsbench.report.tables import generation_table, metric_group, switch_of
from nsbench.report.words import (
    METRICS,
    VERSUS,
    eval_rank,
    eval_short,
    eval_title,
    generation_label,
    level_label,
    metric_words,
    plural,
    subset_label,
)


def headline_words(key: Key, imagenet: bool) -> str:
    """Name of a headline measure inside a sentence."""
    short = eval_short(key.eval, imagenet)
    words = {"top1": "top-1", "flip_probability": "flips"}.get(key.metric, metric_words(key.metric).label)
    if key.eval == "fgsm":
        return f"{short} {words} (mean over ε)"
    if imagenet:
        return f"{short} {words}"
    return {
        Key("imagenet-c", "error", level="mean"): "corruption error",
        Key("imagenet-p", "flip_probability"): "flip probability",
    }.get(key, f"{short.lower()} {words}")


def title_words(key: Key, imagenet: bool) -> str:
    words = headline_words(key, imagenet)
    return words[0].upper() + words[1:]


def panel_title(key: Key, imagenet: bool) -> str:
    """Name of a headline measure where there is little room."""
    return title_words(key, imagenet).split(" (")[0] + ", %"


def subject(rows: Rows) -> str:
    return f"Generation {rows.final}" if rows.final.isdigit() else generation_label(rows.final)


def make_verdict(rows: Rows, imagenet: bool, data: str, num_seeds: int) -> Verdict:
    """What can be said, and about what: one seed speaks of models, several speak of the method."""
    against = next((v for v in ("control", "gen0") if _deltas(rows, v)), "")
    several = num_seeds > 1
    if against:
        lead = _lead(rows, against, several)
        findings = _findings(rows, against, imagenet)
        if against == "control" and _deltas(rows, "gen0"):
            findings = (*findings, *_beside(rows, imagenet))
    else:
        values = [(key, rows.number(rows.final, key)) for key in HEADLINES]
        listed = [
            part for key, number in values if number for part in (f"{headline_words(key, imagenet)} ", number, ", ")
        ]
        lead = (
            (f"{subject(rows)} alone was measured: ", *listed[:-1], ".") if listed else ("Nothing was measured yet.",)
        )
        findings = ()
    return Verdict(lead=lead, findings=findings, caveat=_caveat(against, data, num_seeds))


def _deltas(rows: Rows, versus: str) -> list[tuple[Key, Number]]:
    found = ((key, rows.number(rows.final, key, versus)) for key in HEADLINES)
    return [(key, number) for key, number in found if number and not math.isnan(number.value)]


def _lead(rows: Rows, against: str, several: bool) -> Parts:
    deltas = _deltas(rows, against)
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
    who = subject(rows)
    who = who[0].lower() + who[1:] if start else who
    body = f"{who} is better than {VERSUS[against]} on {count['better']} of {total}"
    if count["worse"]:
        body += f", worse on {count['worse']}"
    if count["unclear"]:
        body += f", and cannot be told apart from it on {count['unclear']}"
    if not count["better"]:
        verb = "worse than" if count["worse"] else "cannot be told apart from"
        number = count["worse"] or count["unclear"]
        body = f"{who} {'is ' if count['worse'] else ''}{verb} {VERSUS[against]} on {number} of {total}"
    return (start + body + ".",)


_FINDING = (("better", "Better than"), ("worse", "Worse than"), ("unclear", "Not to be told apart from"))


def _findings(rows: Rows, against: str, imagenet: bool) -> tuple[Finding, ...]:
    return tuple(
        Finding(state=state, parts=_listed(f"{words} {VERSUS[against]}: ", chosen, imagenet))  # type: ignore[arg-type]
        for state, words in _FINDING
        if (chosen := [(key, number) for key, number in _deltas(rows, against) if number.state == state])
    )


def _beside(rows: Rows, imagenet: bool) -> tuple[Finding, ...]:
    return (Finding(state="", parts=_listed("Against generation 0: ", _deltas(rows, "gen0"), imagenet)),)


def _listed(start: str, numbers: list[tuple[Key, Number]], imagenet: bool) -> Parts:
    parts: list[Number | str] = [start]
    for key, number in numbers:
        parts += [f"{headline_words(key, imagenet)} ", number, "; "]
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


def make_cards(rows: Rows, imagenet: bool) -> tuple[Card, ...]:
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


def _summary_keys(rows: Rows, eval_name: str) -> list[tuple[Key, str]]:
    """Keys over a whole eval, and what an eval of few subsets has beside them; in the order of METRICS."""
    frame = rows.frame
    frame = frame[(frame["eval"] == eval_name) & (frame["versus"] == "") & ~frame["metric"].str.startswith("zero_")]
    whole = frame[(frame["subset"] == "all") & frame["level"].isin(["", "mean"])]
    if eval_name not in ("imagenet-c", "imagenet-p"):
        whole = frame[frame["level"].isin(["", "mean"]) | (frame["subset"] != "all")]
    order = list(METRICS)
    keys = {Key(r.eval, r.metric, r.subset, r.level): None for r in listed(whole)}
    ranked = sorted(keys, key=lambda k: (k.subset != "all", order.index(k.metric) if k.metric in order else len(order)))
    return [(key, _summary_head(key)) for key in ranked]


def _summary_head(key: Key) -> str:
    words = [metric_words(key.metric).label]
    if key.subset != "all":
        words.append(subset_label(key.subset))
    if key.level:
        words.append("mean over ε" if key.eval == "fgsm" else level_label(key.eval, key.level))
    if key.eval == "imagenet-c" and key.level == "mean":
        words = [words[0] if key.metric != "error" else "error, mean of all cells"]
    return ", ".join(words)


def generation_section(rows: Rows, imagenet: bool, prefix: str = "") -> Section | None:
    """All generations beside one another, with every difference a switch away."""
    names = sorted({name for name in rows.frame["eval"] if name not in NOT_EVALS}, key=eval_rank)
    versus = [name for name, _ in switch_of(rows)]
    groups = [
        metric_group(rows, eval_title(name, imagenet), _summary_keys(rows, name), versus, mark_best=True)
        for name in names
    ]
    table = generation_table(
        rows,
        groups,
        id=f"{prefix}generations-table",
        caption="Every generation and the control. The best value of a line is bold.",
        corner="Measure",
        switch=switch_of(rows),
        legend=bool(versus),
        sortable=False,
        css="wide",
    )
    if table is None:
        return None
    chart = _trends(rows, imagenet)
    return Section(
        id="generations",
        nav="Generations",
        title="Generation by generation",
        blocks=(table, chart) if chart else (table,),
    )


def _trends(rows: Rows, imagenet: bool) -> Chart | None:
    panels = []
    used = []
    for key in HEADLINES:
        places = list(enumerate(rows.generations))
        series = [rows.series(name, [(place, key)]) for place, name in places]
        known = tuple(one for one in series if one)
        if known:
            used.append(key)
            panels.append(Panel(title=panel_title(key, imagenet), series=known))
    if not panels or len(rows.generations) < 2:
        return None
    ticks = [(float(k), name if name.isdigit() else "ctrl") for k, name in enumerate(rows.generations)]
    return Chart(
        id="trends",
        shape="lines",
        title="Headline measures by generation",
        caption="Each measure on its own scale, with 95 % intervals. Error and flips are better when low.",
        panels=tuple(panels),
        columns=5,
        x_label="generation",
        ticks=tuple(ticks),
        share_y=False,
        y_zero=False,
        panel_height=1.6,
        sources=rows.sources(used),
    )
