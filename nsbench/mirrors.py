"""TensorBoard and Weights & Biases, which show the training's curves; `metrics.jsonl` stays their record.

Each works in a process of its own, so that whatever its library does, fails at or waits for, the training neither sees
nor feels. It is told what to show line by line, ends with what tells it, and belongs to no terminal or process group
whose signals would end it in the midst of its work.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from nsbench.errors import ConfigError
from nsbench.files import write_text
from nsbench.track import Mirror

CLOSE_SECONDS = 30.0
"""How long the end of a run waits for what is on its way to a mirror."""
_WAITING_BYTES = 1 << 24
"""What may wait for a mirror beside the pipe: some 100,000 lines."""
_CLOSE = ["close"]
_NETWORK_SECONDS = 20.0
"""How long W&B tries to reach its server at the start and at the end; less, so that it can say what became of it."""


def open_mirrors(names: Iterable[str], folder: Path, *, name: str, config: Mapping[str, Any]) -> tuple[Mirror, ...]:
    """The mirrors of a run. They never raise, and wait for nothing but, a little, at the end.

    Args:
        names: `tensorboard`, `wandb`, as in `Config.track`.
        folder: the run folder; TensorBoard's event files go to `tensorboard/` in it, those of W&B to `wandb/`.
        name: the run's name for people.
        config: the configuration as W&B is to show it, of what JSON can hold.

    Raises:
        ConfigError: a mirror is unknown, or its package is not installed.
    """
    wanted = tuple(dict.fromkeys(names))
    for one in wanted:
        if one not in _MAKERS:
            raise ConfigError(f"track names {one!r}; known: {', '.join(_MAKERS)}")
        spec = importlib.util.find_spec(one)
        if spec is None or spec.origin is None:  # no origin: a folder ./wandb of W&B's own making
            raise ConfigError(f'track: {one} is not installed; run: pip install "nsbench[{one}]"')
    return tuple(_Process(one, folder, name, config) for one in wanted)


class _Process:
    """A mirror as the training sees it: a pipe that its calls are written to."""

    def __init__(self, mirror: str, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        self._mirror, self._given_up, self._waiting = mirror, False, bytearray()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nsbench.mirrors"],
            stdin=subprocess.PIPE,
            stdout=2,  # ours is for the headlines
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)
        self._call(mirror, str(folder.absolute()), name, dict(config))

    def rewind(self, generation: str, step: int, seen: int) -> None:
        self._call("rewind", generation, step, seen)

    def add(self, generation: str, step: int, figures: Mapping[str, float]) -> None:
        self._call("add", generation, step, dict(figures))

    def result(self, generation: str, name: str, value: float) -> None:
        self._call("result", generation, name, value)

    def close(self) -> None:
        self._call("close")  # image workers that are left may hold the pipe open
        if self._given_up:
            return
        try:
            self._process.communicate(bytes(self._waiting), CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._give_up(f"it was not done after {CLOSE_SECONDS:g} s")

    def _call(self, *call: Any) -> None:
        if self._given_up:
            return
        self._waiting += json.dumps(call).encode() + b"\n"
        try:
            del self._waiting[: self._pipe.write(self._waiting) or 0]
        except OSError:
            self._give_up("its process has ended")
        if len(self._waiting) > _WAITING_BYTES:
            self._give_up("it does not listen")

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self._process.kill()
        self._pipe.close()
        self._waiting.clear()
        _warn(self._mirror, why)


def _serve(stream: BinaryIO) -> None:
    """The work of a mirror's process: the first line says what to open, every other one is a call."""
    mirror_name, folder, name, config = json.loads(stream.readline())
    calls: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(stream, calls), daemon=True)
    reader.start()
    try:
        mirror = _MAKERS[mirror_name](Path(folder), name, config)
        while (call := calls.get()) != _CLOSE:
            getattr(mirror, call[0])(*call[1:])
        mirror.close()
    except Exception as error:  # networks, disks, servers and libraries fail in ways of their own; none is the run's
        _warn(mirror_name, (str(error) or type(error).__name__).splitlines()[0].strip(" ."))
        reader.join()  # to listen on costs nothing and keeps the training from asking why
        os._exit(0)  # what the library would still do at the exit might fail again, or never end


