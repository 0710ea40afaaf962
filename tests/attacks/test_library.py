"""Every attack of torchattacks through the adapter, and AutoAttack's published settings."""

from __future__ import annotations

import builtins
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nsbench.attacks import autoattack, pgd, radius_argument, torchattacks_attack, torchattacks_class
from nsbench.errors import ConfigError, DataError

ATTACKS = [name for name in torchattacks.__all__ if name not in torchattacks.__wrapper__]
L2 = ("PGDL2", "PGDRSL2")
NO_RADIUS = (
    *("VANILA", "GN", "CW", "DeepFool", "EADEN", "EADL1"),
    *("SparseFool", "OnePixel", "Pixle", "JSMA"),
)
QUICK: dict[str, dict[str, Any]] = {
    "Square": {"n_queries": 50},
    "SPSA": {"nb_sample": 4},
    "EADEN": {"max_iterations": 10},
    "EADL1": {"max_iterations": 10},
}


def test_the_table_is_torchattacks() -> None:
    assert len(ATTACKS) == 37
    assert {*L2, *NO_RADIUS, *QUICK} <= set(ATTACKS)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_by_its_name(model: nn.Module, images: Tensor, name: str) -> None:
    """In the ball, in range, a function of its arguments, and nothing of the caller's moves; channels_last too."""
    images = images[:4]
    labels = model(images).argmax(1)  # many leave alone what is wrong already
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    kept = images.clone()
    moved = torchattacks_attack(name.lower(), model, images, labels, **QUICK.get(name, {}))
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]
    assert moved.shape == images.shape
    assert not moved.requires_grad
    assert ((moved >= 0) & (moved <= 1)).all()
    attack = torchattacks_class(name)(model)
    if name in L2:
        assert ((moved - images).flatten(1).norm(dim=1) <= attack.eps + 1e-5).all()
    argument = {"PIFGSM": "max_epsilon", "PIFGSMPP": "max_epsilon", **dict.fromkeys((*L2, *NO_RADIUS))}.get(name, "eps")
    assert radius_argument(name.lower()) == argument
    if argument is not None:
        assert (moved - images).abs().max() <= getattr(attack, argument) + 1e-6
    assert name == "VANILA" or not torch.equal(moved, images)
    torch.manual_seed(1234)
    np.random.seed(1234)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(torchattacks_attack(name, model, last, labels, **QUICK.get(name, {})), moved)
    model.to(memory_format=torch.channels_last)
    torchattacks_attack(name, model, last, labels, **QUICK.get(name, {}))


@pytest.mark.parametrize("name", ["FGSM", "PGD", "MIFGSM", "APGD", "FAB", "PGDL2", "Pixle"])
def test_the_adapter_adds_nothing(model: nn.Module, images: Tensor, labels: Tensor, name: str) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    kind = getattr(torchattacks, name)
    theirs = kind(model, seed=7) if name in ("APGD", "FAB") else kind(model)
    assert torch.equal(torchattacks_attack(name, model, images, labels, seed=7), theirs(images, labels))


