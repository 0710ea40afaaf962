"""Test sets found in a data folder under the names that they unpack to, or set one by one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nsbench.data.suites import NOT_HELD_OUT, SUITES, open_suites, restricted_to
from nsbench.data.variants import Variant
from nsbench.errors import ConfigError, DataError, NsbenchError
from tests.data.layouts import (
    WNIDS,
    corruption_cell,
    flat_val,
    link,
    objectnet,
    photograph,
    val_folders,
    val_ids,
    write,
    write_caffe,
    write_kaggle,
)
from tests.shared import SAMPLES, absent


def everything(root: Path, *, unpacked_names: bool) -> Path:
    """Every set, under the names of the data folder's layout or those of the archives."""
    val_folders(root / ("ILSVRC2012_val" if unpacked_names else "val"))
    for name in ("imagenet-a", "imagenet-r", "imagenet-o", "imagenet-sketch" if unpacked_names else "sketch"):
        inside = "sketch" if name == "imagenet-sketch" else "."
        for index in (6, 13):
            link(root / name / inside / WNIDS[index] / "a.jpg", index)
    for subset in ("matched-frequency", "threshold0.7", "top-images"):
        parent = root if unpacked_names else root / "imagenetv2"
        link(parent / f"imagenetv2-{subset}-format-val" / "7" / "a.jpeg", 7)
    objectnet(root / ("objectnet-1.0" if unpacked_names else "objectnet"))
    corruption_cell(root / ("ImageNet-C" if unpacked_names else "imagenet-c") / "weather" / "fog" / "1", [6])
    corruption_cell(root / ("ImageNet-C-Bar" if unpacked_names else "imagenet-c-bar") / "sparkles" / "1", [6])
    write(root / ("ImageNet-P" if unpacked_names else "imagenet-p") / "tilt" / WNIDS[6] / "a.mp4", b"x")
    (root / "train" / WNIDS[6]).mkdir(parents=True)
    (root / ".cache").mkdir()
    return root


@pytest.mark.parametrize("unpacked_names", [True, False])
def test_every_set_is_found(unpacked_names: bool, tmp_path: Path) -> None:
    suites = open_suites(everything(tmp_path, unpacked_names=unpacked_names), {})
    assert suites.names == tuple(SUITES)
    assert suites.missing == {}
    assert suites.val is not None
    assert suites.val.ids == tuple(val_ids())
    assert suites.is_imagenet
    assert suites.val_note == ""
    assert suites.val is suites.val  # listed once
    for name in ("imagenet_a", "imagenet_r", "imagenet_sketch", "imagenet_o"):
        variant = getattr(suites, name)
        assert isinstance(variant, Variant)
        assert (variant.listing.labels.tolist(), variant.listing.name) == ([6, 13], name.replace("_", "-"))
    assert list(suites.imagenet_v2) == ["matched-frequency", "threshold-0.7", "top-images"]
    assert suites.objectnet is not None
    assert len(suites.objectnet.listing) == 4
    assert suites.imagenet_c is not None
    assert suites.imagenet_c.cells == ("fog-1",)
    assert suites.imagenet_c_bar is not None
    assert suites.imagenet_c_bar.cells == ("sparkles-1",)
    assert suites.imagenet_p is not None
    assert suites.imagenet_p.cells == ("tilt",)
    assert restricted_to(suites.val, (0, 1, 2)).labels.max() < 3


def test_a_set_can_be_set_alone_and_beside_a_data_folder(tmp_path: Path) -> None:
    link(tmp_path / "elsewhere" / WNIDS[6] / "a.jpg", 6)
    alone = open_suites(None, {"imagenet_a": tmp_path / "elsewhere"})
    assert alone.names == ("imagenet_a",)
    assert alone.val is None
    assert (alone.is_imagenet, alone.val_note, alone.imagenet_v2, alone.imagenet_c) == (False, "", {}, None)
    assert set(alone.missing.values()) == {"no folder was given"}
    data = tmp_path / "data"
    val_folders(data / "val")
    both = open_suites(data, {"imagenet_a": tmp_path / "elsewhere"})
    assert both.names == ("val", "imagenet_a")
    assert both.missing["imagenet_c"] == f"no folder imagenet-c in {data}"
    link(data / "imagenet-a" / WNIDS[13] / "a.jpg", 13)
    assert open_suites(data, {"imagenet_a": tmp_path / "elsewhere"}).roots["imagenet_a"] == tmp_path / "elsewhere"
    assert open_suites(None, {}).names == ()


