"""Words and number formats: how evals, metrics, subsets and generations are called on the page."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable

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
    "real_top1": MetricWords("ReaL top-1 accuracy"),
    "ECE": MetricWords("calibration error (ECE)"),
    "RMS": MetricWords("RMS calibration error"),
    "NLL": MetricWords("negative log-likelihood", 3),
    "Brier": MetricWords("Brier score", 3, percent=False),
    "AURRA": MetricWords("AURRA"),
    "error": MetricWords("error"),
    "CE": MetricWords("corruption error (CE)"),
    "mCE": MetricWords("mCE"),
    "relative_mCE": MetricWords("relative mCE"),
    "flip_probability": MetricWords("flip probability", 2),
    "FR": MetricWords("flip rate (FR)"),
    "mFR": MetricWords("mFR"),
    "T5D": MetricWords("top-5 distance (T5D)", 2),
    "random_sign_top1": MetricWords("top-1 under random signs"),
    "zero_gradient_images": MetricWords("images with zero gradient"),
    "zero_gradient_pixels": MetricWords("pixels with zero gradient"),
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
    "copies": MetricWords("kept, with copies", 0),
    "seconds": MetricWords("time", 1),
    "images_per_second": MetricWords("throughput", 0),
    "peak_memory_bytes": MetricWords("peak memory", 2),
}

_EVALS = {
    "imagenet": ("Clean test images", "ImageNet validation"),
    "imagenet-a": ("Hard images, filtered as ImageNet-A was", "ImageNet-A"),
    "imagenet-c": ("Corrupted images, ImageNet-C's protocol", "ImageNet-C"),
    "imagenet-p": ("Perturbation sequences, ImageNet-P's protocol", "ImageNet-P"),
    "fgsm": ("FGSM attack", "FGSM attack"),
    "attacks": ("Stronger attacks", "Stronger attacks"),
    "imagenet-r": ("Renditions", "ImageNet-R"),
    "imagenet-v2": ("A second test set", "ImageNet-V2"),
    "imagenet-sketch": ("Sketches", "ImageNet-Sketch"),
    "imagenet-o": ("Unknown classes", "ImageNet-O"),
    "objectnet": ("ObjectNet", "ObjectNet"),
    "pseudo-labels": ("Pseudo-labels", "Pseudo-labels"),
    "cost": ("Costs", "Costs"),
}
EVAL_ORDER = tuple(_EVALS)

_SHORT = {
    "imagenet": ("Clean", "ImageNet"),
    "imagenet-a": ("Hard images", "ImageNet-A"),
    "imagenet-c": ("Corruptions", "ImageNet-C"),
    "imagenet-p": ("Perturbations", "ImageNet-P"),
    "fgsm": ("FGSM", "FGSM"),
    "attacks": ("Attacks", "Attacks"),
}

VERSUS = {"gen0": "generation 0", "previous": "the generation before", "control": "the control"}
SHORT_VERSUS = {"gen0": "vs gen 0", "previous": "vs previous", "control": "vs control"}


def clean(text: object, limit: int = 160) -> str:
    """Text from outside on one line: no control characters, no overlong names. Escaping is the template's."""
    flat = re.sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\s]+", " ", str(text)).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def eval_title(name: str, imagenet: bool) -> str:
    """Title of an eval; only ImageNet's own data is called ImageNet."""
    return _EVALS[name][imagenet] if name in _EVALS else clean(name)


def eval_short(name: str, imagenet: bool) -> str:
    """One or two words."""
    return _SHORT[name][imagenet] if name in _SHORT else eval_title(name, imagenet)


def eval_rank(name: str) -> int:
    """Place of an eval on the page."""
    return EVAL_ORDER.index(name) if name in EVAL_ORDER else len(EVAL_ORDER)


def metric_words(metric: str) -> MetricWords:
    return METRICS.get(metric, MetricWords(clean(metric)))


def subset_label(subset: str) -> str:
    return clean(subset.removeprefix("class:").replace("_", " "))


def generation_label(generation: str) -> str:
    return f"gen {generation}" if generation.isdigit() else clean(generation)


def level_label(eval_name: str, level: str) -> str:
    """`severity 3`, `ε = 8/255`, or the level itself."""
    if level in ("", "mean"):
        return {"": "", "mean": "mean"}[level]
    if eval_name == "imagenet-c":
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
