"""What a run says while it works: progress for people, `metrics.jsonl` and its mirrors for curves."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from nsbench.files import write_atomic

ProgressMode = Literal["auto", "bar", "log", "none"]
LOG_EVERY_SECONDS = 30.0


class Progress:
    """Bars on a terminal, a line every 30 s elsewhere; finished steps of the plan are always a line in the log."""

    def __init__(self, mode: ProgressMode = "auto", log: Path | None = None) -> None:
        self.mode = ("bar" if sys.stderr.isatty() else "log") if mode == "auto" else mode
        self.log = log

    def line(self, text: str) -> None:
        """Say one line now."""
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
        if self.mode != "none":
            print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def counter(self, title: str, total: int, *, start: int = 0, unit: str = "step") -> Iterator[Counter]:
        """Count towards `total`; the counter shows rate and time left."""
        counter = Counter(self, title, total, start, unit)
        try:
            yield counter
        finally:
            counter.close()


class Counter:
    """One running count of a `Progress`."""

    def __init__(self, progress: Progress, title: str, total: int, start: int, unit: str) -> None:
        self.progress, self.title, self.total, self.unit = progress, title, total, unit
        self.done, self.start = start, start
        self.began = self.spoke = time.monotonic()
        self.bar = None
        if progress.mode == "bar":
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=start, desc=title, unit=unit, leave=False, file=sys.stderr)

    def advance(self, count: int = 1, **figures: str) -> None:
        """Move on by `count`; `figures` are shown beside the count."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
            if figures:
                self.bar.set_postfix(figures, refresh=False)
            return
        now = time.monotonic()
        if now - self.spoke >= LOG_EVERY_SECONDS and self.done < self.total:
            self.spoke = now
            left = (now - self.began) / max(1, self.done - self.start) * (self.total - self.done)
            shown = " ".join(f"{name} {value}" for name, value in figures.items())
            self.progress.line(f"{self.title}: {self.unit} {self.done}/{self.total} {shown} ({left:.0f} s left)")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Mirror(Protocol):
    """Where the figures of a run are shown. Generations are `0`, `1`, ... and `control`."""

    def rewind(self, generation: str, step: int, seen: int) -> None:
        """Steps of `generation` after `step` are about to be run (again); those up to `seen` were shown before."""

    def add(self, generation: str, step: int, figures: Mapping[str, float]) -> None:
        """Training's figures at one step; steps of a generation ascend."""

    def result(self, generation: str, name: str, value: float) -> None:
        """A headline number of a generation, in the order of the generations; a continued run may say it again."""

    def close(self) -> None:
        """Nothing more will come."""


class Curves:
    """Training curves of all generations in one `metrics.jsonl`, and in the mirrors that show them besides."""

    def __init__(self, path: Path, mirrors: Sequence[Mirror] = ()) -> None:
        self.path, self.mirrors = path, mirrors
        self._stream: io.FileIO | None = None

    def rewind(self, generation: str, step: int) -> None:
        """Forget lines of `generation` after `step`, and cut-off lines: the steps are about to be run again."""
        self._close_file()
        seen, first, later = self._read(generation, step) if self.path.exists() else (0, None, [])
        if later:
            write_atomic(self.path, self.path.read_bytes()[:first] + b"".join(later))
        elif first is not None:
            os.truncate(self.path, first)
        for mirror in self.mirrors:
            mirror.rewind(generation, step, seen)

    def _read(self, generation: str, step: int) -> tuple[int, int | None, list[bytes]]:
        """The last step of `generation`; where the first line to forget begins, if any; the lines to keep after it."""
        seen, first, later, offset = 0, None, [], 0
        with self.path.open("rb") as stream:
            for line in stream:
                whose, at = _place(line)
                if whose == generation:
                    seen = max(seen, at)
                if whose is None or (whose == generation and at > step):
                    first = offset if first is None else first
                elif first is not None:
                    later.append(line)
                offset += len(line)
        return seen, first, later

    def add(self, *, generation: str, step: int, **figures: float | str | None) -> None:
        """Append one line; it is in the kernel's hands at once, so a killed process loses none.

        Raises:
            OSError: the disk is full or gone.
        """
        line = memoryview(json.dumps({"generation": generation, "step": step, **figures}).encode() + b"\n")
        try:
            if self._stream is None:
                self._stream = self.path.open("ab", buffering=0)
            while line:
                line = line[self._stream.write(line) :]
        except OSError as error:
            error.filename = str(self.path)  # a full disk names no file
            raise
        numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        for mirror in self.mirrors:
            mirror.add(generation, step, numbers)

    def result(self, generation: str, name: str, value: float) -> None:
        """Show a headline number of a measured generation in the mirrors; its record is `results.csv`."""
        for mirror in self.mirrors:
            mirror.result(generation, name, float(value))

    def close(self) -> None:
        """Wait a little for what is on its way to the mirrors."""
        self._close_file()
        for mirror in self.mirrors:
            mirror.close()

    def _close_file(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


_LINE = re.compile(rb'\{"generation": "([^"\\]*)", "step": ([0-9]+)[,}]')


def _place(line: bytes) -> tuple[str | None, int]:
    """Generation and step of a line; None for one that is cut off or damaged."""
    found = _LINE.match(line) if line.endswith(b"}\n") else None
    if found is not None:  # as `add` writes it; to read it as JSON takes eight times as long
        return found[1].decode(), int(found[2])
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if line.endswith(b"\n"):
            record = json.loads(line)
            return str(record["generation"]), int(record["step"])
    return None, 0