def own_folder(root: Path) -> Path:
    for name in ("cat", "dog"):
        link(root / name / "a.png", 281)
    return root


def own_parquet(root: Path) -> Path:
    rows = {"image": [{"bytes": photograph(0).read_bytes(), "path": "a.JPEG"}], "label": [0]}
    pq.write_table(pa.table(rows), root / "validation-0.parquet")
    return root


def own_file(root: Path) -> Path:
    return own_parquet(root) / "validation-0.parquet"


def flat(root: Path) -> Path:
    write_caffe(root / "val.txt")
    return flat_val(root)


def kaggle(root: Path) -> Path:
    write_kaggle(root / "LOC_val_solution.csv")
    flat_val(root / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    return root


@pytest.mark.parametrize(
    ("make", "count"), [(own_folder, 2), (own_parquet, 1), (own_file, 1), (flat, 7), (kaggle, 7), (val_folders, 7)]
)
def test_a_data_folder_may_be_val_itself(make, count: int, tmp_path: Path) -> None:
    suites = open_suites(make(tmp_path), {})
    assert suites.names == ("val",)
    assert suites.val is not None
    assert len(suites.val) == count
    assert suites.is_imagenet == (count == 7)
    assert suites.val_note == ""


def test_imagenets_classes_with_other_images_are_not_held_out() -> None:
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    for place in (SAMPLES, SAMPLES.parent):
        suites = open_suites(place, {})
        assert suites.is_imagenet
        assert suites.val_note == NOT_HELD_OUT


def test_one_image_that_is_not_vals_makes_val_not_held_out(tmp_path: Path) -> None:
    link(val_folders(tmp_path / "val") / WNIDS[9] / "n01518878_10001.JPEG", 9)
    assert open_suites(tmp_path, {}).val_note == NOT_HELD_OUT


def test_two_folders_for_one_set_are_named_and_neither_is_taken(tmp_path: Path) -> None:
    everything(tmp_path, unpacked_names=False)
    link(tmp_path / "ImageNet-A" / WNIDS[6] / "a.jpg", 6)
    suites = open_suites(tmp_path, {})
    assert "imagenet_a" not in suites.names
    assert suites.imagenet_a is None
    assert suites.missing["imagenet_a"].endswith("are there; set data.imagenet_a to one of them")


@pytest.mark.parametrize(
    ("open_them", "kind", "words"),
    [
        (lambda root: open_suites(root / "none", {}), DataError, "none does not exist"),
        (lambda root: open_suites(root, {}), DataError, "holds none of val, imagenet-a, .* and no folders of images"),
        (lambda root: open_suites(root, {"val": root / "x"}), DataError, "data.val is .*/x, which does not exist"),
        (lambda root: open_suites(root, {"imagenet_cc": root}), ConfigError, "did you mean 'imagenet_c'"),
        (lambda root: open_suites(write(root / "a.zip", b"x"), {}), DataError, "a.zip holds none of"),
        (lambda root: open_suites(None, {"val": write(root / "a.zip", b"x")}).val, DataError, "a.zip is not a folder"),
        (lambda root: open_suites(None, {"imagenet_c": root}).imagenet_c, DataError, "holds none of the folders"),
        (lambda root: open_suites(None, {"imagenet_p": root}).imagenet_p, DataError, "holds none of the folders"),
        (lambda root: open_suites(None, {"imagenet_v2": root}).imagenet_v2, DataError, "holds no imagenetv2-matched"),
        (lambda root: open_suites(None, {"val": root}).val, DataError, "is empty"),
    ],
)
def test_places_that_hold_nothing_are_one_line(open_them, kind: type, words: str, tmp_path: Path) -> None:
    with pytest.raises(NsbenchError, match=words) as error:
        open_them(tmp_path)
    assert isinstance(error.value, kind)
    assert "\n" not in str(error.value)
