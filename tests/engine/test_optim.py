"""Schedules against their formulas, the weight average against a loop of scalars."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nsbench.config import TrainConfig
from nsbench.engine.optim import build_optimizer, learning_rate, weight_average
from nsbench.errors import ConfigError


def test_staircase_counts_from_step_0_and_not_from_the_end_of_the_warm_up() -> None:
    config = TrainConfig(learning_rate=2.0, schedule="staircase", decay_steps=10, warmup_steps=4)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:10] == [2.0] * 6
    assert rates[10:20] == [2.0 * 0.97] * 10
    assert rates[99] == pytest.approx(2 * 0.97**9)
    late = TrainConfig(learning_rate=2.0, schedule="staircase", decay_steps=10, warmup_steps=35)
    assert learning_rate(late, 35, 100) == pytest.approx(2 * 0.97**3)


def test_cosine_starts_at_the_peak_and_ends_at_zero() -> None:
    config = TrainConfig(learning_rate=0.4, schedule="cosine", warmup_steps=10)
    assert learning_rate(config, 0, 110) == pytest.approx(0.04)
    assert learning_rate(config, 9, 110) == learning_rate(config, 10, 110) == 0.4
    assert learning_rate(config, 35, 110) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(config, 60, 110) == pytest.approx(0.2)
    assert 0 < learning_rate(config, 109, 110) < 0.4 * 1e-3
    assert learning_rate(config, 110, 110) == 0
    rates = [learning_rate(config, step, 110) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "staircase"])
def test_no_warm_up_and_a_warm_up_longer_than_the_run(schedule: str) -> None:
    none = TrainConfig(learning_rate=1.0, schedule=schedule, warmup_steps=0)  # type: ignore[arg-type]
    assert learning_rate(none, 0, 5) == 1.0
    long = TrainConfig(learning_rate=1.0, schedule=schedule, warmup_steps=50)  # type: ignore[arg-type]
    assert [learning_rate(long, step, 5) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9999])
def test_weight_average_against_a_loop(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    average = weight_average(model, decay)
    expected = {name: tensor.double().tolist() for name, tensor in model.state_dict().items()}
    for t in range(40):
        with torch.no_grad():
            model(torch.randn(8, 3) * 5)
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update_parameters(model)
        keep = min(decay, (1 + t) / (10 + t)) if t else 0.0  # the first update has nothing to average with
        for name, tensor in model.state_dict().items():
            current = tensor.double().tolist()
            whole = not tensor.is_floating_point()
            expected[name] = current if whole else mix(expected[name], current, keep)
    got = average.module.state_dict()
    assert got["1.num_batches_tracked"].item() == 40
    assert got["1.num_batches_tracked"].dtype == torch.int64
    for name, value in expected.items():
        torch.testing.assert_close(got[name].double(), torch.tensor(value).double(), rtol=1e-5, atol=1e-5)
    same = all(torch.equal(got[name], tensor) for name, tensor in model.state_dict().items())
    assert same == (decay == 0)


def mix(old: list, new: list, keep: float) -> list:
    if isinstance(old, list):
        return [mix(one, other, keep) for one, other in zip(old, new, strict=True)]
    return keep * old + (1 - keep) * new


def test_no_decay_on_biases_and_normalisation() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = build_optimizer(model, TrainConfig(optimizer="sgd", weight_decay=0.1, learning_rate=0.5))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_an_unknown_optimizer_is_one_line() -> None:
    with pytest.raises(ConfigError, match="sgdd"):
        build_optimizer(nn.Linear(1, 1), TrainConfig(optimizer="sgdd"))
