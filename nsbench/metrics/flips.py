"""ImageNet-P: how often and how far predictions change along a clip (arXiv:1903.12261, section 4.2).

The pairs of frames that are compared follow hendrycks/robustness ImageNet-P/test.py (flip_prob, ranking_dist).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nsbench.metrics.corruption import mean_ce, percent_of_baseline
from nsbench.metrics.named import in_order
from nsbench.metrics.reference import ALEXNET_FLIP_PROBABILITIES, EXTRA_PERTURBATIONS, PERTURBATIONS

FloatArray = NDArray[np.float64]

TOP = 5


def is_noise_perturbation(name: str) -> bool:
    """Whether the frames of this perturbation are independent draws, to be compared with frame 0.

    The rule is the reference's: the name contains "noise" (gaussian_noise, shot_noise, speckle_noise).
    """
    return "noise" in name


def flips_per_video(top1: ArrayLike, *, noise: bool, difficulty: int = 1) -> FloatArray:
    """Fraction of compared frame pairs whose predicted class differs, one number a video.

    Noise: frames 1..T-1 with frame 0, whatever the difficulty. Others: frame t with frame t - difficulty.

    top1: [V, T] int, the predicted class of each frame.
    Returns [V] float64 in 0..1.
    Raises ValueError if top1 is not [V, T] or the clips are too short for one pair.
    """
    classes = np.asarray(top1)
    if classes.ndim != 2:
        raise ValueError(f"top1 must be [V, T], got {classes.shape}")
    before, after = _frame_pairs(classes, noise, difficulty)
    return np.asarray((before != after).mean(axis=1))


def flip_probability(top1: ArrayLike, *, noise: bool, difficulty: int = 1) -> float:
    """FP_p: the mean over videos of `flips_per_video` (arXiv:1903.12261, section 4.2).

    top1: [V, T] int, the predicted class of each frame: 31 frames a video, 41 of `translate`. noise: whether the
    frames are independent draws, compared with frame 0 (`is_noise_perturbation(name)`). difficulty: how many frames
    apart the others are compared; the published figures have 1.
    Returns a fraction in 0..1; nan without a video.
    Raises ValueError as `flips_per_video` does.
    """
    flips = flips_per_video(top1, noise=noise, difficulty=difficulty)
    return float(flips.mean()) if flips.size else float("nan")


def mean_flip_rate(flip_by_perturbation: Mapping[str, float], baseline: Mapping[str, float] | None = None) -> float:
    """mFR: the mean over ImageNet-P's ten perturbations of FR, in percent (arXiv:1903.12261, section 4.2).

    FR_p = 100 * FP_p / FP^baseline_p.

    flip_by_perturbation: name -> flip probability, a fraction in 0..1. All ten of `nsbench.metrics.PERTURBATIONS`; the
    4 extras (`EXTRA_PERTURBATIONS`) may be there too and do not count. baseline: the same of the model that is 100;
    None is AlexNet (`nsbench.metrics.ALEXNET_FLIP_PROBABILITIES`, difficulty 1, on the released videos). CIFAR-10-P
    has other ten, and no published baseline.
    Returns percent, lower is better; nan where a flip probability is nan or a baseline never flips.
    Raises ValueError if a name is unknown or missing, or a flip probability is no fraction in 0..1.
    """
    rates = flip_rate(
        _flip_probabilities(flip_by_perturbation, "mFR"),
        _flip_probabilities(ALEXNET_FLIP_PROBABILITIES if baseline is None else baseline, "baseline"),
    )
    return float(mean_ce(rates))


def top5_distance(logits_a: ArrayLike, logits_b: ArrayLike) -> FloatArray:
    """How far the five best classes of `logits_a` move in `logits_b` (arXiv:1903.12261, section 4.2).

    d = sum over i = 1..5 of |i - min(sigma_i, 6)|, where sigma_i is the rank in b of the class ranked i in a
    (hendrycks/robustness ImageNet-P/test.py, dist_top5). Not symmetric. Equal logits rank by class, the lower first,
    as scipy.stats.rankdata(-logits, method="ordinal") has it.

    logits_a, logits_b: [N, K] float, K at least 5; any scores that grow with belief.
    Returns [N] float64, whole numbers in 0..18; nan in rows that hold a nan.
    Raises ValueError if the two are not [N, K] of one shape, or K < 5.
    """
    a, b = np.asarray(logits_a, dtype=np.float64), np.asarray(logits_b, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] < TOP:
        raise ValueError(f"logits must be [N, K] twice, K at least {TOP}, got {a.shape} and {b.shape}")
    before, after = (np.argsort(-logits, axis=1, kind="stable")[:, :TOP] for logits in (a, b))
    undefined = np.isnan(a).any(axis=1) | np.isnan(b).any(axis=1)
    return np.where(undefined, np.nan, _distance(before, after))


def top5_distance_per_video(top5: ArrayLike, *, noise: bool, difficulty: int = 1) -> FloatArray:
    """The unnormalised top-5 distance (uT5D), the mean over the same frame pairs as `flips_per_video`.

    d = sum over i = 1..5 of |i - min(sigma_i, 6)|, where sigma_i is the rank in the later frame of the class
    ranked i in the earlier one (hendrycks/robustness ImageNet-P/test.py, dist_top5). Ranks past the fifth all
    count as 6, so the two ordered top-5 lists are enough. The distance is not symmetric; two disjoint lists are
    15 apart, and the most is 18 (1, 2, 3 drop out and 4, 5 take the lead).

    top5: [V, T, 5] int, the ids of the five best classes of each frame, best first.
    Returns [V] float64 in 0..18.
    Raises ValueError if top5 is not [V, T, 5] or the clips are too short for one pair.
    """
    ids = np.asarray(top5)
    if ids.ndim != 3 or ids.shape[2] != TOP:
        raise ValueError(f"top5 must be [V, T, {TOP}], got {ids.shape}")
    before, after = _frame_pairs(ids, noise, difficulty)
    return np.asarray(_distance(before, after).mean(axis=1))


def flip_rate(fp: ArrayLike, baseline_fp: ArrayLike) -> FloatArray:
    """FR_p = 100 * FP_p / FP_p^baseline; mFR is the mean over perturbations (arXiv:1903.12261, section 4.2).

    fp, baseline_fp: [...] float in 0..1, broadcast against each other.
    Returns [...] float64 in percent; nan where the baseline never flips. T5D is normalised in the same way.
    Raises ValueError if the shapes do not broadcast.
    """
    return percent_of_baseline(fp, baseline_fp)


def _distance(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.int64]:
    """`top5_distance` of ordered lists [..., 5] of class ids, broadcast against each other; [...]."""
    distance = np.zeros(np.broadcast_shapes(before.shape, after.shape)[:-1], dtype=np.int64)
    for rank in range(TOP):
        found = before[..., rank, None] == after  # [..., 5]
        distance += np.abs(rank - np.where(found.any(axis=-1), found.argmax(axis=-1), TOP))
    return distance


def _flip_probabilities(by_perturbation: Mapping[str, float], what: str) -> FloatArray:
    flips = np.array(in_order(by_perturbation, PERTURBATIONS, EXTRA_PERTURBATIONS, what), dtype=np.float64)
    if flips.shape != (len(PERTURBATIONS),) or bool(np.any((flips < 0.0) | (flips > 1.0))):
        raise ValueError(f"{what}: flip probabilities must be single fractions in 0..1, not percent")
    return flips


def _frame_pairs(frames: NDArray[Any], noise: bool, difficulty: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The earlier and the later frame of every compared pair, broadcastable: [V, 1 or pairs, ...], [V, pairs, ...].

    The reference walks `difficulty` interleaved chains; together they hold each pair (t - difficulty, t) once.
    """
    if difficulty < 1:
        raise ValueError(f"difficulty must be at least 1, got {difficulty}")
    step = 1 if noise else difficulty
    if frames.shape[1] <= step:
        raise ValueError(f"{frames.shape[1]} frames leave no pair to compare at step {step}")
    return (frames[:, :1] if noise else frames[:, :-step]), frames[:, step:]
