"""Pseudo-labels: what an un-noised teacher says, kept in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nsbench.data.images import Task
from nsbench.engine.noise import install_model_noise
from nsbench.engine.pseudo import is_made_by, label, read_labels, write_parquet
from nsbench.errors import DataError
from nsbench.models import PixelModel, build

from .conftest import TINY

CPU = torch.device("cpu")


@pytest.fixture
def teacher() -> PixelModel:
    """With noise installed and in training mode, as training leaves it."""
    model = build(TINY, 4, 0)
    install_model_noise(model, TINY)
    return model.train()


def test_labels_are_those_of_the_un_noised_teacher(teacher: PixelModel, task: Task, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.parquet", "two.parquet")]
    for path in paths:
        label(teacher, task.unlabelled, path, batch_size=7, device=CPU, made_by="x")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert teacher.training
    assert all(module.training for module in teacher.modules())

    scaled = torch.from_numpy(task.unlabelled.pixels).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = teacher.eval()(scaled).softmax(dim=1).numpy()
    keys, soft = read_labels(paths[0])
    np.testing.assert_array_equal(keys, task.unlabelled.ids)
    np.testing.assert_allclose(soft, expected, atol=1e-3)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert soft.dtype == np.float32

    table = pq.read_table(paths[0])
    assert [str(kind) for kind in table.schema.types] == [
        "string", "int32", "float", "fixed_size_list<element: halffloat>[4]",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["label"].to_numpy(), expected.argmax(axis=1))
    np.testing.assert_allclose(table["confidence"].to_numpy(), expected.max(axis=1), rtol=1e-5)


def test_half_precision_is_renormalised(tmp_path: Path) -> None:
    """Three times float16(1/3) are 0.99976; in the training loss they must count as 1."""
    halves = np.array([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]], np.float16)
    soft = pa.FixedSizeListArray.from_arrays(pa.array(halves.ravel()), 3)
    write_parquet(tmp_path / "a.parquet", pa.table({"key": ["a", "b"], "soft_label": soft}), "x")
    _, got = read_labels(tmp_path / "a.parquet")
    expected = halves.astype(np.float64) / halves.astype(np.float64).sum(axis=1, keepdims=True)
    assert not np.isclose(float(halves[0].astype(np.float64).sum()), 1, atol=1e-4)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_is_made_by_knows_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, pa.table({"key": ["a"]}), "me")
    assert is_made_by(path, "me")
    assert not is_made_by(path, "you")
    assert not is_made_by(tmp_path / "missing.parquet", "me")
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        assert not is_made_by(path, "me")
        with pytest.raises(DataError, match=r"a\.parquet"):
            read_labels(path)
    pq.write_table(pa.table({"key": ["a"]}), path)
    assert not is_made_by(path, "me")


def test_a_teacher_that_is_broken_labels_nothing(teacher: PixelModel, task: Task, tmp_path: Path) -> None:
    with torch.no_grad():
        teacher.net.get_classifier().bias.fill_(torch.nan)
    with pytest.raises(DataError, match="not finite"):
        label(teacher, task.unlabelled, tmp_path / "a.parquet", batch_size=8, device=CPU, made_by="x")
    assert not list(tmp_path.iterdir())
