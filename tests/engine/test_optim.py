"""Schedules against the official numbers and a walk over stairs, optimizers against float64, averages against loops."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d, GroupNormAct, LayerNorm2d, LayerNormAct, RmsNorm
from timm.optim import list_optimizers
from torch import nn

from nsbench.engine.optim import Schedule, build_optimizer, num_steps, schedule, steps_of, weight_average
from nsbench.errors import ConfigError
from nsbench.trainingconfig import TrainConfig

IMAGENET, SVHN_LABELLED = 1_281_167, 69_257
SVHN = TrainConfig(
    steps=109_474,
    labelled_batch=128,
    learning_rate=0.016 * 128 / 256,
    final_learning_rate=0.0002 * 128 / 256,
    warmup_epochs=5,
)
IMAGENET_350 = TrainConfig(epochs=350, decay_epochs=2.4, warmup_epochs=5)  # batch 2048 and 0.128 are the defaults
IMAGENET_700 = TrainConfig(epochs=700, decay_epochs=4.8, warmup_epochs=5)


def resolved(config: TrainConfig, num_labelled: int) -> Schedule:
    return schedule(config, num_steps=num_steps(config, num_labelled, False), num_labelled=num_labelled)


def test_the_svhn_recipe_is_the_official_one() -> None:
    """noisy-student.md 1.8; official main.py lines 569-584."""
    rates = resolved(SVHN, SVHN_LABELLED)
    assert (rates.num_steps, rates.warmup_steps, rates.peak) == (109_474, 2_705, 0.008)
    epochs_a_stair = rates.decay_steps / (69_257 / 128)
    assert epochs_a_stair == pytest.approx(1.372, abs=5e-4)
    assert (109_474 * 128 / 69_257 - 5) / epochs_a_stair == pytest.approx(143.87, abs=5e-3)
    assert rates.rate(0) == 0
    assert rates.rate(1) == 0.008 * 1 / 2705
    assert rates.rate(1000) == 0.008 * 1000 / 2705
    assert rates.rate(2704) == 0.008 * 2704 / 2705
    assert rates.rate(2705) == 0.008 * 0.97**3  # the fourth stair: they count from step 0
    assert rates.rate(109_473) == 0.008 * 0.97**147
    assert rates.rate(109_473) == pytest.approx(9.1e-5, abs=5e-7)


@pytest.mark.parametrize(
    ("config", "steps", "last_stair"),
    [(IMAGENET_350, 218_949, 145), (IMAGENET_700, 437_898, 145)],
    ids=["350 epochs", "700 epochs"],
)
def test_imagenet_schedules(config: TrainConfig, steps: int, last_stair: int) -> None:
    """noisy-student.md 1.4: 0.128 at batch 2048, x0.97 every 2.4 of 350 and 4.8 of 700 epochs, 5 epochs of warm-up."""
    rates = resolved(config, IMAGENET)
    assert (rates.num_steps, rates.warmup_steps) == (steps, 3_127)
    assert rates.decay_steps == pytest.approx(config.decay_epochs * 1_281_167 / 2048, rel=1e-12)
    assert rates.rate(0) == 0
    assert rates.rate(1) == 0.128 / 3127
    assert rates.rate(1000) == 0.128 * 1000 / 3127
    first = 2 if config.epochs == 350 else 1  # 3,127 steps hold two whole stairs of 1,501, one of 3,002
    assert rates.rate(3127) == 0.128 * 0.97**first
    assert rates.rate(steps - 1) == 0.128 * 0.97**last_stair


def test_how_epochs_round() -> None:
    """Down, as the official 109,474 of 109,474.7; its 700 epochs are twice that, one step less than ours."""
    official = TrainConfig(labelled_batch=4096)
    assert steps_of(350, official, IMAGENET) == 109_474
    assert steps_of(700, official, IMAGENET) == 2 * 109_474 + 1
    assert steps_of(5, official, IMAGENET) == 1_563
    hundred = TrainConfig(labelled_batch=1)
    assert [steps_of(epochs, hundred, 100) for epochs in (0.29, 0.57, 1.1, 0.001)] == [29, 57, 110, 1]
    # a stair keeps its fraction: at 2.5 steps each, two of them are 5 steps
    rates = resolved(TrainConfig(epochs=4, decay_epochs=1, warmup_steps=0, labelled_batch=4, learning_rate=1), 10)
    assert [round(math.log(rates.rate(step), 0.97)) for step in range(10)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("config", "teacher", "student"),
    [
        (TrainConfig(steps=7), 7, 7),
        (TrainConfig(steps=7, teacher_steps=3), 3, 7),
        (TrainConfig(steps=7, epochs=2, labelled_batch=8), 25, 25),
        (TrainConfig(steps=7, epochs=2, labelled_batch=8, teacher_batch=1), 25, 25),
        (TrainConfig(steps=7, epochs=2, labelled_batch=8, teacher_steps=3), 3, 25),
        (TrainConfig(epochs=1e-9, labelled_batch=8), 1, 1),
    ],
)
def test_steps_of_teacher_and_student(config: TrainConfig, teacher: int, student: int) -> None:
    assert num_steps(config, 100, True) == teacher
    assert num_steps(config, 100, False) == student


def test_staircase_counts_from_step_0_and_not_from_the_end_of_the_warm_up() -> None:
    config = TrainConfig(learning_rate=2.0, schedule="staircase", steps=100, decay_steps=10, warmup_steps=4)
    rates = [resolved(config, 1).rate(step) for step in range(100)]
    assert rates[:4] == [0, 0.5, 1.0, 1.5]
    assert rates[4:10] == [2.0] * 6
    assert rates[10:20] == [2.0 * 0.97] * 10
    assert rates[99] == 2 * 0.97**9
    late = dataclasses.replace(config, warmup_steps=35)
    assert resolved(late, 1).rate(35) == 2 * 0.97**3


def test_cosine_starts_at_the_peak_and_ends_at_zero() -> None:
    rates = resolved(TrainConfig(learning_rate=0.4, schedule="cosine", steps=110, warmup_steps=10), 1)
    assert rates.rate(0) == 0
    assert rates.rate(1) == pytest.approx(0.04)
    assert rates.rate(10) == 0.4
    assert rates.rate(35) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))
    assert rates.rate(60) == pytest.approx(0.2)
    assert 0 < rates.rate(109) < 0.4 * 1e-3
    assert rates.rate(110) == 0
    falling = [rates.rate(step) for step in range(10, 111)]
    assert falling == sorted(falling, reverse=True)


def test_constant_stays_at_the_peak() -> None:
    rates = resolved(TrainConfig(learning_rate=0.4, schedule="constant", steps=9, warmup_steps=2), 1)
    assert [rates.rate(step) for step in range(9)] == [0, 0.2, *[0.4] * 7]


@pytest.mark.parametrize("kind", ["cosine", "staircase", "constant"])
def test_a_tail_goes_on_where_it_is_told(kind: str) -> None:
    """Official build_learning_rate, `start_from_step`: the last 30 steps, or the warm-up from its middle."""
    config = TrainConfig(schedule=kind, steps=100, warmup_steps=10, decay_steps=7)  # type: ignore[arg-type]
    rates = resolved(config, 1)
    for first in (70, 5):
        tail = dataclasses.replace(rates, first_step=first)
        assert [tail.rate(step) for step in range(30)] == [rates.rate(step) for step in range(first, first + 30)]


@pytest.mark.parametrize("kind", ["cosine", "staircase", "constant"])
def test_no_warm_up_and_a_warm_up_longer_than_the_run(kind: str) -> None:
    none = TrainConfig(learning_rate=1.0, schedule=kind, warmup_steps=0, steps=5)  # type: ignore[arg-type]
    assert resolved(none, 1).rate(0) == 1.0
    for long in (dataclasses.replace(none, warmup_steps=50), dataclasses.replace(none, warmup_epochs=1e6)):
        assert [resolved(long, 1).rate(step) for step in range(5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


@settings(max_examples=60, deadline=None)
@given(
    peak=st.floats(1e-6, 10),
    steps=st.integers(1, 400),
    warmup=st.one_of(st.integers(0, 500), st.floats(0.01, 20)),
    decay=st.one_of(st.integers(1, 500), st.floats(0.01, 20)),
    final=st.one_of(st.just(0.0), st.floats(0.001, 0.9)),
    num_labelled=st.integers(1, 300),
)
def test_stairs_against_a_walk(
    *, peak: float, steps: int, warmup: float, decay: float, final: float, num_labelled: int
) -> None:
    """Whole numbers are steps, others epochs; the walk goes up one exact stair at a time."""
    config = TrainConfig(
        learning_rate=peak,
        steps=steps,
        labelled_batch=16,
        final_learning_rate=final * peak,
        **{"warmup_steps" if isinstance(warmup, int) else "warmup_epochs": warmup},  # type: ignore[arg-type]
        **{"decay_steps" if isinstance(decay, int) else "decay_epochs": decay},  # type: ignore[arg-type]
    )
    rates = resolved(config, num_labelled)
    epoch = num_labelled / 16
    warm = warmup if isinstance(warmup, int) else warmup * epoch
    stair = decay if isinstance(decay, int) else decay * epoch
    if final:
        stair = max(1, steps - warm) / (math.log(final * peak / peak) / math.log(0.97))
    warm = min(int(warm + 1e-6), steps)
    height = 0
    for step in range(steps):
        while Fraction(stair) * (height + 1) <= step:
            height += 1
        near = abs(step / stair - round(step / stair)) < 1e-9  # a stair that ends on this step but for rounding
        expected = peak * step / warm if step < warm else peak * 0.97**height
        assert near or rates.rate(step) == pytest.approx(expected, rel=1e-12)
        assert 0 <= rates.rate(step) <= peak


class Reference:
    """One parameter in float64 under one optimizer, as its paper or TensorFlow has it."""

    def __init__(self, weights: np.ndarray, kind: str, decay: float, momentum: float) -> None:
        self.w, self.kind, self.decay, self.momentum, self.t = weights.copy(), kind, decay, momentum, 0
        self.mean_square = np.ones_like(weights)  # TensorFlow's slot starts at one
        self.buffer, self.second = np.zeros_like(weights), np.zeros_like(weights)

    def step(self, gradient: np.ndarray, rate: float) -> None:
        self.t += 1
        if self.kind == "rmsproptf":
            gradient = gradient + self.decay * self.w
            self.mean_square = 0.9 * self.mean_square + 0.1 * gradient**2
            self.buffer = self.momentum * self.buffer + rate * gradient / np.sqrt(self.mean_square + 1e-3)
            self.w = self.w - self.buffer
        elif self.kind == "sgd":  # Nesterov's form, timm's `sgd`
            gradient = gradient + self.decay * self.w
            self.buffer = self.momentum * self.buffer + gradient
            self.w = self.w - rate * (gradient + self.momentum * self.buffer)
        else:  # AdamW (Loshchilov and Hutter, algorithm 2): the decay never meets the gradient
            self.w = self.w - rate * self.decay * self.w
            self.buffer = 0.9 * self.buffer + 0.1 * gradient
            self.second = 0.999 * self.second + 0.001 * gradient**2
            mean, square = self.buffer / (1 - 0.9**self.t), self.second / (1 - 0.999**self.t)
            self.w = self.w - rate * mean / (np.sqrt(square) + 1e-8)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("decay_biases", [False, True])
@pytest.mark.parametrize("name", ["rmsproptf", "sgd", "adamw"])
def test_optimizers_against_a_float64_reference(name: str, decay_biases: bool, foreach: bool) -> None:
    """The rate changes at every step: with one rate, inside and outside the momentum buffer would be the same."""
    config = TrainConfig(
        optimizer=name,
        momentum=0.8,
        weight_decay=0.3,
        decay_biases=decay_biases,
        optimizer_kwargs={"foreach": foreach},
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    optimizer = build_optimizer(model, config)
    decays = {"0.weight": 0.3, "0.bias": 0.3 * decay_biases, "1.weight": 0.0, "1.bias": 0.0}
    references = {
        key: Reference(parameter.detach().numpy(), name, decays[key], 0.8)
        for key, parameter in model.named_parameters()
    }
    rng = np.random.default_rng(0)
    for rate in (0.0, 0.01, 0.02, 0.05, 0.05, 0.03, 0.001):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for key, parameter in model.named_parameters():
            gradient = rng.normal(size=tuple(parameter.shape))
            parameter.grad = torch.from_numpy(gradient)
            references[key].step(gradient, rate)
        optimizer.step()
    for key, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), references[key].w, rtol=1e-12)


def test_rmsprop_has_the_official_constants_unless_told_otherwise() -> None:
    (group,) = build_optimizer(nn.Linear(2, 2), TrainConfig()).param_groups
    constants = {key: group[key] for key in ("alpha", "eps", "momentum", "weight_decay", "lr", "centered")}
    assert constants == {
        "alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "weight_decay": 1e-5, "lr": 0.128, "centered": False,
    }  # fmt: skip
    told = TrainConfig(optimizer_kwargs={"eps": 1e-5, "centered": True}, momentum=0.5)
    (group,) = build_optimizer(nn.Linear(2, 2), told).param_groups
    assert (group["alpha"], group["eps"], group["momentum"], group["centered"]) == (0.9, 1e-5, 0.5, True)
    (group,) = build_optimizer(nn.Linear(2, 2), TrainConfig(optimizer="rmsprop")).param_groups
    assert group["eps"] == 1e-8  # torch's own RMSProp keeps its own


BUILT_ANYWHERE = [name for name in map(str, list_optimizers()) if not name.startswith(("bnb", "fused"))]
"""All but those of bitsandbytes and APEX, which need CUDA."""


@pytest.mark.parametrize("name", BUILT_ANYWHERE)
def test_every_optimizer_of_timm_is_built(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(model, TrainConfig(optimizer=name, learning_rate=0.5, weight_decay=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0]


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 1), nn.Linear(4, 4)
        self.table = nn.Parameter(torch.zeros(4))  # neither a weight nor a bias by name, such as a layer scale
        self.plain = nn.ModuleList(
            [nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.SyncBatchNorm(4), nn.InstanceNorm2d(4, affine=True)]
        )
        self.more = nn.ModuleList([nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.RMSNorm(4)])
        self.of_timm = nn.ModuleList(
            [BatchNormAct2d(4), GroupNormAct(4, group_size=2), LayerNorm2d(4), LayerNormAct(4), RmsNorm(4)]
        )


@pytest.mark.parametrize("decay_biases", [False, True])
def test_normalisation_never_decays_and_biases_where_asked(decay_biases: bool) -> None:
    model = Everything()
    config = TrainConfig(optimizer="sgd", weight_decay=0.1, learning_rate=0.5, decay_biases=decay_biases)
    optimizer = build_optimizer(model, config)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    biases = {"conv.bias", "linear.bias"} if decay_biases else set()
    for name, parameter in model.named_parameters():
        expected = 0.1 if name in {"conv.weight", "linear.weight", "table", *biases} else 0.0
        assert decays.pop(id(parameter)) == expected, name
    assert not decays


def test_what_an_efficientnet_decays_is_all_but_batch_norm() -> None:
    """Official main.py: every trainable variable without `batch_normalization` in its name."""
    model = timm.create_model("test_efficientnet")
    decaying, resting = (group["params"] for group in build_optimizer(model, TrainConfig()).param_groups)
    norms = [parameter for name, parameter in model.named_parameters() if "bn" in name]
    assert {id(p) for p in resting} == {id(p) for p in norms}
    assert len(decaying) + len(resting) == len(list(model.parameters()))


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model[0].requires_grad_(False)
    (group,) = build_optimizer(model, TrainConfig()).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model[1].parameters()]
    assert group["weight_decay"] == 0


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"optimizer": "sgdd"}, ["train.optimizer 'sgdd'", "did you mean 'sgd"]),
        ({"optimizer": "rmsprop_tf"}, ["'rmsprop_tf'", "did you mean 'rmsproptf'?"]),
        ({"optimizer": "bnbadam"}, ["'bnbadam' cannot be built"]),
        ({"optimizer": "sgd", "momentum": 0.0}, ["'sgd' cannot be built", "momentum"]),
        ({"optimizer_kwargs": {"alpa": 1}}, ["train.optimizer_kwargs", "'alpa'", "did you mean 'alpha'?"]),
        ({"optimizer_kwargs": {"betas": [0.9, 0.9]}}, ["rmsproptf takes no 'betas'"]),
        ({"optimizer_kwargs": {"lr": 1}}, ["'lr'", "set train.learning_rate"]),
        ({"optimizer_kwargs": {"weight_decay": 1}}, ["set train.weight_decay"]),
        ({"optimizer_kwargs": {"params": 1}}, ["takes no 'params'"]),
        ({"optimizer": "adamw", "optimizer_kwargs": {"betas": [2, 0.9]}}, ["'adamw' cannot be built"]),
        ({"optimizer_kwargs": {"eps": "small"}}, ["'rmsproptf' cannot be built"]),
    ],
    ids=str,
)
def test_what_is_refused_is_one_line(given: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_optimizer(nn.Linear(1, 1), TrainConfig(**given))
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_capitals_do_not_matter() -> None:
    assert type(build_optimizer(nn.Linear(1, 1), TrainConfig(optimizer="AdamW"))) is torch.optim.AdamW


def test_the_average_warms_up_by_hand() -> None:
    """Weights 11, 22, 33, 44: the first is copied, then 2/11, 3/12 and 4/13 of the average stay."""
    model = nn.Linear(1, 1, bias=False).double()
    average = weight_average(model, 0.9999)
    seen = []
    for weight in (11.0, 22.0, 33.0, 44.0):
        nn.init.constant_(model.weight, weight)
        average.update_parameters(model)
        seen.append(average.module.weight.item())
    second = Fraction(2, 11) * 11 + Fraction(9, 11) * 22
    third = Fraction(3, 12) * second + Fraction(9, 12) * 33
    fourth = Fraction(4, 13) * third + Fraction(9, 13) * 44
    assert seen == pytest.approx([11, float(second), float(third), float(fourth)], rel=1e-14)
    assert float(second) == 20


def test_the_first_update_has_no_weight_from_the_twentieth_on() -> None:
    """What TensorFlow keeps of the initial weights, and this average of its first: below one in a million."""
    model = nn.Linear(1, 1, bias=False).double()
    average = weight_average(model, 0.9999)
    for update in range(21):
        nn.init.constant_(model.weight, float(update == 0))
        average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(math.factorial(10) / math.prod(range(22, 31)), rel=1e-9)
    assert average.module.weight.item() < 1e-6


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


def trained(model: nn.Module, average: nn.Module, steps: int) -> None:
    """A few steps under bf16 autocast, as `train.amp = "bf16"` takes them."""
    optimizer = build_optimizer(model, TrainConfig(learning_rate=0.01))
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.randn(4, 3, 8, 8)).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)  # type: ignore[operator]


def test_the_average_stays_fp32_under_bf16_and_continues_from_a_saved_state() -> None:
    def fresh() -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).train()
        return model.to(memory_format=torch.channels_last), weight_average(model, 0.9999)

    (model, average), (other, resumed) = fresh(), fresh()
    trained(model, average, 3)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(average.state_dict())
    for one, its in ((model, average), (other, resumed)):
        torch.manual_seed(1)
        trained(one, its, 3)
    state = average.state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int64}
    assert not torch.equal(state["module.1.running_var"], model.state_dict()["1.running_var"])
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in state.items())
    assert state["n_averaged"].item() == 6
    assert state["module.0.weight"].is_contiguous(memory_format=torch.channels_last)
