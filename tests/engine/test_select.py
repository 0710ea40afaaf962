"""The selection against a plain reading of its rules, one class at a time, on small tables and on a million rows."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsbench.engine.label_files import count_classes, label_files, labels_fingerprint
from nsbench.engine.label_store import is_made_by, label_path, write_labels, write_parquet
from nsbench.engine.select import Selection, read_copies, select, select_folder
from nsbench.errors import ConfigError, DataError
from nsbench.files import derive_seed
from nsbench.trainingconfig import SelectConfig

NUM_CLASSES = 5
BALANCES = ("off", "cap", "duplicate")
RULES = ("top-k", "bins")
Shard = tuple[Sequence[str], Sequence[int], Sequence[float]]


def write_shards(folder: Path, shards: Sequence[Shard], **figures: int) -> list[Path]:
    """Keys, labels and confidences of each shard as label files."""
    paths = [label_path(folder, number) for number in range(len(shards))]
    for path, (keys, labels, confidences) in zip(paths, shards, strict=True):
        columns = {
            "key": pa.array(keys, pa.string()),
            "label": pa.array(labels, pa.int32()),
            "confidence": pa.array(confidences, pa.float32()),
        }
        write_parquet(path, pa.table(columns), "labels", **figures)
    return paths


def run(
    folder: Path,
    shards: Sequence[Shard],
    *,
    seed: int = 0,
    threads: int = 1,
    num_classes: int = NUM_CLASSES,
    **config: Any,
) -> tuple[Selection, list[int]]:
    """What `select` says, and the copies that it writes, all shards together."""
    labels, out = write_shards(folder / "labels", shards), folder / "selection"
    shutil.rmtree(out, ignore_errors=True)
    selection = select(
        labels, out, SelectConfig(**config), num_classes=num_classes, seed=seed, made_by="this", threads=threads
    )
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in labels]  # and nothing else
    for path, (keys, _, _) in zip(labels, shards, strict=True):
        table = pq.read_table(out / path.name)
        assert is_made_by(out / path.name, "this")
        assert table.schema.names == ["key", "copies"]
        assert table.schema.types == [pa.string(), pa.uint16()]
        assert table["key"].to_pylist() == list(keys)  # row for row
    copies = [read_copies(out / path.name) for path in labels]
    assert all(shard.dtype == np.int64 for shard in copies)
    return selection, np.concatenate(copies).tolist()


def one(labels: list[int], confidences: list[float], keys: list[str] | None = None) -> list[Shard]:
    """A single shard."""
    return [(keys or [f"k{i:03d}" for i in range(len(labels))], labels, confidences)]


def lots_of(keys: npt.NDArray[np.str_], seed: int) -> npt.NDArray[np.float64]:
    """The hash of `nsbench.engine.lots`, on keys padded to the longest one."""
    text = np.strings.encode(keys, "utf-8")
    lengths = np.strings.str_len(text)
    width = -(-max(text.dtype.itemsize, 1) // 8)
    words = np.ascontiguousarray(text.astype(f"S{8 * width}")).view("<u8").reshape(-1, width)
    number = np.uint64(derive_seed("lots", seed)) + lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for place in range(width):
        mixed = number ^ words[:, place]
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
        number = np.where(lengths > 8 * place, mixed ^ (mixed >> np.uint64(33)), number)
    return (number // 2**12) / 2**52


def reference(shards: Sequence[Shard], seed: int, config: SelectConfig, num_classes: int) -> npt.NDArray[np.int64]:
    """Copies of all rows: NumPy, in memory, by sorting whole classes."""
    keys = np.concatenate([np.array(keys, dtype=np.str_) for keys, _, _ in shards])
    label = np.concatenate([np.array(labels, dtype=np.int64) for _, labels, _ in shards])
    score = np.concatenate([np.array(confidences, dtype=np.float32) for _, _, confidences in shards])
    lots = lots_of(keys, seed)
    kept = (label >= 0) & (score >= np.float32(config.min_confidence)) & (lots < config.fraction)
    kept &= score <= np.float32(config.max_confidence)
    quota = config.per_class or max(1, (config.total or int(kept.sum())) // num_classes)
    copies = np.zeros(len(keys), np.int64)
    for number in range(num_classes):
        rows = np.flatnonzero(kept & (label == number))
        if config.balance == "off" or not len(rows):
            copies[rows] = 1
        elif config.rule == "bins":
            copies[rows] = by_bins(score[rows], lots[rows], quota, config)
        elif len(rows) > quota:
            copies[rows[np.lexsort((rows, keys[rows], -score[rows]))[:quota]]] = 1
        elif config.balance == "cap":
            copies[rows] = 1
        else:
            copies[rows] = min(quota // len(rows), 65_535)
            odd = quota % len(rows) if quota // len(rows) < 65_535 else 0
            copies[rows[np.lexsort((rows, keys[rows], lots[rows]))[:odd]]] += 1
    return copies


def by_bins(
    score: npt.NDArray[np.float32], lots: npt.NDArray[np.float64], quota: int, config: SelectConfig
) -> npt.NDArray[np.int64]:
    """The official code's walk (noisy-student.md 1.3, 3 and 4), with lots for its random numbers."""
    for hundredth in range(100, -1, -1):
        threshold = np.float32(hundredth / 100)
        total = int((score >= threshold).sum())
        if total >= quota or threshold == np.float32(config.min_confidence):
            break
    ratio = quota / total if config.balance == "duplicate" else min(1, quota / total)
    odd = (quota % total) / total if ratio != 1 else 0.0
    copies = int(ratio) + (lots < odd * config.fraction)
    return np.where(score >= threshold, np.minimum(copies, 65_535), 0)


