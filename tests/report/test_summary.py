"""The comparison in the terminal: the page's settings and numbers as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from scipy import stats

from nsbench.errors import DataError
from nsbench.report.summary import ablation_table, headline_table
from nsbench.results import read_results, write_results
from nsbench.runfolder import RunFolder
from tests.report.synthetic import Synthetic, write_run
from tests.report.test_ablations import MAIN, ONE, gathered_of, runs_of, value, written

EMPTY = "–"


def compared(root: Path, runs: Sequence[Synthetic]) -> Path:
    """The folder of a matrix: its runs, and beside them the table of their comparison, without its slow page."""
    write_results(root / "results.csv", gathered_of(written(root, runs)).results)
    return root


def parsed(text: str) -> tuple[list[dict[str, dict[str, str]]], str]:
    """The Markdown tables as rows of cells by the head of row and column, and what is said below them."""
    *tables, said = text.split("\n\n")
    found = []
    for table in tables:
        header, rule, *lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
        assert set("".join(rule)) == {"-", ":"}
        assert all(len(line) == len(header) for line in lines)
        found.append({line[0]: dict(zip(header[1:], line[1:], strict=True)) for line in lines})
    return found, said


def numbers(cell: str) -> list[float]:
    """`93.24 [90.75, 95.72]` as three numbers."""
    return [float(word.strip("[],").replace("−", "-")) for word in cell.split()]


def test_values_then_paired_differences(tmp_path: Path) -> None:
    folder = compared(tmp_path, [*runs_of(MAIN, students=2, gain=1.0), *runs_of("own|x", "no-noise", gain=0.3)])
    (values, deltas), said = parsed(ablation_table(folder))
    assert list(values) == [
        "supervised teacher (generation 0), 3 seeds",
        f"{MAIN}, gen 1, 3 seeds",
        f"{MAIN}, gen 2, 3 seeds",
        "no-noise, gen 1, 3 seeds",
        r"own\|x, gen 1, 3 seeds",
    ]
    assert list(deltas) == list(values)[3:]
    assert list(next(iter(values.values()))) == ["top-1 ↑", "A top-1 ↑", "C error", "P flips", "FGSM mean"]
    arm = [value(tmp_path, "no-noise", seed, "1") for seed in (0, 1, 2)]
    first = [value(tmp_path, MAIN, seed, "1") for seed in (0, 1, 2)]
    low, high = stats.t.interval(0.95, 2, loc=sum(arm) / 3, scale=stats.sem(arm))
    shown = numbers(values["no-noise, gen 1, 3 seeds"]["top-1 ↑"])
    assert shown == pytest.approx([100 * sum(arm) / 3, 100 * low, 100 * high], abs=0.00501)
    low, high = stats.ttest_rel(arm, first).confidence_interval(0.95)
    cell = deltas["no-noise, gen 1, 3 seeds"]["top-1 ↑"]
    assert numbers(cell) == pytest.approx([100 * (sum(arm) - sum(first)) / 3, 100 * low, 100 * high], abs=0.00501)
    assert cell[0] in "+−"
    assert all(row["C error"] == EMPTY for row in (*values.values(), *deltas.values()))
    assert said == "3 seeds; 95 % t intervals over seeds; differences are paired within a seed."


def test_one_seed_has_differences_without_intervals_and_says_so(tmp_path: Path) -> None:
    (values, deltas), said = parsed(ablation_table(compared(tmp_path, runs_of(MAIN, "hard-labels", seeds=(2,)))))
    assert "[" in values["hard-labels, gen 1, 1 seed"]["top-1 ↑"]
    cell = deltas["hard-labels, gen 1, 1 seed"]["top-1 ↑"]
    wanted = value(tmp_path, "hard-labels", 2, "1") - value(tmp_path, MAIN, 2, "1")
    assert numbers(cell) == pytest.approx([100 * wanted], abs=0.00501)
    assert "one seed proves nothing about the method" in said


def test_seeds_alone_have_their_generations_in_the_lines(tmp_path: Path) -> None:
    runs = [
        Synthetic(name=f"{MAIN}-{seed}", seed=seed, evals=ONE.evals, pictures=False, students=2) for seed in (0, 1, 2)
    ]
    (table,), said = parsed(ablation_table(compared(tmp_path, runs)))
    assert list(table) == ["gen 0", "gen 1", "gen 2", "control", "gen 2 vs gen 0", "gen 2 vs control"]
    for name, generation in (("gen 1", "1"), ("control", "control")):
        found = [value(tmp_path, MAIN, seed, generation) for seed in (0, 1, 2)]
        low, high = stats.t.interval(0.95, 2, loc=sum(found) / 3, scale=stats.sem(found))
        wanted = [100 * sum(found) / 3, 100 * low, 100 * high]
        assert numbers(table[name]["top-1 ↑"]) == pytest.approx(wanted, abs=0.00501)
    assert said.startswith("3 seeds; 95 % t intervals over seeds")


def test_a_run_that_is_not_in_the_comparison_is_not_in_its_table(tmp_path: Path) -> None:
    folder = compared(tmp_path, runs_of(MAIN, "no-noise", seeds=(0,)))
    before = ablation_table(folder)
    write_run(folder / "older", Synthetic(name="older", recipe="cap-only", evals=("imagenet",), pictures=False))
    RunFolder(folder / "broken").write_run({"name": "broken"})
    assert ablation_table(folder) == before


@pytest.mark.parametrize(("table", "words"), [(False, "cannot be read"), (True, "lies below")])
def test_a_folder_that_is_no_comparison_is_refused_in_one_line(tmp_path: Path, table: bool, words: str) -> None:
    if table:
        run = write_run(tmp_path / "run", ONE)
        write_results(tmp_path / "out" / "results.csv", read_results(run.results))
    with pytest.raises(DataError, match=words) as caught:
        ablation_table(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_the_headlines_of_one_run_are_its_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(pictures=False, students=1))
    table = parsed(headline_table(folder) + "\n\n")[0][0]
    assert list(table) == ["gen 0", "gen 1", "control", "gen 1 vs gen 0", "gen 1 vs control"]
    assert list(table["gen 0"]) == ["top-1 ↑", "A top-1 ↑", "C error ↓", "P flips ↓", "FGSM mean ↑"]
    frame = read_results(folder.results)
    keys = [("imagenet-c", "mean", "error"), ("imagenet-p", "", "flip_probability"), ("fgsm", "mean", "top1")]
    for column, (eval_name, level, metric) in zip(list(table["gen 0"])[2:], keys, strict=True):
        for line, generation, versus in (("control", "control", ""), ("gen 1 vs control", "1", "control")):
            (row,) = frame[
                (frame["eval"] == eval_name) & (frame["subset"] == "all") & (frame["level"] == level)
                & (frame["metric"] == metric) & (frame["generation"] == generation) & (frame["versus"] == versus)
            ].itertuples()  # fmt: skip
            assert not math.isnan(row.value)
            shown = numbers(table[line][column])
            assert shown == pytest.approx([100 * row.value, 100 * row.ci_low, 100 * row.ci_high], abs=0.00501)
