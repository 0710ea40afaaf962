"""Sample pictures: chosen by rule from records, the same every time, of any models on any images."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from nsbench.config import EvalConfig
from nsbench.data.folder import open_folder
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.images import ImageSet, PoolTruth
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet
from nsbench.engine.label_store import write_parquet
from nsbench.errors import DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.files import write_npz
from nsbench.runfolder import RunFolder
from nsbench.samples import Gallery, Labels, write_samples
from nsbench.samples.gallery import class_words

CONFIG = EvalConfig(batch_size=8, perturbation_images=6, epsilons_px=(0.0, 16.0), replicates=10)
CLASSES = tuple(f"class-{k}" for k in range(3))


class Brightness(nn.Module):
    """Answers by the brightness of one channel, or of all: another answer under noise, and a gradient to follow."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        mean = images[:, list(self.channels)].mean(dim=(1, 2, 3))
        return torch.stack([1 - 3 * mean, 0.5 - (mean - 0.5).abs(), 3 * mean - 2], dim=1) * 40


MODELS: dict[str, nn.Module] = {"0": Brightness((0,)), "1": Brightness((0, 1, 2)), "control": Brightness((1,))}


def photographs(root: Path, side: int) -> Path:
    """A folder of 30 pictures, ten a class, of growing brightness."""
    rng = np.random.default_rng(0)
    for number in range(30):
        label = number % 3
        pixels = rng.normal(60 + 70 * label + number, 30, (side, side, 3)).clip(0, 255).astype(np.uint8)
        folder = root / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return root


def sets_of(root: Path, side: int, kind: str) -> dict[str, Any]:
    """The images in memory (`held`), or read as they come (`streamed`)."""
    streamed = StreamedSet(listing=open_folder(root, name="val"), view=View(size=side, resize=None))
    if kind == "streamed":
        return {"val": streamed, "corruption-base": streamed}
    pixels = np.concatenate([pixels for _, pixels, _ in streamed.batches([slice(0, 30)])])
    held = ImageSet(name="val", ids=streamed.ids, pixels=pixels, labels=streamed.labels, classes=streamed.classes)
    return {"val": held}


def measured(tmp_path: Path, sets: dict[str, Any], evals: tuple[str, ...], names: dict[str, nn.Module]) -> Gallery:
    """A gallery over records that the evals themselves have written."""
    folder = RunFolder(tmp_path / "run")
    contexts = {
        name: EvalContext(model=model, device="cpu", config=CONFIG, sets=sets, cache=tmp_path / "cache")
        for name, model in names.items()
    }
    for name, context in contexts.items():
        for one in evals:
            wanted = EVALS[one].cells(CONFIG, sets)
            cells = [c for c in wanted if one != "imagenet-c" or c.startswith(("gaussian_noise-", "fog-", "clean"))]
            for cell in cells[:12]:
                write_npz(folder.cell(name, one, cell), EVALS[one].predict(context, cell))
    return Gallery(
        folder=folder,
        lines={name: name for name in names},
        context=next(iter(contexts.values())),
        open=contexts.__getitem__,
        classes=CLASSES,
    )


def listed(gallery: Gallery) -> dict[str, list[dict[str, Any]]]:
    groups = json.loads((gallery.folder.samples / "samples.json").read_text(encoding="utf-8"))
    return {group["group"]: group["items"] for group in groups}


@pytest.mark.parametrize(("kind", "side", "suffix"), [("held", 32, "png"), ("streamed", 128, "jpg")])
def test_pictures_say_what_the_records_say(tmp_path: Path, kind: str, side: int, suffix: str) -> None:
    sets = sets_of(photographs(tmp_path / "data", side), side, kind)
    gallery = measured(tmp_path, sets, ("imagenet-c", "fgsm"), MODELS)
    write_samples(gallery)
    groups = listed(gallery)
    assert [(i["subset"], i["level"]) for i in groups["corruptions"]] == [
        (name, level) for name in ("gaussian_noise", "fog") for level in "135"
    ]
    for item in groups["corruptions"]:
        arrays = gallery.answers("imagenet-c", f"{item['subset']}-{item['level']}")
        matching = [
            row for row in range(30)
            if {key: CLASSES[cell["top1"][row]] for key, cell in arrays.items()} == item["predictions"]
            and CLASSES[sets["val"].labels[row]] == item["truth"]
        ]  # fmt: skip
        assert matching, "no image has these answers and this truth"
    for item in (item for items in groups.values() for item in items):
        content = (gallery.folder.samples / item["file"]).read_bytes()
        assert item["file"].endswith(suffix)
        with Image.open(io.BytesIO(content)) as image:
            assert image.height == min(side, 112)
            assert image.width == (3 if item["subset"] == "fgsm" else 1) * image.height


