"""Against the literature: what was printed, in a style of its own, and the measured numbers of the same protocol."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from nsbench.ablations import groups
from nsbench.metrics.published_ablations import PUBLISHED_ABLATIONS, PublishedAblation
from nsbench.metrics.published_studies import IMAGENET_MODELS, STUDIES
from nsbench.metrics.reference import Published
from nsbench.report.backdrop.known_models import known_table
from nsbench.report.literature import COMPARISONS, fgsm_curves, matching, printed
from nsbench.report.model import Block, Cell, Chart, Fold, Panel, RowGroup, Section, Table, TableRow, Text
from nsbench.report.numbers import Number
from nsbench.report.rows import Rows
from nsbench.report.words import number_text, plural

_TITLES = {
    "imagenet": "ImageNet",
    "imagenet-a": "ImageNet-A",
    "imagenet-c": "ImageNet-C",
    "imagenet-p": "ImageNet-P",
    "fgsm": "FGSM, and PGD",
}
_METRICS = {"top1": "top-1 ↑", "top5": "top-5 ↑", "mCE": "mCE ↓", "mFR": "mFR ↓"}


def literature_section(rows: Rows, imagenet: Collection[str]) -> Section:
    """The published tables, suite by suite, then the paper's studies of its recipe."""
    intro = (
        "Published figures are set in italics between dotted lines, and stand in no column with a measured one. A "
        "number of this page is named beside them only where it is of the same images under the same protocol.",
    )
    known = known_table(rows, imagenet)
    blocks: list[Block] = [known] if known else []
    for name, title in _TITLES.items():
        blocks.append(Fold(summary=f"{title}: published", blocks=tuple(_suite(rows, name, title, imagenet))))
    blocks.append(Fold(summary="Students, generations and ablations: published", blocks=tuple(_studies())))
    return Section(id="literature", nav="Literature", title="Against the literature", intro=intro, blocks=tuple(blocks))


def _suite(rows: Rows, name: str, title: str, imagenet: Collection[str]) -> list[Block]:
    blocks: list[Block] = [Text(parts=_beside(rows, name, imagenet), css="note")]
    if name == "imagenet":
        return [*blocks, *_study("published-imagenet", title, IMAGENET_MODELS), _suite_table(name, title, v1_only=True)]
    if name == "fgsm":
        blocks += [_curve_chart(), _epsilon_table()]
        return [*blocks, _suite_table("attacks", "PGD, 10 iterations, ε = 16/255, an input of 800 px")]
    return [*blocks, _suite_table(name, title)]


def _beside(rows: Rows, name: str, imagenet: Collection[str]) -> tuple[Number | str, ...]:
    """The measured numbers that may stand beside the published ones, or why none may."""
    asked, found = COMPARISONS[name], matching(rows, name, imagenet)
    if not found:
        return (f"Nothing here was measured on {asked.wanted}: {asked.because}.",)
    parts: list[Number | str] = [f"Measured here on {asked.wanted}: "]
    for line, row in found.items():
        parts += [f"{rows.lines.label(line)} ", rows.written(row), "; "]
    return (*parts[:-1], ". The models are others; the protocol is the papers'.")


def _suite_table(name: str, title: str, *, v1_only: bool = False) -> Table:
    """A line a model and size, a column a metric."""
    figures = [one for one in printed(name) if not v1_only or "(v1)" in one.model]
    metrics = [metric for metric in _METRICS if any(one.metric == metric for one in figures)]
    sizes = len({one.resolution for one in figures}) > 1
    lines = []
    for (model, side), group in groupby(figures, key=lambda one: (one.model, one.resolution)):
        values = {one.metric: one for one in group}
        head = f"{model}, {side} px" if sizes else model
        lines.append(TableRow(head=head, cells=tuple(_cell(_text(values.get(metric))) for metric in metrics)))
    return Table(
        id=f"published-{name}{'-v1' if v1_only else ''}-table",
        caption=f"Published, in percent: {title}. {_cited(one.citation for one in figures)}",
        corner="Model",
        columns=tuple(_METRICS[metric] for metric in metrics),
        groups=(RowGroup(rows=tuple(lines)),),
        sortable=False,
        css="published",
    )


def _cell(text: str | None) -> Cell:
    return Cell(main=text, css="published")


def _text(one: Published | None) -> str | None:
    if one is None:
        return None
    return number_text(100 * one.value if one.unit == "fraction" else one.value, 1)


def _cited(citations: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(citations)) + "."


def _curve_chart() -> Chart:
    series = fgsm_curves()
    levels = sorted({x for one in series for x in one.x})
    return Chart(
        id="published-fgsm",
        shape="lines",
        title="Published: FGSM",
        caption="Top-1 accuracy in percent by ε, at an input of 800 px; hollow and dotted because nothing of it was "
        "measured here. The table below has the figures and their sources.",
        panels=(Panel(title="", series=series),),
        columns=1,
        x_label="ε in 1/255",
        y_label="top-1 accuracy %",
        ticks=tuple((level, f"{level:g}") for level in levels),
        symlog=2.0,
        panel_height=2.3,
        narrow=True,
    )


def _epsilon_table() -> Table:
    figures = printed("fgsm")
    levels = list(dict.fromkeys(one.level for one in figures))
    lines = []
    for model, group in groupby(figures, key=lambda one: one.model):
        values = {one.level: one for one in group}
        lines.append(TableRow(head=model, cells=tuple(_cell(_text(values.get(level))) for level in levels)))
    return Table(
        id="published-fgsm-table",
        caption="Published, in percent: top-1 accuracy by ε in 1/255. "
        f"{_cited(one.citation for one in figures)} The scale of ε is inferred.",
        corner="Model",
        columns=tuple(f"ε = {level}" for level in levels),
        groups=(RowGroup(rows=tuple(lines)),),
        sortable=False,
        css="published",
    )


def _studies() -> list[Block]:
    """Students, generations, then the ablations under the headings of one's own."""
    words = (
        f"{plural(len(STUDIES) + len(PUBLISHED_ABLATIONS), 'study', 'studies')} of other models on other data, most "
        "with 300 million unlabelled images that nobody else has: compare directions, not figures."
    )
    named = dict(STUDIES)
    named |= {group.title: PUBLISHED_ABLATIONS[name] for name, group in groups().items() if name in PUBLISHED_ABLATIONS}
    blocks: list[Block] = [Text(parts=(words,), css="note")]
    for place, (title, known) in enumerate(named.items()):
        blocks += _study(f"published-study-{place}", title, known)
    return blocks


def _study(id: str, title: str, known: PublishedAblation) -> Sequence[Block]:
    lines = tuple(
        TableRow(
            head=name,
            cells=tuple(_cell(None if v is None else number_text(v, known.decimals)) for v in values),
        )
        for name, values in known.rows.items()
    )
    table = Table(
        id=f"{id}-table",
        caption=f"Published, top-1 in percent: {title}. {known.what}. {known.citation}.",
        corner="Setting",
        columns=tuple(column or "top-1" for column in known.columns),
        groups=(RowGroup(rows=lines),),
        sortable=False,
        css="published",
    )
    return (table,)
