"""Poor, old, cut and damaged records: a page that says what is missing, or one line that says what to do."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nsbench.cli import run as nsbench
from nsbench.errors import DataError
from nsbench.files import write_text
from nsbench.pipeline import rebuild
from nsbench.report.page import write_report
from nsbench.report.records import read_records
from nsbench.report.view import build_view
from nsbench.results import read_results, write_results
from nsbench.runfolder import RunFolder
from tests.report.reading import Page
from tests.report.synthetic import Synthetic, write_run

SMALL = Synthetic(students=1, evals=("imagenet", "imagenet-a", "fgsm"), pictures=False)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "run", SMALL)


def badges(folder: RunFolder) -> list[str]:
    return [words for _, words in build_view(read_records(folder)).badges]


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_tables_whose_predictions_were_left_behind_stay_as_they_are(run: RunFolder) -> None:
    """An archive without its large files; nothing could be made anew, and nothing may be lost."""
    before = run.results.read_bytes(), run.costs.read_bytes()
    page = page_of(rebuild(run))
    assert (run.results.read_bytes(), run.costs.read_bytes()) == before
    assert any("predictions not kept" in badge.text for badge in page.find("li"))
    assert len(page.find("data")) > 60


def test_a_single_cell_is_enough_to_ask_for_the_others(run: RunFolder) -> None:
    """What could be an accident is not taken for an archive."""
    write_text(run.cell("0", "imagenet", "val"), "damaged")
    with pytest.raises(DataError):
        rebuild(run)


def test_a_record_of_an_older_schema_makes_a_page(run: RunFolder) -> None:
    """Schema 1 knew no kinds and no plans, and its predictions lay elsewhere."""
    record = {key: value for key, value in run.read_run().items() if key not in ("kind", "plans", "order")}
    write_text(run.run_json, json.dumps(record | {"schema": 1}))
    write_text(run.root / "gen0" / "evals" / "imagenet" / "val.npz", "of an older layout")
    before = run.results.read_bytes()
    page = page_of(rebuild(run))
    assert run.results.read_bytes() == before
    assert any("predictions not kept" in badge.text for badge in page.find("li"))
    assert any("schema 1" in element.text for element in page.find("li"))


@pytest.mark.parametrize("schema", [3, 0, None, "2", [1]])
def test_a_record_of_no_known_schema_is_refused(run: RunFolder, schema: object) -> None:
    write_text(run.run_json, json.dumps(run.read_run() | {"schema": schema}))
    with pytest.raises(DataError, match="has schema"):
        write_report(run)


def test_an_interrupted_run_says_so(run: RunFolder) -> None:
    """Half of a line of the curves, a table of what was measured until then, and no pictures."""
    run.write_run(run.read_run() | {"status": "running", "generations": 3})
    run.metrics.write_text(run.metrics.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    frame = read_results(run.results)
    write_results(run.results, frame[(frame["eval"] == "imagenet") & (frame["generation"] != "control")])
    run.costs.unlink()
    run.config.unlink()
    page = page_of(write_report(run))
    said = " · ".join(badge.text for badge in page.find("li", class_="warn"))
    assert "partial" in said
    assert "1 of 3 students measured" in said
    assert "no control" in said
    assert [card.text for card in page.find(class_="card")][1].split()[-1] == "measured"


def test_nan_everywhere_is_a_page_of_dashes(run: RunFolder) -> None:
    frame = read_results(run.results).assign(value=math.nan, ci_low=math.nan, ci_high=math.nan, p_value=math.nan)
    write_results(run.results, frame)
    page = page_of(write_report(run))
    results = [number for number in page.find("data") if number.attributes["data-row"].startswith("results")]
    assert {number.text for number in results} == {"–"}


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300, -1e300, 1e-300])
def test_values_beyond_measure_are_no_crash(run: RunFolder, value: float) -> None:
    frame = read_results(run.results)
    frame.loc[frame.index[:40], ["value", "ci_low", "ci_high"]] = value
    write_results(run.results, frame)
    page_of(write_report(run))


@pytest.mark.parametrize(
    ("column", "text"),
    [("generation", "²"), ("generation", "99999999999"), ("generation", "../0"), ("value", "x"), ("n", "1e3"),
     ("higher_is_better", "maybe")],
)  # fmt: skip
def test_a_damaged_table_is_one_line(run: RunFolder, column: str, text: str) -> None:
    lines = run.results.read_text(encoding="utf-8").splitlines()
    fields = lines[1].split(",")
    fields[lines[0].split(",").index(column)] = text
    write_text(run.results, "\n".join([lines[0], ",".join(fields), *lines[2:]]) + "\n")
    with pytest.raises(DataError, match=r"^[^\n]*results\.csv[^\n]*nsbench report[^\n]*$"):
        write_report(run)


@pytest.mark.parametrize("head", ["run,seed", "{all},new_column", "{but}"])
def test_a_table_with_other_columns_is_one_line(run: RunFolder, head: str) -> None:
    frame = read_results(run.results)
    columns = ",".join(frame.columns)
    first = head.format(all=columns, but=columns.replace(",protocol", ""))
    write_text(run.results, first + "\n" + ",".join(["1"] * len(first.split(","))) + "\n")
    with pytest.raises(DataError, match="results"):
        write_report(run)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "\x00"])
def test_a_damaged_record_is_one_line(run: RunFolder, content: str) -> None:
    write_text(run.run_json, content)
    with pytest.raises(DataError, match=r"^[^\n]*run\.json[^\n]*$"):
        write_report(run)


@pytest.mark.parametrize("content", ['{"schema": 2}', '{"schema": 2, "models": 7, "plans": [1], "order": {}}'])
def test_a_record_that_says_nothing_makes_a_page(run: RunFolder, content: str) -> None:
    write_text(run.run_json, content)
    assert "unnamed run" in page_of(write_report(run)).find("h1")[0].text


def test_curves_that_are_no_curves_are_left_out(run: RunFolder) -> None:
    write_text(run.metrics, 'null\n[]\n{"generation": "0"}\n{"generation": "0", "step": "x", "loss": NaN}\n\x00\n{"gen')
    page_of(write_report(run))


def test_a_folder_that_cannot_be_written_is_one_line(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where the figures' folder should be: root writes into read-only folders all the same."""
    write_text(run.figures, "in the way")
    assert nsbench(["report", str(run.root)]) != 0
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert str(run.figures) in said
