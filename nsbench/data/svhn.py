"""SVHN (Netzer et al. 2011) as published, and parted as the official demo of Noisy Student parts it.

google-research/noisystudent, proc_svhn.py: `train` is shuffled with seed 0; its first 4,000 images are for choices, the
other 69,257 are labelled. NumPy keeps that generator as it was (NEP 19), so these are the very images of the demo. Two
things are not the demo's: it stores the images as JPEG of quality 100, here they are as published; and its order of
`extra` is not kept, since training has one of its own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.data.images import ImageSet
from nsbench.errors import DataError

SIZE = 32
"""Height and width of every image in pixels."""
CLASSES = tuple(str(digit) for digit in range(10))
"""Class names by index; the files call 0 a 10."""
NUM_DEV = 4000
PUBLISHED = {"train": 73_257, "extra": 531_131, "test": 26_032}
"""Images of each file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Svhn:
    """The parts of the demo, uint8 [N, 32, 32, 3] each, with their labels 0..9."""

    labelled: ImageSet
    dev: ImageSet
    extra: ImageSet
    test: ImageSet
    notes: tuple[str, ...]
    """One line for each file that holds another number of images than the published one."""


def read_svhn(folder: Path) -> Svhn:
    """Read `train_32x32.mat`, `extra_32x32.mat` and `test_32x32.mat`: 1.9 GB in memory, twice that while they are read.

    Ids are the file's name and the row in it.

    Raises:
        DataError: a file is not there, or is not one of SVHN's; or `train` holds no more than 4,000 images.
    """
    train, extra, test = (_read(folder, part) for part in PUBLISHED)
    if len(train) <= NUM_DEV:
        raise DataError(f"{_path(folder, 'train')} holds {len(train):,} images, of which {NUM_DEV:,} are for choices")
    order = train_order(len(train))
    return Svhn(
        labelled=train.take(order[NUM_DEV:], "svhn-labelled"),
        dev=train.take(order[:NUM_DEV], "svhn-dev"),
        extra=extra,
        test=test,
        notes=tuple(
            f"{_path(folder, part)} holds {len(images):,} images, not the published {PUBLISHED[part]:,}"
            for part, images in zip(PUBLISHED, (train, extra, test), strict=True)
            if len(images) != PUBLISHED[part]
        ),
    )


def train_order(length: int) -> npt.NDArray[np.int64]:
    """Rows [length] of `train` in the demo's order (proc_svhn.py, `np.random.seed(0)` and `np.random.shuffle`)."""
    order = np.arange(length)
    np.random.RandomState(0).shuffle(order)
    return order


def _path(folder: Path, part: str) -> Path:
    return folder / f"{part}_32x32.mat"


def _read(folder: Path, part: str) -> ImageSet:
    """One file: `X` uint8 [32, 32, 3, N], and `y` [N, 1] of 1..10, where 10 is the digit 0."""
    from scipy.io import loadmat

    path = _path(folder, part)
    if not path.is_file():
        raise DataError(f"{path} does not exist; download it from http://ufldl.stanford.edu/housenumbers/")
    try:
        stored = loadmat(path, variable_names=["X", "y"])
        pixels, labels = stored["X"], stored["y"].reshape(-1).astype(np.int64)
        right = pixels.dtype == np.uint8 and pixels.shape == (SIZE, SIZE, 3, len(labels)) and len(labels) > 0
    except Exception as error:  # damaged files raise SciPy's, zlib's and NumPy's own
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())}); download it again") from None
    if not right or labels.min() < 1 or labels.max() > 10:
        raise DataError(f"{path} is not SVHN's: X must be uint8 [32, 32, 3, N], and y N labels of 1 to 10")
    return ImageSet(
        name=f"svhn-{part}",
        ids=np.array([f"{part}/{row:06}" for row in range(len(labels))]),
        pixels=_rows_first(pixels),
        labels=labels % 10,
        classes=CLASSES,
    )


def _rows_first(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """[N, H, W, 3] of MATLAB's [H, W, 3, N]."""
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
