"""Steps along signs: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018), and random signs as their control."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nsbench.attacks.gradient import attackable, loss_gradient

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


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> Iterator[Tensor]:
    """Adversarial batches clamp(x + epsilon * sign(gradient), 0, 1), one for each epsilon (arXiv:1412.6572).

    The sign of the gradient does not depend on epsilon, so one backward pass, at the call, serves them all.

    Args:
        model: gives logits [N, C]; attacked in eval mode and fp32, and left as it was.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        epsilons: step sizes in [0, 1], such as 8 / 255; 0 gives the images.

    Returns:
        An iterator over float32 [N, 3, H, W] in [0, 1], in the order of `epsilons`.

    Raises:
        ValueError: an argument is no such thing; here and not at the first batch.
        DataError: a label that is no class of the model, or a gradient that is missing or not finite.
    """
    _check_radii(*epsilons)
    with attackable(model, images, labels):
        gradient, _ = loss_gradient(model, images, labels)
    return (_step(images, gradient, epsilon) for epsilon in tuple(epsilons))


def fgsm_sweep(model: nn.Module, images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> FgsmResult:
    """Logits at the images of `fgsm`, K forward passes and one backward; those of epsilon 0 cost nothing more.

    Arguments and errors are those of `fgsm`.
    """
    _check_radii(*epsilons)
    with attackable(model, images, labels):
        gradient, clean = loss_gradient(model, images, labels)
        with torch.no_grad():
            logits = [clean if eps == 0 else model(_step(images, gradient, eps)).float() for eps in epsilons]
    zero = (gradient == 0).flatten(1)
    return FgsmResult(logits=torch.stack(logits), zero_image=zero.all(1), zero_pixels=zero.float().mean(1))


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

    Madry et al. 2018 (arXiv:1706.06083), equation 1 of section 2.1.

    Args:
        model: gives logits [N, C]; attacked in eval mode and fp32, and left as it was.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        epsilon: radius of the ball, in [0, 1].
        steps: number of forward and backward passes.
        step_size: length of a step, in [0, 1]; epsilon / 4 where it is None.
        seeds: int64 [N]; image i starts at a uniform random point that is a function of `seeds[i]` alone.
            None starts at the image itself.

    Returns:
        Adversarial images, float32 [N, 3, H, W].

    Raises:
        ValueError: an argument is no such thing.
        DataError: a label that is no class of the model, or a gradient that is missing or not finite.
    """
    step_size = epsilon / 4 if step_size is None else step_size
    _check_radii(epsilon, step_size)
    if steps < 0:
        raise ValueError(f"steps must be at least 0, not {steps}")
    with attackable(model, images, labels):
        clean = images.detach().float()
        adversarial = clean if seeds is None else (clean + epsilon * (2 * _uniform(seeds, images) - 1)).clamp(0, 1)
        for _ in range(steps):
            gradient, _ = loss_gradient(model, adversarial, labels)
            shift = (adversarial + step_size * gradient.sign() - clean).clamp(-epsilon, epsilon)
            adversarial = (clean + shift).clamp(0, 1)
        return adversarial


def random_sign(images: Tensor, epsilon: float, seeds: Seeds) -> Tensor:
    """The control of FGSM: x + epsilon * a random sign for each value, clamped to [0, 1].

    The signs of image i are a function of `seeds[i]` alone and the same at every epsilon.
    """
    _check_radii(epsilon)
    return _step(images, _uniform(seeds, images) - 0.5, epsilon)


def _step(images: Tensor, direction: Tensor, epsilon: float) -> Tensor:
    return (images.detach().float() + epsilon * direction.sign()).clamp(0, 1)


def _uniform(seeds: Seeds, images: Tensor) -> Tensor:
    """Uniform values in (0, 1) like `images` [N, 3, H, W], image i from a counter-based stream keyed by seeds[i]."""
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds for {len(images)} images")
    size = images[0].numel() if len(images) else 0
    words = [np.random.Philox(key=int(seed) % 2**64).random_raw(size) >> np.uint64(41) for seed in seeds]
    values = (np.array(words, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    return torch.from_numpy(values.reshape(tuple(images.shape))).to(images.device)


def _check_radii(*radii: float) -> None:
    if not radii:
        raise ValueError("no epsilon is given")
    for radius in radii:
        if not 0 <= radius <= 1:
            raise ValueError(f"epsilon {radius:g} is outside [0, 1], the range of the images: 8 levels are 8 / 255")
