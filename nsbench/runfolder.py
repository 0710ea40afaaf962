"""The run folder: where every record of one run lies, who holds it, and which config it belongs to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nsbench.errors import ConfigError, DataError
from nsbench.files import fingerprint, read_json, write_json

SCHEMA_VERSION = 2
"""Version of `run.json` and of the folder's layout."""

SELF_TRAINING, MODELS = "self-training", "models"
"""What a run folder holds (`kind` in `run.json`): the generations of one run, or any models side by side."""

_FIELDS = {"kind": str, "name": str, "seed": int, "order": list, "models": dict, "plans": dict, "hardware": dict}
"""What every record of a run has."""

_WNID = re.compile(r"n\d{8}")

_HELD: set[Path] = set()
"""Locks of this process: the kernel's record locks tell processes apart, not parts of one."""


def is_generation(name: str) -> bool:
    """Whether a model is one of a self-training run: `0`, `1`, ... or `control`."""
    return name == "control" or (name.isascii() and name.isdigit())


def shows_imagenet(run: Mapping[str, Any]) -> bool:
    """Whether the clean images of a run's record are those of ImageNet's own validation set."""
    if run.get("kind") == MODELS:
        classes = run.get("classes") or ()
        return run.get("held_out") is not False and all(_WNID.fullmatch(str(name)) for name in classes)
    return str(run.get("dataset")).lower().startswith(("imagenet", "ilsvrc")) and not run.get("embedded", False)


def plain_name(name: str) -> str:
    """A name as one plain file name, whatever it holds; different names stay different."""
    plain = re.sub(r"[^A-Za-z0-9._=+-]+", "_", name).strip(".")[:100]
    return plain if plain and plain == name else f"{plain or 'unnamed'}-{fingerprint(name)[:8]}"


