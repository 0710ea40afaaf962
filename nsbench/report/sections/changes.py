"""What got worse, before what got better: every difference whose interval leaves zero out."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from nsbench.report.model import Block, Cell, Fold, RowGroup, Section, Table, TableRow, Text
from nsbench.report.numbers import State
from nsbench.report.rows import NOT_EVALS, SELECTED, SHARES, Rows, listed, state_of
from nsbench.report.words import eval_short, level_label, metric_words, plural, subset_label

FIRST = 12
"""Lines shown before the reader unfolds the rest."""

MOST = 800
"""Lines in a fold; a page of megabytes helps nobody."""

_SIDE = {"worse": "bad", "better": "good"}


def change_section(rows: Rows, imagenet: Collection[str]) -> Section | None:
    """Differences of the final generation first, those of the generations before in a fold; of models all alike."""
    frame = rows.frame
    frame = frame[
        (frame["versus"] != "")
        & ~frame["eval"].isin(NOT_EVALS)
        & ~frame["metric"].isin((*SHARES, *SELECTED))
        & ~frame["generation"].isin(["0", "control"])
    ]
    differences = [row for row in listed(frame) if not math.isnan(row.ci_low)]
    if not differences:
        return None
    by_state: dict[State, list[Any]] = {"better": [], "worse": [], "unclear": []}
    for row in sorted(differences, key=lambda row: (-_strength(row), row.Index)):
        by_state[state_of(row)].append(row)
    expected = 0.025 * len(differences)
    intro = (
        f"Of {plural(len(differences), 'difference')} with an interval, "
        f"{len(by_state['worse']):,} lie wholly on the bad side of zero and {len(by_state['better']):,} on the good "
        f"side. If nothing at all {rows.lines.changed}, chance alone would put about {max(expected, 1):.0f} on either "
        "side, so look for many of one kind rather than at one.",
    )
    blocks: list[Block] = [*_tables(rows, by_state["worse"], "worse", imagenet)]
    blocks += _tables(rows, by_state["better"], "better", imagenet)
    return Section(
        id="changes",
        nav="Worse / better",
        title=f"What {rows.lines.verb} worse, and what {rows.lines.verb} better",
        intro=intro,
        blocks=tuple(blocks),
    )


def _strength(row: Any) -> float:
    """Difference in half widths of its interval."""
    half = (row.ci_high - row.ci_low) / 2
    return abs(row.value) / half if half > 0 else math.inf


def _tables(rows: Rows, found: list[Any], state: str, imagenet: Collection[str]) -> list[Block]:
    verb, compared = rows.lines.verb, rows.lines.compared
    if not found:
        return [Text(parts=(f"Nothing {verb} {state} by more than chance explains.",), css="none-found")]
    final = [row for row in found if rows.lines.is_compared(row.line, row.versus)]
    first = final[:FIRST]
    shown = {row.Index for row in first}
    rest = [row for row in (found if state == "worse" else final) if row.Index not in shown][:MOST]
    blocks: list[Block] = []
    if not first:
        blocks.append(Text(parts=(f"Nothing on the {_SIDE[state]} side for {compared}.",), css="none-found"))
    else:
        caption = f"What {verb} {state}: {compared}, clearest first"
        blocks.append(_table(rows, first, f"{state}-first", caption, imagenet))
    if rest:
        scope = f"every {rows.lines.noun}" if state == "worse" else compared
        title = (
            f"{'The other ' if first else ''}{plural(len(rest), 'difference')} on the {_SIDE[state]} side, of {scope}"
        )
        caption = f"What {verb} {state}: the other differences, of {scope}"
        blocks.append(Fold(summary=title, blocks=(_table(rows, rest, f"{state}-rest", caption, imagenet),)))
    left = len(found) - len(first) - len(rest)
    if left:
        words = f"{plural(left, 'more difference')} on the {_SIDE[state]} side in results.csv."
        blocks.append(Text(parts=(words,), css="note"))
    return blocks


def _table(rows: Rows, found: list[Any], id: str, caption: str, imagenet: Collection[str]) -> Table:
    lines = []
    several = len({row.line for row in found}) > 1 or (rows.lines.noun == "model" and len(rows.names) > 2)
    alone = len(rows.lines.versus) == 1  # the caption says against what
    for row in found:
        number = rows.written(row)
        lines.append(
            TableRow(
                head=_measure(row, imagenet),
                unit=number.unit,
                note=number.note,
                cells=(
                    *((Cell(main=rows.lines.label(row.line)),) if several else ()),
                    *(() if alone else (Cell(main=rows.lines.against(row.versus).removeprefix("vs ")),)),
                    Cell(main=number, css="change"),
                    Cell(main=rows.p_value(row)),
                ),
            )
        )
    columns = (
        *((rows.lines.noun.capitalize(),) if several else ()),
        *(() if alone else ("Against",)),
        "Difference [95 %]",
        "p",
    )
    return Table(
        id=id, caption=caption, corner="Measure", columns=columns, groups=(RowGroup(rows=tuple(lines)),), css="changes"
    )


def _measure(row: Any, imagenet: Collection[str]) -> str:
    subset = "" if row.subset == "all" else subset_label(row.subset)
    level = level_label(row.eval, row.level)
    words = (eval_short(row.eval, imagenet), subset, level, metric_words(row.metric).label)
    return " · ".join(word for word in words if word)
