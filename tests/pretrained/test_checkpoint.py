"""Checkpoints as training scripts leave them: wrappers, prefixes, averaged weights; and nothing in them is run."""

from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.models import build, save_weights
from nsbench.pretrained import load_pretrained
from nsbench.pretrained.checkpoint import unprefixed
from nsbench.trainingconfig import ModelConfig
from tests.pretrained.conftest import network, normalised

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Seven classes; no parameter and no statistic is what a fresh network has."""
    made = network("test_resnet", num_classes=7)
    with torch.no_grad():
        for number, tensor in enumerate(made.state_dict().values()):
            if tensor.is_floating_point():
                tensor.add_(0.01 * (number % 5))
    return made


@pytest.fixture(scope="module")
def other() -> nn.Module:
    return network("test_resnet", seed=1, num_classes=7)


def same(model: Any, net: nn.Module) -> bool:
    left, right = model.model.net.state_dict(), net.state_dict()
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def averaged(state: State) -> State:
    """As torch's AveragedModel saves, which counts."""
    return {"n_averaged": torch.tensor(3), **prefixed(state, "module.")}


WRAPPED: dict[str, Callable[[State, State], Any]] = {
    "bare": lambda good, _: good,
    "state_dict": lambda good, _: {"epoch": 3, "state_dict": good},
    "model": lambda good, _: {"model": good, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda good, _: {"model_state_dict": good},
    "distributed": lambda good, _: {"state_dict": prefixed(good, "module.")},
    "compiled": lambda good, _: prefixed(good, "_orig_mod."),
    "compiled in distributed": lambda good, _: prefixed(good, "module._orig_mod."),
    "distributed in compiled": lambda good, _: prefixed(good, "_orig_mod.module."),
    "lightning": lambda good, _: {"state_dict": prefixed(good, "model.")},
    "timm": lambda good, raw: {"state_dict": raw, "state_dict_ema": good, "args": argparse.Namespace(lr=1)},
    "torchvision": lambda good, raw: {"model": raw, "model_ema": averaged(good), "epoch": 1},
    "ema": lambda good, raw: {"state_dict": prefixed(raw, "module."), "ema": prefixed(good, "module.")},
}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [*((kind, ".pth") for kind in WRAPPED), *(("timm", suffix) for suffix in (".pth.tar", ".pt", ".bin", ".ckpt"))],
)
def test_weights_are_found_in_what_is_around_them(
    kind: str, suffix: str, net: nn.Module, other: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / f"last{suffix}"
    torch.save(WRAPPED[kind](net.state_dict(), other.state_dict()), path)
    model = load_pretrained(f"test_resnet={path}")
    assert same(model, net)
    assert (model.num_classes, model.classes) == (7, None)
    notes = [note for note in model.notes if "averaged weights" in note]
    assert len(notes) == (kind in ("timm", "torchvision", "ema"))


def test_torchs_own_averaged_model(net: nn.Module, tmp_path: Path) -> None:
    torch.save({"model_ema": AveragedModel(net).state_dict()}, tmp_path / "a.pth")
    assert same(load_pretrained(f"test_resnet={tmp_path / 'a.pth'}"), net)


def test_safetensors_and_pickle_of_the_same_weights_are_the_same_model(net: nn.Module, tmp_path: Path) -> None:
    safetensors.torch.save_file(net.state_dict(), tmp_path / "a.safetensors")
    torch.save(net.state_dict(), tmp_path / "a.pth")
    one, two = (load_pretrained(f"test_resnet.r160_in1k={tmp_path / name}") for name in ("a.safetensors", "a.pth"))
    assert one.fingerprint == two.fingerprint
    assert one.view == View(size=160, resize=168, interpolation="bilinear")
    assert one.notes == ("preprocessing of timm's test_resnet.r160_in1k",)
    with torch.no_grad():
        expected = normalised(net, IMAGES, 0.5, 0.5)
        torch.testing.assert_close(one.model(IMAGES), expected, atol=1e-5, rtol=1e-5)


def test_the_architecture_may_be_an_argument(net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "lr=0.1" / "a.pth"
    path.parent.mkdir()
    torch.save(net.state_dict(), path)
    model = load_pretrained(str(path), architecture="test_resnet", size=64, crop_pct=1.0, interpolation="bicubic")
    assert same(model, net)
    assert (model.view, model.input_px) == (View(size=64, resize=64, interpolation="bicubic"), 64)
    assert load_pretrained(f"test_resnet={path}", architecture="test_resnet").num_classes == 7
    with pytest.raises(ConfigError, match="give one"):
        load_pretrained(f"test_resnet={path}", architecture="test_vit")
    with pytest.raises(ConfigError, match="as in resnet50="):
        load_pretrained(str(path))


def test_a_vision_transformer_of_another_size(tmp_path: Path) -> None:
    torch.save(network("test_vit", img_size=96, num_classes=4).state_dict(), tmp_path / "v.pth")
    assert load_pretrained(f"test_vit={tmp_path / 'v.pth'}", size=96).view.size == 96
    with pytest.raises(DataError, match=r"'pos_embed' is \[1, 37, 64\], not \[1, 101, 64\]"):
        load_pretrained(f"test_vit={tmp_path / 'v.pth'}")


def test_the_old_format_and_statistics_without_counters(net: nn.Module, tmp_path: Path) -> None:
    """Files from before PyTorch 1.6, and batch norms from before 0.4.1."""
    old = {key: tensor for key, tensor in net.state_dict().items() if "num_batches" not in key}
    assert len(old) < len(net.state_dict())
    torch.save(old, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert same(load_pretrained(f"test_resnet={tmp_path / 'a.pth'}"), net)


def test_half_precision_becomes_single(net: nn.Module, tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in net.state_dict().items()}, tmp_path / "a.pth")
    model = load_pretrained(f"test_resnet={tmp_path / 'a.pth'}")
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float32}


def test_a_generation_of_ours_brings_its_normalisation(tmp_path: Path) -> None:
    ours = build(ModelConfig(name="test_resnet"), 4, 0).eval()
    with torch.no_grad():
        ours.mean.copy_(torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))
    save_weights(tmp_path / "ours.safetensors", ours)
    model = load_pretrained(f"test_resnet={tmp_path / 'ours.safetensors'}")
    with torch.no_grad():
        assert torch.equal(model.model(IMAGES), ours(IMAGES))
    assert torch.equal(
        load_pretrained(f"test_resnet={tmp_path / 'ours.safetensors'}", mean=(0, 0, 0)).model.mean, 0 * ours.mean
    )


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_pickle_that_runs_a_command_does_not(wrapped: bool, net: nn.Module, tmp_path: Path) -> None:
    path, trace = tmp_path / "bomb.pth", tmp_path / "trace"
    bomb = Bomb(f"touch {trace}")
    torch.save({**net.state_dict(), "fc.bias": bomb} if wrapped else bomb, path)
    with pytest.raises(DataError, match=r"more than tensors \((posix|nt)\.system\).*not loaded") as caught:
        load_pretrained(f"test_resnet={path}")
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    pickle.loads(pickle.dumps(bomb))  # the bomb is a real one
    assert trace.exists()


def test_a_whole_pickled_module_is_refused(net: nn.Module, tmp_path: Path) -> None:
    torch.save(net, tmp_path / "whole.pth")
    with pytest.raises(DataError, match="save its state_dict alone"):
        load_pretrained(f"test_resnet={tmp_path / 'whole.pth'}")


def test_prefixes_go_only_where_all_names_share_them() -> None:
    tensor = torch.zeros(1)
    assert list(unprefixed({"module.a": tensor, "module.module.b": tensor})) == ["a", "module.b"]
    assert list(unprefixed({"module.a": tensor, "b": tensor})) == ["module.a", "b"]
    assert list(unprefixed({"model.a": tensor, "model.b": tensor})) == ["a", "b"]
    assert list(unprefixed({"encoder.a": tensor})) == ["encoder.a"]
