"""Parquet and Arrow files of images: random access, stable ids, class names, flat memory, and what is no such file."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nsbench.data import shards
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet
from nsbench.data.suites import open_val
from nsbench.data.tables import open_table, table_files
from nsbench.errors import DataError
from tests.data.layouts import hub_schema_metadata, photograph, write
from tests.shared import SHARED, absent

CIFAR = SHARED / "cifar10"


def content(number: int) -> bytes:
    """A small PNG file whose pixels say its number."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def table(count: int, *, paths: list[str | None] | None = None, names: list[str] | None = None) -> pa.Table:
    stored = paths or [f"{number:05}.png" for number in range(count)]
    images = [{"bytes": content(number), "path": path} for number, path in enumerate(stored)]
    made = pa.table({"image": images, "label": pa.array([n % 3 for n in range(count)], pa.int64())})
    return made.replace_schema_metadata(hub_schema_metadata(names)) if names else made


def shown(listing, row: int) -> int:
    pixels = View(size=8, resize=None).show(listing.stored(row))
    return int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1])


def test_real_parquet_files_are_read() -> None:
    """CIFAR-10 as on the hub; pandas and Pillow by themselves say what is in it."""
    if not CIFAR.is_dir():
        absent(f"CIFAR-10 is not at {CIFAR} (set NSBENCH_SHARED_DATA)")
    import pandas as pd

    frame = pd.read_parquet(CIFAR / "test.parquet")
    listing = open_val(CIFAR)  # test.parquet and train.parquet: the test split
    assert len(listing) == len(frame) == 10_000
    by_path = {item["path"]: (item["bytes"], label) for item, label in zip(frame["image"], frame["label"], strict=True)}
    assert set(by_path) == set(listing.ids)
    assert list(listing.ids) == sorted(listing.ids)
    for row in (0, 1, 4999, 5000, 7777, 9999):
        stored, label = by_path[listing.ids[row]]
        assert (listing.stored(row).getvalue(), listing.labels[row]) == (stored, label)
    assert np.bincount(listing.labels).tolist() == [1000] * 10
    images = StreamedSet(listing=listing.take([3, 9000]), view=View(size=32, resize=None))
    [(_, pixels, bad)] = images.batches([slice(0, 2)])
    expected = np.asarray(Image.open(io.BytesIO(by_path[listing.ids[9000]][0])).convert("RGB"))
    np.testing.assert_array_equal(pixels[1], expected)
    assert bad == {}


@pytest.mark.parametrize("row_group_size", [1, 7, 1000])
def test_every_row_is_itself_in_any_order_and_in_threads(row_group_size: int, tmp_path: Path) -> None:
    pq.write_table(table(40)[:25], tmp_path / "validation-00000-of-00002.parquet", row_group_size=row_group_size)
    pq.write_table(table(40)[25:], tmp_path / "validation-00001-of-00002.parquet", row_group_size=row_group_size)
    listing = open_table(table_files(tmp_path), "mine")
    assert listing.ids == tuple(f"{n:05}.png" for n in range(40))
    rows = np.random.default_rng(0).integers(0, 40, 300).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: shown(listing, row), rows)) == rows
    taken = listing.take([39, 2])
    assert [shown(taken, 0), shown(taken, 1)] == [39, 2]
    assert taken.where(0) == f"{tmp_path / 'validation-00001-of-00002.parquet'}, row 14"
    assert listing.limited(3).ids == ("00000.png", "00001.png", "00002.png")


def test_only_a_few_row_groups_are_in_memory(tmp_path: Path) -> None:
    blob = np.random.default_rng(0).bytes(1 << 20)
    images = [{"bytes": blob, "path": f"{n}.png"} for n in range(64)]
    pq.write_table(pa.table({"image": images, "label": [0] * 64}), tmp_path / "a.parquet", row_group_size=2)
    listing = open_table([tmp_path / "a.parquet"], "large")
    before = pa.total_allocated_bytes()
    for row in range(64):
        assert len(listing.stored(row).getvalue()) == 1 << 20
        assert pa.total_allocated_bytes() - before < (shards._CACHED_GROUPS + 2) * (2 << 20)


def test_the_bytes_alone_are_enough_and_rows_are_ids_where_there_are_no_paths(tmp_path: Path) -> None:
    made = pa.table({"image": [content(n) for n in range(4)], "label": pa.array([1, 0, 1, 0], pa.int8())})
    pq.write_table(made, tmp_path / "val.parquet")
    listing = open_val(tmp_path / "val.parquet")
    assert listing.ids == ("val/00000000", "val/00000001", "val/00000002", "val/00000003")
    assert listing.classes == ("0", "1")
    assert [shown(listing, row) for row in range(4)] == [0, 1, 2, 3]
    for paths in ([None] * 4, ["a", "b", "b", "c"]):
        pq.write_table(table(4, paths=paths), tmp_path / "val.parquet")
        assert open_val(tmp_path / "val.parquet").ids == listing.ids


def test_class_names_come_from_the_metadata_of_datasets(tmp_path: Path) -> None:
    pq.write_table(table(6, names=["ant", "bee", "cat", "dog"]), tmp_path / "test.parquet")
    assert open_val(tmp_path).classes == ("ant", "bee", "cat", "dog")
    plain = table(6).replace_schema_metadata({b"huggingface": b"{"})
    pq.write_table(plain, tmp_path / "test.parquet")
    assert open_val(tmp_path).classes == ("0", "1", "2")


