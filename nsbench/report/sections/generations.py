"""The table of generations, every difference a switch away, and the trends of the headline measures."""

from __future__ import annotations

from collections.abc import Collection

from nsbench.report.headlines import panel_title
from nsbench.report.model import Chart, Panel, Section
from nsbench.report.rows import HEADLINES, NOT_EVALS, Key, Rows, listed
from nsbench.report.tables import line_table, metric_group, ranked, summary_head, switch_of
from nsbench.report.words import eval_rank, eval_title, metric_base

OVERVIEW = frozenset(
    (
        "top1", "top5", "ReaL", "ECE", "NLL", "Brier", "RMS", "AURRA", "AUPR", "error", "mCE", "flip_probability",
        "mFR", "T5D", "random_sign_top1",
    )
)  # fmt: skip
"""Metrics of the table of generations, by their base; the others stand in their sections."""


def _summary_keys(rows: Rows, eval_name: str) -> list[tuple[Key, str]]:
    """Keys over a whole eval, and what an eval of few subsets has beside them; in the order of METRICS."""
    frame = rows.frame
    frame = frame[(frame["eval"] == eval_name) & (frame["versus"] == "")]
    whole = frame[(frame["subset"] == "all") & frame["level"].isin(["", "mean"])]
    if eval_name not in ("imagenet-c", "imagenet-p", "imagenet-c-bar"):
        whole = frame[frame["level"].isin(["", "mean"]) | (frame["subset"] != "all")]
    keys = {Key(r.eval, r.metric, r.subset, r.level): None for r in listed(whole)}
    return [(key, summary_head(key)) for key in ranked(keys) if metric_base(key.metric) in OVERVIEW]


def generation_section(rows: Rows, imagenet: Collection[str], prefix: str = "") -> Section | None:
    """All generations beside one another, with every difference a switch away."""
    names = sorted({name for name in rows.frame["eval"] if name not in NOT_EVALS}, key=eval_rank)
    versus = [name for name, _ in switch_of(rows)]
    groups = [
        metric_group(rows, eval_title(name, imagenet), _summary_keys(rows, name), versus, mark_best=True)
        for name in names
    ]
    table = line_table(
        rows,
        groups,
        id=f"{prefix}generations-table",
        caption="Every generation and the control. The best value of a line is bold.",
        corner="Measure",
        switch=switch_of(rows),
        legend=bool(versus),
        sortable=False,
        css="wide",
    )
    if table is None:
        return None
    chart = _trends(rows, imagenet)
    return Section(
        id="generations",
        nav="Generations",
        title="Generation by generation",
        blocks=(table, chart) if chart else (table,),
    )


def _trends(rows: Rows, imagenet: Collection[str]) -> Chart | None:
    panels = []
    used = []
    for key in HEADLINES:
        places = list(enumerate(rows.names))
        series = [rows.series(name, [(place, key)]) for place, name in places]
        known = tuple(one for one in series if one)
        if known:
            used.append(key)
            panels.append(Panel(title=panel_title(key, imagenet), series=known))
    if not panels or len(rows.names) < 2:
        return None
    ticks = [(float(k), name if name.isdigit() else "ctrl") for k, name in enumerate(rows.names)]
    return Chart(
        id="trends",
        shape="lines",
        title="Headline measures by generation",
        caption="Each measure on its own scale, with 95 % intervals. Error and flips are better when low.",
        panels=tuple(panels),
        columns=5,
        x_label="generation",
        ticks=tuple(ticks),
        share_y=False,
        y_zero=False,
        panel_height=1.6,
        sources=rows.sources(used),
    )
