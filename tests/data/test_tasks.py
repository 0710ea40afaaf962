"""Tasks from the user's own images: what is drawn, hidden, left out because it is measured on, and said."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from nsbench.config import DataConfig
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.images import ImageSet, Task
from nsbench.data.listing import Listing
from nsbench.data.named import draw
from nsbench.data.overlap import same_pictures
from nsbench.data.pools import Pool, open_pool
from nsbench.data.suites import open_val
from nsbench.data.tasks import load_task
from nsbench.errors import ConfigError, DataError
from tests.data.layouts import flat_val, hub_schema_metadata, photograph, val_folders, write, write_kaggle
from tests.shared import SAMPLES, SHARED, absent

CIFAR = SHARED / "cifar10"


def png(number: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def folders(root: Path, numbers: Iterable[int], side: int = 8, names: tuple[str, ...] = ("ant", "bee", "cat")) -> Path:
    for number in numbers:
        write(root / names[number % 3] / f"{number:03}.png", png(number, side))
    return root


def load(root: Path, seed: int = 0, **fields: Any) -> Task:
    plain: dict[str, Any] = {"dataset": "files", "dir": str(root), "labelled": "train", "val": "val", "image_px": 8}
    return load_task(DataConfig(**(plain | fields)), seed)


def error_of(root: Path, **fields: Any) -> str:
    with pytest.raises((DataError, ConfigError)) as raised:
        load(root, **fields)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def ids_of(pool: Pool) -> list[str]:
    return [str(key) for index in range(len(pool)) for key in pool.shard(index).ids]


def labels_of(pool: Pool) -> list[int]:
    return [label for index in range(len(pool)) for label in pool.shard(index).labels.tolist()]


def shown(pool: Pool) -> list[int]:
    """What the images of a pool in memory show."""
    shards = [pool.shard(index) for index in range(len(pool))]
    assert all(isinstance(shard, ImageSet) for shard in shards)
    return [int(p[0, 0, 0]) + 256 * int(p[0, 0, 1]) for shard in shards for p in shard.pixels]  # type: ignore[union-attr]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folders(tmp_path / "train", range(60))
    folders(tmp_path / "val", range(100, 112))
    folders(tmp_path / "more", range(200, 230))
    return tmp_path


# CIFAR-10 ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 2,000 training and 500 test images of the real set."""
    if not CIFAR.is_dir():
        absent(f"CIFAR-10 is not at {CIFAR} (set NSBENCH_SHARED_DATA)")
    small = tmp_path_factory.mktemp("cifar")
    for split, count in (("train", 2000), ("test", 500)):
        rows = next(pq.ParquetFile(CIFAR / f"{split}.parquet").iter_batches(count))
        pq.write_table(pa.Table.from_batches([rows]), small / f"{split}.parquet")
    return small


