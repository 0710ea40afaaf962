"""A batch in slices: memory does not grow with it, and each CPU thread works on slices of its own.

Threads over slices rather than inside operations: what is not torch's (Philox, OpenCV, Pillow, libjpeg) runs in
parallel too, a busy core delays no other, and the pixels do not depend on the number of threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import torch
from torch import Tensor

_VALUES = {"cpu": 2**19, "cuda": 2**26}
"""Values of a slice: its temporaries stay near a core's cache, or fill a GPU without filling its memory."""


def by_slices(count: int, values_each: int, device: torch.device, work: Callable[[slice], None]) -> None:
    """Call `work` with slices that cover `count` images of `values_each` values; on the CPU in torch's thread count."""
    size = max(1, _VALUES.get(device.type, _VALUES["cuda"]) // max(1, values_each))
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads > 1:
        size = max(1, min(size, -(-count // threads)))
    rows = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    plain = partial(_without_autocast, device, work)
    if threads == 1 or len(rows) == 1:
        for part in rows:
            plain(part)
        return
    try:
        for _ in _pool(threads).map(partial(_as_inference, plain), rows):
            pass
    finally:
        torch.set_num_threads(threads)  # the workers' 1 would become the default of every thread to come


def volume(images: Tensor) -> int:
    """Values of one image of a batch."""
    return math.prod(images.shape[1:])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "corruption", initializer=torch.set_num_threads, initargs=(1,))


# threads do not survive a fork: a child makes its own
os.register_at_fork(after_in_child=_pool.cache_clear)


def _without_autocast(device: torch.device, work: Callable[[slice], None], part: slice) -> None:
    """A caller's half precision would change pixels, and only those of slices in the caller's own thread."""
    with torch.autocast(device.type, enabled=False):
        work(part)


def _as_inference(work: Callable[[slice], None], part: slice) -> None:
    with torch.inference_mode():
        work(part)
