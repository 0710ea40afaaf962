"""Pictures on the page: both formats, a bounded number of bytes, and whatever cannot be shown by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nsbench.cli import run
from nsbench.files import write_json
from nsbench.report.page import write_report
from nsbench.report.records import read_records
from nsbench.report.sections.pictures import MAX_BYTES, picture_section
from nsbench.runfolder import RunFolder
from tests.report.reading import Page
from tests.report.synthetic import Synthetic, write_run

SMALL = Synthetic(students=0, control=False, evals=("imagenet",), pictures=False)


def picture(kind: str, side: int = 40, quality: int = 80) -> bytes:
    pixels = np.random.default_rng(side).integers(0, 255, (side, 2 * side, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def folder_with(root: Path, files: dict[str, bytes], run: Synthetic = SMALL) -> RunFolder:
    folder = write_run(root / "run", run)
    folder.samples.mkdir()
    for name, content in files.items():
        (folder.samples / name).write_bytes(content)
    items: list[dict[str, Any]] = [{"file": name, "caption": name, "predictions": {"0": "1"}} for name in files]
    write_json(folder.samples / "samples.json", [{"group": "g", "title": "t", "items": items}])
    return folder


def page(folder: RunFolder) -> Page:
    return Page(folder.report.read_text(encoding="utf-8"))


def test_both_formats_are_shown_with_their_size(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"a.png": picture("PNG"), "b.jpg": picture("JPEG")})
    write_report(folder)
    images = page(folder).find("img")
    assert [one.attributes["src"].partition(";")[0] for one in images] == ["data:image/png", "data:image/jpeg"]
    assert all((one.attributes["width"], one.attributes["height"]) == ("80", "40") for one in images)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no whole PNG or JPEG"),
        (picture("JPEG")[:600], "no whole PNG or JPEG"),
        (picture("PNG")[:-900], "no whole PNG or JPEG"),
        (b"<svg onload=alert(1)>", "no whole PNG or JPEG"),
        (picture("GIF"), "no whole PNG or JPEG"),
        (b"\0" * (MAX_BYTES + 1), "too large"),
    ],
)
def test_what_cannot_be_shown_is_named_and_the_rest_is_there(tmp_path: Path, content: bytes, why: str) -> None:
    folder = folder_with(tmp_path, {"bad<b>.png": content, "good.png": picture("PNG")})
    write_report(folder)
    found = page(folder)
    assert [one.attributes["alt"] for one in found.find("img")] == ["good.png"]
    assert f"1 picture left out: bad<b>.png ({why}" in found.find("section", id="pictures")[0].text


def test_a_missing_file_is_named_even_where_none_is_left(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"gone.png": picture("PNG")})
    (folder.samples / "gone.png").unlink()
    write_report(folder)
    assert "gone.png (missing)" in page(folder).find("section", id="pictures")[0].text


def test_pictures_keep_to_their_bytes(tmp_path: Path) -> None:
    files = {f"{k}.jpg": picture("JPEG", side=300 + k, quality=95) for k in range(12)}
    assert sum(map(len, files.values())) > MAX_BYTES
    folder = folder_with(tmp_path, files)
    write_report(folder)
    shown = page(folder).find("img")
    assert 0 < sum(len(one.attributes["src"]) for one in shown) <= MAX_BYTES * 4 / 3 + 100 * len(shown)
    assert "beyond the page's size" in page(folder).find("section", id="pictures")[0].text


def test_a_run_that_was_stopped_before_its_pictures_says_so(tmp_path: Path) -> None:
    stopped = Synthetic(students=0, control=False, evals=("imagenet",), pictures=False, status="partial")
    section = picture_section(read_records(write_run(tmp_path / "stopped", stopped)))
    assert section is not None
    assert "not come so far" in str(section.blocks[0])
    assert picture_section(read_records(write_run(tmp_path / "whole", SMALL))) is None


def test_a_page_without_pictures_on_demand(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"a.png": picture("PNG")})
    write_report(folder, pictures=False)
    assert not page(folder).find("img")
    assert not page(folder).find("section", id="pictures")


def test_no_samples_is_a_flag_of_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with(tmp_path, {"a.png": picture("PNG")})
    for path in folder.root.glob("*/evals"):
        assert not path.exists()
    for flags, count in (((), 1), (("--no-samples",), 0)):
        code = run(["report", str(folder.root), *flags])
        assert code == 0, capsys.readouterr().err
        assert len(page(folder).find("img")) == count
