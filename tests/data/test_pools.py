"""Pools: every image in one shard, whatever holds it; classes that agree; forks; and sources that are none."""

from __future__ import annotations

import concurrent.futures
import io
import multiprocessing
import os
import pickle
import re
import shutil
import tracemalloc
from pathlib import Path

import braceexpand
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from nsbench.data.class_names import agreed
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.images import ImageSet
from nsbench.data.pools import FilePool, HeldPool, JoinedPool, ListedPool, PartPool, Pool, open_pool, part
from nsbench.data.sources import expand, sampled_fingerprint
from nsbench.errors import DataError
from tests.data.layouts import VAL, hub_schema_metadata, val_folders, write


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, numbers: range, *, labels: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for number in numbers:
            label = {"cls": number % 3} if labels else {}
            writer.write({"__key__": f"{number:05}", "png": png(number), **label})
    return path


def write_table(path: Path, numbers: range, *, names: list[str] | None = None, labels: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": [{"bytes": png(number), "path": f"{number:05}.png"} for number in numbers]}
    made = pa.table(columns | ({"label": [number % 3 for number in numbers]} if labels else {}))
    pq.write_table(made.replace_schema_metadata(hub_schema_metadata(names)) if names else made, path, row_group_size=3)
    return path


def write_folders(root: Path, numbers: range, names: tuple[str, ...] = ("ant", "bee", "cat")) -> Path:
    for number in numbers:
        write(root / names[number % 3] / f"{number:05}.png", png(number))
    return root


def write_arrow(path: Path, numbers: range) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table({"image": [png(number) for number in numbers], "label": [number % 3 for number in numbers]})
    with pa.ipc.new_stream(str(path), made.schema) as stream:
        stream.write_table(made)
    return path


def opened(*sources: str | Path, labelled: bool = True, shard_images: int = 4, **more: object) -> Pool:
    return open_pool(sources, name="mine", shard_images=shard_images, labelled=labelled, **more)  # type: ignore[arg-type]


def number_of(stored: Path | io.BytesIO) -> int:
    with Image.open(stored) as image:
        red, green, _ = image.getpixel((0, 0))  # type: ignore[misc]
    return int(red) + 256 * int(green)


def numbers_of(pool: Pool) -> list[list[int]]:
    """What the images of each shard show."""
    shards = [pool.shard(index) for index in range(len(pool))]
    return [[number_of(shard.stored(row)) for row in range(len(shard))] for shard in shards]  # type: ignore[union-attr]


def all_of(pool: Pool) -> list[int]:
    return [number for shard in numbers_of(pool) for number in shard]


def error_of(*sources: str | Path, labelled: bool = True) -> str:
    with pytest.raises(DataError) as raised:
        opened(*sources, labelled=labelled)
    assert "\n" not in str(raised.value)
    return str(raised.value)


SOURCES = {
    "class folders": lambda root: write_folders(root / "train", range(10)),
    "Parquet": lambda root: write_table(root / "a.parquet", range(10)),
    "Arrow": lambda root: write_arrow(root / "set" / "data-00000-of-00001.arrow", range(10)).parent,
    "tar": lambda root: write_tar(root / "a.tar", range(10)),
}


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("kind", SOURCES)
def test_every_image_is_in_one_shard_with_its_label(kind: str, labelled: bool, tmp_path: Path) -> None:
    pool = opened(SOURCES[kind](tmp_path), labelled=labelled)
    assert pool.name == "mine"
    assert sorted(all_of(pool)) == list(range(10))
    assert [len(shard) for shard in numbers_of(pool)] == pool.sizes.tolist()
    assert pool.sizes.tolist() == ([4, 4, 2] if kind == "class folders" else [10])
    names = {True: ("ant", "bee", "cat") if kind == "class folders" else ("0", "1", "2"), False: ()}[labelled]
    assert pool.classes == names
    for index in range(len(pool)):
        shard = pool.shard(index)
        assert (shard.classes, shard.labels.dtype) == (names, np.int64)
        assert len(set(shard.ids)) == len(shard)
        shown = numbers_of(pool)[index]
        assert shard.labels.tolist() == ([number % 3 for number in shown] if labelled else [-1] * len(shown))
    with pytest.raises(IndexError):
        pool.shard(len(pool))
    assert str(tmp_path) in pool.shard_name(0) or kind == "class folders"


def test_class_folders_are_mixed_before_they_are_cut(tmp_path: Path) -> None:
    """They are sorted by class: shards of neighbours would show one class at a time."""
    pool = opened(write_folders(tmp_path, range(90)), shard_images=30)
    for index in range(3):
        assert np.bincount(pool.shard(index).labels, minlength=3).min() >= 4
    again = opened(tmp_path, shard_images=30)
    assert [pool.shard(index).ids for index in range(3)] == [again.shard(index).ids for index in range(3)]
    assert pool.shard_name(1) == "mine, images 30 to 59"
    ids = [key for index in range(3) for key in pool.shard(index).ids]
    assert sorted(ids) == sorted(f"{('ant', 'bee', 'cat')[n % 3]}/{n:05}.png" for n in range(90))


def test_trees_without_classes_are_read_to_their_leaves(tmp_path: Path) -> None:
    for number, place in enumerate(("0.png", "a/1.png", "a/b/c/2.PNG", ".hidden/x.png", "a/.x.png", "a/note.txt")):
        write(tmp_path / "in" / place, png(number))
    write(tmp_path / "else" / "3.png", png(3))
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "else")
    pool = opened(tmp_path / "in", labelled=False)
    assert sorted(pool.shard(0).ids) == ["0.png", "a/1.png", "a/b/c/2.PNG", "linked/3.png"]
    assert sorted(all_of(pool)) == [0, 1, 2, 3]
    assert isinstance(pool, ListedPool)
    assert pool.listing.left_out == ("a/note.txt",)
    (tmp_path / "in" / "a" / "loop").symlink_to(tmp_path / "in")
    assert f"{tmp_path}/in/a/loop is a link to a folder that it lies in" in error_of(tmp_path / "in", labelled=False)


