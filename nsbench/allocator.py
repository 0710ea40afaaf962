"""Memory that goes back to the system after every batch has to be faulted in again: half of a CPU's forward pass.

glibc maps large blocks one by one and unmaps them when they are freed; a batch of 32 photographs of 224 px through an
EfficientNet-Lite0 is a quarter of a million page faults that way, and none where the freed blocks are kept.
"""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_BLOCK = 2**30
_KEPT = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of freed memory for its next batch; moves no number.

    Returns:
        Whether the C library knows how: glibc does, musl and macOS do not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(
        mallopt(option, value) == 1 for option, value in ((_MMAP_THRESHOLD, _LARGEST_BLOCK), (_TRIM_THRESHOLD, _KEPT))
    )
