"""A real browser for the tests: Debian's Chromium, driven by Playwright. It reaches nothing but its file."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP, PHONE, PAPER, PAPER_ACROSS = 1200, 390, 688, 1047
"""Widths in CSS pixels; A4 between the margins that the style sheet sets, upright and lying."""

_FLAGS = ("--no-sandbox", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND")

STICKING_OUT = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = (element) =>
        element && (getComputedStyle(element).overflowX !== "visible" || scrolls(element.parentElement));
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    const found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
        const range = document.createRange();
        range.selectNode(node);
        const box = (node === element ? node : range).getBoundingClientRect();
        const out = box.width > 0 && (box.right > width + 1 || box.left < -1);
        if (out && !element.closest(".skip, .sr, script") && !scrolls(element))
            found.push(`${element.tagName} ${element.className} ${node.textContent.slice(0, 40)}`);
    }
    return found;
}"""
"""Elements, or their text, beyond the sides of the window and in no box that scrolls."""

CUT_OFF = """() => [...document.querySelectorAll("main *:not(.sr)")].filter((element) => {
    const style = getComputedStyle(element);
    return element.scrollWidth > element.clientWidth + 1 && ["hidden", "clip"].includes(style.overflowX);
}).map((element) => element.outerHTML.slice(0, 80))"""
"""Elements that hide a part of what they hold."""


@dataclasses.dataclass
class Opened:
    """A page in a window of its own, and what it said and asked for."""

    page: Page
    said: list[str]
    asked: list[str]

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def sticking_out(self) -> list[str]:
        return self.page.evaluate(STICKING_OUT)

    def cut_off(self) -> list[str]:
        return self.page.evaluate(CUT_OFF)

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    """The browser, without any window yet."""
    program = shutil.which("chromium")
    assert program, "chromium is missing; it is in .ci/apt.txt: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(
    browser: Browser, path: Path, *, width: int = DESKTOP, dark: bool = False, script: bool = True, paper: bool = False
) -> Iterator[Opened]:
    """A page as a screen of that width shows it, or as paper would."""
    options: dict[str, Any] = {"is_mobile": True, "has_touch": True} if width <= PHONE else {}
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
        java_script_enabled=script, accept_downloads=True, **options,
    )  # fmt: skip
    page = context.new_page()
    window = Opened(page=page, said=[], asked=[])
    page.on("console", lambda message: window.said.append(message.text))
    page.on("pageerror", lambda error: window.said.append(str(error)))
    page.on("dialog", lambda dialog: (window.said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: window.asked.append(request.url))
    if paper:
        page.emulate_media(media="print")
    page.goto(path.as_uri())
    yield window
    context.close()
