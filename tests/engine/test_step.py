"""One update: its loss by hand, its arithmetic in float64 against a reference that shares no code with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.data.loaders import Batch, StepBatches
from nsbench.engine.noise import RowSwitch, install_model_noise
from nsbench.engine.optim import build_optimizer
from nsbench.engine.step import Stepper, loss_weights, total_weight
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import NsbenchError
from nsbench.models import PixelModel, build
from nsbench.trainingconfig import TrainConfig

from .conftest import TINY

CPU = torch.device("cpu")
QUIET = dataclasses.replace(TINY, drop_rate=0.0, drop_path_rate=0.0)
MakeRun = Callable[..., TrainingRun]


def batch_of(run: TrainingRun, accumulation: int = 1) -> Batch:
    batches = StepBatches(
        parts=run.parts, noise=run.noise, seed=run.seed, num_steps=1, size=16, accumulation=accumulation
    )
    batch = batches[0]
    assert not isinstance(batch, NsbenchError)
    return batch


def stepper(model: PixelModel, optimizer: torch.optim.Optimizer, kind: Any, **more: Any) -> Stepper:
    switch = more.pop("switch", None) or install_model_noise(model, QUIET)
    return Stepper(
        model=model, optimizer=optimizer, switch=switch, weights=loss_weights(kind, 4, 8), device=CPU, **more
    )


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("algorithm1", 2 + 4),  # mean (1, 3) + mean (2, 4, 6)
        ("concat_mean", 16 / 5),  # one mean over five
        ("code", 16 / 2),  # the sum over the two labelled
    ],
)
def test_loss_weights_by_hand(kind: Any, loss: float) -> None:
    """Cross-entropies 1 and 3 of labelled images, 2, 4 and 6 of unlabelled ones."""
    labelled, unlabelled = loss_weights(kind, 2, 3)
    assert labelled * (1 + 3) + unlabelled * (2 + 4 + 6) == pytest.approx(loss)
    assert loss_weights(kind, 2, 0)[0] == 0.5
    assert loss_weights(kind, 0, 4)[1] == 0.25


@pytest.mark.parametrize(
    ("kind", "ratio", "total"), [("code", 3, 4), ("algorithm1", 3, 2), ("concat_mean", 3, 1), ("code", 0, 1)]
)
def test_the_controls_scale_is_a_students_loss_at_entropy_one(kind: Any, ratio: int, total: float) -> None:
    assert total_weight(kind, ratio) == pytest.approx(total)


@pytest.mark.parametrize(
    ("kind", "weight"), [("algorithm1", (1.0, 1.0)), ("concat_mean", (1 / 3, 2 / 3)), ("code", (1.0, 2.0))]
)
def test_a_step_is_plain_sgd_on_torchs_own_cross_entropy(
    make_run: MakeRun, kind: Any, weight: tuple[float, float]
) -> None:
    """4 labelled and 8 unlabelled images: the losses weigh the two means by these numbers."""
    batch = batch_of(make_run(noised=(False, False)))
    ours, theirs = build(QUIET, 4, 0).train(), build(QUIET, 4, 0).train()
    sums = stepper(ours, torch.optim.SGD(ours.parameters(), lr=0.1), kind).update(batch)

    logits = theirs(batch.pixels.permute(0, 3, 1, 2) / 255)
    means = [F.cross_entropy(logits[rows], batch.targets[rows]) for rows in (slice(0, 4), slice(4, 12))]
    loss = weight[0] * means[0] + weight[1] * means[1]
    right = (logits[:4].argmax(1) == batch.targets[:4].argmax(1)).sum().item()
    expected = [loss.item(), means[0].item() * 4, means[1].item() * 8, right, 4]
    assert sums.tolist() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    for (name, parameter), got in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(got, parameter - 0.1 * parameter.grad, msg=name)


def test_gradients_are_clipped(make_run: MakeRun) -> None:
    model = build(TINY, 4, 0).train()
    before = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
    stepper(model, torch.optim.SGD(model.parameters(), lr=1.0), "code", clip_norm=1e-3).update(batch_of(make_run()))
    moved = torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("accumulation", [2, 3, 4])
@pytest.mark.parametrize("kind", ["algorithm1", "concat_mean", "code"])
def test_micro_batches_give_the_gradient_of_the_whole_step(make_run: MakeRun, kind: Any, accumulation: int) -> None:
    """With batch norm frozen; 8 unlabelled images in 3 micro-batches are uneven."""
    run = make_run(noised=(False, False))
    models = []
    for parts in (1, accumulation):
        model = build(QUIET, 4, 0).eval()
        sums = stepper(model, torch.optim.SGD(model.parameters(), lr=0.1), kind).update(batch_of(run, parts))
        models.append((sums, [parameter.detach() for parameter in model.parameters()]))
    torch.testing.assert_close(models[0][0], models[1][0])
    for one, other in zip(models[0][1], models[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


class Reference:
    """The official step on three layers, in NumPy and float64: forward, backward, L2 and TensorFlow's RMSProp by hand.

    No autograd, no torch optimizer: convolution 3x3 as shifted products, ReLU, mean over the image, linear layer.
    """

    def __init__(self, kernel: Any, bias: Any, weight: Any, offset: Any) -> None:
        self.parameters = [kernel, bias, weight, offset]
        self.squares = [np.ones_like(p) for p in self.parameters]  # TensorFlow starts the mean square at one
        self.momenta = [np.zeros_like(p) for p in self.parameters]

    def step(self, images: Any, targets: Any, weights: Any, rate: float, decay: float) -> float:
        kernel, bias, weight, offset = self.parameters
        _, _, height, width = images.shape
        padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
        shifts = [
            (i, j, padded[:, :, i : i + height, j : j + width]) for i in range(3) for j in range(3)
        ]  # each [N, 3, H, W]
        hidden = bias[None, :, None, None] + sum(
            np.einsum("oc,nchw->nohw", kernel[:, :, i, j], part) for i, j, part in shifts
        )
        active = np.maximum(hidden, 0)
        features = active.mean(axis=(2, 3))
        logits = features @ weight.T + offset
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = -(weights * (targets * log_probs).sum(axis=1)).sum()
        d_logits = weights[:, None] * (np.exp(log_probs) * targets.sum(axis=1, keepdims=True) - targets)
        d_features = d_logits @ weight
        d_hidden = np.broadcast_to(d_features[:, :, None, None], hidden.shape) / (height * width) * (hidden > 0)
        d_kernel = np.zeros_like(kernel)
        for i, j, part in shifts:
            d_kernel[:, :, i, j] = np.einsum("nohw,nchw->oc", d_hidden, part)
        gradients = [d_kernel, d_hidden.sum(axis=(0, 2, 3)), d_logits.T @ features, d_logits.sum(axis=0)]
        for index, gradient in enumerate(gradients):
            gradient = gradient + decay * self.parameters[index]  # noqa: PLW2901 of l2_loss = half the sum of squares
            self.squares[index] += (1 - 0.9) * (gradient**2 - self.squares[index])
            self.momenta[index] = 0.9 * self.momenta[index] + rate * gradient / np.sqrt(self.squares[index] + 1e-3)
            self.parameters[index] = self.parameters[index] - self.momenta[index]
        return float(loss)


class Three(nn.Module):
    """The reference's layers in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.conv(images).relu().mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("kind", ["algorithm1", "concat_mean", "code"])
