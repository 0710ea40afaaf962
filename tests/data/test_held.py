"""Decoded once: the file of pixels is the set's, and one that is not, or cannot be written, is said in one line."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import resource
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nsbench.data.folder import open_folder, read_images
from nsbench.data.held import hold
from nsbench.data.images import ImageSet
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet
from nsbench.errors import DataError
from nsbench.track import Progress

VIEW = View(size=20, resize=24)
UNSEEN = "a/0001.png"
"""An image that the fingerprint of 300 does not look at: its content may change and the set's file is still found."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """300 noisy images of two classes, more than one slice."""
    rng = np.random.default_rng(0)
    for k in range(300):
        path = tmp_path / "val" / "ab"[k // 150] / f"{k:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (26, 30, 3), dtype=np.uint8)).save(path)
    return tmp_path / "val"


def streamed(root: Path, **options: Any) -> StreamedSet:
    return StreamedSet(listing=open_folder(root, name="noise"), view=VIEW, **options)


def only_file(cache: Path, suffix: str) -> Path:
    (path,) = cache.glob(f"*{suffix}")
    return path


def test_the_file_holds_the_images_and_is_read_again(root: Path, tmp_path: Path) -> None:
    images, cache = streamed(root, subset=(0, 1), note="a remark"), tmp_path / "cache"
    memory, _ = read_images(open_folder(root), resize=24, crop=20)
    for _ in range(2):
        held = hold(images, cache)
        assert isinstance(held, ImageSet)
        np.testing.assert_array_equal(held.pixels, memory.pixels)
        assert held.ids.tolist() == memory.ids.tolist()
        assert held.labels.tolist() == memory.labels.tolist()
        assert (held.name, held.classes, held.size) == ("noise", ("a", "b"), 20)
        assert (held.preprocessing, held.subset) == (images.preprocessing, (0, 1))
        assert held.fingerprint == images.fingerprint
        assert held.unreadable == ()
        shutil.rmtree(root, ignore_errors=True)  # nothing is decoded twice
    np.testing.assert_array_equal(np.load(only_file(cache, ".npy")), memory.pixels)
    assert stat.S_IMODE(only_file(cache, ".npy").stat().st_mode) == 0o644  # the cache may be shared
    assert len(list(cache.iterdir())) == 2


def test_another_view_is_another_file(root: Path, tmp_path: Path) -> None:
    hold(streamed(root), tmp_path)
    wide = dataclasses.replace(streamed(root), view=View(size=22, resize=24))
    assert hold(wide, tmp_path).size == 22
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_unreadable_images_are_left_out_of_the_file_and_named(root: Path, tmp_path: Path) -> None:
    memory, _ = read_images(open_folder(root), resize=24, crop=20)
    for name in (UNSEEN, "b/0299.png"):
        (root / name).write_bytes(b"")
    images = streamed(root, on_bad_image="skip")
    for _ in range(2):
        held = hold(images, tmp_path / "cache")
        assert held.unreadable == ((UNSEEN, "an empty file"), ("b/0299.png", "an empty file"))
        good = [row for row in range(300) if row not in (1, 299)]
        assert held.ids.tolist() == memory.ids[good].tolist()
        assert held.labels.tolist() == memory.labels[good].tolist()
        np.testing.assert_array_equal(held.pixels, memory.pixels[good])
        assert held.fingerprint != images.fingerprint  # corrupted pixels of fewer images are another file
    with pytest.raises(DataError, match=r"a/0001\.png cannot be read \(an empty file\).*--on-bad-image skip"):
        hold(streamed(root), tmp_path / "cache")


def test_a_mended_image_is_read_although_the_file_was_made_without_it(root: Path, tmp_path: Path) -> None:
    content = (root / UNSEEN).read_bytes()
    whole = hold(streamed(root), tmp_path / "whole")
    (root / UNSEEN).write_bytes(b"")
    images = streamed(root, on_bad_image="skip")
    assert images.fingerprint == whole.fingerprint
    assert len(hold(images, tmp_path / "cache")) == 299
    (root / UNSEEN).write_bytes(content)
    for policy in ("error", "skip"):
        held = hold(streamed(root, on_bad_image=policy), tmp_path / "cache")
        np.testing.assert_array_equal(held.pixels, whole.pixels)
        assert held.unreadable == ()


def test_an_unreadable_image_leaves_no_file_where_it_is_an_error(root: Path, tmp_path: Path) -> None:
    (root / UNSEEN).write_bytes(b"")
    with pytest.raises(DataError, match=r"0001\.png cannot be read"):
        hold(streamed(root), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("index", ["", "{", "[]", '{"unreadable": [[1]]}', '{"unreadable": 3}', '{"other": []}'])
def test_a_damaged_index_is_made_anew(index: str, root: Path, tmp_path: Path) -> None:
    first = hold(streamed(root), tmp_path)
    only_file(tmp_path, ".json").write_text(index)
    np.testing.assert_array_equal(hold(streamed(root), tmp_path).pixels, first.pixels)
    assert json.loads(only_file(tmp_path, ".json").read_text()) == {"unreadable": []}


def test_missing_pixels_are_made_anew(root: Path, tmp_path: Path) -> None:
    first = np.array(hold(streamed(root), tmp_path).pixels)
    only_file(tmp_path, ".npy").unlink()
    np.testing.assert_array_equal(hold(streamed(root), tmp_path).pixels, first)


def test_pixels_that_are_not_the_sets_are_refused(root: Path, tmp_path: Path) -> None:
    hold(streamed(root), tmp_path)
    path = only_file(tmp_path, ".npy")
    whole = path.read_bytes()
    for content in (
        whole[:-1],
        whole[:50],
        b"",
        b"no array at all, but long enough to be one",
        b"PK\x05\x06" + bytes(18),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"pixels-\w+\.npy .*delete it and its \.json") as caught:
            hold(streamed(root), tmp_path)
        assert "\n" not in str(caught.value)
    for foreign in (np.zeros((300, 20, 20, 3)), np.zeros((299, 20, 20, 3), np.uint8), np.zeros(4, np.uint8)):
        np.save(path, foreign)
        with pytest.raises(DataError, match="holds other pixels than its name says"):
            hold(streamed(root), tmp_path)


def test_a_cache_that_cannot_be_written_is_one_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written .*0\.0 GiB are needed.*--set data\.cache_dir") as caught:
        hold(streamed(root), tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    """The kernel refuses what is beyond 100 kB, as a full disk does; a mapped file would end the process instead."""
    images = streamed(root)
    assert images.fingerprint
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=os.strerror(errno.EFBIG)):
            hold(images, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress_counts_the_images(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold(streamed(root), tmp_path, Progress("bar"))
    assert "read noise" in capsys.readouterr().err
