"""PGD (Madry et al. 2018, arXiv:1706.06083) at one radius, since FGSM alone overstates robustness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import (
    Eval,
    EvalContext,
    Records,
    Sets,
    arithmetic,
    cell_arrays,
    describe,
    image_seeds,
)
from nsbench.evals.fgsm import level
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.results import Row


def _name(config: EvalConfig) -> str:
    return f"pgd-{config.pgd_steps}"


def _cells(config: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return (_name(config),) if "val" in sets else ()


def _predict(context: EvalContext, _: str) -> dict[str, npt.NDArray[Any]]:
    from nsbench.inference import batches

    images, config = context.sets["val"], context.config
    seeds = image_seeds(images.ids, config.data_seed, "pgd")
    parts = [_attack(context, rows, seeds[rows]) for rows in batches(len(images), config.batch_size)]
    return cell_arrays(images, np.concatenate(parts))


def _attack(context: EvalContext, rows: slice, seeds: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Log-probabilities [B, C] of one batch of adversarial images."""
    import torch

    from nsbench.attacks import pgd
    from nsbench.inference import evaluating, pad, require_finite, to_batch

    size, images, config = context.config.batch_size, context.sets["val"], context.config
    batch = to_batch(pad(images.pixels[rows], size), context.device)
    labels = torch.from_numpy(pad(images.labels[rows], size)).to(context.device)
    epsilon = config.pgd_epsilon_px / 255
    adversarial = pgd(context.model, batch, labels, epsilon, steps=config.pgd_steps, seeds=pad(seeds, size))
    with evaluating(context.model, context.device), torch.inference_mode():
        logits = context.model(adversarial).float()[: len(seeds)]
    require_finite(logits)
    log_probs: npt.NDArray[np.float32] = logits.log_softmax(dim=-1).cpu().numpy()
    return log_probs


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, (_name(config),), config.replicates)
    correct = {g: top1_correct(panel.array(g, "top1"), panel.array(g, "labels")) for g in panel.generations}
    quantity = Quantity(
        eval="attacks",
        subset=_name(config),
        level=level(config.pgd_epsilon_px),
        metric="top1",
        higher_is_better=True,
    )
    return panel.proportion(quantity, correct)


def _protocol(config: EvalConfig, sets: Sets) -> str:
    steps = f"{config.pgd_steps} steps of {level(config.pgd_epsilon_px / 4)}/255 in the L-infinity ball"
    attack = f"true labels, cross-entropy, eval mode, {steps}, one random start of data seed {config.data_seed}"
    return f"{describe(sets['val'])}; {attack}; {arithmetic(config)}"


EVAL = Eval(
    name="attacks",
    title="PGD attack",
    cells=_cells,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
