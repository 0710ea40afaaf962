"""The DuckDB query against a plain reading of the rule, one class and one image at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsbench.config import SelectConfig
from nsbench.engine.pseudo import is_made_by, write_parquet
from nsbench.engine.select import read_copies, select

NUM_CLASSES = 5


def write_labels(path: Path, labels: list[int], confidences: list[float], keys: list[str]) -> None:
    table = pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "label": pa.array(labels, pa.int32()),
            "confidence": pa.array(confidences, pa.float32()),
        }
    )
    write_parquet(path, table, "labels")


def run(
    folder: Path,
    labels: list[int],
    confidences: list[float],
    keys: list[str] | None = None,
    seed: int = 0,
    **config: Any,
) -> list[int]:
    """Copies that `select` writes."""
    keys = keys or [f"k{i:03d}" for i in range(len(labels))]
    write_labels(folder / "labels.parquet", labels, confidences, keys)
    out = folder / "selection.parquet"
    select(
        folder / "labels.parquet", out, SelectConfig(**config), num_classes=NUM_CLASSES, seed=seed, made_by="selection"
    )
    assert is_made_by(out, "selection")
    table = pq.read_table(out)
    assert table.schema.names == ["key", "copies"]
    assert table.schema.field("copies").type == pa.uint16()
    assert table["key"].to_pylist() == keys  # row order
    copies = read_copies(out)
    assert copies.dtype == np.int64
    return copies.tolist()


def reference(
    labels: list[int], confidences: list[float], keys: list[str], seed: int, config: SelectConfig
) -> npt.NDArray[np.int64]:
    score = np.array(confidences, np.float32)
    kept = [i for i in range(len(labels)) if score[i] >= np.float32(config.min_confidence)]
    quota = config.per_class or max(1, len(kept) // NUM_CLASSES)
    copies = np.zeros(len(labels), np.int64)
    for label in range(NUM_CLASSES):
        members = [i for i in kept if labels[i] == label]
        if config.balance == "off":
            copies[members] = 1
        elif len(members) >= quota:
            copies[sorted(members, key=lambda i: (-score[i], keys[i]))[:quota]] = 1
        else:
            copies[members] = 1
            if config.balance == "duplicate" and members:
                copies[members] = quota // len(members)
                lots = sorted(members, key=lambda i: (hashlib.md5(f"{seed}:{keys[i]}".encode()).hexdigest(), keys[i]))
                copies[lots[: quota % len(members)]] += 1
    return copies


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(0, NUM_CLASSES - 1), st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.5, 0.9, 1.0])),
        min_size=1,
        max_size=40,
    ),
    balance=st.sampled_from(["off", "cap", "duplicate"]),
    per_class=st.sampled_from([0, 0, 1, 3, 11]),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_against_the_reference(  # noqa: PLR0917
    tmp_path: Path, rows: list, balance: Any, per_class: int, seed: int, order: Any
) -> None:
    labels, confidences = [label for label, _ in rows], [confidence for _, confidence in rows]
    keys = [f"k{i}" for i in range(len(rows))]
    order.shuffle(keys)
    config = SelectConfig(min_confidence=0.3, balance=balance, per_class=per_class)
    got = run(tmp_path, labels, confidences, keys, seed, min_confidence=0.3, balance=balance, per_class=per_class)
    expected = reference(labels, confidences, keys, seed, config)
    assert got == expected.tolist()
    if balance == "duplicate":
        quota = per_class or max(1, sum(c >= 0.3 for c in confidences) // NUM_CLASSES)
        filled = {label for label, confidence in rows if confidence >= 0.3}
        for label in range(NUM_CLASSES):
            shown = sum(copies for copies, own in zip(got, labels, strict=True) if own == label)
            assert shown == (quota if label in filled else 0)


def test_hand_worked(tmp_path: Path) -> None:
    """Eight images pass 0.3, so the automatic quota of five classes is 1; given, it is 2."""
    labels = [0, 0, 0, 1, 2, 2, 2, 2, 3]
    confidences = [0.9, 0.3, 0.9, 0.8, 0.5, 0.6, 0.7, 0.7, 0.29]
    assert run(tmp_path, labels, confidences, balance="off") == [1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert run(tmp_path, labels, confidences, balance="cap") == [1, 0, 0, 1, 0, 0, 1, 0, 0]
    assert run(tmp_path, labels, confidences, balance="cap", per_class=2) == [1, 0, 1, 1, 0, 0, 1, 1, 0]
    assert run(tmp_path, labels, confidences, balance="duplicate", per_class=2) == [1, 0, 1, 2, 0, 0, 1, 1, 0]


def test_ties_go_by_key_and_not_by_row(tmp_path: Path) -> None:
    assert run(tmp_path, [0, 0, 0], [0.5] * 3, ["c", "a", "b"], balance="cap", per_class=2) == [0, 1, 1]


def test_odd_copies_follow_the_seed(tmp_path: Path) -> None:
    lots = {
        seed: run(tmp_path, [0] * 6, [0.5] * 6, seed=seed, balance="duplicate", per_class=9) for seed in (0, 1, 2, 3)
    }
    assert all(sum(copies) == 9 and set(copies) == {1, 2} for copies in lots.values())
    assert len({tuple(copies) for copies in lots.values()}) > 1
    assert run(tmp_path, [0] * 6, [0.5] * 6, seed=2, balance="duplicate", per_class=9) == lots[2]


@pytest.mark.parametrize("balance", ["off", "cap", "duplicate"])
def test_nothing_kept(tmp_path: Path, balance: str) -> None:
    assert run(tmp_path, [0, 1, 1], [0.1, 0.2, 0.29], balance=balance) == [0, 0, 0]


def test_the_threshold_is_the_float32_of_the_number(tmp_path: Path) -> None:
    """0.3 as float32 is above 0.3: an image stored at 0.3 is kept, the float below it is not."""
    just_below = float(np.nextafter(np.float32(0.3), np.float32(0)))
    assert run(tmp_path, [0, 0], [0.3, just_below], balance="off") == [1, 0]


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, confidences = rng.integers(0, 5, 300).tolist(), rng.random(300).tolist()
    first = run(tmp_path, labels, confidences)
    content = (tmp_path / "selection.parquet").read_bytes()
    assert run(tmp_path, labels, confidences) == first
    assert (tmp_path / "selection.parquet").read_bytes() == content