ROWS = st.tuples(
    st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, -1]),  # class 4 has none
    st.sampled_from([0.0, 0.1, 0.25, 0.29, 0.3, 0.304, 0.5, 0.5, 0.55, 0.9, 0.98, 0.99, 0.999, 1.0, 1.0]),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(ROWS, max_size=25), min_size=1, max_size=4),
    rule=st.sampled_from(RULES),
    balance=st.sampled_from(BALANCES),
    quota=st.sampled_from([{}, {}, {"per_class": 1}, {"per_class": 3}, {"per_class": 11}, {"total": 3}, {"total": 37}]),
    bounds=st.sampled_from([(0.0, 1.0), (0.3, 1.0), (0.3, 1.0), (0.3, 0.98), (0.55, 0.55)]),
    fraction=st.sampled_from([1.0, 1.0, 0.5]),
    distinct=st.sampled_from([1000, 1000, 3]),  # keys may occur more than once
    seed=st.integers(0, 3),
    threads=st.sampled_from([1, 3]),
)
def test_against_the_reference(  # noqa: PLR0917
    tmp_path: Path, rows: list, rule: Any, balance: Any, quota: dict, bounds: tuple, fraction: float, distinct: int,
    seed: int, threads: int,
) -> None:  # fmt: skip
    numbers = itertools.count()
    shards: list[Shard] = [
        ([f"k{next(numbers) * 7919 % distinct}" for _ in shard], [label for label, _ in shard], [c for _, c in shard])
        for shard in rows
    ]
    config: dict[str, Any] = {
        "min_confidence": bounds[0], "max_confidence": bounds[1], "fraction": fraction, "rule": rule,
        "balance": balance, **quota,
    }  # fmt: skip
    selection, got = run(tmp_path, shards, seed=seed, threads=threads, **config)
    expected = reference(shards, seed, SelectConfig(**config), NUM_CLASSES)
    assert got == expected.tolist()
    labels = np.array([label for shard in rows for label, _ in shard], dtype=np.int64)
    scores = np.array([confidence for shard in rows for _, confidence in shard], dtype=np.float32)
    assert selection.images == len(labels)
    assert (selection.kept, selection.copies) == ((expected > 0).sum(), expected.sum())
    for number in range(NUM_CLASSES):
        own, shown = labels == number, (labels == number) & (expected > 0)
        assert selection.predicted_per_class[number] == own.sum()
        assert selection.kept_per_class[number] == shown.sum()
        assert selection.copies_per_class[number] == expected[own].sum()
        least = scores[shown].min() if shown.any() else np.float32(np.nan)
        np.testing.assert_equal(selection.thresholds[number], least)
        assert (number in selection.empty_classes) == (not shown.any())


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Shard], list[Path]]:
    """Three shards of different lengths, 100 classes of very different sizes, and many confidences of exactly 1."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, 101)
    shards: list[Shard] = []
    for count in (500_000, 300_001, 199_999):
        keys = [f"photos/{number}.jpg" for number in rng.integers(0, 10**12, count)]
        labels = np.where(rng.random(count) < 0.01, -1, rng.choice(100, count, p=shares / shares.sum()))
        confidences = np.where(rng.random(count) < 0.1, 1, 1 - rng.random(count) ** 3).astype(np.float32)
        shards.append((keys, labels, confidences))
    return shards, write_shards(tmp_path_factory.mktemp("labels"), shards, num_classes=100)


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("rule", RULES)
def test_a_million_rows(million: Any, tmp_path: Path, rule: Any, balance: Any) -> None:
    """Equal to the reference, and for the two that draw lots one and four threads write the same bytes as two."""
    config = SelectConfig(rule=rule, balance=balance, fraction=0.9 if balance == "cap" else 1.0)
    written = set()
    for threads in (2, 1, 4) if balance == "duplicate" else (2,):
        out = tmp_path / str(threads)
        selection = select(million[1], out, config, num_classes=100, seed=7, made_by="this", threads=threads)
        written.add(tuple((out / path.name).read_bytes() for path in million[1]))
    assert len(written) == 1
    expected = reference(million[0], 7, config, 100)
    np.testing.assert_array_equal(np.concatenate([read_copies(out / path.name) for path in million[1]]), expected)
    assert (selection.kept, selection.copies) == ((expected > 0).sum(), expected.sum())
    if (rule, balance) == ("top-k", "duplicate"):
        assert set(selection.copies_per_class) == {selection.quota}


def test_hand_worked(tmp_path: Path) -> None:
    """Eight images pass 0.3, so the quota of five classes is 1 by itself; given, or as a total of 10, it is 2."""
    shards = one([0, 0, 0, 1, 2, 2, 2, 2, 3], [0.9, 0.3, 0.9, 0.8, 0.5, 0.6, 0.7, 0.7, 0.29])
    assert run(tmp_path, shards, balance="off")[1] == [1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert run(tmp_path, shards, balance="cap")[1] == [1, 0, 0, 1, 0, 0, 1, 0, 0]
    assert run(tmp_path, shards, balance="cap", per_class=2)[1] == [1, 0, 1, 1, 0, 0, 1, 1, 0]
    assert run(tmp_path, shards, balance="cap", per_class=5)[1] == [1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert run(tmp_path, shards, balance="duplicate", per_class=2)[1] == [1, 0, 1, 2, 0, 0, 1, 1, 0]
    selection, copies = run(tmp_path, shards, balance="duplicate", total=10)
    assert copies == [1, 0, 1, 2, 0, 0, 1, 1, 0]
    assert (selection.images, selection.quota, selection.kept, selection.copies) == (9, 2, 5, 6)
    assert selection.empty_classes == (3, 4)
    np.testing.assert_array_equal(selection.thresholds, np.array([0.9, 0.8, 0.7, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(selection.predicted_per_class, [3, 1, 4, 1, 0])


def test_balance_of_the_paper_in_small(tmp_path: Path) -> None:
    """Facts, section 1.3, with 13 for 130,000: a class of 20 gives its best 13, one of 5 is shown 2 or 3 times."""
    labels = [0] * 20 + [1] * 5 + [2] * 13
    confidences = [0.31 + 0.01 * rank for rank in range(20)] + [0.5] * 5 + [0.4] * 13
    selection, copies = run(tmp_path, one(labels, confidences), balance="duplicate", per_class=13)
    assert copies[:20] == [0] * 7 + [1] * 13
    assert sorted(copies[20:25]) == [2, 2, 3, 3, 3]
    assert copies[25:] == [1] * 13
    assert selection.copies_per_class.tolist() == [13, 13, 13, 0, 0]
    assert selection.thresholds[0] == np.float32(0.38)


def test_ties_go_by_key_and_not_by_row(tmp_path: Path) -> None:
    assert run(tmp_path, one([0, 0, 0], [0.5] * 3, ["c", "a", "b"]), balance="cap", per_class=2)[1] == [0, 1, 1]


def test_equal_keys_go_by_file_and_row(tmp_path: Path) -> None:
    """Keys of tars may be unique in each tar only; the quota is met all the same."""
    shards: list[Shard] = [(["a", "a"], [0, 0], [0.5, 0.5])] * 3
    assert run(tmp_path, shards, balance="cap", per_class=3)[1] == [1, 1, 1, 0, 0, 0]
    assert run(tmp_path, shards, balance="duplicate", per_class=9)[1] == [2, 2, 2, 1, 1, 1]


def test_odd_copies_follow_the_seed(tmp_path: Path) -> None:
    lots = {
        seed: run(tmp_path, one([0] * 6, [0.5] * 6), seed=seed, balance="duplicate", per_class=9)[1]
        for seed in (0, 1, 2, 3)
    }
    assert all(sum(copies) == 9 and set(copies) == {1, 2} for copies in lots.values())
    assert len({tuple(copies) for copies in lots.values()}) > 1


def test_at_most_65535_copies(tmp_path: Path) -> None:
    for rule in RULES:
        shards = one([0, 1, 1, 1], [0.5] * 4)
        selection, copies = run(tmp_path, shards, rule=rule, balance="duplicate", per_class=100_000)
        assert copies[0] == 65_535
        assert set(copies[1:]) <= {33_333, 33_334}
        assert selection.copies_per_class[0] == 65_535


def test_a_class_without_an_image_is_reported(tmp_path: Path) -> None:
    for rule, balance in itertools.product(RULES, BALANCES):
        selection, copies = run(tmp_path, one([0, 1, -1], [0.1, 0.29, 0.0]), rule=rule, balance=balance)
        assert copies == [0, 0, 0]
        assert selection.empty_classes == (0, 1, 2, 3, 4)
        assert (selection.images, selection.kept, selection.copies) == (3, 0, 0)
        assert "5 of 5 classes have no image" in selection.summary(tmp_path)


def test_the_bounds_are_floats_of_32_bits(tmp_path: Path) -> None:
    """0.3 is more as float32, 0.7 is less: images stored at the bounds are kept, at the next floats outside not."""
    at = [0.3, np.nextafter(np.float32(0.3), 0), 0.7, np.nextafter(np.float32(0.7), 1)]
    got = run(tmp_path, one([0] * 4, at), min_confidence=0.3, max_confidence=0.7, balance="off")[1]
    assert got == [1, 0, 1, 0]
    for bound in (0.3, 0.7):
        got = run(tmp_path, one([0] * 4, at), min_confidence=bound, max_confidence=bound, balance="off")[1]
        assert got == [bound == 0.3, 0, bound == 0.7, 0]


def test_a_little_above_one_counts_as_one(tmp_path: Path) -> None:
    for rule in RULES:
        shards = one([0, 0], [float(np.float32(1.0000002)), 0.5])
        assert run(tmp_path, shards, rule=rule, balance="cap", per_class=1)[1] == [1, 0]


def test_every_official_threshold_is_exact(tmp_path: Path) -> None:
    """Class b has one image at b/100 and one at the next float below: with a quota of 1 the first alone is left."""
    edges = (np.arange(1, 101) / 100).astype(np.float32)
    confidences = np.stack([edges, np.nextafter(edges, np.float32(0))], axis=1).ravel().tolist()
    shards = one(np.repeat(np.arange(100), 2).tolist(), confidences)
    config = {"rule": "bins", "balance": "cap", "per_class": 1, "min_confidence": 0.0}
    selection, copies = run(tmp_path, shards, num_classes=100, **config)
    assert copies == [1, 0] * 100
    np.testing.assert_array_equal(selection.thresholds, edges)


def test_official_counts_are_met_in_expectation(tmp_path: Path) -> None:
    """4,000 of class 0 reach the bin 0.90 that holds the quota of 1,000; class 1 has 300 images for it."""
    labels = [0] * 6000 + [1] * 300
    confidences = [0.905] * 4000 + [0.8] * 2000 + [0.5] * 300
    chosen = []
    for seed in range(4):
        copies = np.array(
            run(tmp_path, one(labels, confidences), seed=seed, rule="bins", balance="duplicate", per_class=1000)[1]
        )
        big, small = copies[:4000], copies[6000:]
        assert not copies[4000:6000].any()
        assert set(big) == {0, 1}
        assert abs(big.sum() - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)
        assert set(small) == {3, 4}
        assert abs(small.sum() - 1000) < 5 * np.sqrt(300 * (1 / 3) * (2 / 3))
        chosen.append(big)
    assert 0.0 < np.mean(chosen[0] * chosen[1]) < 2 / 16  # seeds are independent: 1/16 expected
    assert abs(np.mean(np.sum(chosen, axis=0) > 0) - (1 - 0.75**4)) < 0.05


def test_fraction_is_a_share_of_the_pool_by_key(tmp_path: Path) -> None:
    """About that share, the same images whatever else is asked, and a larger share has the smaller one's."""
    shards = one([number % 5 for number in range(4000)], [0.5] * 4000)
    some = np.array(run(tmp_path, shards, fraction=0.25, balance="off")[1])
    assert abs(some.sum() - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)
    more = np.array(run(tmp_path, shards, fraction=0.5, balance="off")[1])
    assert (more >= some).all()
    assert run(tmp_path, shards, fraction=0.25, balance="off", seed=1)[1] != some.tolist()
    for rule in RULES:
        duplicated = np.array(run(tmp_path, shards, fraction=0.25, rule=rule, balance="duplicate", per_class=300)[1])
        np.testing.assert_array_equal(duplicated > 0, some > 0)
        assert abs(duplicated.sum() - 1500) < (1 if rule == "top-k" else 5 * np.sqrt(1000 * 0.5 * 0.5))


