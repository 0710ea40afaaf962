"""Real gloo processes under torchrun: the numbers of one, to the bit, and no rank that waits for a failed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsbench.distributed import Ranks, connected
from nsbench.errors import ConfigError, DataError
from nsbench.files import read_npz
from tests.ranks import work, write_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What a single process gives; the folder of the files lies beside its own."""
    root = tmp_path_factory.mktemp("ranks")
    write_files(root / "files")
    (root / "world1").mkdir()
    return root / "world1", work(Ranks(), root / "world1")


def records(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = {str(path.relative_to(folder)): read_npz(path) for path in sorted(folder.rglob("gen0/**/*.npz"))}
    assert all(float(arrays.pop("seconds")) >= 0 for arrays in found.values())
    return found


def test_a_single_process_is_rank_0_of_1(alone: tuple[Path, dict[str, Any]]) -> None:
    folder, found = alone
    assert found["pieces"] == [[k, f"{k} of 0"] for k in range(7)]
    assert found["measured"] == {"new": 9, "failed": (), "again": 0}
    assert len(records(folder)) == 9
    assert found["errors"][0].startswith("DataError: late has label 77, but the model gives 10 classes")
    assert found["errors"][1:] == ["DataError: the last rank cannot read the cache"] * 2
    complement = records(folder)["gen0/evals/imagenet-a/complement.npz"]
    assert complement["unreadable"].tolist() == ["a/04.png", "b/27.png"]
    assert len(complement["ids"]) == 27


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_give_the_records_of_one_process_to_the_bit(world: int, alone: tuple[Path, dict[str, Any]]) -> None:
    lone_folder, lone = alone
    folder = lone_folder.parent / f"world{world}"
    folder.mkdir()
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", "-m", "tests.ranks"]
    done = subprocess.run(
        [sys.executable, *command, str(folder)], cwd=ROOT, timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]
    assert all(one == told[0] for one in told)
    assert told[0]["world"] == world
    assert told[0]["pieces"] == [[k, f"{k} of {k % world}"] for k in range(7)]
    assert told[0]["first"] == "said by 0"
    assert told[0]["measured"] == {"new": 9, "failed": [], "again": 0}
    assert told[0]["errors"] == [*lone["errors"][:2], "nothing"]
    assert told[0]["after"] == [False] * (world - 1) + [True]
    one, several = records(lone_folder), records(folder)
    assert one.keys() == several.keys()
    for name, arrays in one.items():
        assert arrays.keys() == several[name].keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, several[name][key], err_msg=f"{name} {key}")


def test_every_item_belongs_to_one_rank() -> None:
    for world in (1, 2, 3, 8):
        parts = [Ranks(rank=rank, world=world).own(range(11)) for rank in range(world)]
        assert sorted(item for part in parts for item in part) == list(range(11))
        assert list(parts[0]) == list(range(0, 11, world))


def test_without_torchrun_there_is_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with connected() as ranks:
        assert (ranks.rank, ranks.world, ranks.is_main) == (0, 1, True)
        assert ranks.joined(lambda: {3: "c", 1: "a"}) == {1: "a", 3: "c"}
        assert list(ranks.joined(lambda: {3: "c", 1: "a"})) == [1, 3]
        with pytest.raises(DataError, match="as it is"):
            ranks.first(lambda: (_ for _ in ()).throw(DataError("as it is")))


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2", "RANK": "0"}, {"WORLD_SIZE": "2"}])
def test_ranks_that_cannot_be_reached_are_one_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    with pytest.raises(ConfigError, match="start all of them with torchrun") as caught, connected():
        pytest.fail("connected to nobody")
    assert "\n" not in str(caught.value)