def test_cifar_as_its_preset_asks_for_it(cifar: Path) -> None:
    fields = {"labelled": "train.parquet", "val": "test.parquet", "image_px": 32, "title": "CIFAR-10"}
    task = load(cifar, labelled_per_class=40, rest_unlabelled=True, shard_images=300, **fields)
    assert (task.name, task.title, task.image_px, task.held_out, task.suites) == (
        "cifar-10",
        "CIFAR-10",
        32,
        True,
        None,
    )
    assert task.classes == tuple("0123456789")
    assert (task.labelled.sizes.tolist(), task.unlabelled.sizes.tolist()) == ([400], [300] * 5 + [100])
    assert np.bincount(labels_of(task.labelled)).tolist() == [40] * 10
    frame = pq.read_table(cifar / "train.parquet").to_pandas()
    files = {item["path"]: (item["bytes"], label) for item, label in zip(frame["image"], frame["label"], strict=True)}
    assert sorted(ids_of(task.labelled) + ids_of(task.unlabelled)) == sorted(files)
    images = task.labelled.shard(0)
    assert isinstance(images, ImageSet)
    for row in (0, 399):
        content, label = files[images.ids[row]]
        np.testing.assert_array_equal(images.pixels[row], np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
        assert images.labels[row] == label
    assert set(labels_of(task.unlabelled)) == {-1}
    assert task.truth is not None
    assert task.truth.ids.tolist() == ids_of(task.unlabelled)
    assert task.truth.labels.tolist() == [files[key][1] for key in task.truth.ids.tolist()]
    assert set(task.truth.sources.tolist()) == {"CIFAR-10 labelled, not drawn"}
    val = task.evaluation["val"]
    assert (len(val), val.preprocessing) == (500, "no resize, middle 32 cropped")
    assert not task.notes


@pytest.mark.slow
def test_cifar_whole() -> None:
    if not CIFAR.is_dir():
        absent(f"CIFAR-10 is not at {CIFAR} (set NSBENCH_SHARED_DATA)")
    fields = {"labelled": "train.parquet", "val": "test.parquet", "image_px": 32}
    task = load(CIFAR, labelled_per_class=400, rest_unlabelled=True, **fields)
    assert (task.labelled.sizes.sum(), task.unlabelled.sizes.sum(), len(task.evaluation["val"])) == (
        4000,
        46_000,
        10_000,
    )


# images in memory --------------------------------------------------------------------------------------------------


def test_all_labels_are_used_where_none_are_drawn(root: Path) -> None:
    task = load(root, rest_unlabelled=True)
    assert sorted(shown(task.labelled)) == list(range(60))
    assert [number % 3 for number in shown(task.labelled)] == labels_of(task.labelled)
    assert (len(task.unlabelled), task.truth, task.classes) == (0, None, ("ant", "bee", "cat"))
    assert (task.title, task.name) == (f"{root.name} train", f"{root.name}-train".replace("_", "-").lower())


def test_the_seed_draws_and_more_is_the_same_and_more(root: Path) -> None:
    few, more, other = (
        set(ids_of(load(root, seed, labelled_per_class=count).labelled)) for seed, count in ((0, 4), (0, 9), (1, 4))
    )
    assert (len(few), len(more)) == (12, 27)
    assert few < more
    assert few != other
    assert set(ids_of(load(root, labelled_per_class=4).labelled)) == few


def test_the_rest_is_hidden_beside_other_images(root: Path) -> None:
    task = load(root, labelled_per_class=5, rest_unlabelled=True, unlabelled=("more",), shard_images=32)
    drawn, pool = shown(task.labelled), shown(task.unlabelled)
    assert sorted(drawn + pool) == [*range(60), *range(200, 230)]
    assert task.unlabelled.sizes.tolist() == [32, 32, 11]
    assert set(labels_of(task.unlabelled)) == {-1}
    assert task.truth is not None
    known = [number % 3 if number < 60 else -1 for number in pool]
    assert task.truth.labels.tolist() == known
    sources = {True: f"{task.title} labelled, not drawn", False: f"{task.title} unlabelled"}
    assert task.truth.sources.tolist() == [sources[number < 60] for number in pool]
    assert sorted(shown(load(root, unlabelled=("more",)).unlabelled)) == list(range(200, 230))
    assert load(root, unlabelled=("more",)).truth is None
    assert {number < 60 for number in pool[:20]} == {True, False}  # in an order that tells nothing


def test_ids_that_clash_are_told_apart(root: Path) -> None:
    for number in range(60):
        write(root / "same" / ("ant", "bee", "cat")[number % 3] / f"{number:03}.png", png(300 + number))
    task = load(root, labelled_per_class=5, rest_unlabelled=True, unlabelled=("same",))
    ids = ids_of(task.unlabelled)
    assert len(set(ids)) == len(ids) == 45 + 60
    assert "1/ant/000.png" in ids


@pytest.mark.parametrize("place", ["train", "more"])
def test_what_val_shows_is_left_out_whatever_it_is_called(place: str, root: Path) -> None:
    folders(root / place / ("" if place == "train" else "deep"), range(100, 103))  # equal pixels
    write(root / "train" / "ant" / "105.png", png(777))  # called as one of val's, which it is not
    task = load(root, unlabelled=("more",))
    assert sorted(shown(task.labelled)) == [*range(60), 777]
    assert sorted(shown(task.unlabelled)) == list(range(200, 230))
    kind, count = {"train": ("labelled", 64), "more": ("unlabelled", 33)}[place]
    assert task.notes == (
        f"{task.title} {kind}: 3 of {count} images are left out, for they are {task.evaluation['val'].name}'s too",
    )


def test_images_that_an_independent_classifier_got_wrong_are_measured_and_never_learned(root: Path) -> None:
    folders(root / "hard", [*range(300, 306), 3])
    folders(root / "easy", [*range(306, 312), 4])
    task = load(root, natural_adversarial="hard", complement="easy")
    assert {name: len(images) for name, images in task.evaluation.items()} == {
        "val": 12, "natural-adversarial": 7, "complement": 7,
    }  # fmt: skip
    assert {3, 4}.isdisjoint(shown(task.labelled))
    assert len(shown(task.labelled)) == 58
    assert sum("for they are" in note for note in task.notes) == 2
    assert load(root).evaluation.keys() == {"val"}
    assert "for small images in memory" in error_of(root, image_px=0, natural_adversarial="hard")
    folders(root / "bats", range(3), names=("ant", "bat", "cat"))
    assert "complement has the classes ant, bat" in error_of(root, complement="bats")


def test_a_folder_around_train_and_val_is_searched(root: Path) -> None:
    task = load(root, unlabelled=(".",))
    assert sorted(shown(task.unlabelled)) == [*range(60), *range(200, 230)]
    assert "12 of 102 images are left out" in task.notes[0]


def test_images_of_other_sizes_are_resized(root: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(20, dtype=np.uint8)[None, :, None] * 10, (16, 1, 3))).save(buffer, "PNG")
    write(root / "train" / "cat" / "999.png", buffer.getvalue())
    task = load(root)
    images = task.labelled.shard(0)
    assert isinstance(images, ImageSet)
    assert images.preprocessing == "shorter side resized to 8 (bilinear), middle 8 cropped"
    expected = np.asarray(Image.open(buffer).resize((10, 8), Image.Resampling.BILINEAR))[:, 1:9]
    np.testing.assert_array_equal(images.pixels[images.ids.tolist().index("cat/999.png")], expected)
    assert task.evaluation["val"].preprocessing == "no resize, middle 8 cropped"


