"""Natural images: the clean ones and how far confidence goes there, ImageNet-A beside them, and the other test sets."""

from __future__ import annotations

from collections.abc import Collection

from nsbench.report.model import Block, Chart, Panel, Section, Table, Text
from nsbench.report.rows import NOT_EVALS, Key, Rows, listed
from nsbench.report.tables import line_table, metric_group, ranked, suite_table, summary_head, switch_of, whole_keys
from nsbench.report.words import eval_rank, eval_title, metric_base, plural, subset_label

_BESIDE = {
    "complement": "Complement: the candidates that the reference classifier gets right.",
    "clean": "Clean: clean images of the same classes.",
}
"""What stands beside the hard images."""

_OWN_SECTION = frozenset(("imagenet", "imagenet-a", "imagenet-c", "imagenet-c-bar", "imagenet-p", "fgsm", "attacks"))

MAX_LINES = 60
"""Numbers of a suite that the page knows nothing of; the rest is in the download."""


def clean_section(rows: Rows, imagenet: Collection[str], but: Collection[str] = ()) -> Section | None:
    """Accuracy and calibration on the clean images, and what differs image by image.

    Args:
        but: metrics that stand elsewhere.
    """
    keys = [key for key in whole_keys(rows, "imagenet") if metric_base(key.metric) not in but]
    caption = (
        "Clean images. Negative flips: images that the reference has right and this one has wrong, a share of all."
    )
    table = suite_table(rows, "imagenet", keys, id="clean-table", caption=caption)
    if table is None:
        return None
    return Section(id="imagenet", nav="Clean", title=eval_title("imagenet", imagenet), blocks=(table,))


def other_section(rows: Rows, imagenet: Collection[str]) -> Section | None:
    """Every suite that has no section of its own, whatever it measures."""
    names = sorted({name for name in rows.frame["eval"] if name not in (*NOT_EVALS, *_OWN_SECTION)}, key=eval_rank)
    versus = [name for name, _ in switch_of(rows)]
    groups, blocks = [], []
    for name in names:
        frame = rows.frame[(rows.frame["eval"] == name) & (rows.frame["versus"] == "")]
        keys = ranked({Key(r.eval, r.metric, r.subset, r.level): None for r in listed(frame)})
        shown = [(key, summary_head(key)) for key in keys[:MAX_LINES]]
        groups.append(metric_group(rows, eval_title(name, imagenet), shown, versus, mark_best=True))
        if len(keys) > MAX_LINES:
            words = f"{eval_title(name, imagenet)}: {plural(len(keys) - MAX_LINES, 'more number')} in results.csv."
            blocks.append(Text(parts=(words,), css="note"))
    table = line_table(
        rows,
        groups,
        id="others-table",
        caption="Other test images of the same classes, each suite under its own protocol. The best value of a line "
        "is bold.",
        corner="Measure",
        switch=switch_of(rows),
        legend=bool(versus),
        sortable=False,
        css="wide",
    )
    if table is None:
        return None
    return Section(id="others", nav="Other sets", title="Other test sets", blocks=(table, *blocks))


def hard_section(rows: Rows, imagenet: Collection[str]) -> Section | None:
    """Accuracy on the filtered images beside accuracy on clean ones of the same classes, or on what the filter left."""
    if not rows.has("imagenet-a"):
        return None
    beside = [name for name in rows.values("subset", eval="imagenet-a") if name != "all"]
    keys = {Key("imagenet-a", "top1"): "hard images"}
    keys |= {Key("imagenet-a", "top1", name): subset_label(name) for name in beside}
    chart = _pair(rows, keys) if len(rows.names) > 1 else None
    blocks: list[Block | None] = [chart, _hard_table(rows, keys)]
    return Section(
        id="imagenet-a",
        nav="Hard images",
        title=eval_title("imagenet-a", imagenet),
        blocks=tuple(block for block in blocks if block),
    )


def _hard_table(rows: Rows, accuracies: dict[Key, str]) -> Table | None:
    keys = [(key, f"top-1, {words}") for key, words in accuracies.items()]
    keys += [(key, "") for key in whole_keys(rows, "imagenet-a") if key.metric != "top1"]
    known = [_BESIDE[key.subset] for key in accuracies if key.subset in _BESIDE]
    return line_table(
        rows,
        (metric_group(rows, "", keys, [name for name, _ in switch_of(rows)]),),
        id="hard-table",
        caption=" ".join(["RMS calibration error is better when low, the rest when high.", *known]),
        corner="Measure",
        sortable=False,
        legend=True,
        switch=switch_of(rows),
    )


def _pair(rows: Rows, keys: dict[Key, str]) -> Chart | None:
    """Generations follow one another along x; models have no order, and names too long for an axis below."""
    along = rows.lines.noun == "generation"
    panels = []
    for key, title in keys.items():
        found = [rows.series(name, [(float(place), key)]) for place, name in enumerate(rows.names)]
        series = tuple(one if along else one.turned() for one in found if one)
        if series:
            panels.append(Panel(title=title, series=series))
    if not panels or not rows.lines.is_drawn:
        return None
    names = tuple(rows.lines.label(name) if not along else name if name.isdigit() else "ctrl" for name in rows.names)
    return Chart(
        id="hard",
        shape="lines" if along else "dots",
        title="Hard images beside easy ones",
        caption="Top-1 accuracy in percent with 95 % intervals. A gain on the hard images that the easy ones share "
        "is accuracy; a gain on the hard ones alone is robustness.",
        panels=tuple(panels),
        columns=2,
        x_label="generation" if along else "top-1 accuracy %",
        y_label="top-1 accuracy %" if along else "",
        ticks=tuple((float(place), name) for place, name in enumerate(names)),
        panel_height=1.9 if along else 0.3 * len(names) + 0.25,
        narrow=along,
        sources=rows.sources(keys),
    )
