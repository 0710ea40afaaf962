"""Pseudo-labels: what an un-noised teacher says of every image of a pool, and what storing it in few bytes costs.

Run as `torchrun -m tests.engine.test_pseudo OUT`, this file is what the ranks of a test do.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nsbench.cli import leave
from nsbench.data.folder import open_folder
from nsbench.data.images import ImageSet
from nsbench.data.pictures import View
from nsbench.data.pools import HeldPool, ListedPool, open_pool
from nsbench.distributed import Ranks, connected
from nsbench.engine.label_store import count_labels, write_labels
from nsbench.engine.pseudo import (
    ShardTargets,
    is_made_by,
    label,
    label_path,
    read_labels,
    read_targets,
    write_parquet,
)
from nsbench.engine.teacher import Teacher
from nsbench.errors import ConfigError, DataError, NsbenchError
from nsbench.files import fingerprint
from nsbench.inference import predict
from nsbench.models import PixelModel
from nsbench.pretrained import load_pretrained
from nsbench.track import Progress
from tests.ranks import write_files
from tests.shared import SAMPLES, absent

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def images(count: int = 30, name: str = "pool") -> ImageSet:
    rng = np.random.default_rng(count)
    return ImageSet(
        name=name,
        ids=np.array([f"{name}-{k:03d}" for k in range(count)]),
        pixels=rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        labels=np.full(count, -1),
        classes=tuple("abcd"),
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(1800, 4)
    )


def teacher(model: nn.Module | None = None, **changes: Any) -> Teacher:
    plain: dict[str, Any] = {
        "model": network() if model is None else model,
        "view": View(size=32, resize=None),
        "num_classes": 4,
        "weights": "w",
        "batch_size": 8,
        "device": CPU,
    }
    return Teacher(**{**plain, **changes})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# the store ----------------------------------------------------------------------------------------------------------


def distributions(count: int, num_classes: int, seed: int = 0, sharpness: float = 0.1) -> np.ndarray:
    alpha = np.full(num_classes, sharpness)
    return np.random.default_rng(seed).dirichlet(alpha, count).astype(np.float32)


def dense_by_hand(probabilities: np.ndarray, stored: int) -> list[float]:
    """One image's distribution as it comes back: halves, the rest spread evenly, a sum of 1."""
    if not probabilities.any():
        return [0.0] * len(probabilities)
    order = sorted(range(len(probabilities)), key=lambda c: (-float(probabilities[c]), c))
    halves = {c: float(np.float16(probabilities[c])) for c in order[:stored]}
    rest = max(0.0, 1 - sum(halves.values())) if stored < len(probabilities) else 0.0
    filled = [halves.get(c, rest / max(1, len(probabilities) - stored)) for c in range(len(probabilities))]
    return [value / sum(filled) for value in filled]


