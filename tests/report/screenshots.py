"""Pictures of a report: `python -m tests.report.screenshots PAGE OUT` writes light, dark, phone and print PNG files.

They are drawn with at most 128 colours and from the top of the page, so that each stays below 300 KB.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from tests.report.browser import DESKTOP, PAPER, PHONE, opened, started

VIEWS = {
    "light": (DESKTOP, 1700, {}),
    "dark": (DESKTOP, 1700, {"dark": True}),
    "phone": (PHONE, 1700, {}),
    "print": (PAPER, 974, {"paper": True}),
}
"""Name to width and height in CSS pixels, and how the page is opened."""


def main(page: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with started() as browser:
        for name, (width, height, options) in VIEWS.items():
            with opened(browser, page, width=width, **options) as window:
                window.page.set_viewport_size({"width": width, "height": height})
                picture = Image.open(io.BytesIO(window.page.screenshot())).convert("RGB")
            picture.quantize(128, dither=Image.Dither.NONE).save(out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
