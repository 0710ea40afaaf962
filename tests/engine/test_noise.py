"""Model noise falls on the rows it is meant for, in training alone, and leaves the expectation as it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from nsbench.config import ModelConfig
from nsbench.engine.noise import RowDropout, RowDropPath, RowSwitch, install_model_noise
from nsbench.models import build

from .conftest import TINY

KINDS = (RowDropout, RowDropPath)


def switch(rows: Tensor | None) -> RowSwitch:
    made = RowSwitch()
    made.rows = rows
    return made


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
    noised = kind(0.25, switch(on)).train()(features)
    assert torch.equal(noised[~on], features[~on])
    ratio = noised[on] / features[on]
    assert ((ratio == 0) | torch.isclose(ratio, torch.tensor(4 / 3))).all()
    whole_rows = (ratio == 0).flatten(1).float().mean(dim=1)
    dropped = (ratio == 0).float().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.12)
    assert bool(((whole_rows == 0) | (whole_rows == 1)).all()) == (kind is RowDropPath)


@pytest.mark.parametrize("kind", KINDS)
def test_expectation_is_preserved(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    noised = kind(0.3, switch(None)).train()(torch.ones(40_000, 1))
    deviation = (0.3 / 0.7 / 40_000) ** 0.5
    assert noised.mean().item() == pytest.approx(1, abs=4 * deviation)


def test_no_gradient_through_a_dropped_branch() -> None:
    torch.manual_seed(0)
    features = torch.ones(50, 3, requires_grad=True)
    noised = RowDropPath(0.5, switch(None)).train()(features)
    noised.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, noised.detach())


def test_every_drop_path_of_timm_is_replaced_at_linear_rates() -> None:
    from timm.layers import DropPath

    deep = ModelConfig(name="resnet18", drop_path_rate=0.14, kwargs={"channels": [4] * 4, "stem_width": 4})
    model = build(deep, 4, 0)
    install_model_noise(model, deep)
    assert not [module for module in model.modules() if isinstance(module, DropPath)]
    rates = [module.rate for module in model.modules() if isinstance(module, RowDropPath)]
    assert rates == pytest.approx([0.14 * i / 7 for i in range(1, 8)])  # eight blocks; the first has none


def test_noise_adds_no_weights() -> None:
    model, plain = build(TINY, 4, 0), build(TINY, 4, 0)
    install_model_noise(model, TINY)
    assert list(model.state_dict()) == list(plain.state_dict())


def test_dropout_acts_before_the_classifier_in_training_alone() -> None:
    config = dataclasses.replace(TINY, drop_path_rate=0.0, drop_rate=0.5)
    model, plain = build(config, 4, 0), build(config, 4, 0)
    rows = install_model_noise(model, config)
    seen: list[Tensor] = []
    model.net.get_classifier().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    images = torch.rand(8, 3, 16, 16)
    with torch.no_grad():
        features = plain.train().net.forward_head(
            plain.net.forward_features((images - plain.mean) / plain.std), pre_logits=True
        )
        rows.rows = torch.arange(8) < 4
        torch.manual_seed(0)
        model.train()(images)
        assert torch.equal(seen[-1][4:], features[4:])
        inside = seen[-1][:4]
        positive = features[:4] > 0
        assert ((inside == 0) | torch.isclose(inside, 2 * features[:4])).all()
        assert 0 < (inside[positive] == 0).float().mean() < 1
        assert torch.equal(model.eval()(images), plain.eval()(images))


def test_rows_without_noise_pass_as_in_a_model_without_noise() -> None:
    """Up to batch normalisation, which sees all rows: so its statistics are frozen here."""
    config = dataclasses.replace(TINY, drop_rate=0.5, drop_path_rate=0.5)
    model, plain = build(config, 4, 0), build(config, 4, 0).eval()
    rows = install_model_noise(model, config)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            nn.init.ones_(module.weight)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    images = torch.rand(16, 3, 16, 16)
    rows.rows = torch.arange(16) % 2 == 0
    torch.manual_seed(0)
    with torch.no_grad():
        got, expected = model(images), plain(images)
    assert torch.equal(got[1::2], expected[1::2])
    assert not torch.isclose(got[::2], expected[::2]).all(dim=1).any()
