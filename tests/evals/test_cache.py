"""A cached array is the made array, and an unwritable cache is said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nsbench.errors import DataError
from nsbench.evals.cache import cached_array


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
