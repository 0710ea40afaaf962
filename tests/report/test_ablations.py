"""Ablations on the page: under the paper's headings, paired with the full recipe, and the paper's figures apart."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from scipy import stats

from nsbench.ablations import groups
from nsbench.files import write_text
from nsbench.metrics.published_ablations import PUBLISHED_ABLATIONS
from nsbench.report.ablations import FURTHER, Setting, one_seed_words, setting_blocks, setting_groups
from nsbench.report.comparison import build_comparison
from nsbench.report.model import Facts, Fold, Table, TableRow, Text
from nsbench.report.numbers import Number
from nsbench.report.page import write_comparison
from nsbench.report.protocols import Protocols
from nsbench.report.records import read_records
from nsbench.report.rows import HEADLINES
from nsbench.report.seeds import Gathered, gather
from nsbench.results import read_results, write_results
from nsbench.runfolder import RunFolder
from tests.report.reading import Page
from tests.report.synthetic import Synthetic, write_run
from tests.report.test_page import assert_numbers_are_rows

MAIN = "noisy-student"
ONE = Synthetic(recipe=MAIN, evals=("imagenet", "imagenet-a"), students=1, control=False, pictures=False, gain=3.0)
COLUMNS = tuple(f"column {k}" for k in range(len(HEADLINES)))


def runs_of(*recipes: str, seeds: Iterable[int] = (0, 1, 2), **change: object) -> list[Synthetic]:
    """One student each, a little worse from recipe to recipe."""
    return [
        dataclasses.replace(ONE, name=f"{recipe}-{seed}", recipe=recipe, seed=seed, **{"gain": 3 - k / 2} | change)
        for k, recipe in enumerate(recipes)
        for seed in seeds
    ]


def written(root: Path, runs: Sequence[Synthetic]) -> list[RunFolder]:
    return [write_run(root / run.name, run) for run in runs]


def gathered_of(folders: Sequence[RunFolder]) -> Gathered:
    return gather([read_records(folder) for folder in folders])


def groups_of(root: Path, *runs: Synthetic) -> dict[str, list[Setting]]:
    return setting_groups(gathered_of(written(root, runs)), Protocols())


def table_of(settings: dict[str, list[Setting]]) -> Table:
    table = setting_blocks(settings, MAIN, COLUMNS)[0]
    assert isinstance(table, Table)
    return table


def lines_of(settings: dict[str, list[Setting]]) -> dict[str, TableRow]:
    return {row.head: row for group in table_of(settings).groups for row in group.rows}


def value(root: Path, recipe: str, seed: int, generation: str, eval_name: str = "imagenet") -> float:
    frame = read_results(root / f"{recipe}-{seed}" / "results.csv")
    found = frame[
        (frame["eval"] == eval_name) & (frame["metric"] == "top1") & (frame["subset"] == "all")
        & (frame["generation"] == generation) & (frame["versus"] == "")
    ]  # fmt: skip
    return float(found["value"].iloc[0])


def test_arms_stand_under_the_papers_headings_in_its_order(tmp_path: Path) -> None:
    given = runs_of("own", "hard-labels", "no-noise", "cap-only", MAIN, "no-unlabelled-noise", "other", seeds=(0, 1))
    settings = groups_of(tmp_path, *given)
    assert {title: [one.name for one in group] for title, group in settings.items()} == {
        "": ["teacher", MAIN],
        groups()["noise"].title: ["no-unlabelled-noise", "no-noise"],
        groups()["labels"].title: ["hard-labels"],
        groups()["balance"].title: ["cap-only"],
        FURTHER: ["own", "other"],
    }
    table = table_of(settings)
    assert [group.title for group in table.groups] == list(settings)
    assert [row.head for row in table.groups[0].rows] == [
        "supervised teacher (generation 0), 2 seeds", f"{MAIN}, gen 1, 2 seeds",
    ]  # fmt: skip


def test_an_arm_of_one_student_is_paired_with_the_first_of_three(tmp_path: Path) -> None:
    full = runs_of(MAIN, students=3, gain=1.5)
    lines = lines_of(groups_of(tmp_path, *full, *runs_of("no-noise", gain=0.3)))
    assert list(lines) == [
        "supervised teacher (generation 0), 3 seeds",
        f"{MAIN}, gen 1, 3 seeds",
        f"{MAIN}, gen 3, 3 seeds",
        "no-noise, gen 1, 3 seeds",
    ]
    for place, name in enumerate(("imagenet", "imagenet-a")):
        arm = [value(tmp_path, "no-noise", seed, "1", name) for seed in (0, 1, 2)]
        first = [value(tmp_path, MAIN, seed, "1", name) for seed in (0, 1, 2)]
        cell = lines["no-noise, gen 1, 3 seeds"].cells[place]
        (delta,) = cell.deltas
        test = stats.ttest_rel(arm, first)
        low, high = test.confidence_interval(0.95)
        assert isinstance(cell.main, Number)
        assert cell.main.value == pytest.approx(sum(arm) / 3)
        assert delta.value == pytest.approx(sum(arm) / 3 - sum(first) / 3)
        assert delta.state == ("worse" if high < 0 else "better" if low > 0 else "unclear")
        shown = [float(end.replace("−", "-")) for end in delta.interval.strip("[]").split(", ")]
        assert shown == pytest.approx([100 * low, 100 * high], abs=0.051)
        assert delta.n == 3
        assert f"p {test.pvalue:.3f}" in delta.hint or "p < 0.001" in delta.hint


def test_values_of_the_full_recipe_are_its_own(tmp_path: Path) -> None:
    lines = lines_of(groups_of(tmp_path, *runs_of(MAIN, "no-noise")))
    for head, generation in (("supervised teacher (generation 0), 3 seeds", "0"), (f"{MAIN}, gen 1, 3 seeds", "1")):
        cell = lines[head].cells[0]
        assert isinstance(cell.main, Number)
        assert cell.main.value == pytest.approx(sum(value(tmp_path, MAIN, s, generation) for s in (0, 1, 2)) / 3)
        assert not cell.deltas


def test_a_seed_that_is_missing_on_one_side_is_left_out_of_the_pairs(tmp_path: Path) -> None:
    runs = [*runs_of(MAIN), *runs_of("hard-labels", seeds=(0, 2), gain=1.0)]
    runs += [*runs_of("cap-only", seeds=(1, 2, 7), gain=1.0), *runs_of("no-filter", seeds=(8, 9), gain=1.0)]
    lines = lines_of(groups_of(tmp_path, *runs))
    (delta,) = lines["hard-labels, gen 1, 2 seeds"].cells[0].deltas
    wanted = [value(tmp_path, "hard-labels", s, "1") - value(tmp_path, MAIN, s, "1") for s in (0, 2)]
    assert (delta.n, delta.value) == (2, pytest.approx(sum(wanted) / 2))
    (delta,) = lines["cap-only, gen 1, 3 seeds, 2 in common"].cells[0].deltas
    wanted = [value(tmp_path, "cap-only", s, "1") - value(tmp_path, MAIN, s, "1") for s in (1, 2)]
    assert (delta.n, delta.value) == (2, pytest.approx(sum(wanted) / 2))
    cell = lines["no-filter, gen 1, 2 seeds, none in common"].cells[0]
    assert isinstance(cell.main, Number)
    assert cell.deltas == ()


def test_one_seed_has_intervals_over_images_and_proves_nothing(tmp_path: Path) -> None:
    settings = groups_of(tmp_path, *runs_of(MAIN, "no-noise", seeds=(4,)))
    table, note = setting_blocks(settings, MAIN, COLUMNS)[:2]
    assert isinstance(table, Table)
    assert isinstance(note, Text)
    (said,) = note.parts
    assert isinstance(said, str)
    assert said == one_seed_words(settings)
    assert "over test images" in said
    assert "one seed proves nothing about the method" in said
    cell = lines_of(settings)["no-noise, gen 1, 1 seed"].cells[0]
    assert isinstance(cell.main, Number)
    assert cell.main.interval
    assert "n = 500 images" in cell.main.hint
    (delta,) = cell.deltas
    assert (delta.interval, delta.state) == ("", ""), "neither better nor worse, and no interval that holds zero"
    assert not table.legend
    assert table.sources.n_text == "n = 240 to 500", "images alone"


def test_one_arm_with_one_seed_beside_several(tmp_path: Path) -> None:
    runs = [*runs_of(MAIN, "no-noise"), *runs_of("hard-labels", seeds=(1,), gain=1.0)]
    settings = groups_of(tmp_path, *runs)
    table = table_of(settings)
    assert one_seed_words(settings).startswith("Where there is one seed")
    assert "over images where there is one seed" in table.interval_note
    assert table.legend
    assert table.sources.n_text == "n = 1 to 3", "seeds alone"


def test_one_seed_that_nothing_can_be_paired_with(tmp_path: Path) -> None:
    settings = groups_of(tmp_path, *runs_of(MAIN, seeds=(0, 1)), *runs_of("cap-only", seeds=(8,), gain=1.0))
    assert one_seed_words(settings).startswith("Where there is one seed")
    assert lines_of(settings)["cap-only, gen 1, 1 seed, none in common"].cells[0].deltas == ()


def test_several_seeds_need_no_such_words(tmp_path: Path) -> None:
    settings = groups_of(tmp_path, *runs_of(MAIN, "no-noise", seeds=(0, 1)))
    assert one_seed_words(settings) == table_of(settings).interval_note == ""


def keep(folder: RunFolder, *generations: str) -> None:
    """Leave an unfinished run: these generations were measured, and the labels of the next one are there."""
    frame = read_results(folder.results)
    kept = frame["generation"].isin(generations) | (frame["eval"] == "pseudo-labels")
    write_results(folder.results, frame[kept].reset_index(drop=True))


def test_an_arm_without_a_student_has_no_numbers_of_its_teacher(tmp_path: Path) -> None:
    evals = (*ONE.evals, "pseudo-labels")
    runs = [*runs_of(MAIN, seeds=(0, 1)), *runs_of("from-teacher", seeds=(0, 1), status="partial", evals=evals)]
    folders = written(tmp_path, runs)
    for folder in folders[2:]:
        keep(folder, "0")
    settings = setting_groups(gathered_of(folders), Protocols())
    (line,) = [line for head, line in lines_of(settings).items() if head.startswith("from-teacher")]
    assert line.head == "from-teacher, no student measured, partial"
    assert all(cell.main is None and not cell.deltas for cell in line.cells)


def test_an_arm_of_which_one_seed_is_finished(tmp_path: Path) -> None:
    evals = (*ONE.evals, "pseudo-labels")
    folders = written(tmp_path, [*runs_of(MAIN, seeds=(0, 1)), *runs_of("from-teacher", seeds=(0, 1), evals=evals)])
    keep(folders[3], "0")
    lines = lines_of(setting_groups(gathered_of(folders), Protocols()))
    cell = lines["from-teacher, gen 1, 1 of 2 seeds"].cells[0]
    (delta,) = cell.deltas
    wanted = value(tmp_path, "from-teacher", 0, "1") - value(tmp_path, MAIN, 0, "1")
    assert (delta.n, delta.value) == (1, pytest.approx(wanted))


def test_a_recipe_of_a_teacher_alone_is_compared_with_the_teacher(tmp_path: Path) -> None:
    runs = [*runs_of(MAIN, seeds=(0, 1)), *runs_of("plain-teacher", seeds=(0, 1), students=0)]
    cell = lines_of(groups_of(tmp_path, *runs))["plain-teacher, gen 0, 2 seeds"].cells[0]
    wanted = [value(tmp_path, "plain-teacher", s, "0") - value(tmp_path, MAIN, s, "0") for s in (0, 1)]
    assert cell.deltas[0].value == pytest.approx(sum(wanted) / 2)


def published(settings: dict[str, list[Setting]]) -> list[Fold]:
    return [block for block in setting_blocks(settings, MAIN, COLUMNS) if isinstance(block, Fold)]


def test_the_papers_figures_stand_apart_with_their_source(tmp_path: Path) -> None:
    (fold,) = published(groups_of(tmp_path, *runs_of(MAIN, "no-noise", "ratio-1", "hard-labels", seeds=(0,))))
    facts = {block.title: dict(block.items) for block in fold.blocks if isinstance(block, Facts)}
    assert list(facts) == [groups()[name].title for name in ("noise", "labels", "ratio")]
    plain = {name: text.replace("\N{NO-BREAK SPACE}", " ") for part in facts.values() for name, text in part.items()}
    assert plain["supervised"] == "83.3 (1.3 M) · 84.0 (130 M)"
    assert plain["confidence 0.3 to 0.4"] == "77.82 (soft) · 76.82 (hard)"
    assert plain["teacher L2 of 87.4 %"] == "87.4 (3:1) · 87.9 (6:1)"
    said = " ".join(str(part) for block in fold.blocks if isinstance(block, Text) for part in block.parts)
    assert "Other data, other models: compare directions only." in said
    assert all(PUBLISHED_ABLATIONS[name].citation in said for name in ("noise", "labels", "ratio"))


@pytest.mark.parametrize("group", [name for name in groups() if name not in PUBLISHED_ABLATIONS])
def test_of_what_could_not_be_read_nothing_is_said(tmp_path: Path, group: str) -> None:
    assert not published(groups_of(tmp_path, *runs_of(MAIN, *groups()[group].arms, seeds=(0,))))


def test_recipes_that_are_no_ablation_keep_their_heading(tmp_path: Path) -> None:
    folders = written(tmp_path, runs_of("a", "b", seeds=(0, 1)))
    (section,) = [one for one in build_comparison(gathered_of(folders)).sections if one.id == "recipes"]
    assert section.title == "Recipe against recipe"
    assert not [block for block in section.blocks if isinstance(block, Fold) and "literature" in block.summary]


def test_the_title_of_many_recipes_is_short(tmp_path: Path) -> None:
    every = [name for group in groups().values() for name in group.arms]
    view = build_comparison(gathered_of(written(tmp_path, runs_of(MAIN, *every, seeds=(0,), evals=("imagenet",)))))
    assert view.title == f"{MAIN}, 1 seed; {len(every)} other recipes"
    (section,) = [one for one in view.sections if one.id == "recipes"]
    folds = [block.summary for block in section.blocks if isinstance(block, Fold)]
    assert folds == ["Against the literature", f"All generations of the {len(every)} other recipes"]


def test_the_page_of_ablations(tmp_path: Path) -> None:
    """Three students beside one, a seed too few, an unfinished arm, no control, a name from outside."""
    evil = "<b>own</b>"
    runs = [*runs_of(MAIN, students=3, gain=1.0), *runs_of("no-noise", "hard-labels", seeds=(0, 2), gain=0.5)]
    runs += runs_of("noised-teacher", seeds=(1,), status="partial", gain=0.2)
    runs += [dataclasses.replace(run, name="own", recipe=evil) for run in runs_of("own", seeds=(0,))]
    path = write_comparison(written(tmp_path, runs), tmp_path / "out")
    page = Page(path.read_text(encoding="utf-8"))
    tables = {name: tmp_path / "out" / f"{name}.csv" for name in ("results", "costs")}
    assert assert_numbers_are_rows(page, tables) > 100
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    headings = [element.text for element in page.find("th", scope="rowgroup")]
    wanted = [groups()[name].title for name in ("noise", "teacher-noise", "labels")] + [FURTHER]
    assert [name for name in headings if name in wanted] == wanted
    assert "noised-teacher, gen 1, 1 seed, partial" in [element.text for element in page.find("th", scope="row")]
    assert any(f"{evil}, gen 1, 1 seed" == element.text for element in page.find("th", scope="row"))
    assert not [element for element in page.find("b") if element.text == "own"]
    (lead,) = page.find("p", class_="lead")
    assert "helped" not in lead.text, "there is no control"
    literature = page.text.partition("Against the literature")[2].partition("</details>")[0]
    assert "77.52" in literature
    assert "<data" not in literature, "what was not measured is no row of the tables"


def test_nan_of_one_seed_is_a_dash_and_no_difference_is_made_up(tmp_path: Path) -> None:
    folders = written(tmp_path, runs_of(MAIN, "no-noise", seeds=(0, 1)))
    text = folders[2].results.read_text(encoding="utf-8")
    lines = text.splitlines()
    head = lines[0].split(",")
    for place, line in enumerate(lines):
        cells = line.split(",")
        if re.match(r"[^,]*,0,1,[^,]*,imagenet,all,,top1,,", line):
            cells[head.index("value")] = ""
            lines[place] = ",".join(cells)
    write_text(folders[2].results, "\n".join(lines) + "\n")
    cell = lines_of(setting_groups(gathered_of(folders), Protocols()))["no-noise, gen 1, 2 seeds"].cells[0]
    assert isinstance(cell.main, Number)
    assert math.isnan(cell.main.value)
    assert all(math.isnan(delta.value) and not delta.state for delta in cell.deltas)
