"""A small classifier of ten classes with everything that an attack must leave alone, and images of any kind for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

SEEDS = np.arange(100, 112, dtype=np.int64)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.4), nn.Flatten(), nn.Linear(6 * 36, 10)
    ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 10
