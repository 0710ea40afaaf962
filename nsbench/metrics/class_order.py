"""Is the model right under other numbers of the classes? Two well-known misreadings by name, and any one-to-one other.

ImageNet-V2's folders are named 0..999, and sorted as text they read 0, 1, 10, 100, 101, ...; heads of 1,001 classes
have a background class first, which moves every other by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]

FACTOR = 5
"""The other numbers have to explain five times as many answers as the labels do. Neighbours among ImageNet's classes
resemble each other, but a model is far more often right than one class beside it."""

MIN_EXPLAINED = 10
"""Answers that a misreading explains: fewer may be accidents."""

MIN_SHARE, CHANCES = 0.1, 5
"""A known misreading explains at least a tenth of the answers and five times what guessing would, but more than half
is never asked. It has nothing to fit, so a tenth is no accident; corrupted cells below it are spoken for by the
others."""

MIN_SHARE_FITTED = 0.5
"""A mapping learnt from half of the images explains at least half of the answers to the other half. Confusions that a
real model makes consistently explain a few percent: it would have to take most classes for one other class each."""

MIN_MAPPED = 5
"""Classes that such a mapping covers: less may be twins in a small set (ImageNet has maillot twice)."""


def text_order(num_classes: int) -> NDArray[np.int64]:
    """[num_classes] int: the class whose number stands j-th when the numbers are sorted as text."""
    return np.array(sorted(range(num_classes), key=str), dtype=np.int64)


def class_order_off(top1: Ints, labels: Ints, num_classes: int) -> str:
    """One line if other class numbers explain the answers far better than the labels do; else nothing.

    top1, labels: [N] int in 0..num_classes - 1.
    """
    hits = int(np.count_nonzero(top1 == labels))
    for words, explained in _known_misreadings(top1, labels, num_classes):
        enough = max(MIN_EXPLAINED, FACTOR * hits, labels.size * min(0.5, max(MIN_SHARE, CHANCES / num_classes)))
        if explained >= enough:
            share, right = explained / labels.size, hits / labels.size
            return f"class order off: {words}; read so, {share:.1%} are right instead of {right:.1%}"
    right = hits / max(labels.size, 1)
    if FACTOR * right > 1:  # nothing can explain more than all answers; this spares the fit for any sound cell
        return ""
    explained, tested, mapped = _fitted(top1, labels)
    fits = explained >= max(MIN_EXPLAINED, MIN_SHARE_FITTED * tested, FACTOR * right * tested)
    if not fits or mapped < min(MIN_MAPPED, num_classes):
        return ""
    return (
        f"class order off: other numbers for the classes explain {explained / tested:.1%} of the answers, "
        f"the labels {right:.1%}"
    )


def _known_misreadings(top1: Ints, labels: Ints, num_classes: int) -> list[tuple[str, int]]:
    """What may have happened, and how many answers are right if it has."""
    order = text_order(num_classes)
    texts = "0, 1, 10, 100, ..."
    readings = [
        ("every prediction is one class too high (a background class first?)", top1 == labels + 1),
        ("every prediction is one class too low (labels counted from 1?)", top1 == labels - 1),
    ]
    if num_classes > 10:  # up to 9 text and numbers sort alike
        readings += [
            (f"the labels count folders sorted as text ({texts})", top1 == order[labels]),
            (f"the model's classes are folders sorted as text ({texts})", order[top1] == labels),
        ]
    return [(words, int(np.count_nonzero(right))) for words, right in readings]


def _fitted(top1: Ints, labels: Ints) -> tuple[int, int, int]:
    """How many answers a mapping from labels to classes explains, of how many it was tested on, and its size.

    The mapping takes each label to its most frequent answer, one to one: an answer belongs to the label that has most
    of it. It is learnt on every other image of a class and tested on the rest, then the other way round, so that what
    it explains is no echo of what it was fitted to.
    """
    place = _place_within_class(labels)
    explained = tested = 0
    mapped = len(labels)
    for half in (0, 1):
        learn, test = place % 2 == half, place % 2 != half
        answer_of = _one_to_one(top1[learn], labels[learn])
        known = np.isin(labels[test], labels[learn])
        expected = np.array([answer_of.get(label, -1) for label in labels[test].tolist()], dtype=np.int64)
        explained += int(np.count_nonzero(expected == top1[test]))
        tested += int(np.count_nonzero(known))
        mapped = min(mapped, len(answer_of))
    return explained, tested, mapped


def _place_within_class(labels: Ints) -> NDArray[np.int64]:
    """[N] how many images of its class come before each image."""
    by_class = np.argsort(labels, kind="stable")
    _, first, size = np.unique(labels[by_class], return_index=True, return_counts=True)
    place = np.empty(labels.size, dtype=np.int64)
    place[by_class] = np.arange(labels.size) - np.repeat(first, size)
    return place


def _one_to_one(top1: Ints, labels: Ints) -> dict[int, int]:
    """Label -> its most frequent answer; of labels that share one, only the label with the most of it."""
    width = int(top1.max(initial=0)) + 1
    pairs, counts = np.unique(labels.astype(np.int64) * width + top1, return_counts=True)
    most_first = [divmod(pair, width) for pair in pairs[np.argsort(-counts, kind="stable")].tolist()]
    answer_of: dict[int, int] = {}
    for label, answer in most_first:
        answer_of.setdefault(label, answer)
    label_of: dict[int, int] = {}
    for label, answer in most_first:
        if answer_of[label] == answer:
            label_of.setdefault(answer, label)
    return {label: answer for answer, label in label_of.items()}