def test_class_folders_give_unlabelled_images_the_same_ids(tmp_path: Path) -> None:
    write_folders(tmp_path, range(9))
    told, untold = (opened(tmp_path, labelled=labelled, shard_images=100).shard(0) for labelled in (True, False))
    assert told.ids == untold.ids


def test_imagenets_folders_count_as_models_count_them(tmp_path: Path) -> None:
    val_folders(tmp_path)
    (tmp_path / "lost+found").mkdir()  # sorts before all others
    pool = opened(tmp_path, shard_images=100)
    assert pool.classes == imagenet_wnids()
    assert sorted(pool.shard(0).labels.tolist()) == sorted(label for _, label in VAL)


def test_several_sources_are_one_pool(tmp_path: Path) -> None:
    sources = [
        write_tar(tmp_path / "a.tar", range(3)),
        write_folders(tmp_path / "train", range(10, 15)),
        write_table(tmp_path / "b.parquet", range(20, 22)),
    ]
    pool = opened(*sources)
    assert isinstance(pool, JoinedPool)
    assert pool.classes == ("ant", "bee", "cat")
    assert [len(shard) for shard in numbers_of(pool)] == pool.sizes.tolist() == [3, 4, 1, 2]
    assert sorted(all_of(pool)) == [0, 1, 2, *range(10, 15), 20, 21]
    assert [pool.shard(k).classes for k in range(4)] == [("ant", "bee", "cat")] * 4
    assert (pool.shard_name(0), pool.shard_name(3)) == (str(sources[0]), str(sources[2]))
    with pytest.raises(IndexError):
        pool.shard(4)
    assert len(opened(labelled=False)) == 0
    assert opened(labelled=False).sizes.tolist() == []


