"""A figure as SVG inside the page, and as SVG, PDF and PNG files for papers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from nsbench.files import write_atomic

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_PDF_METADATA = {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nsbench",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.parse_math": False,  # names from outside may hold dollar signs
    "axes.unicode_minus": True,
    "axes.titlesize": 9.0,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.2,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "path.simplify": True,
}


_SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize")
"""In points."""


@contextmanager
def drawing_style(scale: float = 1.0) -> Iterator[None]:
    """matplotlib settings of the report, its text `scale` times as large; glyphs that the font lacks are no error."""
    settings: Any = {**STYLE, **{name: STYLE[name] * scale for name in _SIZES}}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def svg_text(figure: Figure) -> str:
    """The figure as a standalone SVG file; the same figure gives the same bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA, transparent=True)
    return buffer.getvalue()


def inline_svg(text: str, prefix: str, label: str, colours: Mapping[str, tuple[str, str]]) -> str:
    """SVG text made fit for a page: no prolog, ids of its own, colours as CSS variables, a name for screen readers."""
    body = re.sub(
        r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL
    )
    variables = {light: f"var(--{name})" for name, (light, _) in reversed(list(colours.items()))}

    def own(tag: re.Match[str]) -> str:
        """Attributes alone are rewritten, never what is written between tags."""
        new = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', tag.group())
        new = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", new)
        new = re.sub(r'(?:xlink:)?href="#([^"]*)"', rf'href="#{prefix}-\1"', new)
        return re.sub(r"#[0-9a-f]{6}\b", lambda found: variables.get(found.group(), found.group()), new)

    body = re.sub(r"<[^>]*>", own, body)
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    kept = f' viewBox="{box.group(1)}"' if box else ""
    return f'<svg{kept} role="img" aria-label="{label}">' + re.sub(r"\n\s*", "\n", rest).strip()


def write_figure(figure: Figure, folder: Path, name: str) -> None:
    """`name`.svg, .pdf and .png; the last two on white."""
    write_atomic(folder / f"{name}.svg", svg_text(figure).encode())
    for kind, options in (("pdf", {"metadata": _PDF_METADATA}), ("png", {"dpi": 220, "metadata": {"Software": None}})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, facecolor="white", **options)
        write_atomic(folder / f"{name}.{kind}", buffer.getvalue())
