"""Pages and tables of plain models: nobody is a generation, nothing measured is dropped, nothing odd is overlooked."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbench.errors import ConfigError
from nsbench.report.drawing.palette import BASE, DASHES, MARKERS, MAX_MODELS
from nsbench.report.lines import LABEL_LENGTH, measured_models, model_lines
from nsbench.report.model import Cell, Chart, Fold, Table, View
from nsbench.report.page import write_comparison, write_report
from nsbench.report.protocols import Protocols
from nsbench.report.records import read_records
from nsbench.report.rows import Key, Rows
from nsbench.report.sections.flags import flags_of
from nsbench.report.suites import column_title, headline_keys
from nsbench.report.summary import model_table
from nsbench.report.view import build_view
from nsbench.report.words import METRICS
from nsbench.results import Row, read_results, to_frame, write_results
from nsbench.runfolder import RunFolder
from tests.report.conftest import ODD_MODELS
from tests.report.reading import Page
from tests.report.synthetic import MODEL_EVALS, Synthetic, SyntheticModels, make_rows, write_models, write_run
from tests.report.test_page import assert_numbers_are_rows, page_of

SMALL = SyntheticModels(names=("a", "b"), evals=("imagenet", "fgsm"))


def model_row(model: str, value: float, low: float = math.nan, high: float = math.nan, **more: object) -> Row:
    fields = {"eval": "imagenet", "metric": "top1", "n": 500, "higher_is_better": True, "protocol": "p", **more}
    return Row(generation="", model=model, value=value, ci_low=low, ci_high=high, **fields)  # type: ignore[arg-type]


def with_rows(root: Path, run: SyntheticModels, *rows: Row) -> RunFolder:
    """A run folder whose table holds these rows alone."""
    folder = write_models(root, run)
    write_results(folder.results, to_frame(rows))
    return folder


def tables(view: View) -> list[Table]:
    blocks = [block for section in view.sections for block in section.blocks]
    blocks += [inner for block in blocks if isinstance(block, Fold) for inner in block.blocks]
    return [block for block in blocks if isinstance(block, Table)]


def test_every_number_is_a_row_and_every_section_is_there(models_run: RunFolder) -> None:
    page = page_of(models_run)
    assert assert_numbers_are_rows(page, {"results": models_run.results, "costs": models_run.costs}) > 700
    sections = [element.attributes["id"] for element in page.find("section") if "id" in element.attributes]
    assert sections == [
        "check", "verdict", "models", "changes", "significance", "imagenet", "calibration", "imagenet-c",
        "imagenet-c-bar", "imagenet-p", "fgsm", "imagenet-a", "effective-robustness", "others", "costs", "pictures",
        "literature", "reproduce", "downloads",
    ]  # fmt: skip
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        target = element.attributes.get("href", "")
        assert not target.startswith("#") or target[1:] in ids, target


def test_a_page_of_models_speaks_of_no_training(models_run: RunFolder) -> None:
    page = page_of(models_run)
    (main,), (literature,) = page.find("main"), page.find("section", id="literature")  # the latter speaks of a paper
    own = main.text.replace(literature.text, "")
    found = re.findall(r"\b(?:generations?|gen \d|teacher|student|self-training|control)\b", own)
    assert not found
    assert "of these models on imagenet val and of nothing else" in main.text


def test_every_suite_with_rows_has_a_column(models_run: RunFolder) -> None:
    keys = headline_keys(read_results(models_run.results))
    assert {key.eval for key in keys} == set(MODEL_EVALS)
    header = model_table(models_run).splitlines()[0]
    for title in ("top-1 ↑", "A ↑", "R ↑", "V2 mf ↑", "Sketch ↑", "ObjectNet ↑", "O AUPR ↑", "C error ↓",
                  "mCE, AlexNet table, device-jpeg85 ↓", "C-bar error ↓", "P flips ↓", "FGSM 4/255 ↑",
                  "PGD-10 8/255 ↑", "mFR, AlexNet table, device-jpeg85 ↓"):  # fmt: skip
        assert f"| {title} |" in header, title


def test_the_table_by_hand(tmp_path: Path) -> None:
    """Fractions in percent, mCE as it is stored, a dash for what is not known, differences with their signs."""
    c = {"eval": "imagenet-c", "metric": "mCE, c-299", "level": "mean", "unit": "percent", "higher_is_better": False}
    folder = with_rows(
        tmp_path / "run",
        SMALL,
        model_row("a", 0.76125, 0.7, 0.8),
        model_row("b", 0.75, 0.69, 0.79),
        model_row("b", -0.01125, -0.02, 0.005, versus="first"),
        model_row("a", 76.7, 75.0, 78.0, **c),
        model_row("b", math.nan, **c),
    )
    assert model_table(folder) == (
        "|  | top-1 ↑ | mCE, c-299 ↓ |\n"
        "| --- | ---: | ---: |\n"
        "| a | 76.12 [70.00, 80.00] | 76.70 [75.00, 78.00] |\n"
        "| b | 75.00 [69.00, 79.00] | – |\n"
        "\n"
        "| difference to a | top-1 ↑ | mCE, c-299 ↓ |\n"
        "| --- | ---: | ---: |\n"
        "| b | −1.12 [−2.00, +0.50] | – |"
    )


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([model_row("a", 0.3, eval="fgsm", level=level) for level in ("0", "4", "16", "mean")], "FGSM 4/255"),
        ([model_row("a", 0.3, eval="fgsm", level=level) for level in ("0", "16", "mean")], "FGSM mean"),
        ([model_row("a", 0.3, eval="attacks", subset="pgd-20", level=x) for x in ("1", "4")], "PGD-20 4/255"),
        ([model_row("a", 0.3, eval="attacks", subset="pgd-20", level=x) for x in ("1", "2")], "PGD-20 1/255"),
        ([model_row("a", 0.3, eval="imagenet-c", metric="error", subset="fog", level="3")], "ImageNet-C error fog 3"),
        ([model_row("a", 0.3, eval="imagenet-v2", subset="top-images")], "V2 top-images"),
        ([model_row("a", 0.3, eval="later-suite", metric="new|metric")], "later-suite new|metric"),
    ],
)  # fmt: skip
def test_no_suite_is_dropped_for_want_of_its_usual_number(rows: list[Row], title: str) -> None:
    assert [column_title(key) for key in headline_keys(to_frame(rows))] == [title]


def test_what_is_odd_stands_first(models_run: RunFolder) -> None:
    page = page_of(models_run)
    flags = [element.text for element in page.find("p", class_="flag")]
    assert flags == [
        "vit_small, imagenet/val: all of 500 images get class 3",
        "alexnet, imagenet-c, 2 cells (fog-4, snow-5): in fog-4, all of 500 images get class 3",
        "vit_small, imagenet-c/frost-3: 1 of 75 cells not measured; no mean is taken over the rest",
        "The run is not finished: not everything that was planned was measured.",
        "Partial: no number is of a whole set (at most 60 images of a set).",
        "Not held out: ImageNet's classes, but not its validation images; the models may have been trained on these.",
        "imagenet-p skipped: no folder imagenet-p in /data",
        *(f"{name}: weights IMAGENET1K_V2, torchvision's default" for name in ("resnet50", "vit_small", "alexnet")),
    ]
    assert page.text.index('id="check"') < page.text.index('id="verdict"')
    said = model_table(models_run).partition("| difference")[2]
    for flag in flags:
        assert (f"! {flag}" in said or f"- {flag}" in said) == ("skipped" not in flag), "the command says what it skips"
    remarks = page.find("div", id="check-table")[0].text
    assert all(cell in remarks for cell in ("alexnet, imagenet-c/fog-4", "alexnet, imagenet-c/snow-5", "imagenet/val"))


def test_nothing_odd_needs_no_warning(tmp_path: Path) -> None:
    folder = write_models(tmp_path / "run", SMALL)
    assert build_view(read_records(folder)).flags is None
    assert "!" not in model_table(folder)


def test_unreadable_images_are_named_and_counted(tmp_path: Path) -> None:
    general = SMALL.general("a", "imagenet", 500)
    bad = model_row(
        "a", 3.0, metric="unreadable_images", subset="val", unit="count", higher_is_better=False,
        protocol=f"{general}; left out: x.jpg, y.jpg, z.jpg",
    )  # fmt: skip
    folder = with_rows(tmp_path / "run", SMALL, model_row("a", 0.7, protocol=general), bad)
    assert "! a, imagenet/val: 3 images could not be read; left out: x.jpg, y.jpg, z.jpg" in model_table(folder)
    write_report(folder)
    page = page_of(folder)
    assert "3 images could not be read; left out: x.jpg" in page.text
    assert_numbers_are_rows(page, {"results": folder.results, "costs": folder.costs})


def test_a_number_that_looks_wrong_is_marked_and_never_the_best(models_run: RunFolder) -> None:
    """alexnet's corruption error is the lowest, and two of its cells are broken."""
    view = build_view(read_records(models_run))
    (table,) = [table for table in tables(view) if table.id == "models-table"]
    place = [column.split(",")[0] for column in table.columns].index("C error")
    cells: dict[str, Cell] = {line.head: line.cells[place] for line in table.groups[0].rows}
    assert (cells["alexnet"].warned, cells["alexnet"].css) == (True, "")
    assert not cells["resnet50"].warned
    (card,) = [card for card in view.cards if card.title == "Corruption error"]
    assert card.who == "best: resnet50"
    assert "alexnet (check first)" in [name for name, _ in card.deltas]
    marks = page_of(models_run).find("a", class_="warned")
    assert marks
    assert {mark.attributes["href"] for mark in marks} == {"#check"}
    doubts = [finding.parts[0] for finding in view.verdict.findings]
    assert all("look wrong: see what to check first" in str(words) for words in doubts)


