"""Sample pictures of a run, inlined; only PNG files that lie in the samples folder."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsbench.report.lines import generation_label
from nsbench.report.model import Block, Picture, Pictures, Section, Text
from nsbench.report.words import clean, plural, subset_label

MAX_BYTES = 1_050_000
"""Of all pictures together; inlined they grow by a third, and the page with pictures stays below 3 MB."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture_section(groups: list[dict[str, Any]], folder: Path) -> Section | None:
    """Every group of `samples.json` whose files can be shown."""
    left, dropped = MAX_BYTES, 0
    blocks: list[Block] = []
    for group in groups:
        items: list[Picture] = []
        for item in group.get("items", ()):
            content = _read(folder, item) if isinstance(item, Mapping) else None
            if content is None or len(content) > left:
                dropped += 1
                continue
            left -= len(content)
            items.append(_picture(item, content, judged=group.get("group") != "flips"))
        if items:
            blocks.append(Pictures(title=clean(group.get("title") or group.get("group", "")), items=tuple(items)))
    if not blocks:
        return None
    if dropped:
        words = f"{plural(dropped, 'picture')} left out: missing, no PNG inside samples/, or beyond the page's size."
        blocks.append(Text(parts=(words,), css="note"))
    intro = "Chosen by rule, not by eye; the truth above, the classes that the generations gave below."
    return Section(id="pictures", nav="Pictures", title="Pictures", intro=(intro,), blocks=tuple(blocks))


def _read(folder: Path, item: Mapping[str, Any]) -> bytes | None:
    """Bytes of a picture; None unless it is a PNG whose real place is inside the folder."""
    name = item.get("file")
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    content = path.read_bytes()
    return content if content.startswith(_SIGNATURE) and content[12:16] == b"IHDR" else None


def _picture(item: Mapping[str, Any], content: bytes, judged: bool) -> Picture:
    """`judged`: whether a prediction is one class, right or wrong, and not that of each frame."""
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    truth = clean(item.get("truth") or "", 60)
    predictions = item.get("predictions")
    by_class: dict[str, list[str]] = {}
    for generation, predicted in (predictions if isinstance(predictions, Mapping) else {}).items():
        by_class.setdefault(clean(predicted, 60), []).append(str(generation))
    alone = len(by_class) == 1 and len(predictions or ()) > 1
    chips = [
        (
            "all" if alone else _names(generations),
            name,
            "" if not (truth and judged) else "right" if name == truth else "wrong",
        )
        for name, generations in by_class.items()
    ]
    subset, level = subset_label(str(item.get("subset") or "")), clean(item.get("level") or "", 40)
    caption = clean(item.get("caption") or " · ".join(filter(None, (subset, level))), 200)
    uri = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Picture(uri=uri, width=width, height=height, caption=caption, truth=truth, predictions=tuple(chips))


def _names(generations: list[str]) -> str:
    """`gen 0, 1, control`."""
    numbered = [name for name in generations if name.isdigit()]
    others = [generation_label(name) for name in generations if not name.isdigit()]
    return ", ".join([*(["gen " + ", ".join(numbered)] if numbered else []), *others])
