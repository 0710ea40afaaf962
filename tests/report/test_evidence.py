"""Evidence beyond the headline: Holm's family, the literature, effective robustness, calibration, costs, citations."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest

from nsbench.metrics.intervals import holm
from nsbench.metrics.published_studies import SAME_SIZE, STUDIES
from nsbench.metrics.reference import PUBLISHED
from nsbench.report.backdrop.known_models import known_table
from nsbench.report.family import family, family_words, standing
from nsbench.report.lines import model_lines
from nsbench.report.literature import COMPARISONS, fgsm_curves, matching
from nsbench.report.model import Chart, Fold, Section, Table, Text
from nsbench.report.numbers import Number
from nsbench.report.protocols import Protocols
from nsbench.report.records import read_records
from nsbench.report.rows import HEADLINES, Rows
from nsbench.report.sections.adversarial import fgsm_section
from nsbench.report.sections.citations import bibtex_fold, entries
from nsbench.report.sections.effective import effective_section
from nsbench.report.sections.literature import literature_section
from nsbench.report.sections.reliability import reliability_section
from nsbench.report.sections.significance import significance_section
from nsbench.report.view import build_view, mixed_badge
from nsbench.report.words import IMAGENET, RELEASED
from nsbench.results import Row, to_frame
from nsbench.runfolder import shows_imagenet
from tests.report.synthetic import Synthetic, SyntheticModels, make_rows, write_run


def rows_of(*rows: Row, models: tuple[str, ...] = ()) -> Rows:
    return Rows(to_frame(rows), Protocols(), lines=model_lines(models) if models else None)


def model_row(eval: str, metric: str, value: float, n: int, protocol: str = "p", **more: str) -> Row:
    return Row(
        generation="", model="m", eval=eval, metric=metric, value=value, ci_low=value - 0.01, ci_high=value + 0.01,
        n=n, higher_is_better=True, protocol=protocol, **more,
    )  # fmt: skip


def tables(section: Section) -> list[Table]:
    blocks = [*section.blocks, *(inner for one in section.blocks if isinstance(one, Fold) for inner in one.blocks)]
    return [block for block in blocks if isinstance(block, Table)]


def chart(section: Section | None) -> Chart:
    assert section is not None
    return next(block for block in section.blocks if isinstance(block, Chart))


def test_the_family_is_the_last_student_against_generation_0_and_the_control() -> None:
    rows = Rows(to_frame(make_rows(Synthetic())), Protocols())
    found = family(rows, HEADLINES)
    assert {(row.line, row.versus) for row in found} == {("3", "gen0"), ("3", "control")}
    assert len(found) == 2 * len(HEADLINES)
    adjusted = holm([row.p_value for row in found])
    assert sum(standing(found).values()) == (adjusted < 0.05).sum()
    assert f"Of the 10 headline differences, {(adjusted < 0.05).sum()} stand" in family_words(rows, HEADLINES)
    section = significance_section(rows, ())
    assert section is not None
    said = [line.cells[0].main for group in tables(section)[0].groups for line in group.rows]
    assert said.count("stands") == (adjusted < 0.05).sum()


def test_what_stands_alone_may_fall_in_a_family() -> None:
    """p = 0.03 is below 5 % and, as one of two, above Holm's 2.5 %."""
    rows = rows_of(
        *(
            Row(generation="1", eval=name, metric="top1", versus="gen0", value=0.1, ci_low=0.01, ci_high=0.2,
                p_value=p, n=100, higher_is_better=True)
            for name, p in (("imagenet", 0.03), ("imagenet-a", 0.04), ("fgsm", math.nan))
        )
    )  # fmt: skip
    found = family(rows, HEADLINES)
    assert len(found) == 2
    assert set(standing(found).values()) == {False}
    assert set(standing(found[:1]).values()) == {True}