def test_only_the_numbers_of_a_cell_are_marked() -> None:
    def rows(name: str, eval_name: str, cell: str) -> Rows:
        remark = model_row(name, 1.0, eval=eval_name, subset=cell, metric="warnings")
        return Rows(to_frame([remark]), Protocols(), lines=model_lines([name]))

    odd = rows("a", "imagenet-c", "frost-3")
    marked = [("all", ""), ("all", "mean"), ("all", "3"), ("frost", "mean"), ("frost", "3")]
    assert all(odd.is_warned("a", Key("imagenet-c", "error", *place)) for place in marked)
    sound = [("all", "2"), ("frost", "2"), ("fog", "3"), ("fog", "mean")]
    assert not any(odd.is_warned("a", Key("imagenet-c", "error", *place)) for place in sound)
    assert not odd.is_warned("b", Key("imagenet-c", "error"))
    assert not odd.is_warned("a", Key("imagenet-p", "flip_probability"))
    assert rows("a", "imagenet-v2", "imagenet-v2-top-images").is_warned("a", Key("imagenet-v2", "top1", "top-images"))


def test_a_failed_cell_costs_its_means_alone(models_run: RunFolder) -> None:
    line = next(line for line in model_table(models_run).splitlines() if line.startswith("| vit_small"))
    header = [title.strip() for title in model_table(models_run).splitlines()[0].split("|")]
    cells = dict(zip(header, (cell.strip() for cell in line.split("|")), strict=True))
    assert cells["C error ↓"] == "–"
    assert cells["mCE, AlexNet table, device-jpeg85 ↓"] == "–"
    assert sum(cell == "–" for cell in cells.values()) == 2
    snow = [
        row
        for row in read_results(models_run.results).itertuples()
        if row.model == "vit_small" and row.subset == "snow"
    ]
    assert any(f'data-row="results:{row.Index}"' in page_of(models_run).text for row in snow)


