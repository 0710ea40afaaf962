"""Images that the attack turns for the first model and not for the last: clean, attacked, and what was added."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from nsbench.attacks import fgsm
from nsbench.evals.base import Arrays
from nsbench.inference import evaluating, to_batch
from nsbench.samples.album import Album, Pixels
from nsbench.samples.gallery import Gallery, one_image

_PAIRS = 4
_SWING = 0.4
"""How far from mid-grey the magnified difference may go, of 1."""


def add_attacked(album: Album, gallery: Gallery) -> None:
    """A strip for each of a few images, of the first model and the last."""
    answers = gallery.answers("fgsm", "sweep")
    ends = [key for key in dict.fromkeys(gallery.ends) if key in answers]
    if not ends:
        return
    first, last = answers[ends[0]], answers[ends[-1]]
    epsilon_px = float(first["epsilons_px"].max())
    shared = first["ids"].shape == last["ids"].shape and bool((first["ids"] == last["ids"]).all())
    if not epsilon_px or not shared or epsilon_px not in last["epsilons_px"]:
        return
    rows = _turned(first, last, epsilon_px)[:_PAIRS]
    factor = max(1, int(_SWING * 255 / epsilon_px))
    album.group(
        "adversarial",
        f"FGSM at {epsilon_px:g}/255: clean, attacked, and their difference × {factor} around mid-grey",
    )
    strips = {key: _strips(gallery, key, first["ids"][rows], epsilon_px, factor) for key in ends}
    for place, row in enumerate(rows.tolist()):
        for key in ends:
            attacked = int(answers[key]["top1"][_column(answers[key], epsilon_px), row])
            who = gallery.lines[key]
            album.add(
                strips[key][place],
                f"attacked in {'generation ' if who.isdigit() else ''}{who}",
                subset="fgsm",
                level=f"{epsilon_px:g}",
                truth=gallery.name(int(first["labels"][row])),
                predictions={who: gallery.name(attacked)},
            )


def _column(sweep: Arrays, epsilon_px: float) -> int:
    return int(np.flatnonzero(sweep["epsilons_px"] == epsilon_px)[0])


def _turned(first: Arrays, last: Arrays, epsilon_px: float) -> npt.NDArray[np.int64]:
    """Rows that the first model has right until it is attacked; those first that the last still has right then."""
    labels, clean = first["labels"], float(first["epsilons_px"].min())
    right = first["top1"][_column(first, clean)] == labels
    fooled = right & (first["top1"][_column(first, epsilon_px)] != labels)
    withstood = last["top1"][_column(last, epsilon_px)] == labels
    return np.concatenate([np.flatnonzero(fooled & withstood), np.flatnonzero(fooled & ~withstood)])


def _strips(gallery: Gallery, key: str, images: npt.NDArray[np.str_], epsilon_px: float, factor: int) -> list[Pixels]:
    """Clean, attacked, and `factor` times the signed difference, where 0 is mid-grey, side by side, of each image."""
    if not len(images):
        return []
    context = gallery.open(key)
    model, strips = context.model.to(context.device), []
    for image in images.tolist():
        shown = one_image(context.sets["val"], image)
        clean = to_batch(shown.pixels.copy(), context.device)
        with evaluating(model, context.device):
            (attacked,) = fgsm(model, clean, torch.tensor(shown.labels).to(context.device), [epsilon_px / 255])
        grey = ((attacked - clean) * factor + 0.5).clamp(0, 1)
        strip = torch.cat([clean, attacked, grey], dim=3)[0].permute(1, 2, 0)
        strips.append((strip * 255).round().byte().cpu().numpy())
    return strips
