"""Published means recomputed from published inputs, by the functions that every eval uses: `nsbench check --golden`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nsbench.metrics import mean_corruption_error, mean_flip_rate, relative_mean_corruption_error
from nsbench.metrics.published_models import ON_IMAGENET_C, ON_IMAGENET_P, PublishedErrors

NOT_RECOMPUTED = (
    "RMS calibration error and AURRA of ResNeXt-101 32x8d and its four WSL models on ImageNet-A (resnext-wsl): they "
    "take every image's confidence, and only the two figures are at hand",
)
"""What is published but no check of the arithmetic, one line each."""


@dataclass(frozen=True, kw_only=True)
class GoldenCheck:
    """One published mean beside the one computed from its inputs here and now."""

    model: str
    metric: str
    """mCE, relative_mCE or mFR."""
    computed: float
    """Percent."""
    published: float
    """Percent."""
    tolerance: float
    """Percent: the rounding of what is printed."""
    derived: bool
    """`published` was computed from the same inputs once before, and is printed in no source."""
    source: str

    @property
    def passed(self) -> bool:
        return abs(self.computed - self.published) <= self.tolerance  # False for nan


def check_golden() -> list[GoldenCheck]:
    """Every model whose errors or flip probabilities are published, through the public metrics. Milliseconds."""
    return [*_on_imagenet_c(), *_on_imagenet_p()]


def _on_imagenet_c() -> Iterator[GoldenCheck]:
    for row in ON_IMAGENET_C:
        yield GoldenCheck(
            model=row.model,
            metric="mCE",
            computed=mean_corruption_error(row.errors),
            published=row.mce,
            tolerance=row.tolerance,
            derived=row.derived,
            source=row.source,
        )
        yield from _relative(row)


def _relative(row: PublishedErrors) -> Iterator[GoldenCheck]:
    if row.clean_error is not None and row.relative_mce is not None:
        yield GoldenCheck(
            model=row.model,
            metric="relative_mCE",
            computed=relative_mean_corruption_error(row.errors, row.clean_error),
            published=row.relative_mce,
            tolerance=row.tolerance,
            derived=True,
            source=row.source,
        )


def _on_imagenet_p() -> Iterator[GoldenCheck]:
    for row in ON_IMAGENET_P:
        yield GoldenCheck(
            model=row.model,
            metric="mFR",
            computed=mean_flip_rate(row.flips),
            published=row.mfr,
            tolerance=row.tolerance,
            derived=row.derived,
            source=row.source,
        )