def test_classes_that_changed_stand_in_folds_and_in_no_count_of_differences() -> None:
    frame = to_frame(make_rows(Synthetic()))
    section = significance_section(Rows(frame, Protocols()), ())
    assert section is not None
    folds = [block for block in section.blocks if isinstance(block, Fold)]
    assert [fold.summary for fold in folds] == [
        "Losses and gains by class: Generation 3 against generation 0",
        "Losses and gains by class: Generation 3 against the control",
    ]
    (table,) = folds[0].blocks
    assert isinstance(table, Table)
    assert [(group.title, [line.head for line in group.rows]) for group in table.groups] == [
        ("Lost most", ["0", "1"]), ("Won most", ["2"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "imagenet", "matches"),
    [
        (model_row("imagenet", "top1", 0.8, 50_000), IMAGENET, True),
        (model_row("imagenet", "top1", 0.8, 5_000), IMAGENET, False),
        (model_row("imagenet", "top1", 0.8, 50_000), RELEASED, False),
        (model_row("imagenet", "top1", math.nan, 50_000), IMAGENET, False),
        (model_row("imagenet", "top1", 0.8, 50_000, "val, partial: some"), IMAGENET, False),
        (model_row("imagenet-a", "top1", 0.3, 7_500, "A; answers among 200 classes"), IMAGENET, True),
        (model_row("imagenet-a", "top1", 0.3, 7_500, "A"), IMAGENET, False),
        (
            model_row("imagenet-c", "mCE", 60, 50_000, "relative to AlexNet's on the released JPEGs", level="mean"),
            IMAGENET, True,
        ),
        (
            model_row("imagenet-c", "mCE", 60, 50_000, "relative to generation 0's; released-jpeg", level="mean"),
            IMAGENET, False,
        ),
        (
            model_row("imagenet-p", "mFR", 60, 50_000, "relative to AlexNet's on the released videos (other pixels)"),
            IMAGENET, False,
        ),
        (model_row("fgsm", "top1", 0.5, 50_000, "val, 50000 images, 800 px, resize", level="4"), IMAGENET, True),
        (model_row("fgsm", "top1", 0.5, 50_000, "val, 50000 images, 224 px, resize", level="4"), IMAGENET, False),
    ],
)  # fmt: skip
def test_only_the_same_protocol_stands_beside_the_papers(row: Row, imagenet: frozenset[str], matches: bool) -> None:
    rows = rows_of(row, models=("m",))
    assert bool(matching(rows, row.eval, imagenet)) == matches
    section = literature_section(rows, imagenet)
    place = list(COMPARISONS).index(row.eval)
    text = [block for block in section.blocks if isinstance(block, Fold)][place].blocks[0]
    assert isinstance(text, Text)
    numbers = [part for part in text.parts if isinstance(part, Number)]
    assert [number.value for number in numbers] == ([row.value] if matches else [])
    assert matches or str(text.parts[0]).startswith("Nothing here was measured on")


def test_published_figures_are_text_in_tables_of_their_own() -> None:
    section = literature_section(Rows(to_frame(make_rows(Synthetic())), Protocols()), ())
    found = tables(section)
    assert {table.css for table in found} == {"published"}
    cells = [cell for table in found for group in table.groups for line in group.rows for cell in line.cells]
    assert not any(isinstance(cell.main, Number) for cell in cells)
    shown = {str(cell.main) for cell in cells}
    for one in PUBLISHED:
        if one.eval != "imagenet" or "(v" in one.model:
            assert f"{one.value if one.unit == 'percent' else 100 * one.value:.1f}" in shown, one
    assert all(re.search(r"arXiv:1911\.04252v[12]|aac52bf", table.caption) for table in found)
    assert len({table.id for table in found}) == len(found)
    assert {f"{value:.1f}" for values in SAME_SIZE.rows.values() for value in values if value} <= shown
    assert all(len(values) == len(study.columns) for study in STUDIES.values() for values in study.rows.values())


def test_a_model_that_timm_published_stands_beside_its_figure() -> None:
    name = "tf_efficientnet_b0.ns_jft_in1k"

    def table(protocol: str, n: int = 50_000) -> Table | None:
        row = dataclasses.replace(model_row("imagenet", "top1", 0.786, n, protocol), model=name)
        return known_table(rows_of(row, models=(name,)), IMAGENET)

    found = table("val, 50000 images, 224 px, resize")
    assert found is not None
    (line,) = found.groups[0].rows
    assert (line.head, line.cells[0].main, line.cells[0].css) == ("ImageNet, 224 px", "78.7", "published")
    assert isinstance(line.cells[1].main, Number)
    assert table("val, 50000 images, 256 px, resize") is None
    assert table("val, 500 images, 224 px, resize", 500) is None


def test_the_papers_curve_stands_in_the_chart_at_its_own_size_alone() -> None:
    def roles(side: int) -> set[str]:
        levels = [model_row("fgsm", "top1", 0.5, 50_000, f"val, {side} px", level=level) for level in ("0", "4")]
        drawn = chart(fgsm_section(rows_of(*levels, models=("m",)), IMAGENET))
        return {one.role for panel in drawn.panels for one in panel.series}

    assert roles(224) == {"model-0"}
    assert roles(800) == {"model-0", *(one.role for one in fgsm_curves())}


def test_the_backdrop_stands_behind_imagenets_own_images_alone() -> None:
    rows = Rows(to_frame(make_rows(SyntheticModels())), Protocols(), lines=model_lines(SyntheticModels().names))
    backed = chart(effective_section(rows, IMAGENET))
    assert len(backed.panels) == 4
    for panel in backed.panels:
        counts = {one.role: len(one.x) for one in panel.series}
        assert counts["backdrop"] > 30
        assert counts["backdrop-extra"] == 13 if "V2" in panel.title else counts["backdrop-extra"] > 10
        assert counts["model-0"] == 1
        (own,) = [one for one in panel.series if one.role == "model-0"]
        assert own.x_low[0] < own.x[0] < own.x_high[0]
    plain = chart(effective_section(rows, RELEASED))
    assert {one.role for panel in plain.panels for one in panel.series} == {"model-0", "model-1", "model-2"}
    digits = effective_section(Rows(to_frame(make_rows(Synthetic())), Protocols()), ())
    assert [panel.title for panel in chart(digits).panels] == ["Hard images by clean complement"]
    assert not tables(digits) if digits else False


def test_calibration_needs_bins_and_shows_empty_ones_as_dashes() -> None:
    rows = Rows(to_frame(make_rows(Synthetic())), Protocols())
    section = reliability_section(rows)
    diagram = chart(section)
    assert [panel.title for panel in diagram.panels] == ["gen 0", "gen 1", "gen 2", "gen 3", "control"]
    assert all(len(panel.series[1].x) == 14 for panel in diagram.panels)  # the empty bin is no point
    assert section is not None
    (table,) = tables(section)
    first = table.groups[0].rows[0]
    assert first.head == "0 to 7"
    assert all(isinstance(cell.main, Number) and cell.main.text == "–" for cell in first.cells)
    old = [row for row in make_rows(Synthetic()) if not row.metric.startswith("reliability")]
    assert reliability_section(Rows(to_frame(old), Protocols())) is None


def test_a_run_of_an_older_version_lacks_the_sections_and_nothing_else(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(pictures=False))
    records = read_records(folder)
    new = ("reliability_images", "reliability_accuracy", "reliability_confidence", "class_top1", "capped")
    old = dataclasses.replace(
        records,
        results=records.results[~records.results["metric"].isin(new)].reset_index(drop=True),
        costs=records.costs[records.costs["metric"] != "parameters"].reset_index(drop=True),
    )
    lacking = {one.id for one in build_view(records).sections} - {one.id for one in build_view(old).sections}
    assert lacking == {"calibration"}


def test_mixed_protocols_get_a_badge() -> None:
    alike, other = (model_row("imagenet", "top1", 0.8, 10, p) for p in ("p", "q"))
    both = (alike, dataclasses.replace(other, model="n"))
    assert mixed_badge(rows_of(*both, models=("m", "n")), HEADLINES) == [("warn", "mixed protocols")]
    same = (alike, dataclasses.replace(alike, model="n"))
    assert mixed_badge(rows_of(*same, models=("m", "n")), HEADLINES) == []


def test_bibtex_names_what_was_used_and_keeps_its_braces() -> None:
    fold = bibtex_fold("0.1.0}, evil={", {"imagenet-c", "fgsm"}, {"top1"}, is_trained=True, is_imagenet=False)
    text = fold.blocks[0].text  # type: ignore[union-attr]
    keys = re.findall(r"^@\w+\{([\w]+),", text, re.MULTILINE)
    assert keys == ["nsbench", "xie2020noisy", "hendrycks2019benchmarking", "goodfellow2015explaining"]
    assert text.count("{") == text.count("}")
    assert "evil={" not in text
    for key, entry in entries().items():
        depth = 0
        for sign in re.findall(r"[{}]", entry):
            depth += 1 if sign == "{" else -1
            assert depth >= 0
        assert depth == 0, key
        assert re.search(r"\n  year = \{20\d\d\},", entry), key


@pytest.mark.parametrize(
    ("run", "own"),
    [
        ({"kind": "models", "classes": ["n01440764"]}, True),
        ({"kind": "models", "classes": ["cat"]}, False),
        ({"kind": "models", "classes": ["n01440764"], "held_out": False}, False),
        ({"kind": "self-training", "dataset": "imagenet"}, True),
        ({"kind": "self-training", "dataset": "imagenet", "embedded": True}, False),
        ({"kind": "self-training", "dataset": "mnist5k"}, False),
        ({}, False),
    ],
)
def test_whose_images_are_imagenets(run: dict[str, object], own: bool) -> None:
    assert shows_imagenet(run) is own
