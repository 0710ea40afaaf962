"""Attacks against torchattacks, against models whose worst case is known, and against their own promises."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nsbench.attacks import fgsm, fgsm_sweep, pgd, random_sign, torchattacks_attack
from nsbench.errors import ConfigError, DataError


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.4), nn.Flatten(), nn.Linear(6 * 36, 5)
    ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 5


SEEDS = np.arange(100, 112, dtype=np.int64)


@pytest.mark.parametrize("epsilon", [0.01, 8 / 255, 0.3])
def test_fgsm_equals_torchattacks(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> None:
    theirs = torchattacks.FGSM(model, eps=epsilon)(images, labels)
    torch.testing.assert_close(fgsm(model, images, labels, epsilon), theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(torchattacks_attack("FGSM", model, images, labels, eps=epsilon), theirs, atol=0, rtol=0)
    sweep = fgsm_sweep(model, images, labels, [epsilon])
    torch.testing.assert_close(sweep.logits[0], model(theirs).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_pgd_equals_torchattacks(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
    epsilon = 16 / 255
    theirs = torchattacks.PGD(model, eps=epsilon, alpha=epsilon / 4, steps=steps, random_start=False)(images, labels)
    torch.testing.assert_close(pgd(model, images, labels, epsilon, steps=steps), theirs, atol=1e-6, rtol=0)


def test_fgsm_is_the_worst_case_of_a_linear_model() -> None:
    """Logits (0, w.x + b): the worst point of the ball lies at x -+ epsilon * sign(w), for the loss of each class."""
    weight, epsilon = torch.tensor([0.5, -2.0, 1.0]), 0.1
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        linear[1].weight.copy_(torch.stack([torch.zeros(3), weight]))
        linear[1].bias.copy_(torch.tensor([0.0, 0.25]))
    image = torch.tensor([0.5, 0.5, 0.95]).view(1, 3, 1, 1).expand(2, -1, -1, -1)
    result = fgsm_sweep(linear, image, torch.tensor([0, 1]), [0.0, epsilon])
    clean = 0.5 * 0.5 - 2 * 0.5 + 0.95 + 0.25
    raised = 0.5 * 0.6 - 2 * 0.4 + 1.0 + 0.25  # the third value is clamped at 1
    lowered = 0.5 * 0.4 - 2 * 0.6 + 0.85 + 0.25
    expected = torch.tensor([[[0, clean], [0, clean]], [[0, raised], [0, lowered]]])
    torch.testing.assert_close(result.logits, expected, atol=1e-6, rtol=0)
    assert not result.zero_image.any()
    assert result.zero_pixels.eq(0).all()


def test_one_backward_and_one_clean_forward_serve_the_sweep(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    backwards: list[int] = []
    forwards: list[int] = []
    model.register_full_backward_hook(lambda *_: backwards.append(1))
    model.register_forward_hook(lambda *_: forwards.append(1))
    result = fgsm_sweep(model, images, labels, [0.0, 0.01, 0.02, 0.05, 0.1])
    assert len(backwards) == 1
    assert len(forwards) == 5
    with torch.no_grad():
        assert torch.equal(result.logits[0], model(images))


def test_attacks_stay_in_the_ball_and_in_range(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    epsilon = 0.07
    for moved in (
        fgsm(model, images, labels, epsilon),
        pgd(model, images, labels, epsilon, seeds=SEEDS),
        random_sign(images, epsilon, SEEDS),
    ):
        assert moved.dtype == torch.float32
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert (moved - images).abs().max() <= epsilon + 1e-6
        assert not moved.requires_grad


def test_images_outside_the_range_are_refused(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fgsm(model, images * 2 - 1, labels, 0.1)


def test_the_model_is_attacked_in_eval_mode_and_left_as_it_was(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    expected = fgsm_sweep(model, images, labels, [0.0, 0.1]).logits
    model.train()
    model[1].eval()
    model[5].bias.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(fgsm_sweep(model, images, labels, [0.0, 0.1]).logits, expected)
    pgd(model, images, labels, 0.1, steps=2)
    torchattacks_attack("PGD", model, images, labels, steps=2)
    assert model.training
    assert model[3].training
    assert not model[1].training
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, True, True, False]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_attacks_work_inside_inference_mode_and_autocast(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    expected = fgsm_sweep(model, images, labels, [0.1]).logits
    with torch.inference_mode():
        assert torch.equal(fgsm_sweep(model, images.clone(), labels.clone(), [0.1]).logits, expected)
        pgd(model, images.clone(), labels.clone(), 0.1, steps=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fgsm_sweep(model, images, labels, [0.1]).logits, expected)


class Saturated(nn.Module):
    """Logits that ignore dark images altogether and the second half of every image."""

    def forward(self, images: Tensor) -> Tensor:
        score = images[:, :, :4].mean(dim=(1, 2, 3), keepdim=True).flatten() - 0.5
        return torch.stack([score.clamp(min=0), torch.zeros_like(score)], dim=1)


def test_share_of_zero_gradients() -> None:
    images = torch.stack([torch.full((3, 8, 8), 0.9), torch.full((3, 8, 8), 0.1)])
    result = fgsm_sweep(Saturated(), images, torch.tensor([0, 0]), [0.2])
    assert result.zero_image.tolist() == [False, True]
    assert result.zero_pixels.tolist() == [0.5, 1.0]
    assert torch.equal(fgsm(Saturated(), images, torch.tensor([0, 0]), 0.2)[1], images[1])


def test_a_large_batch_does_not_hide_small_gradients() -> None:
    """The mean of 4,096 losses would divide a gradient of about 1e-42 to zero."""
    sure = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        sure[1].weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
        sure[1].bias.copy_(torch.tensor([97.5, 0.0]))
    images = torch.full((4096, 3, 1, 1), 0.5)
    assert not fgsm_sweep(sure, images, torch.zeros(4096, dtype=torch.int64), [0.1]).zero_image.any()


def test_random_signs_belong_to_the_image(images: Tensor) -> None:
    middle = images * 0.5 + 0.25
    whole = random_sign(middle, 0.1, SEEDS)
    for i in (0, 5, 11):
        assert torch.equal(random_sign(middle[i : i + 1], 0.1, SEEDS[i : i + 1])[0], whole[i])
    signs = (whole - middle).sign()
    assert torch.equal((random_sign(middle, 0.02, SEEDS) - middle).sign(), signs)
    torch.testing.assert_close((whole - middle).abs(), torch.full_like(middle, 0.1), atol=1e-6, rtol=0)
    assert abs(signs.mean().item()) < 4 / np.sqrt(signs.numel())
    assert not torch.equal(signs[0], signs[1])


def test_pgd_start_belongs_to_the_image(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    starts = pgd(model, images, labels, 0.1, steps=0, seeds=SEEDS)
    assert torch.equal(pgd(model, images[3:5], labels[3:5], 0.1, steps=0, seeds=SEEDS[3:5]), starts[3:5])
    inside = (images > 0.1) & (images < 0.9)
    shift = (starts - images)[inside]
    assert shift.min() < -0.095
    assert shift.max() > 0.095
    assert abs(shift.mean().item()) < 4 * 0.1 / np.sqrt(3 * shift.numel())


def test_pgd_is_at_least_as_strong_as_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        assert loss(model(pgd(model, images, labels, 0.1)), labels) >= loss(
            model(fgsm(model, images, labels, 0.1)), labels
        )


def test_a_seed_for_every_image(images: Tensor) -> None:
    with pytest.raises(ValueError, match="2 seeds for 12 images"):
        random_sign(images, 0.1, SEEDS[:2])


@pytest.fixture
def without_torchattacks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "torchattacks":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    return


@pytest.mark.usefixtures("without_torchattacks")
def test_missing_torchattacks_names_the_command(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(DataError, match=r'pip install "nsbench\[attacks\]"'):
        torchattacks_attack("FGSM", model, images, labels)


def test_unknown_attack_and_argument(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ConfigError, match="did you mean 'FGSM'"):
        torchattacks_attack("FGSMM", model, images, labels)
    with pytest.raises(ConfigError, match="epsilon"):
        torchattacks_attack("FGSM", model, images, labels, epsilon=0.1)
