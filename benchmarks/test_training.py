"""What training costs beside the model: the engine's steps over bare forward, backward and optimizer step.

Guards: `nsbench.engine.loop.train` (RandAugment with N = 2 in a worker process, batches, targets, noise masks, weight
average, curves) against a loop over one ready batch on the device. Both use every core: where there are two, the
model and the augmentation share them, and the augmentation's share is the floor of what is lost. Steps are timed as the
difference of a long and a short run, so that starting a worker counts for neither side.

    pytest benchmarks/test_training.py

Operations an image of 32 px beside the model's: two of sixteen operations on 3,072 bytes (30 to 200 us of Pillow and
NumPy), a crop, a key for its generator, a row of targets. On two cores the largest embedded net takes 0.5 ms for
forward and backward, EfficientNet-B0 with small images 12 ms. An image of 224 px: 50 times the bytes, 2 ms against 46.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nsbench.allocator import keep_freed_memory
from nsbench.configfile import load_config
from nsbench.data.images import ImageSet
from nsbench.data.loaders import Part, StepBatches
from nsbench.data.pools import HeldPool
from nsbench.engine.loop import train
from nsbench.engine.optim import build_optimizer, schedule
from nsbench.engine.supervision import HumanLabels
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import NsbenchError
from nsbench.models import build
from nsbench.track import Curves, Progress
from nsbench.trainingconfig import ModelConfig

ROUNDS = 3
CLASSES = 10
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
CASES = {
    "resnet-24, 32 px": (load_config().models[2], 32, 64, 160),
    "efficientnet-b0 for small images, 32 px": (load_config("cifar10").models[0], 32, 16, 12),
    "efficientnet-b0, 224 px": (ModelConfig(name="efficientnet_b0", drop_rate=0.2, drop_path_rate=0.2), 224, 8, 6),
}
"""Architecture, side, images a step, steps that are timed."""


def make_run(model: ModelConfig, size: int, batch: int, num_steps: int, folder: Path) -> TrainingRun:
    pixels = np.random.default_rng(0).integers(0, 256, (256, size, size, 3), dtype=np.uint8)
    images = ImageSet(
        name="made",
        ids=np.array([f"{row:04d}" for row in range(256)]),
        pixels=pixels,
        labels=np.arange(256) % CLASSES,
        classes=tuple(map(str, range(CLASSES))),
    )
    pool = HeldPool(images)
    config = load_config("cifar10" if size == 32 else "imagenet-b2")
    train_config = dataclasses.replace(config.train, labelled_batch=batch, checkpoint_seconds=1e6, warmup_steps=0)
    part = Part(
        pool=pool,
        supervision=HumanLabels(pool=pool, num_classes=CLASSES, smoothing=0.1),
        batch=batch,
        labelled=True,
        augmented=True,
        dropout=True,
        stochastic_depth=True,
    )
    return TrainingRun(
        generation="0",
        model=model,
        train=train_config,
        noise=config.noise,
        parts=(part,),
        schedule=schedule(train_config, num_steps=num_steps, num_labelled=256),
        num_steps=num_steps,
        size=size,
        seed=0,
        fingerprint="benchmark",
        state_path=folder / "state.pt",
    )


def engine_seconds(name: str, device: torch.device, folder: Path, workers: int) -> float:
    """Seconds of the steps that a long run has beyond a short one."""
    model, size, batch, steps = CASES[name]
    seconds = []
    for num_steps in (3, 3 + steps):
        run = make_run(model, size, batch, num_steps, folder)
        trained = train(
            run,
            build(model, CLASSES, 0),
            device=device,
            workers=workers,
            progress=Progress("none"),
            curves=Curves(folder / "metrics.jsonl"),
        )
        seconds.append(trained.seconds)
    return seconds[1] - seconds[0]


def bare_seconds(name: str, device: torch.device, folder: Path) -> float:
    """Forward, backward and step of the same model and optimizer on one batch that is ready, as often."""
    config, size, batch_size, steps = CASES[name]
    run = make_run(config, size, batch_size, 1, folder)
    batch = StepBatches(parts=run.parts, noise=run.noise, seed=0, num_steps=1, size=size)[0]
    assert not isinstance(batch, NsbenchError)
    model = build(config, CLASSES, 0).to(device).train()
    optimizer = build_optimizer(model, run.train)
    images = batch.pixels.to(device).permute(0, 3, 1, 2).float() / 255
    targets = batch.targets.to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()

    for _ in range(3):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.monotonic()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - began


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_training_over_bare_steps(name: str, where: str, benchmark: Any, record_ratio: Any, tmp_path: Path) -> None:
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    torch.set_num_threads(2 if where == "cpu" else 1)
    keep_freed_memory()
    device = torch.device(where)
    workers = 1 if where == "cpu" else min(14, (os.cpu_count() or 2) - 2)
    model, _, batch, steps = CASES[name]
    bare, whole = [], []
    for _ in range(ROUNDS):
        bare.append(bare_seconds(name, device, tmp_path))
        whole.append(engine_seconds(name, device, tmp_path, workers))
    benchmark.pedantic(lambda: None, rounds=1)
    images = batch * steps
    ratio = min(bare) / min(whole)
    record_ratio(
        benchmark,
        f"Training over bare steps, {where}",
        f"{name} ({model.name})",
        ms_an_image=1000 * min(whole) / images,
        bare_ms=1000 * min(bare) / images,
        ratio=ratio,
    )
    assert ratio >= (0.75 if where == "cpu" else 0.9)
