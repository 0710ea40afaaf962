"""ImageNet's val in every layout that it is published in: one set of ids and labels, and the traps of each."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torchvision.datasets import imagenet as torchvision_imagenet

from nsbench.data.id_lists import known_val_labels, wrong_labels
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.real_labels import real_labels
from nsbench.data.suites import open_val
from nsbench.errors import DataError
from tests.data.layouts import (
    VAL,
    WNIDS,
    flat_val,
    hub_names,
    hub_schema_metadata,
    photograph,
    val_folders,
    val_ids,
    val_labels,
    write,
    write_caffe,
    write_devkit,
    write_kaggle,
)


def devkit_beside(tmp_path: Path) -> Path:
    write_devkit(tmp_path / "ILSVRC2012_devkit_t12" / "data")
    return flat_val(tmp_path / "val")


def devkit_inside(tmp_path: Path) -> Path:
    write_devkit(tmp_path / "val")
    return flat_val(tmp_path / "val")


def caffe_inside(tmp_path: Path) -> Path:
    write_caffe(tmp_path / "val" / "val.txt")
    return flat_val(tmp_path / "val")


def caffe_beside(tmp_path: Path) -> Path:
    content = write_caffe(tmp_path / "val.txt").read_text().replace("ILSVRC", "val/ILSVRC")
    write(tmp_path / "val.txt", content)
    return flat_val(tmp_path / "val")


def kaggle(tmp_path: Path) -> Path:
    write_kaggle(tmp_path / "LOC_val_solution.csv")
    # numbers of images, not of classes, as Kaggle's archive has them; must not be taken for caffe's val.txt
    lines = "".join(f"ILSVRC2012_val_{n:08} {place}\n" for place, (n, _) in enumerate(VAL, 1))
    write(tmp_path / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt", lines)
    flat_val(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val")
    return tmp_path


def folders(tmp_path: Path) -> Path:
    return val_folders(tmp_path / "val")


def hub_folders(tmp_path: Path) -> Path:
    return val_folders(tmp_path / "val", hub_names=True)


def hub_table() -> pa.Table:
    images = [
        {"bytes": photograph(label).read_bytes(), "path": f"ILSVRC2012_val_{n:08}_{WNIDS[label]}.JPEG"}
        for n, label in VAL
    ]
    table = pa.table({"image": images, "label": pa.array([label for _, label in VAL], pa.int64())})
    return table.replace_schema_metadata(hub_schema_metadata(hub_names()))


def hub_parquet(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    pq.write_table(hub_table()[:4], tmp_path / "data" / "validation-00000-of-00002.parquet", row_group_size=2)
    pq.write_table(hub_table()[4:], tmp_path / "data" / "validation-00001-of-00002.parquet")
    return tmp_path


def parquet_without_names(tmp_path: Path) -> Path:
    table = hub_table().replace_schema_metadata(hub_schema_metadata([f"class {n}" for n in range(1000)]))
    pq.write_table(table, tmp_path / "val.parquet")
    return tmp_path / "val.parquet"


def saved_to_disk(tmp_path: Path) -> Path:
    """As `datasets.save_to_disk`: Arrow streams."""
    table = hub_table()
    for shard in (0, 1):
        with pa.ipc.new_stream(str(tmp_path / f"data-0000{shard}-of-00002.arrow"), table.schema) as stream:
            stream.write_table(table[3 * shard : 3 + 4 * shard])
    write(tmp_path / "state.json", "{}")
    return tmp_path


LAYOUTS = [
    *(folders, hub_folders, devkit_beside, devkit_inside, caffe_inside, caffe_beside, kaggle),
    *(hub_parquet, parquet_without_names, saved_to_disk),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_set(layout, tmp_path: Path) -> None:
    listing = open_val(layout(tmp_path))
    assert list(listing.ids) == val_ids()
    assert listing.labels.tolist() == val_labels()
    assert listing.classes == imagenet_wnids()
    for row in range(len(listing)):
        stored = listing.stored(row)
        content = stored.read_bytes() if isinstance(stored, Path) else stored.getvalue()
        assert content == photograph(int(listing.labels[row])).read_bytes()
        assert str(tmp_path) in listing.where(row)
    assert wrong_labels(listing) == (0, len(VAL))


def test_all_layouts_have_one_fingerprint(tmp_path: Path) -> None:
    found = set()
    for layout in (folders, devkit_beside, kaggle, hub_parquet):
        (tmp_path / layout.__name__).mkdir()
        found.add(open_val(layout(tmp_path / layout.__name__)).fingerprint())
    assert len(found) == 1


def test_the_devkit_is_read_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = devkit_beside(tmp_path)
    archive = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    sums = {"devkit": (archive.name, hashlib.md5(archive.read_bytes()).hexdigest())}
    monkeypatch.setattr(torchvision_imagenet, "ARCHIVE_META", sums)
    (tmp_path / "theirs").mkdir()
    archive.rename(tmp_path / "theirs" / archive.name)
    torchvision_imagenet.parse_devkit_archive(str(tmp_path / "theirs"))
    _, theirs = torchvision_imagenet.load_meta_file(str(tmp_path / "theirs"))
    ours = {key.split("_")[2].split(".")[0]: key.split("/")[0] for key in open_val(root).ids}
    assert ours == {f"{number:08}": theirs[number - 1] for number, _ in VAL}


def test_known_labels_are_what_people_saw_in_the_images() -> None:
    """Beyer et al. labelled them anew: nine in ten old labels are among the new ones; in another order none are."""
    known = known_val_labels()
    assert len(known) == 5000
    seen = real_labels(f"ILSVRC2012_val_{number:08}.JPEG" for number in known)
    looked = [(label, classes) for label, classes in zip(known.values(), seen, strict=True) if classes]
    assert sum(label in classes for label, classes in looked) > 0.88 * len(looked)
    assert sum((label + 1) % 1000 in classes for label, classes in looked) < 0.1 * len(looked)


def without_meta(tmp_path: Path) -> Path:
    root = devkit_beside(tmp_path)
    (tmp_path / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").unlink()
    return root


def meta(content: bytes):
    def make(tmp_path: Path) -> Path:
        root = devkit_inside(tmp_path)
        write(root / "meta.mat", content)
        return root

    return make


def cut_meta(tmp_path: Path) -> Path:
    root = devkit_inside(tmp_path)
    write(root / "meta.mat", (root / "meta.mat").read_bytes()[:3000])
    return root


def short_truth(tmp_path: Path) -> Path:
    root = devkit_inside(tmp_path)
    path = root / "ILSVRC2012_validation_ground_truth.txt"
    write(path, "\n".join(path.read_text().split()[:10]))
    return root


def truth_of_words(tmp_path: Path) -> Path:
    root = devkit_inside(tmp_path)
    write(root / "ILSVRC2012_validation_ground_truth.txt", "490\nseven\n")
    return root


def labels_in(name: str, content: str | bytes):
    def make(tmp_path: Path) -> Path:
        write(tmp_path / "val" / name, content)
        return flat_val(tmp_path / "val")

    return make


def caffe_shifted(tmp_path: Path) -> Path:
    write_caffe(tmp_path / "val" / "val.txt", shift=3)
    return flat_val(tmp_path / "val")


def caffe_counting_from_1(tmp_path: Path) -> Path:
    content = write_caffe(tmp_path / "val.txt", shift=1).read_text() + "ILSVRC2012_val_00000007.JPEG 1000\n"
    return labels_in("val.txt", content)(tmp_path)


def caffe_with_a_gap(tmp_path: Path) -> Path:
    content = "".join(write_caffe(tmp_path / "val.txt").read_text().splitlines(keepends=True)[:-2])
    return labels_in("val.txt", content)(tmp_path)


def another_name(tmp_path: Path) -> Path:
    root = caffe_inside(tmp_path)
    (root / f"ILSVRC2012_val_{VAL[0][0]:08}.JPEG").rename(root / "holiday.jpg")
    return root


KAGGLES_OWN = "".join(f"ILSVRC2012_val_{n:08} {n}\n" for n, _ in VAL)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tmp_path: flat_val(tmp_path / "val"), "no labels; put ILSVRC2012_validation_ground_truth.txt"),
        (without_meta, "devkit's own order; put its meta.mat beside it"),
        (meta(b""), "is not the devkit's meta.mat"),
        (meta(b"MATLAB 5.0 MAT-file" + b"\0" * 200), "is not the devkit's meta.mat"),
        (cut_meta, "is not the devkit's meta.mat"),
        (short_truth, "has no label for 7 of 7 images"),
        (truth_of_words, "is no list of class numbers 1 to 1000"),
        (caffe_shifted, "counts the classes in another order than ImageNet models"),
        (caffe_counting_from_1, "counts classes from 1"),
        (caffe_with_a_gap, "has no label for 2 of 7 images, first ILSVRC2012_val"),
        (labels_in("val.txt", KAGGLES_OWN), "numbers images up to .*, not classes; Kaggle's labels are in LOC_val"),
        (labels_in("val.txt", "ILSVRC2012_val_00000001.JPEG\n"), "line 1: .* is not a file's name and a class index"),
        (labels_in("val.txt", b"\xff\xfe\x00nonsense"), "cannot be read"),
        (labels_in("LOC_val_solution.csv", "a,b\n1,2\n"), "no ImageId and PredictionString in every row"),
        (labels_in("LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000001\n"), "in every row"),
        (labels_in("LOC_val_solution.csv", "ImageId,PredictionString\nx,cat 1 2\n"), "'cat' is none of ImageNet's"),
        (another_name, "images without class folders, such as holiday.jpg"),
    ],
)
def test_labels_that_cannot_be_trusted_are_refused_in_one_line(make, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as error:
        open_val(make(tmp_path))
    assert "\n" not in str(error.value)


def test_what_lies_beside_flat_images_is_named(tmp_path: Path) -> None:
    root = caffe_inside(tmp_path)
    write(root / "ILSVRC2012_val_00000099.gif", b"x")
    assert open_val(root).left_out == ("ILSVRC2012_val_00000099.gif",)


def test_a_set_of_other_files_keeps_its_ids(tmp_path: Path) -> None:
    root = folders(tmp_path)
    write(root / "n01440764" / "mine.JPEG", b"x")
    assert "n01440764/mine.JPEG" in open_val(root).ids
    assert f"{val_ids()[0]}" in open_val(root).ids
