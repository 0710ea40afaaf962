"""For every test: memory that a batch freed is kept for the next, as in every command."""

from __future__ import annotations

from nsbench.allocator import keep_freed_memory

keep_freed_memory()
