"""FGSM over a sweep of epsilons, beside random signs of the same size, and how often the gradient is exactly zero.

Goodfellow et al. 2015 (arXiv:1412.6572); true labels. An accuracy that random signs bring down as far, or many
images without a gradient, say that the attack found nothing to follow, not that the model is robust.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.answers import answered, attackable_batch, ranked, shown
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe, image_seeds
from nsbench.evals.paired import Estimate, Panel, Quantity
from nsbench.metrics.intervals import holm, mcnemar_p_value, wilson_interval
from nsbench.results import Row

if TYPE_CHECKING:
    from torch import Tensor

_CELL = "sweep"

_SURE = 0.01
"""Significance level of `sweep_findings`."""


def level(epsilon_px: float) -> str:
    """An epsilon in 1/255 as the table writes it."""
    return f"{epsilon_px:g}"


def epsilons_of(config: EvalConfig) -> tuple[float, ...]:
    """The sweep in 1/255; 0 is always part of it, for what an attack is measured against."""
    return config.epsilons_px if 0 in config.epsilons_px else (0.0, *config.epsilons_px)


def sweep_findings(
    epsilons_px: npt.ArrayLike, correct: npt.NDArray[np.bool_], control: npt.NDArray[np.bool_]
) -> tuple[str, ...]:
    """What says that the attack found no gradient worth following: then it measured no robustness.

    Two of the signs of Athalye et al. 2018 (arXiv:1802.00420, section 3.1): a larger step that does less harm, and
    random points of the ball that do more. Each is an exact one-sided McNemar test on the same images, adjusted for
    the number of epsilons, or pairs of them, by Holm's method; the clearest case is named.

    Args:
        epsilons_px: [K], in 1/255, in any order.
        correct: bool [K, N], which images are right under the attack.
        control: bool [K, N], which are right under random signs of the same size.

    Returns:
        One line for each sign, none where there is none.
    """
    epsilons = np.asarray(epsilons_px, dtype=np.float64)
    order = np.argsort(epsilons, kind="stable")
    pairs = [(i, j) for i, j in itertools.combinations(order, 2) if epsilons[i] < epsilons[j]]
    found = []
    if (pair := _clearest([(correct[j], correct[i]) for i, j in pairs])) is not None:
        small, large = pairs[pair]
        found.append(
            f"accuracy rises with epsilon: {correct[small].mean():.1%} at {level(epsilons[small])}/255, "
            f"{correct[large].mean():.1%} at {level(epsilons[large])}/255"
        )
    attacked = [k for k in order if epsilons[k] > 0]
    if (place := _clearest([(correct[k], control[k]) for k in attacked])) is not None:
        k = attacked[place]
        found.append(
            f"random signs do more harm than the attack: {control[k].mean():.1%} against {correct[k].mean():.1%} "
            f"right at {level(epsilons[k])}/255"
        )
    return tuple(found)


def _clearest(pairs: Sequence[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]) -> int | None:
    """Which pair of outcomes [N] shows best that the first is right more often; None where no pair does."""
    if not pairs:
        return None
    p_values = [mcnemar_p_value(a, b) / 2 if a.sum() > b.sum() else 1.0 for a, b in pairs]
    best = int(np.argmin(p_values))
    return best if holm(p_values)[best] < _SURE else None


def _cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return (_CELL,) if "val" in sets else ()


def _shown(sets: Sets, _: str) -> str:
    fingerprint: str = sets["val"].fingerprint
    return fingerprint


def _predict(context: EvalContext, _: str) -> dict[str, npt.NDArray[Any]]:
    images, config = context.sets["val"], context.config
    seeds = image_seeds(images.ids, config.data_seed, "random-sign")

    def respond(batch: Tensor, rows: slice) -> dict[str, Tensor]:
        return _attacked(context, attackable_batch(context, images, batch, rows), seeds[rows])

    arrays = answered(context, images, lambda s: shown(context, images, s), respond, config.batch_size)
    for name in ("top1", "confidence", "random_sign_top1"):
        arrays[name] = arrays[name].T  # [K, N]
    return {**arrays, "epsilons_px": np.array(epsilons_of(config), dtype=np.float64)}


def _attacked(
    context: EvalContext, batch: tuple[Tensor, Tensor, int], seeds: npt.NDArray[np.int64]
) -> dict[str, Tensor]:
    """Arrays [n, K] and [n] of one batch that was filled up: images, labels, and how many count."""
    import torch

    from nsbench.attacks import fgsm_sweep, random_sign
    from nsbench.inference import pad, require_finite

    images, labels, count = batch
    epsilons = [eps_px / 255 for eps_px in epsilons_of(context.config)]
    sweep = fgsm_sweep(context.model, images, labels, epsilons)
    signs = random_sign(torch.full_like(images, 0.5), 0.5, pad(seeds, len(images))) * 2 - 1
    with torch.inference_mode():
        control = torch.stack(
            [
                context.model((images + epsilon * signs).clamp(0, 1)).float() if epsilon else sweep.logits[k]
                for k, epsilon in enumerate(epsilons)
            ]
        )
    for logits in (sweep.logits, control):
        require_finite(logits[:, :count].flatten(0, 1))
    return {
        "top1": ranked(sweep.logits[:, :count], 1)[..., 0].T,
        "confidence": sweep.logits[:, :count].softmax(dim=-1).amax(dim=-1).T,
        "random_sign_top1": ranked(control[:, :count], 1)[..., 0].T,
        "zero_image": sweep.zero_image[:count],
        "zero_pixels": sweep.zero_pixels[:count],
    }


def _measure(records: Records, config: EvalConfig) -> list[Row]:
    panel = Panel(records, (_CELL,), config.replicates)
    if not panel.generations:
        return []
    better, worse = (functools.partial(Quantity, eval="fgsm", higher_is_better=up) for up in (True, False))
    rows, attacked = [], np.array(epsilons_of(config)) > 0
    for metric in ("top1", "random_sign_top1"):
        correct = {g: _correct(panel, g, metric) for g in panel.generations}  # bool [N, K]
        for k, epsilon_px in enumerate(epsilons_of(config)):
            rows += panel.proportion(
                better(metric=metric, level=level(epsilon_px)), {g: c[:, k] for g, c in correct.items()}
            )
        if metric == "top1" and attacked.any():
            mean = {g: Estimate(panel.means(c[:, attacked]).mean(axis=1)) for g, c in correct.items()}
            averaged = ", ".join(level(eps) for eps in epsilons_of(config) if eps > 0)
            rows += panel.rows(
                better(metric=metric, level="mean", protocol=f"mean over epsilon {averaged} / 255"), mean
            )
    rows += _attack_success(panel, epsilons_of(config))
    zero_image = {g: panel.array(g, "zero_image") for g in panel.generations}
    zero_pixels = {g: panel.array(g, "zero_pixels") for g in panel.generations}
    rows += panel.proportion(worse(metric="zero_gradient_images"), zero_image)
    return rows + panel.mean(worse(metric="zero_gradient_pixels"), zero_pixels)


def _attack_success(panel: Panel, epsilons_px: Sequence[float]) -> list[Row]:
    """Of the images that are right at epsilon 0, the share that the attack makes wrong.

    Their number is the n of a generation's own row. Generations have different ones, so both parts of the share are
    resampled together where they are compared.
    """
    hits = {g: _correct(panel, g, "top1") for g in panel.generations}  # bool [N, K]
    right = {g: correct[:, epsilons_px.index(0)] for g, correct in hits.items()}
    fooled = {g: right[g][:, None] & ~correct for g, correct in hits.items()}
    means = {g: panel.means(np.column_stack([fooled[g], right[g]])) for g in hits}  # [1 + B, K + 1]
    quantity = functools.partial(Quantity, eval="fgsm", metric="attack_success", higher_is_better=False)

    def counted(row: Row, k: int) -> Row:
        count, of = int(fooled[row.generation][:, k].sum()), int(right[row.generation].sum())
        low, high = wilson_interval(count, of)
        return dataclasses.replace(row, n=of, ci_low=low, ci_high=high)

    rows = []
    for k, epsilon_px in enumerate(epsilons_px):
        if epsilon_px > 0:
            with np.errstate(divide="ignore", invalid="ignore"):
                estimates = {g: Estimate(m[:, k] / m[:, -1]) for g, m in means.items()}
            measured = quantity(level=level(epsilon_px), protocol="of the images that are right at epsilon 0")
            rows += [row if row.versus else counted(row, k) for row in panel.rows(measured, estimates)]
    return rows


def _correct(panel: Panel, generation: str, array: str) -> npt.NDArray[np.bool_]:
    return np.asarray(panel.array(generation, array, axis=1) == panel.array(generation, "labels")[:, None])


def _protocol(config: EvalConfig, sets: Sets) -> str:
    epsilons = ", ".join(map(level, epsilons_of(config)))
    attack = f"epsilon {epsilons} / 255, true labels, cross-entropy, eval mode, not quantised"
    signs = f"random signs of data seed {config.data_seed}"
    return f"{describe(sets['val'])}; {attack}, {signs}; {arithmetic(config, full_precision=True)}"


EVAL = Eval(
    name="fgsm",
    title="FGSM attack",
    cells=_cells,
    shown=_shown,
    predict=_predict,
    measure=_measure,
    protocol=_protocol,
)
