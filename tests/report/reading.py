"""Reads a report the way a browser would: tags, text, attributes; complains where they do not balance."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import io
from html.parser import HTMLParser

import pandas as pd

VOID = {"meta", "br", "img", "input", "link", "hr"}


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    parents: tuple[str, ...] = ()


class Page(HTMLParser):
    """Elements in order, each with its own text and that of what it holds."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = text
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        parents = tuple(element.tag for element in self._open)
        element = Element(tag, {name: value or "" for name, value in attrs}, parents=parents)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def find(self, tag: str = "", **attributes: str) -> list[Element]:
        """Elements with a tag and words in attributes (`class_` for class, `_` for `-`)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.elements
            if (not tag or element.tag == tag)
            and all(value in element.attributes.get(name, "").split(" ") for name, value in wanted.items())
        ]

    def download(self, name: str) -> pd.DataFrame:
        """A table from its link inside the page."""
        (link,) = [element for element in self.find("a") if element.attributes.get("download") == f"{name}.csv.gz"]
        head, _, packed = link.attributes["href"].partition("base64,")
        assert head == "data:application/gzip;"
        content = gzip.decompress(base64.b64decode(packed))
        return pd.read_csv(io.BytesIO(content), keep_default_na=False, dtype=str)
