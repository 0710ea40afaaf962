"""The whole plan on the embedded data, small: real processes, real kills, the same numbers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from nsbench.configfile import load_config, to_toml
from nsbench.errors import ConfigError
from nsbench.files import read_json, write_text
from nsbench.results import COLUMNS, read_results
from nsbench.runfolder import RunFolder
from nsbench.runrecord import refuse_other_config

SMALL = (
    "train.steps=12", "train.teacher_steps=12", "train.labelled_batch=8", "train.teacher_batch=16",
    "train.warmup_steps=2", "train.checkpoint_seconds=0.2", "data.eval_split=dev", "eval.replicates=100",
    "select.min_confidence=0.0",
    "eval.perturbation_images=20", "eval.pgd_steps=2",
)  # fmt: skip


def command(out: Path, *extra: str) -> list[str]:
    sets = [part for assignment in SMALL for part in ("-s", assignment)]
    return [sys.executable, "-m", "nsbench", "train-and-eval", "--generations", "2", "-o", str(out), *sets, *extra]


def run(out: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *extra), capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An unbroken run, whose cache of corrupted images the other runs share."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "unbroken")
    done = run(folder.root)
    assert done.returncode == 0, done.stderr
    assert str(folder.report) in done.stdout
    assert done.stdout.startswith("| ")
    return folder


def contents(folder: RunFolder) -> dict[str, tuple[float, int]]:
    files = (path for path in folder.root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def test_every_generation_is_measured_on_all_axes(finished: RunFolder) -> None:
    results = read_results(finished.results)
    assert tuple(results.columns) == COLUMNS
    values = results[results.versus == ""]
    for name in ("0", "1", "2", "control"):
        evals = set(values[values.generation == name]["eval"])
        assert {"imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm", "attacks"} <= evals
    assert set(results[results.generation == "2"].versus) == {"", "gen0", "previous", "control"}
    assert (results.n > 0).any()
    assert results.protocol.str.len().min() > 0
    errors = results[(results["eval"] == "imagenet-c") & (results.metric == "error")]
    assert errors.subset.nunique() == 16
    assert read_json(finished.run_json)["status"] == "complete"


def test_a_finished_run_is_left_alone_and_fast(finished: RunFolder) -> None:
    before, began = contents(finished), time.monotonic()
    done = run(finished.root)
    assert done.returncode == 0, done.stderr
    assert "done; nothing was written" in done.stderr
    assert time.monotonic() - began < 30  # a hang, not a benchmark: the figure is in reports/
    assert contents(finished) == before


def test_a_key_that_was_not_there_yet_had_its_default(tmp_path: Path) -> None:
    """A run of an earlier version goes on with a later one that knows more keys."""
    folder, config = RunFolder(tmp_path / "run"), load_config("mnist5k")
    text = to_toml(config)
    assert 'complement = ""\n' in text
    write_text(folder.config, text.replace('complement = ""\n', ""))
    refuse_other_config(config, folder)
    changed = load_config("mnist5k", overrides={"train.steps": 7})
    with pytest.raises(ConfigError, match=r"it differs in train\.steps\)"):
        refuse_other_config(changed, folder)
    write_text(folder.config, "steps = [")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        refuse_other_config(config, folder)


def test_another_config_is_refused_and_nothing_overwritten(finished: RunFolder) -> None:
    before = contents(finished)
    done = run(finished.root, "-s", "noise.magnitude=3")
    assert done.returncode == 2
    assert "noise.magnitude" in done.stderr
    assert "--fresh" in done.stderr
    assert contents(finished) == before


def test_the_report_is_rebuilt_from_records_without_torch(finished: RunFolder) -> None:
    before = finished.results.read_bytes(), finished.report.read_bytes()
    code = (
        "import sys; sys.argv = ['nsbench', 'report', sys.argv[1]]\n"
        "from nsbench.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(finished.root)], check=True, capture_output=True)
    assert (finished.results.read_bytes(), finished.report.read_bytes()) == before


def test_its_own_config_can_be_run_again(finished: RunFolder) -> None:
    config = load_config(finished.root)
    assert config == load_config(finished.config)
    done = subprocess.run(
        [sys.executable, "-m", "nsbench", "train-and-eval", str(finished.root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nothing was written" in done.stderr


def test_a_killed_run_ends_with_the_numbers_of_an_unbroken_one(tmp_path: Path) -> None:
    """Killed again and again, by SIGKILL and SIGTERM in turn and after ever longer, until it comes through."""
    small = ("--generations", "1", "--evals", "imagenet,fgsm")
    unbroken, killed = RunFolder(tmp_path / "a" / "run"), RunFolder(tmp_path / "b" / "run")
    assert run(unbroken.root, *small).returncode == 0
    kills, patience = 0, 5.0
    while True:
        process = subprocess.Popen(command(killed.root, *small), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=patience)
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGTERM if kills % 2 else signal.SIGKILL)
            process.communicate()
            # -SIGTERM: before the handler is there, or after Python took it away at exit.
            assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 75, 0)
            kills, patience = kills + 1, patience * 1.3
    assert process.returncode == 0, errors
    assert kills > 0
    assert killed.results.read_bytes() == unbroken.results.read_bytes()
    for name in ("0", "1", "control"):
        assert killed.weights(name).read_bytes() == unbroken.weights(name).read_bytes()


def test_damaged_records_are_made_again(finished: RunFolder) -> None:
    expected = finished.results.read_bytes()
    cell = finished.cell("1", "imagenet", "val")
    cell.write_bytes(cell.read_bytes()[:100])
    weights = finished.weights("control")
    weights.write_bytes(weights.read_bytes()[:-8])
    done = run(finished.root)
    assert done.returncode == 0, done.stderr
    assert finished.results.read_bytes() == expected


def test_two_processes_on_one_folder(finished: RunFolder) -> None:
    with finished.locked():
        done = run(finished.root, "--fresh")
    assert done.returncode == 2
    assert f"process {os.getpid()}" in done.stderr
    assert finished.results.is_file()


def test_an_ablation_shares_generation_0(finished: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "ablation")
    cache = ("-s", f"data.cache_dir={finished.root.parent / '.cache'}")
    done = run(folder.root, "--generations", "1", "--ablation", "no-noise", "--evals", "imagenet", *cache)
    assert done.returncode == 0, done.stderr
    assert folder.weights("0").read_bytes() == finished.weights("0").read_bytes()
    assert folder.weights("1").read_bytes() != finished.weights("1").read_bytes()
    results = read_results(folder.results)
    assert not (results.generation == "control").any()
    assert pd.notna(results[(results.metric == "top1") & (results.versus == "")].value).all()


def test_a_foreign_cell_is_not_believed(finished: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "unbroken")
    shutil.copytree(finished.root, copy.root)
    shutil.copy(copy.cell("2", "imagenet", "val"), copy.cell("0", "imagenet", "val"))
    done = subprocess.run(
        [sys.executable, "-m", "nsbench", "report", str(copy.root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "other weights" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_comparison_does_not_overwrite_a_run(finished: RunFolder) -> None:
    before = contents(finished)
    command = [
        sys.executable,
        "-m",
        "nsbench",
        "report",
        str(finished.root),
        str(finished.root),
        "-o",
        str(finished.root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "overwritten" in done.stderr
    assert contents(finished) == before
