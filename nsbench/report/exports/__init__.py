"""What a report leaves beside its page for papers and machines: every table as LaTeX, Markdown and CSV, a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nsbench.files import write_text
from nsbench.report.exports.as_csv import to_csv
from nsbench.report.exports.as_markdown import to_markdown
from nsbench.report.exports.as_tex import to_tex
from nsbench.report.exports.summary import summary_json
from nsbench.report.model import View, tables
from nsbench.report.records import Records

_FORMATS = {"tex": to_tex, "md": to_markdown, "csv": to_csv}


def write_exports(view: View, root: Path, runs: Sequence[Records], results: pd.DataFrame) -> None:
    """Write `tables/*.tex|md|csv` and `summary.json` below `root`.

    Args:
        results: the table behind the page.
    """
    blocks = [block for section in (view.flags, *view.sections) if section for block in section.blocks]
    for table in tables(blocks):
        for ending, written in _FORMATS.items():
            _write(root / "tables" / f"{table.id}.{ending}", written(table, view))
    _write(root / "summary.json", summary_json(runs, results))


def _write(path: Path, text: str) -> None:
    """A name from outside may hold what no encoding has; it is then a question mark."""
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))
