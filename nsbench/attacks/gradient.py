"""The gradient of the loss with respect to the image, and the state that a model is attacked in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.errors import DataError

NO_GRADIENT = (
    "the model passes no gradient to its images, so an attack that follows one leaves them as they are; look for "
    "detach(), no_grad() or NumPy inside it, or use an attack that needs none, such as Square"
)


@contextlib.contextmanager
def attackable(model: nn.Module, images: Tensor, labels: Tensor) -> Iterator[None]:
    """Eval mode, gradients for images but not for parameters, plain fp32; everything restored afterwards.

    Raises:
        ValueError: images are no float [N, 3, H, W] in [0, 1], or labels no int64 [N].
    """
    _check(images, labels)
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


def loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient [N, 3, H, W] of the cross-entropy of `labels`, and the logits [N, C] it was taken of, in fp32.

    The loss is summed: a mean would divide by the size of the batch, and the sign of a gradient that underflows is
    no attack.

    Raises:
        DataError: a label that is no class of the model, a model that passes no gradient, or one that is not finite.
    """
    leaf = images.detach().float().clone().requires_grad_()
    try:
        logits = model(leaf).float()
    except Exception as error:  # a user's model may raise anything
        if "memory" in str(error).lower() or isinstance(error, MemoryError):
            raise  # whoever knows the batch size says so
        in_place = "; sub_(), div_() or inplace=True at its beginning is why" if "in-place" in str(error) else ""
        words = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(
            f"the model fails on images that a gradient is asked of ({type(error).__name__}: {words}{in_place})"
        ) from error
    require_classes(labels, logits)
    loss = F.cross_entropy(logits, labels.clone(), reduction="sum")
    gradient = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise DataError(NO_GRADIENT)
    if not gradient.isfinite().all():
        broken = int((~gradient.isfinite()).flatten(1).any(1).sum())
        raise DataError(
            f"the gradient of the loss is not finite for {broken} of {len(images)} images; check the model's weights, "
            "and for a square root or a division whose slope is infinite"
        )
    return gradient, logits.detach()


def require_classes(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels [N] that are no column of logits [N, C].

    Raises:
        DataError: names the labels and the number of classes.
    """
    if logits.ndim != 2 or len(logits) != len(labels):
        raise DataError(f"the model must give logits [{len(labels)}, classes], not {list(logits.shape)}")
    if len(labels) == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise DataError(f"labels {low}..{high} for a model of {logits.shape[1]} classes; use the model's own classes")


def _check(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images must be float [N, 3, H, W], not {images.dtype} {list(images.shape)}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"labels must be int64 [{len(images)}], not {labels.dtype} {list(labels.shape)}")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("images must lie in [0, 1]: normalisation belongs into the model")
