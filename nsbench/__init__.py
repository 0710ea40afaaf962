"""Noisy Student self-training behind a robustness benchmark harness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["__version__", "evaluate", "load_results", "train_and_eval"]

if TYPE_CHECKING:
    from nsbench.api import evaluate, load_results, train_and_eval


def __getattr__(name: str) -> Any:
    """The public functions, imported when they are asked for: `import nsbench` loads nothing heavy."""
    if name in __all__:
        from nsbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'nsbench' has no attribute {name!r}")
