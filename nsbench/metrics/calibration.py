"""How far confidence can be trusted: ECE, RMS calibration error, AURRA, negative log-likelihood and Brier score."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """ECE = sum over b of (n_b / N) * |acc_b - conf_b| over equal-width bins (Guo et al. 2017, arXiv:1706.04599).

    Bin b holds the confidences in (b/bins, (b+1)/bins]; a confidence of exactly 0 lies in the first.

    confidence: [N] float in 0..1, the probability of the predicted class. correct: [N] bool.
    Returns a fraction in 0..1; nan for N = 0 or a nan confidence.
    Raises ValueError if the shapes do not fit, a confidence is outside 0..1, or bins < 1.
    """
    conf, hits = _confidence_and_hits(confidence, correct)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if _undefined(conf):
        return float("nan")
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    gaps = np.bincount(np.searchsorted(inner_edges, conf, side="left"), weights=hits - conf, minlength=bins)
    return float(np.abs(gaps).sum() / conf.size)


def rms_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    bin_size: int = 100,
    variant: Literal["fixed", "reference"] = "fixed",
) -> float:
    """sqrt(sum over b of (n_b / N) * (conf_b - acc_b)^2) over adaptive bins (natural-adv-examples calibration_tools).

    Images sorted by confidence are cut into bins of `bin_size`; the last bin takes the remainder. `reference` is
    what the repository computes and its papers print: a `range` one too short leaves out the last, most confident
    bin, whose images still count in N. Images of equal confidence share their mean correctness, so the order in
    which they come has no say.

    confidence: [N] float in 0..1. correct: [N] bool.
    Returns a fraction in 0..1; nan for N = 0 or a nan confidence, and for `reference` when the bin it leaves out is
    the only one.
    Raises ValueError if the shapes do not fit, a confidence is outside 0..1, bin_size < 1 or variant is unknown.
    """
    conf, hits = _confidence_and_hits(confidence, correct)
    if bin_size < 1:
        raise ValueError(f"bin_size must be at least 1, got {bin_size}")
    if variant not in ("fixed", "reference"):
        raise ValueError(f"variant must be 'fixed' or 'reference', got {variant!r}")
    num_bins = max(conf.size // bin_size, 1)
    if _undefined(conf) or (variant == "reference" and num_bins == 1):
        return float("nan")
    order = np.argsort(conf, kind="stable")
    bin_of_rank = np.minimum(np.arange(conf.size) // bin_size, num_bins - 1)
    surplus = np.bincount(bin_of_rank, weights=(conf - _share_ties(conf, hits))[order])
    squares = surplus**2 / np.bincount(bin_of_rank)  # n_b * (conf_b - acc_b)^2
    used = squares[:-1] if variant == "reference" else squares
    return float(np.sqrt(used.sum() / conf.size))


def aurra(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the response rate accuracy curve: mean over k of the accuracy among the k most confident images.

    From natural-adv-examples calibration_tools.py (aurra; arXiv:1907.07174). Within images of equal confidence the
    order is arbitrary; the value is the mean over those orders.

    confidence: [N] float in 0..1. correct: [N] bool.
    Returns a fraction in 0..1, higher is better; nan for N = 0 or a nan confidence.
    Raises ValueError if the shapes do not fit or a confidence is outside 0..1.
    """
    conf, hits = _confidence_and_hits(confidence, correct)
    if _undefined(conf):
        return float("nan")
    most_confident_first = np.argsort(-conf, kind="stable")
    answered = np.arange(1, conf.size + 1)
    return float((np.cumsum(_share_ties(conf, hits)[most_confident_first]) / answered).mean())


def negative_log_likelihood(log_prob_true: ArrayLike) -> float:
    """NLL = -mean of log p(true class), in nats (Guo et al. 2017, section 2).

    log_prob_true: [N] float, at most 0; -inf gives inf.
    Returns a float of at least 0; nan for N = 0.
    Raises ValueError if the input is not a vector or holds a value above 0 (rounding of 1e-5 is forgiven).
    """
    log_prob = np.asarray(log_prob_true, dtype=np.float64)
    if log_prob.ndim != 1:
        raise ValueError(f"log_prob_true must be [N], got {log_prob.shape}")
    if bool(np.any(log_prob > 1e-5)):
        raise ValueError("log_prob_true must be log-probabilities, at most 0")
    return max(float(-log_prob.mean()), 0.0) if log_prob.size else float("nan")


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over images of sum over c of (p_c - [c is the true class])^2 (Brier 1950, the several-class form).

    probabilities: [N, C] float, rows that sum to 1. labels: [N] int in 0..C-1.
    Returns a float in 0..2; nan for N = 0.
    Raises ValueError if the shapes do not fit or a label is outside 0..C-1.
    """
    probs, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if probs.ndim != 2 or truth.shape != probs.shape[:1]:
        raise ValueError(f"probabilities and labels must be [N, C] and [N], got {probs.shape} and {truth.shape}")
    if truth.size == 0:
        return float("nan")
    if bool(np.any((truth < 0) | (truth >= probs.shape[1]))):
        raise ValueError(f"labels must be in 0..{probs.shape[1] - 1}")
    of_true = probs[np.arange(truth.size), truth]
    others = np.einsum("nc,nc->n", probs, probs) - of_true**2
    return float((others + (1.0 - of_true) ** 2).mean())


def _confidence_and_hits(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, FloatArray]:
    conf, hits = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if conf.ndim != 1 or conf.shape != hits.shape:
        raise ValueError(f"confidence and correct must be [N] and [N], got {conf.shape} and {hits.shape}")
    if bool(np.any((conf < 0.0) | (conf > 1.0 + 1e-5))):  # float32 softmax may end a rounding above 1
        raise ValueError("confidence must be in 0..1")
    return np.minimum(conf, 1.0), hits


def _undefined(confidence: FloatArray) -> bool:
    return confidence.size == 0 or bool(np.isnan(confidence).any())


def _share_ties(confidence: FloatArray, hits: FloatArray) -> FloatArray:
    """Each image's correctness, averaged over the images of exactly the same confidence."""
    _, group = np.unique(confidence, return_inverse=True)
    return np.asarray((np.bincount(group, weights=hits) / np.bincount(group))[group])
