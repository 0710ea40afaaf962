"""The paper's ablations: every figure as it was read, and none that was not."""

from __future__ import annotations

import re

import pytest

from nsbench.ablations import groups
from nsbench.metrics.published_ablations import PUBLISHED_ABLATIONS
from nsbench.metrics.reference import PAPER_V1, PAPER_V2
from tests.shared import SHARED, absent

FACTS = SHARED.parent / "design" / "noisy-student.md"
"""Where each figure was verified, section 3.8. It stays outside the repository."""

# As the facts have them, once more
NOISE = """
EfficientNet-B5 supervised,83.3,84.0
Noisy Student (B5),83.9,84.9
student w/o Aug,83.6,84.6
student w/o Aug+SD+Dropout,83.2,84.3
teacher WITH Aug+SD+Dropout,83.7,84.4   (v2+ only)
"""
CONFIDENCE = """
bin_start,0.0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9
soft,77.52,77.65,77.72,77.82,77.70,77.90,77.81,77.98,77.97,78.05
hard,75.75,75.98,76.28,76.82,76.93,77.10,77.34,77.67,77.96,77.92
"""
RATIO = "B4(83.2): 1:1 84.0, 3:1 84.0; L2(87.0): 1:1 86.7, 3:1 87.4; L2(87.4): 3:1 87.4, 6:1 87.9"
SIZE = "1/128 83.4; 1/64 83.3; 1/32 83.7; 1/16 83.9; 1/4 83.8; 1 84.0"
FROM_MEMORY = ("joint", "init", "balance")
"""Groups of which nothing could be read."""


def lines(text: str) -> list[list[str]]:
    return [re.sub(r"\s{2,}\(.*", "", line).split(",") for line in text.strip().splitlines()]


def test_the_table_of_noise() -> None:
    rows = [tuple(map(float, line[1:])) for line in lines(NOISE)]
    noise, teacher = PUBLISHED_ABLATIONS["noise"], PUBLISHED_ABLATIONS["teacher-noise"]
    assert list(noise.rows.values()) == rows[:4]
    assert list(teacher.rows.values()) == [*rows[:2], rows[4]]
    assert noise.columns == teacher.columns == ("1.3 M", "130 M")


def test_soft_and_hard_labels_by_confidence() -> None:
    (_, *starts), (_, *soft), (_, *hard) = lines(CONFIDENCE)
    known = PUBLISHED_ABLATIONS["labels"]
    assert known.columns == ("soft", "hard")
    assert known.decimals == 2
    assert list(known.rows.values()) == [(float(a), float(b)) for a, b in zip(soft, hard, strict=True)]
    assert [name.split()[1] for name in known.rows] == starts
    assert [name.split()[3] for name in known.rows] == [*starts[1:], "1.0"]


def test_the_batch_ratio() -> None:
    known = PUBLISHED_ABLATIONS["ratio"]
    printed = {}
    for part in RATIO.split("; "):
        head, _, rest = part.partition(": ")
        model, _, accuracy = head.rstrip(")").partition("(")
        printed[f"teacher {model} of {accuracy} %"] = {
            column: float(value) for column, value in (pair.split() for pair in rest.split(", "))
        }
    assert {
        name: {column: v for column, v in zip(known.columns, values, strict=True) if v is not None}
        for name, values in known.rows.items()
    } == printed


def test_the_amount_of_data() -> None:
    known = PUBLISHED_ABLATIONS["data-size"]
    printed = dict(part.split() for part in SIZE.split("; "))
    printed["all"] = printed.pop("1")
    assert {name: f"{value:.1f}" for name, (value,) in known.rows.items()} == printed


@pytest.mark.parametrize("text", [*NOISE.strip().splitlines(), *CONFIDENCE.strip().splitlines(), RATIO, SIZE])
def test_the_facts_say_the_same(text: str) -> None:
    if not FACTS.is_file():
        absent(f"{FACTS} stays outside the repository")
    section = FACTS.read_text(encoding="utf-8").split("## 3.8")[1].split("## 3.9")[0]
    read, _, recalled = section.partition("Only in v3/v4")
    assert text in read
    assert text not in recalled


def test_nothing_from_memory_is_in_the_table() -> None:
    assert list(PUBLISHED_ABLATIONS) == ["noise", "teacher-noise", "labels", "ratio", "data-size"]
    assert set(PUBLISHED_ABLATIONS) <= set(groups()) - {*FROM_MEMORY}


@pytest.mark.parametrize("group", PUBLISHED_ABLATIONS)
def test_every_table_is_whole_and_cited(group: str) -> None:
    known = PUBLISHED_ABLATIONS[group]
    assert known.citation.startswith((PAPER_V1, PAPER_V2))
    assert all(len(values) == len(known.columns) for values in known.rows.values())
    values = [value for row in known.rows.values() for value in row if value is not None]
    assert all(75 < value < 89 for value in values), "percent"
    assert all(round(value, known.decimals) == value for value in values)