def test_files_of_a_pattern_are_shards_in_their_order(tmp_path: Path) -> None:
    for shard in range(9, 12):
        write_tar(tmp_path / f"train-{shard:06}.tar", range(10 * shard, 10 * shard + shard), labels=False)
    pool = opened(f"{tmp_path}/train-{{000009..000011}}.tar", labelled=False)
    assert isinstance(pool, FilePool)
    assert [len(shard) for shard in numbers_of(pool)] == pool.sizes.tolist() == [9, 10, 11]
    assert numbers_of(opened(tmp_path, labelled=False)) == numbers_of(pool)  # the folder of them
    assert pool.shard_name(2) == f"{tmp_path}/train-000011.tar"


@pytest.mark.parametrize(
    "pattern",
    ["a", "{0..3}", "{8..11}", "{08..11}", "{0..010}", "{3..1}", "x{0..1}y{10..12}z", "{5..5}", "a{1}b"],
)
def test_patterns_are_expanded_as_webdataset_does_it(pattern: str) -> None:
    assert expand(pattern) == list(braceexpand.braceexpand(pattern))


def test_a_folder_named_like_a_pattern_is_itself(tmp_path: Path) -> None:
    write_folders(tmp_path / "a{0..1}", range(3))
    assert opened(tmp_path / "a{0..1}").sizes.tolist() == [3]


def test_the_training_split_of_a_table_is_taken(tmp_path: Path) -> None:
    for split, numbers in (("train", range(4)), ("test", range(10, 12)), ("unlabeled", range(20, 25))):
        write_table(tmp_path / "data" / f"{split}-00000-of-00001.parquet", numbers)
    assert numbers_of(opened(tmp_path)) == [[0, 1, 2, 3]]
    assert numbers_of(opened(tmp_path, labelled=False)) == [[20, 21, 22, 23, 24]]


def test_rows_keep_their_order_and_need_no_labels(tmp_path: Path) -> None:
    write_table(tmp_path / "b.parquet", range(9, -1, -1), labels=False)
    assert numbers_of(opened(tmp_path / "b.parquet", labelled=False)) == [list(range(9, -1, -1))]
    assert "needs the columns image and label" in error_of(tmp_path / "b.parquet")
    write_table(tmp_path / "b.parquet", range(3))
    made = pq.read_table(tmp_path / "b.parquet").set_column(1, "label", pa.array(["x", "y", "z"]))
    pq.write_table(made, tmp_path / "b.parquet")  # labels that are not used may be anything
    assert opened(tmp_path / "b.parquet", labelled=False).shard(0).labels.tolist() == [-1] * 3


def test_classes_that_differ_are_one_line(tmp_path: Path) -> None:
    folders = write_folders(tmp_path / "one", range(6))
    other = write_folders(tmp_path / "two", range(6), ("ant", "bat", "cat"))
    assert error_of(folders, other) == (
        f"{other} has the classes ant, bat, cat (3), but {folders} has ant, bee, cat (3); they must be the same, in "
        "one order"
    )
    table = write_table(tmp_path / "a.parquet", range(6), names=["bee", "ant", "cat"])
    assert "in one order" in error_of(folders, table)
    for number in range(2):
        write_table(tmp_path / f"p{number}.parquet", range(6), names=[f"x{number}", "y", "z"])
    assert str(tmp_path / "p1.parquet") in error_of(f"{tmp_path}/p{{0..1}}.parquet")
    tar = write_tar(tmp_path / "a.tar", range(6))
    few = write_folders(tmp_path / "few", range(0, 6, 3), ("ant", "", ""))
    assert "0, 1, 2 (3)" in error_of(few, tar)
    assert opened(folders, tar).classes == ("ant", "bee", "cat")


def test_numbers_count_names_and_one_another() -> None:
    assert agreed([("a", ("0", "1")), ("b", ("0", "1", "2")), ("c", ("0",))]) == ("0", "1", "2")
    assert agreed([("a", ("0", "1")), ("b", ("ant", "bee", "cat"))]) == ("ant", "bee", "cat")
    assert agreed([("a", ())]) == ()
    with pytest.raises(DataError, match="a has the classes 0, 1, 2, "):
        agreed([("a", tuple("01234")), ("b", ("ant", "bee"))])


