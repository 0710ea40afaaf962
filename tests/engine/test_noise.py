"""Model noise falls on the rows it is meant for, in training alone, and leaves the expectation as it is."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from nsbench.engine.noise import RowDropout, RowDropPath, RowSwitch, install_model_noise, noisy_inference
from nsbench.errors import ConfigError
from nsbench.models import PixelModel, build, load_weights, save_weights
from nsbench.trainingconfig import ModelConfig

from .conftest import TINY

KINDS = (RowDropout, RowDropPath)
FAMILIES = ["tinynet_e", "test_resnet", "test_vit", "test_convnext", "test_nfnet", "test_coatnet"]


def switch(rows: Tensor | None) -> RowSwitch:
    made = RowSwitch()
    made.dropout = made.depth = rows
    return made


def noised(name: str, **changes: Any) -> tuple[PixelModel, PixelModel, RowSwitch]:
    """A model with noise, the same one without, and the switch."""
    config = dataclasses.replace(ModelConfig(name=name, drop_rate=0.5, drop_path_rate=0.5), **changes)
    model, plain = build(config, 4, 0), build(config, 4, 0)
    for net in (model, plain):
        awaken(net)
    return model, plain, install_model_noise(model, config)


def awaken(model: nn.Module) -> None:
    """timm begins residual branches at 0, where dropping one shows nothing; batch statistics stay as they are."""
    for name, weights in model.named_parameters():
        if (weights.ndim == 1 and not weights.any()) or "gamma" in name or "gain" in name:
            nn.init.ones_(weights)


def freeze_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def photos(count: int, model: PixelModel) -> Tensor:
    side = model.net.default_cfg["input_size"][-1] if model.net.default_cfg.get("fixed_input_size") else 64
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(5))


# ---- one module


@pytest.mark.parametrize("kind", KINDS)
def test_identity_in_eval_and_at_rate_0(kind: type[nn.Module]) -> None:
    features = torch.randn(6, 5, 2, 2)
    assert kind(0.9, switch(None)).eval()(features) is features
    assert kind(0.0, switch(None)).train()(features) is features


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(400, 8), (400, 2, 2, 2)])
def test_rows_off_are_untouched_and_rows_on_are_changed(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    features = torch.rand(shape) + 1
    on = torch.arange(400) % 3 == 0
    changed = kind(0.25, switch(on)).train()(features)
    assert torch.equal(changed[~on], features[~on])
    ratio = changed[on] / features[on]
    assert ((ratio == 0) | torch.isclose(ratio, torch.tensor(4 / 3))).all()
    whole_rows = (ratio == 0).flatten(1).float().mean(dim=1)
    dropped = (ratio == 0).float().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.12)
    assert bool(((whole_rows == 0) | (whole_rows == 1)).all()) == (kind is RowDropPath)


def test_each_kind_has_its_own_rows() -> None:
    one = RowSwitch()
    one.dropout, one.depth = torch.arange(200) < 100, torch.arange(200) >= 150
    features = torch.ones(200, 50)
    dropped = RowDropout(0.5, one).train()(features)
    skipped = RowDropPath(0.5, one).train()(features)
    assert [bool((part != 1).any()) for part in dropped.split(50)] == [True, True, False, False]
    assert [bool((part != 1).any()) for part in skipped.split(50)] == [False, False, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_expectation_is_preserved(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    changed = kind(0.3, switch(None)).train()(torch.ones(40_000, 1))
    deviation = (0.3 / 0.7 / 40_000) ** 0.5
    assert changed.mean().item() == pytest.approx(1, abs=4 * deviation)


def test_no_gradient_through_a_dropped_branch() -> None:
    torch.manual_seed(0)
    features = torch.ones(50, 3, requires_grad=True)
    changed = RowDropPath(0.5, switch(None)).train()(features)
    changed.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, changed.detach())


@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_do_not_depend_on_the_rows(kind: type[nn.Module]) -> None:
    """So switching one kind of images off leaves the noise of the other as it was."""
    features = torch.ones(60, 7)
    results = []
    for rows in (None, torch.arange(60) < 20, torch.ones(60, dtype=torch.bool)):
        torch.manual_seed(3)
        results.append(kind(0.5, switch(rows)).train()(features))
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0][:20], results[1][:20])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtype_and_memory_layout_stay(kind: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    features = torch.ones(64, 5, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    changed = kind(0.3, switch(torch.arange(64) < 32)).train()(features)
    assert changed.dtype == dtype
    assert changed.is_contiguous(memory_format=torch.channels_last)
    scale = torch.tensor(1 / 0.7, dtype=torch.float64).to(dtype)
    assert set(changed[:32].unique().tolist()) == {0.0, scale.item()}
    assert (changed[32:] == 1).all()


def test_pieces_of_an_image_share_its_row() -> None:
    """MobileViT unfolds an image into several rows, the image's own beside one another."""
    features, rows = torch.ones(40, 6), torch.arange(10) % 2 == 0
    changed = RowDropPath(0.5, switch(rows)).train()(features).view(10, 4, 6)
    assert (changed[1::2] == 1).all()
    assert (changed[::2] != 1).all()
    with pytest.raises(ValueError, match="a mask of 10 rows cannot switch the noise of 41"):
        RowDropPath(0.5, switch(rows)).train()(torch.ones(41, 6))


