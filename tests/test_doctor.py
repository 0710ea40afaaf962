"""The data doctor: on whole sets, on parts, on damaged ones, and on what is not there."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from nsbench.data.id_lists import known_val_labels
from nsbench.data.suites import SUITES, open_suites
from nsbench.data.video import encode_clip
from nsbench.doctor import Finding, cells, check_suites, render, sets, verdicts
from nsbench.doctor.cells import PER_CELL
from nsbench.metrics.reference import CORRUPTIONS, PERTURBATIONS
from tests.data.layouts import (
    VAL,
    WNIDS,
    corruption_cell,
    flat_val,
    link,
    objectnet,
    photograph,
    square,
    val_folders,
    write,
)


def said(data_dir: Path, suite: str, **options: float) -> list[tuple[str, str]]:
    findings = check_suites(open_suites(data_dir, {}), **options)
    return [(finding.state, finding.words) for finding in findings if finding.suite == suite]


def can_run(data_dir: Path) -> dict[str, tuple[bool, str]]:
    suites = open_suites(data_dir, {})
    return {v.eval: (v.can_run, v.words) for v in verdicts(suites, check_suites(suites))}


def many(root: Path, count: int, classes: range) -> Path:
    """Empty files but for the first and last of each class, which are real: as large as the published sets."""
    for place in range(count):
        folder = root / WNIDS[classes[place % len(classes)]]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place:06}.JPEG").symlink_to(photograph(3))
    return root


def test_a_whole_val_is_whole(tmp_path: Path) -> None:
    """All 50,000 names; the labels of 5,000 are known, the others are dealt out."""
    known = known_val_labels()
    for wnid in WNIDS:
        (tmp_path / "val" / wnid).mkdir(parents=True)
    picture = photograph(3)
    for number in range(1, 50_001):
        label = known.get(number, number % 1000)
        (tmp_path / "val" / WNIDS[label] / f"ILSVRC2012_val_{number:08}.JPEG").symlink_to(picture)
    start = time.monotonic()
    assert said(tmp_path, "val") == [("ok", "ImageNet val: all 50,000 images")]
    assert time.monotonic() - start < 20
    file = next((tmp_path / "val" / WNIDS[known[11]]).glob("*_00000011.JPEG"))
    file.rename(tmp_path / "val" / WNIDS[0] / file.name)
    assert said(tmp_path, "val")[1] == (
        "problem",
        "1 of 5000 images that can be checked are in the folder of another class",
    )


def test_a_part_of_val_and_strange_files_are_said(tmp_path: Path) -> None:
    root = val_folders(tmp_path / "val")
    write(root / WNIDS[0] / "ILSVRC2012_val_00000001.gif", b"x")
    write(root / WNIDS[5] / "notes.txt", b"x")
    empty = 1000 - len({label for _, label in VAL})
    assert said(tmp_path, "val") == [
        ("warning", "ImageNet val: 7 images instead of 50,000"),
        ("warning", f"{empty} of 1,000 classes have no image"),
        ("warning", f"not counted as images: 2 files, first {WNIDS[0]}/ILSVRC2012_val_00000001.gif"),
    ]


def test_own_classes_and_some_of_imagenets(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        link(tmp_path / "val" / name / "a.JPEG", 281)
    assert said(tmp_path, "val") == [("ok", "2 images of 2 classes")]
    link(tmp_path / "val" / WNIDS[7] / "a.JPEG", 7)
    assert said(tmp_path, "val")[1][1] == (
        "1 classes are ImageNet's and 2 are not, first cat; a model of ImageNet's classes will refuse them"
    )
    for name in ("cat", "dog"):
        (tmp_path / "val" / name / "a.JPEG").unlink()
    assert said(tmp_path, "val") == [
        ("ok", "1 images of 1 classes"),
        ("warning", "1 of ImageNet's 1,000 classes"),
    ]


def test_a_broken_image_is_a_problem_and_names_the_file(tmp_path: Path) -> None:
    link(tmp_path / "val" / "cat" / "a.JPEG", 281)
    write(tmp_path / "val" / "dog" / "z.JPEG", photograph(3).read_bytes()[:9000])
    [_, (state, words)] = said(tmp_path, "val")
    assert state == "problem"
    assert "dog/z.JPEG cannot be read (" in words
    assert can_run(tmp_path)["imagenet"] == (False, "val has a problem, see above")


def test_labels_that_cannot_be_trusted_are_a_problem(tmp_path: Path) -> None:
    flat_val(tmp_path / "val")
    [(state, words)] = said(tmp_path, "val")
    assert state == "problem"
    assert "no labels" in words


def test_variants_are_counted_against_the_published_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sets.PUBLISHED_COUNTS["imagenet_v2"] == 10_000
    monkeypatch.setattr(sets, "PUBLISHED_COUNTS", {**sets.PUBLISHED_COUNTS, "imagenet_v2": 1000})
    for subset, count in (("matched-frequency", 1000), ("top-images", 999)):
        for index in range(count):
            link(tmp_path / f"imagenetv2-{subset}-format-val" / str(index) / "a.jpeg", 3)
    many(tmp_path / "imagenet-o", 2000, range(200))
    link(tmp_path / "imagenet-a" / WNIDS[6] / "a.jpg", 6)
    objectnet(tmp_path / "objectnet-1.0")
    assert said(tmp_path, "imagenet_v2") == [
        ("ok", "matched-frequency: all 1,000 images"),
        ("warning", "top-images: 999 images instead of 1,000"),
        ("warning", "top-images: partial: 999 of 1000 classes"),
        ("ok", "without threshold-0.7"),
    ]
    assert said(tmp_path, "imagenet_o") == [("ok", "imagenet-o: all 2,000 images")]
    assert said(tmp_path, "imagenet_a") == [
        ("warning", "imagenet-a: 1 images instead of 7,500"),
        ("warning", "imagenet-a: partial: 1 of 200 classes"),
    ]
    assert said(tmp_path, "objectnet") == [
        ("ok", "objectnet: 4 images of 4 classes"),
        ("warning", "objectnet: partial: 4 of 113 classes"),
    ]
    verdict = can_run(tmp_path)
    assert verdict["imagenet-v2"] == verdict["imagenet-o"] == verdict["objectnet"] == (True, "from its files")
    assert verdict["imagenet-c"] == (False, f"no folder imagenet-c in {tmp_path}")
    assert verdict["imagenet"] == (False, f"no folder val or validation in {tmp_path}")


def test_cells_of_c_are_counted(tmp_path: Path) -> None:
    for name in (*CORRUPTIONS, "saturate"):
        for severity in range(1, 6):
            corruption_cell(tmp_path / "imagenet-c" / "any" / name / str(severity), [3])
    write(tmp_path / "imagenet-c" / "any" / "fog" / "2" / WNIDS[3] / "notes.txt", b"x")
    assert said(tmp_path, "imagenet_c") == [
        ("ok", "all 75 cells, 224 px"),
        ("ok", "beside them 5 cells, first saturate-1"),
        ("warning", f"80 of 80 cells have not {PER_CELL:,} files, first gaussian_noise-1: 1"),
        ("warning", "class folders other than ImageNet's 1,000: 80 cells, first gaussian_noise-1"),
        ("warning", f"not counted as images: 1 file, first fog-2/{WNIDS[3]}/notes.txt"),
    ]
    assert said(tmp_path, "imagenet_c", seconds=0.0)[2] == ("warning", "79 of 80 cells were not counted: no time")
    assert can_run(tmp_path)["imagenet-c"] == (True, "from its files")


def test_a_whole_cell_is_whole_and_the_others_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "PER_CELL", 2000)
    many(tmp_path / "imagenet-c" / "fog" / "1", 2000, range(1000))
    first = tmp_path / "imagenet-c" / "fog" / "1" / WNIDS[0] / "000000.JPEG"
    first.unlink()
    square(0).save(first)
    assert said(tmp_path, "imagenet_c") == [
        ("warning", "74 of 75 cells are absent, first gaussian_noise-1; 224 px"),
        ("ok", "2,000 files in each of 1 cells"),
    ]
    assert can_run(tmp_path)["imagenet-c"] == (True, "from its files; 74 cells are absent, so no mean over all")


def test_clips_are_decoded_and_counted(tmp_path: Path) -> None:
    content = encode_clip(np.stack([np.asarray(square(1))] * 31), grain=False)
    for name in PERTURBATIONS:
        write(tmp_path / "imagenet-p" / name / WNIDS[1] / "a.mp4", content)
    found = said(tmp_path, "imagenet_p")
    assert found[0] == ("ok", "all 10 cells, 224 x 224 px")
    assert found[1] == ("warning", "10 of 10 cells have not 50,000 files, first gaussian_noise: 1")
    write(tmp_path / "imagenet-p" / "gaussian_noise" / WNIDS[1] / "a.mp4", content[:3000])
    [state, words] = said(tmp_path, "imagenet_p")[0]
    assert state == "problem"
    assert "gaussian_noise" in words
    val_folders(tmp_path / "val")
    verdict = can_run(tmp_path)
    assert verdict["imagenet-p"] == (False, "imagenet_p has a problem, see above")
    assert verdict["imagenet-c"] == (True, "computed from val")


def test_what_is_no_such_set_is_a_problem_of_that_set_alone(tmp_path: Path) -> None:
    val_folders(tmp_path / "val")
    for name in ("imagenet-a", "imagenet-c", "imagenet-p", "imagenetv2", "objectnet", "imagenet-c-bar"):
        (tmp_path / name).mkdir()
    (tmp_path / "sketch").mkdir()
    (tmp_path / "imagenet-sketch").mkdir()
    findings = check_suites(open_suites(tmp_path, {}))
    assert {finding.suite for finding in findings} == set(SUITES)
    problems = {finding.suite for finding in findings if finding.state == "problem"}
    assert problems == {
        *("imagenet_a", "imagenet_c", "imagenet_p", "imagenet_v2", "objectnet", "imagenet_c_bar", "imagenet_sketch")
    }
    absent = {finding.suite for finding in findings if finding.state == "absent"}
    assert absent == {"imagenet_r", "imagenet_o"}
    assert all("\n" not in finding.words for finding in findings)


def test_the_text_says_everything_a_line_each(tmp_path: Path) -> None:
    val_folders(tmp_path / "val")
    suites = open_suites(tmp_path, {})
    findings = check_suites(suites)
    text = render(findings, verdicts(suites, findings))
    assert len(text.splitlines()) == len(findings) + 2 + len(verdicts(suites, findings))
    assert "warning  val              ImageNet val: 7 images instead of 50,000" in text
    assert f"absent   imagenet_c       no folder imagenet-c in {tmp_path}" in text
    assert "yes      imagenet-c       computed from val" in text
    assert "no       objectnet        no folder objectnet-1.0 or objectnet" in text


def test_the_doctor_never_raises_what_a_user_can_mend(tmp_path: Path) -> None:
    val_folders(tmp_path / "val")
    suites = open_suites(tmp_path, {})
    (tmp_path / "val").rename(tmp_path / "moved")
    [first, *_] = check_suites(suites)
    assert first == Finding(suite="val", state="problem", words=first.words)
    assert "is not a folder" in first.words