def test_things_that_are_no_source_are_one_line(tmp_path: Path) -> None:
    for name in ("empty", "text"):
        (tmp_path / name).mkdir()
    write(tmp_path / "text" / "a.txt", "x")
    write(tmp_path / "flat" / "a.png", png(1))
    write(tmp_path / "b.zip", b"x")
    write(tmp_path / "c.tar.gz", b"x")
    cases = {
        (tmp_path / "empty", True): "is empty; it must hold a folder of images for each class",
        (tmp_path / "empty", False): "holds no images",
        (tmp_path / "text", False): "holds no images among its 1 files, such as a.txt",
        (tmp_path / "flat", True): "holds 1 images but no class folders",
        (tmp_path / "b.zip", False): "b.zip is no tar, Parquet or Arrow file by its name, and no folder",
        (tmp_path / "c.tar.gz", False): "c.tar.gz is compressed; unpack it first",
        (tmp_path / "none", True): "none does not exist",
        (f"{tmp_path}/x-{{0..3}}.tar", False): f"{tmp_path}/x-0.tar does not exist; nor does any other of its 4 files",
        ("https://example.org/a.tar", False): "does not exist",
        ("pipe:cat a.tar", False): "does not exist",
    }
    for (source, labelled), words in cases.items():
        assert words in error_of(source, labelled=labelled)
    for number in (0, 1):
        write_folders(tmp_path / f"part{number}", range(3))
    assert "part0 is a folder, but a pattern is for files" in error_of(f"{tmp_path}/part{{0..1}}")
    for number in (0, 1, 3):
        write_tar(tmp_path / f"x-{number}.tar", range(2))
    pattern = f"{tmp_path}/x-{{0..5}}.tar"
    assert error_of(pattern, labelled=False) == (
        f"{tmp_path}/x-2.tar does not exist, the first of 3 missing of 6: {pattern}"
    )


def test_folders_of_several_kinds_or_splits_are_one_line(tmp_path: Path) -> None:
    write_tar(tmp_path / "wds" / "imagenet-train-000000.tar", range(2))
    write_tar(tmp_path / "wds" / "imagenet-validation-00.tar", range(2))
    assert "tars of several splits, such as imagenet-validation-00.tar and imagenet-train-000000.tar" in error_of(
        tmp_path / "wds"
    )
    for name in ("cats.tar", "evaluated.tar", "latest.tar"):
        write_tar(tmp_path / "several" / name, range(2))
    assert len(opened(tmp_path / "several")) == 3
    write_table(tmp_path / "several" / "a.parquet", range(2))
    assert "holds a.parquet and cats.tar" in error_of(tmp_path / "several")
    for split in ("test", "extra"):
        write_table(tmp_path / "tables" / f"{split}.parquet", range(2))
    assert "holds the splits extra, test; name the file of one" in error_of(tmp_path / "tables")


def test_a_labelled_tar_is_looked_through_before_training(tmp_path: Path) -> None:
    write_tar(tmp_path / "a-0.tar", range(3))
    write_tar(tmp_path / "a-1.tar", range(3), labels=False)
    assert f"{tmp_path}/a-1.tar has no .cls for 3 of its 3 images" in error_of(f"{tmp_path}/a-{{0..1}}.tar")
    assert opened(f"{tmp_path}/a-{{0..1}}.tar", labelled=False).sizes.tolist() == [3, 3]


def test_a_folder_that_went_since_it_was_listed_is_named(tmp_path: Path) -> None:
    write_folders(tmp_path, range(9))
    pool = opened(tmp_path, shard_images=100)
    shutil.rmtree(tmp_path / "bee")
    with pytest.raises(DataError, match=rf"^{tmp_path}/bee is gone since its images were listed"):
        pool.shard(0)
    (tmp_path / "bee").mkdir()
    assert len(pool.shard(0)) == 9  # an error is not kept; whoever decodes an image says that it went