def test_models_whose_every_cell_failed_are_named(tmp_path: Path) -> None:
    run = dataclasses.replace(SMALL, lacking=tuple(("b", name, "val") for name in SMALL.evals))
    folder = with_rows(tmp_path / "run", run, model_row("a", 0.7))
    assert "| b | – |" in model_table(folder)
    assert "b, fgsm/val: 1 of 1 cell not measured" in model_table(folder)
    write_report(folder)
    assert "2 models" in page_of(folder).text


def test_a_folder_without_its_cells_is_not_called_unmeasured(tmp_path: Path) -> None:
    lost = tuple((name, one, "val") for name in SMALL.names for one in SMALL.evals)
    folder = write_models(tmp_path / "run", dataclasses.replace(SMALL, lacking=lost))
    write_results(folder.results, to_frame(make_rows(SMALL)))
    assert build_view(read_records(folder)).flags is None


HOSTILE = (
    "<script>alert(1)</script>|x",
    "a\u202e\u200fb" * 3333,
    "y" * 5000 + "1",
    "y" * 5000 + "2",
    "0",
    "control",
    "",
)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    run = SyntheticModels(name=HOSTILE[0], names=HOSTILE[:-1], evals=("imagenet", "imagenet-p", "fgsm", "new-suite"),
                          warned=((HOSTILE[0], "imagenet", "val"),), notes=(HOSTILE[0],), title=HOSTILE[0])  # fmt: skip
    folder = write_models(tmp_path / "run", run)
    write_report(folder)
    page = page_of(folder)
    assert len(page.find("script")) == 1, "only the page's own"
    assert "\u202e" not in page.find("main")[0].text
    heads = [element.text for element in page.find("th") if element.attributes.get("scope") == "row"]
    assert "<script>alert(1)</script>|x" in heads
    assert "\\u202e" in page.find("pre")[0].text, "the command spells it out"
    assert_numbers_are_rows(page, {"results": folder.results, "costs": folder.costs})
    table = model_table(folder)
    assert "<script>" not in table.partition("!")[0]
    assert {line.count(" | ") for line in table.splitlines() if line.startswith("|")} == {
        table.splitlines()[0].count(" | ")
    }
    assert re.search(r"^\| 0 \| [\d.]", table, re.MULTILINE), "a model called 0 is no generation"


