"""Batches are a pure function of the step: that is what makes resuming exact."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nsbench.data.images import ImageSet
from nsbench.data.loaders import Batch, Part, StepBatches, step_loader
from nsbench.data.pools import HeldPool, open_pool
from nsbench.distributed import Ranks
from nsbench.errors import DataError, NsbenchError
from nsbench.trainingconfig import NoiseConfig

NOISE = NoiseConfig(magnitude=9, translate_px=4, cutout_px=4, crop_padding_px=2)


@dataclasses.dataclass(frozen=True)
class ByRow:
    """Target column 0 holds the row over all shards."""

    copies: tuple[npt.NDArray[np.int64], ...]
    fingerprint: str = "by row"

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return np.array([copies.sum() for copies in self.copies])

    def rows(self, shard: int) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.copies[shard])), self.copies[shard])

    def targets(self, shard: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        before = sum(len(copies) for copies in self.copies[:shard])
        targets = np.zeros((len(rows), 3), np.float32)
        targets[:, 0] = rows + before
        return targets


def part(
    count: int, batch: int, *, rows: list[int] | None = None, noised: bool = False, first: int = 0, shard: int = 0
) -> Part:
    """Image i is flat grey of value `first` + i, or a texture where it is noised; target column 0 holds i."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None] + first, (count, 12, 12, 3)).copy()
    if noised:
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    ids = np.array([f"image-{row}" for row in range(count)])
    images = ImageSet(name="made", ids=ids, pixels=pixels, labels=np.zeros(count, np.int64), classes=("a",))
    pool = HeldPool(images, shard)
    copies = np.bincount(np.arange(count) if rows is None else np.array(rows), minlength=count)
    ends = np.cumsum([len(pool.shard(k)) for k in range(len(pool))])[:-1]
    supervision = ByRow(tuple(np.split(copies, ends)))
    return Part(
        pool=pool,
        supervision=supervision,
        batch=batch,
        labelled=first == 0,
        augmented=noised,
        dropout=noised,
        stochastic_depth=not noised,
    )


def step_batches(parts: tuple[Part, ...], seed: int, num_steps: int, **more: Any) -> StepBatches:
    return StepBatches(**{"parts": parts, "noise": NOISE, "seed": seed, "num_steps": num_steps, "size": 12, **more})


def batch_of(batches: StepBatches, step: int) -> Batch:
    batch = batches[step]
    assert not isinstance(batch, NsbenchError)
    return batch


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("pixels", "targets", "dropout"))


def visited(batches: StepBatches, steps: range) -> list[int]:
    return [int(i) for step in steps for i in batch_of(batches, step).targets[:, 0]]


TWO = (part(7, 3, noised=True), part(40, 6, noised=True))


