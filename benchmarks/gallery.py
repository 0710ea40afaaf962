"""One picture of every corruption at every severity, nsbench's beside the authors', on a photograph of scikit-image.

    python -m benchmarks.gallery --out reports/corruptions/gallery.jpg

The photograph is NASA's of Eileen Collins (public domain). The draws are not the same on both sides: what can be
compared is strength and texture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw

from nsbench.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt
from tests.corruptions.original import original

TILE, LABEL, GAP = 128, 18, 4
SEVERITIES = (1, 2, 3, 4, 5)


def sheet(photograph: np.ndarray) -> Image.Image:
    """A row for each corruption; for each severity nsbench on the left, the original on the right."""
    names = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    width = len(SEVERITIES) * (2 * TILE + GAP)
    page = Image.new("RGB", (width, LABEL + len(names) * (TILE + LABEL)), "white")
    draw = ImageDraw.Draw(page)
    for column, severity in enumerate(SEVERITIES):
        draw.text((column * (2 * TILE + GAP) + 2, 2), f"severity {severity}: nsbench | original", fill="black")
    batch = torch.from_numpy(photograph).permute(2, 0, 1)[None].contiguous()
    for row, name in enumerate(names):
        top = LABEL + row * (TILE + LABEL)
        draw.text((2, top + 2), name.replace("_", " "), fill="black")
        for column, severity in enumerate(SEVERITIES):
            ours = corrupt(batch, name, severity, seeds=torch.tensor([row]))[0].permute(1, 2, 0).numpy()
            for side, pixels in enumerate((ours, original(photograph, name, severity, row))):
                tile = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.LANCZOS)
                page.paste(tile, (column * (2 * TILE + GAP) + side * TILE, top + LABEL))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports/corruptions/gallery.jpg"))
    arguments = parser.parse_args()
    picture = Image.fromarray(skimage.data.astronaut()).resize((256, 256), Image.Resampling.BILINEAR)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(np.asarray(picture)[16:240, 16:240].copy()).save(arguments.out, quality=85, optimize=True)


if __name__ == "__main__":
    main()
