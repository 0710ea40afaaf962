"""Kill a run with SIGKILL at random moments, repeat its command, and compare it with an unbroken run.

    python benchmarks/kill_and_resume.py runs/mnist5k --kills 10

runs the unbroken run's own config in a folder of the same name elsewhere, and prints what was lost and whether
`results.csv` and every weights file are equal to the bit.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nsbench.runfolder import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("unbroken", type=Path, help="a finished run folder")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--span", type=float, default=60.0, help="a kill comes 2 to this many seconds after a start")
    options = parser.parse_args()
    unbroken, moments = RunFolder(options.unbroken), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        killed = RunFolder(Path(place) / unbroken.root.resolve().name)
        command = [
            sys.executable, "-m", "nsbench", "train-and-eval", str(unbroken.config), "-o", str(killed.root),
            "-s", f"data.cache_dir={unbroken.root.resolve().parent / '.cache'}", "--progress", "none",
        ]  # fmt: skip
        began, kills = time.monotonic(), 0
        while True:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                process.wait(moments.uniform(2, options.span) if kills < options.kills else None)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                made = sorted(path.parent.name for path in killed.root.glob("*/train.json"))
                print(
                    f"kill {kills} after {time.monotonic() - began:.0f} s; trained: {', '.join(made) or 'nothing'}",
                    flush=True,
                )
        print(f"exit code {process.returncode} after {kills} kills, {time.monotonic() - began:.0f} s")
        if process.returncode:
            sys.exit(process.returncode)
        names = [
            "results.csv",
            *(str(path.relative_to(unbroken.root)) for path in unbroken.root.glob("*/*.safetensors")),
        ]
        for name in sorted(names):
            same = (killed.root / name).read_bytes() == (unbroken.root / name).read_bytes()
            print(f"{name}: {'identical' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