def test_a_batch_is_a_function_of_the_step_alone() -> None:
    one, other = (step_batches(TWO, 5, 20) for _ in range(2))
    forwards = [batch_of(one, step) for step in range(20)]
    np.random.seed(1)
    torch.manual_seed(1)
    backwards = [batch_of(other, step) for step in reversed(range(20))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not any(same(a, b) for a, b in itertools.pairwise(forwards))
    assert not same(batch_of(step_batches(TWO, 6, 20), 0), forwards[0])


def test_a_batch_holds_the_parts_one_after_the_other() -> None:
    batch = batch_of(step_batches((part(7, 3, noised=True), part(40, 6, first=100)), 5, 20), 4)
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels.shape == (9, 12, 12, 3)
    assert batch.targets.dtype == torch.float32
    assert batch.labelled.tolist() == [True] * 3 + [False] * 6
    assert batch.dropout.tolist() == [True] * 3 + [False] * 6
    assert batch.stochastic_depth.tolist() == [False] * 3 + [True] * 6
    assert batch.sizes == (9,)
    grey = batch.pixels[3:].float().mean(dim=(1, 2, 3)) - 100
    assert torch.equal(grey, batch.targets[3:, 0])


@pytest.mark.parametrize("shard", [0, 5])
@pytest.mark.parametrize(("count", "batch"), [(12, 4), (7, 3), (5, 12), (1, 4)])
def test_every_row_once_a_pass_in_a_new_order(count: int, batch: int, shard: int) -> None:
    batches = step_batches((part(count, batch, shard=shard),), 0, 1000)
    seen = visited(batches, range(4 * count))  # 4 * batch passes
    passes = [seen[start : start + count] for start in range(0, len(seen), count)]
    assert len(passes) == 4 * batch
    assert all(sorted(rows) == list(range(count)) for rows in passes)
    if count > 4:
        assert len({tuple(rows) for rows in passes}) > len(passes) // 2


@pytest.mark.parametrize("shard", [0, 4])
def test_duplicates_are_visited_as_often_as_they_stand(shard: int) -> None:
    batches = step_batches((part(9, 3, rows=[2, 2, 2, 5, 8, 8], shard=shard),), 0, 10)
    for first in (0, 2, 4):
        assert sorted(visited(batches, range(first, first + 2))) == [2, 2, 2, 5, 8, 8]


def test_copies_of_an_image_are_noised_apart() -> None:
    batch = batch_of(step_batches((part(1, 6, rows=[0] * 6, noised=True),), 0, 1), 0)
    assert len({image.numpy().tobytes() for image in batch.pixels}) > 3


def test_parts_with_equal_rows_have_orders_of_their_own() -> None:
    batch = batch_of(step_batches((part(40, 20), part(40, 20)), 0, 1), 0)
    assert batch.targets[:20, 0].tolist() != batch.targets[20:, 0].tolist()


def test_noise_changes_the_pixels_of_noised_parts_alone() -> None:
    noised = part(30, 30, noised=True)
    still = dataclasses.replace(noised, augmented=False)
    stored = noised.pool.shard(0)
    assert isinstance(stored, ImageSet)
    batches = step_batches((noised, still), 0, 2)
    for step in range(2):
        batch = batch_of(batches, step)
        rows = batch.targets[:, 0].long().numpy()
        assert np.array_equal(batch.pixels[30:].numpy(), stored.pixels[rows[30:]])
        changed = (batch.pixels[:30].numpy() != stored.pixels[rows[:30]]).any(axis=(1, 2, 3))
        assert changed.mean() > 0.8
    by_row = [
        {int(t): p for t, p in zip(b.targets[:30, 0], b.pixels[:30], strict=True)}
        for b in (batch_of(batches, 0), batch_of(batches, 1))
    ]
    assert any(not torch.equal(by_row[0][row], by_row[1][row]) for row in range(30))


@pytest.mark.parametrize(("world", "accumulation"), [(2, 1), (3, 1), (1, 3), (3, 2), (8, 1)])
def test_ranks_and_micro_batches_share_a_step_and_change_no_pixel(world: int, accumulation: int) -> None:
    whole = batch_of(step_batches(TWO, 5, 20), 7)
    pieces = [
        batch_of(step_batches(TWO, 5, 20, ranks=Ranks(rank=rank, world=world), accumulation=accumulation), 7)
        for rank in range(world)
    ]
    assert all(len(piece.sizes) == accumulation and sum(piece.sizes) == len(piece.pixels) for piece in pieces)

    def seen(batches: list[Batch]) -> list[tuple[bytes, bytes, bool]]:
        return sorted(
            (pixels.numpy().tobytes(), target.numpy().tobytes(), bool(labelled))
            for batch in batches
            for pixels, target, labelled in zip(batch.pixels, batch.targets, batch.labelled, strict=True)
        )

    assert seen(pieces) == seen([whole])


def test_images_in_memory_stay_as_they_are() -> None:
    noised = part(10, 10, noised=True)
    stored = noised.pool.shard(0)
    assert isinstance(stored, ImageSet)
    before = stored.pixels.copy()
    batches = step_batches((noised,), 0, 3, noise=dataclasses.replace(NOISE, always_cutout_px=6))
    for step in range(3):
        batch_of(batches, step)
    np.testing.assert_array_equal(stored.pixels, before)


def test_images_of_another_size_are_resized() -> None:
    batch = batch_of(step_batches((part(3, 3),), 0, 1, size=20), 0)
    assert batch.pixels.shape == (3, 20, 20, 3)
    assert torch.equal(batch.pixels[:, 10, 10, 0].float(), batch.targets[:, 0])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("first", [0, 7])
def test_loading_ahead_from_any_step_gives_the_same_batches(workers: int, first: int) -> None:
    batches = step_batches(TWO, 5, 10)
    loaded = list(step_loader(batches, first, workers))
    assert len(loaded) == 10 - first
    for step, batch in enumerate(loaded, start=first):
        assert not isinstance(batch, NsbenchError)
        assert same(batch, batch_of(batches, step))


def test_a_finished_run_has_no_batches_left() -> None:
    assert list(step_loader(step_batches(TWO, 5, 10), 10, 0)) == []


def photographs(root: Path, *, broken: tuple[int, ...] = ()) -> Part:
    """Six grey photographs of two classes on disk; some are cut off."""
    for row in range(6):
        path = root / "ab"[row % 2] / f"{row}.jpg"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (40, 30), (row * 40,) * 3).save(path, quality=95)
        if row in broken:
            path.write_bytes(path.read_bytes()[:80])
    pool = open_pool([root], name="photographs", shard_images=4, labelled=True)
    whole = part(6, 6)
    return dataclasses.replace(whole, pool=pool, supervision=ByRow((np.ones(4, np.int64), np.ones(2, np.int64))))


