"""Whole files or none, and fingerprints and seeds that never move."""

from __future__ import annotations

import json
import pickle
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsbench.errors import DataError
from nsbench.files import (
    NpzArrays,
    derive_seed,
    file_fingerprint,
    fingerprint,
    read_json,
    read_npz,
    write_atomic,
    write_json,
    write_npz,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_files_are_whole_readable_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "first")
    write_text(path, "zwölf\n")
    assert path.read_bytes() == "zwölf\n".encode()
    assert names(path.parent) == ["file.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_write_that_fails_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel refuses the second page, as a full disk does."""
    path = tmp_path / "weights"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomic(path, b"new" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["weights"]


def test_what_cannot_be_written_as_json_or_npz_leaves_the_old_file(tmp_path: Path) -> None:
    record, arrays = tmp_path / "a.json", tmp_path / "a.npz"
    write_json(record, {"b": 1, "a": "é"})
    write_npz(arrays, {"x": np.arange(3)})
    with pytest.raises(TypeError):
        write_json(record, {"x": object()})
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        write_npz(arrays, {"x": np.array([object()])})
    assert record.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    np.testing.assert_array_equal(read_npz(arrays)["x"], np.arange(3))
    assert names(tmp_path) == ["a.json", "a.npz"]


def test_a_target_that_cannot_be_replaced_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == ["taken"]


def test_read_json_gives_back_or_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1, {"x": None, "y": 0.1}])
    assert read_json(path) == [1, {"x": None, "y": 0.1}]
    for content in (b"", b'{"a": 1', b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.json"):
            read_json(path)
    with pytest.raises(DataError, match=r"missing\.json"):
        read_json(tmp_path / "missing.json")
    with pytest.raises(DataError):
        read_json(tmp_path)


def test_npz_round_trip(tmp_path: Path) -> None:
    arrays = {
        "ids": np.array(["a", "", "ü" * 9]),
        "half": np.array([[0.1, np.nan], [np.inf, -0.0]], np.float16),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), np.int64),
    }
    write_npz(tmp_path / "a.npz", arrays)
    back = read_npz(tmp_path / "a.npz")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()
        assert back[name].shape == array.shape


def test_read_npz_refuses_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, {"x": np.random.default_rng(0).random(500)})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x=np.array([{"a": 1}], dtype=object))
    for content in (
        b"",
        whole[:10],
        whole[: len(whole) // 2],
        whole[:-1],
        bytes(damaged),
        pickled.read_bytes(),
        pickle.dumps([1]),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz"):
            read_npz(path)
    with pytest.raises(DataError):
        read_npz(tmp_path / "missing.npz")


def test_arrays_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"ids": np.array(["a", "ü"]), "x": np.arange(6.0).reshape(2, 3), "n": np.array(3)}
    write_npz(path, arrays)
    lazy = NpzArrays(path)
    assert list(lazy) == list(arrays)
    assert len(lazy) == 3
    assert "x" in lazy
    assert "y" not in lazy
    assert lazy.get("y") is None
    with pytest.raises(KeyError, match="y"):
        lazy["y"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(lazy[name], array)
        assert lazy[name].dtype == array.dtype
    write_npz(path, arrays | {"x": np.zeros(2)})
    np.testing.assert_array_equal(lazy["x"], np.zeros(2))  # nothing is kept: a run has gigabytes of records


def test_arrays_of_what_is_no_archive_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, {"x": np.random.default_rng(0).random(500)})
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, x=np.array([{"a": 1}], dtype=object))
    for content in (b"", whole[:10], whole[:-1], bytes(damaged), pickled.read_bytes(), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz cannot be read .*; delete it and run again"):
            NpzArrays(path)["x"]
    missing = NpzArrays(tmp_path / "missing.npz")  # making it touches nothing
    with pytest.raises(DataError, match=r"missing\.npz"):
        missing.get("x")
    with pytest.raises(DataError, match=r"missing\.npz"):
        len(missing)


def test_fingerprints_are_sha256_over_a_fixed_text() -> None:
    """Computed with hashlib alone; a change would make every finished run start anew."""
    assert fingerprint({"a": 1}) == "e357a2b4901cf917"
    assert fingerprint(np.array([[1, 2], [3, 4]], "<i2")) == "53d6854ee7e68bf6"
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint((1, 2)) == fingerprint([1, 2])


def test_fingerprints_see_dtype_shape_order_and_parting() -> None:
    array = np.arange(6, dtype=np.int32)
    variants = [
        (array,),
        (array.astype(np.int64),),
        (array.astype(np.uint32),),
        (array.astype(">i4"),),
        (array.reshape(2, 3),),
        (array.reshape(3, 2),),
        (array[::-1],),
        (array[:3], array[3:]),
        (array[:2], array[2:]),
        (array, array),
        (array, ""),
        ("", array),
        (),
        ([0, 1, 2, 3, 4, 5],),
        ("ab", "c"),
        ("a", "bc"),
        (["ab", "c"],),
        ("1",),
        (1,),
        (True,),
        (None,),
        ("None",),
    ]
    assert len({fingerprint(*variant) for variant in variants}) == len(variants)


def test_memory_layout_does_not_count() -> None:
    array = np.arange(12).reshape(3, 4)
    assert fingerprint(np.asfortranarray(array)) == fingerprint(array)
    assert fingerprint(np.arange(24).reshape(3, 8)[:, ::2]) == fingerprint(np.arange(0, 24, 2).reshape(3, 4))


def test_file_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_fingerprint(path) == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1
    path.write_bytes(b"abd")
    assert file_fingerprint(path) != "ba7816bf8f01cfea"


def test_derived_seeds_never_move() -> None:
    """Computed with hashlib alone; a change would change every number of every run."""
    assert derive_seed(0, "init") == 8015858837490982454
    assert derive_seed(7, "train", "control") == 6978369609723817987
    assert derive_seed(3, "augment", 1, 499) == 3345508839519026667


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10**6) | st.text(max_size=5), max_size=4))
def test_derived_seeds_are_63_bit_and_depend_on_every_part(parts: list[int | str]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert derive_seed(*parts, 0) != seed
    if parts and parts[::-1] != parts:
        assert derive_seed(*parts[::-1]) != seed
    assert json.loads(json.dumps(seed)) == seed
