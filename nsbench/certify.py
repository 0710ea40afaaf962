"""Known models on the user's own files beside their published figures: what no arithmetic can check.

A wrong decoder, resize, crop, label order or normalisation moves these numbers by more than their tolerance.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nsbench.errors import ConfigError
from nsbench.metrics.certified import CERTIFIED, EFFICIENTNET_B0_NS, Certified
from nsbench.metrics.published_models import RESNET50
from nsbench.results import read_results
from nsbench.runfolder import RunFolder

DEFAULT_MODELS = (RESNET50, EFFICIENTNET_B0_NS)
"""Models whose figures on many suites are published."""

_RELEASED = {"imagenet-c": "released-jpeg", "imagenet-p": "released-h264"}
_IMAGES = {
    "imagenet": 50_000,
    "imagenet-a": 7_500,
    "imagenet-r": 30_000,
    "imagenet-v2": 10_000,
    "imagenet-sketch": 50_000,
    "imagenet-c": 50_000,
    "imagenet-p": 50_000,
}
"""Images of a whole set, or a little fewer; results of less are not comparable."""
_CLEAN_IMAGES = 10_000  # 50 of each of 200 classes
_REAL_IMAGES = 46_000  # those that have a label


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One published figure beside the measured one, in the units that are printed (points or percent)."""

    model: str
    what: str
    measured: float
    published: float
    tolerance: float
    partial: bool
    """The measured images are not the whole set: nothing follows."""
    source: str

    @property
    def agrees(self) -> bool:
        """Whether the figures are within the tolerance; a partial set contradicts nothing."""
        return self.partial or abs(self.measured - self.published) <= self.tolerance

    @property
    def verdict(self) -> str:
        """For people."""
        if self.partial:
            return "not comparable: a part of the images"
        return "agrees" if self.agrees else "DIFFERS"


def certified_evals(models: Sequence[str]) -> tuple[str, ...]:
    """The evals of which there are published figures for one of the models.

    Raises:
        ConfigError: none of a model's figures is known.
    """
    known = {figure.model for figure in CERTIFIED}
    for model in models:
        if model not in known:
            raise ConfigError(f"no published figures of {model} are known here; known: {', '.join(sorted(known))}")
    return tuple(dict.fromkeys(figure.eval for figure in CERTIFIED if figure.model in models))


def compare(folder: RunFolder) -> list[Comparison]:
    """Every published figure that the run measured, beside it."""
    results, run = read_results(folder.results), folder.read_run()
    found = []
    for figure in CERTIFIED:
        rows = results[
            (results.model == figure.model)
            & (results["eval"] == figure.eval)
            & (results.subset == figure.subset)
            & (results.level == figure.level)
            & (results.metric == figure.metric)
            & (results.versus == "")
        ]
        found += [_comparison(figure, row, run) for row in rows.itertuples() if _same_pixels(figure, row)]
    return found


def _same_pixels(figure: Certified, row: Any) -> bool:
    """Whether the row is of the released images, where there are others."""
    needed = _RELEASED.get(figure.eval)
    return not math.isnan(row.value) and (needed is None or needed in row.protocol)


def _comparison(figure: Certified, row: Any, run: Mapping[str, Any]) -> Comparison:
    scale = 1 if figure.unit == "percent" else 100
    count = _CLEAN_IMAGES if figure.subset == "clean" else _REAL_IMAGES if figure.metric == "ReaL" else None
    return Comparison(
        model=figure.model,
        what=f"{figure.eval} {figure.metric}{'' if figure.subset == 'all' else f' ({figure.subset})'}",
        measured=row.value * scale,
        published=figure.value * scale,
        tolerance=figure.tolerance * scale,
        partial=bool(run.get("partial")) or row.n < (count or _IMAGES[figure.eval]),
        source=figure.citation,
    )
