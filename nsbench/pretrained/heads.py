"""Which of a head's logits are ImageNet's thousand classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.errors import DataError

SUBSETS = {
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21842: "imagenet-22k-ms",
    21843: "imagenet-21k-goog",
}
"""Width of a head to timm's name for its classes (`timm/data/imagenet_info.py`)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """What the logits of a model stand for."""

    columns: tuple[int, ...] | None = None
    """The logits of ImageNet's classes 0..999, in this order; None keeps all as they are."""
    classes: tuple[str, ...] | None = None
    """Names of the classes after the selection, where they are known."""
    note: str = ""


class Columns(nn.Module):
    """Some of the logits, in a new order: [N, C] to [N, len(columns)]."""

    columns: Tensor

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long))

    def forward(self, logits: Tensor) -> Tensor:
        return logits.index_select(1, self.columns)


def head_of(name: str, width: int, classes: Sequence[str] | None = None) -> Head:
    """What `width` logits stand for.

    Args:
        name: the model, for messages.
        width: number of logits.
        classes: the head's own class names, where the model comes with them; they go before a guess from the width.

    Returns:
        ImageNet's thousand where the head has them: 1000 as they are, 1001 without TensorFlow's background class,
        which comes first, larger ones by WordNet id. Of any other head all logits; a user's own classes.

    Raises:
        DataError: names and logits are not equally many; or a head of ImageNet-12k, -21k or -22k lacks a class of the
            thousand, as all but Microsoft's do: a mean over fewer classes is no top-1 accuracy.
    """
    if classes is not None:
        if len(classes) != width:
            raise DataError(f"{name} names {len(classes)} classes, but has {width} logits")
        return _by_name(tuple(classes), f"{width} named classes") or Head(classes=tuple(classes))
    if width == 1000:
        return Head(classes=imagenet_wnids())
    if width == 1001:
        note = "1,001 logits: the first, TensorFlow's background class, is left out"
        return Head(columns=tuple(range(1, 1001)), classes=imagenet_wnids(), note=note)
    if width not in SUBSETS:
        return Head()
    from timm.data.imagenet_info import ImageNetInfo

    synsets = tuple(ImageNetInfo(SUBSETS[width]).label_names())  # type: ignore[no-untyped-call]
    head = _by_name(synsets, SUBSETS[width])
    if head is None:
        known = set(synsets)
        missing = [wnid for wnid in imagenet_wnids() if wnid not in known]
        raise DataError(
            f"{name} has the {width:,} classes of {SUBSETS[width]}, without {len(missing)} of ImageNet's thousand "
            f"({missing[0]} first); take weights that were fine-tuned on ImageNet-1k"
        )
    return head


def _by_name(classes: tuple[str, ...], of: str) -> Head | None:
    """The thousand among the classes; None where some of them are missing."""
    wanted = imagenet_wnids()
    if classes == wanted:
        return Head(classes=wanted)
    place = {wnid: column for column, wnid in enumerate(classes)}
    if not all(wnid in place for wnid in wanted):
        return None
    note = f"the logits of ImageNet's 1,000 classes are taken out of {of}"
    return Head(columns=tuple(place[wnid] for wnid in wanted), classes=wanted, note=note)
