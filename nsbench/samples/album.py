"""Groups of pictures as files: small images as they are (PNG), photographs as thumbnails (JPEG)."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsbench.files import write_atomic, write_json
from nsbench.runfolder import RunFolder

Pixels = npt.NDArray[np.uint8]

THUMBNAIL_PX = 112
"""Height of a photograph's thumbnail."""
FRAME_PX = 72
"""The same of a strip of many frames."""

_QUALITY = 72
_SMALL_PX = 96
"""Images up to this height are shown pixel by pixel: a thumbnail would hide what the model saw."""


class Album:
    """Collects groups of pictures and writes each as a file."""

    def __init__(self, folder: RunFolder) -> None:
        """Pictures of an earlier attempt are deleted: they may be of other images."""
        self.folder = folder
        self.groups: list[dict[str, Any]] = []
        shutil.rmtree(folder.samples, ignore_errors=True)

    def group(self, name: str, title: str) -> None:
        """Begin a group; one without a picture is not written."""
        self.groups.append({"group": name, "title": title, "items": []})

    def add(self, pixels: Pixels, caption: str, *, height: int = THUMBNAIL_PX, **item: Any) -> None:
        """Add a picture uint8 [H, W, 3] to the group, with whatever the report needs to say of it."""
        group = self.groups[-1]
        content, suffix = encoded(pixels, height)
        file = f"{group['group']}-{len(group['items']):03d}.{suffix}"
        write_atomic(self.folder.samples / file, content)
        group["items"].append({"file": file, "caption": caption, **item})

    def write(self) -> None:
        """`samples.json`, last: without it the pictures are those of a run that was interrupted."""
        write_json(self.folder.samples / "samples.json", [group for group in self.groups if group["items"]])


def encoded(pixels: Pixels, height: int) -> tuple[bytes, str]:
    """The file's content and its suffix."""
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    if picture.height <= _SMALL_PX:
        picture.save(buffer, "PNG", optimize=True)
        return buffer.getvalue(), "png"
    if picture.height > height:
        width = max(1, round(picture.width * height / picture.height))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue(), "jpg"
