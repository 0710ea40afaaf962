"""Images in batches are those of the same files in memory, in order, whatever the slices; what is none is named."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nsbench.data.folder import open_folder, read_images
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet, ahead
from nsbench.errors import DataError
from tests.shared import SAMPLES, absent

VIEW = View(size=48, resize=56, interpolation="bicubic")


def slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def small_files(root: Path, count: int = 12) -> Path:
    """Files of 60 x 50 px in three classes, each of a colour of its own."""
    for k in range(count):
        path = root / "abc"[k % 3] / f"{k:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 50), (k, 2 * k, 255 - k)).save(path)
    return root


def streamed(root: Path, view: View = VIEW, **options: Any) -> StreamedSet:
    return StreamedSet(listing=open_folder(root, name="small"), view=view, **options)


@pytest.mark.parametrize("size", [1, 7, 16, 64])
def test_real_photographs_come_as_read_images_reads_them(size: int) -> None:
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    listing = open_folder(SAMPLES).take(range(0, 1000, 32))
    images = StreamedSet(listing=listing, view=VIEW, workers=2)
    memory, _ = read_images(listing, resize=56, crop=48, interpolation="bicubic")
    parts = list(images.batches(slices(len(images), size)))
    assert [rows for rows, _, _ in parts] == slices(32, size)
    assert all(bad == {} for _, _, bad in parts)
    joined = np.concatenate([pixels for _, pixels, _ in parts])
    assert joined.dtype == np.uint8
    np.testing.assert_array_equal(joined, memory.pixels)
    assert images.ids.tolist() == memory.ids.tolist()
    assert images.labels.tolist() == memory.labels.tolist()
    assert (images.size, images.classes, len(images)) == (48, memory.classes, 32)


def test_a_rank_asks_for_some_of_the_batches(tmp_path: Path) -> None:
    images = streamed(small_files(tmp_path))
    every = {rows.start: pixels for rows, pixels, _ in images.batches(slices(12, 5))}
    for rank in range(3):
        own = {rows.start: pixels for rows, pixels, _ in images.batches(slices(12, 5)[rank::3])}
        assert list(own) == [5 * rank]
        np.testing.assert_array_equal(own[5 * rank], every[5 * rank])
    assert list(images.batches([])) == []
    ((rows, pixels, bad),) = images.batches([slice(0, 0)])
    assert (rows, pixels.shape, bad) == (slice(0, 0), (0, 48, 48, 3), {})


def test_protocols_say_how_the_pixels_come_about(tmp_path: Path) -> None:
    images = streamed(small_files(tmp_path), note="not held out")
    assert images.preprocessing == "shorter side resized to 56 (bicubic), middle 48 cropped; not held out"
    assert streamed(tmp_path).preprocessing == "shorter side resized to 56 (bicubic), middle 48 cropped"


def test_the_fingerprint_is_of_files_view_and_subset(tmp_path: Path) -> None:
    images = streamed(small_files(tmp_path))
    others = [
        streamed(tmp_path, View(size=48, resize=57, interpolation="bicubic")),
        streamed(tmp_path, View(size=48, resize=56)),
        streamed(tmp_path, View(size=48, resize=None)),
        streamed(tmp_path, dataclasses.replace(VIEW, border=1)),
        streamed(tmp_path, subset=(0, 1)),
        dataclasses.replace(images, listing=images.listing.take(range(11))),
    ]
    prints = {images.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 7
    same = streamed(tmp_path, on_bad_image="skip", workers=1, note="a remark")
    assert same.fingerprint == images.fingerprint
    Image.new("RGB", (60, 50), (1, 1, 1)).save(tmp_path / "b" / "004.png")
    assert streamed(tmp_path).fingerprint not in prints


def damage(root: Path) -> dict[str, str]:
    """By id, what is said of it."""
    cut, empty, text = (root / name for name in ("a/003.png", "b/004.png", "c/008.png"))
    cut.write_bytes(cut.read_bytes()[:70])
    empty.write_bytes(b"")
    text.write_text("<html>Not found</html>")
    return {"a/003.png": "", "b/004.png": "an empty file", "c/008.png": "no image of a known format"}


def test_what_is_no_image_is_an_error_that_names_the_file_and_the_way_on(tmp_path: Path) -> None:
    damage(small_files(tmp_path))
    with pytest.raises(DataError, match=r"a/003\.png cannot be read \(.+\); copy it again, .* --on-bad-image skip$"):
        list(streamed(tmp_path).batches(slices(12, 5)))


@pytest.mark.parametrize("size", [1, 5, 12])
def test_skipped_images_are_black_and_named_by_their_rows(tmp_path: Path, size: int) -> None:
    whole = np.concatenate([pixels for _, pixels, _ in streamed(small_files(tmp_path)).batches(slices(12, size))])
    said = damage(tmp_path)
    images = streamed(tmp_path, on_bad_image="skip")
    pixels, reasons = np.zeros_like(whole), {}
    for rows, part, bad in images.batches(slices(12, size)):
        pixels[rows] = part
        assert all(rows.start <= row < rows.stop for row in bad)
        reasons |= bad
    assert {str(images.ids[row]) for row in reasons} == set(said)
    assert all(said[str(images.ids[row])] in reason for row, reason in reasons.items())
    for row in range(12):
        np.testing.assert_array_equal(pixels[row], 0 if row in reasons else whole[row])


def test_a_file_that_is_gone_and_one_that_is_too_small_are_bad_images_too(tmp_path: Path) -> None:
    images = streamed(small_files(tmp_path), View(size=48, resize=None), on_bad_image="skip")
    assert images.fingerprint
    (tmp_path / "a" / "000.png").unlink()
    Image.new("RGB", (60, 40)).save(tmp_path / "c" / "011.png")
    ((_, _, bad),) = images.batches([slice(0, 12)])
    assert bad == {0: "No such file or directory", 11: "60 x 40 is smaller than 48 px"}


def test_only_a_few_batches_are_decoded_ahead_and_none_after_the_caller_stops() -> None:
    """A hundred batches of ten: what is not asked for is never begun."""
    begun: list[int] = []
    lock = threading.Lock()

    def show(row: int) -> int:
        with lock:
            begun.append(row)
        return row

    parts: Iterator[tuple[slice, list[int]]] = ahead(show, slices(1000, 10), 1000, 2)
    assert next(parts) == (slice(0, 10), list(range(10)))
    parts.close()  # type: ignore[attr-defined]
    assert max(begun) < 40


def test_an_error_of_a_thread_is_the_callers() -> None:
    def show(row: int) -> int:
        if row == 7:
            raise DataError("the shard is cut off")
        return row

    with pytest.raises(DataError, match="the shard is cut off"):
        list(ahead(show, slices(12, 4), 12, 2))