def test_a_tar_that_went_is_named(tmp_path: Path) -> None:
    pool = opened(write_tar(tmp_path / "a.tar", range(3)), labelled=False)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(DataError, match=r"a.tar cannot be read \(No such file or directory\)"):
        pool.shard(0)
    with pytest.raises(DataError, match=r"a.tar cannot be read"):
        _ = pool.fingerprint


def test_a_damaged_row_group_is_one_line(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.parquet", range(9))
    listing = opened(path, labelled=False).shard(0)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path} cannot be read \([^\n]*\); copy it again$"):
        listing.stored(0)


# parts and memory --------------------------------------------------------------------------------------------------


def held(count: int) -> ImageSet:
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    ids = np.array([f"i{number}" for number in range(count)])
    return ImageSet(name="held", ids=ids, pixels=pixels, labels=np.arange(count) % 3, classes=("a", "b", "c"))


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(10, 0, [10]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (0, 0, []), (0, 4, [])]
)
def test_images_in_memory_are_cut_without_a_copy(count: int, size: int, sizes: list[int]) -> None:
    images = held(count)
    pool = HeldPool(images, size)
    assert pool.sizes.tolist() == sizes
    assert (pool.name, pool.classes, len(pool)) == ("held", ("a", "b", "c"), len(sizes))
    shards = [pool.shard(index) for index in range(len(pool))]
    assert [key for shard in shards for key in shard.ids.tolist()] == images.ids.tolist()
    assert all(np.shares_memory(shard.pixels, images.pixels) for shard in shards)
    assert len({pool.shard_fingerprint(index) for index in range(len(pool))}) == len(sizes)


def test_part_of_a_pool(tmp_path: Path) -> None:
    write_tar(tmp_path / "a-0.tar", range(4))
    write_tar(tmp_path / "a-1.tar", range(4, 6))
    write_tar(tmp_path / "a-2.tar", range(6, 9))
    tars = opened(f"{tmp_path}/a-{{0..2}}.tar")
    keep = np.array([0, 1, 0, 1, 0, 0, 0, 0, 1], bool)
    some = part(tars, keep)
    assert isinstance(some, PartPool)
    assert (numbers_of(some), some.sizes.tolist(), some.classes) == ([[1, 3], [8]], [2, 1], ("0", "1", "2"))
    assert [some.shard(k).labels.tolist() for k in range(2)] == [[1, 0], [2]]
    assert (some.shard_name(1), some.name) == (str(tmp_path / "a-2.tar"), "mine")
    others = [part(tars, np.array(rows, bool)) for rows in ([1, 0, 1, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 1, 0, 0, 0, 1])]
    assert len({pool.fingerprint for pool in (tars, some, *others)}) == 4
    assert part(tars, np.ones(9, bool)) is tars
    assert [part(tars, keep, hidden=True).shard(k).labels.tolist() for k in range(2)] == [[-1, -1], [-1]]
    folders = opened(write_folders(tmp_path / "train", range(9)), shard_images=2)
    shown = all_of(folders)
    rest = part(folders, keep, hidden=True)
    assert numbers_of(rest) == [[shown[1], shown[3]], [shown[8]]]  # cut anew
    assert rest.shard(0).labels.tolist() == [-1, -1]