def test_the_seed_decides_where_pgd_starts(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    first, again, other = (torchattacks_attack("PGD", model, images, labels, steps=0, seed=s) for s in (0, 0, -1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Aloof(nn.Module):
    """Logits so far apart that no step turns them, with a gradient all the same; counts how often it is asked."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, num_classes))
        self.forwards = self.backwards = 0
        self.register_full_backward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.backwards += 1

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += 1
        logits = 1e-3 * images.mean((1, 2, 3))[:, None] * self.scale
        return logits + torch.eye(len(self.scale), device=images.device)[0] * 5


@pytest.mark.parametrize(("num_classes", "targets"), [(1000, 9), (10, 9), (4, 3)])
def test_autoattack_has_the_published_settings(num_classes: int, targets: int) -> None:
    """APGD-CE and one APGD for each of nine targets, 100 steps each; FAB for each target; 5,000 queries of Square."""
    net, image = Aloof(num_classes), torch.full((1, 3, 4, 4), 0.5)
    full = num_classes == 10
    arguments: dict[str, int] = {} if full else {"steps": 10, "num_queries": 20}
    moved = autoattack(net, image, torch.tensor([0]), 8 / 255, **arguments)
    assert torch.equal(moved, image)
    steps = 100 if full else 10
    assert net.backwards == (1 + targets) * (steps + 1) + targets * steps
    assert net.forwards - 2 * net.backwards < (5000 if full else 20) + 50
    assert net.forwards - net.backwards > (5000 if full else 20)


def test_autoattack_is_at_least_as_strong_as_its_rivals(model: nn.Module, images: Tensor) -> None:
    labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    moved = autoattack(model, images, labels, 1 / 255, steps=20, num_queries=100)
    right = model(moved).argmax(1) == labels
    rival = model(pgd(model, images, labels, 1 / 255)).argmax(1) == labels
    assert not (right & ~rival).any()
    assert 0 < right.sum() < 12
    assert torch.equal(moved[right], images[right])
    assert torch.equal(moved[0], images[0])  # it was wrong already
    again = autoattack(model, images, labels, 1 / 255, steps=20, num_queries=100)
    assert torch.equal(moved, again)


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
    with pytest.raises(DataError, match=r'pip install "nsbench\[attacks\]"'):
        autoattack(model, images, labels, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"name": "FGSMM"}, "no attack 'FGSMM'.* did you mean 'FGSM'"),
        ({"name": "mifgms"}, "did you mean 'MIFGSM'"),
        ({"name": "LGV"}, "LGV is made of other attacks"),
        ({"name": "multiattack"}, "MultiAttack is made of other attacks"),
        ({"name": "FGSM", "epsilon": 0.1}, "FGSM has no argument 'epsilon'.* did you mean 'eps'"),
        ({"name": "FGSM", "eps": 8}, "FGSM: eps is 8; .* 8 levels are 8 / 255"),
        ({"name": "PIFGSM", "max_epsilon": 16}, "PIFGSM: eps is 16"),
        ({"name": "PGD", "eps": "8/255"}, "PGD: eps is '8/255'"),
        ({"name": "Square", "norm": "L7"}, "Square fails on .*AssertionError"),
        ({"name": "APGD", "norm": "L7"}, "APGD fails on .*AssertionError"),
        ({"name": "EADEN", "max_iterations": 5}, "EADEN fails on .*ZeroDivisionError"),
        ({"name": "AutoAttack", "version": "best"}, "AutoAttack: Not valid version"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    model: nn.Module, images: Tensor, labels: Tensor, call: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        torchattacks_attack(model=model, images=images, labels=labels, **call)


@pytest.mark.parametrize("name", ["APGDT", "AutoAttack", "JSMA"])
def test_too_few_classes(images: Tensor, name: str) -> None:
    few = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(ConfigError, match=f"{name} needs .* classes or more, but the model gives 3"):
        torchattacks_attack(name, few, images, torch.zeros(12, dtype=torch.int64))
    with pytest.raises(ConfigError, match="needs 4 classes"):
        autoattack(few, images, torch.zeros(12, dtype=torch.int64), 0.1)


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (0.2, "FGSM moves a value by 0.2.*but its eps is 0.1"),
        (2.0, r"leaves \[0, 1\] by"),
        (torch.nan, r"leaves \[0, 1\]"),
    ],
)
def test_an_attack_that_breaks_its_promise_is_refused(
    model: nn.Module, labels: Tensor, monkeypatch: pytest.MonkeyPatch, shift: float, message: str
) -> None:
    class Unbound(torchattacks.FGSM):  # type: ignore[misc]
        def forward(self, images: Tensor, _: Tensor) -> Tensor:
            return images + shift

    Unbound.__name__ = "FGSM"
    monkeypatch.setattr(torchattacks, "FGSM", Unbound)
    with pytest.raises(ConfigError, match=message):
        torchattacks_attack("FGSM", model, torch.full((12, 3, 8, 8), 0.5), labels, eps=0.1)


def test_a_model_without_parameters_is_attacked_in_silence(
    images: Tensor, labels: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bare(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :10]

    torchattacks_attack("PGD", Bare(), images, labels)
    assert capsys.readouterr().out == ""