def test_images_that_cannot_be_read_stop_or_are_counted(root: Path) -> None:
    write(root / "train" / "ant" / "000.png", b"<html>")
    assert "000.png cannot be read (no image of a known format)" in error_of(root)
    task = load(root, on_bad_image="skip")
    assert task.notes == (
        f"{task.title} labelled: 1 images cannot be read and are left out, first ant/000.png "
        "(no image of a known format)",
    )
    assert sorted(shown(task.labelled)) == list(range(1, 60))


def test_decoded_images_are_kept_where_a_cache_is_named(root: Path) -> None:
    cache = root / "cache"
    first = load(root, cache_dir=str(cache))
    assert len(list(cache.glob("pixels-*.npy"))) == 2
    again = load(root, cache_dir=str(cache))
    assert again.labelled.fingerprint == first.labelled.fingerprint
    assert shown(again.labelled) == shown(first.labelled) == shown(load(root).labelled)


def test_fingerprints_follow_the_images(root: Path) -> None:
    fields = {"labelled_per_class": 5, "rest_unlabelled": True}
    one, again, other = load(root, **fields), load(root, **fields), load(root, 1, **fields)
    assert (one.labelled.fingerprint, one.unlabelled.fingerprint) == (
        again.labelled.fingerprint,
        again.unlabelled.fingerprint,
    )
    assert one.labelled.fingerprint != other.labelled.fingerprint
    assert one.unlabelled.fingerprint != other.unlabelled.fingerprint


def test_tars_and_tables_are_held_as_well(root: Path) -> None:
    with webdataset.TarWriter(str(root / "a-0.tar")) as writer:
        for number in range(6):
            writer.write({"__key__": f"{number}", "png": png(number), "cls": number % 3})
    rows = {"image": [png(number) for number in range(6, 9)], "label": [number % 3 for number in range(6, 9)]}
    names = hub_schema_metadata(["ant", "bee", "cat"])
    pq.write_table(pa.table(rows).replace_schema_metadata(names), root / "b.parquet")
    task = load(root, labelled="a-{0..0}.tar", unlabelled=("b.parquet", "a-0.tar"))
    assert task.classes == ("ant", "bee", "cat")  # val's folders name what the tar only counts
    assert task.labelled.classes == task.classes
    assert labels_of(task.labelled) == [0, 1, 2] * 2
    assert sorted(shown(task.unlabelled)) == list(range(9))


