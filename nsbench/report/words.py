"""Words and number formats: how evals, metrics, subsets and levels are called on the page."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
AGGREGATE = "all seeds"
"""Value of `run` in rows over several seeds."""


@dataclasses.dataclass(frozen=True)
class MetricWords:
    """How one metric is written."""

    label: str
    decimals: int = 1
    percent: bool = True
    """Fractions of it are shown as percent."""


METRICS = {
    "top1": MetricWords("top-1 accuracy"),
    "top5": MetricWords("top-5 accuracy"),
    "ReaL": MetricWords("ReaL top-1 accuracy"),
    "ECE": MetricWords("calibration error (ECE)"),
    "ECE_debiased": MetricWords("calibration error (ECE), debiased"),
    "RMS": MetricWords("RMS calibration error"),
    "RMS_reference": MetricWords("RMS calibration error, as in the reference code"),
    "NLL": MetricWords("negative log-likelihood", 3),
    "Brier": MetricWords("Brier score", 3, percent=False),
    "effective_robustness": MetricWords("effective robustness"),
    "class_top1": MetricWords("top-1 of the class"),
    "reliability_images": MetricWords("images in the bin", 0),
    "reliability_accuracy": MetricWords("accuracy in the bin"),
    "reliability_confidence": MetricWords("mean confidence in the bin"),
    "worst_tenth_top1": MetricWords("top-1 of the worst tenth of the classes"),
    "negative_flips": MetricWords("negative flips"),
    "AURRA": MetricWords("AURRA"),
    "top1_all_classes": MetricWords("top-1 among all classes"),
    "AUPR": MetricWords("AUPR"),
    "error": MetricWords("error"),
    "clean_error": MetricWords("clean error"),
    "error_19": MetricWords("error, mean of 19 corruptions"),
    "error_where_both_right_when_clean": MetricWords("error where both are right when clean"),
    "CE": MetricWords("corruption error (CE)"),
    "mCE": MetricWords("mCE"),
    "relative_CE": MetricWords("relative CE"),
    "relative_mCE": MetricWords("relative mCE"),
    "flip_probability": MetricWords("flip probability", 2),
    "FR": MetricWords("flip rate (FR)"),
    "mFR": MetricWords("mFR"),
    "T5D": MetricWords("top-5 distance (T5D)", 2),
    "T5D_relative": MetricWords("top-5 distance, % of the baseline's"),
    "mT5D": MetricWords("mT5D"),
    "top1_all_frames": MetricWords("top-1 over all frames"),
    "random_sign_top1": MetricWords("top-1 under random signs"),
    "attack_success": MetricWords("attack success"),
    "zero_gradient_images": MetricWords("images with zero gradient"),
    "zero_gradient_pixels": MetricWords("pixels with zero gradient"),
    "warnings": MetricWords("warnings", 0),
    "unreadable_images": MetricWords("unreadable images", 0),
    "images": MetricWords("images", 0),
    "kept": MetricWords("kept"),
    "accuracy": MetricWords("accuracy"),
    "kept_accuracy": MetricWords("accuracy of the kept"),
    "mean_confidence": MetricWords("mean confidence"),
    "agreement": MetricWords("agreement with the labels before"),
    "threshold": MetricWords("confidence threshold", 2, percent=False),
    "unique": MetricWords("images in the training set", 0),
    "duplicates": MetricWords("copies added by the balance", 0),
    "predicted": MetricWords("predicted", 0),
    "kept_images": MetricWords("kept, unique", 0),
    "capped": MetricWords("sure enough, left out by the balance", 0),
    "copies": MetricWords("kept, with copies", 0),
    "seconds": MetricWords("time", 1),
    "images_per_second": MetricWords("throughput", 0),
    "peak_memory_bytes": MetricWords("peak memory", 2),
    "parameters": MetricWords("parameters", 0),
}

_EVALS = {
    "imagenet": ("Clean test images", "ImageNet validation"),
    "imagenet-a": ("Hard images, filtered as ImageNet-A was", "ImageNet-A"),
    "imagenet-r": ("Renditions", "ImageNet-R"),
    "imagenet-v2": ("A second test set", "ImageNet-V2"),
    "imagenet-sketch": ("Sketches", "ImageNet-Sketch"),
    "objectnet": ("ObjectNet", "ObjectNet"),
    "imagenet-o": ("Unknown classes", "ImageNet-O"),
    "imagenet-c": ("Corrupted images, ImageNet-C's protocol", "ImageNet-C"),
    "imagenet-c-bar": ("Corruptions unlike ImageNet-C's", "ImageNet-C-bar"),
    "imagenet-p": ("Perturbation sequences, ImageNet-P's protocol", "ImageNet-P"),
    "fgsm": ("FGSM attack", "FGSM attack"),
    "attacks": ("Stronger attacks", "Stronger attacks"),
    "pseudo-labels": ("Pseudo-labels", "Pseudo-labels"),
    "cost": ("Costs", "Costs"),
}
"""Eval to (name for any data, name for ImageNet's own)."""

EVAL_ORDER = tuple(_EVALS)

IMAGENET = frozenset(_EVALS)
"""Evals that carry ImageNet's names where the test images are ImageNet's own."""

RELEASED = IMAGENET - {"imagenet", "imagenet-c", "imagenet-p", "fgsm", "attacks"}
"""Evals that carry them whatever the clean images are: their images are those that were released."""

_SHORT = {
    "imagenet": ("Clean", "ImageNet"),
    "imagenet-a": ("Hard images", "ImageNet-A"),
    "imagenet-c": ("Corruptions", "ImageNet-C"),
    "imagenet-p": ("Perturbations", "ImageNet-P"),
    "fgsm": ("FGSM", "FGSM"),
    "attacks": ("Attacks", "Attacks"),
}


UNSEEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f"
)
"""Characters that take no room or turn the text around, for a class of a regular expression."""


