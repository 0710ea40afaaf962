"""The page of one run: every number has its row, nothing leaves the file, nothing from outside runs."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import pytest

from nsbench.errors import DataError
from nsbench.files import write_json, write_text
from nsbench.report.page import write_report
from nsbench.report.words import DASH, MINUS
from nsbench.results import read_results
from nsbench.runfolder import RunFolder
from tests.report.reading import Page
from tests.report.synthetic import ALL_EVALS, Synthetic, write_run

SCALES = (1.0, 100.0, 2.0**-30)


def page_of(folder: RunFolder) -> Page:
    return Page(folder.report.read_text(encoding="utf-8"))


def shown_value(text: str) -> float:
    return float(text.replace(MINUS, "-").replace(",", "").replace("+", ""))


def assert_numbers_are_rows(page: Page, tables: dict[str, Path]) -> int:
    """Every `data` element names a row, and shows that row's number up to rounding and unit."""
    frames = {name: read_results(path) for name, path in tables.items()}
    numbers = page.find("data")
    for element in numbers:
        table, _, index = element.attributes["data-row"].partition(":")
        row = frames[table].iloc[int(index)]
        value = row[element.attributes.get("data-column", "value")]
        if math.isnan(value):
            assert element.text == DASH
        elif element.text.startswith("<"):
            assert value < 0.001
        else:
            decimals = len(element.text.partition(".")[2])
            near = [abs(shown_value(element.text) - value * scale) <= 0.5001 * 10**-decimals for scale in SCALES]
            assert any(near), (element, value)
    return len(numbers)


def test_every_number_is_a_row_of_the_tables(one_run: RunFolder) -> None:
    count = assert_numbers_are_rows(page_of(one_run), {"results": one_run.results, "costs": one_run.costs})
    assert count > 900


def test_no_number_stands_in_a_table_without_its_row(one_run: RunFolder) -> None:
    """What a cell shows is either words, a dash, or numbers that name their rows and the interval of the last one."""
    text = one_run.report.read_text(encoding="utf-8")
    cells = [cell for kind, cell in re.findall(r"<td([^>]*)>(.*?)</td>", text) if "published" not in kind]
    assert len(cells) > 800
    for cell in cells:
        rest = re.sub(r"<data[^>]*>.*?</data>|<span class=\"ci\">.*?</span>", "", cell)
        rest = re.sub(r"<[^>]*>", "", rest)
        assert not re.search(r"\d", re.sub(r"\bgen \d", "", rest))


def test_intervals_are_those_of_the_row(one_run: RunFolder) -> None:
    frame = read_results(one_run.results)
    text = one_run.report.read_text(encoding="utf-8")
    number, interval = r'data-row="results:(\d+)"[^>]*>[^<]*</data>', r'<span class="ci">\[(.*?), (.*?)\]'
    found = re.findall(rf'{number}(?:<span class="unit">[^<]*</span>)? {interval}', text)
    assert len(found) > 700
    for index, low, high in found:
        row = frame.iloc[int(index)]
        for end, shown in ((row.ci_low, low), (row.ci_high, high)):
            decimals = len(shown.partition(".")[2])
            assert any(abs(shown_value(shown) - end * scale) <= 0.5001 * 10**-decimals for scale in SCALES)


def test_the_embedded_tables_are_those_beside_the_page(one_run: RunFolder) -> None:
    page = page_of(one_run)
    for name, path in (("results", one_run.results), ("costs", one_run.costs)):
        embedded = page.download(name)
        beside = path.read_text(encoding="utf-8")
        assert embedded.to_csv(index=False, lineterminator="\n") == beside


def test_the_page_asks_the_network_for_nothing(one_run: RunFolder) -> None:
    page = page_of(one_run)
    for element in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset", "poster", "data"):
            value = element.attributes.get(name, "")
            assert not re.match(r"\s*(https?:|//|ftp:|javascript:|file:)", value, re.IGNORECASE), (
                element.tag,
                value[:80],
            )
    assert "@import" not in page.text
    assert not re.search(r"url\(\s*['\"]?(?!#)", page.text)
    assert not page.find("link")
    assert not page.find("iframe")