def test_tasks_that_cannot_be_are_one_line(root: Path) -> None:
    assert "labelled: class ant has 20 images, but data.labelled_per_class is 21" in error_of(
        root, labelled_per_class=21
    )
    folders(root / "other", range(100, 103), names=("ant", "bat", "cat"))
    assert "other has the classes ant, bat, cat (3), but data.labelled has ant, bee, cat (3)" in error_of(
        root, val="other"
    )
    assert "data.eval_split is 'dev', which `files` has not" in error_of(root, eval_split="dev")
    assert "data.val is" in error_of(root, val="none")
    assert "does not exist" in error_of(root, labelled="none")
    assert "does not exist" in error_of(root, unlabelled=("more", "none"))
    assert "no image is left" in error_of(root, labelled="val")
    folders(root / "alone" / "train", range(3))
    assert "holds none of val" in error_of(root / "alone", val="")
    assert error_of(root, dir="", labelled=str(root / "train"), val="").startswith("there are no test images")


def test_val_is_found_as_eval_finds_it(root: Path) -> None:
    task = load(root, val="")
    assert task.evaluation["val"].fingerprint == load(root).evaluation["val"].fingerprint
    assert task.evaluation["val"].name == f"{root.name} val"


@pytest.mark.parametrize("image_px", [8, 0])
def test_classes_without_an_image_are_said(image_px: int, root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "bat").mkdir()
    task = load(root, image_px=image_px)
    assert task.classes == ("ant", "bat", "bee", "cat")
    assert task.notes == (f"{task.title} labelled: 1 of 4 classes have no image, first bat",)


@pytest.mark.parametrize("per_class", [0, 1, 3])
def test_draws_are_balanced_and_never_take_what_is_left_out(per_class: int) -> None:
    labels = np.array([0, 1, 2, -1] * 5 + [2] * 3)
    drawn = draw(labels, ("a", "b", "c"), per_class, 0, "x")
    counts = [5, 5, 8] if not per_class else [per_class] * 3
    assert np.bincount(labels[drawn], minlength=3).tolist() == counts
    assert not drawn[labels < 0].any()
    for classes in (("a", "b", "c", "d"), ("a", "b", "c")):
        with pytest.raises(DataError, match=r"x: class [ad] has [05] images, but data.labelled_per_class is 6"):
            draw(labels, classes, 6, 0, "x")


# photographs -------------------------------------------------------------------------------------------------------


def test_photographs_stay_where_they_are(root: Path) -> None:
    task = load(root, image_px=0, labelled_per_class=5, rest_unlabelled=True, shard_images=10)
    assert (task.image_px, task.evaluation, task.held_out, task.classes) == (0, {}, None, ("ant", "bee", "cat"))
    assert task.suites is not None
    assert task.suites.val is not None
    assert len(task.suites.val) == 12
    assert (task.labelled.sizes.tolist(), task.unlabelled.sizes.tolist()) == ([10, 5], [10, 10, 10, 10, 5])
    assert np.bincount(labels_of(task.labelled)).tolist() == [5] * 3
    assert set(labels_of(task.unlabelled)) == {-1}
    assert task.truth is not None
    assert task.truth.ids.tolist() == ids_of(task.unlabelled)
    assert task.truth.labels.tolist() == [int(key[4:7]) % 3 for key in ids_of(task.unlabelled)]
    everything = sorted(ids_of(task.labelled) + ids_of(task.unlabelled))
    assert everything == sorted(f"{('ant', 'bee', 'cat')[n % 3]}/{n:03}.png" for n in range(60))
    assert isinstance(task.labelled.shard(0), Listing)
    assert sorted(ids_of(load(root, labelled_per_class=5).labelled)) == sorted(ids_of(task.labelled))


def test_photographs_beside_others(root: Path) -> None:
    task = load(root, image_px=0, labelled_per_class=5, rest_unlabelled=True, unlabelled=("more",))
    assert (len(ids_of(task.unlabelled)), task.truth) == (75, None)
    plain = load(root, image_px=0)
    assert (plain.labelled.sizes.tolist(), len(plain.unlabelled), plain.truth) == ([60], 0, None)