def test_a_second_call_writes_nothing(tmp_path: Path) -> None:
    """A missing, a damaged and a foreign file are made again; what is there stays as it was written."""
    rng = np.random.default_rng(3)
    shards: list[Shard] = [
        ([f"{shard}-{row}" for row in range(50)], rng.integers(0, 5, 50).tolist(), rng.random(50).tolist())
        for shard in range(4)
    ]
    labels = write_shards(tmp_path / "labels", shards, num_classes=5)
    out = tmp_path / "out"

    def again(**changes: Any) -> Selection:
        return select_folder(tmp_path / "labels", out, SelectConfig(**{"min_confidence": 0.2, **changes}), seed=0)

    first = again()
    content = [(out / path.name).read_bytes() for path in labels]
    times = [(out / path.name).stat().st_mtime_ns for path in labels]
    second = again()
    assert [(out / path.name).stat().st_mtime_ns for path in labels] == times
    assert second.summary(out) == first.summary(out)
    np.testing.assert_array_equal(second.copies_per_class, first.copies_per_class)

    (out / labels[0].name).unlink()
    (out / labels[1].name).write_bytes(content[1][:-9])
    write_parquet(out / labels[2].name, pa.table({"key": ["a"], "copies": pa.array([1], pa.uint16())}), "others")
    again()
    assert [(out / path.name).read_bytes() for path in labels] == content
    assert (out / labels[3].name).stat().st_mtime_ns == times[3]

    again(balance="off")
    assert [(out / path.name).read_bytes() for path in labels] != content
    again()
    assert [(out / path.name).read_bytes() for path in labels] == content
    write_parquet(labels[3], pq.read_table(labels[3]).slice(1), "other labels", num_classes=5)
    assert again().images == first.images - 1