# ---- what is installed

REPEATS = (1, 2, 2, 3, 3, 4, 1)  # of B0's seven stages
DEPTHS = {"b0": 1.0, "b1": 1.1, "b2": 1.2, "b3": 1.4, "b4": 1.8, "b5": 2.2, "b6": 2.6, "b7": 3.1}
BLOCKS = {"b0": 16, "b1": 23, "b2": 23, "b3": 26, "b4": 32, "b5": 39, "b6": 45, "b7": 55}


@pytest.mark.parametrize("name", DEPTHS)
def test_stochastic_depth_of_an_efficientnet_is_the_official_one(name: str) -> None:
    """Block i of L has 0.2 i / L; only blocks behind the first of a stage have a shortcut (efficientnet_model.py)."""
    config = ModelConfig(name=f"tf_efficientnet_{name}", drop_path_rate=0.2)
    with torch.device("meta"):
        net = timm.create_model(config.name, drop_path_rate=0.2)
        model = PixelModel(net, (0, 0, 0), (1, 1, 1))
    install_model_noise(model, config)
    expected: list[float | None] = []
    for repeats in REPEATS:
        deep = math.ceil(repeats * DEPTHS[name])
        expected += [None if position == 0 else len(expected) + position for position in range(deep)]
    total = BLOCKS[name]
    assert len(expected) == total
    blocks = [block for stage in net.blocks for block in stage]
    rates = [getattr(block.drop_path, "rate", 0.0) if block.has_skip else None for block in blocks]
    assert rates == [index if index is None else pytest.approx(0.2 * index / total, abs=1e-15) for index in expected]
    assert sum(rate is not None for rate in rates) == total - 7
    assert max(rate or 0 for rate in rates) < 0.2  # the last block is the first of its stage, or survives above 0.8


def linear(rate: float, blocks: int) -> list[float]:
    return [rate * index / (blocks - 1) for index in range(1, blocks)]  # the first has none


@pytest.mark.parametrize(
    ("name", "kwargs", "rates"),
    [
        ("resnet18", {"channels": [4] * 4, "stem_width": 4}, linear(0.14, 8)),
        ("resnet50", {"channels": [4] * 4, "stem_width": 4}, linear(0.14, 16)),
        ("convnext_atto", {"dims": (4, 4, 4, 4)}, linear(0.14, 12)),
        ("vit_tiny_patch16_224", {"embed_dim": 6, "num_heads": 1}, [x for x in linear(0.14, 12) for _ in "12"]),
    ],
)
def test_every_drop_path_of_timm_is_replaced(name: str, kwargs: dict[str, Any], rates: list[float]) -> None:
    from timm.layers import DropPath

    config = ModelConfig(name=name, drop_path_rate=0.14, kwargs=kwargs)
    model = build(config, 4, 0)
    install_model_noise(model, config)
    assert not [module for module in model.modules() if isinstance(module, DropPath)]
    assert [module.rate for module in model.modules() if isinstance(module, RowDropPath)] == pytest.approx(rates)