def numbers(photographs: Part) -> list[int]:
    """File `4.jpg` by row over all shards."""
    ids = [str(key) for shard in range(2) for key in photographs.pool.shard(shard).ids]
    return [int(Path(key).stem) for key in ids]


@pytest.mark.parametrize("augmented", [False, True])
def test_photographs_are_read_as_they_come(tmp_path: Path, augmented: bool) -> None:
    still = NoiseConfig(num_ops=0, flip=False)
    made = dataclasses.replace(photographs(tmp_path), augmented=augmented)
    batch = batch_of(step_batches((made,), 0, 1, size=24, noise=still), 0)
    assert batch.pixels.shape == (6, 24, 24, 3)
    greys = [40 * number for number in numbers(made)]
    expected = [greys[row] for row in batch.targets[:, 0].long().tolist()]
    np.testing.assert_allclose(batch.pixels.float().mean(dim=(1, 2, 3)), expected, atol=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_cannot_be_read_is_named(tmp_path: Path, workers: int) -> None:
    """Torch's loader wraps what a worker raises in its traceback: so the error comes in the batch's place."""
    made = photographs(tmp_path, broken=(4,))
    (first,) = step_loader(step_batches((made,), 0, 1, size=24), 0, workers)
    assert isinstance(first, DataError)
    assert str(tmp_path / "a" / "4.jpg") in str(first)
    assert "--on-bad-image skip" in str(first)
    assert len(str(first).splitlines()) == 1


def test_skipping_shows_the_next_one_in_its_place(tmp_path: Path) -> None:
    made = photographs(tmp_path, broken=(4, 1))
    order = numbers(made)
    expected = []
    for row, number in enumerate(order):
        shard = order[:4] if row < 4 else order[4:]
        start = shard.index(number)
        after = [*shard[start:], *shard[:start]]  # the next of the same shard, its first after its last
        expected.append(order.index(next(one for one in after if one not in (4, 1))))
    batch = batch_of(step_batches((made,), 0, 1, size=24, on_bad_image="skip"), 0)
    assert sorted(batch.targets[:, 0].tolist()) == sorted(expected)


def test_no_readable_photograph_at_all_is_an_error(tmp_path: Path) -> None:
    made = photographs(tmp_path, broken=tuple(range(6)))
    error = step_batches((made,), 0, 1, size=24, on_bad_image="skip")[0]
    assert isinstance(error, DataError)
    assert "no image of photographs can be read" in str(error)
