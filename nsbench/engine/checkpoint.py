"""State of an unfinished training run: saved whole or not at all, and never loaded for another run."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from nsbench.files import write_atomic

_DIGEST_BYTES = hashlib.sha256().digest_size


def save_state(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers and nested containers of them) with the fingerprint of the run it belongs to.

    A SHA-256 of all stands at the end: torch would load weights of which a bit is wrong.
    """
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state}, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.seek(0, io.SEEK_END)
    buffer.write(digest)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The saved state; None where there is none, where it is damaged, or where it belongs to another run.

    Nothing in the file is executed (`weights_only=True`). A lost state costs time, never correctness.
    """
    try:
        content = memoryview(path.read_bytes())
        whole, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(whole).digest() != digest:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
    except Exception:  # torch, zipfile and pickle each raise their own; all mean: start this phase anew
        return None
    return state if state.get("fingerprint") == fingerprint else None
