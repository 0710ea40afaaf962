"""Noisy Student self-training behind a robustness benchmark harness."""

__version__ = "0.1.0"
