"""What papers printed, and which of one's own numbers may stand beside it: those of the same images and protocol."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any

from nsbench.metrics.reference import EFFICIENTNET_L2, PUBLISHED, STUDENT_V1, STUDENT_V2, Published
from nsbench.report.model import Series
from nsbench.report.rows import Key, Rows

_RELEASED = "released"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """When a measured number may stand beside the papers' of one suite."""

    key: Key
    """The number."""
    wanted: str
    """What the papers' are of, as a sentence says it."""
    num: int
    """Images, or videos of a perturbation, of the whole set."""
    matches: Callable[[str], bool] = lambda _: True
    """Whether a protocol is the papers'."""
    because: str
    """Why nothing else stands beside them."""


def _relative(protocol: str) -> bool:
    return _RELEASED in protocol and "relative to AlexNet" in protocol and "other pixels" not in protocol


COMPARISONS = {
    "imagenet": Comparison(
        key=Key("imagenet", "top1"),
        wanted="all 50,000 validation images of ImageNet",
        num=50_000,
        because="accuracies on other images, or on a part of these, are other quantities",
    ),
    "imagenet-a": Comparison(
        key=Key("imagenet-a", "top1"),
        wanted="the 7,500 images of ImageNet-A, answers among its 200 classes",
        num=7_500,
        matches=lambda protocol: "answers among 200 classes" in protocol,
        because="hard images of another collection are hard in another way",
    ),
    "imagenet-c": Comparison(
        key=Key("imagenet-c", "mCE", level="mean"),
        wanted="the released JPEGs of ImageNet-C, errors relative to AlexNet's on them",
        num=50_000,
        matches=_relative,
        because="corruptions computed anew are other pixels, and errors relative to another model are another scale",
    ),
    "imagenet-p": Comparison(
        key=Key("imagenet-p", "mFR"),
        wanted="the released videos of ImageNet-P, flips relative to AlexNet's on them",
        num=50_000,
        matches=_relative,
        because="sequences computed anew, or encoded otherwise, flip more or less often",
    ),
    "fgsm": Comparison(
        key=Key("fgsm", "top1", level="4"),
        wanted="ImageNet's validation images at an input of 800 px",
        num=50_000,
        matches=lambda protocol: ", 800 px" in protocol,
        because="vulnerability grows with the size of the input, so no other size may stand beside them",
    ),
}
"""By eval."""


def matching(rows: Rows, eval_name: str, imagenet: Collection[str]) -> dict[str, Any]:
    """Rows by generation or model that were measured as the papers' numbers of a suite were."""
    asked = COMPARISONS[eval_name]
    found = {name: rows.raw(name, asked.key) for name in rows.names}
    return {
        name: row
        for name, row in found.items()
        if row is not None
        and not math.isnan(row.value)
        and eval_name in imagenet
        and _is_whole(row, asked.num)
        and asked.matches(row.protocol)
    }


def _is_whole(row: Any, num: int) -> bool:
    """Whether a row is of a whole set; one over seeds counts seeds, and its protocol counts the images."""
    named = f", {num} images" in row.protocol
    return "partial" not in row.protocol and (row.n == num or named)


def printed(eval_name: str) -> list[Published]:
    """Published figures of a suite."""
    return [one for one in PUBLISHED if one.eval == eval_name]


def fgsm_curves() -> tuple[Series, ...]:
    """The paper's FGSM curves, in percent by epsilon in 1/255."""
    roles = {STUDENT_V2: "published", EFFICIENTNET_L2: "published-2", STUDENT_V1: "published-3"}
    curves = []
    for model, role in roles.items():
        points = sorted((float(one.level), 100 * one.value) for one in printed("fgsm") if one.model == model)
        x, y = zip(*points, strict=True)
        curves.append(Series(role=role, label=f"published: {model}", x=x, y=y))
    return tuple(curves)
