"""Effective robustness: accuracy on other images against clean accuracy, before models that timm published."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from nsbench.metrics.effective_robustness import FITS, FITTED, SOURCE, Fit
from nsbench.report.backdrop import timm_models
from nsbench.report.model import Block, Chart, Panel, Section, Series, Table, Text
from nsbench.report.rows import Key, Rows
from nsbench.report.scatter import points
from nsbench.report.tables import line_table, metric_group, switch_of
from nsbench.report.words import clean, eval_short

_SETS: dict[str, tuple[Key, tuple[Key, ...], str]] = {
    "imagenet-a": (
        Key("imagenet-a", "top1"),
        (Key("imagenet-a", "top1", "clean"), Key("imagenet-a", "top1", "complement")),
        "the same classes",
    ),
    "imagenet-r": (Key("imagenet-r", "top1"), (Key("imagenet-r", "top1", "clean"),), "the same classes"),
    "imagenet-v2": (Key("imagenet-v2", "top1", "matched-frequency"), (Key("imagenet", "top1"),), "val"),
    "imagenet-sketch": (Key("imagenet-sketch", "top1"), (Key("imagenet", "top1"),), "val"),
}
"""Accuracy on the set, accuracies on clean images that may stand beside it, and what those show."""


def effective_section(rows: Rows, imagenet: Collection[str]) -> Section | None:
    """Whether accuracy on other images is more than clean accuracy predicts; None where nothing stands beside anything.

    The published models and the line through them stand behind ImageNet's own images alone.
    """
    chart = _chart(rows, imagenet)
    table = _table(rows, imagenet)
    if chart is None and table is None:
        return None
    blocks: list[Block | None] = [chart, table, _note(rows, imagenet)]
    return Section(
        id="effective-robustness",
        nav="Effective robustness",
        title="More than clean accuracy predicts?",
        blocks=tuple(block for block in blocks if block),
    )


def _is_backed(name: str, imagenet: Collection[str]) -> bool:
    return name in imagenet and "imagenet" in imagenet


def _chart(rows: Rows, imagenet: Collection[str]) -> Chart | None:
    panels, used = [], []
    for name, (shifted, beside, what) in _SETS.items():
        known = next((key for key in beside if any(rows.number(line, key) for line in rows.names)), None)
        own = points(rows, shifted, known) if known else ()
        if known is None or not own or (len(own) < 2 and not _is_backed(name, imagenet)):
            continue
        behind = _backdrop(FITS[name]) if _is_backed(name, imagenet) else ()
        title = "clean complement" if known.subset == "complement" else f"clean accuracy on {what}"
        panels.append(Panel(title=f"{eval_short(name, imagenet)} by {title}", series=(*behind, *own)))
        used += [shifted, known]
    if not panels:
        return None
    backed = any(one.role == "backdrop" for panel in panels for one in panel.series)
    words = (
        f" Hollow: models published by timm ({SOURCE}), circles trained on ImageNet-1k alone, triangles on more. "
        f"Dashed: the line through the circles, fitted {FITTED}. What lies above it is effective robustness."
        if backed
        else " What moves up without moving right has become robust; what moves both ways has become accurate."
    )
    return Chart(
        id="effective",
        shape="scatter",
        title="Accuracy on other images against clean accuracy",
        caption=f"Top-1 accuracy in percent with 95 % intervals, logit scales.{words}",
        panels=tuple(panels),
        columns=2,
        x_label="clean top-1 accuracy %",
        y_label="top-1 accuracy %",
        x_scale="logit",
        y_scale="logit",
        panel_height=2.9,
        narrow=len(panels) == 1,
        share_y=False,
        sources=rows.sources(dict.fromkeys(used)),
    )


def _backdrop(fit: Fit) -> tuple[Series, ...]:
    """The line, the models trained on ImageNet-1k alone, and the others, in percent."""
    frame = timm_models()
    frame = frame.assign(x=100 * frame[f"{fit.clean}_top1"], y=100 * frame[f"{fit.shifted}_top1"]).dropna(
        subset=["x", "y"]
    )
    ends = np.linspace(max(frame["x"].min(), 100 * fit.lowest), frame["x"].max(), 50)
    line = Series(
        role="fit",
        label="line of the models on ImageNet-1k alone",
        x=tuple(map(float, ends)),
        y=tuple(float(y) for y in 100 * fit.expected(ends / 100)),
    )
    alone = frame["extra_data"] == ""
    parts = (("backdrop", "timm, ImageNet-1k alone", alone), ("backdrop-extra", "timm, more data", ~alone))
    return (
        line,
        *(
            Series(role=role, label=label, x=tuple(frame.loc[chosen, "x"]), y=tuple(frame.loc[chosen, "y"]))
            for role, label, chosen in parts
        ),
    )


def _keys(rows: Rows, imagenet: Collection[str]) -> list[tuple[Key, str]]:
    found = []
    for name in FITS:
        for subset in rows.values("subset", eval=name, metric="effective_robustness"):
            words = "" if subset == "all" else f", {clean(subset)}"
            found.append((Key(name, "effective_robustness", subset), f"{eval_short(name, imagenet)}{words}"))
    return found


def _table(rows: Rows, imagenet: Collection[str]) -> Table | None:
    switch = switch_of(rows)
    group = metric_group(rows, "", _keys(rows, imagenet), [name for name, _ in switch], units=False, mark_best=True)
    return line_table(
        rows,
        (group,),
        id="effective-table",
        caption="Effective robustness: points of accuracy above (or, with a minus, below) the line through published "
        "models of the same clean accuracy. The intervals cover the test images of both sets, not the line.",
        corner="Test images",
        sortable=False,
        legend=bool(switch),
        switch=switch,
    )


def _note(rows: Rows, imagenet: Collection[str]) -> Text | None:
    """Who is not on ImageNet-A's line, and that computed corruptions have none."""
    if not _keys(rows, imagenet):
        return None
    low = FITS["imagenet-a"].lowest
    key, clean_key = Key("imagenet-a", "effective_robustness"), Key("imagenet-a", "top1", "clean")
    below = [
        rows.lines.label(name)
        for name in rows.names
        if rows.raw(name, key) is None
        and (row := rows.raw(name, clean_key)) is not None
        and not math.isnan(row.value)
        and row.value < low
    ]
    words = "Corruptions have no line: nobody published models on pixels that were computed here."
    if below:
        words += (
            " ImageNet-A was chosen against a ResNet-50, and its line is for models of at least that one's clean "
            f"accuracy; below it: {', '.join(below[:8])}{' and more' if len(below) > 8 else ''}."
        )
    return Text(parts=(words,), css="note")
