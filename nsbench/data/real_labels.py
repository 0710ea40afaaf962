"""ImageNet's reassessed labels, as timm ships them (Beyer et al. 2020, arXiv:2006.07159)."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path

_VAL_IMAGE = re.compile(r"(?:^|/)ILSVRC2012_val_(\d{8})\b")


def val_number(key: str) -> int | None:
    """1..50,000 for an id of ImageNet's validation images, such as `n01440764/ILSVRC2012_val_00000293.JPEG`."""
    found = _VAL_IMAGE.search(key)
    return int(found[1]) if found else None


def real_labels(ids: Iterable[str]) -> list[frozenset[int]]:
    """The classes that people saw in each image; empty for an image without any, or none of ImageNet's val."""
    numbers = [val_number(str(key)) for key in ids]
    if not any(numbers):
        return [frozenset()] * len(numbers)
    table = _table()
    return [table[n - 1] if n is not None and 0 < n <= len(table) else frozenset() for n in numbers]


@functools.cache
def _table() -> tuple[frozenset[int], ...]:
    """[50000], by the number in the file's name; read without importing timm, which takes seconds."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None  # a requirement of this package
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "_info" / "imagenet_real_labels.json"
    return tuple(map(frozenset, json.loads(path.read_text(encoding="utf-8"))))
