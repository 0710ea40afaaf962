"""Attacks: the FGSM sweep with its control, PGD and others."""

from __future__ import annotations

from collections.abc import Collection

from nsbench.report.literature import fgsm_curves, matching
from nsbench.report.model import Block, Chart, Panel, RowGroup, Section, Table
from nsbench.report.rows import Key, Rows
from nsbench.report.tables import line_table, metric_group, switch_of
from nsbench.report.words import eval_title, level_label, subset_label


def fgsm_section(rows: Rows, imagenet: Collection[str]) -> Section | None:
    """Accuracy by epsilon under the attack and under random signs of the same size."""
    if not (rows.has("fgsm") or rows.has("attacks")):
        return None
    levels = [level for level in rows.values("level", eval="fgsm") if level not in ("", "mean")]
    levels.sort(key=float)
    blocks: list[Block | None] = [
        _sweep(rows, levels, imagenet),
        _fgsm_table(rows, levels),
        _success_table(rows),
        _zero_table(rows),
        _attack_table(rows),
    ]
    return Section(
        id="fgsm", nav="FGSM", title=eval_title("fgsm", imagenet), blocks=tuple(block for block in blocks if block)
    )


def _sweep(rows: Rows, levels: list[str], imagenet: Collection[str]) -> Chart | None:
    panels, used = [], []
    beside = fgsm_curves() if matching(rows, "fgsm", imagenet) else ()
    for metric, title in (("top1", "FGSM: the sign of the gradient"), ("random_sign_top1", "Control: random signs")):
        keys = [(float(level), Key("fgsm", metric, level=level)) for level in levels]
        series = rows.all_series(keys)
        if series:
            panels.append(Panel(title=title, series=(*series, *(beside if metric == "top1" else ()))))
            used += [key for _, key in keys]
    if not panels:
        return None
    positive = [float(level) for level in levels if float(level) > 0]
    return Chart(
        id="fgsm-sweep",
        shape="lines",
        title="Accuracy by step size",
        caption="Top-1 accuracy in percent by ε, with 95 % intervals; ε doubles from tick to tick. An attack "
        "that does no more than random signs of the same size found no gradient to follow."
        + (" Hollow and dotted: the Noisy Student paper's, of the same images and size." if beside else ""),
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

    return line_table(
        rows,
        (group("top1", "FGSM"), group("random_sign_top1", "Random signs")),
        id="fgsm-table",
        caption="Top-1 accuracy in percent by step size. Higher is better.",
        corner="Step size",
        sortable=False,
    )


def _success_table(rows: Rows) -> Table | None:
    """Of the images that were right, the share that the attack turns."""
    levels = rows.values("level", eval="fgsm", metric="attack_success")
    keys = [(Key("fgsm", "attack_success", level=level), level_label("fgsm", level)) for level in levels]
    return line_table(
        rows,
        (metric_group(rows, "", keys, units=False),),
        id="attack-success-table",
        caption="Attack success in percent by step size: of the images that are right without it, those it turns",
        corner="Step size",
        sortable=False,
    )


def _zero_table(rows: Rows) -> Table | None:
    keys = [(Key("fgsm", metric), "") for metric in ("zero_gradient_images", "zero_gradient_pixels")]
    return line_table(
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
    return line_table(
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
