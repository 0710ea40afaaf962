"""Who holds a run folder, and what is none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nsbench.errors import ConfigError, DataError
from nsbench.files import write_json
from nsbench.runfolder import SCHEMA_VERSION, RunFolder, is_generation

HOLD = """
import sys, time
from pathlib import Path
from nsbench.runfolder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(120)
"""


def test_paths_lie_in_the_folder_and_making_it_touches_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.generation("0") == folder.root / "gen0"
    assert folder.weights("12") == folder.root / "gen12" / "model.safetensors"
    assert folder.train_record("control") == folder.root / "control" / "train.json"
    assert folder.cell("1", "imagenet-c", "fog-3") == folder.root / "gen1" / "evals" / "imagenet-c" / "fog-3.npz"
    assert not folder.root.exists()


RECORD = {
    "kind": "models", "name": "run", "seed": 3, "argv": ["nsbench", "ü"], "order": ["0"], "models": {},
    "plans": {"0": {}}, "hardware": {},
}  # fmt: skip


def test_run_record_round_trip(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_run(RECORD)
    assert folder.read_run() == {"schema": SCHEMA_VERSION, **RECORD}


@pytest.mark.parametrize("name", ["kind", "name", "seed", "order", "models", "plans", "hardware", "files"])
def test_a_record_that_lacks_something_is_damaged_at_it(name: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_run({"status": "complete", "files": {}, **RECORD, name: None})
    with pytest.raises(DataError, match=f"is damaged at '{name}'; delete it and run the same command again"):
        folder.read_run(whole=True)
    folder.write_run({**RECORD, "order": ["0", "1"]})
    with pytest.raises(DataError, match=r"is damaged at 'plans.1'"):
        folder.read_run(whole=True)


def test_what_is_no_run_folder_of_this_schema_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(DataError, match="not a run folder"):
        folder.read_run()
    write_json(folder.run_json, {"schema": SCHEMA_VERSION + 1})
    with pytest.raises(DataError, match=f"schema {SCHEMA_VERSION + 1}"):
        folder.read_run()
    write_json(folder.run_json, {})
    with pytest.raises(DataError, match="schema None"):
        folder.read_run()
    folder.run_json.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json"):
        folder.read_run()


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder.root)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(ConfigError, match=rf"process {holder.pid} on {socket.gethostname()}"), folder.locked():
                pytest.fail("two processes hold one folder")
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
    with folder.locked():
        pass


def test_the_lock_is_free_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), folder.locked():
        _ = 1 / 0
    for _ in range(2):
        with folder.locked(), pytest.raises(ConfigError, match=f"process {os.getpid()} "), folder.locked():
            pytest.fail("the folder is held twice")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written") as caught, RunFolder(tmp_path / "file" / "run").locked():
        pytest.fail("a file holds a folder")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_generations_are_told_from_other_models() -> None:
    assert [name for name in ("0", "12", "control") if not is_generation(name)] == []
    others = ("", "-1", "1.0", "gen0", "Control", "٣", "resnet50", "0/1", " 1")
    assert [name for name in others if is_generation(name)] == []


NAMES = (
    *("resnet50.tv_in1k", "timm/resnet50.tv_in1k", "timm_resnet50.tv_in1k", "hf-hub:timm/resnet50", "hf-hub_timm/x"),
    *(
        "pypi:efficientnet-lite0",
        "package.module:function",
        "./runs/a",
        "runs/a",
        "../runs/a",
        "/runs/a",
        "a b",
        "ä",
        "ö",
    ),
    *("..", ".", "x" * 300, "x" * 301, "CON:", "a\n", "-o", "control/", "a/..", "a/../..", "\0"),
)


def test_models_of_any_name_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    paths = {name: folder.model(name) for name in NAMES}
    assert len({str(path).lower() for path in paths.values()}) == len(NAMES)
    for name, path in paths.items():
        assert path.parent == tmp_path / "models"
        assert len(path.name.encode()) <= 120
        assert set(path.name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=+-")
        assert path.name.strip(".")
        assert folder.cell(name, "imagenet", "val") == path / "evals" / "imagenet" / "val.npz"
    assert folder.model("resnet50.tv_in1k").name == "resnet50.tv_in1k"  # a plain name is its own folder
    assert folder.cell("control", "imagenet", "val") == tmp_path / "control" / "evals" / "imagenet" / "val.npz"


@pytest.mark.parametrize("name", ["../elsewhere", "", "..", "a/b", "/etc"])
def test_names_from_records_stay_inside_the_folder(name: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(DataError, match="names a"):
        folder.generation(name)
    with pytest.raises(DataError, match="names a"):
        folder.cell("0", name, "val")
    with pytest.raises(DataError, match="names a"):
        folder.cell("0", "imagenet", name)


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from nsbench.runfolder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # still there
        with RunFolder(tmp_path).locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()
