"""What is odd about a cell, in words: answers that no sound model gives, or an attack that finds nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsbench.evals.base import Arrays
from nsbench.evals.fgsm import sweep_findings
from nsbench.metrics.guards import findings

_MADE_HARD = ("imagenet-a", "imagenet-o", "attacks")
_NO_LABELS = ("imagenet-o", "objectnet")
"""Evals whose images have none of the classes, or several that are right."""


HALVED = "halved_batch"
"""Array [] of a cell that was answered in smaller batches than its protocol says."""


def findings_of(eval_name: str, arrays: Arrays) -> tuple[str, ...]:
    """One line for each oddity of a cell."""
    halved = (f"memory ran out: answered in batches of {int(arrays[HALVED]):,} images",) if HALVED in arrays else ()
    return (*halved, *_findings(eval_name, arrays))


def _findings(eval_name: str, arrays: Arrays) -> tuple[str, ...]:
    if eval_name == "fgsm":
        right, control = (arrays[name] == arrays["labels"] for name in ("top1", "random_sign_top1"))
        return sweep_findings(arrays["epsilons_px"], right, control)
    if eval_name in _NO_LABELS or "top1" not in arrays or "labels" not in arrays:
        return ()
    top1, labels = arrays["top1"], arrays["labels"]
    is_film = top1.ndim == 2
    if is_film:  # a video's first frame, which has seen next to nothing
        top1 = top1[:, 0]
    num_classes = int(arrays["num_classes"]) if "num_classes" in arrays else int(max(top1.max(), labels.max())) + 1
    if "answers_among" in arrays:
        among = arrays["answers_among"]
        top1, labels, num_classes = _place(among, top1), _place(among, labels), len(among)
    confidence = arrays["confidence"] if "confidence" in arrays else np.full(len(labels), 0.5)
    hard = eval_name in _MADE_HARD
    found = findings(top1, labels, confidence, num_classes, made_hard=hard)
    if any(one.kind == "chance" for one in found) and not is_film and "top5" in arrays:
        top5 = arrays["top5"]  # a megabyte of each of hundreds of cells, and it changes no other finding
        top5 = _place(arrays["answers_among"], top5) if "answers_among" in arrays else top5
        found = findings(top1, labels, confidence, num_classes, top5=top5, made_hard=hard)
    return tuple(one.words for one in found)


def _place(among: npt.NDArray[np.int32], classes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return np.searchsorted(among, classes).astype(np.int64)
