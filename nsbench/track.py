"""What a run says while it works: progress for people, `metrics.jsonl` for curves."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from nsbench.files import write_text

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


class Curves:
    """Training curves of all generations in one `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, generation: str, step: int) -> None:
        """Forget lines of `generation` after `step`, and cut-off lines: the steps are about to be run again."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                if record["generation"] != generation or record["step"] <= step:
                    kept.append(line)
        write_text(self.path, "".join(line + "\n" for line in kept))

    def add(self, **record: Any) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
