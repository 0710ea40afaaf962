"""What answers along perturbation sequences measure: flips, FR and its mean by a named baseline, top-5 distance.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.2. `mFR` alone is AlexNet's flips on the released clips of
224 px; on other pixels its name says so; where there is no AlexNet it is relative to generation 0. AlexNet's top-5
distances were never published: mT5D needs a run of AlexNet to compare with.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.errors import DataError
from nsbench.evals.base import Arrays, Records
from nsbench.evals.paired import Estimate, Floats, Panel, Quantity
from nsbench.metrics.corruption import mean_ce, percent_of_baseline
from nsbench.metrics.flips import flip_rate, flips_per_video, is_noise_perturbation, top5_distance_per_video
from nsbench.metrics.reference import (
    ALEXNET_FLIP_PROBABILITIES,
    CIFAR_P_PERTURBATIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
)
from nsbench.results import Row

MIN_FLIPS = 30
"""With fewer flips of generation 0 over all videos, a ratio to them says nothing."""

AUGMENTED = ("brightness", "translate", "rotate")
"""The perturbations that RandAugment's operations resemble."""

_BASELINE = "the baseline"
_IMAGENET_CLASSES, _IMAGENET_PX = 1000, 224
_quantity = functools.partial(Quantity, eval="imagenet-p", higher_is_better=False)


def measure_perturbations(records: Records, config: EvalConfig) -> list[Row]:
    """Rows of ImageNet-P for every model that answered all of the ten perturbations."""
    names = _filmed(records)
    panel = Panel(records, names, config.replicates)
    if not panel.generations:
        return _singly(records, config)
    source = _provenance(panel)
    flips = panel.means_of({g: _per_video(panel, g, "top1") for g in panel.generations})  # [1 + B, 10]
    rows = _each_and_mean(panel, functools.partial(_quantity, metric="flip_probability"), flips)
    first = [records[g][names[0]] for g in panel.generations]
    imagenet = all(a["num_classes"] == _IMAGENET_CLASSES and a.get("side") == _IMAGENET_PX for a in first)
    if "0" in flips and not (imagenet and source == "released-h264"):
        said = f"flips relative to generation 0's; a dash where it has fewer than {MIN_FLIPS}"
        rows += _rate_rows(panel, "", said, _generation_zero(panel, flips))
    if imagenet and names == PERTURBATIONS:
        table = np.array([ALEXNET_FLIP_PROBABILITIES[name] for name in names])
        released = source == "released-h264"
        suffix = "" if released else f", AlexNet table, {source}"
        said = f"flips relative to AlexNet's on the {'same ' if released else ''}released videos"
        said += "" if released else " (other pixels than these)"
        rows += _rate_rows(panel, suffix, said, {g: flip_rate(f, table) for g, f in flips.items()})
    if all(a["num_classes"] > 5 for a in first):
        moves = panel.means_of({g: _per_video(panel, g, "top5") for g in panel.generations})
        rows += _each_and_mean(panel, functools.partial(_quantity, metric="T5D", unit="ranks"), moves)
    right = {g: _frames_right(panel, g) for g in panel.generations}
    rows += panel.mean(
        _quantity(metric="top1_all_frames", higher_is_better=True, protocol="mean over all frames"), right
    )
    return rows + _singly(records, config, {(row.generation, row.subset) for row in rows})


def _filmed(records: Records) -> tuple[str, ...]:
    """The ten that were filmed: CIFAR-10-P's, if its spatter is there in place of snow and is no released extra."""
    cells = {cell for answers in records.values() for cell in answers}
    spatter = [answers["spatter"] for answers in records.values() if "spatter" in answers]
    released = any(str(arrays.get("provenance")) == "released-h264" for arrays in spatter)
    return CIFAR_P_PERTURBATIONS if spatter and "snow" not in cells and not released else PERTURBATIONS


def _provenance(panel: Panel) -> str:
    """Where the frames of every cell come from.

    Raises:
        DataError: the cells show different frames, so that no difference between them means anything.
    """
    cells = [panel.records[g][cell] for g in panel.generations for cell in panel.cells]
    found = {(str(a.get("provenance", "device-memory")), int(a["side"]) if "side" in a else 0) for a in cells}
    if len(found) > 1:
        shown = " and ".join(f"{source} at {side} px" for source, side in sorted(found))
        raise DataError(f"cells of imagenet-p show {shown}, which cannot be compared; measure them again alike")
    return found.pop()[0]


def _per_video(panel: Panel, model: str, array: str) -> Floats:
    """Flips (of `top1`) or top-5 distances (of `top5`) [V, 10] in the order of the panel's cells."""
    columns = []
    for name in panel.cells:
        answers, noise = panel.array(model, array, name), is_noise_perturbation(name)
        measure = flips_per_video if array == "top1" else top5_distance_per_video
        columns.append(measure(answers, noise=noise))
    return np.stack(columns, axis=1)


