"""FGSM and PGD against torchattacks, gradients derived by hand, and models whose worst case is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nsbench.attacks import fgsm, fgsm_sweep, pgd, random_sign
from tests.attacks.conftest import SEEDS

PAPER = [0, 2 / 255, 4 / 255, 8 / 255, 16 / 255]
"""The epsilons of the Noisy Student paper's figure."""

Floats = npt.NDArray[np.float64]


class Layers(nn.Module):
    """Two layers on 2 x 2 pixels, whose gradient `by_hand` derives."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.first, self.second = rng.normal(size=(7, 12)), rng.normal(size=(4, 7))
        self.weights = nn.ParameterList([torch.tensor(self.first).float(), torch.tensor(self.second).float()])

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.weights[0].T).relu() @ self.weights[1].T

    def by_hand(self, images: Floats, labels: npt.NDArray[np.int64]) -> Floats:
        """[N, 12]: d/dx of -log softmax(W2 max(W1 x, 0)) at the label is W1' (W1 x > 0) W2' (softmax - one-hot)."""
        gradients = np.zeros_like(images)
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            hidden = self.first @ image
            logits = self.second @ np.maximum(hidden, 0)
            surplus = np.exp(logits) / np.exp(logits).sum() - np.eye(4)[label]
            gradients[row] = self.first.T @ ((hidden > 0) * (self.second.T @ surplus))
        return gradients


@pytest.mark.parametrize("seed", range(5))
def test_fgsm_and_pgd_equal_gradients_by_hand(seed: int) -> None:
    net, rng = Layers(seed), np.random.default_rng(100 + seed)
    start, labels = rng.random((9, 12)), rng.integers(4, size=9)
    batch, classes = torch.tensor(start.reshape(9, 3, 2, 2)).float(), torch.tensor(labels)
    start = batch.flatten(1).double().numpy()
    for epsilon, moved in zip(PAPER, fgsm(net, batch, classes, PAPER), strict=True):
        expected = np.clip(start + epsilon * np.sign(net.by_hand(start, labels)), 0, 1)
        np.testing.assert_allclose(moved.flatten(1), expected, atol=1e-6)
    expected = start
    for _ in range(10):
        stepped = expected + 4 / 255 * np.sign(net.by_hand(expected, labels))
        expected = np.clip(np.clip(stepped, start - 16 / 255, start + 16 / 255), 0, 1)
    np.testing.assert_allclose(pgd(net, batch, classes, 16 / 255).flatten(1), expected, atol=1e-6)


def test_fgsm_equals_torchattacks_bit_for_bit(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    epsilons = [*PAPER, 0.25 / 255, 0.3, 1]
    sweep = fgsm_sweep(model, images, labels, epsilons)
    for k, (epsilon, moved) in enumerate(zip(epsilons, fgsm(model, images, labels, epsilons), strict=True)):
        theirs = torchattacks.FGSM(model, eps=epsilon)(images, labels)
        assert torch.equal(moved, theirs)
        torch.testing.assert_close(sweep.logits[k], model(theirs).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [4 / 255, 16 / 255])
def test_pgd_equals_torchattacks(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, steps: int) -> None:
    for step_size in (epsilon / 4, 1 / 255):
        attack = torchattacks.PGD(model, eps=epsilon, alpha=step_size, steps=steps, random_start=False)
        ours = pgd(model, images, labels, epsilon, steps=steps, step_size=step_size)
        torch.testing.assert_close(ours, attack(images, labels), atol=1e-7, rtol=0)


def test_a_step_of_pgd_from_the_image_is_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    (moved,) = fgsm(model, images, labels, [8 / 255])
    torch.testing.assert_close(pgd(model, images, labels, 8 / 255, steps=1, step_size=8 / 255), moved)


def linear(weight: list[float], bias: float) -> nn.Module:
    """Logits (0, w.x + b) on one pixel."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[0.0, 0.0, 0.0], weight]))
        net[1].bias.copy_(torch.tensor([0.0, bias]))
    return net


def test_fgsm_is_the_worst_case_of_a_linear_model() -> None:
    """The worst point of the ball lies at x -+ epsilon * sign(w), for the loss of each class."""
    epsilon = 0.1
    image = torch.tensor([0.5, 0.5, 0.95]).view(1, 3, 1, 1).expand(2, -1, -1, -1)
    result = fgsm_sweep(linear([0.5, -2.0, 1.0], 0.25), image, torch.tensor([0, 1]), [0.0, epsilon])
    clean = 0.5 * 0.5 - 2 * 0.5 + 0.95 + 0.25
    raised = 0.5 * 0.6 - 2 * 0.4 + 1.0 + 0.25  # the third value is clamped at 1
    lowered = 0.5 * 0.4 - 2 * 0.6 + 0.85 + 0.25
    expected = torch.tensor([[[0, clean], [0, clean]], [[0, raised], [0, lowered]]])
    torch.testing.assert_close(result.logits, expected, atol=1e-6, rtol=0)
    assert not result.zero_image.any()
    assert result.zero_pixels.eq(0).all()


