"""A cached array is the made array, and an unwritable cache is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

import nsbench.corruptions
from nsbench.corruptions import corrupt
from nsbench.data.images import ImageSet
from nsbench.errors import DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.evals.cache import cached_array
from tests.evals.conftest import CONFIG


def test_the_second_call_reads_the_file(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "deep" / "a.npy"
    np.testing.assert_array_equal(cached_array(path, lambda: array), array)
    again = cached_array(path, lambda: pytest.fail("made twice"))
    np.testing.assert_array_equal(again, array)
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(np.load(path), array)


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cache .*a\.npy cannot be written .*data\.cache_dir"):
        cached_array(tmp_path / "file" / "a.npy", lambda: np.zeros(3))


def test_corrupted_pixels_are_made_once_and_again_when_damaged(
    models: dict[str, nn.Module], sets: dict[str, ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(images: Tensor, name: str, *args: int, **kwargs: Any) -> Tensor:
        made.append(name)
        return corrupt(images, name, *args, **kwargs)

    monkeypatch.setattr(nsbench.corruptions, "corrupt", counted)

    def answers(generation: str) -> dict[str, np.ndarray]:
        context = EvalContext(model=models[generation], device="cpu", config=CONFIG, sets=sets, cache=tmp_path)
        return EVALS["imagenet-c"].predict(context, "contrast-2")

    first = answers("0")
    answers("1")
    assert made == ["contrast"]
    (path,) = tmp_path.rglob("*.npy")
    assert path.parent.name == sets["val"].fingerprint
    whole = path.read_bytes()
    assert np.load(path).shape == (60, 32, 32, 3)
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    for count, damaged in enumerate((whole[:-1], whole[:5000], b"", bytes(flipped)), start=2):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(answers("0")["confidence"], first["confidence"])
        assert made == ["contrast"] * count
        assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [path.name]
