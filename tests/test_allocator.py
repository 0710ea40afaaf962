"""Large blocks are kept once they are freed: the next ones cost no page faults, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

from nsbench.allocator import keep_freed_memory

CODE = """
import resource, sys
import numpy as np
from nsbench.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**25, dtype=np.uint8)  # 32 MiB: 8192 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(min(faults() for _ in range(5)))
"""


def test_freed_memory_is_kept() -> None:
    if not keep_freed_memory():
        assert sys.platform != "linux" or "musl" in sys.version.lower()
        return
    counts = {
        how: int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert counts["kept"] < 100
    assert counts["kept"] < counts["given back"] / 4 or counts["given back"] < 100  # huge pages hide the faults


def test_twice_is_once() -> None:
    assert keep_freed_memory() == keep_freed_memory()
    assert keep_freed_memory.cache_info().currsize == 1
