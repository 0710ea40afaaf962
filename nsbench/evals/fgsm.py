"""FGSM over a sweep of epsilons, beside random signs of the same size, and how often the gradient is exactly zero.

Goodfellow et al. 2015 (arXiv:1412.6572); true labels. An accuracy that random signs bring down as far, or many
images without a gradient, say that the attack found nothing to follow, not that the model is robust.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe, image_seeds, ranked
from nsbench.evals.paired import Estimate, Panel, Quantity
from nsbench.results import Row

_CELL = "sweep"


def level(epsilon_px: float) -> str:
    """An epsilon in 1/255 as the table writes it."""
    return f"{epsilon_px:g}"


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return (_CELL,) if "val" in sets else ()


def _predict(context: EvalContext, _: str) -> dict[str, npt.NDArray[Any]]:
    from nsbench.inference import batches

    images, config = context.sets["val"], context.config
    seeds = image_seeds(images.ids, config.data_seed, "random-sign")
    parts = [_attack(context, rows, seeds[rows]) for rows in batches(len(images), config.batch_size)]
    joined = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
    epsilons_px = np.array(config.epsilons_px, dtype=np.float64)
    return {"ids": images.ids, "labels": images.labels, "epsilons_px": epsilons_px, **joined}


def _attack(context: EvalContext, rows: slice, seeds: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Arrays [K, B] and [B] of one batch."""
    import torch

    from nsbench.attacks import fgsm_sweep, random_sign
    from nsbench.inference import evaluating, pad, require_finite, to_batch

    size, images, model = context.config.batch_size, context.sets["val"], context.model
    count = len(seeds)
    batch = to_batch(pad(images.pixels[rows], size), context.device)
    labels = torch.from_numpy(pad(images.labels[rows], size)).to(context.device)
    epsilons = [eps_px / 255 for eps_px in context.config.epsilons_px]
    sweep = fgsm_sweep(model, batch, labels, epsilons)
    with evaluating(model, context.device), torch.inference_mode():
        moved = (random_sign(batch, epsilon, pad(seeds, size)) for epsilon in epsilons)
        control = torch.stack([model(images).float() for images in moved])
    for logits in (sweep.logits, control):
        require_finite(logits[:, :count].flatten(0, 1))
    return {
        "top1": ranked(sweep.logits[:, :count].cpu().numpy(), 1)[..., 0],
        "confidence": sweep.logits[:, :count].softmax(dim=-1).amax(dim=-1).cpu().numpy(),
        "random_sign_top1": ranked(control[:, :count].cpu().numpy(), 1)[..., 0],
        "zero_image": sweep.zero_image[:count].cpu().numpy(),
        "zero_pixels": sweep.zero_pixels[:count].cpu().numpy(),
    }


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, (_CELL,), config.replicates)
    if not panel.generations:
        return []
    better, worse = (functools.partial(Quantity, eval="fgsm", higher_is_better=up) for up in (True, False))
    rows, attacked = [], np.array(config.epsilons_px) > 0
    for metric in ("top1", "random_sign_top1"):
        correct = {g: _correct(panel, g, metric) for g in panel.generations}  # bool [N, K]
        for k, epsilon_px in enumerate(config.epsilons_px):
            rows += panel.proportion(
                better(metric=metric, level=level(epsilon_px)), {g: c[:, k] for g, c in correct.items()}
            )
        if metric == "top1" and attacked.any():
            mean = {g: Estimate(panel.means(c[:, attacked]).mean(axis=1)) for g, c in correct.items()}
            averaged = ", ".join(level(eps) for eps in config.epsilons_px if eps > 0)
            rows += panel.rows(
                better(metric=metric, level="mean", protocol=f"mean over epsilon {averaged} / 255"), mean
            )
    zero_image = {g: panel.array(g, "zero_image") for g in panel.generations}
    zero_pixels = {g: panel.array(g, "zero_pixels") for g in panel.generations}
    rows += panel.proportion(worse(metric="zero_gradient_images"), zero_image)
    return rows + panel.mean(worse(metric="zero_gradient_pixels"), zero_pixels)


def _correct(panel: Panel, generation: str, array: str) -> npt.NDArray[np.bool_]:
    return np.asarray(panel.array(generation, array, axis=1) == panel.array(generation, "labels")[:, None])


def _protocol(config: EvalConfig, sets: Sets) -> str:
    attack = "true labels, cross-entropy, eval mode, not quantised"
    return f"{describe(sets['val'])}; {attack}, random signs of data seed {config.data_seed}; {arithmetic(config)}"


EVAL = Eval(
    name="fgsm",
    title="FGSM attack",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