def test_the_page_is_small(one_run: RunFolder) -> None:
    page = page_of(one_run)
    pictures = sum(len(element.attributes["src"]) for element in page.find("img"))
    assert pictures > 0
    assert len(page.text.encode()) < 3_000_000
    assert len(page.text.encode()) - pictures < 1_500_000


def test_ids_are_unique_and_references_lead_somewhere(one_run: RunFolder) -> None:
    page = page_of(one_run)
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        target = element.attributes.get("href", "")
        if target.startswith("#"):
            assert target[1:] in ids, target
    for target in re.findall(r"url\(#([^)]*)\)", page.text):
        assert target in ids


def test_the_page_has_every_section_in_order(one_run: RunFolder) -> None:
    page = page_of(one_run)
    sections = [element.attributes["id"] for element in page.find("section") if "id" in element.attributes]
    assert sections == [
        "verdict", "generations", "changes", "significance", "imagenet", "calibration", "imagenet-c", "imagenet-p",
        "fgsm", "imagenet-a", "effective-robustness", "self-training", "costs", "pictures", "literature", "reproduce",
        "downloads",
    ]  # fmt: skip
    assert page.text.index('id="worse-first"') < page.text.index('id="better-first"')


def test_tables_can_be_read_by_a_screen_reader(one_run: RunFolder) -> None:
    page = page_of(one_run)
    assert len(page.find("table")) == len(page.find("caption"))
    assert all(element.text.strip() for element in page.find("caption"))
    assert all(element.attributes.get("scope") in ("col", "row", "rowgroup") for element in page.find("th"))
    assert all(element.attributes.get("alt") for element in page.find("img"))
    assert all(element.attributes.get("aria-label") for element in page.find("svg"))


def test_nan_is_a_dash_and_minus_is_a_minus(one_run: RunFolder) -> None:
    page = page_of(one_run)
    texts = {element.text for element in page.find("data")}
    assert DASH in texts
    assert any(text.startswith(MINUS) for text in texts)
    assert not any("nan" in text.lower() or "-" in text for text in texts)
    assert not re.search(r">\s*nan\s*<", page.text)


def test_one_svg_serves_light_and_dark(one_run: RunFolder) -> None:
    page = page_of(one_run)
    drawings = "".join(re.findall(r"<svg.*?</svg>", page.text, flags=re.DOTALL))
    assert "var(--gen-3)" in drawings
    assert "var(--gen-control)" in drawings
    assert not re.search(r"#[0-9a-f]{6}\b", drawings), "a colour that no theme knows"
    for name in set(re.findall(r"var\((--[a-z0-9_-]+)\)", drawings)):
        assert page.text.count(f"{name}: #") == 3, name
    assert "<style" not in drawings
    assert "<metadata" not in drawings


