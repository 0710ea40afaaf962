"""Sample pictures of a run, inlined; only PNG and JPEG files that lie in the samples folder."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from nsbench.report.lines import generation_label
from nsbench.report.model import Block, Picture, Pictures, Section, Text
from nsbench.report.records import Records
from nsbench.report.words import clean, plural, subset_label

MAX_BYTES = 1_050_000
"""Of all pictures together; inlined they grow by a third, and the page with pictures stays below 3 MB."""

_FORMATS = ("PNG", "JPEG")
_MOST_PIXELS = 4_000_000
_NAMED = 5
"""Pictures left out that are named."""


def picture_section(records: Records) -> Section | None:
    """Every group of `samples.json` whose files can be shown; a run that was stopped before them says so."""
    left, lost = MAX_BYTES, list[str]()
    blocks: list[Block] = []
    for group in records.samples:
        items: list[Picture] = []
        listed = group.get("items", ())
        for item in listed if isinstance(listed, list) else ():
            shown = _picture(records.samples_folder, item, judged=group.get("group") != "flips")
            if isinstance(shown, str) or shown[1] > left:
                lost.append(shown if isinstance(shown, str) else f"{clean(item['file'], 60)} (beyond the page's size)")
                continue
            left -= shown[1]
            items.append(shown[0])
        if items:
            blocks.append(Pictures(title=clean(group.get("title") or group.get("group", "")), items=tuple(items)))
    intro = "Chosen by rule, not by eye; the truth above, the classes that the models gave below."
    if not blocks and not lost:
        if records.shows_pictures and records.text("status") == "partial":
            stopped = "Pictures are kept when everything is measured; this run has not come so far."
            return Section(
                id="pictures", nav="Pictures", title="Pictures", blocks=(Text(parts=(stopped,), css="note"),)
            )
        return None
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        words = f"{plural(len(lost), 'picture')} left out: {', '.join(lost[:_NAMED])}{more}."
        blocks.append(Text(parts=(words,), css="note"))
    return Section(id="pictures", nav="Pictures", title="Pictures", intro=(intro,), blocks=tuple(blocks))


def _picture(folder: Path, item: Any, *, judged: bool) -> tuple[Picture, int] | str:
    """A picture and the bytes of its file; or its name and why it cannot be shown.

    Args:
        judged: whether a prediction is one class, right or wrong, and not that of each frame.
    """
    if not isinstance(item, Mapping) or not isinstance(name := item.get("file"), str) or not name or "\0" in name:
        return "one without a file's name"
    content, why = _read(folder, name)
    if why:
        return f"{clean(name, 60)} ({why})"
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                return f"{clean(name, 60)} (too many pixels)"
            image.load()
            size, kind = image.size, str(image.format).lower()
    except Exception:  # each of Pillow's decoders raises its own
        return f"{clean(name, 60)} (no whole PNG or JPEG file)"
    return _described(item, f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}", size, judged), len(
        content
    )


def _read(folder: Path, name: str) -> tuple[bytes, str]:
    """The content of a file whose real place is inside the folder, or why there is none."""
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return b"", "outside samples/"
        if not path.is_file():
            return b"", "missing"
        return (b"", "too large") if path.stat().st_size > MAX_BYTES else (path.read_bytes(), "")
    except (OSError, RuntimeError) as error:  # a loop of links, a name too long, no permission
        return b"", getattr(error, "strerror", "") or "unreadable"


def _described(item: Mapping[str, Any], uri: str, size: tuple[int, int], judged: bool) -> Picture:
    truth = clean(item.get("truth") or "", 60)
    predictions = item.get("predictions")
    by_class: dict[str, list[str]] = {}
    for generation, predicted in (predictions if isinstance(predictions, Mapping) else {}).items():
        by_class.setdefault(clean(predicted, 60 if judged else 200), []).append(str(generation))
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
    return Picture(uri=uri, width=size[0], height=size[1], caption=caption, truth=truth, predictions=tuple(chips))


def _names(generations: list[str]) -> str:
    """`gen 0, 1, control`, or the names of models."""
    numbered = [name for name in generations if name.isdigit()]
    others = [generation_label(name) for name in generations if not name.isdigit()]
    return ", ".join([*(["gen " + ", ".join(numbered)] if numbered else []), *others])
