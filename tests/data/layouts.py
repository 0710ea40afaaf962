"""The published test sets in miniature: their own folders, file names and suffixes around real photographs."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from nsbench.data.id_lists import known_val_labels
from nsbench.data.imagenet_classes import imagenet_names, imagenet_wnids
from tests.shared import SAMPLES, absent

WNIDS = imagenet_wnids()


def photograph(index: int) -> Path:
    """A real photograph of a class."""
    path = SAMPLES / WNIDS[index] / f"{WNIDS[index]}.JPEG"
    if not path.is_file():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    return path


@functools.cache
def square(index: int, side: int = 224) -> Image.Image:
    """The middle of a photograph."""
    image = Image.open(photograph(index)).convert("RGB")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def link(path: Path, index: int) -> Path:
    """A photograph of a class under another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(photograph(index))
    return path


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


# val ---------------------------------------------------------------------------------------------------------------

VAL = tuple(sorted(known_val_labels().items(), key=lambda item: item[1])[::800])
"""Seven of val's images: number and class."""


def val_ids() -> list[str]:
    """By hand: what every layout must give."""
    return sorted(f"{WNIDS[label]}/ILSVRC2012_val_{number:08}.JPEG" for number, label in VAL)


def val_labels() -> list[int]:
    return [WNIDS.index(key.split("/")[0]) for key in val_ids()]


def val_folders(root: Path, *, hub_names: bool = False) -> Path:
    """A folder for each of the thousand classes, most of them empty."""
    for wnid in WNIDS:
        (root / wnid).mkdir(parents=True)
    for number, label in VAL:
        suffix = f"_{WNIDS[label]}.JPEG" if hub_names else ".JPEG"
        link(root / WNIDS[label] / f"ILSVRC2012_val_{number:08}{suffix}", label)
    return root


def flat_val(root: Path) -> Path:
    for number, label in VAL:
        link(root / f"ILSVRC2012_val_{number:08}.JPEG", label)
    return root


def devkit_numbers() -> dict[str, int]:
    """An ILSVRC2012_ID 1..1000 for each class, in an order of its own as in the real devkit."""
    order = np.random.default_rng(7).permutation(len(WNIDS))
    return {WNIDS[index]: place for place, index in enumerate(order.tolist(), 1)}


def write_devkit(folder: Path) -> Path:
    """`meta.mat` with inner nodes behind the thousand, and the ground truth of 50,000 images."""
    meta, truth = _devkit()
    write(folder / "meta.mat", meta)
    write(folder / "ILSVRC2012_validation_ground_truth.txt", truth)
    return folder


@functools.cache
def _devkit() -> tuple[bytes, str]:
    numbers = devkit_numbers()
    rows = [(number, wnid, 0) for wnid, number in sorted(numbers.items(), key=lambda item: item[1])]
    rows += [(1001, "n00001740", 3), (1002, "n00001930", 2)]
    kinds = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")]
    synsets = np.empty((len(rows), 1), dtype=kinds)
    for row, (number, wnid, children) in enumerate(rows):
        synsets[row, 0] = (float(number), wnid, f"words of {wnid}", "gloss", float(children), np.zeros(children))
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets})
    known = known_val_labels()
    truth = [numbers[WNIDS[known.get(number, number % 1000)]] for number in range(1, 50_001)]
    return buffer.getvalue(), "".join(f"{number}\n" for number in truth)


def write_caffe(path: Path, shift: int = 0) -> Path:
    return write(path, "".join(f"ILSVRC2012_val_{n:08}.JPEG {label + shift}\n" for n, label in sorted(VAL)))


def write_kaggle(path: Path) -> Path:
    buffer = io.StringIO()
    table = csv.writer(buffer)
    table.writerow(["ImageId", "PredictionString"])
    table.writerows([f"ILSVRC2012_val_{n:08}", f"{WNIDS[label]} 111 108 441 193 "] for n, label in VAL)
    return write(path, buffer.getvalue())


# tables ------------------------------------------------------------------------------------------------------------


def hub_schema_metadata(names: Sequence[str]) -> dict[bytes, bytes]:
    """What `datasets` keeps in a schema."""
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def hub_names() -> list[str]:
    """The words of the thousand classes as the hub has them, where no name may occur twice."""
    names = list(imagenet_names())
    names[517] = "crane2"
    return names


# corrupted ---------------------------------------------------------------------------------------------------------


def corruption_cell(folder: Path, classes: Iterable[int], side: int = 224) -> Path:
    """`<wnid>/<image>` of one corruption and severity."""
    for index in classes:
        image = square(index).resize((side, side)) if side != 224 else square(index)
        write(folder / WNIDS[index] / f"ILSVRC2012_val_{index + 1:08}.JPEG", jpeg(image))
    return folder


# ObjectNet ---------------------------------------------------------------------------------------------------------

OBJECTNET = {
    "alarm_clock": ("Alarm clock", (409, 530)),
    "banana": ("Banana", (954,)),
    "chair": ("Chair", (423, 559, 765)),
    "t-shirt": ("T-shirt", (610,)),
}
"""Folder: label, and ImageNet's classes."""


def write_mappings(folder: Path) -> Path:
    """ObjectNet's four files, with the devkit's order of lines."""
    order = np.random.default_rng(3).permutation(1000).tolist()
    names = imagenet_names()
    labels = {key: label for key, (label, _) in OBJECTNET.items()} | {"air_freshener": "Air freshener"}
    overlap = {label: "; ".join(names[index] for index in indices) for label, indices in OBJECTNET.values()}
    lines = {str(index): place for place, index in enumerate(order)}
    write(folder / "folder_to_objectnet_label.json", json.dumps(labels))
    write(folder / "objectnet_to_imagenet_1k.json", json.dumps(overlap))
    write(folder / "pytorch_to_imagenet_2012_id.json", json.dumps(lines))
    write(folder / "imagenet_to_label_2012_v2", "".join(f"{names[index]}\n" for index in order))
    return folder


def objectnet(root: Path) -> Path:
    """Images with a red border of two pixels, of the classes that overlap and of one that does not."""
    for folder in (*OBJECTNET, "air_freshener"):
        index = OBJECTNET[folder][1][0] if folder in OBJECTNET else 0
        inner = Image.open(photograph(index)).convert("RGB")
        framed = Image.new("RGB", (inner.width + 4, inner.height + 4), (255, 0, 0))
        framed.paste(inner, (2, 2))
        buffer = io.BytesIO()
        framed.save(buffer, "PNG", compress_level=1)
        write(root / "images" / folder / "0a1b2c3d.png", buffer.getvalue())
    write_mappings(root / "mappings")
    return root
