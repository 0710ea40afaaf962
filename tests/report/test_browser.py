"""The pages in a real browser: light, dark, on a phone, on paper, by mouse, touch and keyboard, without scripts."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from nsbench.report.drawing.palette import BASE
from nsbench.runfolder import RunFolder
from tests.report.browser import DESKTOP, PAPER, PAPER_ACROSS, PHONE, opened
from tests.report.conftest import KINDS

SMALLEST = 320
"""CSS pixels at which WCAG 2.2 (1.4.10) wants a page to need no scrolling in two directions."""


def pixels_of(page: Page) -> np.ndarray:
    """What the window shows, as numbers of 0 to 255 [rows, columns, 3]."""
    page.set_viewport_size({"width": DESKTOP, "height": 3000})
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_says_nothing_and_asks_for_nothing(pages: dict[str, Path], browser: Browser, kind: str) -> None:
    with opened(browser, pages[kind]) as window:
        window.unfold()
        window.page.mouse.wheel(0, 30_000)
        window.page.wait_for_timeout(100)
        assert window.said == []
        assert {url for url in window.asked if not url.startswith("data:")} == {pages[kind].as_uri()}
        drawn = "[...document.querySelectorAll('figure svg text')].filter((t) => t.getBBox().width > 0).length"
        assert window.page.evaluate(drawn) > 10


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["run", "models"])
def test_a_page_is_drawn_in_the_systems_theme(pages: dict[str, Path], browser: Browser, kind: str, dark: bool) -> None:
    with opened(browser, pages[kind], dark=dark) as window:
        pixels = pixels_of(window.page)
    assert (pixels[400, 4].mean() < 60) if dark else (pixels[400, 4].mean() > 200)
    ramp = "#c9e4fb" if dark else "#0a2f5c"
    wanted = [ramp] if kind == "run" else [BASE[f"model-{k}"][dark] for k in range(3)]
    for colour in wanted:
        rgb = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
        assert (np.abs(pixels - rgb).sum(axis=2) < 12).sum() > 40, colour


def test_the_reader_may_choose_the_other_theme(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["run"]) as window:
        button = window.page.get_by_title("Switch between light and dark")
        background = "getComputedStyle(document.body).backgroundColor"
        before = window.page.evaluate(background)
        button.focus()
        window.page.keyboard.press("Enter")
        assert window.page.evaluate(background) != before
        assert button.inner_text() == "Light"
        button.click()
        assert window.page.evaluate(background) == before


@pytest.mark.parametrize("width", [DESKTOP, PHONE, SMALLEST])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_sticks_out_and_nothing_is_cut(pages: dict[str, Path], browser: Browser, kind: str, width: int) -> None:
    with opened(browser, pages[kind], width=width) as window:
        for _ in ("folded", "unfolded"):
            assert window.overflow <= 0
            assert window.sticking_out() == []
            assert window.cut_off() == []
            window.unfold()


def test_two_models_fit_a_phone_side_by_side(pages: dict[str, Path], browser: Browser) -> None:
    """What is worse and the numbers of both need no scrolling; the table of all suites has a column each, and does."""
    with opened(browser, pages["two models"], width=PHONE) as window:
        hidden = window.page.eval_on_selector_all(
            ".table:not(.published) .scroll",
            "(all) => all.filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.parentElement.id)",
        )
    assert set(hidden) <= {"models-table"}


@pytest.mark.parametrize("kind", KINDS)
def test_paper_shows_everything(pages: dict[str, Path], browser: Browser, kind: str) -> None:
    """Nothing is wider than the sheet, folds are open, and what only a screen can use is gone."""
    with opened(browser, pages[kind], width=PAPER, paper=True) as window:
        page = window.page
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.eval_on_selector_all("details", "(all) => all.every((fold) => fold.open)")
        upright = "section:not(:has(> .many))"
        wider = "(all) => all.filter((e) => e.scrollWidth > document.body.clientWidth + 1).map((e) => e.textContent)"
        assert page.eval_on_selector_all(f"{upright} .scroll", wider) == []
        assert not page.locator(".bar").is_visible()
        page.set_viewport_size({"width": PAPER_ACROSS, "height": 900})
        assert page.eval_on_selector_all("section:has(> .many) .scroll", wider) == []
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


SORTED_BY = """([table, column]) => [...document.querySelectorAll(`#${table} tbody`)].map((body) =>
    [...body.rows].filter((row) => !row.classList.contains("group"))
        .map((row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim()))"""


def test_columns_are_sorted_by_mouse_and_keyboard(pages: dict[str, Path], browser: Browser) -> None:
    """Within each group, numbers by value, dashes last."""
    with opened(browser, pages["run"]) as window:
        page = window.page
        head = page.locator("#ce-table thead th").nth(3)
        before = page.evaluate(SORTED_BY, ["ce-table", 3])
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        for rows, unsorted in zip(page.evaluate(SORTED_BY, ["ce-table", 3]), before, strict=True):
            known = [float(row) for row in rows if row]
            assert known == sorted(known)
            assert sorted(rows) == sorted(unsorted), "no row left its group"
            assert "" not in rows[: len(known)], "what is not known comes last"
        page.locator("#ce-table thead th").nth(0).locator("button").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") is None
        assert page.locator("#ce-table thead th").nth(0).get_attribute("aria-sort") == "descending"
        names = page.evaluate(SORTED_BY, ["ce-table", 0])[0]
        assert names == sorted(names, reverse=True)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_the_switch_chooses_the_differences(pages: dict[str, Path], browser: Browser, script: bool) -> None:
    with opened(browser, pages["run"], script=script) as window:
        page = window.page
        table = page.locator("#generations-table")
        shown = {}
        for versus in ("gen0", "previous", "control"):
            if versus != "gen0":
                page.keyboard.press("ArrowRight")
            else:
                table.locator("input").first.focus()
            assert table.locator(f"input[value={versus}]").is_checked()
            shown[versus] = {
                name: table.locator(f"td .d.vs-{name}").first.is_visible() for name in ("gen0", "previous", "control")
            }
        assert shown == {chosen: {name: name == chosen for name in shown} for chosen in shown}


def test_what_stands_behind_a_number_is_told_by_mouse(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["run"]) as window:
        page, tip = window.page, window.page.locator("[role=tooltip]")
        number = page.locator("#generations-table data.n").nth(6)
        said = number.get_attribute("title")
        number.hover()
        assert tip.inner_text() == said
        assert "n = " in said
        page.keyboard.press("Escape")
        assert tip.count() == 0
        number.hover()
        page.locator("h1").hover()
        assert tip.count() == 0


def test_what_stands_behind_a_number_is_told_on_touch(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["run"], width=PHONE) as window:
        number = window.page.locator(".card data.n").first
        said = number.get_attribute("title")
        number.tap()
        tip = window.page.locator("[role=tooltip]")
        assert tip.inner_text() == said
        box = tip.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE


def test_what_stands_behind_a_number_is_told_by_keyboard(pages: dict[str, Path], browser: Browser) -> None:
    """A table is one stop of the Tab key; arrows go from number to number, past differences that are switched off."""
    with opened(browser, pages["run"]) as window:
        page = window.page
        assert page.locator("#generations-table data.n[tabindex='0']").count() == 1
        page.locator("#generations-table .scroll").focus()
        page.keyboard.press("Tab")
        focused = "document.activeElement.dataset.row"
        first = page.evaluate(focused)
        assert first == page.locator("#generations-table td data.n").first.get_attribute("data-row")
        tip = page.locator("[role=tooltip]")
        assert tip.inner_text().startswith("n = 500 images")
        assert page.evaluate("document.activeElement.getAttribute('aria-describedby') === 'tip'")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.closest('.d').classList.contains('vs-gen0')")
        page.keyboard.press("ArrowDown")
        column = "document.activeElement.closest('td').cellIndex"
        assert page.evaluate(column) == 2
        assert page.evaluate("document.activeElement.closest('tr').rowIndex") == 3
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(focused) == first
        assert page.locator("#generations-table data.n[tabindex='0']").count() == 1
        page.keyboard.press("Tab")
        assert not page.evaluate("document.activeElement.matches('#generations-table data')")


def test_the_first_stop_of_the_keyboard_leads_to_the_verdict(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["run"]) as window:
        window.page.keyboard.press("Tab")
        box = window.page.locator(".skip").bounding_box()
        assert box
        assert box["x"] >= 0
        window.page.keyboard.press("Enter")
        assert window.page.url.endswith("#verdict")


@pytest.mark.parametrize("kind", KINDS)
def test_without_scripts_everything_is_there(pages: dict[str, Path], browser: Browser, kind: str) -> None:
    with opened(browser, pages[kind]) as window:
        window.unfold()
        scripted = window.page.locator("main").inner_text()
    with opened(browser, pages[kind], script=False) as window:
        folds = window.page.locator("details > summary:visible")
        while window.page.locator("details:not([open]) > summary:visible").count():
            window.page.locator("details:not([open]) > summary:visible").first.click()
        assert folds.count() > 0
        assert window.page.locator("main").inner_text() == scripted


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_the_tables_come_out_of_the_page(
    pages: dict[str, Path], browser: Browser, tmp_path: Path, script: bool
) -> None:
    with opened(browser, pages["run"], script=script) as window:
        for name in ("results", "costs"):
            with window.page.expect_download() as waiting:
                window.page.locator(f"a[download='{name}.csv.gz']").click()
            waiting.value.save_as(tmp_path / name)
            beside = (pages["run"].parent / f"{name}.csv").read_bytes()
            assert gzip.decompress((tmp_path / name).read_bytes()) == beside


def test_the_policy_lets_only_the_pages_own_script_run(one_run: RunFolder, browser: Browser, tmp_path: Path) -> None:
    """The button is made by the page's script; an injected one is stopped by the hash."""
    page = tmp_path / "page.html"
    text = one_run.report.read_text(encoding="utf-8")
    evil = "<script>document.title = 'taken'</script><img src='data:,' onerror='document.title = 1'></body>"
    page.write_text(text.replace("</body>", evil), encoding="utf-8")
    with opened(browser, page) as window:
        assert window.page.get_by_title("Switch between light and dark").is_visible()
        assert window.page.title().startswith("synthetic")
        assert len([words for words in window.said if "Content Security Policy" in words]) == 2