def test_true_labels_never_put_right_what_was_wrong() -> None:
    """Attacking the predicted class would: the image of class 0 below is taken for class 1, narrowly."""
    net, image = linear([1.0, 1.0, 1.0], -1.45), torch.full((1, 3, 1, 1), 0.5)
    predicted = net(image).argmax(1)
    assert predicted.item() == 1
    answers = fgsm_sweep(net, image, torch.tensor([0]), PAPER).logits.argmax(-1).flatten()
    assert answers.tolist() == [1, 1, 1, 1, 1]
    assert fgsm_sweep(net, image, predicted, PAPER).logits.argmax(-1).flatten().tolist() == [1, 1, 1, 0, 0]


def test_one_backward_serves_all_epsilons(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    backwards: list[int] = []
    forwards: list[int] = []
    model.register_full_backward_hook(lambda *_: backwards.append(1))
    model.register_forward_hook(lambda *_: forwards.append(1))
    assert len(list(fgsm(model, images, labels, PAPER))) == 5
    assert (len(backwards), len(forwards)) == (1, 1)
    result = fgsm_sweep(model, images, labels, PAPER)
    assert (len(backwards), len(forwards)) == (2, 1 + 5)
    with torch.no_grad():
        assert torch.equal(result.logits[0], model(images))
    pgd(model, images, labels, 16 / 255)
    assert (len(backwards), len(forwards)) == (2 + 10, 6 + 1 + 10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 4),
    epsilons=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    steps=st.integers(0, 4),
    step_size=st.floats(0, 1),
)
def test_attacks_stay_in_the_ball_and_in_range(
    seed: int, count: int, epsilons: list[float], steps: int, step_size: float
) -> None:
    rng = np.random.default_rng(seed)
    net, batch = Layers(seed), torch.tensor(rng.random((count, 3, 2, 2)).round(1)).float()
    labels, seeds = torch.tensor(rng.integers(4, size=count)), rng.integers(2**62, size=count)
    swept = list(fgsm(net, batch, labels, epsilons))
    for epsilon, moved in zip(epsilons, swept, strict=True):
        (alone,) = fgsm(net, batch, labels, [epsilon])
        assert torch.equal(moved, alone)
        chased = pgd(net, batch, labels, epsilon, steps=steps, step_size=step_size, seeds=seeds)
        for shown in (moved, chased, random_sign(batch, epsilon, seeds)):
            assert shown.dtype == torch.float32
            assert shown.shape == batch.shape
            assert not shown.requires_grad
            assert ((shown >= 0) & (shown <= 1)).all()
            assert ((shown - batch).abs() <= epsilon + 1e-6).all()
            assert epsilon > 0 or torch.equal(shown, batch)


def test_the_images_of_epsilon_0_are_a_copy(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    kept = images.clone()
    (moved,) = fgsm(model, images, labels, [0])
    moved.zero_()
    assert torch.equal(images, kept)


class Half(nn.Module):
    """Logits that ignore dark images altogether and the second half of every image."""

    def forward(self, images: Tensor) -> Tensor:
        score = images[:, :, :4].mean(dim=(1, 2, 3), keepdim=True).flatten() - 0.5
        return torch.stack([score.clamp(min=0), torch.zeros_like(score)], dim=1)


def test_share_of_zero_gradients() -> None:
    images = torch.stack([torch.full((3, 8, 8), 0.9), torch.full((3, 8, 8), 0.1)])
    result = fgsm_sweep(Half(), images, torch.tensor([0, 0]), [0.2])
    assert result.zero_image.tolist() == [False, True]
    assert result.zero_pixels.tolist() == [0.5, 1.0]
    (moved,) = fgsm(Half(), images, torch.tensor([0, 0]), [0.2])
    assert torch.equal(moved[1], images[1])


def test_a_saturated_softmax_masks_its_gradient_and_is_counted() -> None:
    """Logits a thousand times as large leave every answer as it is, but a float32 softmax of exactly 0 and 1."""
    net, labels = linear([1.0, 1.0, 1.0], -1.35), torch.tensor([1, 1, 0])
    images = torch.tensor([0.5, 0.9, 0.1]).view(3, 1, 1, 1).repeat(1, 3, 1, 1)
    loud = nn.Sequential(net, nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        loud[1].weight.copy_(1000 * torch.eye(2))
    honest, masked = (fgsm_sweep(each, images, labels, [0.0, 16 / 255]) for each in (net, loud))
    assert torch.equal(honest.logits[0].argmax(1), masked.logits[0].argmax(1))
    assert honest.logits.argmax(2).tolist() == [[1, 1, 0], [0, 1, 0]]
    assert masked.logits.argmax(2).tolist() == [[1, 1, 0], [1, 1, 0]]
    assert honest.zero_image.tolist() == [False, False, False]
    assert masked.zero_image.tolist() == [True, True, True]


def test_a_large_batch_does_not_hide_small_gradients() -> None:
    """The mean of 4,096 losses would divide a gradient of about 1e-42 to zero."""
    images = torch.full((4096, 3, 1, 1), 0.5)
    sure = linear([-1.0, -1.0, -1.0], -96.0)
    labels = torch.zeros(4096, dtype=torch.int64)
    assert not fgsm_sweep(sure, images, labels, [0.1]).zero_image.any()


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
    (moved,) = fgsm(model, images, labels, [0.1])
    with torch.no_grad():
        assert loss(model(pgd(model, images, labels, 0.1)), labels) >= loss(model(moved), labels)


def test_a_seed_for_every_image(images: Tensor) -> None:
    with pytest.raises(ValueError, match="2 seeds for 12 images"):
        random_sign(images, 0.1, SEEDS[:2])