def _frames_right(panel: Panel, model: str) -> npt.NDArray[np.float64]:
    """[V] share of the frames of all ten videos whose class is the true one."""
    labels = panel.array(model, "labels")[:, None]
    right = np.concatenate([panel.array(model, "top1", name) == labels for name in panel.cells], axis=1)
    return np.asarray(right.mean(axis=1), dtype=np.float64)


def _singly(records: Records, config: EvalConfig, known: Collection[tuple[str, str]] = ()) -> list[Row]:
    """Flips of each perturbation alone: no mean over those that happen to be there.

    Args:
        known: models and perturbations that have rows already.
    """
    rows = []
    there = {cell for answers in records.values() for cell in answers}
    named = (*PERTURBATIONS, *EXTRA_PERTURBATIONS)  # and those of higher difficulty, such as `gaussian_noise_2`
    for name in sorted(there, key=lambda cell: (named.index(cell) if cell in named else len(named), cell)):
        if any((g, name) not in known for g, answers in records.items() if name in answers):
            panel = Panel(records, (name,), config.replicates)
            flips = {g: _per_video(panel, g, "top1")[:, 0] for g in panel.generations}
            found = panel.mean(_quantity(metric="flip_probability", subset=name), flips)
            rows += [row for row in found if (row.generation, name) not in known]
    return rows


def _generation_zero(panel: Panel, flips: Mapping[str, Floats]) -> dict[str, Floats]:
    """FR [1 + B, 10] of each generation, in percent; nan where generation 0 has too few flips."""
    pairs = np.array([panel.array("0", "top1", name).shape[1] - 1 for name in panel.cells])
    enough = np.round(flips["0"][0] * pairs * len(panel.ids)) >= MIN_FLIPS
    return {g: np.where(enough, flip_rate(f, flips["0"]), np.nan) for g, f in flips.items()}


def _rate_rows(panel: Panel, suffix: str, protocol: str, rates: Mapping[str, Floats]) -> list[Row]:
    """FR of each perturbation, mFR, and mFR without what training resembles, from rates [1 + B, 10] by model."""
    ratio = functools.partial(_quantity, unit="percent", protocol=protocol)
    rows = []
    for k, name in enumerate(panel.cells):
        rows += panel.rows(ratio(subset=name, metric=f"FR{suffix}"), {g: Estimate(r[:, k]) for g, r in rates.items()})
    rows += panel.rows(ratio(metric=f"mFR{suffix}"), {g: Estimate(mean_ce(r)) for g, r in rates.items()})
    others = [k for k, name in enumerate(panel.cells) if name not in AUGMENTED]
    metric = f"mFR without {', '.join(AUGMENTED[:-1])} and {AUGMENTED[-1]}{suffix}"
    return rows + panel.rows(ratio(metric=metric), {g: Estimate(mean_ce(r[:, others])) for g, r in rates.items()})


def _each_and_mean(panel: Panel, quantity: Callable[..., Quantity], means: Mapping[str, Floats]) -> list[Row]:
    rows = []
    for k, name in enumerate(panel.cells):
        rows += panel.rows(quantity(subset=name), {g: Estimate(m[:, k]) for g, m in means.items()})
    return rows + panel.rows(quantity(), {g: Estimate(m.mean(axis=1)) for g, m in means.items()})


def relative_t5d_rows(records: Records, baseline: Mapping[str, Arrays], config: EvalConfig) -> list[Row]:
    """T5D in percent of a measured baseline's on the same clips, and mT5D, their mean over the ten.

    Args:
        baseline: arrays by cell of the model that is divided by; AlexNet's own top-5 distances were never published.
    """
    names = _filmed(records)
    panel = Panel({**records, _BASELINE: baseline}, names, config.replicates)
    if _BASELINE not in panel.generations:
        return []
    _provenance(panel)
    moves = panel.means_of({g: _per_video(panel, g, "top5") for g in panel.generations})  # [1 + B, 10]
    rates = {g: percent_of_baseline(m, moves[_BASELINE]) for g, m in moves.items() if g != _BASELINE}
    percent = functools.partial(_quantity, unit="percent", protocol="relative to the measured baseline")
    rows = []
    for k, name in enumerate(names):
        rates_of = {g: Estimate(r[:, k]) for g, r in rates.items()}
        rows += panel.rows(percent(subset=name, metric="T5D_relative"), rates_of)
    return rows + panel.rows(percent(metric="mT5D"), {g: Estimate(mean_ce(r)) for g, r in rates.items()})
