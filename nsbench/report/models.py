"""The answer of a page of plain models: verdict, headline cards, the table of models by suites."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from nsbench.report.family import family_words
from nsbench.report.headlines import (
    findings_against,
    headline_deltas,
    headline_words,
    listed_parts,
    standing,
    title_words,
)
from nsbench.report.model import (
    Block,
    Card,
    Cell,
    Chart,
    Finding,
    Fold,
    Panel,
    RowGroup,
    Section,
    Table,
    TableRow,
    Text,
    Verdict,
)
from nsbench.report.numbers import Number
from nsbench.report.rows import Key, Rows, better_text
from nsbench.report.suites import card_keys, column_title
from nsbench.report.tables import line_cell, switch_of, with_best
from nsbench.report.words import eval_title, plural

MAX_FINDINGS = 12
"""Models that the verdict goes through one by one; the table has all of them."""

BESIDE = 3
"""Models that a card names beside the best one."""


def models_verdict(
    rows: Rows, keys: Sequence[Key], imagenet: Collection[str], data: str, *, paired: bool = True
) -> Verdict:
    """What can be said of these models on these images, and of nothing else.

    Args:
        paired: whether they answered the same images in one run, so that differences are known.
    """
    names, label, keys = rows.names, rows.lines.label, card_keys(keys)  # no suite counts twice
    caveat = (
        f"This speaks of {'this model' if len(names) == 1 else 'these models'} on {data} and of nothing else. "
        "The 95 % intervals cover the choice of test images, not the luck of training."
    )
    if len(names) == 1:
        values = [(key, number) for key in keys if (number := rows.number(names[0], key))]
        lead = listed_parts(f"{label(names[0])}: ", values, imagenet, ", ") if values else ("Nothing was measured.",)
        return Verdict(lead=lead, findings=(), caveat=caveat)
    if not paired:
        caveat += " They were measured apart: no difference is paired, and none is tested."
        return Verdict(lead=_best_parts(rows, keys, imagenet), findings=(), caveat=caveat)
    caveat += family_words(rows, keys)
    if len(names) == 2:
        lead = (_sentence(rows, names[1], keys),)
        return Verdict(lead=lead, findings=findings_against(rows, names[1], "first", keys, imagenet), caveat=caveat)
    findings = [Finding(state="", parts=(_sentence(rows, name, keys),)) for name in names[1 : MAX_FINDINGS + 1]]
    left = len(names) - 1 - MAX_FINDINGS
    if left > 0:
        findings.append(Finding(state="", parts=(f"{plural(left, 'more model')} in the table.",)))
    return Verdict(lead=_best_parts(rows, keys, imagenet), findings=tuple(findings), caveat=caveat)


def _sentence(rows: Rows, name: str, keys: Sequence[Key]) -> str:
    """How one model stands against the first, by the intervals of the differences."""
    deltas = headline_deltas(rows, name, "first", keys)
    who, first = rows.lines.label(name), rows.lines.versus["first"]
    if not deltas:
        return f"{who} and {first} have no measure in common."
    count = {state: sum(n.state == state for _, n in deltas) for state in ("better", "worse", "unclear")}
    odd = sum(rows.is_warned(name, key) or rows.is_warned(rows.names[0], key) for key, _ in deltas)
    doubt = f" The numbers behind {odd} of these look wrong: see what to check first." if odd else ""
    return f"{who} {standing(count, first, plural(len(deltas), 'headline measure'))}.{doubt}"


def _best_parts(rows: Rows, keys: Sequence[Key], imagenet: Collection[str]) -> tuple[Number | str, ...]:
    parts: list[Number | str] = [f"{plural(len(rows.names), 'model')}"]
    for key in _leading(keys):
        best = best_model(rows, key)
        number = rows.number(best, key) if best else None
        if number:
            superlative = "highest" if rows.raw(best, key).higher_is_better else "lowest"
            words = headline_words(key, imagenet)
            parts += [
                f"{': ' if len(parts) == 1 else '; '}{superlative} {words} ",
                number,
                f" of {rows.lines.label(best)}",
            ]
    return (*parts, ".")


def _leading(keys: Sequence[Key]) -> Sequence[Key]:
    """Clean accuracy and corruption error where they are there, else the first two suites."""
    return [key for key in keys if key.eval in ("imagenet", "imagenet-c")] or keys[:2]


def best_model(rows: Rows, key: Key) -> str:
    """Who alone has the best number of those behind which nothing looks wrong; empty where nobody has."""
    known = {
        name: row.value
        for name in rows.names
        if (row := rows.raw(name, key)) is not None and not math.isnan(row.value) and not rows.is_warned(name, key)
    }
    if not known:
        return ""
    up = rows.raw(next(iter(known)), key).higher_is_better
    best = (max if up else min)(known, key=lambda name: known[name])
    tied = len(known) > 1 and list(known.values()).count(known[best]) > 1
    return "" if tied else best


def models_cards(rows: Rows, keys: Sequence[Key], imagenet: Collection[str]) -> tuple[Card, ...]:
    """One card a suite: the best number, whose it is, and those of the next models."""
    cards = []
    for key in card_keys(keys):
        best = best_model(rows, key)
        shown = best or next((name for name in rows.names if rows.number(name, key)), "")
        others = [name for name in rows.names if name != shown and rows.number(name, key)][:BESIDE]
        who = "" if len(rows.names) == 1 else f"best: {rows.lines.label(best)}" if best else "no sound number"
        cards.append(
            Card(
                title=title_words(key, imagenet),
                better=better_text(rows.raw(shown, key)),
                number=rows.number(shown, key),
                who=who,
                deltas=tuple((_card_name(rows, name, key), rows.number(name, key)) for name in others),
            )
        )
    return tuple(cards)


def _card_name(rows: Rows, name: str, key: Key) -> str:
    return rows.lines.label(name) + (" (check first)" if rows.is_warned(name, key) else "")


def model_section(rows: Rows, keys: Sequence[Key], imagenet: Collection[str], *, paired: bool = True) -> Section | None:
    """Every model in a line, every suite in a column.

    Args:
        paired: whether the models answered the same images in one run, so that differences are known.
    """
    if not keys:
        return None
    versus = [name for name, _ in switch_of(rows)] if paired else []
    columns = [_column(rows, key, versus) for key in keys]
    lines = [
        TableRow(head=rows.lines.label(name), cells=tuple(column[place] for _, column in columns))
        for place, name in enumerate(rows.names)
    ]
    against = f" Below a number its paired difference to {rows.lines.versus['first']}." if versus else ""
    table = Table(
        id="models-table",
        caption=f"Headline numbers of every suite that was measured. The best of a column is bold.{against}",
        corner="Model",
        columns=tuple(title for title, _ in columns),
        groups=(RowGroup(rows=tuple(lines)),),
        legend=bool(versus),
    )
    blocks: list[Block | None] = [table, _dots(rows, keys), *protocol_notes(rows, keys, imagenet)]
    return Section(
        id="models", nav="Models", title="Models by suites", blocks=tuple(block for block in blocks if block)
    )


def _column(rows: Rows, key: Key, versus: Sequence[str]) -> tuple[str, list[Cell]]:
    """Head and cells [models] of one headline."""
    cells = [line_cell(rows, name, key, versus) for name in rows.names]
    row = next(row for name in rows.names if (row := rows.raw(name, key)) is not None)
    unit = rows.written(row).unit
    title = f"{column_title(key)}{f', {unit}' if unit else ''} {'↑' if row.higher_is_better else '↓'}"
    return title, with_best(cells, row.higher_is_better)


def _dots(rows: Rows, keys: Sequence[Key]) -> Chart | None:
    """A panel a suite, a line a model."""
    if len(rows.names) < 2 or not rows.lines.is_drawn:
        return None
    panels, used = [], card_keys(keys)
    for key in used:
        found = [rows.series(name, [(float(place), key)]) for place, name in enumerate(rows.names)]
        series = tuple(one.turned() for one in found if one)
        if series:
            panels.append(Panel(title=f"{column_title(key)}, %", series=series))
    if not panels:
        return None
    return Chart(
        id="models",
        shape="dots",
        title="Headline numbers",
        caption="Each suite on its own scale, with 95 % intervals. Error and flips are better when low.",
        panels=tuple(panels),
        columns=min(4, len(panels)),
        ticks=tuple((float(place), rows.lines.label(name)) for place, name in enumerate(rows.names)),
        panel_height=0.3 * len(rows.names) + 0.25,
        y_zero=False,
        share_y=False,
        sources=rows.sources(used),
    )


def protocol_notes(rows: Rows, keys: Sequence[Key], imagenet: Collection[str]) -> list[Block]:
    """Which suites were not shown alike to all models, and how to whom."""
    differing, notes = [], []
    for name in dict.fromkeys(key.eval for key in keys):
        first = next(key for key in keys if key.eval == name)
        by_protocol: dict[int, list[str]] = {}
        for line in rows.names:
            number = rows.number(line, first)
            if number:
                by_protocol.setdefault(number.note, []).append(rows.lines.label(line))
        if len(by_protocol) > 1:
            title = eval_title(name, imagenet)
            told = "; ".join(f"protocol {note}: {', '.join(who)}" for note, who in by_protocol.items())
            differing.append(title)
            notes.append(Text(parts=(f"{title}, {told}.",), css="note"))
    if not notes:
        return []
    words = (
        f"Protocols differ between the models, in the preprocessing or beyond it: {', '.join(differing)}. Numbers in "
        "such a column were not measured alike."
    )
    return [Text(parts=(words,), css="note"), Fold(summary="Which protocol is whose", blocks=tuple(notes))]