def test_imagenets_val_images_are_left_out_of_files(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for key in ("x", "ILSVRC2012_val_00000007", "n01440764/ILSVRC2012_val_00000293", "n01440764_10026"):
            writer.write({"__key__": key, "png": png(1)})
    pool = FilePool(name="mine", paths=(tmp_path / "a.tar",), labelled=False, without_val=True)
    assert pool.shard(0).ids == ("x", "n01440764_10026")
    assert pool.sizes.tolist() == [2]


@pytest.mark.parametrize("kind", SOURCES)
def test_fingerprints_are_of_the_images_not_of_their_place(kind: str, tmp_path: Path) -> None:
    first = opened(SOURCES[kind](tmp_path / "one"))
    second = opened(SOURCES[kind](tmp_path / "two"))
    for pool in (first, second):
        assert re.fullmatch("[0-9a-f]{16}", pool.fingerprint)
    if kind == "tar":  # webdataset writes the time
        shutil.copy(tmp_path / "one" / "a.tar", tmp_path / "two" / "a.tar")
        second = opened(tmp_path / "two" / "a.tar")
    assert first.fingerprint == second.fingerprint
    assert first.shard_fingerprint(0) == second.shard_fingerprint(0)


def test_a_file_of_other_contents_has_another_fingerprint(tmp_path: Path) -> None:
    content = bytearray(np.random.default_rng(0).bytes(100_000))
    path = write(tmp_path / "a.tar", bytes(content))
    seen = {sampled_fingerprint(path)}
    for place in (0, 50_010, 99_999):
        changed = bytearray(content)
        changed[place] ^= 1
        seen.add(sampled_fingerprint(write(path, bytes(changed))))
    seen.add(sampled_fingerprint(write(path, bytes(content) + b"x")))
    seen.add(sampled_fingerprint(write(tmp_path / "b.tar", bytes(content))))
    seen |= {sampled_fingerprint(write(path, bytes(length))) for length in (20_000, 30_000)}
    assert len(seen) == 8


@pytest.mark.parametrize("kind", SOURCES)
def test_workers_read_what_the_parent_has_open(kind: str, tmp_path: Path) -> None:
    pool = opened(SOURCES[kind](tmp_path))
    here = numbers_of(pool)  # all is open here
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as workers:
        assert list(workers.map(numbers_of, [pool] * 4)) == [here] * 4
    assert numbers_of(pickle.loads(pickle.dumps(pool))) == here


def test_a_forked_worker_opens_its_own(tmp_path: Path) -> None:
    pool = opened(SOURCES["Parquet"](tmp_path))
    mine = pool.shard(0)
    assert pool.shard(0) is mine
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.shard(0) is not mine and numbers_of(pool) == [list(range(10))] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_few_shards_stay_open(tmp_path: Path) -> None:
    for shard in range(5):
        write_tar(tmp_path / f"a-{shard}.tar", range(3))
    pool = opened(tmp_path, labelled=False, kept=2)
    first = pool.shard(0)
    assert [pool.shard(index) is pool.shard(index) for index in range(5)] == [True] * 5
    assert pool.shard(0) is not first
    assert pool.shard(4) is pool.shard(4)


def test_each_tar_is_indexed_once_for_all_processes(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", range(5))
    index = tmp_path / "cache"
    assert opened(path, index=index).shard(0).labels.tolist() == [0, 1, 2, 0, 1]
    assert opened(path, index=index, labelled=False).shard(0).labels.tolist() == [-1] * 5
    assert len(list(index.iterdir())) == 2
    write_tar(path, range(5, 10))  # another tar of the same name
    assert numbers_of(opened(path, index=index)) == [[5, 6, 7, 8, 9]]


def test_a_window_of_tars_holds_no_pixels(tmp_path: Path) -> None:
    """Sixteen tars of 16 MB each, every image read: in memory are the listings, and an image or two."""
    blob = np.random.default_rng(0).bytes(1 << 20)
    for shard in range(16):
        with webdataset.TarWriter(str(tmp_path / f"a-{shard:02}.tar")) as writer:
            for number in range(16):
                writer.write({"__key__": str(number), "jpg": blob})
    pool = opened(tmp_path, labelled=False)
    tracemalloc.start()
    try:
        for index in range(16):
            for row in range(16):
                assert len(pool.shard(index).stored(row).getvalue()) == 1 << 20  # type: ignore[union-attr]
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_source_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    """Its images would stand in the pool twice, with the same ids."""
    with pytest.raises(DataError, match="is named twice"):
        open_pool([tmp_path, tmp_path / "."], name="pool", shard_images=4, labelled=False)
