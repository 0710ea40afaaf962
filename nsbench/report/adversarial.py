"""Attacks and hard images: the FGSM sweep with its control, PGD, ImageNet-A beside clean accuracy."""

from __future__ import annotations

from nsbench.report.model import Block, Chart, Panel, RowGroup, Section, Table
from nsbench.report.rows import Key, Rows
from nsbench.report.tables import generation_table, metric_group, switch_of
from nsbench.report.words import eval_title, level_label, subset_label

_BESIDE = {
    "complement": ("complement", "Complement: the candidates that the reference classifier gets right."),
    "clean-200": ("clean 200", "Clean 200: clean images of the same 200 classes."),
}
"""What stands beside the hard images: short name, and what it is."""


def fgsm_section(rows: Rows, imagenet: bool) -> Section | None:
    """Accuracy by epsilon under the attack and under random signs of the same size."""
    if not (rows.has("fgsm") or rows.has("attacks")):
        return None
    levels = [level for level in rows.values("level", eval="fgsm") if level not in ("", "mean")]
    levels.sort(key=float)
    blocks: list[Block | None] = [
        _sweep(rows, levels),
        _fgsm_table(rows, levels),
        _zero_table(rows),
        _attack_table(rows),
    ]
    return Section(
        id="fgsm", nav="FGSM", title=eval_title("fgsm", imagenet), blocks=tuple(block for block in blocks if block)
    )


def _sweep(rows: Rows, levels: list[str]) -> Chart | None:
    panels, used = [], []
    for metric, title in (("top1", "FGSM: the sign of the gradient"), ("random_sign_top1", "Control: random signs")):
        keys = [(float(level), Key("fgsm", metric, level=level)) for level in levels]
        series = rows.all_series(keys)
        if series:
            panels.append(Panel(title=title, series=series))
            used += [key for _, key in keys]
    if not panels:
        return None
    positive = [float(level) for level in levels if float(level) > 0]
    return Chart(
        id="fgsm-sweep",
        shape="lines",
        title="Accuracy by step size",
        caption="Top-1 accuracy in percent by ε, with 95 % intervals; ε doubles from tick to tick. An attack "
        "that does no more than random signs of the same size found no gradient to follow.",
        panels=tuple(panels),
        columns=2,
        x_label="ε in 1/255",
        y_label="top-1 accuracy %",
        ticks=tuple((float(level), level) for level in levels),
        symlog=min(positive, default=1.0),
        panel_height=2.7,
        sources=rows.sources(used),
    )


def _fgsm_table(rows: Rows, levels: list[str]) -> Table | None:
    def group(metric: str, title: str) -> RowGroup:
        keys = [(Key("fgsm", metric, level=level), level_label("fgsm", level)) for level in levels]
        return metric_group(rows, title, [*keys, (Key("fgsm", metric, level="mean"), "mean over ε > 0")], units=False)

    return generation_table(
        rows,
        (group("top1", "FGSM"), group("random_sign_top1", "Random signs")),
        id="fgsm-table",
        caption="Top-1 accuracy in percent by step size. Higher is better.",
        corner="Step size",
        sortable=False,
    )


def _zero_table(rows: Rows) -> Table | None:
    keys = [(Key("fgsm", metric), "") for metric in ("zero_gradient_images", "zero_gradient_pixels")]
    return generation_table(
        rows,
        (metric_group(rows, "", keys),),
        id="zero-gradient-table",
        caption="Zero gradients. Where many vanish, FGSM has no direction and its accuracy flatters the model.",
        corner="Share",
        sortable=False,
    )


def _attack_table(rows: Rows) -> Table | None:
    pairs = [
        (subset, level)
        for subset in rows.values("subset", eval="attacks")
        for level in rows.values("level", eval="attacks", subset=subset)
    ]
    keys = [
        (
            Key("attacks", "top1", subset, level),
            ", ".join(filter(None, (subset_label(subset).upper(), level_label("attacks", level)))),
        )
        for subset, level in pairs
    ]
    return generation_table(
        rows,
        (metric_group(rows, "", keys, [name for name, _ in switch_of(rows)]),),
        id="attacks-table",
        caption="Top-1 accuracy in percent under stronger attacks. Where it is far below FGSM's at the "
        "same ε, FGSM alone overstates robustness.",
        corner="Attack",
        sortable=False,
        legend=True,
        switch=switch_of(rows),
    )


def hard_section(rows: Rows, imagenet: bool) -> Section | None:
    """Accuracy on the filtered images beside accuracy on what the filter left."""
    if not rows.has("imagenet-a"):
        return None
    beside = [name for name in rows.values("subset", eval="imagenet-a") if name != "all"]
    keys = {Key("imagenet-a", "top1"): "hard images"}
    keys |= {Key("imagenet-a", "top1", name): _BESIDE.get(name, (subset_label(name), ""))[0] for name in beside}
    chart = _pair(rows, keys) if len(rows.generations) > 1 else None
    blocks = tuple(block for block in (chart, _hard_table(rows, keys)) if block)
    return Section(id="imagenet-a", nav="Hard images", title=eval_title("imagenet-a", imagenet), blocks=blocks)


def _hard_table(rows: Rows, accuracies: dict[Key, str]) -> Table | None:
    keys = [(key, f"top-1, {words}") for key, words in accuracies.items()]
    keys += [(Key("imagenet-a", metric), "") for metric in ("RMS", "AURRA")]
    known = [_BESIDE[key.subset][1] for key in accuracies if key.subset in _BESIDE]
    return generation_table(
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
    places = list(enumerate(rows.generations))
    panels = [
        Panel(title=title, series=tuple(s for place, g in places if (s := rows.series(g, [(place, key)]))))
        for key, title in keys.items()
    ]
    panels = [panel for panel in panels if panel.series]
    if not panels:
        return None
    return Chart(
        id="hard",
        shape="lines",
        title="Hard images beside easy ones",
        caption="Top-1 accuracy in percent with 95 % intervals. A gain on the hard images that the easy ones share "
        "is accuracy; a gain on the hard ones alone is robustness.",
        panels=tuple(panels),
        columns=2,
        x_label="generation",
        y_label="top-1 accuracy %",
        ticks=tuple((float(k), g if g.isdigit() else "ctrl") for k, g in enumerate(rows.generations)),
        panel_height=1.9,
        narrow=True,
        sources=rows.sources(keys),
    )
