"""ImageNet-P: how often the models change their mind under small movements."""

from __future__ import annotations

from collections.abc import Collection

from nsbench.report.model import Block, Chart, Fold, Panel, Section
from nsbench.report.rows import Key, Rows
from nsbench.report.tables import line_table, metric_group, suite_table, whole_keys
from nsbench.report.words import clean, eval_title, metric_base, subset_label

_EVAL = "imagenet-p"


def perturbation_section(rows: Rows, imagenet: Collection[str]) -> Section | None:
    """Flip probability of every perturbation as dots, the means, and the table by perturbation."""
    if not rows.has(_EVAL):
        return None
    names = [name for name in rows.values("subset", eval=_EVAL) if name != "all"]
    means = suite_table(
        rows,
        _EVAL,
        whole_keys(rows, _EVAL),
        id="perturbations-table",
        caption="Means over the perturbations. A mean with a name of its own says what it is relative to.",
    )
    blocks: list[Block | None] = [_flip_chart(rows, names), means, _flip_table(rows, names)]
    return Section(
        id=_EVAL,
        nav="Perturbations",
        title=eval_title(_EVAL, imagenet),
        blocks=tuple(block for block in blocks if block),
    )


def _flip_chart(rows: Rows, names: list[str]) -> Chart | None:
    keys = [Key(_EVAL, "flip_probability", name) for name in names]
    series = tuple(one.turned() for one in rows.all_series([(float(k), key) for k, key in enumerate(keys)]))
    if not series:
        return None
    return Chart(
        id="perturbations",
        shape="dots",
        title="Flip probability by perturbation",
        caption="Share of neighbouring frames on which the prediction changes, in percent. Lower is better.",
        panels=(Panel(title="", series=series),),
        columns=1,
        x_label="flip probability %",
        ticks=tuple((float(k), subset_label(name)) for k, name in enumerate(names)),
        panel_height=0.36 * len(names) + 0.2,
        sources=rows.sources(keys),
    )


_TITLES = {
    "flip_probability": "Flip probability, %",
    "FR": "Flip rate",
    "T5D": "Top-5 distance, ranks",
    "T5D_relative": "Top-5 distance, % of the baseline's",
}
_MEANS = {"FR": "mFR", "T5D_relative": "mT5D"}


def _flip_table(rows: Rows, names: list[str]) -> Fold | None:
    groups = []
    for metric in rows.values("metric", eval=_EVAL):
        base = metric_base(metric)
        if base not in _TITLES:
            continue
        mean = _MEANS.get(base, base) + metric.removeprefix(base)
        keys = [(Key(_EVAL, metric, name), subset_label(name)) for name in names]
        groups.append(metric_group(rows, _title(rows, metric), [*keys, (Key(_EVAL, mean), "mean")], units=False))
    table = line_table(
        rows,
        groups,
        id="flips-table",
        caption="Flips by perturbation. Lower is better everywhere.",
        corner="Perturbation",
        sortable=False,
    )
    return Fold(summary="The numbers: flip probability, flip rate, top-5 distance", blocks=(table,)) if table else None


def _title(rows: Rows, metric: str) -> str:
    """What a flip rate is relative to, as its name and its protocol say."""
    base = metric_base(metric)
    if base != "FR":
        return _TITLES[base]
    frame = rows.frame
    protocol = str(frame.loc[(frame["eval"] == _EVAL) & (frame["metric"] == metric), "protocol"].iloc[0])
    whose = "AlexNet's" if "relative to AlexNet" in protocol else "generation 0's"
    return f"Flip rate, % of {whose}" + (f" ({clean(metric)})" if metric != base else "")
