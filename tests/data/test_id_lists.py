"""Subsets by lists of ids: RobustBench's five thousand, and the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbench.data.corrupted import open_imagenet_c
from nsbench.data.folder import open_folder
from nsbench.data.id_lists import IdList, known_val_labels, load_ids, wrong_labels
from nsbench.data.suites import open_val
from nsbench.errors import ConfigError, DataError, NsbenchError
from tests.data.layouts import VAL, WNIDS, link, val_folders, val_ids, write


def test_robustbench_measures_these_5000() -> None:
    """The first and last lines of its imagenet_test_image_ids.txt, sorted by number, and the number of classes."""
    ids = load_ids("robustbench-5k")
    known = known_val_labels()
    assert len(ids) == len(set(ids.ids)) == 5000
    assert ids.ids[0] == "ILSVRC2012_val_00000011"
    assert (known[15253], known[20685], known[39611]) == tuple(
        WNIDS.index(wnid) for wnid in ("n09468604", "n02823750", "n09472597")
    )
    assert all(1 <= number <= 50_000 for number in known)
    assert len(set(known.values())) == 997


def test_a_subset_is_taken_in_the_listings_order_from_val_and_from_cells(tmp_path: Path) -> None:
    root = val_folders(tmp_path / "val")
    for number, label in VAL:
        link(tmp_path / "c" / "fog" / "1" / WNIDS[label] / f"ILSVRC2012_val_{number:08}.JPEG", label)
    wanted = [val_ids()[4], val_ids()[1].split("/")[1], val_ids()[2].split("/")[1].removesuffix(".JPEG")]
    path = write(tmp_path / "ids.txt", "# mine\n\n" + "\n".join(wanted) + "   # the last\n")
    ids = load_ids(path)
    assert (ids.name, len(ids)) == ("ids.txt", 3)
    for listing in (open_val(root), open_imagenet_c(tmp_path / "c").listing("fog-1")):
        assert ids.of(listing).ids == (val_ids()[1], val_ids()[2], val_ids()[4])
        assert ids.of(listing).labels.tolist() == [WNIDS.index(key.split("/")[0]) for key in ids.of(listing).ids]


def test_missing_images_are_counted(tmp_path: Path) -> None:
    listing = open_val(val_folders(tmp_path / "val"))
    with pytest.raises(DataError, match=r"4,99\d of the 5,000 images of robustbench-5k are missing in .* val"):
        load_ids("robustbench-5k").of(listing)
    with pytest.raises(DataError, match=r"1 of the 1 images of x are missing in .*, first n01440764/no.JPEG"):
        IdList(name="x", ids=("n01440764/no.JPEG",)).of(listing)


def test_a_bare_name_that_several_images_have_is_refused(tmp_path: Path) -> None:
    for wnid in ("cat", "dog"):
        link(tmp_path / wnid / "0001.png", 0)
    listing = open_folder(tmp_path)
    assert IdList(name="x", ids=("dog/0001",)).of(listing).ids == ("dog/0001.png",)
    with pytest.raises(DataError, match="0001 is the name of several images"):
        IdList(name="x", ids=("0001",)).of(listing)


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("robustbench5k", None, ConfigError, "no such file; did you mean 'robustbench-5k'"),
        ("none.txt", None, ConfigError, "is no list of images"),
        ("empty.txt", b"\n# nothing\n", DataError, "lists no image; write one id a line"),
        ("twice.txt", b"a/1.png\nb/1.png\na/1.JPEG\n", DataError, "lists a/1.JPEG twice"),
        ("binary.txt", b"\x89PNG\r\n\x1a\n\x00\xff\xfe", DataError, "cannot be read as a list"),
    ],
)
def test_lists_that_are_none(name: str, content: bytes | None, kind: type, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NsbenchError, match=words) as error:
        load_ids(path if content is not None else name)
    assert isinstance(error.value, kind)
    assert "\n" not in str(error.value)


def test_wrong_class_folders_are_told_from_right_ones(tmp_path: Path) -> None:
    root = val_folders(tmp_path / "val")
    assert wrong_labels(open_val(root)) == (0, 7)
    number, label = VAL[2]
    file = f"ILSVRC2012_val_{number:08}.JPEG"
    (root / WNIDS[label] / file).rename(root / WNIDS[label + 1] / file)
    assert wrong_labels(open_val(root)) == (1, 7)