def test_the_engines_step_in_float64_is_the_official_step_by_hand(make_run: MakeRun, kind: Any) -> None:
    """Three steps on a mixed batch, soft and smoothed targets, RMSProp and L2: relative error below 1e-10."""
    torch.manual_seed(0)
    model = PixelModel(Three(), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).double()
    config = TrainConfig(weight_decay=1e-2)
    optimizer = build_optimizer(model, config)
    one = Stepper(model=model, optimizer=optimizer, switch=RowSwitch(), weights=loss_weights(kind, 4, 8), device=CPU)
    parameters = [model.net.conv.weight, model.net.conv.bias, model.net.fc.weight, model.net.fc.bias]
    reference = Reference(*(p.detach().numpy().copy() for p in parameters))  # type: ignore[union-attr]
    run = make_run()
    weights = np.where(np.arange(12) < 4, *loss_weights(kind, 4, 8))
    for step in range(3):
        batch = StepBatches(parts=run.parts, noise=run.noise, seed=run.seed, num_steps=3, size=16)[step]
        assert not isinstance(batch, NsbenchError)
        rate = 0.01 * (step + 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        sums = one.update(batch)
        pixels = batch.pixels.numpy().transpose(0, 3, 1, 2) / np.float64(255)
        mean, std = (
            np.array(v, np.float32).astype(np.float64)[:, None, None] for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
        )
        targets = batch.targets.numpy().astype(np.float64)
        loss = reference.step((pixels - mean) / std, targets, weights, rate, config.weight_decay)
        assert sums[0].item() == pytest.approx(loss, rel=1e-10)
        for ours, theirs in zip(parameters, reference.parameters, strict=True):
            got = ours.detach().numpy()  # type: ignore[union-attr]
            assert np.abs(got - theirs).max() / np.abs(theirs).max() < 1e-10
