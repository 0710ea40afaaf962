"""How far confidence can be trusted: ECE, RMS calibration error, AURRA, negative log-likelihood and Brier score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FloatArray = NDArray[np.float64]


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, num_bins: int = 15) -> float:
    """ECE = sum over b of (n_b / N) * |acc_b - conf_b| over equal-width bins (Guo et al. 2017, arXiv:1706.04599).

    Bin b holds the confidences in (b / num_bins, (b + 1) / num_bins]; a confidence of exactly 0 lies in the first.
    Chance alone makes it larger than 0, the more so the fewer images: see `debiased_expected_calibration_error`.

    confidence: [N] float in 0..1, the probability of the predicted class. correct: [N] bool.
    Returns a fraction in 0..1; nan for N = 0 or a nan confidence.
    Raises ValueError if the shapes do not fit, a confidence is outside 0..1, or num_bins < 1.
    """
    conf, hits = _confidence_and_hits(confidence, correct)
    size, gap, _ = _equal_width_bins(conf, hits, num_bins)
    return float("nan") if _undefined(conf) else float((size * np.abs(gap)).sum() / conf.size)


def debiased_expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, num_bins: int = 15) -> float:
    """ECE less what chance adds to it: 2 * ECE - E[ECE of labels drawn anew] (Kumar et al. 2019, arXiv:1909.10155).

    The estimator of their `calibration.get_ece(..., debias=True)`, in closed form in place of its 1,000 draws: with
    the accuracy of bin b drawn from a normal of mean acc_b and variance v_b = acc_b (1 - acc_b) / n_b, the expected
    |acc_b - conf_b| is that of a folded normal. Nearly unbiased where gaps exceed their noise; of a perfectly
    calibrated model it still leaves about six tenths of what chance adds.

    confidence: [N] float in 0..1. correct: [N] bool.
    Returns a fraction below `expected_calibration_error`, 0 where the correction exceeds it; nan for N = 0 or a nan
    confidence.
    Raises ValueError as `expected_calibration_error` does.
    """
    conf, hits = _confidence_and_hits(confidence, correct)
    size, gap, accuracy = _equal_width_bins(conf, hits, num_bins)
    return float("nan") if _undefined(conf) else float(debiased_from_bins(size, gap, accuracy))


def debiased_from_bins(size: FloatArray, gap: FloatArray, accuracy: FloatArray) -> FloatArray:
    """`debiased_expected_calibration_error` [...] from its bins [..., num_bins]; an empty one counts for nothing.

    size: images in each bin. gap: accuracy less mean confidence there. accuracy: in 0..1.
    """
    sigma = np.sqrt(np.maximum(accuracy * (1.0 - accuracy), 0.0) / np.maximum(size, 1.0))
    z = np.divide(np.abs(gap), sigma, out=np.full_like(gap, np.inf), where=sigma > 0.0)
    folded = sigma * np.sqrt(2.0 / np.pi) * np.exp(-0.5 * z**2) + np.abs(gap) * (1.0 - 2.0 * special.ndtr(-z))
    return np.asarray(np.maximum(0.0, (size * (2.0 * np.abs(gap) - folded)).sum(axis=-1) / size.sum(axis=-1)))


def rms_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, num_per_bin: int = 100, skip_last_bin: bool = False
) -> float:
    """sqrt(sum over b of (n_b / N) * (conf_b - acc_b)^2) over adaptive bins (natural-adv-examples calibration_tools).

    Images sorted by confidence are cut into bins of `num_per_bin`; the last bin takes the remainder. `skip_last_bin`
    gives what the repository computes and its papers print: a `range` one too short leaves out the last, most
    confident bin, whose images still count in N. Images of equal confidence share their mean correctness, so the
    order in which they come has no say.

    confidence: [N] float in 0..1. correct: [N] bool.
    Returns a fraction in 0..1; nan for N = 0 or a nan confidence, and with `skip_last_bin` when the bin it leaves out
    is the only one.
    Raises ValueError if the shapes do not fit, a confidence is outside 0..1, or num_per_bin < 1.
    """
    conf, hits = _confidence_and_hits(confidence, correct)
    if num_per_bin < 1:
        raise ValueError(f"num_per_bin must be at least 1, got {num_per_bin}")
    num_bins = max(conf.size // num_per_bin, 1)
    if _undefined(conf) or (skip_last_bin and num_bins == 1):
        return float("nan")
    order = np.argsort(conf, kind="stable")
    bin_of_rank = np.minimum(np.arange(conf.size) // num_per_bin, num_bins - 1)
    surplus = np.bincount(bin_of_rank, weights=(conf - _share_ties(conf, hits))[order])
    squares = surplus**2 / np.bincount(bin_of_rank)  # n_b * (conf_b - acc_b)^2
    used = squares[:-1] if skip_last_bin else squares
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


def _equal_width_bins(
    confidence: FloatArray, hits: FloatArray, num_bins: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Size, accuracy less confidence, and accuracy of the bins that hold an image."""
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    bin_of = np.searchsorted(np.linspace(0.0, 1.0, num_bins + 1)[1:-1], confidence, side="left")
    counts = np.bincount(bin_of, minlength=num_bins)
    filled = counts > 0
    size = counts[filled].astype(np.float64)
    gap, accuracy = (
        np.bincount(bin_of, weights=values, minlength=num_bins)[filled] / size for values in (hits - confidence, hits)
    )
    return size, gap, accuracy


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
