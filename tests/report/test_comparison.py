"""Several runs: means over seeds against scipy, recipe against recipe, and what must not be compared."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nsbench.errors import ConfigError
from nsbench.report.page import write_comparison
from nsbench.report.records import read_records
from nsbench.report.rows import SELECTED
from nsbench.report.seeds import gather, paired
from nsbench.results import COLUMNS, read_results
from tests.report.conftest import COMPARED
from tests.report.reading import Page
from tests.report.synthetic import Synthetic, write_run
from tests.report.test_page import assert_numbers_are_rows

SMALL = Synthetic(evals=("imagenet",), students=1, pictures=False)
KEY = ["generation", "eval", "subset", "level", "metric", "versus"]


def test_every_number_is_a_row(compared: Path) -> None:
    page = Page((compared / "report.html").read_text(encoding="utf-8"))
    tables = {name: compared / f"{name}.csv" for name in ("results", "costs")}
    assert assert_numbers_are_rows(page, tables) > 500
    assert len(page.text.encode()) < 3_000_000
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def test_all_rows_of_all_runs_are_in_the_table(compared: Path) -> None:
    frame = read_results(compared / "results.csv")
    for run in COMPARED:
        own = frame[(frame["run"] == run.name)]
        beside = read_results(compared.parent / run.name / "results.csv")
        assert len(own) == len(beside)
    assert not frame.duplicated(["run", "seed", *KEY]).any()


def test_means_over_seeds_are_scipys(compared: Path) -> None:
    frame = read_results(compared / "results.csv")
    single = frame[frame["run"].str.startswith("noisy-student-") & ~frame["metric"].isin(SELECTED)]
    groups = {key: part["value"].to_numpy() for key, part in single.groupby(KEY)}
    over = frame[frame["run"] == "all seeds"]
    assert len(over) == len(groups)
    for row in over.itertuples():
        values = groups[tuple(getattr(row, name) for name in KEY)]
        assert row.n == 3
        assert row.seed == ""
        if np.isnan(values).any():
            assert math.isnan(row.value)
            continue
        assert row.value == pytest.approx(values.mean(), abs=1e-12)
        if np.ptp(values) < 1e-12:
            assert math.isnan(row.ci_low)
            continue
        low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
        assert (row.ci_low, row.ci_high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
        if row.versus:
            assert row.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
        else:
            assert math.isnan(row.p_value)


def test_recipes_are_compared_seed_by_seed(compared: Path) -> None:
    frame = read_results(compared / "results.csv")
    top1 = frame[(frame["eval"] == "imagenet") & (frame["metric"] == "top1") & (frame["generation"] == "2")]
    values = {
        recipe: top1[(top1["versus"] == "") & top1["run"].str.startswith(f"{recipe}-")].sort_values("seed")["value"]
        for recipe in ("noisy-student", "no-noise")
    }
    (row,) = top1[(top1["run"] == "all seeds: no-noise") & (top1["versus"] == "noisy-student")].itertuples()
    test = stats.ttest_rel(values["no-noise"], values["noisy-student"])
    assert row.value == pytest.approx((values["no-noise"].to_numpy() - values["noisy-student"].to_numpy()).mean())
    assert row.p_value == pytest.approx(test.pvalue)
    assert (row.ci_low, row.ci_high) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_several_seeds_speak_of_the_method(compared: Path) -> None:
    page = Page((compared / "report.html").read_text(encoding="utf-8"))
    (lead,) = page.find("p", class_="lead")
    assert lead.text.startswith("Self-training helped")
    assert "the control" in lead.text
    sections = [element.attributes["id"] for element in page.find("section") if "id" in element.attributes]
    assert sections[:4] == ["verdict", "generations", "recipes", "seeds"]


def test_the_main_recipe_comes_first_wherever_it_was_given(tmp_path: Path) -> None:
    runs = [dataclasses.replace(SMALL, recipe=recipe, name=recipe) for recipe in ("hard-labels", "noisy-student")]
    gathered = gather([read_records(write_run(tmp_path / run.name, run)) for run in runs])
    assert list(gathered.runs) == ["noisy-student", "hard-labels"]


def test_one_seed_a_recipe_says_nothing_about_the_method(tmp_path: Path) -> None:
    runs = [dataclasses.replace(SMALL, recipe=recipe, name=recipe) for recipe in ("hard-labels", "noisy-student")]
    path = write_comparison([write_run(tmp_path / run.name, run) for run in runs], tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    assert "One seed" in page.text
    assert "helped" not in page.find("p", class_="lead")[0].text


def test_runs_of_one_name_stay_apart(tmp_path: Path) -> None:
    runs = [
        dataclasses.replace(SMALL, seed=seed, recipe=recipe, name="run") for seed in (0, 1) for recipe in ("a", "b")
    ]
    folders = [write_run(tmp_path / str(k), run) for k, run in enumerate(runs)]
    gathered = gather([read_records(folder) for folder in folders])
    assert not gathered.results.duplicated(["run", "seed", *KEY]).any()
    alone = read_results(folders[0].results)
    alone = alone[~alone["metric"].isin(SELECTED)]  # another seed has other classes there
    assert len(gathered.rows_of("a")) == len(gathered.rows_of("b")) == len(alone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "other"}, "dataset"),
        ({"preset": "other"}, "preset"),
        ({"protocol": "; 300 px"}, "different protocols"),
        ({"seed": 0}, "given twice"),
    ],
)
def test_what_must_not_be_compared_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    other = dataclasses.replace(SMALL, **{"seed": 1, "name": "second", **change})  # type: ignore[arg-type]
    folders = [write_run(tmp_path / "first", SMALL), write_run(tmp_path / "second", other)]
    with pytest.raises(ConfigError, match=said) as raised:
        write_comparison(folders, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_other_protocols_of_another_recipe_are_refused_too(tmp_path: Path) -> None:
    other = dataclasses.replace(SMALL, recipe="hard-labels", name="second", protocol="; 300 px")
    folders = [write_run(tmp_path / "first", SMALL), write_run(tmp_path / "second", other)]
    with pytest.raises(ConfigError, match="different protocols"):
        write_comparison(folders, tmp_path / "out")


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        write_comparison([], tmp_path / "out")


def test_seeds_that_agree_say_nothing_about_the_spread() -> None:
    mean, *rest = paired(np.array([0.2, 0.2, 0.2]))
    assert mean == pytest.approx(0.2)
    assert all(math.isnan(value) for value in rest)
    assert all(math.isnan(value) for value in paired(np.array([0.2, math.nan])))
    assert all(math.isnan(value) for value in paired(np.array([0.2]))[1:])


def test_a_large_table_is_embedded_as_far_as_the_page_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsbench.report.page.MAX_EMBEDDED", 1000)
    runs = [dataclasses.replace(SMALL, seed=seed, name=f"s{seed}") for seed in (0, 1)]
    path = write_comparison([write_run(tmp_path / run.name, run) for run in runs], tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    embedded, whole = page.download("results"), pd.read_csv(tmp_path / "out" / "results.csv")
    assert tuple(embedded.columns) == COLUMNS
    assert len(embedded) < len(whole)
    shown = [e.attributes["data-row"] for e in page.find("data") if e.attributes["data-row"].startswith("results:")]
    assert max(int(name.partition(":")[2]) for name in shown) < len(embedded)


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    runs = [dataclasses.replace(SMALL, seed=seed, name=f"s{seed}") for seed in (0, 1)]
    pages = []
    for place in ("here", "there"):
        folders = [write_run(tmp_path / place / run.name, run) for run in runs]
        pages.append(write_comparison(folders, tmp_path / place / "out").read_bytes())
    assert pages[0] == pages[1]