def test_photographs_of_val_are_left_out_by_name_and_bytes(root: Path) -> None:
    write(root / "train" / "ant" / "102.png", png(102))  # val's own
    write(root / "train" / "ant" / "105.png", png(777))  # only called like one
    folders(root / "more" / "val", range(100, 103))
    task = load(root, image_px=0, unlabelled=("more",))
    assert len(ids_of(task.labelled)) == 61
    assert "ant/105.png" in ids_of(task.labelled)
    assert "ant/102.png" not in ids_of(task.labelled)
    assert len(ids_of(task.unlabelled)) == 30
    drawn = load(root, image_px=0, labelled_per_class=5, rest_unlabelled=True)
    assert len(ids_of(drawn.labelled) + ids_of(drawn.unlabelled)) == 61
    assert "ant/102.png" not in ids_of(drawn.unlabelled)
    assert [note.split(": ")[1].split(" are")[0] for note in task.notes] == ["1 of 62 images", "3 of 33 images"]
    assert "no image is left" in error_of(root, image_px=0, labelled="val")


def test_imagenet_of_any_layout(tmp_path: Path) -> None:
    """Real photographs: class folders to learn from, flat val with Kaggle's labels, val's images among the others."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    flat_val(tmp_path / "val")
    write_kaggle(tmp_path / "val" / "LOC_val_solution.csv")
    key = sorted(path for path in val_folders(tmp_path / "others").glob("*/*"))[0]
    key.unlink()
    Image.open(photograph(9)).resize((64, 64)).save(key)  # stored otherwise, but known by its name
    (tmp_path / "others" / "mine.JPEG").symlink_to(photograph(5))
    (tmp_path / "train").symlink_to(SAMPLES)
    with webdataset.TarWriter(str(tmp_path / "web.tar")) as writer:
        for key in ("ILSVRC2012_val_00000293", "something"):
            writer.write({"__key__": key, "jpg": photograph(7).read_bytes()})
    task = load(tmp_path, image_px=0, unlabelled=("others", "web.tar"), title="ImageNet", shard_images=300)
    assert task.classes == imagenet_wnids()
    assert task.labelled.sizes.tolist() == [300, 300, 300, 100]
    assert [imagenet_wnids().index(key.split("/")[0]) for key in ids_of(task.labelled)] == labels_of(task.labelled)
    assert ids_of(task.unlabelled) == ["mine.JPEG", "something"]
    assert task.notes == (
        f"ImageNet unlabelled: 7 of 8 images are left out, for they are {task.suites.val.name}'s too",  # type: ignore[union-attr]
        "ImageNet unlabelled: of tars and tables, ImageNet's val images are left out by their names",
    )


def test_labelled_tars_of_imagenet_take_the_names_of_val(tmp_path: Path) -> None:
    val_folders(tmp_path / "val")
    with webdataset.TarWriter(str(tmp_path / "train-000000.tar")) as writer:
        for label in (0, 5, 999):
            writer.write({"__key__": f"x{label}", "jpg": photograph(label).read_bytes(), "cls": label})
    cache = str(tmp_path / "cache")
    task = load(tmp_path, image_px=0, labelled="train-{000000..000000}.tar", cache_dir=cache)
    assert task.classes == imagenet_wnids()
    assert labels_of(task.labelled) == [0, 5, 999]
    assert len(list((tmp_path / "cache").glob("tar-*.npz"))) == 1
    few = load(tmp_path, image_px=0, labelled="train-000000.tar", unlabelled=("train-000000.tar",))
    assert (few.truth, ids_of(few.unlabelled)) == (None, ["x0", "x5", "x999"])


def test_a_val_without_images_of_every_class_is_imagenets_still(tmp_path: Path) -> None:
    """A folder of some wnids, as of a subset for choices: models of all thousand classes are measured on it."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    (tmp_path / "train").symlink_to(SAMPLES)
    for label in (3, 9):
        write(tmp_path / "val" / imagenet_wnids()[label] / "a.JPEG", photograph(label + 1).read_bytes())
    assert load(tmp_path, image_px=0).classes == imagenet_wnids()


def test_the_same_image_is_known_in_other_layouts(tmp_path: Path) -> None:
    val = open_val(folders(tmp_path / "val", range(6)))
    folders(tmp_path / "train" / "inner", range(3, 9))
    tree = open_pool([tmp_path / "train"], name="t", shard_images=100, labelled=False).shard(0)
    assert isinstance(tree, Listing)
    found = {key for key, same in zip(tree.ids, same_pictures(tree, val), strict=True) if same}
    assert found == {f"inner/{('ant', 'bee', 'cat')[n % 3]}/{n:03}.png" for n in (3, 4, 5)}
    (tmp_path / "val" / "ant" / "003.png").unlink()  # what is gone equals nothing
    assert same_pictures(tree, val).sum() == 2
