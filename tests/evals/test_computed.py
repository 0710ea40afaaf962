"""Computed cells: provenance in words, the same pixels with and without files, and names that mislead nobody."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

import nsbench.evals.imagenet_c
import nsbench.evals.imagenet_p
from nsbench.config import EvalConfig
from nsbench.corruptions import CORRUPTION_VERSION, corrupt
from nsbench.corruptions.constants import tables
from nsbench.data.folder import open_folder, picture_set, read_images
from nsbench.data.images import ImageSet, PictureSet
from nsbench.errors import DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.evals.base import image_seeds
from nsbench.evals.computed import corrupted, films, provenance
from nsbench.files import fingerprint
from nsbench.metrics.reference import (
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CORRUPTION_SIZES,
    CORRUPTIONS,
    PERTURBATIONS,
)
from nsbench.pretrained import load_pretrained
from tests.evals.conftest import CONFIG, find
from tests.photographs import shorter_side_256
from tests.shared import SAMPLES, absent

LABELS = np.array([3, 999, 0, 17, 500], dtype=np.int64)


@pytest.fixture(scope="module")
def whole_pictures() -> list[np.ndarray]:
    """Five real photographs, shorter side 256."""
    photographs = [
        *load_sample_images().images,
        skimage.data.astronaut(),
        skimage.data.chelsea(),
        skimage.data.coffee(),
    ]
    return [shorter_side_256(photograph) for photograph in photographs]


@pytest.fixture(scope="module")
def crops(whole_pictures: list[np.ndarray]) -> ImageSet:
    return ImageSet(
        name="photographs",
        ids=np.array([f"p{i}" for i in range(5)]),
        pixels=np.stack([p[16:240, round((p.shape[1] - 224) / 2) :][:, :224] for p in whole_pictures]),
        labels=LABELS,
        classes=tuple(map(str, range(1000))),
    )


@pytest.fixture(scope="module")
def pictures(whole_pictures: list[np.ndarray], crops: ImageSet) -> PictureSet:
    return PictureSet(
        name="photographs",
        ids=crops.ids,
        labels=crops.labels,
        classes=crops.classes,
        size=224,
        preprocessing="shorter side 256",
        fingerprint=fingerprint(*whole_pictures),
        decode=whole_pictures.__getitem__,
    )


@pytest.fixture(scope="module")
def thousand() -> nn.Module:
    """A random network that sees colours and edges, with as many classes as ImageNet."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 1000)
    ).eval()


def context(model: nn.Module, sets: dict[str, Any], cache: Path, **more: Any) -> EvalContext:
    return EvalContext(model=model, device="cpu", config=dataclasses.replace(CONFIG, **more), sets=sets, cache=cache)


def test_provenance_follows_the_authors_and_can_be_chosen(crops: ImageSet, sets: dict[str, ImageSet]) -> None:
    assert provenance(crops, EvalConfig()) == "device-jpeg85"
    assert provenance(sets["val"], EvalConfig()) == "device-memory"
    for chosen in ("device-jpeg85", "device-memory", "imagecorruptions"):
        assert provenance(crops, EvalConfig(corruption_source=chosen)) == chosen


def test_protocols_say_everything(crops: ImageSet, pictures: PictureSet) -> None:
    sets = {"val": crops, "val-pictures": pictures}
    protocol = EVALS["imagenet-c"].protocol(CONFIG, sets)
    for part in ("device-jpeg85", "constants for 224 px", f"pixels v{CORRUPTION_VERSION}", "data seed 0", "5 images"):
        assert part in protocol
    assert "filmed from the pictures" in EVALS["imagenet-p"].protocol(CONFIG, sets)
    assert "filmed from the images" in EVALS["imagenet-p"].protocol(CONFIG, {"val": crops})
    odd = dataclasses.replace(crops, pixels=crops.pixels[:, :100, :100])
    assert "device-native-size: constants interpolated for 100 px, unofficial" in EVALS["imagenet-c"].protocol(
        CONFIG, {"val": odd}
    )
    assert "unofficial" in EVALS["imagenet-p"].protocol(CONFIG, {"val": odd})


