"""What lies beside the page: tables that a paper takes as they are, figures of its columns' width, a strict summary."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nsbench.report.exports.as_csv import HEADER, to_csv
from nsbench.report.exports.as_markdown import escaped as markdown_escaped
from nsbench.report.exports.as_markdown import to_markdown
from nsbench.report.exports.as_tex import escaped as tex_escaped
from nsbench.report.exports.as_tex import to_tex
from nsbench.report.model import Cell, RowGroup, Table, TableRow, View
from nsbench.report.numbers import Number
from nsbench.report.page import write_report
from nsbench.report.records import read_records
from nsbench.report.view import build_view
from nsbench.results import COLUMNS, read_results
from nsbench.runfolder import RunFolder
from tests.report.synthetic import SyntheticModels, write_models

HOSTILE = "50% of $x_1$ & {a} #2 ~^ \\input{/etc/passwd} <b> \"q\" 'r' `s` [t] | -- ?`"


@pytest.fixture(scope="module")
def view(one_run: RunFolder) -> View:
    return build_view(read_records(one_run))


LETTERS = "".join(map(chr, (*range(32, 127), *range(0xA1, 0x180))))


def table_of(name: str, cells: tuple[Cell, ...]) -> Table:
    rows = (TableRow(head=name, unit="%", better="higher is better", cells=cells),)
    groups = (RowGroup(title=name, rows=rows),)
    return Table(id="toy", caption=f"About {name}.", corner="Measure", columns=(name, "b"), groups=groups, legend=True)


DELTA = Number(
    row="results:7", value=-0.012, text="−1.2", interval="[−2.0, −0.4]", unit="points", versus="gen0", state="worse",
    n=1500,
)  # fmt: skip
LARGE = Number(row="results:3", value=1234.5, text="1,234.5", interval="[1,200.0, 1,300.0]", n=1500)
CELLS = (
    Cell(main=LARGE, deltas=(DELTA,), css="best"),
    Cell(main=Number(row="results:4", value=math.nan, text="–"), deltas=(dataclasses.replace(DELTA, state="unclear"),)),
)  # fmt: skip


def test_every_table_of_the_page_is_exported(one_run: RunFolder, compared: Path, models_run: RunFolder) -> None:
    for root in (one_run.root, compared, models_run.root):
        page = (root / "report.html").read_text()
        ids = set(re.findall(r'<div class="table[^"]*" id="([^"]+)"', page))
        assert len(ids) > 4
        files = {path.name for path in (root / "tables").iterdir()}
        assert files == {f"{name}.{ending}" for name in ids for ending in ("tex", "md", "csv")}
        assert 'href="tables/"' in page
        assert 'href="summary.json"' in page


def test_numbers_of_the_csv_are_rows_of_the_results(one_run: RunFolder) -> None:
    frames = {"results": read_results(one_run.results), "costs": read_results(one_run.costs)}
    seen = 0
    for path in (one_run.root / "tables").glob("*.csv"):
        for line in csv.DictReader(io.StringIO(path.read_text())):
            if not line["data_row"]:
                continue
            table, _, place = line["data_row"].partition(":")
            row = frames[table].iloc[int(place)]
            if line["value"] not in {str(row["value"]), str(row["p_value"])}:
                assert line["value"] == "", line
                assert math.isnan(row["value"]) or math.isnan(row["p_value"])
            if line["n"]:
                assert int(line["n"]) == row["n"]
            seen += 1
    assert seen > 300


def test_the_csv_by_hand(view: View) -> None:
    header, *lines = csv.reader(io.StringIO(to_csv(table_of("=cmd()", CELLS), view)))
    assert tuple(header) == HEADER
    assert lines == [
        ["'=cmd()", "'=cmd()", "'=cmd()", "", "1234.5", "1,234.5", "[1,200.0, 1,300.0]", "", "1500", "", "results:3"],
        ["'=cmd()", "'=cmd()", "'=cmd()", "gen0", "-0.012", "−1.2", "[−2.0, −0.4]", "points", "1500", "", "results:7"],
        ["'=cmd()", "'=cmd()", "b", "", "", "–", "", "", "", "", "results:4"],
        ["'=cmd()", "'=cmd()", "b", "gen0", "-0.012", "−1.2", "[−2.0, −0.4]", "points", "1500", "", "results:7"],
    ]


def test_the_tex_by_hand(view: View) -> None:
    lines = to_tex(table_of("top_1", CELLS), view).splitlines()
    assert lines[3] == (
        rf"\caption{{About top\_1. n = 1,500, {view.interval_note.replace('%', chr(92) + '%')}. "
        r"$\approx$: the interval of the difference holds zero.}"
    )
    assert lines[5:] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Measure & top\_1 & b \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\emph{top\_1}} \\",
        r"top\_1, \% $\uparrow$ & {\boldmath\bfseries $1{,}234.5$ {\scriptsize $[1{,}200.0, 1{,}300.0]$}} & "
        r"\textendash{} \\",
        r"\quad{\scriptsize vs gen 0} & {\scriptsize $-1.2$ {\scriptsize $[-2.0, -0.4]$} worse} & "
        r"{\scriptsize $\approx$\,$-1.2$ {\scriptsize $[-2.0, -0.4]$}} \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_the_markdown_by_hand(view: View) -> None:
    assert to_markdown(table_of("a|b", CELLS), view) == (
        "**About a\\|b.**\n\n"
        "| Measure | a\\|b | b |\n"
        "| :--- | ---: | ---: |\n"
        "| *a\\|b* |  |  |\n"
        "| a\\|b, % ↑ | **1,234.5 \\[1,200.0, 1,300.0\\]**<br>−1.2 \\[−2.0, −0.4\\] worse vs gen 0 | –<br>≈ −1.2 "
        "\\[−2.0, −0.4\\] vs gen 0 |\n\n"
        f"n = 1,500, {view.interval_note}.\n\n≈: the interval of the difference holds zero.\n"
    )


_COMMANDS = (
    "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "textquotedbl",
    "textasciigrave", "times", "approx", "pm", "cdot", "rightarrow", "uparrow", "downarrow", "leq", "geq", "infty",
    "varepsilon", "textendash", "textemdash", "ldots", "textquoteleft", "textquoteright", "textquotedblleft",
    "textquotedblright", "textdegree",
)  # fmt: skip
_TOKEN = re.compile(
    rf"\\(?:{'|'.join(_COMMANDS)})(?![A-Za-z])|\\[{{}}$&#%_]|[{{}}$]|[^\\{{}}$&#%_^~<>|\"`]",
)


def read_tex(text: str) -> None:
    """Complains of a character that TeX would take for more than itself, or of braces and dollars that do not pair."""
    place, depth, maths = 0, 0, False
    while place < len(text):
        found = _TOKEN.match(text, place)
        assert found, f"TeX would see {text[place : place + 20]!r}"
        token = found.group()
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
        maths ^= token == "$"
        place = found.end()
    assert depth == 0
    assert not maths


@given(st.text())
def test_no_text_means_anything_to_tex(text: str) -> None:
    written = tex_escaped(text)
    read_tex(written)
    assert not re.search(r"--|''|,,|(?<!\{)[\[\]]", written)
    assert all(ord(c) <= 0x17F for c in written)


@pytest.mark.parametrize("name", [HOSTILE, "中文 \u202e", "x" * 10_000, "-- ''", "↑ − × ≈ … “q”", LETTERS])
def test_a_table_of_hostile_names_is_whole(name: str, view: View, tmp_path: Path) -> None:
    text = to_tex(table_of(name, CELLS), view)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert [line.count("&") - line.count(r"\&") for line in body.splitlines() if line.startswith(r"\quad")] == [2]
    for line in body.splitlines():
        assert not line.startswith(("[", "*"))
    compile_tex(text, tmp_path)


def compile_tex(text: str, folder: Path) -> None:
    """Without fonts and without booktabs, which need packages of their own."""
    rules = "".join(rf"\newcommand\{name}rule{{\hline}}" for name in ("top", "mid", "bottom"))
    head = rf"\documentclass{{article}}\usepackage[T1]{{fontenc}}{rules}\begin{{document}}"
    (folder / "paper.tex").write_text(f"{head}\n{text}\\end{{document}}\n")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]


@given(st.text(min_size=1))
def test_no_text_means_anything_to_markdown(text: str) -> None:
    bare = re.sub(r"\\[\\|<>`*_\[\]~$&#@]", "", markdown_escaped(text))
    assert not re.search(r"[\\|<>`*_\[\]~$&#@\n]", bare)


def test_figures_are_as_wide_as_a_papers_columns(one_run: RunFolder, models_run: RunFolder) -> None:
    """6.75 inches or 3.25, in every format, and no text below 6 pt."""
    for folder in (one_run, models_run):
        names = {path.stem for path in folder.figures.iterdir()}
        assert len(names) > 6
        for name in names:
            root = ET.parse(folder.figures / f"{name}.svg").getroot()
            points = float(root.attrib["width"].removesuffix("pt"))
            assert points in (6.75 * 72, 3.25 * 72), name
            sizes = [
                float(size)
                for size in re.findall(r"font(?:-size)?: ?(?:[a-z]+ )*([\d.]+)px", ET.tostring(root).decode())
            ]
            assert sizes
            assert min(sizes) >= 6, name
            (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", (folder.figures / f"{name}.pdf").read_bytes())
            assert float(box) == points
            with Image.open(folder.figures / f"{name}.png") as picture:
                assert picture.width >= 200 * points / 72


def strict(path: Path) -> dict:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    found: dict = json.loads(path.read_text(), parse_constant=refuse)
    return found


def test_the_summary_says_what_a_leaderboard_needs(one_run: RunFolder) -> None:
    summary = strict(one_run.root / "summary.json")
    assert list(summary) == ["schema", "version", "runs", "numbers"]
    assert (summary["schema"], summary["version"]) == ("nsbench-summary", 1)
    (run,) = summary["runs"]
    assert (run["name"], run["seed"], run["status"]) == ("synthetic", 0, "complete")
    assert run["data_fingerprints"] == {"labelled": "a" * 16, "val": "b" * 16}
    assert run["models"]["0"] == {"label": "resnet18d", "params": 2_797_610, "fingerprint": None}
    results = read_results(one_run.results)
    assert all(tuple(number) == COLUMNS for number in summary["numbers"])
    found = {(n["generation"], n["eval"], n["metric"], n["level"], n["versus"]): n for n in summary["numbers"]}
    row = results[
        (results["generation"] == "3") & (results["metric"] == "top1") & (results["eval"] == "imagenet")
        & (results["versus"] == "control")
    ].iloc[0]  # fmt: skip
    number = found["3", "imagenet", "top1", "", "control"]
    assert (number["value"], number["ci_low"], number["n"]) == (row["value"], row["ci_low"], row["n"])
    assert number["protocol"] == row["protocol"]
    assert found["0", "imagenet-c", "mCE", "mean", ""]["value"] is None


def test_the_summary_of_several_runs_has_all_of_them(compared: Path) -> None:
    summary = strict(compared / "summary.json")
    assert len(summary["runs"]) == 6
    assert {number["run"] for number in summary["numbers"]} >= {"all seeds", "noisy-student-0"}


def test_names_of_models_are_text_in_every_export(tmp_path: Path) -> None:
    name = r"5% of $x_1$ & \input{a} #2 | <b>"
    folder = write_models(tmp_path / "run", SyntheticModels(names=("plain", name), evals=("imagenet",)))
    write_report(folder)
    tables = folder.root / "tables"
    (line,) = [line for line in (tables / "models-table.tex").read_text().splitlines() if line.startswith("5")]
    written, _, _ = line.partition(" & ")
    assert written == r"5\% of \$x\_1\$ \& \textbackslash{}input\{a\} \#2 \textbar{} \textless{}b\textgreater{}"
    read_tex(written)
    assert r"| 5% of \$x\_1\$ \& \\input{a} \#2 \| \<b\> |" in (tables / "models-table.md").read_text()
    assert name in {row["row"] for row in csv.DictReader(io.StringIO((tables / "models-table.csv").read_text()))}
    assert name in strict(folder.root / "summary.json")["runs"][0]["models"]
