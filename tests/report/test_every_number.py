"""Every measured number of every kind of page is a row of the tables that the page carries, and nothing else is one."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from nsbench.report.words import DASH, MINUS
from tests.report.conftest import KINDS
from tests.report.reading import VOID, Page

SCALES = (1.0, 100.0, 2.0**-30)
"""From the stored number to the shown one: as it is, percent of a fraction, GiB of bytes."""

NOT_MEASURED = {"script", "style", "svg", "pre", "title", "summary"}
"""Tags whose text measures nothing: axes, configuration, counts of what is folded away."""

NOT_MEASURED_CLASSES = {
    "ci",
    "published",
    "sources",
    "protocols",
    "downloads",
    "facts",
    "ref",
    "sr",
    "unit",
    "literature",
}
"""Classes and ids of the same: published figures, n, protocols, and the interval, which is read with its number."""

SAID = (
    r"\b(95|100|5) %|\b\d+ to \d+ %|\b\d+(\.\d+)? in 1|ε ?= ?[\d.]+(/255)?|^nsbench [\d.]+"
    r"|threshold-0\.7|^Top-1, %|arXiv:\S+|\b1\.3 M\b"
)
"""Figures of speech: levels of intervals and tests, bins, step sizes, versions."""


class Numbers(HTMLParser):
    """The `data` elements with what stands after each, and the text that is in none."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.numbers: list[dict[str, str]] = []
        self.rest: list[str] = []
        self._open: list[tuple[str, set[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "data":
            self.numbers.append({**attributes, "text": "", "interval": ""})
        if tag not in VOID:
            self._open.append((tag, {attributes.get("id", ""), *attributes.get("class", "").split()}))
        if tag in ("td", "th", "p", "li", "dt", "dd", "h2", "h3", "figcaption", "caption", "div"):
            self.rest.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tags, classes = {tag for tag, _ in self._open}, {name for _, names in self._open for name in names}
        if "data" in tags:
            self.numbers[-1]["text"] += data
        elif "ci" in classes and self.numbers:
            self.numbers[-1]["interval"] += data
        elif self.rest and not tags & NOT_MEASURED and not classes & NOT_MEASURED_CLASSES:
            self.rest[-1] += data


def shown(text: str) -> tuple[float, int]:
    """A number as it is written, and its decimals."""
    plain = text.replace(MINUS, "-").replace(",", "").replace("+", "")
    return float(plain), len(plain.partition(".")[2])


def is_shown(text: str, stored: float) -> bool:
    if math.isnan(stored) or text == DASH:
        return math.isnan(stored) and text == DASH
    if text.startswith("<"):
        return stored < 0.001
    value, decimals = shown(text)
    return any(abs(value - stored * scale) <= 0.5001 * 10**-decimals for scale in SCALES)


def tables_of(page: Page) -> dict[str, pd.DataFrame]:
    """The tables inside the page; the rows are numbered from 0."""
    return {name: page.download(name) for name in ("results", "costs")}


def stored(frame: pd.DataFrame, row: int, column: str) -> float:
    return float(frame[column].iloc[row] or "nan")


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_and_interval_is_that_of_its_row(pages: dict[str, Path], kind: str) -> None:
    text = pages[kind].read_text(encoding="utf-8")
    numbers, tables = Numbers(text).numbers, tables_of(Page(text))
    assert len(numbers) > 60
    intervals = 0
    for number in numbers:
        name, _, row = number["data-row"].partition(":")
        assert is_shown(number["text"], stored(tables[name], int(row), number.get("data-column", "value"))), number
        ends = re.fullmatch(r"\s*\[(\S+), (\S+)\]\s*", number["interval"])
        assert bool(ends) == bool(number["interval"].strip()), number
        if ends:
            intervals += 1
            for column, end in zip(("ci_low", "ci_high"), ends.groups(), strict=True):
                assert is_shown(end, stored(tables[name], int(row), column)), (number, column)
    assert intervals > 30


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_measured_stands_outside_a_row(pages: dict[str, Path], kind: str) -> None:
    """No decimal fraction, percentage, signed number or point elsewhere: in words, cards, captions and cells."""
    measured = re.compile(rf"\d\.\d|\d ?%|[+{MINUS}]\d|\d points?\b")
    found = [re.sub(SAID, "", rest) for rest in Numbers(pages[kind].read_text(encoding="utf-8")).rest]
    assert [rest for rest in found if measured.search(rest)] == []


def test_a_wrong_number_would_be_found(pages: dict[str, Path]) -> None:
    text = pages["run"].read_text(encoding="utf-8")
    assert not is_shown("94.4", 0.9432)
    assert is_shown("94.3", 0.9432)
    assert not is_shown(DASH, 0.9432)
    cell = '<td><span class="v">12.3</span></td></table>'
    assert any("12.3" in rest for rest in Numbers(text.replace("</table>", cell, 1)).rest)
