"""axe-core finds nothing on any page: light and dark, wide and narrow, with every fold open."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.report.browser import DESKTOP, PHONE, opened
from tests.report.conftest import KINDS

AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")

PLAIN = (
    ".scroll { background: var(--surface) !important; } .bar { position: static; display: block; }"
    ".bar div { mask: none !important; flex-wrap: wrap; }"
)


def findings(browser: Browser, path: Path, *, width: int, dark: bool, rules: tuple[str, ...] = ()) -> dict[str, Any]:
    """Of axe-core: what breaks a rule, and what it could not decide; all rules but those of best practice too.

    The shadows at the edges of scrolling boxes are taken away, and the links above stand in several lines: axe-core
    cannot tell a colour before a gradient, nor the size of a link that is half behind a button until one scrolls.
    What a figure holds is drawn in the page's colours, and is one picture with words for it.
    """
    options: dict[str, Any] = {"resultTypes": ["violations", "incomplete"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    with opened(browser, path, width=width, dark=dark) as window:
        window.unfold()
        window.page.add_style_tag(content=PLAIN)
        window.page.evaluate(AXE)
        found = window.page.evaluate("(options) => axe.run({exclude: ['figure svg']}, options)", options)
    return {
        group: {entry["id"]: [node["html"][:200] for node in entry["nodes"]] for entry in found[group]}
        for group in ("violations", "incomplete")
    }


def undecided(found: dict[str, Any]) -> list[str]:
    """Text whose contrast axe-core could not tell, but for single characters and links beyond the window."""
    told = re.compile(r'<a href="#.*|<[^>]*>.?(<span class="sr">[^<]*</span>)?</\w+>', re.DOTALL)
    return [html for html in found["incomplete"].get("color-contrast", []) if not told.fullmatch(html)]


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(pages: dict[str, Path], browser: Browser, kind: str) -> None:
    found = findings(browser, pages[kind], width=DESKTOP, dark=False)
    assert found["violations"] == {}
    assert undecided(found) == []


@pytest.mark.parametrize("kind", KINDS)
def test_dark_text_stands_out_and_what_scrolls_can_be_reached_on_a_phone(
    pages: dict[str, Path], browser: Browser, kind: str
) -> None:
    """What can differ there from the wide light page."""
    rules = ("color-contrast", "scrollable-region-focusable", "meta-viewport", "target-size", "link-in-text-block")
    found = findings(browser, pages[kind], width=PHONE, dark=True, rules=rules)
    assert found["violations"] == {}
    assert undecided(found) == []


def test_axe_would_find_what_is_wrong(pages: dict[str, Path], browser: Browser, tmp_path: Path) -> None:
    """Faint text, a picture without words and a box that only a mouse can scroll are found on this page too."""
    text = pages["models of two runs"].read_text(encoding="utf-8")
    bad = (
        '<p style="color: #999; background: #aaa">faint</p><img src="data:,">'
        f'<div style="overflow: auto; width: 90px; height: 40px"><p>{"far away " * 99}</p></div></main>'
    )
    page = tmp_path / "page.html"
    page.write_text(text.replace("</main>", bad), encoding="utf-8")
    found = findings(browser, page, width=DESKTOP, dark=False)["violations"]
    assert {"color-contrast", "image-alt", "scrollable-region-focusable"} <= set(found)