def clean(text: object, limit: int = 160) -> str:
    """Text from outside on one line: no control characters, no overlong names. Escaping is the template's."""
    flat = re.sub(rf"[{UNSEEN}\s]+", " ", str(text)).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def visible(text: str) -> str:
    """Text of several lines in which what would not be seen, or would turn the text around, is spelt out."""
    return re.sub(rf"(?![\t\n])[{UNSEEN}]", lambda found: f"\\u{ord(found.group()):04x}", text)


def shortened(text: object, limit: int) -> str:
    """`clean` text without its middle, where what tells names apart seldom stands."""
    flat = clean(text, 100_000)
    keep = limit - 1
    return flat if len(flat) <= limit else f"{flat[: keep - keep // 2]}…{flat[-(keep // 2) :]}"


def eval_title(name: str, imagenet: Collection[str]) -> str:
    """Title of an eval; only the evals in `imagenet` show ImageNet's own data and are called so."""
    return _EVALS[name][name in imagenet] if name in _EVALS else clean(name)


def eval_short(name: str, imagenet: Collection[str]) -> str:
    """One or two words."""
    return _SHORT[name][name in imagenet] if name in _SHORT else eval_title(name, imagenet)


def eval_rank(name: str) -> int:
    """Place of an eval on the page."""
    return EVAL_ORDER.index(name) if name in EVAL_ORDER else len(EVAL_ORDER)


def metric_base(metric: str) -> str:
    """`mCE` of `mCE, AlexNet table, device-jpeg85`: what follows the comma says what it is relative to."""
    return metric.partition(",")[0]


def metric_words(metric: str) -> MetricWords:
    base, comma, suffix = metric.partition(",")
    words = METRICS.get(base, MetricWords(clean(base)))
    return dataclasses.replace(words, label=words.label + clean(comma + suffix)) if comma else words


def subset_label(subset: str) -> str:
    return clean(subset.removeprefix("class:").replace("_", " "))


def level_label(eval_name: str, level: str) -> str:
    """`severity 3`, `ε = 8/255`, or the level itself."""
    if level in ("", "mean"):
        return {"": "", "mean": "mean"}[level]
    if eval_name in ("imagenet-c", "imagenet-c-bar"):
        return f"severity {clean(level)}"
    if eval_name in ("fgsm", "attacks"):
        return f"ε = {clean(level)}/255"
    return clean(level)


def scale_of(metric: str, unit: str) -> float:
    """Factor from the stored number to the shown one."""
    if unit == "fraction" and metric_words(metric).percent:
        return 100.0
    return 2.0**-30 if unit == "bytes" else 1.0


def unit_label(metric: str, unit: str, delta: bool) -> str:
    """What follows the shown number."""
    if unit == "percent" or (unit == "fraction" and metric_words(metric).percent):
        return "points" if delta else "%"
    known = {"fraction": "", "count": "", "bytes": "GiB", "seconds": "s"}
    return known.get(unit, clean(unit))


def number_text(value: float, decimals: int, signed: bool = False) -> str:
    """A number with U+2212 for minus and a dash for nan."""
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    text = f"{abs(value):,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def enough_decimals(values: Iterable[float], decimals: int) -> int:
    """Decimals with which no number but 0 itself is written as 0, within reason."""
    known = [abs(value) for value in values if math.isfinite(value) and value != 0]
    while known and decimals < 4 and round(min(known), decimals) == 0:
        decimals += 1
    return decimals


def p_text(p: float) -> str:
    if math.isnan(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def plural(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
