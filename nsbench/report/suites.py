"""Which numbers of a suite stand for it where many suites stand side by side, and what they are called there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from nsbench.report.rows import NOT_EVALS, REMARKS, Key, listed
from nsbench.report.words import IMAGENET, clean, eval_rank, eval_short, metric_base, metric_words, subset_label

PAPER_EPSILON = "4"
"""In 1/255: the step of the ImageNet-A and Noisy Student papers' FGSM."""

Choose = Callable[[Sequence[Key]], list[Key]]


def _named(*metrics: str, level: str = "") -> Choose:
    """Numbers over the whole eval, by the metric's name without what it is relative to."""

    def choose(keys: Sequence[Key]) -> list[Key]:
        return [
            key
            for metric in metrics
            for key in keys
            if metric_base(key.metric) == metric and key.subset == "all" and key.level in ("", level)
        ]

    return choose


def _first_subset(preferred: str) -> Choose:
    def choose(keys: Sequence[Key]) -> list[Key]:
        accuracies = [key for key in keys if key.metric == "top1"]
        return sorted(accuracies, key=lambda key: key.subset != preferred)[:1]

    return choose


def _at_epsilon(keys: Sequence[Key]) -> list[Key]:
    """One number of each attack: at the papers' step where it is there, else the mean, else the first."""
    found: dict[str, Key] = {}
    for level in (PAPER_EPSILON, "mean", None):
        for key in keys:
            if key.metric == "top1" and level in (key.level, None):
                found.setdefault(key.subset, key)
    return list(found.values())


_HEADLINES: dict[str, Choose] = {
    "imagenet": _named("top1", "ReaL"),
    "imagenet-c": _named("error", "mCE", level="mean"),
    "imagenet-c-bar": _named("error", level="mean"),
    "imagenet-p": _named("flip_probability", "mFR"),
    "imagenet-v2": _first_subset("matched-frequency"),
    "imagenet-o": _named("AUPR"),
    "fgsm": _at_epsilon,
    "attacks": _at_epsilon,
}


_MEANS = ("imagenet-c", "imagenet-c-bar", "imagenet-p")


def headline_keys(frame: pd.DataFrame) -> tuple[Key, ...]:
    """The headline numbers of every suite that has rows, in page order.

    A suite without any gives its first number, unless the number is a mean that is not known: then one corruption does
    not stand for it.
    """
    measured = frame[(frame["versus"] == "") & ~frame["eval"].isin(NOT_EVALS) & ~frame["metric"].isin(REMARKS)]
    keys: dict[str, dict[Key, None]] = {}
    for row in listed(measured[["eval", "metric", "subset", "level"]].drop_duplicates()):
        keys.setdefault(row.eval, {})[Key(row.eval, row.metric, row.subset, row.level)] = None
    chosen: list[Key] = []
    for name in sorted(keys, key=eval_rank):
        of_eval = list(keys[name])
        first = [] if name in _MEANS and len(keys) > 1 else of_eval[:1]
        chosen += _HEADLINES.get(name, _named("top1"))(of_eval) or first
    return tuple(chosen)


def card_keys(keys: Sequence[Key]) -> tuple[Key, ...]:
    """One headline a suite."""
    return tuple({key.eval: key for key in reversed(keys)}[name] for name in dict.fromkeys(key.eval for key in keys))


_TITLES = {
    Key("imagenet", "top1"): "top-1",
    Key("imagenet", "ReaL"): "ReaL",
    Key("imagenet-a", "top1"): "A",
    Key("imagenet-r", "top1"): "R",
    Key("imagenet-v2", "top1", "matched-frequency"): "V2 mf",
    Key("imagenet-sketch", "top1"): "Sketch",
    Key("imagenet-o", "AUPR"): "O AUPR",
    Key("objectnet", "top1"): "ObjectNet",
    Key("imagenet-c", "error", level="mean"): "C error",
    Key("imagenet-c-bar", "error", level="mean"): "C-bar error",
    Key("imagenet-p", "flip_probability"): "P flips",
}


def column_title(key: Key) -> str:
    """A headline in as few words as tell it apart; a number that is relative to something keeps its own name."""
    if key in _TITLES:
        return _TITLES[key]
    if metric_base(key.metric) in ("mCE", "mFR"):
        return clean(key.metric)
    if key.eval in ("fgsm", "attacks") and key.metric == "top1":
        name = "FGSM" if key.eval == "fgsm" else subset_label(key.subset).upper()
        return f"{name} {_level(key.level)}".strip()
    if key.eval == "imagenet-v2" and key.metric == "top1":
        return f"V2 {clean(key.subset)}"
    words = (eval_short(key.eval, IMAGENET), metric_words(key.metric).label)
    rest = ("" if key.subset == "all" else subset_label(key.subset), clean(key.level))
    return " ".join(word for word in (*words, *rest) if word)


def _level(level: str) -> str:
    return level if level in ("", "mean") else f"{clean(level)}/255"