def test_labels_as_the_teacher_writes_them(tmp_path: Path) -> None:
    """With soft labels, of all classes and of some, and an image that could not be read."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(300), 20).astype(np.float32)
    probabilities[4] = 0
    keys = [f"k{row}" for row in range(20)]
    for top_k in (0, 300):
        folder = tmp_path / str(top_k)
        write_labels(label_path(folder, 0), keys, probabilities, made_by="teacher", top_k=top_k)
        config = SelectConfig(min_confidence=0.0, balance="off")
        selection = select_folder(folder, tmp_path / f"out{top_k}", config, seed=0)
        assert len(selection.kept_per_class) == 300
        assert (selection.images, selection.kept) == (20, 19)
        assert read_copies(label_path(tmp_path / f"out{top_k}", 0))[4] == 0


def test_number_of_classes(tmp_path: Path) -> None:
    shards = one([0, 3, -1], [0.5, 0.5, 0.0])
    assert count_classes(write_shards(tmp_path / "named", shards, num_classes=9)) == 9
    unnamed = write_shards(tmp_path / "unnamed", shards)
    assert count_classes(unnamed) == 4
    with pytest.raises(DataError, match=r"names no classes and .*named.* 9"):
        count_classes([tmp_path / "named" / unnamed[0].name, *unnamed])


def test_the_fingerprint_of_labels_is_of_what_made_them(tmp_path: Path) -> None:
    shards = one([0, 1], [0.5, 0.6])
    paths = write_shards(tmp_path / "a", shards)
    assert labels_fingerprint(paths) == labels_fingerprint(write_shards(tmp_path / "b", shards))
    write_parquet(paths[0], pq.read_table(paths[0]), "another teacher")
    assert labels_fingerprint(paths) != labels_fingerprint(label_files(tmp_path / "b"))
    pq.write_table(pa.table({"key": ["a"], "label": [0], "confidence": [0.5]}), paths[0])  # by somebody else
    before = labels_fingerprint(paths)
    pq.write_table(pa.table({"key": ["a"], "label": [0], "confidence": [0.6]}), paths[0])
    assert labels_fingerprint(paths) != before


def test_files_of_others(tmp_path: Path) -> None:
    """Wider types, pandas' large strings, names that look like patterns and folders that look like partitions."""
    folder = tmp_path / "label=3" / "a[1]*"
    folder.mkdir(parents=True)
    table = pa.table(
        {
            "confidence": pa.array([0.5, 0.3, 0.2], pa.float64()),
            "key": pa.array(["ä", "b'", "c"], pa.large_string()),
            "label": pa.array([1, 0, 1], pa.int64()),
        }
    )
    pq.write_table(table, folder / "it's.parquet")
    selection = select_folder(folder, tmp_path / "out", SelectConfig(per_class=2), seed=0)
    written = pq.read_table(tmp_path / "out" / "it's.parquet")
    assert written["key"].to_pylist() == ["ä", "b'", "c"]
    assert written["copies"].to_pylist() == [2, 2, 0]
    assert selection.copies_per_class.tolist() == [2, 2]


