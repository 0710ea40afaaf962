"""SVHN: the official demo's split, MATLAB's layout, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from nsbench.config import DataConfig
from nsbench.data.svhn import NUM_DEV, PUBLISHED, read_svhn, train_order
from nsbench.data.tasks import load_task
from nsbench.errors import DataError

COUNTS = {"train": 4100, "extra": 60, "test": 30}


def write_part(folder: Path, part: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One file as published; returns X and y."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    labels = rng.integers(1, 11, (count, 1)).astype(np.uint8)
    savemat(folder / f"{part}_32x32.mat", {"X": pixels, "y": labels})
    return pixels, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files; the last of `extra` shows what the first of `test` shows."""
    root = tmp_path_factory.mktemp("svhn")
    stored = {part: write_part(root, part, count, seed) for seed, (part, count) in enumerate(COUNTS.items())}
    pixels, labels = stored["extra"]
    pixels[..., -1] = stored["test"][0][..., 0]
    savemat(root / "extra_32x32.mat", {"X": pixels, "y": labels}, do_compression=True)
    return root


def test_the_split_is_the_demos() -> None:
    """proc_svhn.py: np.random.seed(0), np.random.shuffle(np.arange(73257)); the first 4,000 are dev."""
    order = train_order(PUBLISHED["train"])
    np.random.seed(0)
    expected = np.arange(73_257)
    np.random.shuffle(expected)
    np.testing.assert_array_equal(order, expected)
    assert order[:4].tolist() == [6325, 30413, 47620, 40209]
    assert order[NUM_DEV : NUM_DEV + 4].tolist() == [62327, 38608, 39738, 43221]
    assert len(order[NUM_DEV:]) == 69_257


def test_images_and_labels_are_matlabs(folder: Path) -> None:
    parts = read_svhn(folder)
    pixels, labels = write_part(folder, "train", COUNTS["train"], 0)  # the same again
    order = train_order(COUNTS["train"])
    for images, rows in ((parts.dev, order[:4000]), (parts.labelled, order[4000:])):
        assert images.ids.tolist() == [f"train/{row:06}" for row in rows]
        for place in (0, len(rows) - 1):
            np.testing.assert_array_equal(images.pixels[place], pixels[:, :, :, rows[place]])
        assert images.labels.tolist() == [int(labels[row, 0]) % 10 for row in rows]  # 10 is the digit 0
    assert (len(parts.extra), len(parts.test), parts.test.pixels.shape) == (60, 30, (30, 32, 32, 3))
    assert parts.dev.pixels.flags.c_contiguous
    assert parts.notes == tuple(
        f"{folder}/{part}_32x32.mat holds {COUNTS[part]:,} images, not the published {PUBLISHED[part]:,}"
        for part in COUNTS
    )


def test_the_task_has_its_parts(folder: Path) -> None:
    task = load_task(DataConfig(dataset="svhn", dir=str(folder), shard_images=25), 0)
    assert (task.name, task.title, task.image_px, task.held_out) == ("svhn", "SVHN", 32, True)
    assert task.classes == tuple("0123456789")
    assert (task.labelled.sizes.tolist(), task.unlabelled.sizes.tolist()) == ([100], [25, 25, 9])
    assert "svhn-extra: 1 of 60 images are left out, for they are svhn-test's too" in task.notes
    assert task.evaluation["val"].name == "svhn-test"
    assert task.truth is not None
    parts = read_svhn(folder)
    known = dict(zip(parts.extra.ids.tolist(), parts.extra.labels.tolist(), strict=True))
    shards = [task.unlabelled.shard(index) for index in range(3)]
    assert [key for shard in shards for key in shard.ids] == task.truth.ids.tolist()
    assert {label for shard in shards for label in shard.labels.tolist()} == {-1}
    assert [known[key] for key in task.truth.ids.tolist()] == task.truth.labels.tolist()
    assert set(task.truth.sources.tolist()) == {"svhn-extra"}
    assert set(known) - set(task.truth.ids.tolist()) == {"extra/000059"}


def test_dev_images_are_for_choices(folder: Path) -> None:
    task = load_task(DataConfig(dataset="svhn", dir=str(folder), eval_split="dev", labelled_per_class=3), 0)
    assert (task.held_out, task.evaluation["val"].name, len(task.evaluation["val"])) == (False, "svhn-dev", 4000)
    assert np.bincount(task.labelled.shard(0).labels).tolist() == [3] * 10
    assert task.unlabelled.sizes.tolist() == [60]


def broken(folder: Path, words: str, **arrays: np.ndarray) -> None:
    savemat(folder / "test_32x32.mat", arrays)
    with pytest.raises(DataError, match=words) as raised:
        read_svhn(folder)
    assert "\n" not in str(raised.value)
    assert "test_32x32.mat" in str(raised.value)


def test_files_that_are_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_32x32.mat does not exist; download it from http://ufldl"):
        read_svhn(tmp_path)
    for part in ("train", "extra"):
        write_part(tmp_path, part, 20, 0)
    pixels, labels = write_part(tmp_path, "test", 20, 0)
    with pytest.raises(DataError, match=r"train_32x32.mat holds 20 images, of which 4,000 are for choices"):
        read_svhn(tmp_path)
    for wrong in (labels * 0, labels * 0 + 11, labels[:5]):
        broken(tmp_path, "is not SVHN's", X=pixels, y=wrong)
    broken(tmp_path, "is not SVHN's", X=pixels.astype(np.float32), y=labels)
    broken(tmp_path, "is not SVHN's", X=pixels.transpose(3, 0, 1, 2), y=labels)
    broken(tmp_path, "cannot be read", X=pixels)
    path = tmp_path / "test_32x32.mat"
    savemat(path, {"X": pixels, "y": labels})
    for content in (path.read_bytes()[:1000], b"<html>" * 50, b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"test_32x32.mat cannot be read \([^\n]*\); download it again$"):
            read_svhn(tmp_path)
