"""State of an unfinished training run: saved whole or not at all, and never loaded for another run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from nsbench.files import write_atomic


def save_state(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers and nested containers of them) with the fingerprint of the run it belongs to."""
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state}, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The saved state; None where there is none, where it is damaged, or where it belongs to another run.

    Nothing in the file is executed (`weights_only=True`). A lost state costs time, never correctness.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch, zipfile and pickle each raise their own; all mean: start this generation anew
        return None
    return state if state.get("fingerprint") == fingerprint else None
