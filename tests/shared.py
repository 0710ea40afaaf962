"""Data that lie beside the checkout, and what it means where they do not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

SHARED = Path(os.environ.get("NSBENCH_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""The development data; `golden` beside them holds published figures."""
GOLDEN = SHARED.parent / "golden"
SAMPLES = SHARED / "imagenet-samples" / "val"


def absent(what: str, *, module: bool = False) -> NoReturn:
    """Skip and say why; in CI, which has everything, fail: a test that never runs must not look green."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}; CI must have it")
    pytest.skip(what, allow_module_level=module)
