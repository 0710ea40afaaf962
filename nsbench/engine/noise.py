"""Model noise of a student, row by row: dropout and stochastic depth (paper, section 3 and appendix).

The batch holds labelled and unlabelled images in one forward pass, and each kind may be noised or not; so the noise
modules look at a mask of rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsbench.config import ModelConfig
from nsbench.models import PixelModel


class RowSwitch:
    """Says which rows of the current batch get model noise."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None
        """[N] bool; None: every row."""

    def choose(self, noised: Tensor, plain: Tensor) -> Tensor:
        """Rows of `noised` where the switch is on, else of `plain`; both [N, ...]."""
        if self.rows is None:
            return noised
        return torch.where(self.rows.view(-1, *[1] * (noised.ndim - 1)), noised, plain)


class RowDropout(nn.Module):
    """Dropout on the rows that the switch names."""

    def __init__(self, rate: float, switch: RowSwitch) -> None:
        super().__init__()
        self.rate, self.switch = rate, switch

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return features
        return self.switch.choose(F.dropout(features, self.rate), features)


class RowDropPath(nn.Module):
    """Stochastic depth: drops a residual branch for a whole image, and rescales the branches that stay.

    Official code, efficientnet/utils.py `drop_connect`: mask an image, divide by the survival probability.
    """

    def __init__(self, rate: float, switch: RowSwitch) -> None:
        super().__init__()
        self.rate, self.switch = rate, switch

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        survives = torch.rand(len(branch), device=branch.device) >= self.rate
        scale = survives.to(branch.dtype) / (1 - self.rate)
        return self.switch.choose(branch * scale.view(-1, *[1] * (branch.ndim - 1)), branch)


def install_model_noise(model: PixelModel, config: ModelConfig) -> RowSwitch:
    """Give the model dropout before its classifier and row-wise stochastic depth; returns the switch of both.

    timm's own linear decay of the rate over the blocks is kept: rate * i / (L - 1) for block i, where the official code
    has rate * i / L.
    """
    from timm.layers.drop import DropPath

    switch = RowSwitch()
    for parent in list(model.net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DropPath):
                setattr(parent, name, RowDropPath(float(child.drop_prob), switch))
    dropout = RowDropout(config.drop_rate, switch)
    model.net.add_module("head_dropout", dropout)
    classifier = model.net.get_classifier()  # type: ignore[operator]
    classifier.register_forward_pre_hook(lambda _module, inputs: (dropout(inputs[0]),))
    return switch