def test_figures_lie_beside_the_page(one_run: RunFolder) -> None:
    page = page_of(one_run)
    ids = [element.attributes.get("id", "") for element in page.find("figure")]
    names = {name.removeprefix("fig-") for name in ids if name}
    files = {path.name for path in one_run.figures.iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "png")}
    assert len(names) == 12
    assert (one_run.figures / "corruptions.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_records_give_the_same_bytes(one_run: RunFolder, tmp_path: Path) -> None:
    again = write_run(tmp_path / "elsewhere" / "run", Synthetic())
    write_report(again)
    assert again.report.read_bytes() == one_run.report.read_bytes()
    for path in one_run.figures.iterdir():
        assert (again.figures / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_report_takes_seconds(one_run: RunFolder) -> None:
    began = time.process_time()
    write_report(one_run)
    assert time.process_time() - began < 8


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script></svg></style><img src=x onerror=alert(2)>\"'&{{7*7}}$x_1$ #7a7a7a url(#a)"
    run = Synthetic(
        name=evil, recipe=evil, preset=evil, title=evil, students=1, classes=("0", evil), protocol=evil,
        evals=("imagenet", "imagenet-p", "pseudo-labels"),
    )  # fmt: skip
    folder = write_run(tmp_path / "run", run)
    record = folder.read_run()
    record.pop("schema")
    record |= {"argv": [evil, "a b"], "notes": [evil], "missing": [evil], "git": evil, "versions": {evil: evil}}
    folder.write_run(record)
    frame = folder.results.read_text(encoding="utf-8")
    folder.results.write_text(frame.replace("spatter", "</text></svg><script>alert(3)</script>"), encoding="utf-8")
    write_text(folder.config, f"# {evil}\n")
    samples = [{"group": evil, "title": evil, "items": [{"file": "corruptions-0.png", "caption": evil, "truth": evil,
                "predictions": {evil: evil, "0": "x"}, "subset": evil, "level": evil}]}]  # fmt: skip
    write_json(folder.samples / "samples.json", samples)
    page = page_of(RunFolder(write_report(folder).parent))
    assert len(page.find("script")) == 1, "only the page's own"
    assert all("onerror" not in element.attributes for element in page.elements)
    assert all(element.attributes["src"].startswith("data:image/png;base64,") for element in page.find("img"))
    assert "alert(3)" in "".join(element.text for element in page.find("text")), "as text inside the figure"
    assert "7*7" in page.text
    assert "49" not in page.find("title")[0].text
    assert "$x_1$" in page.find("h1")[0].text


def test_pictures_are_confined_to_their_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(students=0, control=False, evals=("imagenet",)))
    png = (folder.samples / "corruptions-0.png").read_bytes()
    (tmp_path / "outside.png").write_bytes(png)
    (folder.samples / "link.png").symlink_to(tmp_path / "outside.png")
    (folder.samples / "page.png").write_text("<svg onload=alert(1)>", encoding="utf-8")
    bad = ["../../outside.png", str(tmp_path / "outside.png"), "link.png", "page.png", "gone.png", "", None, "a\0b", 7]
    items = [{"file": name, "caption": str(name)} for name in bad] + [
        {"file": "corruptions-0.png", "caption": "good"},
        "x",
    ]
    write_json(folder.samples / "samples.json", [{"group": "g", "title": "t", "items": items}])
    write_report(folder)
    page = page_of(folder)
    assert [element.attributes["alt"] for element in page.find("img")] == ["good"]
    assert "10 pictures left out" in page.text


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(Synthetic(control=False, evals=("imagenet", "imagenet-a", "pseudo-labels")), id="no control"),
        pytest.param(Synthetic(students=0, control=False, evals=ALL_EVALS[:-1]), id="one model"),
        pytest.param(Synthetic(evals=("imagenet",), status="partial"), id="one eval"),
        pytest.param(Synthetic(evals=("imagenet-c", "attacks"), students=1), id="no clean images"),
        pytest.param(Synthetic(students=5, evals=("imagenet", "fgsm")), id="five students"),
    ],
)
def test_what_is_missing_leaves_the_rest(tmp_path: Path, run: Synthetic) -> None:
    folder = write_run(tmp_path / "run", run)
    folder.costs.unlink()
    folder.metrics.unlink()
    (folder.samples / "samples.json").unlink()
    folder.config.unlink()
    write_report(folder)
    page = page_of(folder)
    assert_numbers_are_rows(page, {"results": folder.results})
    assert len(page.find(class_="card")) == 5
    assert not page.find("img")


def test_a_bare_record_of_the_run_is_enough(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(evals=("imagenet",), students=1))
    folder.write_run({"name": "bare", "seed": 3})
    write_report(folder)
    assert "bare" in page_of(folder).find("h1")[0].text


@pytest.mark.parametrize(
    ("file", "content"), [("results.csv", None), ("results.csv", "a,b\n1,2\n"), ("run.json", None)]
)
def test_a_folder_without_records_is_refused_in_one_line(tmp_path: Path, file: str, content: str | None) -> None:
    folder = write_run(tmp_path / "run", Synthetic(evals=("imagenet",), students=0, control=False, pictures=False))
    path = folder.root / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        write_report(folder)
    assert "\n" not in str(raised.value)
