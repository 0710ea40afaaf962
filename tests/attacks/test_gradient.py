"""What an attack asks of its arguments and of the model, and that it leaves the model and the settings as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nsbench.attacks import autoattack, fgsm, fgsm_sweep, pgd, torchattacks_attack
from nsbench.errors import DataError

Attack = Callable[[nn.Module, Tensor, Tensor], Any]
ATTACKS: dict[str, Attack] = {
    "fgsm": lambda *args: fgsm(*args, [0, 8 / 255]),
    "fgsm_sweep": lambda *args: fgsm_sweep(*args, [0, 8 / 255]),
    "pgd": lambda *args: pgd(*args, 8 / 255, steps=2),
    "autoattack": lambda *args: autoattack(*args, 8 / 255, steps=2, num_queries=5),
    "torchattacks": lambda *args: torchattacks_attack("PGD", *args, steps=2),
}

every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


@every_attack
def test_arguments_are_checked_at_the_call(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        attack(model, images * 2 - 1, labels)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        attack(model, images.where(images < 0.9, torch.nan), labels)
    with pytest.raises(ValueError, match=r"float \[N, 3, H, W\], not torch.uint8"):
        attack(model, (images * 255).byte(), labels)
    with pytest.raises(ValueError, match=r"labels must be int64 \[12\], not torch.int64 \[11\]"):
        attack(model, images, labels[:11])
    with pytest.raises(ValueError, match=r"not torch\.float32"):
        attack(model, images, labels.float())


@pytest.mark.parametrize("epsilon", [8.0, -0.1, float("nan")])
def test_epsilons_are_in_units_of_the_range(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> None:
    for attack in (fgsm, fgsm_sweep):
        with pytest.raises(ValueError, match=r"8 levels are 8 / 255"):
            attack(model, images, labels, [0.1, epsilon])
        with pytest.raises(ValueError, match="no epsilon"):
            attack(model, images, labels, [])
    with pytest.raises(ValueError, match=r"8 levels are 8 / 255"):
        pgd(model, images, labels, epsilon)
    with pytest.raises(ValueError, match=r"8 levels are 8 / 255"):
        pgd(model, images, labels, 0.1, step_size=epsilon)
    with pytest.raises(ValueError, match="steps must be at least 0"):
        pgd(model, images, labels, 0.1, steps=-1)


@every_attack
@pytest.mark.parametrize("wrong", [-100, -1, 10])
def test_labels_that_are_no_class(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, wrong: int) -> None:
    """-100 among them: cross-entropy ignores it without a word."""
    labels[3] = wrong
    with pytest.raises(DataError, match=rf"{min(wrong, 0)}\.\.{max(wrong, 9)} for a model of 10 classes"):
        attack(model, images, labels)


class Detached(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(torch.from_numpy(images.detach().numpy()))


class Square(nn.Module):
    """The square root at 0 has no finite slope."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sqrt().flatten(1)[:, :10]


@every_attack
def test_a_model_without_gradient(model: nn.Module, images: Tensor, attack: Attack) -> None:
    with pytest.raises(DataError, match="passes no gradient"):
        attack(Detached(model), images, model(images).argmax(1))


def test_a_gradient_that_is_not_finite(images: Tensor, labels: Tensor) -> None:
    images[2, 0, 0, 5] = 0
    with pytest.raises(DataError, match="not finite for 1 of 12 images"):
        fgsm(Square(), images, labels, [0.1])


@every_attack
def test_what_the_model_gives_must_be_logits(images: Tensor, labels: Tensor, attack: Attack) -> None:
    with pytest.raises(DataError, match=r"logits \[12, classes\], not \[12, 3, 8, 8\]"):
        attack(nn.Identity(), images, labels)


@every_attack
def test_the_model_is_attacked_in_eval_mode_and_left_as_it_was(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack
) -> None:
    expected = fgsm_sweep(model, images, labels, [0.0, 0.1]).logits
    model.train()
    model[1].eval()
    model[5].bias.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes: list[bool] = []
    model.register_forward_hook(lambda *_: modes.append(any(module.training for module in model.modules())))
    attack(model, images, labels)
    assert modes
    assert not any(modes)
    assert torch.equal(fgsm_sweep(model, images, labels, [0.0, 0.1]).logits, expected)
    assert model.training
    assert model[3].training
    assert not model[1].training
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, True, True, False]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not model._backward_hooks


@pytest.fixture
def tf32() -> Iterator[tuple[Any, Any]]:
    """Both of CUDA's backends, TF32 on; a setting of the process, so it needs no GPU."""
    cudnn: Any = torch.backends.cudnn
    backends = (torch.backends.cuda.matmul, cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "tf32"
    yield backends
    for backend, precision in zip(backends, before, strict=True):
        backend.fp32_precision = precision


@every_attack
def test_plain_fp32_inside_and_the_settings_back_afterwards(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, tf32: tuple[Any, Any]
) -> None:
    seen: list[tuple[str, str, bool]] = []
    model.register_forward_hook(
        lambda *_: seen.append((tf32[0].fp32_precision, tf32[1].fp32_precision, torch.is_autocast_enabled("cpu")))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attack(model, images, labels)
        with pytest.raises(ValueError, match="labels"):
            attack(model, images, labels.float())
        with pytest.raises(DataError):
            attack(model, images, labels + 1)
        assert torch.is_autocast_enabled("cpu")
    assert set(seen) == {("ieee", "ieee", False)}
    assert [backend.fp32_precision for backend in tf32] == ["tf32", "tf32"]


def _values(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [result.logits] if hasattr(result, "logits") else list(result)


@every_attack
def test_inference_mode_autocast_and_memory_format_change_nothing(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack
) -> None:
    expected = _values(attack(model, images, labels))
    with torch.inference_mode():
        inside = _values(attack(model, images.clone(), labels.clone()))
        assert torch.is_inference_mode_enabled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = _values(attack(model, images, labels))
    with torch.no_grad():
        quiet = _values(attack(model, images, labels))
    tracked = _values(attack(model, images.clone().requires_grad_(), labels))
    for found in (inside, cast, quiet, tracked):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert not any(value.requires_grad for value in found)
    last = images.contiguous(memory_format=torch.channels_last)
    for target in (model, model.to(memory_format=torch.channels_last)):
        for a, b in zip(_values(attack(target, last, labels)), expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
