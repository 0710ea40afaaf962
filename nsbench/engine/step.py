"""One update on a mixed batch: its loss (paper, algorithm 1 and section 3.1), micro-batch by micro-batch, rank by rank.

The loss is a weighted sum over images. Its weights follow from the counts of the whole step, so cutting a step into
micro-batches or sharing it among ranks changes neither the loss nor, but for batch norm, the gradient.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.data.loaders import Batch
from nsbench.engine.noise import RowSwitch
from nsbench.trainingconfig import LossKind


def loss_weights(kind: LossKind, num_labelled: int, num_unlabelled: int) -> tuple[float, float]:
    """Weight of one labelled and of one unlabelled image's cross-entropy in the loss of a step.

    `algorithm1`: mean + mean (paper, algorithm 1). `concat_mean`: one mean over the concatenated batch (paper,
    section 3.1 text). `code`: sum over the labelled count, L_l + ratio * L_u (official main.py). A batch of one kind of
    images has its mean in all of them.
    """
    if not num_labelled or not num_unlabelled:
        mean = 1 / (num_labelled + num_unlabelled)
        return mean, mean
    if kind == "algorithm1":
        return 1 / num_labelled, 1 / num_unlabelled
    weight = 1 / (num_labelled + num_unlabelled if kind == "concat_mean" else num_labelled)
    return weight, weight


def total_weight(kind: LossKind, ratio: int) -> float:
    """Loss of a student whose every image has cross-entropy 1, at `ratio` unlabelled images for a labelled one.

    A run on labelled images alone has 1: to be a student's control it must be scaled by this, or it would learn at a
    fraction of the student's rate.
    """
    labelled, unlabelled = loss_weights(kind, 1, ratio)
    return labelled + ratio * unlabelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stepper:
    """What every update of one training run shares."""

    model: nn.Module
    """Takes [0, 1] pixels, gives logits; wrapped or compiled as the run asks for."""
    optimizer: torch.optim.Optimizer
    switch: RowSwitch
    weights: tuple[float, float]
    """Of a labelled and of an unlabelled image, `loss_weights` times the run's scale."""
    device: torch.device
    world: int = 1
    """Ranks whose gradients the wrapped model averages."""
    clip_norm: float = 0.0
    amp: bool = False
    """bfloat16 forward passes; softmax and loss in fp32."""

    def update(self, batch: Batch) -> Tensor:
        """One update.

        Returns:
            This rank's sums [5] on the device: weighted loss, cross-entropy of labelled and of unlabelled images,
            labelled images answered right, labelled images.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(5, dtype=torch.float64, device=self.device)
        start = 0
        for number, size in enumerate(batch.sizes):
            with self._synchronised(number == len(batch.sizes) - 1):
                sums += self._micro_batch(batch, slice(start, start + size))
            start += size
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        return sums

    def _micro_batch(self, batch: Batch, rows: slice) -> Tensor:
        targets, labelled = self._moved(batch.targets[rows]), self._moved(batch.labelled[rows])
        self.switch.dropout = self._moved(batch.dropout[rows])
        self.switch.depth = self._moved(batch.stochastic_depth[rows])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.model(self._images(batch.pixels[rows]))
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        entropies = -(targets * F.log_softmax(precise, dim=1)).sum(dim=1)  # [B]
        of_labelled, of_unlabelled = map(entropies.new_tensor, self.weights)
        weights = torch.where(labelled, of_labelled, of_unlabelled)
        loss = (weights * entropies).sum()
        (loss * self.world).backward()  # type: ignore[no-untyped-call]  # the ranks' gradients are averaged, and the loss is their sum
        with torch.no_grad():
            right = (logits.argmax(dim=1) == targets.argmax(dim=1)) & labelled
            none = entropies.new_zeros(())  # masks, not indices, for which a GPU would have to be waited for
            ours, theirs = torch.where(labelled, entropies, none), torch.where(labelled, none, entropies)
            parts = (loss, ours.sum(), theirs.sum(), right.sum(), labelled.sum())
            return torch.stack([part.double() for part in parts])

    def _images(self, pixels: Tensor) -> Tensor:
        """float [B, 3, H, W] in [0, 1], in the precision of the weights; channels last, as the pixels lie."""
        dtype = next(self.model.parameters()).dtype
        return self._moved(pixels).permute(0, 3, 1, 2).to(dtype).div_(255)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    @contextlib.contextmanager
    def _synchronised(self, last: bool) -> Iterator[None]:
        """Gradients cross the ranks once a step, with its last micro-batch."""
        if last or not isinstance(self.model, nn.parallel.DistributedDataParallel):
            yield
        else:
            with self.model.no_sync():
                yield
