"""What must not be overlooked: numbers that look like a broken pipeline, images and cells that are not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from nsbench.report.model import Block, Cell, Fold, RowGroup, Section, Table, TableRow, Text
from nsbench.report.numbers import State
from nsbench.report.records import Records
from nsbench.report.rows import NOT_EVALS, UNREADABLE, WARNINGS, Rows, listed
from nsbench.report.words import clean, eval_rank, plural

SHOWN_CELLS = 3
"""Names of cells in a sentence; all of them stand in the fold."""

WORDS_LENGTH = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """One thing to check, of one model and suite or of the run."""

    state: State
    """`worse` where a number may be wrong, empty where it only is not what one might think."""
    subject: str
    """`resnet50, imagenet-c, 3 cells (frost-1, fog-2, snow-5)`; empty for the whole run."""
    words: str

    @property
    def text(self) -> str:
        return f"{self.subject}: {self.words}" if self.subject else self.words


def flags_of(records: Records, rows: Rows) -> tuple[Flag, ...]:
    """All flags of a run, the gravest first."""
    return (
        *_remarked(records, rows, WARNINGS),
        *_remarked(records, rows, UNREADABLE),
        *_unmeasured(records, rows),
        *_of_run(records),
        *_skipped(records),
        *_notes(records, rows),
    )


def flag_section(runs: Sequence[tuple[Records, Rows]]) -> Section | None:
    """What to check first, with every odd cell in a fold; None where there is nothing.

    Args:
        runs: the records and their rows, numbered as in the page's download.
    """
    blocks: list[Block] = []
    for records, rows in runs:
        run = f"{clean(records.text('name', '?'))}: " if len(runs) > 1 else ""
        blocks += [Text(parts=(run + flag.text,), css=f"flag {flag.state}") for flag in flags_of(records, rows)]
    if not blocks:
        return None
    fold = _cell_fold(runs)
    blocks += [fold] if fold else []
    return Section(id="check", nav="Check first", title="What to check first", blocks=tuple(blocks))


def own_words(records: Records, row: object) -> str:
    """What a row's protocol says beyond its eval's: the words that belong to this row alone."""
    protocol, line, name = (str(getattr(row, field)) for field in ("protocol", "line", "eval"))
    general = str(records.planned(line).get("protocols", {}).get(name, ""))
    rest = protocol.removeprefix(general).removeprefix("; ") if general else protocol
    return clean(rest, WORDS_LENGTH)


def _remarked(records: Records, rows: Rows, metric: str) -> list[Flag]:
    """One flag a model and suite: a broken pipeline is broken in all its cells."""
    groups: dict[tuple[str, str], list[object]] = {}
    for row in listed(rows.remarks[rows.remarks["metric"] == metric]):
        groups.setdefault((row.line, row.eval), []).append(row)
    flags = []
    for (line, name), found in sorted(groups.items(), key=lambda group: _place(rows, *group[0])):
        cells = [_cell(row) for row in found]
        words = own_words(records, found[0])
        if metric == UNREADABLE:
            count = int(max(row.value for row in found))  # type: ignore[attr-defined]
            words = f"{'up to ' if len(found) > 1 else ''}{plural(count, 'image')} could not be read; {words}"
        first = f"in {clean(cells[0])}, " if len(cells) > 1 else ""
        flags.append(Flag(state="worse", subject=_subject(rows, line, name, cells), words=first + words))
    return flags


def _cell(row: Any) -> str:
    """`brightness-1`: what the row remarks on."""
    return f"{row.subset}-{row.level}" if row.level else str(row.subset)


def _unmeasured(records: Records, rows: Rows) -> list[Flag]:
    flags = []
    for line, evals in records.unmeasured.items():
        for name, cells in evals.items():
            total = len(records.planned(line).get("cells", {}).get(name, ()))
            words = f"{len(cells):,} of {plural(total, 'cell')} not measured; no mean is taken over the rest"
            flags.append(Flag(state="worse", subject=_subject(rows, line, name, cells), words=words))
    return flags


def _of_run(records: Records) -> list[Flag]:
    words = []
    if records.text("status") == "partial":
        words.append("The run is not finished: not everything that was planned was measured.")
    if records.text("partial"):
        words.append(f"Partial: no number is of a whole set ({clean(records.text('partial'))}).")
    if records.run.get("held_out") is False:
        seen = "ImageNet's classes, but not its validation images; the models may have been trained on these"
        words.append(f"Not held out: {seen if records.is_models else 'seen while choosing the recipe'}.")
    return [Flag(state="worse", subject="", words=text) for text in words]


def _skipped(records: Records) -> list[Flag]:
    skipped = records.run.get("skipped")
    items = skipped.items() if isinstance(skipped, dict) else ()
    return [
        Flag(state="", subject=f"{clean(name)} skipped", words=clean(reason, WORDS_LENGTH) or "no images")
        for name, reason in sorted(items, key=lambda item: (eval_rank(str(item[0])), str(item[0])))
    ]


def _notes(records: Records, rows: Rows) -> list[Flag]:
    """What the models' loader had to say."""
    notes = ((name, records.model(name).get("notes")) for name in rows.names)
    return [
        Flag(state="", subject=rows.lines.label(name), words=clean(note, WORDS_LENGTH))
        for name, listed_notes in notes
        if isinstance(listed_notes, list)
        for note in listed_notes
    ]


def _subject(rows: Rows, line: str, eval_name: str, cells: Sequence[str]) -> str:
    """`resnet50, imagenet-c/frost-1`, or how many cells and the first of them."""
    name = rows.lines.label(line)
    if len(cells) == 1:
        return f"{name}, {clean(eval_name)}/{clean(cells[0])}"
    more = f" and {len(cells) - SHOWN_CELLS:,} more" if len(cells) > SHOWN_CELLS else ""
    return f"{name}, {clean(eval_name)}, {len(cells):,} cells ({', '.join(map(clean, cells[:SHOWN_CELLS]))}{more})"


def _place(rows: Rows, line: str, eval_name: str) -> tuple[int, int]:
    return (rows.names.index(line) if line in rows.names else len(rows.names), eval_rank(eval_name))


def _cell_fold(runs: Iterable[tuple[Records, Rows]]) -> Fold | None:
    """Every odd cell in a line of its own, where sentences named only the first."""
    lines = []
    for records, rows in runs:
        frame = rows.remarks[~rows.remarks["eval"].isin(NOT_EVALS)]
        for row in listed(frame):
            head = f"{rows.lines.label(row.line)}, {clean(row.eval)}/{clean(_cell(row))}"
            what = {WARNINGS: "looks broken", UNREADABLE: "unreadable images"}[row.metric]
            cells = (Cell(main=what), Cell(main=rows.written(row)), Cell(main=own_words(records, row)))
            lines.append(TableRow(head=head, cells=cells))
    if not lines:
        return None
    table = Table(
        id="check-table",
        caption="Every cell with a remark: how many, and in words",
        corner="Cell",
        columns=("Remark", "Count", "In words"),
        groups=(RowGroup(rows=tuple(lines)),),
        sortable=False,
        css="remarks",
    )
    return Fold(summary=f"{plural(len(lines), 'cell')} with a remark, one by one", blocks=(table,))
