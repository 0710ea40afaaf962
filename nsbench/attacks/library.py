"""The attacks of torchattacks by name, and AutoAttack (Croce and Hein 2020) with its published settings.

torchattacks seeds and draws from the global generators; here they are lent out and put back, so that the result is a
function of the arguments: the order of the images in the batch is one of them.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nsbench.attacks.gradient import NO_GRADIENT, attackable, require_classes
from nsbench.configfile import suggest
from nsbench.errors import ConfigError, DataError

_TOLERANCE = 1e-6
"""What rounding in float32 adds to an image of [0, 1] plus a step."""

_TARGETS = 9
"""Classes that AutoAttack's targeted parts aim at, the likeliest first (Croce and Hein 2020, section 6)."""

_FEWEST_CLASSES = {"APGDT": 4, "AutoAttack": 4, "JSMA": 10}
"""The targeted DLR loss compares the four largest logits; JSMA aims at class (label + 1) modulo 10."""

_L2 = ("PGDL2", "PGDRSL2")
"""Attacks whose `eps` is the radius of an L2 ball, and that have no `norm` to tell it by."""

_REFUSALS = (ArithmeticError, AssertionError, LookupError, MemoryError, NameError, TypeError, ValueError)
"""How torchattacks says that it cannot do with an argument, or a size of images."""


def torchattacks_class(name: str) -> type:
    """The class of one of torchattacks' attacks; capitals do not matter.

    Raises:
        DataError: torchattacks is not installed.
        ConfigError: it has no attack of this name, or one that wraps others and cannot be had by name alone.
    """
    library = _library(name)
    known = {attack.casefold(): attack for attack in library.__all__}
    if name.casefold() not in known:
        raise ConfigError(f"torchattacks has no attack {name!r}{suggest(name.upper(), library.__all__)}")
    attack = known[name.casefold()]
    if attack in library.__wrapper__:
        raise ConfigError(f"torchattacks' {attack} is made of other attacks or trains models; name an attack itself")
    kind: type = getattr(library, attack)
    return kind


def radius_argument(name: str) -> str | None:
    """What a torchattacks attack calls the radius of its L-infinity ball, such as `eps`; None where it has another.

    Raises as `torchattacks_class`.
    """
    kind = torchattacks_class(name)
    parameters = inspect.signature(kind).parameters
    known = (each for each in ("eps", "max_epsilon") if each in parameters and kind.__name__ not in _L2)
    return next(known, None)


def torchattacks_attack(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0, **kwargs: Any
) -> Tensor:
    """Adversarial images of any torchattacks attack.

    The library's own AutoAttack makes 10 steps where the published one makes 100: use `autoattack` instead. JSMA
    aims at class (label + 1) modulo 10 and needs memory for every pair of values: it is made for CIFAR's size.

    Args:
        name: a class of torchattacks, such as `PGD`; capitals do not matter.
        model: gives logits [N, C]; attacked in eval mode and fp32, and left as it was.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        seed: of everything random in the attack.
        kwargs: the attack's own, `eps` in units of [0, 1]. `n_classes` defaults to 10 or the model's fewer: what it
            sets is the number of classes aimed at, and AutoAttack's nine are the convention.

    Returns:
        float32 [N, 3, H, W] in [0, 1], for an L-infinity attack inside the ball of radius `eps`.

    Raises:
        DataError: torchattacks is not installed, a label is no class of the model, or it passes no gradient.
        ConfigError: no attack of this name; an argument that it refuses; a result outside the range or the ball.
        ValueError: images or labels are no such thing.
    """
    kind = torchattacks_class(name)

    def build(target: nn.Module, num_classes: int) -> Any:
        parameters = inspect.signature(kind).parameters
        defaults = {"n_classes": min(num_classes, _TARGETS + 1), "seed": seed}
        known = {key: value for key, value in defaults.items() if key in parameters}
        return _build(kind, target, num_classes, known | kwargs)

    return _run(build, model, images, labels, seed)


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    steps: int = 100,
    num_queries: int = 5000,
    seed: int = 0,
) -> Tensor:
    """AutoAttack, standard version, in the L-infinity ball: APGD-CE, targeted APGD-DLR, targeted FAB, then Square.

    Croce and Hein 2020 (arXiv:2003.01690), with its settings: 100 steps, nine targets, one start. Each part attacks
    what the parts before it left standing; a model that is not robust costs hardly more than the first, and an image
    that survives costs about 1,900 gradients and `num_queries` forward passes.

    Args:
        model: gives logits [N, C], at least 4 classes; attacked in eval mode and fp32, and left as it was.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        epsilon: radius of the ball, in [0, 1].
        steps: of each gradient attack.
        num_queries: of the Square attack.
        seed: of everything random in the attack.

    Returns:
        float32 [N, 3, H, W] in [0, 1], inside the ball; an image that no part fooled is returned as it was.

    Raises:
        DataError: torchattacks is not installed, a label is no class of the model, or it passes no gradient.
        ConfigError: too few classes.
        ValueError: images or labels are no such thing.
    """
    library = _library("AutoAttack")

    def build(target: nn.Module, num_classes: int) -> Any:
        common = {"eps": epsilon, "seed": seed}
        aimed = common | {"steps": steps, "n_classes": min(num_classes, _TARGETS + 1)}
        parts = {
            library.APGD: common | {"steps": steps},
            library.APGDT: aimed,
            library.FAB: aimed | {"multi_targeted": True},
            library.Square: common | {"n_queries": num_queries},
        }
        ensemble = library.MultiAttack([_build(kind, target, num_classes, kwargs) for kind, kwargs in parts.items()])
        ensemble.eps = epsilon  # what its result is held to
        return ensemble

    return _run(build, model, images, labels, seed)


