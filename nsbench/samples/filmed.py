"""Clips on which the first model flickers and the last one does not: every third frame, and both models' words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.evals.base import Arrays
from nsbench.evals.computed import films
from nsbench.metrics.flips import flips_per_video, is_noise_perturbation
from nsbench.metrics.reference import CIFAR_P_PERTURBATIONS, PERTURBATIONS
from nsbench.samples.album import FRAME_PX, Album
from nsbench.samples.gallery import Gallery, row_of

_EVERY = 3


def add_films(album: Album, gallery: Gallery) -> None:
    """The clip of each perturbation that flickers most with the first model beyond the last one."""
    first, last = gallery.ends
    if first == last:
        return
    who = "generation 0" if first == "0" else "the first model"
    other = "the last generation" if first == "0" else "the last one"
    album.group("flips", f"Clips where {who} flickers more than {other}")
    for name in dict.fromkeys((*PERTURBATIONS, *CIFAR_P_PERTURBATIONS)):
        answers = gallery.answers("imagenet-p", name)
        if first not in answers or last not in answers:
            continue
        pair = {key: answers[key] for key in (first, last)}
        video = _most_calmed(pair[first], pair[last], name)
        if video is None:
            continue
        image, label = str(pair[first]["ids"][video]), int(pair[first]["labels"][video])
        frames = _frames(gallery, name, image)
        if frames is None:
            continue
        album.add(
            np.concatenate(list(frames), axis=1),
            f"{name.replace('_', ' ')}, every third frame",
            height=FRAME_PX,
            subset=name,
            level="",
            truth=gallery.name(label),
            predictions={gallery.lines[key]: _said(gallery, arrays["top1"][video]) for key, arrays in pair.items()},
        )


def _most_calmed(first: Arrays, last: Arrays, name: str) -> int | None:
    """The row of the clip; None where no clip flickers less, or the two saw other clips."""
    if first["ids"].shape != last["ids"].shape or not (first["ids"] == last["ids"]).all():
        return None
    before, after = (flips_per_video(one["top1"], noise=is_noise_perturbation(name)) for one in (first, last))
    gain = before - after
    video = int(np.argmax(gain)) if len(gain) else 0
    return video if len(gain) and gain[video] > 0 else None


def _frames(gallery: Gallery, name: str, image: str) -> npt.NDArray[np.uint8] | None:
    """uint8 [T', H, W, 3] every third frame of one clip."""
    sets, config = gallery.context.sets, gallery.context.config
    source: Any = sets["imagenet-p"].open(name) if "imagenet-p" in sets else sets.get("val-pictures", sets.get("val"))
    row = row_of(source.ids, image)
    if row is None:
        return None
    if "imagenet-p" in sets:
        (_, clips, _), *_ = source.batches([slice(row, row + 1)])
        return np.asarray(clips[0][::_EVERY])
    return np.asarray(films(source, [row], name, config)[0].permute(0, 2, 3, 1).numpy()[::_EVERY])


def _said(gallery: Gallery, top1: npt.NDArray[np.integer[Any]]) -> str:
    """The classes along the frames shown; a run of one class once, with how long it lasts."""
    names = [gallery.name(int(number)) for number in top1[::_EVERY]]
    if all(len(name) <= 2 for name in names):
        return " ".join(names)
    changes = [k for k, name in enumerate(names) if k == 0 or name != names[k - 1]]
    lengths = np.diff([*changes, len(names)]).tolist()
    return ", ".join(f"{names[k]} × {length}" for k, length in zip(changes, lengths, strict=True))
