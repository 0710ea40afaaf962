"""Health of the self-training: what the labels were worth, what the filter and the balance did, how training went."""

from __future__ import annotations

import math

import pandas as pd

from nsbench.report.lines import generation_label
from nsbench.report.model import Block, Cell, Chart, Fold, Panel, RowGroup, Section, Series, Table, TableRow
from nsbench.report.rows import Key, Rows
from nsbench.report.sections.training import curve_charts
from nsbench.report.words import clean, metric_words, subset_label

_QUALITY = ("images", "kept", "accuracy", "kept_accuracy", "mean_confidence")
_WHOLE = ("threshold", "agreement", "unique", "capped", "duplicates")
MAX_CLASSES = 30
"""More classes than this are drawn ranked, without names."""
MAX_RANKS = 100
"""Bars of such a drawing: of more classes every second is drawn, or every third, ..."""


def health_section(rows: Rows, curves: pd.DataFrame) -> Section | None:
    """Pseudo-labels, selection, training curves; whatever of it is there."""
    makers = [_source_table(rows), _whole_table(rows), _histograms(rows), _class_chart(rows), _class_table(rows)]
    blocks: list[Block | None] = [*makers, *curve_charts(curves)]
    found = tuple(block for block in blocks if block)
    if not found:
        return None
    intro = (
        "Generation g stands for the pseudo-labels that student g was trained on, given by the generation before it."
    )
    return Section(
        id="self-training",
        nav="Self-training",
        title="Health of the self-training",
        intro=(intro,) if any(makers) else (),
        blocks=found,
    )


def _label_generations(rows: Rows) -> list[str]:
    return sorted(rows.values("generation", eval="pseudo-labels"), key=lambda name: (not name.isdigit(), name))


def _sources(rows: Rows) -> list[str]:
    names = [name for name in rows.values("subset", eval="pseudo-labels") if not name.startswith("class:")]
    return sorted(names, key=lambda name: name != "all")


def _source_table(rows: Rows) -> Table | None:
    groups = []
    for source in _sources(rows):
        lines = []
        for generation in _label_generations(rows):
            numbers = [rows.number(generation, Key("pseudo-labels", metric, source)) for metric in _QUALITY]
            if any(numbers):
                lines.append(TableRow(head=generation_label(generation), cells=tuple(Cell(main=n) for n in numbers)))
        if lines:
            title = "all sources" if source == "all" else f"source: {subset_label(source)}"
            groups.append(RowGroup(title=title, rows=tuple(lines)))
    if not groups:
        return None
    columns = tuple(f"{metric_words(m).label}{'' if m == 'images' else ', %'}" for m in _QUALITY)
    return Table(
        id="sources-table",
        caption="Pseudo-labels by source of the image. Images without any class in them should not be kept; "
        "they have no accuracy.",
        corner="Labels for",
        columns=columns,
        groups=tuple(groups),
        sortable=False,
    )


def _whole_table(rows: Rows) -> Table | None:
    generations = _label_generations(rows)
    lines = []
    for metric in _WHOLE:
        numbers = [rows.number(generation, Key("pseudo-labels", metric)) for generation in generations]
        if any(numbers):
            unit = next(number.unit for number in numbers if number)
            lines.append(
                TableRow(head=metric_words(metric).label, unit=unit, cells=tuple(Cell(main=n) for n in numbers))
            )
    if not lines:
        return None
    return Table(
        id="selection-table",
        caption="Filter and balance: the threshold, agreement between teachers, and what the balance copied",
        corner="Measure",
        columns=tuple(generation_label(name) for name in generations),
        groups=(RowGroup(rows=tuple(lines)),),
        sortable=False,
    )