@pytest.mark.parametrize("name", [*FAMILIES, "mobilevit_xxs", "resnetv2_18", "sequencer2d_s"])
def test_dropout_acts_once_right_before_the_classifier(name: str) -> None:
    small = {"layers": (1, 1, 1, 1), "embed_dims": (12, 24, 24, 24), "hidden_sizes": (3, 6, 6, 6)}
    model, _, rows = noised(name, drop_path_rate=0.0, kwargs=small if name == "sequencer2d_s" else {})
    seen: list[tuple[Tensor, Tensor]] = []
    dropout = model.head_dropout
    dropout.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    given: list[Tensor] = []
    classifier = model.net.get_classifier()
    last = classifier.fc if name == "sequencer2d_s" else classifier  # a head of timm's, which pools first
    last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    count = 16
    images = photos(count, model)
    rows.dropout = torch.arange(count) < count // 2
    model.train()
    freeze_statistics(model)
    with torch.no_grad():
        model(images)
    ((before, after),) = seen
    assert torch.equal(given[0], after)
    assert before.shape[1:].numel() == before.shape[1]  # pooled
    assert torch.equal(after[count // 2 :], before[count // 2 :])
    ratio = (after / before)[: count // 2][before[: count // 2] != 0]
    assert set(ratio.round(decimals=3).tolist()) == {0.0, 2.0}  # once: twice would give 4
    assert 0.4 < (ratio == 0).float().mean() < 0.6


@pytest.mark.parametrize("name", FAMILIES)
def test_eval_mode_has_no_noise_at_all(name: str) -> None:
    model, plain, rows = noised(name)
    images = photos(4, model)
    with torch.no_grad():
        expected = plain.eval()(images)
        for mask in (None, torch.ones(4, dtype=torch.bool)):
            rows.dropout = rows.depth = mask
            assert torch.equal(model.eval()(images), expected)
        model.train()
        freeze_statistics(model)
        torch.manual_seed(0)
        assert not torch.isclose(model(images), expected).all()  # and in training there is some
        assert torch.equal(model.eval()(images), expected)


@pytest.mark.parametrize("name", [*FAMILIES, "mobilevit_xxs"])
@pytest.mark.parametrize("kind", ["dropout", "depth"])
def test_rows_without_noise_pass_as_in_a_model_without_noise(name: str, kind: str) -> None:
    """Up to batch normalisation, which sees all rows: so its statistics are frozen here."""
    rates = {"drop_rate": 0.5 * (kind == "dropout"), "drop_path_rate": 0.9 * (kind == "depth")}
    model, plain, rows = noised(name, **rates)
    images = photos(12, model)
    model.train()
    plain.eval()
    freeze_statistics(model)
    setattr(rows, kind, torch.arange(12) % 2 == 0)
    torch.manual_seed(0)
    with torch.no_grad():
        got, expected = model(images), plain(images)
    assert torch.equal(got[1::2], expected[1::2])
    changed = ~torch.isclose(got[::2], expected[::2]).all(dim=1)
    assert changed.sum() >= 4  # of six


def test_rows_in_micro_batches_under_bf16_and_channels_last() -> None:
    model, plain, rows = noised("test_resnet")
    images = photos(16, model).to(memory_format=torch.channels_last)
    model.train()
    plain.eval()
    freeze_statistics(model)
    on = torch.arange(16) % 2 == 0
    outputs, expected = [], []
    for part in (slice(0, 8), slice(8, 16)):
        rows.dropout = rows.depth = on[part]
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(model(images[part]))
            expected.append(plain(images[part]))
    got, without = torch.cat(outputs), torch.cat(expected)
    assert torch.equal(got[~on], without[~on])
    assert not torch.isclose(got[on], without[on]).all(dim=1).any()
    got.float().pow(2).sum().backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in model.parameters())


def test_a_compiled_model_has_the_same_switches() -> None:
    model, plain, rows = noised("test_resnet")
    images = photos(8, model)
    model.train()
    plain.eval()
    freeze_statistics(model)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.no_grad():
        expected = plain(images)
        for shift in range(3):  # masks change from step to step
            on = torch.arange(8) % 4 == shift
            rows.dropout = rows.depth = on
            got = compiled(images)
            assert torch.allclose(got[~on], expected[~on], atol=1e-5)
            assert not torch.isclose(got[on], expected[on], atol=1e-3).all(dim=1).any()
        rows.dropout = rows.depth = None
        assert not torch.isclose(compiled(images), expected, atol=1e-3).all(dim=1).any()
        model.eval()
        assert torch.allclose(compiled(images), expected, atol=1e-5)


# ---- weights, copies, refusals


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_adds_no_weights_and_renames_none(name: str, tmp_path: Path) -> None:
    model, plain, _ = noised(name)
    assert list(model.state_dict()) == list(plain.state_dict())
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.5)
    save_weights(tmp_path / "student.safetensors", model)
    load_weights(tmp_path / "student.safetensors", plain)
    images = photos(2, model)
    assert torch.equal(model.eval()(images), plain.eval()(images))


def test_a_copy_has_a_switch_of_its_own() -> None:
    model, _, rows = noised("test_resnet")
    twin = copy.deepcopy(model)
    inside = {id(module.switch) for module in twin.modules() if isinstance(module, RowDropPath | RowDropout)}
    assert len(inside) == 1
    assert id(rows) not in inside
    rows.dropout = rows.depth = torch.zeros(6, dtype=torch.bool)
    images = photos(6, model)
    twin.train()
    freeze_statistics(twin)
    with torch.no_grad():
        plain = twin.eval()(images)
        twin.train()
        freeze_statistics(twin)
        assert not torch.isclose(twin(images), plain).all()
        model.train()
        freeze_statistics(model)
        assert torch.equal(model(images), plain)


def test_noise_is_installed_once() -> None:
    for rates in ((0.5, 0.0), (0.0, 0.5)):
        config = dataclasses.replace(TINY, drop_rate=rates[0], drop_path_rate=rates[1])
        model = build(config, 4, 0)
        install_model_noise(model, config)
        with pytest.raises(ValueError, match="has its noise already"):
            install_model_noise(model, config)


def test_rates_of_0_install_nothing() -> None:
    config = dataclasses.replace(TINY, drop_rate=0.0, drop_path_rate=0.0)
    model, plain = build(config, 4, 0), build(config, 4, 0)
    install_model_noise(model, config)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="efficientformer_l1", drop_rate=0.2), "'efficientformer_l1' has no single classifier"),
        (ModelConfig(name="crossvit_tiny_240", drop_rate=0.2), "'crossvit_tiny_240' has no single classifier"),
        (ModelConfig(name="ghostnet_050", drop_rate=0.2), "set drop_rate = 0 in models.kwargs"),
        (dataclasses.replace(TINY, kwargs={**TINY.kwargs, "drop_rate": 0.2}), "set drop_rate = 0 in models.kwargs"),
        (ModelConfig(name="test_vit", kwargs={"drop_rate": 0.2}), "set drop_rate = 0 in models.kwargs"),
    ],
)
def test_noise_without_a_place_is_refused_in_one_line(config: ModelConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        install_model_noise(build(config, 4, 0), config)
    assert "\n" not in str(refused.value)
    mended = dataclasses.replace(config, drop_rate=0.0, kwargs={**config.kwargs, "drop_rate": 0.0})
    if config.name in ("efficientformer_l1", "crossvit_tiny_240"):
        mended = dataclasses.replace(config, drop_rate=0.0)
    install_model_noise(build(mended, 4, 0), mended)


def test_no_classifier_is_refused() -> None:
    config = ModelConfig(name="test_resnet", drop_rate=0.2)
    with pytest.raises(ConfigError, match="has no single classifier"):
        install_model_noise(build(config, 0, 0), config)


def test_no_branches_are_refused() -> None:
    config = ModelConfig(name="test_resnet", drop_path_rate=0.2)
    plain = build(dataclasses.replace(config, drop_path_rate=0.0), 4, 0)
    with pytest.raises(ConfigError, match=r"no branches for models\.drop_path_rate"):
        install_model_noise(plain, config)


# ---- the noised teacher


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("was_training", [True, False])
def test_noisy_inference(name: str, was_training: bool) -> None:
    model, plain, rows = noised(name)
    model.train(was_training)
    first = next(model.net.children())
    first.train(not was_training)  # modes are restored one by one
    modes = [module.training for module in model.modules()]
    mask = torch.zeros(6, dtype=torch.bool)
    rows.dropout, rows.depth = mask, None
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    images = photos(6, model)
    with torch.no_grad():
        expected = plain.eval()(images)
        with noisy_inference(model, rows):
            torch.manual_seed(0)
            one = model(images)
            two = model(images)
            torch.manual_seed(0)
            again = model(images)
            assert rows.dropout is rows.depth is None
    assert torch.equal(one, again)
    assert not torch.isclose(one, expected).all(dim=1).any()  # every image is noised
    assert not torch.isclose(one, two).all()
    assert [module.training for module in model.modules()] == modes
    assert rows.dropout is mask
    assert rows.depth is None
    assert all(torch.equal(value, buffers[key]) for key, value in model.named_buffers())  # batch norm was in eval mode
    with torch.no_grad():
        assert torch.equal(model.eval()(images), expected)


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.9)])
def test_noisy_inference_has_both_kinds_and_nothing_else(rates: tuple[float, float]) -> None:
    model, _, rows = noised("test_resnet", drop_rate=rates[0], drop_path_rate=rates[1])
    images = photos(4, model)
    with torch.no_grad():
        expected = model.eval()(images)
        model.train()
        with noisy_inference(model, rows):
            assert torch.equal(model(images), expected) == (rates == (0.0, 0.0))


def test_noisy_inference_restores_after_an_exception() -> None:
    model, _, rows = noised("test_resnet")
    model.eval()
    rows.depth = torch.ones(3, dtype=torch.bool)

    def fail() -> None:
        with noisy_inference(model, rows):
            assert model.head_dropout.training
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not any(module.training for module in model.modules())
    assert rows.depth is not None
