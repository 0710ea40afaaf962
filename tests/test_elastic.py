"""Two real ranks under elastic torchrun: killed, signalled and restarted, they end with the bytes of unbroken ones."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import torch

from nsbench.files import read_json
from nsbench.runfolder import RunFolder
from tests.engine.test_kills import equal, made, words, write_data

ROOT = Path(__file__).resolve().parents[1]
STEPS, CHECKPOINT_SECONDS = 120, 0.2
STAGES = ("0", "1", "control")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the ranks in Linux's /proc"),
]


@dataclasses.dataclass(frozen=True)
class Job:
    """torchrun with two ranks on one run folder."""

    agent: subprocess.Popen[bytes]
    folder: RunFolder
    said: IO[bytes]

    def ranks(self) -> dict[int, int]:
        """Process numbers of the ranks that there are."""
        found = {}
        for children in Path(f"/proc/{self.agent.pid}/task").glob("*/children"):
            for pid in map(int, children.read_text().split()):
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    found |= {int(word[5:]): pid for word in words if word.startswith(b"RANK=")}
        return found

    def rank(self, rank: int) -> int:
        """Process number of a rank, once it is there."""
        self.wait(lambda: rank in self.ranks())
        return self.ranks()[rank]

    def wait(self, holds: Callable[[], bool]) -> None:
        while not holds():
            assert self.agent.poll() is None, self.text
            time.sleep(0.005)

    def ended(self) -> int:
        return self.agent.wait(300)

    def stop(self) -> None:
        """End whatever still runs; torchrun's ranks are not of its process group."""
        for pid in (*self.ranks().values(), self.agent.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.agent.wait()

    @property
    def text(self) -> str:
        return Path(self.said.name).read_text(encoding="utf-8")


@contextlib.contextmanager
def launched(data: Path, folder: RunFolder, restarts: int = 0) -> Iterator[Job]:
    """torchrun as a command; none of its processes is left behind."""
    changes = (f"train.steps={STEPS}", f"train.checkpoint_seconds={CHECKPOINT_SECONDS}")
    more = [part for change in changes for part in ("-s", change)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}"]
    said = folder.root.with_suffix(".said").open("wb")
    agent = subprocess.Popen(
        [sys.executable, *launcher, "-m", "nsbench", *words(data, folder.root, *more, measured=True)],
        cwd=ROOT, stdout=said, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    job = Job(agent, folder, said)
    try:
        yield job
    finally:
        job.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("elastic") / "data"
    root.mkdir()
    write_data(root)
    return root


@pytest.fixture(scope="module")
def unbroken(data: Path) -> RunFolder:
    folder = RunFolder(data.parent / "run")
    with launched(data, folder) as job:
        assert job.ended() == 0, job.text
    lines = made(folder.root)["lines"]
    assert [(line["generation"], line["step"]) for line in lines] == [
        (name, step) for name in STAGES for step in range(1, STEPS + 1)
    ]
    return folder


def logged(folder: RunFolder, name: str) -> int:
    """The last step of a generation in `metrics.jsonl`."""
    if not folder.metrics.is_file():
        return 0
    lines = folder.metrics.read_text(encoding="utf-8")
    return max(map(int, re.findall(rf'{{"generation": "{name}", "step": (\d+), .*}}\n', lines)), default=0)


def saved(folder: RunFolder, name: str) -> int:
    """The step of a generation's saved state; its last 32 bytes are a checksum."""
    content = (folder.train_state(name) / "main.pt").read_bytes()
    return int(torch.load(io.BytesIO(content[:-32]), weights_only=True)["step"])


def test_a_killed_worker_costs_no_more_than_the_last_checkpoint_interval(
    data: Path, unbroken: RunFolder, tmp_path: Path
) -> None:
    """One command: rank 1 is killed in training, then rank 0, then rank 1 while evaluating, then it gets a SIGTERM."""
    folder, lost = RunFolder(tmp_path / "run"), {}
    with launched(data, folder, restarts=4) as job:
        for name, rank, number in (("0", 1, signal.SIGKILL), ("1", 0, signal.SIGKILL), ("control", 1, signal.SIGTERM)):
            if name == "control":
                job.wait(folder.cell("1", "imagenet", "val").is_file)
                os.kill(job.rank(1), signal.SIGKILL)
            state = folder.train_state(name) / "main.pt"
            job.wait(lambda name=name, state=state: state.is_file() and logged(folder, name) >= STEPS // 4)
            ranks, now = job.ranks(), time.time()
            os.kill(ranks[rank], number)
            job.wait(lambda ranks=ranks: not any(Path(f"/proc/{pid}").exists() for pid in ranks.values()))
            lost[name] = (logged(folder, name), saved(folder, name), now - state.stat().st_mtime)
        assert job.ended() == 0, job.text
    resumed = dict(re.findall(r"generation (\w+): goes on after step (\d+)", folder.log.read_text(encoding="utf-8")))
    for name, (last, step, seconds) in lost.items():
        print(f"generation {name}: step {last} was the last one, {step} was saved {seconds:.2f} s before the kill")
        assert int(resumed[name]) == step
        assert last - step < STEPS // 2
        assert seconds < CHECKPOINT_SECONDS + 2  # of a machine that does other things, too
    assert last == step  # a signal costs nothing
    assert equal(folder, unbroken)
    assert folder.results.read_bytes() == unbroken.results.read_bytes()
    assert read_json(folder.run_json)["status"] == "complete"
    assert f'File "{ROOT}/nsbench' not in job.text  # a killed rank's reader may have a traceback of Python's own


def test_a_signal_to_torchrun_or_to_every_process_stops_all_ranks_and_the_command_continues(
    data: Path, unbroken: RunFolder, tmp_path: Path
) -> None:
    """As service managers send it, and as Slurm does; then each rank gets it from torchrun, too."""
    folder = RunFolder(tmp_path / "run")
    for name in ("0", "1"):
        with launched(data, folder) as job:
            job.wait(lambda name=name: logged(folder, name) >= STEPS // 4)
            for pid in (*(job.ranks().values() if name == "1" else ()), job.agent.pid):
                os.kill(pid, signal.SIGTERM)
            assert job.ended() != 0
            record = read_json(folder.run_json)
            step = saved(folder, name)
            assert step == logged(folder, name) < STEPS
            assert record["exit_code"] == 75
            assert record["said"] == f"stopped by SIGTERM in generation {name}, step {step}; run again to continue"
            assert job.text.count(record["said"]) == 2  # by both ranks
    with launched(data, folder) as job:
        assert job.ended() == 0, job.text
    assert equal(folder, unbroken)
