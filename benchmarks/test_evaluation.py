"""How little an evaluation costs beside the model: over bare forward passes, and over what decoding allows.

Guards: `classify` (batches, padding, top-5, confidences, records) on images in memory against forward passes of the
same model on the same batches, already float and on the device; and the same from JPEG files against decoding alone
plus those passes, both measured bare in the same run. EfficientNet-Lite0 at 224 px on the sample photographs
(`../shared`), two threads. Both sides are timed in turn, and the fastest of each is taken.

    pytest benchmarks/test_evaluation.py

Operations an image, beside the model's 0.4 billion multiply-adds: one pass over 150,528 values to float, one to the
first layer's layout, a softmax and a top-5 of 1,000 logits: about 0.5 million operations, a thousandth. From files:
libjpeg's decoding of some 100,000 pixels and a resize to 256, 1.5 to 2 ms on one core, against 8 to 12 ms of forward
pass on two: where both share the cores the sum of both is the floor, and nothing can be hidden behind the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.test_corruptions import fastest
from nsbench.allocator import keep_freed_memory
from nsbench.config import EvalConfig
from nsbench.data.folder import open_folder
from nsbench.data.images import ImageSet
from nsbench.data.pictures import in_threads
from nsbench.data.streamed import StreamedSet
from nsbench.evals import EvalContext
from nsbench.evals.answers import classify
from nsbench.pretrained import Pretrained, load_pretrained
from tests.shared import SAMPLES, absent

COUNT, BATCH = 128, 32
CONFIG = EvalConfig(batch_size=BATCH)


@pytest.fixture(scope="module")
def lite0() -> Pretrained:
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    torch.set_num_threads(2)
    keep_freed_memory()  # as every command does; bare passes gain as much
    return load_pretrained("pypi:efficientnet-lite0")


@pytest.fixture(scope="module")
def files(lite0: Pretrained) -> StreamedSet:
    return StreamedSet(listing=open_folder(SAMPLES).limited(COUNT), view=lite0.view)


@pytest.fixture(scope="module")
def images(files: StreamedSet) -> ImageSet:
    pixels = np.concatenate([shown for _, shown, _ in files.batches(slices())])
    return ImageSet(name="samples", ids=files.ids, pixels=pixels, labels=files.labels, classes=files.classes)


def slices() -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, COUNT, BATCH)]


def context(lite0: Pretrained) -> EvalContext:
    return EvalContext(model=lite0.model, device="cpu", config=CONFIG, sets={}, cache=Path("unused"))


def bare(lite0: Pretrained, images: ImageSet) -> Any:
    """Forward passes and nothing else."""
    batches = [
        (torch.from_numpy(images.pixels[rows]).permute(0, 3, 1, 2).float() / 255).contiguous(
            memory_format=torch.channels_last
        )
        for rows in slices()
    ]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                lite0.model(batch)

    return forward


def test_images_in_memory(lite0: Pretrained, images: ImageSet, benchmark, record_ratio) -> None:
    measured = context(lite0)
    forward, whole = fastest(bare(lite0, images), lambda: classify(measured, images))
    benchmark.pedantic(classify, (measured, images), rounds=1)
    record_ratio(
        benchmark,
        "Evaluation over bare forward passes",
        "images in memory",
        ms_an_image=1000 * whole / COUNT,
        bare_ms=1000 * forward / COUNT,
        ratio=forward / whole,
    )
    assert forward / whole >= 0.95


def test_jpeg_files(files: StreamedSet, images: ImageSet, lite0: Pretrained, benchmark, record_ratio) -> None:
    measured = context(lite0)

    def decode() -> None:
        for _ in in_threads(lambda row: lite0.view.show(files.listing.stored(row)), range(COUNT)):
            pass

    decoding, forward, whole = fastest(decode, bare(lite0, images), lambda: classify(measured, files))
    benchmark.pedantic(classify, (measured, files), rounds=1)
    record_ratio(
        benchmark,
        "Evaluation over bare forward passes",
        "JPEG files",
        ms_an_image=1000 * whole / COUNT,
        bare_ms=1000 * (decoding + forward) / COUNT,
        ratio=(decoding + forward) / whole,
    )
    assert (decoding + forward) / whole >= 0.85