def test_less_memory_than_it_takes_to_sort(tmp_path: Path) -> None:
    """A million ties of one class, 80 MB and more, sorted within 64: DuckDB spills, and leaves nothing behind."""
    count = 1_000_000
    keys = [f"a/rather/long/name/of/an/image/{number:09d}" for number in range(count)]
    labels = write_shards(tmp_path / "labels", one([0] * count, [1.0] * count, keys))
    out = tmp_path / "out"
    config = SelectConfig(per_class=count // 2)
    select(labels, out, config, num_classes=1, seed=0, made_by="this", memory="64MB")
    copies = read_copies(out / labels[0].name)
    assert copies[: count // 2].all()
    assert not copies[count // 2 :].any()
    assert [path.name for path in out.iterdir()] == [labels[0].name]


class TestBroken:
    """One line that names the file; nothing is written."""

    @pytest.fixture
    def paths(self, tmp_path: Path) -> list[Path]:
        rng = np.random.default_rng(0)
        shards: list[Shard] = [
            ([f"{shard}-{row}" for row in range(900)], rng.integers(0, 5, 900).tolist(), rng.random(900).tolist())
            for shard in range(3)
        ]
        return write_shards(tmp_path / "labels", shards)

    def refuse(self, paths: list[Path], match: str, **changes: Any) -> str:
        out = changes.pop("out", paths[0].parent.parent / "out" if paths else Path("out"))
        with pytest.raises(DataError, match=match) as error:
            select(paths, out, SelectConfig(), **{"num_classes": 5, "seed": 0, "made_by": "this", **changes})
        assert "\n" not in str(error.value)
        assert not out.is_dir() or out == paths[0].parent or not list(out.iterdir())
        return str(error.value)

    def test_no_file(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "absent"):
            with pytest.raises(DataError, match=r"has no label files \(\*\.parquet\)"):
                label_files(folder)
        self.refuse([], "no label files")

    def test_vanished_empty_cut_and_no_parquet(self, paths: list[Path]) -> None:
        content = paths[1].read_bytes()
        for broken in (
            b"", content[: len(content) // 2], b"key,label,confidence\n", content.replace(b"label", b"\x91abel"),
        ):  # fmt: skip
            paths[1].write_bytes(broken)
            self.refuse(paths, rf"label file .*{paths[1].name} cannot be read")
        paths[1].unlink()
        self.refuse(paths, rf"label file .*{paths[1].name} cannot be read")

    def test_a_byte_changed_anywhere(self, paths: list[Path], tmp_path: Path) -> None:
        """Refused before anything is written; or the byte says nothing, as some of the footer do."""
        content, good = paths[1].read_bytes(), tmp_path / "good"
        select(paths, good, SelectConfig(), num_classes=5, seed=0, made_by="this")
        caught = 0
        for position in range(4, len(content), len(content) // 24):
            paths[1].write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
            out = tmp_path / str(position)
            try:
                select(paths, out, SelectConfig(), num_classes=5, seed=0, made_by="this")
            except DataError as error:
                message = str(error)
            else:
                assert all((out / path.name).read_bytes() == (good / path.name).read_bytes() for path in paths)
                continue
            assert paths[1].name in message
            assert not out.is_dir() or not list(out.iterdir())
            caught += 1
        assert caught > 18

    @pytest.mark.parametrize("column", ["key", "label", "confidence"])
    def test_columns(self, paths: list[Path], column: str) -> None:
        table = pq.read_table(paths[2])
        write_parquet(paths[2], table.drop_columns(column), "labels")
        self.refuse(paths, rf"{paths[2].name}: the column {column} is missing")
        wrong = pa.array([True] * len(table))
        write_parquet(paths[2], table.set_column(table.schema.get_field_index(column), column, wrong), "labels")
        self.refuse(paths, rf"{paths[2].name}: the column {column} is bool")

    @pytest.mark.parametrize(
        ("label", "confidence"),
        [(5, 0.5), (-2, 0.5), (None, 0.5), (0, float("nan")), (0, 1.5), (0, -0.1), (0, None), (-1, None)],
    )
    def test_rows(self, tmp_path: Path, label: Any, confidence: Any) -> None:
        shards: list[Shard] = [(["a"], [0], [0.5]), (["b", "c"], [1, label], [0.5, confidence])]
        paths = write_shards(tmp_path / "labels", shards)
        self.refuse(paths, r"shard-000001\.parquet: row 1 is .*'c'.* a label of -1 \(none\) to 4")

    def test_no_key(self, tmp_path: Path) -> None:
        paths = write_shards(tmp_path / "labels", [(["a", None], [0, 1], [0.5, 0.5])])  # type: ignore[list-item]
        self.refuse(paths, r"shard-000000\.parquet: row 1 is {'key': None.* it must have a key")

    def test_where_to_write(self, paths: list[Path], tmp_path: Path) -> None:
        self.refuse(paths, "would overwrite the labels", out=paths[0].parent)
        (tmp_path / "other").mkdir()
        twin = shutil.copy(paths[0], tmp_path / "other" / paths[0].name)
        self.refuse([*paths, Path(twin)], "same name")

    def test_memory(self, paths: list[Path], tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="memory limit is 'plenty'"):
            select(paths, tmp_path / "out", SelectConfig(), num_classes=5, seed=0, made_by="this", memory="plenty")
        with pytest.raises(ConfigError, match="100KB of memory is too little"):
            select(paths, tmp_path / "out", SelectConfig(), num_classes=5, seed=0, made_by="this", memory="100KB")

    def test_a_broken_selection_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"nothing")
        for name in ("x.parquet", "absent.parquet"):
            with pytest.raises(DataError, match=f"selection .*{name} cannot be read"):
                read_copies(tmp_path / name)