@given(st.lists(st.text(max_size=300), min_size=1, max_size=12, unique=True))
def test_labels_are_short_and_tell_models_apart(names: list[str]) -> None:
    lines = model_lines(names)
    labels = [lines.label(name) for name in lines.names]
    assert len(set(labels)) == len(names)
    assert all(0 < len(label) <= LABEL_LENGTH + 3 for label in labels)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(SyntheticModels(names=("resnet50",)), id="one model"),
        pytest.param(SyntheticModels(evals=("imagenet",)), id="one eval"),
        pytest.param(SyntheticModels(names=("resnet50",), evals=("imagenet-c",)), id="one model, one eval"),
        pytest.param(SyntheticModels(names=tuple("abcdefghijklm"), evals=("imagenet", "fgsm")), id="thirteen"),
        pytest.param(SyntheticModels(names=("a", "b"), evals=("new-suite",)), id="an eval of the future"),
    ],
)
def test_whatever_was_measured_makes_a_page(tmp_path: Path, run: SyntheticModels) -> None:
    folder = write_models(tmp_path / "run", run)
    folder.costs.unlink()
    folder.config.unlink()
    write_report(folder)
    page = page_of(folder)
    assert_numbers_are_rows(page, {"results": folder.results})
    assert len(page.download("results")) == len(read_results(folder.results))
    assert all(name in page.text for name in run.names)


def test_nan_everywhere_is_a_page_of_dashes(tmp_path: Path) -> None:
    folder = with_rows(tmp_path / "run", SMALL, model_row("a", math.nan), model_row("b", math.nan))
    assert "| a | – |" in model_table(folder)
    write_report(folder)
    assert "no sound number" in page_of(folder).text