def test_attacked_pairs_turn_the_first_model_and_show_the_difference_around_grey(tmp_path: Path) -> None:
    sets = sets_of(photographs(tmp_path / "data", 32), 32, "held")
    gallery = measured(tmp_path, sets, ("fgsm",), MODELS)
    write_samples(gallery)
    items = listed(gallery)["adversarial"]
    assert items
    assert [item["predictions"].keys() for item in items] == [{"0"}, {"1"}] * (len(items) // 2)
    assert all(item["truth"] != item["predictions"]["0"] for item in items[::2])
    strip = np.asarray(Image.open(gallery.folder.samples / items[0]["file"])).astype(int)
    clean, attacked, grey = strip[:, :32], strip[:, 32:64], strip[:, 64:]
    inside = (attacked > 0) & (attacked < 255)
    expected = np.clip(127.5 + 6 * (attacked - clean), 0, 255)
    assert np.abs(grey - expected)[inside].max() <= 4
    assert (attacked != clean).any()


def test_the_same_records_give_the_same_files_and_old_ones_go(tmp_path: Path) -> None:
    sets = sets_of(photographs(tmp_path / "data", 32), 32, "held")
    gallery = measured(tmp_path, sets, ("imagenet-c", "fgsm", "imagenet-p"), MODELS)
    write_samples(gallery)
    first = {path.name: path.read_bytes() for path in gallery.folder.samples.iterdir()}
    (gallery.folder.samples / "corruptions-099.png").write_bytes(b"of an earlier attempt")
    write_samples(gallery)
    assert {path.name: path.read_bytes() for path in gallery.folder.samples.iterdir()} == first


def test_a_lacking_cell_leaves_a_model_out_and_no_records_leave_no_pictures(tmp_path: Path) -> None:
    sets = sets_of(photographs(tmp_path / "data", 32), 32, "held")
    gallery = measured(tmp_path, sets, ("imagenet-c",), MODELS)
    gallery.folder.cell("1", "imagenet-c", "fog-3").unlink()
    write_samples(gallery)
    said = {(i["subset"], i["level"]): set(i["predictions"]) for i in listed(gallery)["corruptions"]}
    assert said["fog", "3"] == {"0", "control"}
    assert said["fog", "5"] == {"0", "1", "control"}
    write_samples(dataclasses.replace(gallery, folder=RunFolder(tmp_path / "empty")))
    assert json.loads((tmp_path / "empty" / "samples" / "samples.json").read_text()) == []


def test_an_image_that_is_gone_is_said_in_one_line(tmp_path: Path) -> None:
    root = photographs(tmp_path / "data", 128)
    gallery = measured(tmp_path, sets_of(root, 128, "streamed"), ("imagenet-c",), {"0": MODELS["0"]})
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read") as raised:
        write_samples(gallery)
    assert "\n" not in str(raised.value)


def test_pseudo_labels_are_sorted_into_confident_dropped_and_wrong(tmp_path: Path) -> None:
    sets = sets_of(photographs(tmp_path / "data", 32), 32, "held")
    images = sets["val"]
    confidence = np.linspace(0.1, 0.99, 30).astype(np.float32)
    labels = np.where(np.arange(30) == 28, (images.labels + 1) % 3, images.labels).astype(np.int32)
    labels[29] = -1  # could not be read
    for name, column in (("labels", labels), ("selection", (confidence >= 0.5).astype(np.uint16))):
        columns = {"key": pa.array(images.ids.tolist())}
        columns |= {"copies": column} if name == "selection" else {"label": column, "confidence": confidence}
        write_parquet(tmp_path / f"{name}.parquet", pa.table(columns), "test", num_classes=3)
    given = Labels(
        labels=tmp_path / "labels.parquet", selection=tmp_path / "selection.parquet", images=images,
        truth=PoolTruth(ids=images.ids, labels=images.labels, sources=np.full(30, "web")), min_confidence=0.5,
        teacher="0",
    )  # fmt: skip
    gallery = measured(tmp_path, sets, (), MODELS)
    write_samples(gallery, given)
    groups = listed(gallery)
    assert {name: len(items) for name, items in groups.items()} == {"confident": 12, "filtered": 12, "wrong": 1}
    assert groups["confident"][0]["caption"] == f"{confidence[28]:.2f}, web"
    assert groups["wrong"][0]["truth"] == CLASSES[images.labels[28]] != groups["wrong"][0]["predictions"]["0"]
    assert all(float(item["caption"].split(",")[0]) <= 0.5 for item in groups["filtered"])
    write_samples(gallery, dataclasses.replace(given, truth=None))
    assert set(listed(gallery)) == {"confident", "filtered"}


def test_wnids_become_words() -> None:
    words = class_words(imagenet_wnids())
    assert words[0] == "tench"
    assert len(set(words)) >= 998, "two classes of ImageNet have the same words"
    assert class_words(("cat", "dog")) == ("cat", "dog")
