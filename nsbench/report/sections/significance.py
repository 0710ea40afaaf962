"""Which differences stand when all of them are looked at together, and for which classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from nsbench.report.family import family, standing
from nsbench.report.headlines import title_words
from nsbench.report.model import Block, Cell, Fold, RowGroup, Section, Table, TableRow, Text
from nsbench.report.rows import HEADLINES, Key, Rows, listed
from nsbench.report.words import AGGREGATE, clean, plural, subset_label

_CLASS = "class_top1"
_STANDS, _FALLS = "stands", "does not stand"


def significance_section(rows: Rows, imagenet: Collection[str], keys: Sequence[Key] = HEADLINES) -> Section | None:
    """The tests of the headline differences with Holm's correction, then the classes that lost and won most."""
    found = family(rows, keys)
    blocks: list[Block] = [_table(rows, found, imagenet)] if found else []
    blocks += _class_blocks(rows)
    if not blocks:
        return None
    return Section(id="significance", nav="Significance", title="How sure, when all is counted", blocks=tuple(blocks))


def _table(rows: Rows, found: Sequence[Any], imagenet: Collection[str]) -> Table:
    stands = standing(found)
    groups = []
    for versus in dict.fromkeys(row.versus for row in found):
        lines = tuple(_line(rows, row, stands, imagenet) for row in found if row.versus == versus)
        groups.append(RowGroup(title=f"Against {rows.lines.versus[versus]}", rows=lines))
    tests = (
        f"paired t tests over {plural(int(found[0].n), 'seed')}"
        if found[0].run.startswith(AGGREGATE)
        else "paired image by image (McNemar's exact test of shares, the paired bootstrap of means and ratios)"
    )
    kept = sum(stands.values())
    return Table(
        id="significance-table",
        caption=f"The family: the {plural(len(found), 'difference')} of headline measures below, {tests}. Holm's "
        f"correction at 5 % counts all of them: {kept:,} of {len(found):,} stand, and the chance that any that stands "
        "is no difference at all is at most 5 %.",
        corner="Measure",
        columns=("After Holm", "Difference [95 %]", "p"),
        groups=tuple(groups),
        sortable=False,
        legend=True,
        css="changes",
    )


def _line(rows: Rows, row: Any, stands: dict[int, bool], imagenet: Collection[str]) -> TableRow:
    number = rows.written(row)
    who = f"{rows.lines.label(row.line)}: " if len(rows.names) > 2 and rows.lines.noun == "model" else ""
    key = Key(row.eval, row.metric, row.subset, row.level)
    return TableRow(
        head=f"{who}{title_words(key, imagenet)}",
        unit=number.unit,
        note=number.note,
        cells=(
            Cell(main=_STANDS if stands.get(row.Index) else _FALLS),
            Cell(main=number, css="change"),
            Cell(main=rows.p_value(row)),
        ),
    )


def _class_blocks(rows: Rows) -> list[Block]:
    frame = rows.frame
    frame = frame[(frame["metric"] == _CLASS) & (frame["versus"] != "")]
    pairs = dict.fromkeys(zip(frame["line"], frame["versus"], strict=True))
    blocks: list[Block] = []
    for name, versus in pairs:
        found = listed(frame[(frame["line"] == name) & (frame["versus"] == versus)])
        words = f"{rows.lines.subject(name)} against {rows.lines.versus.get(versus, clean(versus))}"
        table = _class_table(rows, name, found, words, f"classes-{len(blocks) + 1}-changed-table")
        blocks.append(Fold(summary=f"Losses and gains by class: {words}", blocks=(table,)))
    if blocks:
        intro = (
            "Below, the classes that lost most and won most. They were chosen for that, so each p value is McNemar's "
            "exact one with Holm's correction over all classes, and each interval has the level that as many classes "
            "ask for: a class whose interval holds zero may owe its place to chance."
        )
        blocks.insert(0, Text(parts=(intro,), css="note"))
    return blocks


def _class_table(rows: Rows, name: str, found: Sequence[Any], words: str, id: str) -> Table:
    key = {row.Index: Key("imagenet", _CLASS, row.subset) for row in found}
    lost = [row for row in found if row.value < 0]
    won = [row for row in found if row.value > 0]
    groups = []
    for title, some in (("Lost most", lost), ("Won most", won)):
        lines = tuple(
            TableRow(
                head=subset_label(row.subset),
                cells=(
                    Cell(main=rows.number(name, key[row.Index])),
                    Cell(main=rows.written(row), css="change"),
                    Cell(main=rows.p_value(row)),
                ),
            )
            for row in some
        )
        if lines:
            groups.append(RowGroup(title=title, rows=lines))
    return Table(
        id=id,
        caption=f"Top-1 accuracy by class in percent: {words}",
        corner="Class",
        columns=("Accuracy", "Difference, points", "p after Holm"),
        groups=tuple(groups),
        sortable=False,
        interval_note="95 % intervals over images; of differences by class with Bonferroni's correction",
    )
