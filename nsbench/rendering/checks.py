"""Check sums of corrupted pixels: whether two people, or two versions, made the same ImageNet-C."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.errors import DataError
from nsbench.files import read_json, write_json
from nsbench.rendering.target import unwritable

CHECKS = "nsbench-canonical.json"
"""Check sums of the cells, where they were asked for."""
EXACT = frozenset(
    {
        "brightness",
        "contrast",
        "fog",
        "frost",
        "gaussian_noise",
        "impulse_noise",
        "jpeg_compression",
        "pixelate",
        "saturate",
        "shot_noise",
        "speckle_noise",
        "zoom_blur",
    }
)
"""Corruptions whose pixels are the same on every machine: integers, tables, and single IEEE roundings in a fixed order.

The others pass through exponential and error functions, Fourier transforms, matrix products or SciPy's filters, whose
last bits depend on the library's version and the processor; the cut to 8 bits shows some of them. There a SHA-256 is
of one kind of machine, and the sums of the pixels and their squares are what others can compare.
"""
SUM_TOLERANCE = 1e-5
"""Relative; for the corruptions that are not EXACT."""
_ABOUT = (
    "SHA-256, sum and sum of squares of the uint8 pixels [N, 224, 224, 3] of each cell (clips: [N, T, 224, 224, 3]) "
    "before they are encoded, images in the order of `ids`, seed 0; `base`: of the images before corruption. "
    "Corruptions in `exact` have these SHA-256 on every machine; for the others they hold where `versions` and the "
    f"processor agree, and the sums to {SUM_TOLERANCE:g} everywhere."
)
_PACKAGES = ("numpy", "opencv-python", "pillow", "scipy", "torch", "torchvision")


class PixelCheck:
    """SHA-256, sum and sum of squares of the uint8 pixels of a cell, before they are encoded, images by id."""

    def __init__(self) -> None:
        self._digest, self._sum, self._squares = hashlib.sha256(), 0, 0

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Take the next images [n, H, W, 3] or clips [n, T, H, W, 3]."""
        self._digest.update(np.ascontiguousarray(pixels).tobytes())
        levels, counts = np.arange(256), np.bincount(pixels.reshape(-1), minlength=256)
        self._sum += int((levels * counts).sum())
        self._squares += int((levels**2 * counts).sum())

    @property
    def result(self) -> dict[str, Any]:
        """`sha256` in hexadecimal digits, `sum`, and `squares`, which tells blurs apart."""
        return {"sha256": self._digest.hexdigest(), "sum": self._sum, "squares": self._squares}


def read_checks(target: Path, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Check sums by cell folder that were recorded for exactly these images; none where there are none.

    Raises:
        DataError: the file is damaged.
    """
    path = target / CHECKS
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
        cells = {
            folder: {key: check[key] for key in ("sha256", "sum", "squares")}
            for folder, check in content["cells"].items()
        }
        return cells if content["ids"] == _readable(ids) else {}
    except (AttributeError, KeyError, TypeError):
        raise DataError(f"{path} is damaged; delete it, and the same command makes it again") from None


def _readable(ids: Sequence[str]) -> list[str]:
    """Ids as text that can be written: bytes of a file name that are no UTF-8 become `\\xff`."""
    return [key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for key in ids]


def write_checks(
    target: Path, ids: Sequence[str], base: Mapping[str, Any], cells: Mapping[str, Any], corruption_version: int
) -> None:
    """Record check sums of the pixels before corruption and of every cell.

    `nsbench/corruptions/canonical.json` is this file of the sample photographs, made by
    `nsbench corrupt imagenet-samples/val TARGET --corruption all --limit 20 --canonical`.

    Raises:
        DataError: it cannot be written.
    """
    content = {
        "about": _ABOUT,
        "base": base,
        "cells": cells,
        "corruption_version": corruption_version,
        "exact": sorted({folder.partition("/")[0] for folder in cells if _is_exact(folder)}),
        "ids": _readable(ids),
        "versions": {name: metadata.version(name) for name in _PACKAGES if _installed(name)},
    }
    try:
        write_json(target / CHECKS, content)
    except OSError as error:
        raise unwritable(target / CHECKS, error) from None


def differing_checks(cells: Mapping[str, Any], published: Mapping[str, Any]) -> list[str]:
    """The cells whose check sums are not the published ones, as far as they can be compared between machines.

    Args:
        cells: `PixelCheck.result` by the folder of a cell; no cell is missing in `published`.
        published: the same, such as `cells` of canonical.json.
    """
    return [folder for folder, check in cells.items() if not _agrees(folder, check, published[folder])]


def _agrees(folder: str, check: Mapping[str, Any], published: Mapping[str, Any]) -> bool:
    if _is_exact(folder):
        return bool(check["sha256"] == published["sha256"])
    return all(abs(check[key] - published[key]) <= SUM_TOLERANCE * published[key] for key in ("sum", "squares"))


def _is_exact(folder: str) -> bool:
    name, _, severity = folder.partition("/")
    return bool(severity) and name in EXACT


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
