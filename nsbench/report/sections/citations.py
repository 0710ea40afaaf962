"""BibTeX of the tool and of the work whose data and methods a report rests on."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from importlib import resources

from nsbench.report.model import Code, Fold
from nsbench.report.words import clean

_OF_EVAL = {
    "imagenet-a": "hendrycks2021natural",
    "imagenet-o": "hendrycks2021natural",
    "imagenet-r": "hendrycks2021many",
    "imagenet-v2": "recht2019imagenet",
    "imagenet-sketch": "wang2019learning",
    "objectnet": "barbu2019objectnet",
    "imagenet-c": "hendrycks2019benchmarking",
    "imagenet-c-bar": "mintun2021interaction",
    "imagenet-p": "hendrycks2019benchmarking",
    "fgsm": "goodfellow2015explaining",
    "attacks": "madry2018towards",
}
_OF_METRIC = {"ReaL": "beyer2020done", "ECE": "guo2017calibration", "effective_robustness": "taori2020measuring"}


@functools.cache
def entries() -> Mapping[str, str]:
    """Every entry of `citations.bib`, by its key."""
    text = (resources.files("nsbench.report") / "citations.bib").read_text(encoding="utf-8")
    found = (entry.strip() for entry in re.split(r"\n(?=@)", text))
    return {re.match(r"@\w+\{([^,]+),", entry)[1]: entry for entry in found}  # type: ignore[index]


def bibtex_fold(
    version: str, evals: Collection[str], metrics: Collection[str], *, is_trained: bool, is_imagenet: bool
) -> Fold:
    """BibTeX of nsbench and of what a report used.

    Args:
        is_trained: whether students were trained.
        is_imagenet: whether ImageNet's own images were shown.
    """
    # BibTeX has no escape for braces: what could end the entry is left out
    safe = re.sub(r"[^\w.+-]", "", clean(version, 40)) or "unknown"
    title = "{nsbench}: {Noisy Student} Self-Training behind a Robustness Benchmark"
    keys = [*(["xie2020noisy"] if is_trained else []), *(["russakovsky2015imagenet"] if is_imagenet else [])]
    keys += [key for name, key in _OF_EVAL.items() if name in evals]
    keys += [key for name, key in _OF_METRIC.items() if name in metrics]
    tool = f"@software{{nsbench,\n  title = {{{title}}},\n  version = {{{safe}}},\n}}"
    text = "\n\n".join([tool, *(entries()[key] for key in dict.fromkeys(keys))])
    return Fold(summary="BibTeX of nsbench and of the work that this rests on", blocks=(Code(title="", text=text),))