@settings(max_examples=60, deadline=None)
@given(
    num_classes=st.integers(2, 40),
    top_k=st.integers(0, 45),
    sharpness=st.sampled_from([0.003, 0.05, 1.0, 50.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_stored_comes_back_as_by_hand(
    num_classes: int, top_k: int, sharpness: float, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.parquet"
    given_ = distributions(5, num_classes, seed, sharpness)
    given_[3] = 0  # could not be read
    given_[4] = 1 / num_classes
    write_labels(path, list("vwxyz"), given_, made_by="m", top_k=top_k)
    stored = min(top_k, num_classes) or num_classes
    targets = read_targets(path)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, [dense_by_hand(row, stored) for row in given_], rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(targets.sum(axis=1), [1, 1, 1, 0, 1], atol=1e-6)
    table = pq.read_table(path)
    np.testing.assert_array_equal(table["label"], [*given_[:3].argmax(axis=1), -1, 0])
    np.testing.assert_array_equal(table["confidence"], given_.max(axis=1))
    if stored < num_classes:
        soft = np.array(table["soft_label"].to_pylist(), np.float32)
        assert (np.diff(soft, axis=1) <= 0).all()
        np.testing.assert_array_equal(np.array(table["classes"].to_pylist())[4], range(stored))  # ties: lower first


@pytest.mark.parametrize(
    ("num_classes", "top_k", "stored"),
    [(200, 0, None), (201, 0, 32), (1000, 0, 32), (1000, 64, 64), (1000, 1000, None), (1000, 2000, None), (4, 3, 3)],
)
def test_how_much_of_a_distribution_is_stored(num_classes: int, top_k: int, stored: int | None, tmp_path: Path) -> None:
    path = label_path(tmp_path, 7)
    assert path.name == "shard-000007.parquet"
    write_labels(path, ["a", "b"], distributions(2, num_classes), made_by="me", top_k=top_k)
    schema = pq.read_schema(path)
    lists = {
        "soft_label": f"fixed_size_list<element: halffloat>[{stored or num_classes}]",
        "classes": f"fixed_size_list<element: uint16>[{stored}]",
    }
    expected = {"key": "string", "label": "int32", "confidence": "float", **lists}
    if stored is None:
        del expected["classes"]
    assert {name: str(schema.field(name).type) for name in schema.names} == expected
    assert schema.metadata == {b"made_by": b"me", b"num_classes": str(num_classes).encode()}


def test_half_precision_is_renormalised(tmp_path: Path) -> None:
    """Three times float16(1/3) are 0.99976; in the training loss they must count as 1."""
    path = tmp_path / "a.parquet"
    write_labels(path, ["a", "b"], np.array([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]], np.float32), made_by="x")
    keys, got = read_labels(path)
    halves = np.array([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]], np.float16).astype(np.float64)
    assert not np.isclose(halves[0].sum(), 1, atol=1e-4)
    np.testing.assert_allclose(got, halves / halves.sum(axis=1, keepdims=True), rtol=1e-6)
    assert keys.tolist() == ["a", "b"]


def test_a_hard_label_is_that_of_the_unrounded_probabilities(tmp_path: Path) -> None:
    """0.4999 and 0.5001 are one half in half precision."""
    path = tmp_path / "a.parquet"
    write_labels(path, ["a"], np.array([[0.49995, 0.50005]], np.float32), made_by="x")
    assert read_targets(path).argmax(axis=1) == 0
    assert ShardTargets(path).labels.tolist() == [1]


@pytest.mark.parametrize("top_k", [0, 5])
def test_few_rows_are_the_same_rows(top_k: int, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_labels(path, [str(k) for k in range(50)], distributions(50, 20), made_by="x", top_k=top_k)
    targets, whole = ShardTargets(path), read_targets(path)
    assert len(targets) == len(whole) == 50
    assert targets.num_classes == 20
    for rows in ([], [3], [49, 0, 7, 7, 7]):
        got = targets.rows(np.array(rows, dtype=np.int64))
        assert got.shape == (len(rows), 20)
        np.testing.assert_array_equal(got, whole[np.array(rows, dtype=np.int64)])


@pytest.mark.parametrize(("num_classes", "in_memory", "on_disk"), [(1000, 132, 145), (10, 24, 35)])
def test_what_an_image_takes(num_classes: int, in_memory: int, on_disk: int, tmp_path: Path) -> None:
    """1000 probabilities are 4,000 bytes in single precision."""
    path = tmp_path / "a.parquet"
    keys = [f"n{k % 1000:08d}/n{k % 1000:08d}_{k * 7919 % 65536}.JPEG" for k in range(5000)]
    write_labels(path, keys, distributions(5000, num_classes, sharpness=0.5), made_by="x")
    held = [value for value in vars(ShardTargets(path)).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in held) == 5000 * in_memory
    assert path.stat().st_size < 5000 * on_disk


def test_more_classes_than_numbers_are_refused_unless_all_are_stored(tmp_path: Path) -> None:
    most, more = (np.full((1, count), 1 / count, np.float32) for count in (2**16, 2**16 + 1))
    most[0, -1] = 0.5
    write_labels(tmp_path / "a.parquet", ["a"], most, made_by="x")
    assert pq.read_table(tmp_path / "a.parquet")["classes"][0].as_py()[0] == 2**16 - 1
    with pytest.raises(ConfigError, match=r"set teacher\.top_k=65537"):
        write_labels(tmp_path / "b.parquet", ["a"], more, made_by="x")
    write_labels(tmp_path / "b.parquet", ["a"], more, made_by="x", top_k=2**16 + 1)
    assert read_targets(tmp_path / "b.parquet").shape == (1, 2**16 + 1)


def test_is_made_by_knows_its_own(tmp_path: Path) -> None:
    path = tmp_path / "seed=1" / "a.parquet"  # no column of a partition
    write_labels(path, ["a"], distributions(1, 3), made_by="me")
    assert is_made_by(path, "me")
    assert not is_made_by(path, "you")
    assert not is_made_by(tmp_path / "missing.parquet", "me")
    assert pq.ParquetFile(path).read().column_names == ["key", "label", "confidence", "soft_label"]
    whole = path.read_bytes()
    turned = bytearray(whole)
    turned[whole.index(b"PAR1") + 60] ^= 255  # in a page
    for content in (bytes(turned), whole[:-1], whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        assert not is_made_by(path, "me")
        for read in (read_labels, read_targets, ShardTargets, count_labels):
            with pytest.raises(DataError, match=r"a\.parquet"):
                read(path)
    pq.write_table(pa.table({"key": ["a"]}), path)
    assert not is_made_by(path, "me")
    for content in ({"key": ["a"]}, {"label": [1], "soft_label": [[0.5, 0.5]]}):
        write_parquet(path, pa.table(content), "me", num_classes=2)
        with pytest.raises(DataError, match=r"a\.parquet holds no pseudo-labels"):
            read_targets(path)


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """EfficientNet-Lite0's probabilities [100, 1000] of every tenth of the sample photographs."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    model, listing = load_pretrained("pypi:efficientnet-lite0"), open_folder(SAMPLES)
    pixels = np.stack([model.view.show(listing.stored(row)) for row in range(0, 1000, 10)])
    return np.exp(predict(model.model, pixels, batch_size=50, device="cpu"))


@pytest.mark.parametrize(
    ("top_k", "loss", "gradient"),
    [
        (8, (0.25, 2.0), (0.13, 0.9)),
        (16, (0.15, 1.4), (0.1, 0.75)),
        (32, (0.09, 0.9), (0.07, 0.6)),
        (64, (0.055, 0.55), (0.05, 0.4)),
        (1000, (1.5e-4, 7e-4), (1.2e-4, 4e-4)),
    ],
)
def test_what_truncation_and_half_precision_do_to_the_loss(
    photographs: np.ndarray, tmp_path: Path, top_k: int, loss: tuple[float, float], gradient: tuple[float, float]
) -> None:
    """How far, on average and at most, a student's loss -sum p log q and its gradient q - p move.

    The student says what the teacher says: there the loss moves most. At its start, when it says nothing, a student's
    loss moves by less than a thirtieth of that.
    """
    path = tmp_path / "a.parquet"
    write_labels(path, [f"n{k:08d}/{k:08d}.JPEG" for k in range(100)], photographs, made_by="m", top_k=top_k)
    exact = torch.tensor(photographs, dtype=torch.float64)
    exact /= exact.sum(dim=1, keepdim=True)
    stored = torch.tensor(read_targets(path), dtype=torch.float64)

    def loss_and_gradient(targets: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits.clone().requires_grad_()
        losses = -(targets * logits.log_softmax(dim=1)).sum(dim=1)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        return losses.detach(), gradient

    def moved(logits: Tensor) -> tuple[Tensor, Tensor]:
        ours, right = (loss_and_gradient(targets, logits) for targets in (stored, exact))
        return (ours[0] - right[0]).abs(), (ours[1] - right[1]).abs().sum(dim=1)

    losses, gradients = moved(exact.log())
    assert losses.mean() < loss[0]
    assert losses.max() < loss[1]
    assert gradients.mean() < gradient[0]
    assert gradients.max() < gradient[1]
    at_start, _ = moved(0.1 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert at_start.mean() < loss[0] / 30


# labelling ----------------------------------------------------------------------------------------------------------


def test_labels_are_those_of_the_teacher_in_eval_mode(tmp_path: Path) -> None:
    pool, ours = HeldPool(images(), shard_images=12), teacher()
    done = label(ours, pool, tmp_path, made_by="m")
    assert (done.images, done.unreadable, done.new_images, done.new_shards, done.kept_shards) == (30, 0, 30, 3, 0)
    assert done.images_per_second == pytest.approx(30 / done.seconds)
    assert sorted(files(tmp_path)) == [f"shard-00000{k}.parquet" for k in range(3)]
    with torch.no_grad():
        expected = network().eval()(torch.tensor(images().pixels).permute(0, 3, 1, 2) / 255).softmax(dim=1).numpy()
    parts = [read_labels(label_path(tmp_path, k)) for k in range(3)]
    np.testing.assert_array_equal(np.concatenate([keys for keys, _ in parts]), images().ids)
    np.testing.assert_allclose(np.concatenate([soft for _, soft in parts]), expected, atol=5e-4)
    tables = pa.concat_tables([pq.read_table(label_path(tmp_path, k)) for k in range(3)])
    np.testing.assert_array_equal(tables["label"], expected.argmax(axis=1))
    np.testing.assert_allclose(tables["confidence"], expected.max(axis=1), rtol=1e-5)
    for shard in range(3):
        assert is_made_by(label_path(tmp_path, shard), fingerprint("m", pool.shard_fingerprint(shard)))


def timm_teacher() -> Teacher:
    """A real network with dropout, batch norm that has seen images, and branches, which timm starts at 0, to drop."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=4, drop_rate=0.5, drop_path_rate=0.5)
    model = PixelModel(net, (0.5,) * 3, (0.5,) * 3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    model.train()(torch.rand(16, 3, 32, 32))
    return teacher(model)


def test_the_teacher_labels_in_eval_mode_and_is_left_as_it_was(tmp_path: Path) -> None:
    ours, pool = timm_teacher(), HeldPool(images())
    assert {"DropPath", "BatchNorm2d"} <= {type(module).__name__ for module in ours.model.modules()}
    ours.model.eval()
    label(ours, pool, tmp_path / "eval", made_by="m")
    assert not any(module.training for module in ours.model.modules())

    ours.model.train()
    ours.model.net.conv1.eval()
    modes = [module.training for module in ours.model.modules()]
    state = {name: value.clone() for name, value in ours.model.state_dict().items()}
    label(ours, pool, tmp_path / "train", made_by="m")
    assert files(tmp_path / "train") == files(tmp_path / "eval")
    assert [module.training for module in ours.model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in ours.model.state_dict().items())
    with torch.no_grad():  # and in train mode it would have said something else
        noised = ours.model(torch.tensor(images().pixels).permute(0, 3, 1, 2) / 255).softmax(dim=1).numpy()
    assert np.abs(noised - read_targets(label_path(tmp_path / "eval", 0))).max() > 0.05


def test_modes_are_restored_after_an_error(tmp_path: Path) -> None:
    ours = timm_teacher()
    with torch.no_grad():
        ours.model.net.get_classifier().bias.fill_(torch.nan)
    ours.model.train()
    with pytest.raises(DataError, match=r"pool, images 0 to 29: the model's logits are not finite for 30 of 30 images"):
        label(ours, HeldPool(images()), tmp_path, made_by="m")
    assert all(module.training for module in ours.model.modules())
    assert not list(tmp_path.iterdir())


def test_every_batch_has_one_shape_and_shards_do_not_matter(tmp_path: Path) -> None:
    ours, shapes = teacher(), []
    ours.model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    for name, shard_images in (("one", 0), ("several", 8)):
        label(ours, HeldPool(images(), shard_images=shard_images), tmp_path / name, made_by="m")
    assert shapes == [(8, 3, 32, 32)] * 8
    parts = [read_targets(path) for path in sorted((tmp_path / "several").iterdir())]
    np.testing.assert_array_equal(np.concatenate(parts), read_targets(label_path(tmp_path / "one", 0)))


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_teacher_says_how_its_images_lie_in_memory_and_what_is_stored(channels_last: bool, tmp_path: Path) -> None:
    layouts = []
    ours = teacher(channels_last=channels_last, top_k=3)
    ours.model.register_forward_pre_hook(lambda _, inputs: layouts.append(inputs[0].is_contiguous()))
    label(ours, HeldPool(images()), tmp_path, made_by="m")
    assert set(layouts) == {not channels_last}
    assert pq.read_schema(label_path(tmp_path, 0)).field("classes").type.list_size == 3


def test_images_in_memory_are_shown_at_the_teachers_size(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Seen(nn.Module):
        def forward(self, shown: Tensor) -> Tensor:
            seen.append(shown)
            return shown.flatten(1)[:, :4]

    pixels = images(3).pixels
    for size in (32, 48, 16):
        label(
            teacher(Seen(), view=View(size=size, resize=size)), HeldPool(images(3)), tmp_path / str(size), made_by="m"
        )
    plain, *others = (batch[:3] for batch in seen)
    np.testing.assert_array_equal(plain, torch.tensor(pixels).permute(0, 3, 1, 2) / 255)
    for batch, size in zip(others, (48, 16), strict=True):
        expected = nn.functional.interpolate(plain, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        np.testing.assert_array_equal(batch, expected)


def test_files_are_seen_through_the_teachers_own_view(tmp_path: Path) -> None:
    """Real photographs, at the resolution and crop of the teacher."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    listing, view = open_folder(SAMPLES).take(range(10)), View(size=32, resize=48, interpolation="bicubic")
    ours = teacher(view=view)
    label(ours, ListedPool(listing=listing, shard_images=6), tmp_path, made_by="m")
    expected = predict(network(), np.stack([view.show(listing.stored(k)) for k in range(10)]), batch_size=8, device=CPU)
    got = np.concatenate([read_targets(path) for path in sorted(tmp_path.iterdir())])
    np.testing.assert_allclose(got, np.exp(expected), atol=5e-4)
    keys = np.concatenate([read_labels(path)[0] for path in sorted(tmp_path.iterdir())])
    assert keys.tolist() == list(listing.ids)


def test_tars_are_labelled_as_the_files_that_they_hold(tmp_path: Path) -> None:
    """A tar is a shard, and a WebDataset key has no suffix."""
    write_files(tmp_path / "files")
    listing = open_folder(tmp_path / "files", name="files")
    tars = [tmp_path / f"train-{number:06d}.tar" for number in range(2)]
    for rows, path in zip((range(14), range(14, 29)), tars, strict=True):
        with tarfile.open(path, "w") as tar:
            for row in rows:
                tar.add(listing.stored(row), listing.ids[row])
    for source, out in ((tmp_path / "files", "of-files"), (str(tmp_path / "train-{000000..000001}.tar"), "of-tars")):
        pool = open_pool([source], name="pool", shard_images=10, labelled=False)
        done = label(teacher(), pool, tmp_path / out, made_by="m", on_bad_image="skip")
        assert (done.images, done.unreadable) == (29, 2)
    assert len(files(tmp_path / "of-tars")) == 2
    said = []
    for out in ("of-files", "of-tars"):
        parts = [read_labels(path) for path in sorted((tmp_path / out).iterdir())]
        keys = [str(Path(key).with_suffix("")) for keys, _ in parts for key in keys.tolist()]
        said.append(dict(zip(keys, np.concatenate([soft for _, soft in parts]).tolist(), strict=True)))
    assert said[0] == said[1]
    with pytest.raises(DataError, match=r"train-000000\.tar, a/04 cannot be read \(an empty file\)"):
        label(teacher(), pool, tmp_path / "refused", made_by="m")


def broken_files(root: Path) -> ListedPool:
    """29 files, of which rows 2 and 28 are no images."""
    write_files(root)
    return ListedPool(listing=open_folder(root, name="files"), shard_images=10)


def test_an_image_that_cannot_be_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    pool = broken_files(tmp_path / "files")
    with pytest.raises(DataError, match=r"a/04\.png cannot be read \(an empty file\)") as caught:
        label(teacher(), pool, tmp_path / "labels", made_by="m")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "labels").exists()


def test_an_image_that_cannot_be_read_is_skipped_where_that_is_asked_for(tmp_path: Path) -> None:
    pool, folder = broken_files(tmp_path / "files"), tmp_path / "labels"
    done = label(teacher(), pool, folder, made_by="m", on_bad_image="skip")
    assert (done.images, done.unreadable, done.new_shards) == (29, 2, 3)
    tables = pa.concat_tables([pq.read_table(path) for path in sorted(folder.iterdir())])
    rows = np.flatnonzero(tables["label"].to_numpy() < 0)
    assert [tables["key"][int(row)].as_py() for row in rows] == ["a/04.png", "b/27.png"]
    assert not tables["confidence"].to_numpy()[rows].any()
    assert not np.array(tables["soft_label"].to_pylist())[rows].any()
    targets = np.concatenate([read_targets(path) for path in sorted(folder.iterdir())])
    np.testing.assert_allclose(targets.sum(axis=1), ~np.isin(np.arange(29), rows), atol=1e-6)

    again = label(teacher(), pool, folder, made_by="m", on_bad_image="skip")
    assert (again.images, again.unreadable, again.new_images, again.kept_shards) == (29, 2, 0, 3)
    with pytest.raises(DataError, match=r"a/04\.png"):  # what was let pass is none the less an error
        label(teacher(), pool, folder, made_by="m")


def test_a_shard_that_is_labelled_is_left_alone(tmp_path: Path) -> None:
    pool = HeldPool(images(), shard_images=8)
    label(teacher(), pool, tmp_path, made_by="m")
    whole = files(tmp_path)
    first, second, third, fourth = (label_path(tmp_path, k) for k in range(4))

    def untouched(path: Path) -> tuple[int, int]:
        return path.stat().st_ino, path.stat().st_mtime_ns

    before = untouched(first)
    second.unlink()
    third.write_bytes(whole[third.name][:-5])
    write_labels(fourth, images().ids[24:], distributions(6, 4), made_by=fingerprint("m", "another shard"))
    done = label(teacher(), pool, tmp_path, made_by="m")
    assert (done.images, done.new_images, done.new_shards, done.kept_shards) == (30, 8 + 8 + 6, 3, 1)
    assert files(tmp_path) == whole
    assert untouched(first) == before

    class Never(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise AssertionError

    done = label(teacher(Never()), pool, tmp_path, made_by="m")
    assert (done.images, done.new_images, done.kept_shards, done.images_per_second) == (30, 0, 4, 0)
    assert label(teacher(), pool, tmp_path, made_by="another teacher").kept_shards == 0
    assert files(tmp_path) != whole


def test_labels_of_a_larger_pool_are_not_left_to_be_selected_from(tmp_path: Path) -> None:
    label(teacher(), HeldPool(images(), shard_images=8), tmp_path, made_by="m")
    (tmp_path / "shard-of-mine.parquet").touch()
    with pytest.raises(DataError, match=r"shard-000003\.parquet labels a shard that pool does not have \(it has 3\)"):
        label(teacher(), HeldPool(images(), shard_images=10), tmp_path, made_by="m")


def test_an_empty_shard(tmp_path: Path) -> None:
    class Empty(HeldPool):
        def shard(self, index: int) -> ImageSet:
            return super().shard(index).take(slice(0))

    done = label(teacher(), Empty(images()), tmp_path, made_by="m")
    assert (done.images, done.new_shards, done.images_per_second) == (0, 1, 0)
    assert read_targets(label_path(tmp_path, 0)).shape == (0, 4)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_a_batch_that_does_not_fit_is_one_line(error: Exception, tmp_path: Path) -> None:
    class Greedy(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise error

    with pytest.raises(DataError, match=r"not enough memory to label 8 images .* teacher\.batch_size"):
        label(teacher(Greedy()), HeldPool(images()), tmp_path, made_by="m")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file")
    with pytest.raises(OSError, match="labels"):
        label(teacher(), HeldPool(images()), tmp_path / "labels", made_by="m")


def test_progress_counts_shards_and_what_was_done_before(tmp_path: Path) -> None:
    counters: list[tuple[str, int, int]] = []

    class Told(Progress):
        def counter(self, title: str, total: int, *, start: int = 0, unit: str = "step") -> Any:
            counters.append((title, total, start))
            return super().counter(title, total, start=start, unit=unit)

    pool = HeldPool(images(), shard_images=10)
    label(teacher(), pool, tmp_path, made_by="m", progress=Told("none"))
    label_path(tmp_path, 1).unlink()
    label(teacher(), pool, tmp_path, made_by="m", progress=Told("none"))
    outer = ("label pool", 3)
    inner = [(f"label pool, images {k} to {k + 9}", 10, 0) for k in (0, 10, 20)]
    assert counters == [(*outer, 0), *inner, (*outer, 2), inner[1]]


# ranks and kills ----------------------------------------------------------------------------------------------------


def whole_pool() -> HeldPool:
    return HeldPool(images(61, "ranks"), shard_images=9)


def work(ranks: Ranks, out: Path) -> tuple[dict[str, Any], int]:
    """What every rank of a job is told, the same on all, and how many batches this one worked on.

    `out` lies beside a folder of files, two of which are no images.
    """
    torch.set_num_threads(1)
    files_pool = ListedPool(listing=open_folder(out.parent / "files", name="files"), shard_images=5)
    ours, batches = teacher(), list[int]()
    ours.model.register_forward_pre_hook(lambda *_: batches.append(1))

    def labelled(pool: Any, name: str, **more: Any) -> dict[str, Any]:
        done = dataclasses.asdict(label(ours, pool, out / name, made_by="m", ranks=ranks, **more))
        assert done.pop("seconds") > 0
        return done

    first = labelled(whole_pool(), "held")
    ranks.first(label_path(out / "held", 4).unlink)
    again = labelled(whole_pool(), "held")
    skipped = labelled(files_pool, "files", on_bad_image="skip")
    num_batches = len(batches)
    try:
        labelled(files_pool, "refused")
        told = "nothing"
    except NsbenchError as error:
        told = f"{type(error).__name__}: {error}"
    return {"counts": [first, again, skipped], "told": told}, num_batches


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], int]:
    root = tmp_path_factory.mktemp("ranks")
    write_files(root / "files")
    return root / "world1", *work(Ranks(), root / "world1")


def test_ranks_share_the_work_and_write_the_files_of_one_process(alone: tuple[Path, dict[str, Any], int]) -> None:
    lone, found, num_batches = alone
    first, again, skipped = found["counts"]
    assert first == {"images": 61, "unreadable": 0, "new_images": 61, "new_shards": 7, "kept_shards": 0}
    assert again == {"images": 61, "unreadable": 0, "new_images": 9, "new_shards": 1, "kept_shards": 6}
    assert skipped == {"images": 29, "unreadable": 2, "new_images": 29, "new_shards": 6, "kept_shards": 0}
    assert "a/04.png cannot be read" in found["told"]
    several = lone.parent / "world3"
    several.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    done = subprocess.run(
        [*command, "-m", __name__, str(several)], cwd=ROOT, timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads((several / f"rank{rank}.json").read_text()) for rank in range(3)]
    assert [one for one, _ in told] == [found] * 3
    shares = [share for _, share in told]
    assert sum(shares) == num_batches
    assert min(shares) > 0
    for name in ("held", "files"):
        assert files(several / name) == files(lone / name)


class Slow(nn.Module):
    """Sleeps before every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, shown: Tensor) -> Tensor:
        time.sleep(0.1)
        logits: Tensor = self.net(shown)
        return logits


def test_a_kill_costs_the_shard_that_was_being_labelled(
    alone: tuple[Path, dict[str, Any], int], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", __name__, str(tmp_path), "slowly"]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        began = time.monotonic()
        while len(list(tmp_path.glob("shard-*.parquet"))) < 2:
            assert process.poll() is None
            assert time.monotonic() - began < 100
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finished = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.glob("shard-*.parquet")}
    assert 2 <= len(finished) < 7
    done = label(teacher(), whole_pool(), tmp_path, made_by="m")
    assert (done.kept_shards, done.new_shards) == (len(finished), 7 - len(finished))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("shard-*")} == files(alone[0] / "held")
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in finished} == finished


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if sys.argv[2:] == ["slowly"]:
        label(teacher(Slow()), whole_pool(), target, made_by="m")
    else:
        with connected() as own:
            (target / f"rank{own.rank}.json").write_text(json.dumps(work(own, target)))
    leave(0)