def _read(stream: BinaryIO, calls: queue.SimpleQueue[list[Any]]) -> None:
    """Take every line at once, whatever the mirror is busy with; the end of them all closes it too."""
    for line in stream:
        calls.put(json.loads(line))
    calls.put(_CLOSE)


def _warn(mirror: str, why: str) -> None:
    sys.stderr.write(f"warning: nothing more goes to {mirror} ({why}); metrics.jsonl has every line\n")


class TensorBoard:
    """Event files: a TensorBoard run for each generation (x: step), and `results` for all of them (x: generation).

    A run of its own for each, because TensorBoard takes back steps by run: in a common one, what generation 2 runs
    again would take the later steps of generation 1 with it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._newest = folder, 0
        self._writers: dict[str, Any] = {}

    def rewind(self, generation: str, step: int, seen: int) -> None:  # noqa: ARG002
        self._restart(_label(generation), step + 1)

    def add(self, generation: str, step: int, figures: Mapping[str, float]) -> None:
        self._write(_label(generation), step, figures)

    def result(self, generation: str, name: str, value: float) -> None:
        """The control stands where the last generation does, in a run beside that of the generations."""
        if generation.isdecimal():
            self._newest = int(generation)
            self._write("results", self._newest, {name: value})
        else:
            self._write(f"results/{generation}", self._newest, {name: value})

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _write(self, run: str, x: int, figures: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        writer = self._writers.get(run) or self._restart(run, x)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        writer.add_event(Event(wall_time=time.time(), step=x, summary=Summary(value=values)))
        writer.flush()  # by itself it would every two minutes

    def _restart(self, run: str, first: int) -> Any:
        """A new event file, which takes back what the run showed from `first` on."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if run in self._writers:
            self._writers[run].close()
        writer = self._writers[run] = EventFileWriter(str(self._folder / run))
        writer.add_event(Event(wall_time=time.time(), step=first, session_log=SessionLog(status=SessionLog.START)))
        return writer


class WeightsAndBiases:
    """One W&B run: figures as `gen1/loss` over `gen1/step`, results as `gen1/top1` in its summary.

    W&B takes nothing back, so steps that a continued training runs again are not sent again. Whether, where and as
    whom it sends is said by W&B's own variables and settings: WANDB_MODE, WANDB_PROJECT, `wandb login`.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "nsbench"),
            dir=folder,
            id=_run_id(folder / "wandb" / "run_id"),
            resume="allow",
            name=name,
            config=dict(config),
            settings=wandb.Settings(init_timeout=_NETWORK_SECONDS, finish_timeout=_NETWORK_SECONDS),
        )
        self._seen: dict[str, int] = {}

    def rewind(self, generation: str, step: int, seen: int) -> None:  # noqa: ARG002
        label = _label(generation)
        self._run.define_metric(f"{label}/step", hidden=True)
        self._run.define_metric(f"{label}/*", step_metric=f"{label}/step")
        self._seen[generation] = seen

    def add(self, generation: str, step: int, figures: Mapping[str, float]) -> None:
        if step > self._seen.get(generation, 0):
            label = _label(generation)
            self._run.log({f"{label}/step": step, **{f"{label}/{name}": value for name, value in figures.items()}})

    def result(self, generation: str, name: str, value: float) -> None:
        self._run.summary[f"{_label(generation)}/{name}"] = value

    def close(self) -> None:
        self._run.finish()


def _run_id(path: Path) -> str:
    """The id kept in the run folder: a folder that was deleted and is made anew is another run, whatever its name."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    made = secrets.token_hex(6)
    write_text(path, made + "\n")
    return made


def _label(generation: str) -> str:
    return f"gen{generation}" if generation.isdecimal() else generation


_MAKERS: Mapping[str, Callable[[Path, str, Mapping[str, Any]], Mirror]] = {
    "tensorboard": lambda folder, _name, _config: TensorBoard(folder / "tensorboard"),
    "wandb": WeightsAndBiases,
}

if __name__ == "__main__":
    _serve(sys.stdin.buffer)
