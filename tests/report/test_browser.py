"""A real browser opens the page, in light and dark, wide and narrow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nsbench.report.drawing.palette import BASE
from nsbench.runfolder import RunFolder

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def chromium(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("chromium")
    assert program, "chromium is missing; it is in .ci/apt.txt: apt-get install chromium"
    command = [program, *FLAGS, f"--user-data-dir={home / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_drawn_in_both_themes(one_run: RunFolder, tmp_path: Path, theme: str) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    text = one_run.report.read_text(encoding="utf-8")
    page.write_text(text.replace('<html lang="en">', f'<html lang="en" data-theme="{theme}">'), encoding="utf-8")
    done = chromium(f"--screenshot={shot}", "--window-size=1200,2600", page.as_uri(), home=tmp_path)
    assert shot.is_file(), done.stderr[-500:]
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    corner, ramp = pixels[400, 4], ((0x0A, 0x2F, 0x5C) if theme == "light" else (0xC9, 0xE4, 0xFB))
    assert (corner.mean() > 200) == (theme == "light")
    last_generation = np.abs(pixels - np.array(ramp)).sum(axis=2) < 12
    assert last_generation.sum() > 40, "the last generation's colour of this theme is in the figures"


@pytest.mark.parametrize("width", [1200, 500])
def test_nothing_sticks_out_and_the_script_runs(one_run: RunFolder, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    probe = """<script>addEventListener("load", () => {
        const html = document.documentElement;
        html.dataset.overflow = html.scrollWidth - html.clientWidth;
        html.dataset.sorted = document.querySelectorAll("th.sorts").length;
        const head = document.querySelector("#worse-first th.sorts:nth-child(3) button");
        head.click();
        const value = (k) => Number(document.querySelectorAll("#worse-first tbody td.change")[k].dataset.sort);
        html.dataset.ascending = value(0) <= value(1) && value(1) <= value(2);
        const drawn = [...document.querySelectorAll("figure svg text")].filter((t) => t.getBBox().width > 0);
        html.dataset.drawn = drawn.length;
    });</script></body>"""
    text = one_run.report.read_text(encoding="utf-8")
    start, end = text.index("<meta http-equiv"), text.index("<title>")
    page.write_text((text[:start] + text[end:]).replace("</body>", probe), encoding="utf-8")
    done = chromium("--dump-dom", f"--window-size={width},900", page.as_uri(), home=tmp_path)
    head = done.stdout[: done.stdout.index("<head>")]
    assert 'data-overflow="0"' in head, head
    assert 'data-ascending="true"' in head, head
    assert 'data-sorted="0"' not in head
    assert 'data-drawn="0"' not in head


def test_the_policy_lets_only_the_pages_own_script_run(one_run: RunFolder, tmp_path: Path) -> None:
    """The button is made by the page's script; an injected one is stopped by the hash."""
    page = tmp_path / "page.html"
    text = one_run.report.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", "<script>document.title = 'taken'</script></body>"), encoding="utf-8")
    dom = chromium("--dump-dom", page.as_uri(), home=tmp_path).stdout
    assert "Switch between light and dark" in dom
    assert "<title>taken" not in dom


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_models_are_drawn_in_colours_of_their_own(models_run: RunFolder, tmp_path: Path, theme: str) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    text = models_run.report.read_text(encoding="utf-8")
    page.write_text(text.replace('<html lang="en">', f'<html lang="en" data-theme="{theme}">'), encoding="utf-8")
    done = chromium(f"--screenshot={shot}", "--window-size=1200,2600", page.as_uri(), home=tmp_path)
    assert shot.is_file(), done.stderr[-500:]
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    for k in range(3):
        colour = BASE[f"model-{k}"][theme == "dark"]
        wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
        assert (np.abs(pixels - wanted).sum(axis=2) < 12).sum() > 40, colour


@pytest.mark.parametrize("width", [1200, 500])
def test_a_page_of_models_fits_and_sorts(models_run: RunFolder, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    probe = """<script>addEventListener("load", () => {
        const html = document.documentElement;
        html.dataset.overflow = html.scrollWidth - html.clientWidth;
        html.dataset.first = document.querySelector("main > section").id;
        document.querySelector("#models-table th:nth-child(2) button").click();
        const cells = [...document.querySelectorAll("#models-table tbody td:nth-child(2)")];
        const values = cells.map((cell) => Number(cell.dataset.sort));
        html.dataset.ascending = values.length === 3 && values[0] < values[1] && values[1] < values[2];
        const drawn = [...document.querySelectorAll("figure svg text")].filter((t) => t.getBBox().width > 0);
        html.dataset.drawn = drawn.length;
    });</script></body>"""
    text = models_run.report.read_text(encoding="utf-8")
    start, end = text.index("<meta http-equiv"), text.index("<title>")
    page.write_text((text[:start] + text[end:]).replace("</body>", probe), encoding="utf-8")
    done = chromium("--dump-dom", f"--window-size={width},900", page.as_uri(), home=tmp_path)
    head = done.stdout[: done.stdout.index("<head>")]
    assert 'data-overflow="0"' in head, head
    assert 'data-first="check"' in head
    assert 'data-ascending="true"' in head, head
    assert 'data-drawn="0"' not in head
