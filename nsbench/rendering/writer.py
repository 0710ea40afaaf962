"""Decode once, corrupt on the device, encode in threads: what `nsbench corrupt` does."""

from __future__ import annotations

import dataclasses
import io
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nsbench.corruptions import CORRUPTION_VERSION, corrupt, perturbation_sequence
from nsbench.data.folder import Folder, bad_images_error, open_folder
from nsbench.data.pictures import BadImage, center_crop, decode, default_workers
from nsbench.data.video import encode_clip, require_video
from nsbench.evals.base import image_seeds
from nsbench.inference import batches
from nsbench.metrics.flips import is_noise_perturbation
from nsbench.models import choose_device
from nsbench.rendering.checks import PixelCheck, read_checks, write_checks
from nsbench.rendering.plan import CROP, RESIZE, Cell, Rendering
from nsbench.rendering.target import (
    check_places,
    check_stems,
    claim,
    missing_files,
    write_file,
)
from nsbench.track import Counter, Progress

Pixels = npt.NDArray[np.uint8]

_BACKLOG = 4
"""Cells of a batch that may wait for being encoded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
    """What a run did."""

    written: int
    kept: int
    """Files that were there before."""
    skipped: tuple[str, ...]
    """Ids of source images that are none."""
    checks: dict[str, dict[str, Any]]
    """Where `canonical`, for the folder of each cell: see `PixelCheck.result`."""


def render(source: Path, target: Path, rendering: Rendering, progress: Progress) -> Rendered:
    """Write what is missing of the cells; a file that is there is whole, since each is renamed into place.

    Raises:
        ConfigError: the device cannot be used, one folder contains the other, or `target` holds other things or
            was made with other settings.
        DataError: the source has no images, a bad one (unless skipped) or one name twice; PyAV is missing; a file
            cannot be written.
    """
    device = choose_device(rendering.device)
    if rendering.perturbations:
        require_video()
    check_places(source, target)
    everything = open_folder(source)
    check_stems(everything)
    claim(target, rendering.settings(everything.fingerprint()))
    return _Run(everything.limited(rendering.limit), target, rendering, device).run(progress)


class _Run:
    """One pass over the images: each batch is decoded once, and goes through every cell that wants it."""

    def __init__(self, folder: Folder, target: Path, rendering: Rendering, device: torch.device) -> None:
        self.folder, self.target, self.rendering, self.device = folder, target, rendering, device
        self.seeds = torch.from_numpy(image_seeds(np.array(folder.ids), rendering.seed))
        self.missing = missing_files(target, rendering.cells, folder)
        self.kept = int((~self.missing).sum())
        self.written = 0
        self.bad: dict[int, str] = {}
        recorded = read_checks(target, folder.ids) if rendering.canonical else {}
        self.checks = {cell: recorded[cell.folder] for cell in rendering.cells if cell.folder in recorded}
        unchecked = [cell for cell in rendering.cells if rendering.canonical and cell not in self.checks]
        self.sums = {cell: PixelCheck() for cell in unchecked}
        self.base = PixelCheck()

    def run(self, progress: Progress) -> Rendered:
        rendering, total = self.rendering, int(self.missing.sum())
        pool = ThreadPoolExecutor(rendering.workers or default_workers(), "render")
        try:
            with progress.counter("corrupt", total, unit="file") as counter:
                for rows in batches(len(self.folder), rendering.batch_size):
                    self._batch(pool, np.arange(len(self.folder))[rows], counter)
        finally:
            pool.shutdown(cancel_futures=True)
        if len(self.bad) == len(self.folder):
            raise bad_images_error(self.folder, self.bad)
        if self.sums:
            self.checks |= {cell: check.result for cell, check in self.sums.items()}
            everything = read_checks(self.target, self.folder.ids)
            everything |= {cell.folder: result for cell, result in self.checks.items()}
            write_checks(self.target, self.folder.ids, self.base.result, everything, CORRUPTION_VERSION)
        skipped = tuple(self.folder.ids[row] for row in self.bad)
        checks = {cell.folder: result for cell, result in self.checks.items()}
        return Rendered(written=self.written, kept=self.kept, skipped=skipped, checks=checks)

    def _batch(self, pool: ThreadPoolExecutor, rows: npt.NDArray[np.int64], counter: Counter) -> None:
        """Decode images, corrupt them in every cell that lacks one of them, and write them."""
        wanted = [
            (number, cell)
            for number, cell in enumerate(self.rendering.cells)
            if cell in self.sums or self.missing[number, rows].any()
        ]
        if not wanted:
            return
        pictures = dict(self._decoded(pool, rows))
        if self.sums and pictures:
            self.base.add(np.stack([center_crop(picture, CROP) for picture in pictures.values()]))
        waiting: deque[list[Future[None]]] = deque()
        for number, cell in wanted:
            chosen = [row for row in pictures if cell in self.sums or self.missing[number, row]]
            if not chosen:
                continue
            pixels = self._pixels(cell, [pictures[row] for row in chosen], chosen)
            if cell in self.sums:
                self.sums[cell].add(pixels)
            lacking = [(row, shown) for row, shown in zip(chosen, pixels, strict=True) if self.missing[number, row]]
            waiting.append([pool.submit(self._save, cell, row, shown) for row, shown in lacking])
            if len(waiting) > _BACKLOG:
                self._finish(waiting.popleft(), counter)
        while waiting:
            self._finish(waiting.popleft(), counter)

    def _decoded(self, pool: ThreadPoolExecutor, rows: npt.NDArray[np.int64]) -> list[tuple[int, Pixels]]:
        """Row and picture, shorter side 256, of all that are images."""

        def read(row: int) -> Pixels | str:
            try:
                return decode(self.folder.root / self.folder.ids[row], RESIZE)
            except BadImage as error:
                return str(error)

        results = list(zip(map(int, rows), pool.map(read, map(int, rows)), strict=True))
        bad = {row: result for row, result in results if isinstance(result, str)}
        if bad and self.rendering.on_bad_image == "error":
            raise bad_images_error(self.folder, bad)
        self.bad |= bad
        return [(row, result) for row, result in results if not isinstance(result, str)]

    def _pixels(self, cell: Cell, pictures: Sequence[Pixels], rows: Sequence[int]) -> Pixels:
        """Corrupted images uint8 [n, 224, 224, 3], or clips [n, T, 224, 224, 3]."""
        seeds = self.seeds[list(rows)]
        if cell.severity is None:
            films = [torch.tensor(picture).permute(2, 0, 1).to(self.device) for picture in pictures]
            return _channels_last(perturbation_sequence(films, cell.name, crop=CROP, seeds=seeds))
        base = torch.from_numpy(np.stack([center_crop(picture, CROP) for picture in pictures]))
        base = base.to(self.device).permute(0, 3, 1, 2).contiguous()
        return _channels_last(corrupt(base, cell.name, cell.severity, seeds=seeds, variant=self.rendering.variant))

    def _save(self, cell: Cell, row: int, pixels: Pixels) -> None:
        if cell.severity is None:
            content = encode_clip(pixels, grain=is_noise_perturbation(cell.name))
        else:
            content = encode_jpeg(pixels, self.rendering.quality)
        write_file(self.target / cell.file(self.folder.ids[row]), content)

    def _finish(self, writes: list[Future[None]], counter: Counter) -> None:
        for write in writes:
            write.result()
            self.written += 1
            counter.advance()


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """uint8 [H, W, 3] as the authors saved ImageNet-C: Pillow's JPEG with optimised tables."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _channels_last(images: Tensor) -> Pixels:
    """[..., 3, H, W] on any device as [..., H, W, 3] in NumPy."""
    array: Pixels = images.movedim(-3, -1).contiguous().cpu().numpy()
    return array
