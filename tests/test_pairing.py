"""Models of different folders, paired: the numbers of one run that held both; and what is not paired is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsbench.pairing import OTHER, against_first, pair, sides_of
from nsbench.pipeline import compare
from nsbench.results import COLUMNS, read_results
from nsbench.tables import write_tables
from tests.report.answered import Answers, answers, write_answered, write_student
from tests.report.reading import Page

RNG = np.random.default_rng(5)
A, B = RNG.random(300) < 0.8, RNG.random(300) < 0.7


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    found = frame[frame["versus"] == "first"]
    return found.drop(columns=["run", "seed", "model"]).reset_index(drop=True)


def test_two_folders_give_the_differences_of_one(tmp_path: Path) -> None:
    one = write_answered(tmp_path / "one", {"a": answers(A), "b": answers(B)})
    write_tables(one)
    apart = [write_answered(tmp_path / name, {name: answers(right)}) for name, right in (("a", A), ("b", B))]
    (against,) = against_first([sides_of(folder) for folder in apart])
    together = read_results(one.results)
    pd.testing.assert_frame_equal(differences(against.rows), differences(together), check_exact=True)
    assert set(against.rows["model"]) == {"b"}
    assert not against.apart


def test_the_order_of_the_records_does_not_matter(tmp_path: Path) -> None:
    shuffled = RNG.permutation(300)
    ids = answers(B).ids[shuffled]
    first, other = (
        sides_of(write_answered(tmp_path / name, {name: one}))[0]
        for name, one in (("a", answers(A)), ("b", Answers(right=B[shuffled], ids=ids)))
    )
    straight = sides_of(write_answered(tmp_path / "c", {"b": answers(B)}))[0]
    pd.testing.assert_frame_equal(pair(first, other).rows, pair(first, straight).rows, check_exact=True)


def test_fewer_images_are_paired_over_the_ones_in_common(tmp_path: Path) -> None:
    protocol = "toy val, {n} images, 32 px; partial: at most 200 images; fp32; batch 8"
    fewer = answers(B[100:], first=100, shown="fewer", protocol=protocol)
    folders = [
        write_answered(tmp_path / "a", {"a": answers(A)}),
        write_answered(tmp_path / "b", {"b": fewer}),
    ]
    rows = pair(*(sides_of(folder)[0] for folder in folders)).rows
    delta = rows[(rows["metric"] == "top1") & (rows["versus"] == "first")].iloc[0]
    assert (delta["model"], delta["n"]) == (OTHER, 200)
    assert delta["value"] == pytest.approx(B[100:].mean() - A[100:].mean())
    page = Page(compare(folders, tmp_path / "out").read_text())
    assert "paired over the images, or videos, that both models answered: ImageNet 200." in page.find("main")[0].text


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (answers(B, protocol="toy val, {n} images, 64 px; fp32; batch 8"), "different protocols"),
        (answers(B, shown="other pixels"), "different images, though both call them alike"),
        (answers(B[:200], first=900, shown="other"), "no image in common"),
    ],
)
def test_what_was_not_measured_alike_is_not_paired(other: Answers, reason: str, tmp_path: Path) -> None:
    folders = [write_answered(tmp_path / "a", {"a": answers(A)}), write_answered(tmp_path / "b", {"b": other})]
    page = Page(compare(folders, tmp_path / "out").read_text())
    (main,) = page.find("main")
    assert reason in main.text
    assert "no paired difference of b (b)" in main.text
    assert not set(read_results(tmp_path / "out" / "results.csv")["versus"]) - {""}


def test_images_of_one_name_with_other_labels_are_not_the_same(tmp_path: Path) -> None:
    folders = [
        write_answered(tmp_path / "a", {"a": answers(A)}),
        write_answered(tmp_path / "b", {"b": answers(B[:200], shown="other")}),
    ]
    path = folders[1].cell("b", "imagenet", "val")
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"labels": (arrays["labels"] + 1) % 10})
    found = pair(*(sides_of(folder)[0] for folder in folders))
    assert "different labels" in found.apart["imagenet"]


def test_a_self_training_run_stands_for_its_last_student(tmp_path: Path) -> None:
    folder = write_student(
        tmp_path / "run", {"0": answers(A), "10": answers(B), "2": answers(A), "control": answers(A)}
    )
    (side,) = sides_of(folder)
    assert (side.label, side.name) == ("gen 10", "gen 10 of run")


def test_every_number_of_the_page_of_paired_models_is_a_row(tmp_path: Path) -> None:
    folders = [write_answered(tmp_path / name, {"m": answers(right)}) for name, right in (("a", A), ("b", B))]
    text = compare(folders, tmp_path / "out").read_text()
    results = read_results(tmp_path / "out" / "results.csv")
    assert tuple(results.columns) == COLUMNS
    delta = results[(results["versus"] == "first") & (results["metric"] == "top1")]
    assert list(delta["run"]) == ["b"]
    places = [f'data-row="results:{place}"' for place in delta.index]
    assert all(place in text for place in places)
    assert "m (b)" in text
