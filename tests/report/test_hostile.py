"""Whatever names hold, they are shown as text: no script runs, nothing is asked for, and the layout stands."""

from __future__ import annotations

import dataclasses
import json
import math
import string
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from nsbench.files import write_text
from nsbench.report.page import write_comparison, write_report
from nsbench.report.records import read_records
from nsbench.report.view import build_view
from nsbench.report.words import clean, visible
from nsbench.runfolder import RunFolder
from tests.report.browser import PHONE, opened
from tests.report.reading import Page
from tests.report.synthetic import Synthetic, SyntheticModels, write_models, write_run

HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)><!--",
    "end of style": "</style></title></svg></script><svg onload=alert(3)>]]>",
    "quotes": '" onfocus=alert(4) autofocus=\'"`><a href="javascript:alert(5)">x</a>&lt;&#60;&amp',
    "turned around": "\u202eabc\u2066def\u200f\u061c",
    "unseen": "a\u200bb\ufeff\u00adc\u2060d\U000e0041\x00\x1b[31m\x7f",
    "long": "y" * 10_000,
    "long words": "word " * 2_000,
    "path": "../../../../etc/passwd\\..\\C:\\nul",
    "address": "javascript:alert(6)//https://example.com/x.png",
    "template": "{{7*7}}{% for x in y %}{#x#}${7*7}",
    "TeX": "$x_1$ \\input{x} \\href{y}{z} %&#_{}~^",
    "Markdown": "[a](javascript:alert(7)) ![b](c) | d | `e` **f** <details>",
    "formula": '=HYPERLINK("http://x","y")+cmd|calc!A0',
    "surrogate": "\ud800x\udfff",
    "combined": "a" + "\u0301" * 200,
    "nothing": "",
}


def in_table(text: str) -> str:
    """What a CSV file can hold of it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def hostile_run(root: Path, evil: str) -> RunFolder:
    """A run that holds the text wherever a text can be."""
    safe = in_table(evil)
    run = Synthetic(
        students=1, classes=("0", safe or "1"), protocol=safe,
        evals=("imagenet", "imagenet-c", "imagenet-p", "fgsm", "pseudo-labels"),
    )  # fmt: skip
    folder = write_run(root, run)
    record = folder.read_run()
    record |= dict.fromkeys(("name", "recipe", "preset", "dataset", "dataset_title", "git", "partial", "seed"), evil)
    record |= {"argv": [evil, "a b"], "notes": [evil], "missing": [evil], "skipped": {evil: evil}, "started": evil}
    record |= {key: {evil: evil} for key in ("versions", "hardware", "data_fingerprints")}
    record["models"]["0"] = {"label": evil, "params": evil, "fingerprint": evil, "notes": [evil]}
    write_text(folder.run_json, json.dumps(record))
    write_text(folder.config, f"# {safe}\n")
    frame = folder.results.read_text(encoding="utf-8")
    cell = '"' + (safe.replace('"', '""') or "x") + '"'
    write_text(folder.results, frame.replace(",spatter,", f",{cell},").replace(",top5,", f",{cell},"))
    prediction = {evil: evil, "0": evil, "1": "x"}
    item = {"file": "corruptions-0.png", "caption": evil, "truth": evil, "predictions": prediction, "subset": evil}
    group = {"group": evil, "title": evil, "items": [item, {**item, "level": evil, "caption": ""}]}
    write_text(folder.samples / "samples.json", json.dumps([group]))
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_names_hold_is_text(tmp_path: Path, browser: Browser, name: str) -> None:
    evil = HOSTILE[name]
    path = write_report(hostile_run(tmp_path / "run", evil))
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.find("script")) == 1
    assert all(element.attributes["src"].startswith("data:image/") for element in page.find("img"))
    assert not [key for element in page.elements for key in element.attributes if key.startswith("on")]
    with opened(browser, path, width=PHONE) as window:
        window.unfold()
        assert window.said == []
        assert {url for url in window.asked if not url.startswith("data:")} == {path.as_uri()}
        assert window.overflow <= 0
        assert window.sticking_out() == []
        shown = clean(in_table(evil).replace("?", "\ufffd") if name == "surrogate" else evil)
        assert window.page.locator("h1").inner_text().strip() == shown


def test_files_beside_the_page_have_names_of_our_own(tmp_path: Path) -> None:
    path = write_report(hostile_run(tmp_path / "run", HOSTILE["path"]))
    ours = set(string.ascii_letters + string.digits + ".-_")
    assert all(set(file.name) <= ours for file in path.parent.rglob("*"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_hostile_models_side_by_side(tmp_path: Path, browser: Browser) -> None:
    names = tuple(dict.fromkeys(clean(in_table(evil), 10_000) for evil in HOSTILE.values() if evil))[:6]
    run = SyntheticModels(names=names, evals=("imagenet", "imagenet-a", "fgsm"), notes=(HOSTILE["markup"],))
    path = write_report(write_models(tmp_path / "run", run))
    with opened(browser, path, width=PHONE) as window:
        window.unfold()
        assert window.said == []
        assert window.overflow <= 0
        assert window.sticking_out() == []
        heads = window.page.locator("#models-table tbody th").all_inner_texts()
        assert len(heads) == len(set(heads)) == len(names)


def test_hostile_runs_side_by_side(tmp_path: Path, browser: Browser) -> None:
    evil = HOSTILE["markup"]
    plain = Synthetic(students=1, evals=("imagenet", "imagenet-a"), pictures=False, recipe=evil, name=evil)
    runs = [write_run(tmp_path / str(k), dataclasses.replace(plain, seed=k)) for k in range(2)]
    with opened(browser, write_comparison(runs, tmp_path / "out"), width=PHONE) as window:
        window.unfold()
        assert window.said == []
        assert window.overflow <= 0
        assert "<script>alert(1)" in window.page.locator("main").inner_text()


def test_what_is_not_seen_is_gone_from_names_and_spelt_out_in_files() -> None:
    assert clean(HOSTILE["turned around"]) == "abc def"
    assert clean(HOSTILE["unseen"]) == "a b c d [31m"
    assert visible("a\u202eb\n\tc\x00\ufeff") == "a\\u202eb\n\tc\\u0000\\ufeff"
    assert visible("Größe 数 ε") == "Größe 数 ε"


STRANGE = (None, 3, math.inf, [[1]], {"a": {"b": 1}})


@pytest.mark.parametrize("value", STRANGE, ids=str)
def test_records_with_strange_kinds_of_values_make_a_page(tmp_path: Path, value: object) -> None:
    """JSON holds any kind anywhere; what is no text, number or list is not shown, or shown as text."""
    folder = write_run(tmp_path / "run", Synthetic(students=1, evals=("imagenet",)))
    records = read_records(folder)
    for key in set(records.run) - {"schema", "kind"}:
        assert build_view(dataclasses.replace(records, run=records.run | {key: value})).title
