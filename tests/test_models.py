"""Models from timm: the same weights for a seed, normalisation inside, whole files or one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from nsbench.config import ModelConfig
from nsbench.errors import ConfigError, DataError
from nsbench.models import PixelModel, build, choose_device, load_weights, num_parameters, save_weights

TINY = ModelConfig(
    name="test_resnet",
    drop_path_rate=0.2,
    stem_pool=False,
    kwargs={"channels": [4, 4, 8, 8], "stem_type": "deep", "stem_width": 4},
)


def same(one: nn.Module, other: nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return list(left) == list(right) and all(torch.equal(tensor, right[name]) for name, tensor in left.items())


def test_weights_follow_from_the_seed_and_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = build(TINY, 4, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(one, build(TINY, 4, 7))
    assert not same(one, build(TINY, 4, 8))
    assert num_parameters(one) == sum(parameter.numel() for parameter in one.net.parameters())


def test_normalisation_is_inside() -> None:
    model = build(TINY, 4, 0).eval()
    images = torch.rand(3, 3, 16, 16)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert model.net.pretrained_cfg["mean"] != (0.0, 0.0, 0.0)
    torch.testing.assert_close(model.mean.flatten(), torch.tensor(model.net.pretrained_cfg["mean"]))
    with torch.no_grad():
        model = PixelModel(model.net, mean.tolist(), std.tolist()).eval()
        by_hand = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
        torch.testing.assert_close(model(images), model.net(by_hand))
        assert not torch.allclose(model(images), model.net(images))
    assert {"mean", "std"} < set(model.state_dict())
    assert not {"mean", "std"} & dict(model.named_parameters()).keys()


def test_stem_pool_halves_the_image_and_can_go() -> None:
    images = torch.rand(2, 3, 32, 32)
    shapes = []
    for stem_pool in (True, False):
        model = build(dataclasses.replace(TINY, stem_pool=stem_pool), 4, 0).eval()
        model.net.layer1.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[-2:]))
        assert model(images).shape == (2, 4)
    assert shapes == [(8, 8), (16, 16)]
    with pytest.raises(ConfigError, match="stem_pool"):
        build(ModelConfig(name="test_vit", stem_pool=False), 4, 0)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(name="resnet_of_nobody"),
        ModelConfig(name="resnet10t.no_such_tag"),
        ModelConfig(name="test_resnet", kwargs={"no_such_argument": 1}),
        ModelConfig(name="test_resnet", kwargs={"num_classes": 1}),
    ],
    ids=lambda config: f"{config.name} {config.kwargs}",
)
def test_what_timm_cannot_build_is_one_line(config: ModelConfig) -> None:
    with pytest.raises(ConfigError, match=f"timm cannot build '{config.name}'") as caught:
        build(config, 4, 0)
    assert "\n" not in str(caught.value)


def test_weights_round_trip_bit_by_bit(tmp_path: Path) -> None:
    model, other = build(TINY, 4, 0).train(), build(TINY, 4, 1)
    model(torch.rand(4, 3, 16, 16))  # batch-norm statistics and counters move
    save_weights(tmp_path / "a.safetensors", model)
    save_weights(tmp_path / "b.safetensors", model)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    load_weights(tmp_path / "a.safetensors", other)
    assert same(model, other)
    assert other.state_dict()["net.bn1.num_batches_tracked"].item() == 1
    save_weights(tmp_path / "c.safetensors", other)
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(model.eval()(images), other.eval()(images))


def test_damaged_missing_and_foreign_weights_are_one_line(tmp_path: Path) -> None:
    model, path = build(TINY, 4, 0), tmp_path / "a.safetensors"
    save_weights(path, model)
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.safetensors cannot be loaded") as caught:
            load_weights(path, model)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        load_weights(tmp_path / "missing.safetensors", model)
    for foreign in (build(TINY, 5, 0), build(ModelConfig(name="test_vit"), 4, 0)):
        save_weights(path, foreign)
        with pytest.raises(DataError, match=r"a\.safetensors"):
            load_weights(path, model)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=name):
            choose_device(name)
