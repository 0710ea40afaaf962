"""Does a cell's result look like a broken pipeline rather than a bad model? Nothing here changes a number.

Published tables hold rows that such checks would have stopped: flip probabilities of 0 (constant predictions) and of
80 %, ImageNet-A near 0 for want of its 200 classes, ImageNet-V2's folders 0..999 read in the order of text. Every
threshold is set so that what real models do stays silent: at severity 5 AlexNet is right on 0.45 % of 1,000-class
images, and real models give one class to tens of percent of such images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from nsbench.metrics.class_order import class_order_off

MIN_IMAGES = 20
"""Of fewer images nothing is said. With half of all images in one class, which is more than real models were seen to
give it at severity 5, 20 images are all of that class once in 10^6 cells."""

CONSTANT_SHARE = 0.99
"""A model with an opinion leaves more than one image in a hundred to other classes, even where it is always wrong."""

SPREAD_SHARE = 0.5
"""Labels of which one class holds more than half may well be answered by that class."""

CHANCE_LEVEL = 0.05
"""Accuracy is chance where guessing reaches as many hits in at least 5 % of cells ..."""

WEAK_FACTOR, WEAK_LEVEL = 10, 0.001
"""... and a model ten times as good as guessing (1 % of 1,000 classes: ResNet-50's worst cell has 3 to 4 %) would
have as few in less than 0.1 % of them. Without the second, ten images would always look like chance."""

SURE = 0.99
"""Mean confidence above which a model that guesses cannot be believed; of real ones it falls with accuracy."""

ROUNDING = 1e-5  # a float32 softmax may end a rounding above 1

Kind = Literal["constant", "chance", "class-order", "confidence"]


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong with a cell."""

    kind: Kind
    words: str
    """One line for people, with the figures it rests on."""


def findings(
    top1: ArrayLike,
    labels: ArrayLike,
    confidence: ArrayLike,
    num_classes: int,
    *,
    top5: ArrayLike | None = None,
    made_hard: bool = False,
) -> tuple[Finding, ...]:
    """What looks wrong with the answers to one cell; nothing for a cell that may well be real.

    top1, labels: [N] int in 0..num_classes - 1. confidence: [N] float, the probability of the predicted class.
    num_classes: of how many classes the model chose one: 200 for ImageNet-A's restricted argmax. top5: [N, k] int,
    best first; it tells a very bad model from a guessing one. made_hard: the images were chosen or changed so that
    models are wrong (ImageNet-A and -O, attacks): then errors, however many and however confident, are no finding.
    Returns the findings, none for N = 0: a cause keeps what follows from it silent (constant predictions are at
    chance level too).
    Raises ValueError if the shapes do not fit or a class is outside 0..num_classes - 1.
    """
    predicted, truth = (np.asarray(classes).astype(np.int64) for classes in (top1, labels))
    conf = np.asarray(confidence, dtype=np.float64)
    ranked = None if top5 is None else np.asarray(top5)
    _check(predicted, truth, conf, ranked, num_classes)
    if truth.size == 0:
        return ()
    hits = int(np.count_nonzero(predicted == truth))
    found = [*_impossible_confidence(conf)]
    if truth.size < MIN_IMAGES:
        return tuple(found)
    cause = _constant(predicted, truth)
    if not made_hard:
        cause = cause or _class_order(predicted, truth, num_classes) or _chance(hits, truth, ranked, num_classes)
        found += _blind_confidence(conf, hits, num_classes)
    return tuple([*found, cause] if cause else found)


def is_chance(hits: int, num_images: int, chance: float) -> bool:
    """Whether `hits` of `num_images` are what guessing with success probability `chance` gives, and nothing else.

    One-sided exact binomial test (`CHANCE_LEVEL`), unless so few images would hide a weak but real model
    (`WEAK_FACTOR`), or the hits are fewer than guessing gives (`WEAK_LEVEL`): images chosen against the model.
    """
    weak = min(WEAK_FACTOR * chance, (1.0 + chance) / 2)
    better = _at_least(hits, num_images, chance)
    worse = float(special.bdtr(hits, num_images, chance))
    hides = float(special.bdtr(hits, num_images, weak))
    return better > CHANCE_LEVEL and worse > WEAK_LEVEL and hides < WEAK_LEVEL


def _constant(top1: NDArray[Any], labels: NDArray[Any]) -> Finding | None:
    """One class for nearly all images, although the labels are spread."""
    counts = np.bincount(top1)
    share = counts.max() / labels.size
    largest_label = np.bincount(labels).max() / labels.size
    if share < CONSTANT_SHARE or largest_label > SPREAD_SHARE:
        return None
    words = f"class {counts.argmax()} is predicted for {share:.1%} of {labels.size} images"
    return Finding("constant", f"constant predictions: {words}")


def _class_order(top1: NDArray[Any], labels: NDArray[Any], num_classes: int) -> Finding | None:
    words = class_order_off(top1, labels, num_classes)
    return Finding("class-order", words) if words else None


def _chance(hits: int, labels: NDArray[Any], top5: NDArray[Any] | None, num_classes: int) -> Finding | None:
    """Accuracy of guessing; where there is a top 5, that has to be a guess as well."""
    if num_classes < 2 or not is_chance(hits, labels.size, 1 / num_classes):
        return None
    if top5 is not None and top5.shape[1] < num_classes:
        among = int((top5 == labels[:, None]).any(axis=1).sum())
        if _at_least(among, labels.size, top5.shape[1] / num_classes) <= CHANCE_LEVEL:
            return None
    accuracy = f"{hits / labels.size:.2%} of {labels.size} images right"
    return Finding("chance", f"chance level: {accuracy}, as guessing among {num_classes} classes gives")


def _impossible_confidence(confidence: NDArray[np.float64]) -> Iterator[Finding]:
    """Confidences that are no probabilities."""
    undefined = int(np.count_nonzero(~np.isfinite(confidence)))
    if undefined:
        yield Finding("confidence", f"{undefined} of {confidence.size} confidences are not finite")
    finite = confidence[np.isfinite(confidence)]
    outside = int(np.count_nonzero((finite < 0.0) | (finite > 1.0 + ROUNDING)))
    if outside:
        where = f"from {finite.min():.4g} to {finite.max():.4g}"
        yield Finding("confidence", f"{outside} of {confidence.size} confidences are outside 0..1 ({where})")
    elif confidence.size >= MIN_IMAGES and not undefined and bool(np.all(finite >= 1.0)):
        yield Finding("confidence", f"all {confidence.size} confidences are exactly 1: no probabilities were given")


def _blind_confidence(confidence: NDArray[np.float64], hits: int, num_classes: int) -> Iterator[Finding]:
    """Near certainty at no more than twice the accuracy of guessing; exactly 1 throughout is another finding."""
    mean = float(confidence.mean())
    no_better = _at_least(hits, confidence.size, min(2 / num_classes, 0.5)) > CHANCE_LEVEL
    if SURE < mean <= 1.0 and bool(np.any(confidence < 1.0)) and no_better:
        accuracy = f"{hits / confidence.size:.2%} right"
        yield Finding("confidence", f"mean confidence {mean:.3f} with {accuracy} of {confidence.size} images")


def _at_least(hits: int, num_images: int, chance: float) -> float:
    """Probability that guessing is right at least `hits` times (exact binomial)."""
    return 1.0 if hits == 0 else float(special.bdtrc(hits - 1, num_images, chance))


def _check(
    top1: NDArray[Any], labels: NDArray[Any], confidence: NDArray[Any], top5: NDArray[Any] | None, num_classes: int
) -> None:
    if labels.ndim != 1 or top1.shape != labels.shape or confidence.shape != labels.shape:
        raise ValueError(f"need [N] three times, got {top1.shape}, {labels.shape} and {confidence.shape}")
    if top5 is not None and (top5.ndim != 2 or top5.shape[:1] != labels.shape):
        raise ValueError(f"top5 must be [N, k], got {top5.shape}")
    for name, classes in (("top1", top1), ("labels", labels)):
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(f"{name} must be in 0..{num_classes - 1}, got {classes.min()}..{classes.max()}")
