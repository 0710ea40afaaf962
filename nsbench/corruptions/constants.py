"""The authors' severity constants, one table for each image size they published (ImageNet-C, section 4)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

SEVERITIES = (1, 2, 3, 4, 5)


@cache
def tables() -> dict[int, dict[str, list[Any]]]:
    """Return {variant: {corruption: [constant of severity 1, ..., of severity 5]}} for 32, 64, 224 and 299 px.

    Source: hendrycks/robustness, ImageNet-C/create_c: make_cifar_c.py (32), make_imagenet_64_c.py (64),
    make_imagenet_c.py (224) and make_imagenet_c_inception.py (299).
    """
    content = json.loads(files("nsbench.corruptions").joinpath("constants.json").read_text(encoding="utf-8"))
    return {int(variant): table for variant, table in content["variants"].items()}


def table_for(side: int, variant: int | None) -> dict[str, list[Any]]:
    """Return the table of `variant`, or where it is None that of images of `side` px.

    Raises:
        ValueError: no such table.
    """
    wanted = side if variant is None else variant
    if wanted not in tables():
        sizes = ", ".join(str(size) for size in sorted(tables()))
        raise ValueError(f"no severity constants for {wanted} px; published sizes: {sizes} (choose a variant)")
    return tables()[wanted]
