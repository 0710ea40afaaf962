"""Kill a run with SIGKILL at random moments, and compare what it ends with with an unbroken run.

    python benchmarks/kill_and_resume.py runs/mnist5k --kills 20
    torchrun --standalone --nproc-per-node 2 -m nsbench train-and-eval -o runs/two/mnist5k
    python benchmarks/kill_and_resume.py runs/two/mnist5k --kills 20 --ranks 2

runs the unbroken run's own config in a folder of the same name elsewhere. One process is killed and its command
repeated; of several ranks a random one is killed, and torchrun restarts all. Prints the steps that each kill cost, and
whether curves, `results.csv` and every weights file are equal to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nsbench.runfolder import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unbroken", type=Path, help="a finished run folder")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=1, help="as many as the unbroken run had, if batch norm is theirs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--span", type=float, default=60.0, help="a kill comes 2 to this many seconds after a start")
    options = parser.parse_args()
    unbroken = RunFolder(options.unbroken)
    with tempfile.TemporaryDirectory() as place:
        killed = RunFolder(Path(place) / unbroken.root.resolve().name)
        command = [
            "-m", "nsbench", "train-and-eval", str(unbroken.config), "-o", str(killed.root),
            "-s", f"data.cache_dir={unbroken.root.resolve().parent / '.cache'}", "--progress", "none",
        ]  # fmt: skip
        if options.ranks > 1:
            ranks = [f"--nproc-per-node={options.ranks}", f"--max-restarts={options.kills}"]
            command = ["-m", "torch.distributed.run", "--standalone", *ranks, *command]
        code = run_and_kill(command, killed, options)
        if code:
            sys.exit(code)
        compare(killed, unbroken)


def run_and_kill(command: list[str], folder: RunFolder, options: argparse.Namespace) -> int:
    """Exit code of the command that came through."""
    moments = random.Random(options.seed)
    began, kills, before = time.monotonic(), 0, ("0", 0, 0)
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    while True:
        try:
            process.wait(moments.uniform(2, options.span) if kills < options.kills else None)
            break
        except subprocess.TimeoutExpired:
            if options.ranks > 1:
                os.kill(rank(process.pid, moments.randrange(options.ranks)), 9)
            else:
                process.kill()
                process.wait()
                process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
            if kills:
                print(f"kill {kills} cost {redone(folder, *before)} steps", flush=True)
            kills, before = kills + 1, last_step(folder)
            print(f"kill {kills} after {time.monotonic() - began:.0f} s, at step {before[1]} of generation {before[0]}")
    print(f"kill {kills} cost {redone(folder, *before)} steps")
    print(f"exit code {process.returncode} after {kills} kills, {time.monotonic() - began:.0f} s")
    return process.returncode


def rank(agent: int, number: int) -> int:
    """Process number of one of torchrun's ranks, once it is there."""
    while True:
        for children in Path(f"/proc/{agent}/task").glob("*/children"):
            for pid in children.read_text().split():
                if f"RANK={number}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    return int(pid)
        time.sleep(0.1)


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    """The curves, without a cut-off line and without speeds."""
    if not folder.metrics.is_file():
        return []
    whole = folder.metrics.read_text(encoding="utf-8").rpartition("\n")[0]
    return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in whole.splitlines()]


def last_step(folder: RunFolder) -> tuple[str, int, int]:
    """Generation and step of the last line of the curves, and how long the log is."""
    found = lines(folder)
    length = folder.log.stat().st_size if folder.log.is_file() else 0
    return (found[-1]["generation"], found[-1]["step"], length) if found else ("0", 0, length)


def redone(folder: RunFolder, generation: str, step: int, length: int) -> int:
    """Steps up to `step` that are made again, by what the log says after its first bytes."""
    said = folder.log.read_bytes()[length:].decode() if folder.log.is_file() else ""
    resumed = re.search(rf"generation {generation}: goes on after step ([\d,]+)", said)
    if resumed:
        return max(0, step - int(resumed[1].replace(",", "")))
    return step if f"generation {generation}: training" in said else 0


def compare(killed: RunFolder, unbroken: RunFolder) -> None:
    print(f"curves, each step once: {'identical' if lines(killed) == lines(unbroken) else 'DIFFERENT'}")
    files = ["results.csv", *(str(path.relative_to(unbroken.root)) for path in unbroken.root.glob("*/*.safetensors"))]
    for name in sorted(files):
        same = (killed.root / name).read_bytes() == (unbroken.root / name).read_bytes()
        print(f"{name}: {'identical' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
