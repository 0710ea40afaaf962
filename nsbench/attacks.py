"""Attacks inside the L-infinity ball: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018), a random-sign control.

Pure and model-agnostic. A model takes float images [N, 3, H, W] in [0, 1], so every epsilon is in units of that
range; the loss is the cross-entropy of the true labels, summed in fp32: a mean over the batch would make small
gradients smaller, and the sign of an underflown gradient is no attack.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.configfile import suggest
from nsbench.errors import ConfigError, DataError

Seeds = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FgsmResult:
    """What one FGSM sweep over K epsilons gives for N images."""

    logits: Tensor
    """float32 [K, N, C]."""
    zero_image: Tensor
    """bool [N]: no pixel of the image has a gradient, so FGSM leaves it as it is."""
    zero_pixels: Tensor
    """float32 [N]: share of the image's gradient entries that are exactly zero."""


def fgsm_sweep(model: nn.Module, images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> FgsmResult:
    """FGSM at several epsilons with one backward pass: the sign of the gradient does not depend on epsilon.

    Args:
        model: gives logits [N, C]; runs in eval mode, which is undone afterwards.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        epsilons: step sizes in [0, 1]; the logits of epsilon 0 are those that the gradient was taken of.
    """
    with _attackable(model, images):
        gradient, clean = _gradient(model, images, labels)
        with torch.no_grad():
            logits = [clean if eps == 0 else model(_step(images, gradient, eps)).float() for eps in epsilons]
        zero = (gradient == 0).flatten(1)
        return FgsmResult(logits=torch.stack(logits), zero_image=zero.all(1), zero_pixels=zero.float().mean(1))


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Adversarial images clamp(x + epsilon * sign(gradient), 0, 1), float32 [N, 3, H, W]; see `fgsm_sweep`."""
    with _attackable(model, images):
        return _step(images, _gradient(model, images, labels)[0], epsilon)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    steps: int = 10,
    step_size: float | None = None,
    seeds: Seeds | None = None,
) -> Tensor:
    """Projected gradient descent: `steps` signed steps, each projected on the ball of radius `epsilon` and on [0, 1].

    Args:
        model: gives logits [N, C]; runs in eval mode, which is undone afterwards.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        epsilon: radius of the ball.
        steps: number of backward passes.
        step_size: length of a step; epsilon / 4 where it is None.
        seeds: int64 [N]; image i starts at a uniform random point that is a function of `seeds[i]` alone.
            None starts at the image itself.

    Returns:
        Adversarial images, float32 [N, 3, H, W].
    """
    step_size = epsilon / 4 if step_size is None else step_size
    with _attackable(model, images):
        adversarial = images.float()
        if seeds is not None:
            start = 2 * _uniform(seeds, images) - 1
            adversarial = (images + epsilon * start).clamp(0, 1)
        for _ in range(steps):
            stepped = adversarial + step_size * _gradient(model, adversarial, labels)[0].sign()
            adversarial = (images + (stepped - images).clamp(-epsilon, epsilon)).clamp(0, 1)
        return adversarial


def random_sign(images: Tensor, epsilon: float, seeds: Seeds) -> Tensor:
    """The control of FGSM: x + epsilon * a random sign for each value, clamped to [0, 1].

    The signs of image i are a function of `seeds[i]` alone and the same at every epsilon.
    """
    return _step(images, _uniform(seeds, images) - 0.5, epsilon)


def torchattacks_attack(name: str, model: nn.Module, images: Tensor, labels: Tensor, **kwargs: Any) -> Tensor:
    """Adversarial images [N, 3, H, W] of any torchattacks attack, by its class name; `kwargs` are its own.

    Raises:
        DataError: torchattacks is not installed.
        ConfigError: it has no attack of this name, or the attack refuses an argument.
    """
    try:
        import torchattacks
    except ImportError:
        raise DataError(f'the attack {name} needs torchattacks; run: pip install "nsbench[attacks]"') from None
    known = {key: kind for key, kind in vars(torchattacks).items() if isinstance(kind, type) and key != "Attack"}
    if name not in known:
        raise ConfigError(f"torchattacks has no attack {name!r}{suggest(name, known)}")
    with _attackable(model, images):
        attack = _build(known[name], model, kwargs)
        adversarial: Tensor = attack(images, labels)
        return adversarial.detach()


def _build(kind: Callable[..., Any], model: nn.Module, kwargs: dict[str, Any]) -> Any:
    try:
        return kind(model, **kwargs)
    except TypeError as error:
        raise ConfigError(f"attack {kind.__name__}: {error}") from None


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient [N, 3, H, W] of the summed cross-entropy, and the logits [N, C] it was taken of."""
    leaf = images.detach().float().clone().requires_grad_()
    logits = model(leaf).float()
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels.clone(), reduction="sum"), leaf)
    return gradient, logits.detach()


def _step(images: Tensor, direction: Tensor, epsilon: float) -> Tensor:
    return (images.float() + epsilon * direction.sign()).clamp(0, 1)


def _uniform(seeds: Seeds, images: Tensor) -> Tensor:
    """Uniform values in (0, 1) like `images` [N, 3, H, W], image i from a counter-based stream keyed by seeds[i]."""
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds for {len(images)} images")
    size = images[0].numel() if len(images) else 0
    words = [np.random.Philox(key=int(seed) % 2**64).random_raw(size) >> np.uint64(41) for seed in seeds]
    values = (np.array(words, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    return torch.from_numpy(values.reshape(tuple(images.shape))).to(images.device)


@contextlib.contextmanager
def _attackable(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Eval mode, gradients for images but not for parameters, plain fp32; everything restored afterwards."""
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("images must lie in [0, 1]: normalisation belongs into the model")
    training = [module for module in model.modules() if module.training]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    cudnn: Any = torch.backends.cudnn  # its type does not show what is set per operation
    backends = (torch.backends.cuda.matmul, cudnn.conv)
    precisions = [backend.fp32_precision for backend in backends]
    try:
        model.eval().requires_grad_(False)
        for backend in backends:
            backend.fp32_precision = "ieee"
        with (
            torch.autocast(images.device.type, enabled=False),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