class _Contiguous(nn.Module):
    """A model in channels_last as attacks need it that call `view` on the gradients of their images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            images.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        logits: Tensor = self.model(images).float()
        return logits


def _library(attack: str) -> ModuleType:
    try:
        import torchattacks
    except ImportError:
        raise DataError(f'the attack {attack} needs torchattacks; run: pip install "nsbench[attacks]"') from None
    module: ModuleType = torchattacks
    return module


def _build(kind: type, target: nn.Module, num_classes: int, kwargs: dict[str, Any]) -> Any:
    """One attack, as quiet as it can be: for a model without parameters, torchattacks prints that it has no device."""
    name, parameters = kind.__name__, list(inspect.signature(kind).parameters)[1:]
    for key in kwargs:
        if key not in parameters:
            raise ConfigError(f"attack {name} has no argument {key!r}{suggest(key, parameters)}")
    if num_classes < (fewest := _FEWEST_CLASSES.get(name, 2)):
        raise ConfigError(f"attack {name} needs {fewest} classes or more, but the model gives {num_classes}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            attack = kind(target, **kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"attack {name}: {error}") from None
    radius = _radius(attack)
    if radius is not None and not (isinstance(radius, int | float) and 0 <= radius <= 1):
        raise ConfigError(f"attack {name}: eps is {radius!r}; it is in units of the [0, 1] range: 8 levels are 8 / 255")
    return attack


def _run(build: Callable[[nn.Module, int], Any], model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Let the attack that `build` gives for a number of classes loose, and hold its result to what it promised."""
    with attackable(model, images, labels), _lent_generators(images.device, seed):
        images, labels = images.detach().float().clone(memory_format=torch.contiguous_format), labels.clone()
        with torch.no_grad():
            logits = model(images)
        require_classes(labels, logits)
        attack = build(_Contiguous(model).eval(), logits.shape[1])
        attack.set_device(images.device)
        try:
            adversarial: Tensor = attack(images.clone(), labels).detach()
        except _REFUSALS as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"attack {attack.attack} fails on these images or arguments ({reason})") from error
        except RuntimeError as error:
            if "does not require grad" in str(error):
                raise DataError(NO_GRADIENT) from None
            raise
    _hold(attack, images, adversarial)
    return adversarial.clamp(0, 1)


def _hold(attack: Any, images: Tensor, adversarial: Tensor) -> None:
    """Refuse what is no image, or outside the ball: its accuracy would be none at this epsilon."""
    if not adversarial.numel():
        return
    outside = float(torch.maximum(-adversarial, adversarial - 1).max())
    if not outside <= _TOLERANCE:  # nan is refused too
        raise ConfigError(f"attack {attack.attack} leaves [0, 1] by {outside:g}; use another attack")
    radius, moved = _radius(attack), float((adversarial - images).abs().max())
    if radius is not None and moved > radius + _TOLERANCE:
        raise ConfigError(f"attack {attack.attack} moves a value by {moved:g}, but its eps is {radius:g}; use another")


def _radius(attack: Any) -> float | None:
    """Radius of the L-infinity ball that an attack promises to stay in; None where it promises none."""
    if getattr(attack, "norm", "Linf") != "Linf" or type(attack).__name__ in _L2:
        return None
    radius: float | None = getattr(attack, "eps", getattr(attack, "max_epsilon", None))
    return radius


@contextlib.contextmanager
def _lent_generators(device: torch.device, seed: int) -> Iterator[None]:
    """The global generators of torch and NumPy, seeded, and put back as they were."""
    kept = np.random.get_state()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        np.random.set_state(kept)