@pytest.mark.parametrize(("name", "severity"), [("fog", 3), ("pixelate", 5), ("gaussian_noise", 1)])
def test_jpeg85_is_pillows_after_the_corruption(crops: ImageSet, name: str, severity: int) -> None:
    batch = torch.from_numpy(crops.pixels).permute(0, 3, 1, 2)
    shown = corrupt(batch, name, severity, seeds=torch.from_numpy(image_seeds(crops.ids, 0)))
    saved = corrupted(crops, name, severity, EvalConfig())
    for image, pixels in zip(shown.permute(0, 2, 3, 1).numpy(), saved, strict=True):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=85, optimize=True)
        np.testing.assert_array_equal(np.asarray(Image.open(stream)), pixels)


def test_a_batch_that_is_corrupted_on_its_way_gives_the_cells_of_the_cache(
    crops: ImageSet, thousand: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, cell in (("imagenet-c", "snow-4"), ("imagenet-p", "rotate")):
        small = context(thousand, {"val": crops}, tmp_path, batch_size=3)
        through_files = EVALS[name].predict(small, cell)
        assert list(tmp_path.rglob("*.npy"))
        module = getattr(nsbench.evals, name.replace("-", "_"))
        monkeypatch.setattr(module, "CACHED_BYTES", 0)
        straight = EVALS[name].predict(context(thousand, {"val": crops}, tmp_path / "other", batch_size=3), cell)
        assert not (tmp_path / "other").exists()
        for key, array in through_files.items():
            np.testing.assert_array_equal(array, straight[key])


def test_films_show_the_picture_behind_the_crop(crops: ImageSet, pictures: PictureSet) -> None:
    whole, cropped = (films(images, [0], "translate", CONFIG)[0] for images in (pictures, crops))
    assert torch.equal(whole[20], cropped[20])  # the clean frame
    assert (cropped[40][:, :, :20] == 0).all()  # 20 px to the right: black comes in ...
    edge = torch.tensor(pictures.decode(0)).permute(2, 0, 1)[:, 16:240]
    left = round((edge.shape[2] - 224) / 2)
    assert torch.equal(whole[40], edge[:, :, left - 20 : left + 204])  # ... unless the picture goes on


def test_a_model_of_another_size_sees_the_224_px_cells_resized(
    crops: ImageSet, thousand: nn.Module, tmp_path: Path
) -> None:
    shapes = []
    hook = thousand.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    sized = dataclasses.replace(context(thousand, {"val": crops}, tmp_path, batch_size=4), input_px=288)
    EVALS["imagenet-c"].predict(sized, "contrast-1")
    hook.remove()
    assert shapes == [(4, 3, 288, 288)] * 2


def imagenet_records(side: int, num_classes: int = 1000, source: str = "device-jpeg85") -> dict[str, Any]:
    """Forty images, of which 12 are wrong in every cell; forty films that flip at each third frame."""
    ids, labels = np.array([f"i{k:02d}" for k in range(40)]), np.zeros(40, dtype=np.int64)
    of_model = {"num_classes": np.array(num_classes), "side": np.array(side)}
    wrong = {**of_model, "ids": ids, "labels": labels, "provenance": np.array(source)}
    wrong["top1"] = (np.arange(40) < 12).astype(np.int32)
    films_top1 = np.tile(np.repeat([0, 1], 3)[np.arange(31) % 6], (40, 1))
    film = {**of_model, "ids": ids, "labels": labels, "top1": films_top1}
    film["top5"] = np.stack([films_top1, 1 - films_top1, *(np.full((40, 31), k) for k in (2, 3, 4))], axis=-1)
    return {
        "imagenet-c": {"0": {f"{name}-{s}": wrong for name in CORRUPTIONS for s in range(1, 6)}},
        "imagenet-p": {"0": dict.fromkeys(PERTURBATIONS, film)},
    }


def test_alexnets_table_is_named_with_the_provenance() -> None:
    records = imagenet_records(224)
    rows = EVALS["imagenet-c"].measure(records["imagenet-c"], CONFIG)
    name = ", AlexNet table, device-jpeg85"
    fog = find(rows, f"CE{name}", "0", subset="fog", level="mean")
    assert fog.value == pytest.approx(100 * 5 * 0.3 / sum(ALEXNET_ERRORS["fog"]))
    assert "released" in fog.protocol
    mean = np.mean([100 * 5 * 0.3 / sum(ALEXNET_ERRORS[c]) for c in CORRUPTIONS])
    assert find(rows, f"mCE{name}", "0", level="mean").value == pytest.approx(mean)
    films_rows = EVALS["imagenet-p"].measure(records["imagenet-p"], CONFIG)
    rate = find(films_rows, "FR, AlexNet table, device-memory", "0", subset="tilt")
    assert rate.value == pytest.approx(100 * (10 / 30) / ALEXNET_FLIP_PROBABILITIES["tilt"])


@pytest.mark.parametrize("other", [{"side": 100}, {"side": 32}, {"side": 224, "num_classes": 10}])
def test_alexnets_table_is_for_imagenet_at_224_px_alone(other: dict[str, int]) -> None:
    for name, records in imagenet_records(**other).items():
        assert not [row for row in EVALS[name].measure(records, CONFIG) if "AlexNet" in row.metric]


def test_an_unpublished_size_has_errors_and_nothing_called_mce() -> None:
    rows = EVALS["imagenet-c"].measure(imagenet_records(100)["imagenet-c"], CONFIG)
    assert {row.metric for row in rows} == {"error"}
    assert "mCE" in {row.metric for row in EVALS["imagenet-c"].measure(imagenet_records(64)["imagenet-c"], CONFIG)}
    assert tuple(tables()) == CORRUPTION_SIZES


def test_different_provenance_never_shares_a_column_or_a_difference() -> None:
    records = imagenet_records(224)["imagenet-c"]
    records["1"] = imagenet_records(224, source="device-memory")["imagenet-c"]["0"]
    with pytest.raises(DataError, match="device-jpeg85 at 224 px and device-memory at 224 px, which can"):
        EVALS["imagenet-c"].measure(records, CONFIG)


def test_a_real_classifier_on_real_photographs(tmp_path: Path) -> None:
    """From files to cells with nothing in between: what is easy, what is hard, and films that hardly flip."""
    val = SAMPLES
    if not val.is_dir():
        absent(f"the sample photographs are not at {val} (set NSBENCH_SHARED_DATA)")
    lite0 = load_pretrained("pypi:efficientnet-lite0")
    folder = open_folder(val).take(range(0, 1000, 25))
    crops, _ = read_images(folder)
    sets = {"val": crops, "val-pictures": picture_set(folder)}
    real = dataclasses.replace(
        context(lite0.model, sets, tmp_path, batch_size=8, perturbation_images=8), input_px=lite0.input_px
    )
    easy, hard = (EVALS["imagenet-c"].predict(real, cell) for cell in ("brightness-1", "gaussian_noise-5"))
    assert (easy["top1"] == easy["labels"]).mean() >= 0.7
    assert easy["log_prob_true"].mean() > hard["log_prob_true"].mean() + 2
    assert str(easy["provenance"]) == "device-jpeg85"
    turned = EVALS["imagenet-p"].predict(real, "rotate")
    assert turned["top1"].shape == (8, 31)
    assert (turned["top1"][:, 1:] != turned["top1"][:, :-1]).mean() < 0.3
    clean = dict(zip(crops.ids, crops.labels, strict=True))
    assert [clean[key] for key in turned["ids"]] == turned["labels"].tolist()
    assert (turned["top1"][:, 15] == turned["labels"]).mean() >= 0.5  # the clean crop
