"""Batches are a pure function of the step: that is what makes resuming exact."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from nsbench.config import NoiseConfig
from nsbench.data.loaders import Batch, Part, StepBatches, step_loader

NOISE = NoiseConfig(magnitude=9, translate_px=4, cutout_px=4, crop_padding_px=2)


def part(count: int, batch: int, *, rows: list[int] | None = None, noised: bool = False, first: int = 0) -> Part:
    """Image i is flat grey of value `first` + i, or a texture where it is noised; target column 0 holds i."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None] + first, (count, 12, 12, 3)).copy()
    if noised:
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    targets = np.zeros((count, 3), np.float32)
    targets[:, 0] = np.arange(count)
    where = np.arange(count) if rows is None else np.array(rows)
    return Part(pixels=pixels, targets=targets, rows=where, batch=batch, noised=noised)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("pixels", "targets", "noised"))


def visited(batches: StepBatches, steps: range) -> list[int]:
    return [int(i) for step in steps for i in batches[step].targets[:, 0]]


TWO = (part(7, 3, noised=True), part(40, 6, noised=True))


def test_a_batch_is_a_function_of_the_step_alone() -> None:
    one, other = (StepBatches(TWO, NOISE, 5, 20) for _ in range(2))
    forwards = [one[step] for step in range(20)]
    np.random.seed(1)
    torch.manual_seed(1)
    backwards = [other[step] for step in reversed(range(20))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not any(same(a, b) for a, b in itertools.pairwise(forwards))
    assert not same(StepBatches(TWO, NOISE, 6, 20)[0], forwards[0])


def test_a_batch_holds_the_parts_one_after_the_other() -> None:
    batch = StepBatches((part(7, 3, noised=True), part(40, 6, first=100)), NOISE, 5, 20)[4]
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.shape == (9, 12, 12, 3)
    assert batch.targets.dtype == torch.float32
    assert batch.noised.tolist() == [True] * 3 + [False] * 6
    grey = batch.pixels[3:].float().mean(dim=(1, 2, 3)) - 100
    assert torch.equal(grey, batch.targets[3:, 0])


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (7, 3), (5, 12), (1, 4)])
def test_every_row_once_a_pass_in_a_new_order(count: int, batch: int) -> None:
    batches = StepBatches((part(count, batch),), NOISE, 0, 1000)
    seen = visited(batches, range(4 * count))  # 4 * batch passes
    passes = [seen[start : start + count] for start in range(0, len(seen), count)]
    assert len(passes) == 4 * batch
    assert all(sorted(rows) == list(range(count)) for rows in passes)
    if count > 4:
        assert len({tuple(rows) for rows in passes}) > len(passes) // 2


def test_duplicates_are_visited_as_often_as_they_stand() -> None:
    batches = StepBatches((part(9, 3, rows=[2, 2, 2, 5, 8, 8]),), NOISE, 0, 10)
    for first in (0, 2, 4):
        assert sorted(visited(batches, range(first, first + 2))) == [2, 2, 2, 5, 8, 8]


def test_parts_with_equal_rows_have_orders_of_their_own() -> None:
    batch = StepBatches((part(40, 20), part(40, 20)), NOISE, 0, 1)[0]
    assert batch.targets[:20, 0].tolist() != batch.targets[20:, 0].tolist()


def test_noise_changes_the_pixels_of_noised_parts_alone() -> None:
    noised = part(30, 30, noised=True)
    still = dataclasses.replace(noised, noised=False)
    for step in range(2):
        batch = StepBatches((noised, still), NOISE, 0, 2)[step]
        rows = batch.targets[:, 0].long().numpy()
        assert np.array_equal(batch.pixels[30:].numpy(), noised.pixels[rows[30:]])
        changed = (batch.pixels[:30].numpy() != noised.pixels[rows[:30]]).any(axis=(1, 2, 3))
        assert changed.mean() > 0.8
    again = StepBatches((noised, still), NOISE, 0, 2)
    by_row = [{int(t): p for t, p in zip(b.targets[:30, 0], b.pixels[:30], strict=True)} for b in (again[0], again[1])]
    assert any(not torch.equal(by_row[0][row], by_row[1][row]) for row in range(30))


def test_images_in_memory_stay_as_they_are() -> None:
    noised = part(10, 10, noised=True)
    before = noised.pixels.copy()
    for step in range(3):
        StepBatches((noised,), dataclasses.replace(NOISE, always_cutout_px=6), 0, 3)[step]
    np.testing.assert_array_equal(noised.pixels, before)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("first", [0, 7])
def test_loading_ahead_from_any_step_gives_the_same_batches(workers: int, first: int) -> None:
    batches = StepBatches(TWO, NOISE, 5, 10)
    loaded = list(step_loader(batches, first, workers))
    assert len(loaded) == 10 - first
    assert all(same(batch, batches[step]) for step, batch in enumerate(loaded, start=first))


def test_a_finished_run_has_no_batches_left() -> None:
    assert list(step_loader(StepBatches(TWO, NOISE, 5, 10), 10, 0)) == []