@pytest.mark.parametrize(("count", "drawn"), [(2, True), (MAX_MODELS, True), (MAX_MODELS + 1, False)])
def test_more_models_than_can_be_told_apart_are_not_drawn(tmp_path: Path, count: int, drawn: bool) -> None:
    run = SyntheticModels(names=tuple(f"m{k}" for k in range(count)))
    view = build_view(read_records(write_models(tmp_path / "run", run)))
    charts = [block for section in view.sections for block in section.blocks if isinstance(block, Chart)]
    assert bool(charts) == drawn
    roles = {series.role for chart in charts for panel in chart.panels for series in panel.series}
    assert len({role for role in roles if role.startswith("model-")}) == (count if drawn else 0)


def test_eight_models_differ_in_colour_marker_and_dash() -> None:
    assert len({BASE[f"model-{k}"] for k in range(MAX_MODELS)}) == MAX_MODELS
    assert len(set(MARKERS[:MAX_MODELS])) == len(set(DASHES)) == MAX_MODELS == 8


def test_the_model_that_others_are_compared_with_comes_first() -> None:
    """Whatever the order of the rows and of `run.json`, whose keys are sorted."""
    rows = [model_row("b", 0.1), model_row("b", 0.01, versus="first"), model_row("z", 0.2)]
    named = {"models": {name: {"label": name} for name in ("b", "unmeasured", "z")}}
    assert measured_models(to_frame(rows), named) == ("z", "b", "unmeasured")


def test_shares_of_flips_are_neither_worse_nor_better() -> None:
    flips = model_row("b", 0.03, 0.02, 0.04, metric="negative_flips", versus="first", higher_is_better=False)
    rows = Rows(to_frame([flips]), Protocols(), lines=model_lines(["a", "b"]))
    number = rows.number("b", Key("imagenet", "negative_flips"), "first")
    assert number is not None
    assert (number.text, number.versus, number.state) == ("3.0", "", "")


def test_names_of_ratios_are_kept_whole(models_run: RunFolder) -> None:
    page = page_of(models_run)
    for metric in ("mCE", "mCE without brightness and contrast", "relative mCE", "mFR"):
        assert f"{metric}, AlexNet table, device-jpeg85" in page.text
    (caption,) = [e.text for e in page.find("caption") if e.text.startswith("Corruption error")]
    assert "in percent of AlexNet's error" in caption
    assert "other pixels" in caption


def test_every_metric_of_the_table_is_on_the_page(models_run: RunFolder) -> None:
    """Of the metrics that the tool knows, none is left to the download alone."""
    frame = read_results(models_run.results)
    shown = {int(e.attributes["data-row"].partition(":")[2]) for e in page_of(models_run).find("data")
             if e.attributes["data-row"].startswith("results:")}  # fmt: skip
    for (name, metric), part in frame.groupby(["eval", "metric"]):
        if metric.partition(",")[0] in METRICS or "without" in metric:
            assert shown & set(part.index), (name, metric)


def test_models_of_two_runs_stand_in_one_table(tmp_path: Path) -> None:
    other = dataclasses.replace(SMALL, names=("b", "c"), seed=1, side=448)
    folders = [write_models(tmp_path / "first" / "run", SMALL), write_models(tmp_path / "second" / "run", other)]
    page = Page(write_comparison(folders, tmp_path / "out").read_text(encoding="utf-8"))
    rows = {"results": tmp_path / "out" / "results.csv", "costs": tmp_path / "out" / "costs.csv"}
    assert assert_numbers_are_rows(page, rows) > 0
    heads = [element.text for element in page.find("th") if element.attributes.get("scope") == "row"]
    assert heads[:4] == ["a", "b (models)", "b (models 2)", "c"]
    assert "none is tested" in page.text
    assert not page.find("span", class_="vs-first")
    assert "Protocols differ between the models" in page.text
    whole = read_results(tmp_path / "out" / "results.csv")
    assert len(whole) == sum(len(read_results(folder.results)) for folder in folders)
    assert not whole.duplicated(["run", "model", "eval", "subset", "level", "metric", "versus"]).any()


