"""What accuracy and robustness cost: against parameters, training time and the time of evaluation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nsbench.report.headlines import panel_title
from nsbench.report.model import Block, Chart, Panel, Section
from nsbench.report.rows import Key, Rows
from nsbench.report.scatter import points
from nsbench.report.sections.training import cost_table

_COSTS = (
    (Key("cost", "parameters", "model"), "parameters"),
    (Key("cost", "seconds", "train"), "training s"),
    (Key("cost", "seconds", "evaluate imagenet"), "evaluation s"),
)
_MEASURES = 2


def cost_section(rows: Rows, costs: Rows, imagenet: Collection[str], keys: Sequence[Key]) -> Section | None:
    """Headline measures against what they cost, and the table of costs; None where no cost was recorded.

    Args:
        keys: headline measures; clean accuracy and the first one of robustness are drawn.
    """
    chart, table = _chart(rows, costs, imagenet, keys), cost_table(costs)
    blocks: list[Block] = [block for block in (chart, table) if block]
    if not blocks:
        return None
    return Section(id="costs", nav="Costs", title="Accuracy against cost", blocks=tuple(blocks))


def _drawn(keys: Sequence[Key]) -> list[Key]:
    """Clean accuracy, then corruption error or whatever else comes first."""
    clean = [key for key in keys if key.eval == "imagenet"][:1]
    rest = [key for key in keys if key.eval != "imagenet"]
    rest.sort(key=lambda key: key.eval != "imagenet-c")
    return [*clean, *rest[: _MEASURES - len(clean)]]


def _chart(rows: Rows, costs: Rows, imagenet: Collection[str], keys: Sequence[Key]) -> Chart | None:
    panels, used = [], []
    for key in _drawn(keys):
        for cost, words in _COSTS:
            series = points(rows, key, cost, costs)
            if len({one.x for one in series}) > 1:  # of equal costs nothing is to be seen
                panels.append(Panel(title=f"{panel_title(key, imagenet)} by {words}", series=series))
                used.append(key)
    if not panels:
        return None
    return Chart(
        id="costs",
        shape="scatter",
        title="Accuracy against cost",
        caption="Headline measures with 95 % intervals against cost, on a logarithmic scale; times are of one machine. "
        "Up and to the left is better, of errors down and to the left.",
        panels=tuple(panels),
        columns=min(3, len(panels)),
        x_scale="log",
        share_y=False,
        panel_height=1.9,
        narrow=len(panels) == 1,
        sources=rows.sources(dict.fromkeys(used)),
    )