def test_a_thousand_other_classes_are_not_taken_for_imagenets(tmp_path: Path) -> None:
    names = [f"class {n}" for n in range(1000)]
    pq.write_table(table(6, names=names), tmp_path / "a.parquet")
    assert open_val(tmp_path).classes == tuple(names)
    # one path contradicts its label: the classes are in another order
    paths: list[str | None] = ["ILSVRC2012_val_00000293_n01440764.JPEG", "ILSVRC2012_val_00000002_n01440764.JPEG"]
    pq.write_table(table(2, paths=paths, names=names), tmp_path / "a.parquet")
    assert open_val(tmp_path).classes == tuple(names)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["train-0.parquet", "validation-0.parquet", "test-0.parquet"], ["validation-0.parquet"]),
        (["train.parquet", "test.parquet"], ["test.parquet"]),
        (["0000.parquet", "0001.parquet"], ["0000.parquet", "0001.parquet"]),
        (["shard_1.parquet", "shard_2.parquet"], ["shard_1.parquet", "shard_2.parquet"]),
    ],
)
def test_one_split_is_taken(files: list[str], chosen: list[str], tmp_path: Path) -> None:
    for file in files:
        write(tmp_path / "data" / file, b"x")
    assert [path.name for path in table_files(tmp_path)] == chosen


def test_several_splits_of_which_none_is_for_testing_are_refused(tmp_path: Path) -> None:
    for file in ("train-0.parquet", "extra-0.parquet"):
        write(tmp_path / file, b"x")
    with pytest.raises(DataError, match="holds the splits extra, train; name the file of one"):
        table_files(tmp_path)


def test_a_broken_row_is_a_bad_image_that_is_counted(tmp_path: Path) -> None:
    images = [{"bytes": b, "path": f"{n}.png"} for n, b in enumerate([content(0), b"<html>", b"", None, content(4)])]
    pq.write_table(pa.table({"image": images, "label": [0, 0, 1, 1, 1]}), tmp_path / "a.parquet")
    listing = open_val(tmp_path)
    view = View(size=8, resize=None)
    [(_, pixels, bad)] = StreamedSet(listing=listing, view=view, on_bad_image="skip").batches([slice(0, 5)])
    assert bad == {1: "no image of a known format", 2: "an empty file", 3: "an empty file"}
    assert pixels[4].any()
    with pytest.raises(DataError, match=r"a.parquet, row 1 cannot be read \(no image of a known format\)"):
        list(StreamedSet(listing=listing, view=view).batches([slice(0, 5)]))


def save(made: pa.Table):
    return lambda path: pq.write_table(made, path)


def cut(path: Path) -> None:
    pq.write_table(table(50), path)
    path.write_bytes(path.read_bytes()[:-100])


PNG = [content(0), content(1)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"PAR1 no"), "cannot be read"),
        (cut, "cannot be read"),
        (save(pa.table({"picture": PNG, "label": [0, 1]})), "needs the columns image and label; it has picture, label"),
        (save(pa.table({"image": PNG})), "needs the columns image and label; it has image"),
        (save(pa.table({"image": PNG, "label": ["cat", "dog"]})), "column label holds string, not class numbers"),
        (save(pa.table({"image": ["a.png", "b.png"], "label": [0, 1]})), "column image holds string, not the bytes"),
        (save(pa.table({"image": [{"path": "a"}, {"path": "b"}], "label": [0, 1]})), "not the bytes of image files"),
        (save(pa.table({"image": PNG, "label": [0, None]})), "has 1 rows without a label"),
        (save(pa.table({"image": PNG, "label": [-1, -1]})), "labels of -1: this split was published without them"),
        (save(pa.table({"image": PNG, "label": [0, 1]})[:0]), "holds no rows"),
        (save(table(6, names=["ant", "bee"])), "has a label 2, but names 2 classes"),
    ],
)
def test_tables_that_are_none_are_one_line(make, words: str, tmp_path: Path) -> None:
    make(tmp_path / "val.parquet")
    with pytest.raises(DataError, match=words) as error:
        open_val(tmp_path / "val.parquet")
    assert "\n" not in str(error.value)


def test_arrow_files_are_mapped_not_read(tmp_path: Path) -> None:
    made = pa.table({"image": [{"bytes": photograph(3).read_bytes(), "path": None}], "label": [3]})
    with pa.ipc.new_stream(str(tmp_path / "data-00000-of-00001.arrow"), made.schema) as stream:
        stream.write_table(made)
    write(tmp_path / "dataset_info.json", json.dumps({}))
    before = pa.total_allocated_bytes()
    listing = open_val(tmp_path)
    assert pa.total_allocated_bytes() - before < 10_000
    assert listing.stored(0).getvalue() == photograph(3).read_bytes()
    write(tmp_path / "data-00000-of-00001.arrow", b"x" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        open_val(tmp_path)


def test_a_lock_keeps_one_reader_at_a_time(tmp_path: Path) -> None:
    """pyarrow's files are not for several threads; a group that is asked for by all is read once."""
    pq.write_table(table(30), tmp_path / "a.parquet", row_group_size=30)
    listing = open_table([tmp_path / "a.parquet"], "mine")
    images = listing.shards[0].images
    reads, real, barrier = [], images._file.read_row_group, threading.Barrier(6)  # type: ignore[attr-defined]

    class Counting:
        def read_row_group(self, group: int, columns: list[str]) -> pa.Table:
            reads.append(group)
            return real(group, columns=columns)

    images._file = Counting()  # type: ignore[attr-defined]

    def look(row: int) -> int:
        barrier.wait()
        return shown(listing, row)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(look, range(6))) == list(range(6))
    assert reads == [0]
