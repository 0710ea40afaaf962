"""The user's own models: by `module:function`, and from Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.models import PixelModel
from nsbench.pretrained import load_pretrained, wrap

SOURCE = """
import torch
from torch import nn
from beside_{number} import CLASSES

class Net(nn.Module):
    input_size = 96
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, CLASSES)
    def forward(self, images):
        return self.fc(images.mean(dim=(2, 3)))

def make():
    torch.manual_seed(0)
    return Net().train()

def plain():
    return lambda images: images.mean(dim=(2, 3))

READY = Net()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module in the current directory, which imports its neighbour; under a name of its own in each test."""
    number = abs(hash(request.node.name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / f"beside_{number}.py").write_text("CLASSES = 4")
    (tmp_path / f"mine_{number}.py").write_text(SOURCE.format(number=number))
    return f"mine_{number}"


def test_a_function_of_the_current_directory(module: str) -> None:
    before = list(sys.path)
    model = load_pretrained(f"{module}:make")
    assert sys.path == before
    assert model.name == f"{module}:make"
    assert (model.view, model.input_px) == (View(size=96, resize=109, interpolation="bilinear"), 96)
    assert (model.num_classes, model.classes, model.num_parameters) == (4, None, 16)
    assert not model.model.training
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(model.model(images), model.model.fc(images.mean(dim=(2, 3))))  # pixels as they are
    assert load_pretrained(f"{module}:make").fingerprint == model.fingerprint
    assert load_pretrained(f"{module}:READY").num_classes == 4


def test_equal_weights_in_changed_code_are_another_model(module: str) -> None:
    before = load_pretrained(f"{module}:make").fingerprint
    path = Path(f"{module}.py")
    path.write_text(path.read_text() + "\n# changed\n")
    del sys.modules[module]
    assert load_pretrained(f"{module}:make").fingerprint != before


def test_overrides_put_a_normalisation_before_it(module: str) -> None:
    plain = load_pretrained(f"{module}:make")
    model = load_pretrained(f"{module}:make", size=64, crop_pct=0.5, mean=(0.5, 0.4, 0.3), std=(2.0, 1.0, 4.0))
    assert (model.view, model.input_px) == (View(size=64, resize=128, interpolation="bilinear"), 64)
    assert isinstance(model.model, PixelModel)
    assert model.fingerprint != plain.fingerprint
    images = torch.rand(1, 3, 64, 64)
    by_hand = (images - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor([2.0, 1.0, 4.0]).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model.model(images), plain.model(by_hand))


def test_a_plain_function_is_never_taken_for_an_earlier_one(module: str) -> None:
    one, two = load_pretrained(f"{module}:plain"), load_pretrained(f"{module}:plain")
    assert (one.num_classes, one.num_parameters) == (3, 0)
    assert one.view == View(size=224, resize=256, interpolation="bilinear")
    assert one.fingerprint != two.fingerprint
    assert len(one.fingerprint) == 16


class Labelled(nn.Module):
    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 8, 8)
        self.drop = nn.Dropout()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.drop(self.conv(images)).mean(dim=(2, 3))


def test_wrapping_a_module() -> None:
    net = Labelled().train()
    model = wrap(net)
    assert model.model is net
    assert not net.training
    assert not net.drop.training
    assert (model.name, model.view) == ("Labelled", View(size=224, resize=256, interpolation="bilinear"))
    assert wrap(net, name="mine", size=32).name == "mine"
    same, other = wrap(net), Labelled()
    assert same.fingerprint == model.fingerprint != wrap(other).fingerprint
    assert wrap(net, crop_pct=1.0).fingerprint != model.fingerprint
    assert wrap(net, size=32, crop_pct=0.875).view == View(size=32, resize=36, interpolation="bilinear")


def test_one_changed_bit_is_another_model() -> None:
    net = Labelled()
    before = wrap(net).fingerprint
    with torch.no_grad():
        net.conv.weight[0, 0, 0, 0] = torch.nextafter(net.conv.weight[0, 0, 0, 0], torch.tensor(9.0))
    assert wrap(net).fingerprint != before


def test_wrapping_a_function_and_its_gradient() -> None:
    def brightness(images: torch.Tensor) -> torch.Tensor:
        return torch.stack([images.mean(dim=(1, 2, 3)), images.amax(dim=(1, 2, 3))], dim=1)

    model = wrap(brightness)
    assert (model.name, model.num_classes) == ("brightness", 2)
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    model.model(images)[0, 0].backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad, torch.full_like(images, 1 / 192))
    assert model.model.eval().to("cpu") is model.model


def test_a_tensor_that_a_model_keeps_may_take_part_in_an_attack() -> None:
    class Keeps(nn.Module):
        kept: torch.Tensor | None = None

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.kept is None:
                self.kept = images.mean(dim=(2, 3)) * 0 + 2
            return images.mean(dim=(2, 3)) * self.kept

    model = wrap(Keeps()).model
    images = torch.rand(1, 3, 4, 4, requires_grad=True)
    model(images).sum().backward()
    assert images.grad is not None
    assert (images.grad > 0).all()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 22.4}, "size is 22.4"),
        ({"size": True}, "size is True"),
        ({"crop_pct": 0.0}, "crop_pct is 0.0"),
        ({"crop_pct": 1.1}, "crop_pct is 1.1"),
        ({"crop_pct": float("nan")}, "crop_pct is nan"),
        ({"interpolation": "bicubik"}, "did you mean 'bicubic'"),
        ({"mean": (0.5,)}, "three numbers"),
        ({"mean": ("a", "b", "c")}, "three numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "above 0"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"num_classes": 6}, "has 5 classes, not 6"),
        ({"architecture": "resnet50"}, "needs no architecture"),
    ],
    ids=str,
)
def test_wrong_overrides_are_one_line(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        wrap(Labelled(), **overrides)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_one_line() -> None:
    with pytest.raises(ConfigError, match="a int is no model"):
        wrap(3)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="fails on an image of 4 x 4 px"):
        wrap(Labelled(), size=4)


def test_probabilities_are_no_logits() -> None:
    """Of a softmax's output every calibration figure would be wrong; logits that sum to 1 by chance are logits."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))
    with pytest.raises(DataError, match="gives probabilities; it must give logits, from before its softmax"):
        wrap(nn.Sequential(net, nn.Softmax(dim=1)))
    assert wrap(nn.Sequential(net, nn.LogSoftmax(dim=1))).num_classes == 7
    assert wrap(lambda images: images.mean(dim=(2, 3))[:, :2]).num_classes == 2  # 0.5 and 0.5 on grey
