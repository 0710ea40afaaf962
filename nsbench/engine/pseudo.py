"""Pseudo-labels: the un-noised teacher's distribution over classes for every unlabelled image (paper, algorithm 1).

The pool is labelled shard by shard, each rank its own ones; a shard that this teacher has labelled is left alone.
"""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nsbench.data.folder import BadImagePolicy
from nsbench.data.pools import Pool
from nsbench.distributed import Ranks
from nsbench.engine.label_store import (
    ShardTargets,
    count_labels,
    is_made_by,
    label_path,
    read_labels,
    read_targets,
    write_labels,
    write_parquet,
)
from nsbench.engine.teacher import Teacher
from nsbench.errors import DataError
from nsbench.files import fingerprint
from nsbench.inference import enough_memory, evaluating, log_probabilities, require_finite
from nsbench.track import Progress

__all__ = [
    "Labelled", "ShardTargets", "is_made_by", "label", "label_path", "read_labels", "read_targets", "write_parquet",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """How the labelling of a pool went, over all ranks."""

    images: int
    unreadable: int
    """Images that have no label."""
    new_images: int
    """Those that were labelled now."""
    new_shards: int
    kept_shards: int
    seconds: float
    """Until the last rank was done."""

    @property
    def images_per_second(self) -> float:
        """Of the new ones, all ranks together."""
        return self.new_images / self.seconds


def label(
    teacher: Teacher,
    pool: Pool,
    folder: Path,
    *,
    made_by: str,
    ranks: Ranks = Ranks(),
    progress: Progress | None = None,
    on_bad_image: BadImagePolicy = "error",
    workers: int | None = None,
) -> Labelled:
    """Write the labels of every shard of a pool, a file each (`nsbench.engine.label_store`).

    Rank r labels the shards `[r::world]` and writes their files; then all wait for one another. A whole file of the
    same teacher and shard is left alone, so a kill costs at most one shard of each rank.

    Args:
        teacher: it labels in eval mode; the mode of each of its modules is restored.
        folder: where the files go, at `label_path`.
        made_by: fingerprint of everything beside the shard that labels depend on, such as `teacher.fingerprint`.
        ranks: who shares the work.
        progress: hears of rank 0's shards.
        on_bad_image: `skip` gives an image that cannot be read the label -1.
        workers: threads that decode; None is one a core, at most 16.

    Raises:
        DataError: on every rank, where an image cannot be read and that is an error, logits are not finite, a batch
            does not fit into memory, or `folder` holds labels of more shards than there are.
        OSError: a file cannot be written.
    """
    began = time.monotonic()
    said = progress if progress is not None and ranks.is_main else Progress("none")

    def work() -> dict[int, tuple[int, int, bool]]:
        _refuse_more_shards(folder, pool)
        own = {shard: fingerprint(made_by, pool.shard_fingerprint(shard)) for shard in ranks.own(range(len(pool)))}
        new = [shard for shard, by in own.items() if not _is_labelled(label_path(folder, shard), by, on_bad_image)]
        counter = said.counter(f"label {pool.name}", len(own), start=len(own) - len(new), unit="shard")
        with evaluating(teacher.model, teacher.device), counter as shards:
            for shard in new:
                probabilities = _probabilities(
                    teacher, pool, shard, on_bad_image=on_bad_image, workers=workers, progress=said
                )
                write_labels(
                    label_path(folder, shard),
                    pool.shard(shard).ids,
                    probabilities,
                    made_by=own[shard],
                    top_k=teacher.top_k,
                )
                shards.advance()
        made = set(new)
        return {shard: (*count_labels(label_path(folder, shard)), shard in made) for shard in own}

    done = ranks.joined(work).values()
    return Labelled(
        images=sum(images for images, _, _ in done),
        unreadable=sum(unreadable for _, unreadable, _ in done),
        new_images=sum(images for images, _, new in done if new),
        new_shards=sum(new for _, _, new in done),
        kept_shards=sum(not new for _, _, new in done),
        seconds=time.monotonic() - began,
    )


def _refuse_more_shards(folder: Path, pool: Pool) -> None:
    """Labels of images that are not in the pool would be selected from."""
    for path in folder.glob("shard-*.parquet"):
        number = re.fullmatch(r"shard-(\d+)", path.stem)
        if number is not None and int(number[1]) >= len(pool):
            raise DataError(
                f"{path} labels a shard that {pool.name} does not have (it has {len(pool)}); "
                "delete it, or label into another folder"
            )


def _is_labelled(path: Path, made_by: str, on_bad_image: BadImagePolicy) -> bool:
    """Whether a file is whole, of these inputs, and, where that is an error, without an image that was not read."""
    return is_made_by(path, made_by) and (on_bad_image == "skip" or count_labels(path)[1] == 0)


def _probabilities(
    teacher: Teacher,
    pool: Pool,
    shard: int,
    *,
    on_bad_image: BadImagePolicy,
    workers: int | None,
    progress: Progress,
) -> npt.NDArray[np.float32]:
    """Probabilities [N, C] of one shard's images, inside `evaluating`; zeros for one that cannot be read."""
    parts, bad = [], list[int]()
    images = pool.shard(shard)
    counter = progress.counter(f"label {pool.shard_name(shard)}", len(images), unit="image")
    fits = enough_memory(f"to label {teacher.batch_size:,} images at once; choose a smaller teacher.batch_size")
    with counter as answers, torch.inference_mode(), fits:
        for rows, pixels, unreadable in teacher.shown(images, on_bad_image, workers):
            batch = torch.from_numpy(pixels).to(teacher.device).permute(0, 3, 1, 2)
            with teacher.noised(shard, rows.start):
                parts.append(
                    log_probabilities(
                        teacher.model,
                        batch,
                        teacher.batch_size,
                        input_px=teacher.view.size,
                        channels_last=teacher.channels_last,
                    )
                )
            bad += unreadable
            answers.advance(len(pixels))
        log_probs = torch.cat(parts)
    try:
        require_finite(log_probs)
    except DataError as error:
        raise DataError(f"{pool.shard_name(shard)}: {error}") from None
    probabilities: npt.NDArray[np.float32] = log_probs.exp().cpu().numpy()
    probabilities[bad] = 0
    return probabilities
