"""Models from timm: the same weights for a seed, normalisation inside, whole files or one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from nsbench.errors import ConfigError, DataError
from nsbench.models import PixelModel, build, choose_device, load_weights, num_parameters, save_weights
from nsbench.trainingconfig import ModelConfig

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


def final_map(model: PixelModel, px: int) -> tuple[int, ...]:
    """Height and width that enter the global pooling of a model on images of `px`."""
    shapes: list[tuple[int, ...]] = []
    hook = model.net.global_pool.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[-2:]))
    model.eval()(torch.zeros(1, 3, px, px, device=model.mean.device))
    hook.remove()
    return tuple(shapes[0])


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_a_small_image_model_ends_in_a_4x4_map_with_the_same_weights(name: str) -> None:
    """noisy-student.md 1.8: strides of stages 2 and 3 set to 1, the stem's stays 2. Padding is static in the first of
    these, TensorFlow's in the second."""
    plain, small = (build(ModelConfig(name=name, small_image=is_small), 10, 3) for is_small in (False, True))
    assert same(plain, small)  # so the number of parameters is the same as well
    assert num_parameters(small) == 4_020_358  # 5,288,548 of the published model, less 990 x 1,281 of its classifier
    assert final_map(plain, 32) == (1, 1)
    assert final_map(small, 32) == (4, 4)
    assert final_map(plain, 224) == (7, 7)
    assert final_map(small, 224) == (28, 28)
    shapes: list[int] = []
    for stage in small.net.blocks:
        stage.register_forward_hook(lambda _, __, output: shapes.append(output.shape[-1]))
    with torch.no_grad():
        logits = small(torch.rand(2, 3, 32, 32))
    assert shapes == [16, 16, 16, 8, 8, 4, 4]
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()


def test_a_stride_of_1_pads_by_hand_alike_in_both_kinds_of_padding() -> None:
    """The first convolution of stages 2 and 3 at stride 1 is the plain one that keeps the size, in either model."""
    features = torch.rand(1, 6, 9, 9)
    for name in ("efficientnet_b0", "tf_efficientnet_b0"):
        net = build(ModelConfig(name=name, small_image=True), 2, 0).net
        for stage, kernel in ((1, 3), (2, 5)):
            conv = net.blocks[stage][0].conv_dw
            channels = conv.in_channels
            inputs = features.mean(dim=1, keepdim=True).expand(1, channels, 9, 9)
            by_hand = nn.functional.conv2d(inputs, conv.weight, padding=kernel // 2, groups=channels)
            torch.testing.assert_close(conv(inputs), by_hand)


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0", "tf_efficientnet_b7", "tf_efficientnet_cc_b0_4e", "tf_efficientnet_es",
        "tf_efficientnet_lite0", "tf_efficientnetv2_b0", "efficientnet_b3_gn", "efficientnetv2_rw_t",
        "test_efficientnet", "test_efficientnet_evos", "test_efficientnet_gn", "test_efficientnet_ln",
    ],
)  # fmt: skip
def test_every_kind_of_efficientnet_becomes_four_times_finer(name: str) -> None:
    with torch.device("meta"), torch.no_grad():
        small, plain = (build(ModelConfig(name=name, small_image=is_small), 4, 0) for is_small in (True, False))
        assert num_parameters(small) == num_parameters(plain)
        assert final_map(small, 256) == tuple(4 * side for side in final_map(plain, 256))


NOT_SMALL = ["test_resnet", "test_vit", "test_convnext", "mobilenetv2_050", "efficientnet_blur_b0", "efficientnet_h_b5"]
"""Other architectures, and two whose stages 2 and 3 have no two strided convolutions."""


@pytest.mark.parametrize("name", NOT_SMALL)
def test_small_image_is_for_efficientnets(name: str) -> None:
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=f"small_image = true needs an EfficientNet .*'{name}'") as caught,
    ):
        build(ModelConfig(name=name, small_image=True), 4, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", timm.list_models("test_*"))
def test_any_architecture_is_built_for_the_size_of_its_images(name: str) -> None:
    model = build(ModelConfig(name=name, input_px=64), 5, 0).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)


def test_a_transformer_is_built_for_input_px_unless_its_arguments_say_otherwise() -> None:
    def size(**given: object) -> tuple[int, int]:
        return build(ModelConfig(name="test_vit", **given), 4, 0).net.patch_embed.img_size  # type: ignore[arg-type]

    assert size() == (160, 160)
    assert size(input_px=32) == (32, 32)
    assert size(input_px=32, kwargs={"img_size": 48}) == (48, 48)
    with torch.device("meta"), pytest.raises(ConfigError, match="'nest_tiny' for images of 33 px: ") as caught:
        build(ModelConfig(name="nest_tiny", input_px=33), 4, 0)
    assert "\n" not in str(caught.value)


def test_batch_norm_and_normalisation_are_arguments_of_timm() -> None:
    """What presets rely on: TensorFlow's momentum 0.99 is 0.01 in torch; mean and std of the data set."""
    plain = build(ModelConfig(name="tf_efficientnet_b0"), 4, 0)
    norm = plain.net.bn1
    assert (norm.momentum, norm.eps) == (0.1, 1e-3)
    mean, std = [0.25, 0.5, 0.75], [0.125, 0.25, 0.5]
    kwargs = {"bn_momentum": 0.01, "bn_eps": 2e-3, "pretrained_cfg_overlay": {"mean": mean, "std": std}}
    told = build(ModelConfig(name="tf_efficientnet_b0", kwargs=kwargs), 4, 0)
    norms = [module for module in told.net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(module.momentum, module.eps) for module in norms} == {(0.01, 2e-3)}
    assert (told.mean.flatten().tolist(), told.std.flatten().tolist()) == (mean, std)
    assert same(plain.net, told.net)


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
