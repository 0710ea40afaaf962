"""PGD at some radii, and attacks of torchattacks: FGSM alone overstates robustness.

Madry et al. 2018 (arXiv:1706.06083).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.answers import answered, attackable_batch, class_arrays, shown
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe, image_seeds
from nsbench.evals.fgsm import level
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.results import Row

if TYPE_CHECKING:
    from torch import Tensor

_LIBRARY = "torchattacks-"


def _attacks(config: EvalConfig) -> dict[str, float]:
    """Radius in 1/255 of each attack, by cell."""
    pgd = {f"pgd-{config.pgd_steps}-{level(epsilon)}": epsilon for epsilon in config.pgd_epsilons_px}
    return pgd | {_LIBRARY + name.lower(): config.torchattacks_epsilon_px for name in config.torchattacks}


def _cells(config: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return tuple(_attacks(config)) if "val" in sets else ()


def _shown(sets: Sets, _: str) -> str:
    fingerprint: str = sets["val"].fingerprint
    return fingerprint


def _predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    images, config = context.sets["val"], context.config
    seeds = image_seeds(images.ids, config.data_seed, "pgd")
    classes: set[int] = set()

    def respond(batch: Tensor, rows: slice) -> dict[str, Tensor]:
        import torch

        pixels, labels, count = attackable_batch(context, images, batch, rows)
        adversarial = _adversarial(context, cell, (pixels, labels, count), seeds[rows])
        with torch.inference_mode():
            log_probs = context.model(adversarial).float().log_softmax(dim=-1)[:count]
        classes.add(log_probs.shape[1])
        return class_arrays(images, rows, log_probs)

    arrays = answered(context, images, lambda s: shown(context, images, s), respond, config.batch_size)
    return {
        **arrays,
        "num_classes": np.array(max(classes, default=0), dtype=np.int32),
        "radius_px": np.array(_radius_px(config, cell)),
    }


def _radius_px(config: EvalConfig, cell: str) -> float:
    """Radius of the L-infinity ball in 1/255; nan of an attack that has none."""
    from nsbench.attacks import radius_argument

    name = _library_name(config, cell)
    has_one = name is None or name.lower() == "autoattack" or radius_argument(name) is not None
    return _attacks(config)[cell] if has_one else math.nan


def _library_name(config: EvalConfig, cell: str) -> str | None:
    """What torchattacks calls the attack of a cell; None of our own PGD."""
    return next((name for name in config.torchattacks if _LIBRARY + name.lower() == cell), None)


def _adversarial(
    context: EvalContext, cell: str, batch: tuple[Tensor, Tensor, int], seeds: npt.NDArray[np.int64]
) -> Tensor:
    """Images [B, 3, H, W] attacked as the cell says; a library's attack works on those that count alone."""
    from nsbench.attacks import autoattack, pgd, radius_argument, torchattacks_attack
    from nsbench.inference import pad

    config = context.config
    images, labels, count = batch
    epsilon = _attacks(config)[cell] / 255
    name = _library_name(config, cell)
    if name is None:
        return pgd(context.model, images, labels, epsilon, steps=config.pgd_steps, seeds=pad(seeds, len(images)))
    images, labels = images[:count], labels[:count]
    seed = int(seeds[0]) % 2**31 if len(seeds) else 0  # of the batch, whose images are always the same
    if name.lower() == "autoattack":
        return autoattack(context.model, images, labels, epsilon, seed=seed)
    argument = radius_argument(name)
    radius = {argument: epsilon} if argument else {}
    return torchattacks_attack(name, context.model, images, labels, seed=seed, **radius)


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    rows = []
    for cell in _attacks(config):
        panel = Panel(records, (cell,), config.replicates)
        correct = {g: top1_correct(panel.array(g, "top1"), panel.array(g, "labels")) for g in panel.generations}
        if not correct:
            continue
        radius = float(panel.records[panel.generations[0]][cell]["radius_px"])
        name = cell.rsplit("-", 1)[0] if cell.startswith("pgd-") else cell
        where = "" if math.isnan(radius) else level(radius)
        rows += panel.proportion(
            Quantity(eval="attacks", subset=name, level=where, metric="top1", higher_is_better=True), correct
        )
    return rows


def _protocol(config: EvalConfig, sets: Sets) -> str:
    radii = ", ".join(map(level, config.pgd_epsilons_px))
    attack = (
        f"PGD: true labels, cross-entropy, eval mode, {config.pgd_steps} steps of a quarter of the radius {radii}/255"
    )
    attack += f" in the L-infinity ball, one random start of data seed {config.data_seed}"
    if config.torchattacks:
        attack += f"; torchattacks {', '.join(config.torchattacks)} at {level(config.torchattacks_epsilon_px)}/255"
        attack += "; AutoAttack: standard, 100 steps, 9 targets, 5,000 queries" if _has_autoattack(config) else ""
    return f"{describe(sets['val'])}; {attack}; {arithmetic(config, full_precision=True)}"


def _has_autoattack(config: EvalConfig) -> bool:
    return "autoattack" in (name.lower() for name in config.torchattacks)


EVAL = Eval(
    name="attacks",
    title="PGD and other attacks",
    cells=_cells,
    shown=_shown,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
