"""ImageNet-A, -R, -V2, -Sketch, -O and ObjectNet: their layouts, ImageNet's indices, and what is said of a part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm.data
from PIL import Image, ImageOps
from torchvision import transforms

from nsbench.data.folder import open_folder
from nsbench.data.imagenet_classes import (
    as_imagenet,
    imagenet_a_classes,
    imagenet_names,
    imagenet_r_classes,
    imagenet_wnids,
    names_imagenet,
)
from nsbench.data.pictures import View
from nsbench.data.suites import restricted_to
from nsbench.data.variants import (
    open_imagenet_a,
    open_imagenet_o,
    open_imagenet_r,
    open_imagenet_sketch,
    open_imagenet_v2,
    open_objectnet,
    v2_subset,
)
from nsbench.errors import DataError
from tests.data.layouts import OBJECTNET, WNIDS, link, objectnet, write

INFO = Path(timm.data.__file__).parent / "_info"


def test_the_classes_are_timms() -> None:
    info = timm.data.ImageNetInfo("imagenet-1k")
    assert list(imagenet_wnids()) == info.label_names() == sorted(imagenet_wnids())
    assert list(imagenet_names()) == [info.index_to_description(index, detailed=False) for index in range(1000)]
    assert imagenet_a_classes() == tuple(map(int, (INFO / "imagenet_a_indices.txt").read_text().split()))
    synsets = {name: (INFO / f"imagenet_{name}_synsets.txt").read_text().split() for name in ("a", "r")}
    assert [WNIDS[index] for index in imagenet_a_classes()] == synsets["a"]
    assert [WNIDS[index] for index in imagenet_r_classes()] == synsets["r"]
    assert len(set(imagenet_a_classes()) & set(imagenet_r_classes())) == 86  # robustness.md, section 3


@pytest.mark.parametrize(
    ("opened", "classes", "suffix"),
    [(open_imagenet_a, imagenet_a_classes(), ".jpg"), (open_imagenet_r, imagenet_r_classes(), ".JPG")],
)
def test_200_classes_are_counted_as_imagenets(opened, classes: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    write(tmp_path / "README.txt", "words")
    for index in classes:
        link(tmp_path / WNIDS[index] / f"0.01_fox squirrel _ house_0.9{suffix}", index)
    variant = opened(tmp_path)
    assert variant.subset == classes
    assert variant.listing.labels.tolist() == list(classes)
    assert variant.listing.classes == imagenet_wnids()
    assert variant.listing.ids[0] == f"{WNIDS[classes[0]]}/0.01_fox squirrel _ house_0.9{suffix}"
    assert (variant.note, variant.allowed, variant.border) == ("", None, 0)


def test_a_part_of_a_set_is_named_as_one(tmp_path: Path) -> None:
    link(tmp_path / WNIDS[22] / "a.jpg", 22)
    link(tmp_path / WNIDS[6] / "a.jpg", 6)
    (tmp_path / WNIDS[30]).mkdir()
    variant = open_imagenet_a(tmp_path)
    assert variant.subset == (6, 22)
    assert variant.note == "partial: 2 of 200 classes"
    link(tmp_path / WNIDS[0] / "a.jpg", 0)
    assert open_imagenet_a(tmp_path).note == "partial: 2 of 200 classes; 1 classes that are not in the published set"
    assert open_imagenet_o(tmp_path).subset == (0, 6, 22)
    assert open_imagenet_o(tmp_path).note == "partial: 3 of 200 classes"
    assert open_imagenet_sketch(tmp_path).note == "partial: 3 of 1000 classes"
    assert open_imagenet_sketch(tmp_path).subset == (0, 6, 22)


def test_a_class_of_other_data_is_refused(tmp_path: Path) -> None:
    link(tmp_path / WNIDS[6] / "a.jpg", 6)
    (tmp_path / "notes").mkdir()
    assert len(open_imagenet_r(tmp_path).listing) == 1
    link(tmp_path / "n00007846" / "person.jpg", 3)
    with pytest.raises(DataError, match="n00007846 is the folder of none of the 1,000 classes; move it elsewhere"):
        open_imagenet_r(tmp_path)


def test_labels_of_some_classes_become_imagenets(tmp_path: Path) -> None:
    for index in (5, 700, 980):
        link(tmp_path / WNIDS[index] / "a.JPEG", index)
    own = open_folder(tmp_path)
    assert own.labels.tolist() == [0, 1, 2]
    assert not names_imagenet(own.classes)
    assert as_imagenet(own).labels.tolist() == [5, 700, 980]
    assert as_imagenet(own).ids == own.ids
    assert names_imagenet(as_imagenet(own).classes)
    assert as_imagenet(as_imagenet(own)) is not None
    assert restricted_to(as_imagenet(own), (5, 6, 980)).labels.tolist() == [5, 980]
    link(tmp_path / "dog" / "a.JPEG", 3)
    with pytest.raises(DataError, match="'dog' is none of ImageNet's 1,000"):
        as_imagenet(open_folder(tmp_path))


V2 = (0, 2, 9, 10, 99, 100, 999)
"""As text these sort 0 10 100 2 9 99 999."""


@pytest.mark.parametrize("spelled", ["{}", "{:04}", "wnid"])
def test_v2s_numbered_folders_are_classes_by_number(spelled: str, tmp_path: Path) -> None:
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for index in V2:
        folder = WNIDS[index] if spelled == "wnid" else spelled.format(index)
        link(root / folder / f"{index}f00.jpeg", index)
    variants = open_imagenet_v2(tmp_path)
    assert list(variants) == ["matched-frequency"]
    listing = variants["matched-frequency"].listing
    assert listing.labels.tolist() == list(V2)
    assert listing.ids == tuple(f"{WNIDS[index]}/{index}f00.jpeg" for index in V2)
    assert listing.name == "imagenet-v2 matched-frequency"
    assert variants["matched-frequency"].note == "partial: 7 of 1000 classes"
    for row, index in enumerate(V2):
        assert listing.stored(row).resolve().parent.name == WNIDS[index]
    assert list(open_imagenet_v2(root)) == ["matched-frequency"]


def test_v2_whole_has_no_subset_and_no_note(tmp_path: Path) -> None:
    for index in range(1000):
        link(tmp_path / "top-images" / str(index) / "a.jpeg", index)
    variant = open_imagenet_v2(tmp_path)["top-images"]
    assert (variant.subset, variant.note) == (None, "")
    assert variant.listing.labels.tolist() == list(range(1000))
    assert variant.listing.ids == tuple(f"{wnid}/a.jpeg" for wnid in WNIDS)


def test_v2s_three_subsets_are_found_side_by_side(tmp_path: Path) -> None:
    for name in ("imagenetv2-matched-frequency-format-val", "imagenetv2-threshold0.7-format-val", "top-images"):
        link(tmp_path / name / "7" / "a.jpeg", 7)
    assert list(open_imagenet_v2(tmp_path)) == ["matched-frequency", "threshold-0.7", "top-images"]
    assert v2_subset("ImageNetV2_threshold-0.7") == "threshold-0.7"
    assert v2_subset("imagenetv2-topimages-format-val") == "top-images"
    assert v2_subset("val") is None


def test_v2_under_another_name_says_what_it_does_not_know(tmp_path: Path) -> None:
    link(tmp_path / "downloads" / "7" / "a.jpeg", 7)
    variants = open_imagenet_v2(tmp_path / "downloads")
    assert list(variants) == ["unnamed"]
    assert variants["unnamed"].note.startswith("which of the three samplings is not told by the folder's name")


def test_objectnet_has_113_classes_several_answers_and_a_border(tmp_path: Path) -> None:
    root = objectnet(tmp_path / "objectnet-1.0")
    for place in (root, tmp_path):
        variant = open_objectnet(place)
        assert variant.listing.classes == tuple(sorted(OBJECTNET))
        assert variant.listing.ids == tuple(f"{folder}/0a1b2c3d.png" for folder in sorted(OBJECTNET))
        assert variant.listing.labels.tolist() == [0, 1, 2, 3]
        assert variant.allowed == tuple(OBJECTNET[folder][1] for folder in sorted(OBJECTNET))
        assert variant.note == "partial: 4 of 113 classes"
        assert variant.border == 2


def test_the_border_is_cut_before_the_resize(tmp_path: Path) -> None:
    listing = open_objectnet(objectnet(tmp_path)).listing
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for row in range(len(listing)):
        image = Image.open(listing.stored(row)).convert("RGB")
        assert image.getpixel((0, 0)) == image.getpixel((1, image.height - 2)) == (255, 0, 0)
        shown = View(size=224, resize=256, border=2).show(listing.stored(row))
        np.testing.assert_array_equal(shown, np.asarray(theirs(ImageOps.crop(image, border=2))))
        assert not np.array_equal(shown, View(size=224, resize=256).show(listing.stored(row)))
    assert str(View(size=224, resize=256, border=2)).startswith("border of 2 cut, shorter side resized to 256")


def spoil(name: str, change):
    def make(root: Path) -> None:
        path = root / "mappings" / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: (root / "mappings" / "folder_to_objectnet_label.json").unlink(), "cannot be read"),
        (lambda root: write(root / "mappings" / "objectnet_to_imagenet_1k.json", "{"), "cannot be read"),
        (lambda root: write(root / "mappings" / "objectnet_to_imagenet_1k.json", "[]"), "is no table of names"),
        (lambda root: (root / "mappings" / "imagenet_to_label_2012_v2").unlink(), "lacks imagenet_to_label_2012_v2"),
        (spoil("objectnet_to_imagenet_1k.json", lambda m: m | {"Banana": "bananana"}), "contradict .* 'bananana'"),
        (spoil("objectnet_to_imagenet_1k.json", lambda m: m | {"Kiwi": "banana"}), "contradict .* 'Kiwi'"),
        (spoil("pytorch_to_imagenet_2012_id.json", lambda m: m | {"3": 4000}), "contradict one another"),
        (spoil("pytorch_to_imagenet_2012_id.json", lambda m: m | {"three": 4}), "contradict one another"),
        (lambda root: (root / "images").rename(root / "pictures"), "holds no folder images"),
    ],
)
def test_mappings_that_do_not_fit_are_one_line(make, words: str, tmp_path: Path) -> None:
    root = objectnet(tmp_path / "objectnet-1.0")
    make(root)
    with pytest.raises(DataError, match=words) as error:
        open_objectnet(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("opened", [open_imagenet_a, open_imagenet_v2, open_objectnet, open_imagenet_o])
def test_an_empty_folder_is_one_line(opened, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no|is empty"):
        opened(tmp_path)


def test_two_folders_of_one_number_are_refused(tmp_path: Path) -> None:
    for folder in ("7", "007"):
        link(tmp_path / "matched-frequency" / folder / "a.jpeg", 7)
    with pytest.raises(DataError, match="two folders for one class number"):
        open_imagenet_v2(tmp_path)
    link(tmp_path / "top-images" / "1000" / "a.jpeg", 7)
    (tmp_path / "matched-frequency").rename(tmp_path / "other")
    with pytest.raises(DataError, match="1000 is the folder of none of the 1,000 classes"):
        open_imagenet_v2(tmp_path)