def _histograms(rows: Rows) -> Chart | None:
    panels, keys = [], []
    for generation in _label_generations(rows):
        x, y = [], []
        for level in rows.values("level", eval="pseudo-labels", metric="confidence_histogram"):
            row = rows.raw(generation, Key("pseudo-labels", "confidence_histogram", level=level))
            low, _, high = level.partition("-")
            if row is not None and high:
                x.append((float(low) + float(high)) / 2)
                y.append(row.value)
                keys.append(Key("pseudo-labels", "confidence_histogram", level=level))
        limit = rows.raw(generation, Key("pseudo-labels", "threshold"))
        if x:
            series = Series(role=generation, label="images", x=tuple(x), y=tuple(y))
            threshold = math.nan if limit is None else limit.value
            panels.append(
                Panel(title=f"labels for {generation_label(generation)}", series=(series,), threshold=threshold)
            )
    if not panels:
        return None
    return Chart(
        id="confidence",
        shape="bars",
        title="Confidence of the teacher",
        caption="Unlabelled images by the teacher's largest probability; left of the dashed line they are dropped.",
        panels=tuple(panels),
        columns=max(3, min(4, len(panels))),
        x_label="largest probability",
        y_label="images",
        ticks=((0.0, "0"), (0.5, "0.5"), (1.0, "1")),
        panel_height=1.5,
        sources=rows.sources(dict.fromkeys(keys)),
    )


_CLASS_METRICS = (("copies", "with copies"), ("kept_images", "kept, unique"), ("predicted", "predicted"))

_COLUMNS = (*reversed(_CLASS_METRICS), ("capped", "capped"))
"""Of the table by class."""


def _classes(rows: Rows) -> list[str]:
    return [name for name in rows.values("subset", eval="pseudo-labels") if name.startswith("class:")]


def _class_chart(rows: Rows) -> Chart | None:
    names, panels = _classes(rows), []
    many = len(names) > MAX_CLASSES
    for generation in _label_generations(rows):
        series = []
        for metric, label in _CLASS_METRICS:
            found = [rows.raw(generation, Key("pseudo-labels", metric, name)) for name in names]
            values = [(k, row.value) for k, row in enumerate(found) if row is not None]
            if many:
                ranked = sorted((value for _, value in values), reverse=True)
                step = -(-len(ranked) // MAX_RANKS)
                values = list(enumerate(ranked))[::step]
            if values:
                x, y = zip(*values, strict=True)
                series.append(Series(role=metric, label=label, x=tuple(map(float, x)), y=y))
        if series:
            panels.append(Panel(title=f"labels for {generation_label(generation)}", series=tuple(series)))
    if not panels:
        return None
    order = " Each count is ranked by itself, largest class first." if many else ""
    return Chart(
        id="classes",
        shape="bars",
        title="Classes after filter and balance",
        caption="Images a class: as predicted by the teacher, kept after filter and balance, and with the copies that "
        "fill small classes up." + order,
        panels=tuple(panels),
        columns=max(2, min(3, len(panels))),
        x_label="class, ranked" if many else "class",
        y_label="images",
        ticks=() if many else tuple((float(k), clean(subset_label(name), 12)) for k, name in enumerate(names)),
        panel_height=1.6,
        sources=rows.sources(Key("pseudo-labels", "copies", name) for name in names),
    )


def _class_table(rows: Rows) -> Fold | None:
    names, generations = _classes(rows), _label_generations(rows)
    recorded = rows.values("metric", eval="pseudo-labels")
    shown = [one for one in _COLUMNS if one[0] in recorded]
    ends = ""
    if len(names) > MAX_CLASSES and generations:
        found = [(rows.raw(generations[-1], Key("pseudo-labels", "predicted", name)), name) for name in names]
        ranked = [name for _, name in sorted(((-row.value, name) for row, name in found if row is not None))]
        names = [*ranked[: MAX_CLASSES // 2], *ranked[-MAX_CLASSES // 2 :]] if len(ranked) > MAX_CLASSES else ranked
        ends = f": the {MAX_CLASSES // 2} largest and the {MAX_CLASSES // 2} smallest; results.csv has them all"
    columns = tuple(f"{generation_label(g)}: {label}" for g in generations for _, label in shown)
    lines = [
        TableRow(
            head=subset_label(name),
            cells=tuple(
                Cell(main=rows.number(g, Key("pseudo-labels", metric, name)))
                for g in generations
                for metric, _ in shown
            ),
        )
        for name in names
    ]
    if not lines:
        return None
    table = Table(
        id="classes-table",
        caption=f"Images a class: predicted, kept, with copies, capped (sure enough, but the class had enough){ends}",
        corner="Class",
        columns=columns,
        groups=(RowGroup(rows=tuple(lines)),),
    )
    return Fold(summary="The numbers by class", blocks=(table,))