class RunFolder:
    """Paths of one run. Making the object touches nothing on disk."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @property
    def config(self) -> Path:
        """The resolved configuration; it can be run again."""
        return self.root / "config.toml"

    @property
    def run_json(self) -> Path:
        """Schema, status, command line, versions, hardware, seed, data fingerprints."""
        return self.root / "run.json"

    @property
    def results(self) -> Path:
        """Every number that a rerun reproduces."""
        return self.root / "results.csv"

    @property
    def costs(self) -> Path:
        """Seconds, images/s and memory: same columns, but a rerun gives other numbers."""
        return self.root / "costs.csv"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def samples(self) -> Path:
        """Pictures as PNG and JPEG files, described by `samples.json`."""
        return self.root / "samples"

    @property
    def truth(self) -> Path:
        """What is known of the unlabelled pool, for the report alone."""
        return self.root / "pool_truth.npz"

    @property
    def total(self) -> Path:
        """Wall time and memory of the command that finished the run."""
        return self.root / "total.json"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def metrics(self) -> Path:
        """Training curves, one JSON object a line."""
        return self.root / "metrics.jsonl"

    def generation(self, name: str) -> Path:
        """Folder of generation `0`, `1`, ... or `control`.

        Raises:
            DataError: a record names a generation that is neither, and so perhaps a path elsewhere.
        """
        if not is_generation(name):
            raise DataError(f"{self.root} names a generation {name!r}; it must be a number or 'control'")
        return self.root / (name if name == "control" else f"gen{name}")

    def model(self, key: str) -> Path:
        """Folder of a model that is no generation; its name, whatever it holds, becomes one plain file name."""
        return self.root / "models" / plain_name(key)

    def weights(self, name: str) -> Path:
        return self.generation(name) / "model.safetensors"

    def train_record(self, name: str) -> Path:
        """Written last: its presence says that the generation is trained."""
        return self.generation(name) / "train.json"

    def train_state(self, name: str) -> Path:
        return self.generation(name) / "train_state"

    def raw_weights(self, name: str) -> Path:
        """Last weights beside their average, where the next teacher is to have them."""
        return self.generation(name) / "raw.safetensors"

    def phase_weights(self, name: str, phase: str) -> Path:
        """Weights after a phase that is not the generation's last: before FixRes, or before finetuning."""
        return self.generation(name) / "phases" / f"{phase}.safetensors"

    def phase_record(self, name: str, phase: str) -> Path:
        return self.generation(name) / "phases" / f"{phase}.json"

    def labels(self, name: str) -> Path:
        """Pseudo-labels that generation `name` is trained on, one file a shard of the pool."""
        return self.generation(name) / "labels"

    def selection(self, name: str) -> Path:
        """How often it is shown each image, one file a file of labels."""
        return self.generation(name) / "selection"

    def label_record(self, name: str) -> Path:
        """Counts and seconds of labelling and selection."""
        return self.generation(name) / "labels.json"

    @property
    def filter_labels(self) -> Path:
        """Labels of the fixed model that selects, one file a shard of the pool."""
        return self.root / "filter_labels"

    def cell(self, name: str, eval_name: str, cell: str) -> Path:
        """Predictions of one generation, or of another model, on one cell.

        Raises:
            DataError: a record names an eval or a cell that is no plain file name.
        """
        for part in (eval_name, cell):
            if part != Path(part).name or part in ("", ".", ".."):
                raise DataError(f"{self.root} names a cell {part!r}; it must be a plain name")
        owner = self.generation(name) if is_generation(name) else self.model(name)
        return owner / "evals" / eval_name / f"{cell}.npz"

    def read_run(self, *, whole: bool = False, older: bool = False) -> dict[str, Any]:
        """Content of `run.json`.

        Args:
            whole: refuse a record that lacks what tables are made from; a page is made of less.
            older: take a record of an older schema too; a page shows what it holds.

        Raises:
            DataError: not a run folder, or one of another schema; or not whole.
        """
        if not self.run_json.is_file():
            raise DataError(f"{self.root} is not a run folder (no run.json); give the folder of a finished run")
        record: dict[str, Any] = read_json(self.run_json)
        if not isinstance(record, dict):
            raise DataError(f"{self.run_json} is no record of a run; delete the folder and run again")
        schema = record.get("schema")
        if schema != SCHEMA_VERSION and not (older and schema in range(1, SCHEMA_VERSION)):
            raise DataError(f"{self.run_json} has schema {schema}, not {SCHEMA_VERSION}; use nsbench as it was then")
        if whole:
            self._require_whole(record)
        return record

    def _require_whole(self, record: dict[str, Any]) -> None:
        wanted = {**_FIELDS, **({"files": dict} if record.get("status") == "complete" else {})}
        wrong = [name for name, kind in wanted.items() if not isinstance(record.get(name), kind)]
        wrong += [] if wrong else [f"plans.{key}" for key in record["order"] if key not in record["plans"]]
        if wrong:
            raise DataError(f"{self.run_json} is damaged at {wrong[0]!r}; delete it and run the same command again")

    def write_run(self, record: dict[str, Any]) -> None:
        write_json(self.run_json, {"schema": SCHEMA_VERSION, **record})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; a second one is refused with the first's host and process id.

        The kernel drops the lock with the process, so a killed run leaves none behind: a record lock, since that of
        `flock` would live on in the image workers for as long as they outlive their parent.

        Raises:
            ConfigError: another process holds the folder, or it cannot be written.
        """
        path = (self.root / ".lock").absolute()
        if path in _HELD:
            raise self._in_use(os.getpid(), socket.gethostname())
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"run folder {self.root} cannot be written ({error.strerror}); choose another with -o"
            ) from None
        with stream:
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                stream.seek(0)
                holder = dict.fromkeys(("pid", "host"), "?")
                with contextlib.suppress(ValueError, TypeError):
                    holder.update(json.loads(stream.read()))
                raise self._in_use(holder["pid"], holder["host"]) from None
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
            stream.flush()
            _HELD.add(path)
            try:
                yield
            finally:
                _HELD.discard(path)

    def _in_use(self, pid: int | str, host: str) -> ConfigError:
        return ConfigError(
            f"run folder {self.root} is in use by process {pid} on {host}; wait for it, or choose another with -o"
        )
