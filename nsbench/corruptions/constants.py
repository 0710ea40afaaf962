"""The authors' severity constants, one table for each image size they published (ImageNet-C, section 4)."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

SEVERITIES = (1, 2, 3, 4, 5)

_WHOLE = {("jpeg_compression", None), ("glass_blur", 1), ("glass_blur", 2)}
"""Constants that count something: rounded where sizes are interpolated."""


@cache
def tables() -> dict[int, dict[str, list[Any]]]:
    """Return {variant: {corruption: [constant of severity 1, ..., of severity 5]}} for 32, 64, 224 and 299 px.

    Source: hendrycks/robustness, ImageNet-C/create_c: make_cifar_c.py (32), make_imagenet_64_c.py (64),
    make_imagenet_c.py (224) and make_imagenet_c_inception.py (299).
    """
    content = json.loads(files("nsbench.corruptions").joinpath("constants.json").read_text(encoding="utf-8"))
    return {int(variant): table for variant, table in content["variants"].items()}


def table_for(side: int, variant: int | None = None) -> dict[str, list[Any]]:
    """The table of `variant`, or where it is None that of images whose shorter side is `side` px.

    Between the published sizes every number is interpolated, linearly in the logarithm of the size; above 299 px the
    table of 299 serves. Such tables are nobody's benchmark: `table_label` calls them unofficial.

    Raises:
        ValueError: there is no table `variant`.
    """
    published = tables()
    if variant is not None and variant not in published:
        sizes = ", ".join(map(str, sorted(published)))
        raise ValueError(f"variant must be one of {sizes} or None, got {variant!r}")
    wanted = side if variant is None else variant
    return published[wanted] if wanted in published else _interpolated(wanted)


def table_label(side: int, variant: int | None = None) -> str:
    """The constants in words, for a protocol: `constants for 224 px`; with `unofficial` where nobody published them."""
    largest = max(tables())
    used = min(side, largest) if variant is None else variant
    if used == side:
        return f"constants for {side} px" if side in tables() else f"constants interpolated for {side} px, unofficial"
    return f"constants for {used} px on {side} px, unofficial"


@cache
def _interpolated(side: int) -> dict[str, list[Any]]:
    sizes = sorted(tables())
    below = max((size for size in sizes if size <= side), default=sizes[0])
    above = min((size for size in sizes if size >= side), default=sizes[-1])
    if below == above:
        return tables()[below]
    share = math.log(side / below) / math.log(above / below)
    return {
        name: [_between(low, high, share, name) for low, high in zip(lows, tables()[above][name], strict=True)]
        for name, lows in tables()[below].items()
    }


def _between(low: Any, high: Any, share: float, name: str, place: int | None = None) -> Any:
    if isinstance(low, dict):
        return {key: _between(low[key], high[key], share, name) for key in low}
    if isinstance(low, list):
        return [_between(a, b, share, name, place) for place, (a, b) in enumerate(zip(low, high, strict=True))]
    value = low + (high - low) * share
    return round(value) if (name, place) in _WHOLE else value
