"""Writes `report.html`, one self-contained file, and its exports, from the records of one run or of several."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from nsbench.files import write_text
from nsbench.report import model
from nsbench.report.drawing.palette import palette
from nsbench.report.exports import write_exports
from nsbench.report.records import read_records
from nsbench.report.view import build_view
from nsbench.results import COLUMNS, write_results
from nsbench.runfolder import RunFolder

if TYPE_CHECKING:
    from nsbench.report.gathered_models import Against
    from nsbench.report.model import View

MAX_EMBEDDED = 600_000
"""Largest table, packed, that the page of several runs carries whole, in bytes of its link."""

_TEMPLATES = resources.files("nsbench.report") / "templates"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """A table inside the page, as a link that works without JavaScript."""

    name: str
    num_rows: int
    num_embedded: int
    uri: str

    @classmethod
    def of(cls, name: str, frame: pd.DataFrame, num_shown: int | None = None) -> Download:
        """The table, or its first `num_shown` rows where the whole would make the page too large."""
        uri, num = _data_uri(frame), len(frame)
        if num_shown is not None and len(uri) > MAX_EMBEDDED:
            uri, num = _data_uri(frame.iloc[:num_shown]), num_shown
        return cls(name=name, num_rows=len(frame), num_embedded=num, uri=uri)


def write_report(folder: RunFolder, *, pictures: bool = True) -> Path:
    """Write the report of one run into its folder, and return the page's path.

    Args:
        pictures: False leaves the sample pictures out of the page.

    Raises:
        DataError: not a run folder, or its results are missing, empty or unreadable.
    """
    records = read_records(folder) if pictures else read_records(folder).without_pictures()
    view = build_view(records)
    downloads = [Download.of("results", records.results), Download.of("costs", records.costs)]
    write_exports(view, folder.root, [records], records.results)
    return _write(view, folder.root, downloads)


def write_comparison(
    folders: Sequence[RunFolder],
    out: Path,
    *,
    against: Sequence[Against] = (),
    last_students: bool = False,
    pictures: bool = True,
) -> Path:
    """Write the report of several runs into `out`: the page, `results.csv`, `costs.csv`, and what is exported.

    The runs are seeds or recipes of self-training, or hold plain models.

    Args:
        against: paired differences to the first model of the first run, of every other run of models.
        last_students: take a self-training run as the one model that it ended with.
        pictures: False leaves the sample pictures out of the page.

    Raises:
        ConfigError: runs that must not be put side by side: of another kind, data set, preset or protocol, or a seed
            twice.
        DataError: a folder is no run folder, or its results are missing.
    """
    from nsbench.report.comparison import build_comparison
    from nsbench.report.gathered_models import build_gathered_models, gather_models, last_student, refuse_mixed_kinds
    from nsbench.report.seeds import gather

    runs = [read_records(folder) for folder in folders]
    if not pictures:
        runs = [records.without_pictures() for records in runs]
    if last_students:
        runs = [last_student(records) for records in runs]
    refuse_mixed_kinds(runs)
    if runs and runs[0].is_models:
        models = gather_models(runs, against)
        view, results, costs, num_shown = build_gathered_models(models), models.results, models.costs, None
    else:
        gathered = gather(runs)
        view, results, costs, num_shown = (
            build_comparison(gathered), gathered.results, gathered.costs, gathered.num_shown,
        )  # fmt: skip
    downloads = [Download.of("results", results, num_shown), Download.of("costs", costs)]
    write_results(out / "results.csv", results)
    write_results(out / "costs.csv", costs)
    write_exports(view, out, runs, results)
    return _write(view, out, downloads)


def _write(view: View, root: Path, downloads: Sequence[Download]) -> Path:
    colours = palette(view.num_students)
    figures = _figures(view, root / "figures", colours)
    path = root / "report.html"
    write_text(path, render(view, figures, downloads, colours))
    return path


def _figures(view: View, folder: Path, colours: dict[str, tuple[str, str]]) -> dict[str, Markup]:
    """Draw every chart into the page, and as files of a paper's width."""
    from nsbench.report.drawing.charts import draw
    from nsbench.report.drawing.files import figures_beside
    from nsbench.report.drawing.svg import drawing_style, inline_svg, svg_text

    every = [chart for section in view.sections for chart in model.charts(section.blocks)]
    inlined = {}
    with figures_beside(every, colours, folder), drawing_style():
        for chart in every:
            label = str(escape(f"{chart.title}. {chart.caption}"))
            inlined[chart.id] = Markup(inline_svg(svg_text(draw(chart, colours)), chart.id, label, colours))
    return inlined


def render(
    view: View,
    figures: Mapping[str, Markup],
    downloads: Sequence[Download],
    colours: Mapping[str, tuple[str, str]],
) -> str:
    """The page as text. Everything that is no figure is escaped by the template."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    script = _template("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        view=view,
        figures=figures,
        downloads=[download for download in downloads if download.num_rows],
        colours=colours,
        style=Markup(_template("style.css")),
        script=Markup(script),
        script_hash=digest,
    )


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _data_uri(frame: pd.DataFrame) -> str:
    """The table as a gzipped CSV in a link that works without JavaScript."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, columns=list(COLUMNS), lineterminator="\n")
    packed = gzip.compress(buffer.getvalue().encode(), compresslevel=9, mtime=0)
    return "data:application/gzip;base64," + base64.b64encode(packed).decode("ascii")
