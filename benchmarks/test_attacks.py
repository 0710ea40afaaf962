"""An FGSM sweep of nine epsilons, 0 among them, against a loop over torchattacks' FGSM, in one and the same run.

Guards: EfficientNet-Lite0 with its ImageNet weights at 224 px on sample photographs, both sides fp32 on the CPU, from
the same images in the same memory format to the logits at every epsilon. The two sides take many short turns and
the fastest of each is taken, so that a busy machine slows both; the median over the turns stands beside it. The pixels
must be equal, bit for bit.

    pytest benchmarks/test_attacks.py            # two threads where there are two cores

Operations in forward passes, of 0.39 G multiply-adds an image. A gradient with respect to the images alone costs a
forward pass and as many multiply-adds again (no gradient of a weight is needed, and torchattacks computes none either).
The loop: nine gradients and nine forward passes, 9 x 2 + 9 = 27. The sweep: one gradient, whose logits are those of
epsilon 0, and eight forward passes, 2 + 8 = 10. That is 2.7 times less; the clock says more, since a forward pass that
keeps its activations, and the backward one through depthwise convolutions, take longer than their operations say.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nsbench.allocator import keep_freed_memory
from nsbench.attacks import fgsm, fgsm_sweep
from nsbench.data.folder import open_folder
from nsbench.pretrained import Pretrained, load_pretrained
from tests.shared import SAMPLES, absent

EPSILONS = [levels / 255 for levels in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32)]
IMAGES = 16
ROUNDS = 7


def in_turn(*calls: Callable[[], object]) -> list[list[float]]:
    """Seconds of each call in each of `ROUNDS` rounds."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, seconds, strict=True):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    return seconds


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    keep_freed_memory()  # as every command does; both sides gain
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def lite0() -> Pretrained:
    return load_pretrained("pypi:efficientnet-lite0")


@pytest.fixture(scope="module")
def model(lite0: Pretrained) -> nn.Module:
    return lite0.model


@pytest.fixture(scope="module")
def batch(lite0: Pretrained) -> tuple[Tensor, Tensor]:
    """Photographs float32 [4, 3, 224, 224] in channels_last, as evaluations have them, and their classes."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    folder = open_folder(SAMPLES)
    folder = folder.take(range(0, len(folder), len(folder) // IMAGES)[:IMAGES])
    pixels = np.stack([lite0.view.show(folder.stored(row)) for row in range(IMAGES)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255), torch.from_numpy(folder.labels)


def loop(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """What people write with torchattacks: an attack and an evaluation for each epsilon."""
    logits = []
    for epsilon in EPSILONS:
        adversarial = torchattacks.FGSM(model, eps=epsilon)(images, labels)
        with torch.no_grad():
            logits.append(model(adversarial))
    return torch.stack(logits)


def test_the_pixels_are_equal(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    for epsilon, ours in zip(EPSILONS, fgsm(model, *batch, EPSILONS), strict=True):
        assert torch.equal(ours, torchattacks.FGSM(model, eps=epsilon)(*batch))
    torch.testing.assert_close(fgsm_sweep(model, *batch, EPSILONS).logits, loop(model, *batch), atol=1e-4, rtol=0)


def test_sweep(benchmark, record_ratio, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """The promise: at least 2.5 times faster."""
    ours, theirs = in_turn(lambda: fgsm_sweep(model, *batch, EPSILONS), lambda: loop(model, *batch))
    benchmark.pedantic(fgsm_sweep, (model, *batch, EPSILONS), rounds=1)
    figures = {
        "sweep ms": min(ours) / IMAGES * 1e3,
        "torchattacks ms": min(theirs) / IMAGES * 1e3,
        "ratio": min(theirs) / min(ours),
        "median ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
    }
    record_ratio(benchmark, "FGSM at nine epsilons, 224 px, ms an image", "EfficientNet-Lite0", **figures)
    assert figures["ratio"] >= 2.5