def test_models_and_self_training_are_not_mixed(tmp_path: Path) -> None:
    training = write_run(tmp_path / "training", Synthetic(evals=("imagenet",), students=1, pictures=False))
    for folders in ([write_models(tmp_path / "run", SMALL), training], [training, RunFolder(tmp_path / "run")]):
        with pytest.raises(ConfigError, match="holds models and synthetic a self-training run") as raised:
            write_comparison(folders, tmp_path / "out")
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_flags_of_models_measured_apart_name_their_run(tmp_path: Path) -> None:
    folders = [write_models(tmp_path / "odd", ODD_MODELS), write_models(tmp_path / "small", SMALL)]
    page = Page(write_comparison(folders, tmp_path / "out").read_text(encoding="utf-8"))
    flags = [element.text for element in page.find("p", class_="flag")]
    assert "models: vit_small, imagenet/val: all of 500 images get class 3" in flags
    assert_numbers_are_rows(page, {name: tmp_path / "out" / f"{name}.csv" for name in ("results", "costs")})


def _warning(run: Synthetic, words: str) -> Row:
    return Row(
        run=run.name, seed=str(run.seed), generation="1", model="resnet18d", eval="imagenet", subset="val",
        metric="warnings", value=1.0, n=500, unit="count", higher_is_better=False,
        protocol=f"{run.general('1', 'imagenet', 500)}; {words}",
    )  # fmt: skip


def _trained(root: Path, run: Synthetic, words: str) -> RunFolder:
    folder = write_run(root, run)
    write_results(folder.results, to_frame([*make_rows(run), _warning(run, words)]))
    return folder


def test_a_self_training_run_shows_its_warnings_too(tmp_path: Path) -> None:
    run = Synthetic(evals=("imagenet", "imagenet-c"), students=1, pictures=False)
    folder = _trained(tmp_path / "run", run, "all of 500 images get class 7")
    record = {**folder.read_run(), "held_out": False}
    record.pop("schema")
    folder.write_run(record)
    records = read_records(folder)
    flags = [flag.text for flag in flags_of(records, Rows(records.results, Protocols()))]
    assert flags == [
        "gen 1, imagenet/val: all of 500 images get class 7", "Not held out: seen while choosing the recipe.",
    ]  # fmt: skip
    write_report(folder)
    page = page_of(folder)
    assert_numbers_are_rows(page, {"results": folder.results, "costs": folder.costs})
    assert not any("all of 500 images" in element.text for element in page.find("ol", class_="protocols"))


def test_warnings_of_single_seeds_do_not_keep_seeds_apart(tmp_path: Path) -> None:
    """Each has words of its own in its protocol."""
    runs = [Synthetic(name=f"s{seed}", seed=seed, evals=("imagenet",), students=1, pictures=False) for seed in (0, 1)]
    folders = [_trained(tmp_path / run.name, run, f"all of 500 images get class {run.seed}") for run in runs]
    page = Page(write_comparison(folders, tmp_path / "out").read_text(encoding="utf-8"))
    flags = [element.text for element in page.find("p", class_="flag")]
    assert flags == [f"s{k}: gen 1, imagenet/val: all of 500 images get class {k}" for k in (0, 1)]
    assert_numbers_are_rows(page, {name: tmp_path / "out" / f"{name}.csv" for name in ("results", "costs")})
    whole = read_results(tmp_path / "out" / "results.csv")
    assert set(whole.loc[whole["metric"] == "warnings", "run"]) == {"s0", "s1"}


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    for place in ("here", "there"):
        folder = write_models(tmp_path / place / "run", dataclasses.replace(SMALL, warned=(("a", "imagenet", "val"),)))
        pages.append(write_report(folder).read_bytes())
    assert pages[0] == pages[1]
