"""Noisy Student's published ablations, as printed: only what was read in a source of the paper's v1 or v2.

Its tables of balancing, of joint training and of a student's initial weights could be read in none, and stand nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nsbench.metrics.reference import PAPER_V1, PAPER_V2


@dataclass(frozen=True, kw_only=True)
class PublishedAblation:
    """One study of a part of the recipe: top-1 accuracy on ImageNet."""

    what: str
    """Models and data of the study, and what its columns are."""
    columns: tuple[str, ...]
    """One empty name where there is but one column."""
    rows: Mapping[str, tuple[float | None, ...]]
    """Setting to a percentage for each column; None where the paper has no such run."""
    decimals: int = 1
    """As printed."""
    citation: str


_NOISE = {
    "supervised": (83.3, 84.0),
    "Noisy Student": (83.9, 84.9),
    "no augmentation": (83.6, 84.6),
    "no noise": (83.2, 84.3),
}
_NOISED_TEACHER = {"teacher with all noise": (83.7, 84.4)}

# Accuracy by the lower end of the teacher's confidence, in tenths
_SOFT = (77.52, 77.65, 77.72, 77.82, 77.70, 77.90, 77.81, 77.98, 77.97, 78.05)
_HARD = (75.75, 75.98, 76.28, 76.82, 76.93, 77.10, 77.34, 77.67, 77.96, 77.92)

_OF_NOISE = (
    "EfficientNet-B5 taught by EfficientNet-B5, with 1.3 M unlabelled images and standard augmentation, and with 130 M "
    "and RandAugment"
)


def _noise(what: str, *more: str) -> PublishedAblation:
    """The table of noise, which two groups share: its first two rows, and those of one of them."""
    rows = _NOISE | _NOISED_TEACHER
    return PublishedAblation(
        what=f"{_OF_NOISE}; {what}",
        columns=("1.3 M", "130 M"),
        rows=MappingProxyType({name: rows[name] for name in ("supervised", "Noisy Student", *more)}),
        citation=f"{PAPER_V2}, table of noise",
    )


PUBLISHED_ABLATIONS: Mapping[str, PublishedAblation] = MappingProxyType(
    {
        "noise": _noise("noise is taken from the student's unlabelled images alone", "no augmentation", "no noise"),
        "teacher-noise": _noise("the teacher labels under the student's noise", *_NOISED_TEACHER),
        "labels": PublishedAblation(
            what="EfficientNet-B0 taught by EfficientNet-B0, which has 77.3 % alone, with 1.3 M unlabelled images of "
            "one confidence of the teacher",
            columns=("soft", "hard"),
            rows=MappingProxyType(
                {
                    f"confidence {k / 10:.1f} to {(k + 1) / 10:.1f}": pair
                    for k, pair in enumerate(zip(_SOFT, _HARD, strict=True))
                }
            ),
            decimals=2,
            citation=f"{PAPER_V1}, figure of soft and hard labels (vector data)",
        ),
        "ratio": PublishedAblation(
            what="EfficientNets taught by EfficientNets, by the ratio of unlabelled to labelled images in a batch",
            columns=("1:1", "3:1", "6:1"),
            rows=MappingProxyType(
                {
                    "teacher B4 of 83.2 %": (84.0, 84.0, None),
                    "teacher L2 of 87.0 %": (86.7, 87.4, None),
                    "teacher L2 of 87.4 %": (None, 87.4, 87.9),
                }
            ),
            citation=f"{PAPER_V2}, table of batch ratios",
        ),
        "data-size": PublishedAblation(
            what="EfficientNet-B4 taught by EfficientNet-B4, which has 83.2 % alone, with a uniform sample of 130 M "
            "unlabelled images",
            columns=("",),
            rows=MappingProxyType(
                {"1/128": (83.4,), "1/64": (83.3,), "1/32": (83.7,), "1/16": (83.9,), "1/4": (83.8,), "all": (84.0,)}
            ),
            citation=f"{PAPER_V1}, table of unlabelled data",
        ),
    }
)
"""By the group of `nsbench.ablations` that changes the same part."""
