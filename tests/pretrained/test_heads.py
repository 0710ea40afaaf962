"""Which logits are ImageNet's: against a slow look-up of timm's lists, and refused where a class is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.errors import DataError
from nsbench.pretrained import wrap
from nsbench.pretrained.heads import SUBSETS, Columns, Head, head_of

THOUSAND = imagenet_wnids()


def synsets(file: str) -> list[str]:
    spec = importlib.util.find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "data" / "_info" / file).read_text().split()


class Fixed(nn.Module):
    """Logit k is k, whatever the image, plus the image's mean: so every column says where it came from."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("base", torch.arange(float(width)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.base + images.mean(dim=(1, 2, 3))[:, None]


def test_a_thousand_is_imagenet_as_it_is() -> None:
    assert head_of("m", 1000) == Head(classes=THOUSAND)
    model = wrap(Fixed(1000))
    assert (model.num_classes, model.classes, model.notes) == (1000, THOUSAND, ())
    assert model.model(torch.zeros(1, 3, 8, 8))[0, 17] == 17


def test_tensorflows_background_is_left_out() -> None:
    model = wrap(Fixed(1001))
    assert (model.num_classes, model.classes) == (1000, THOUSAND)
    assert torch.equal(model.model(torch.zeros(2, 3, 8, 8)), torch.arange(1.0, 1001.0).expand(2, 1000))
    assert any("1,001 logits" in note for note in model.notes)
    assert not any(module.training for module in model.model.modules())
    assert wrap(Fixed(1001), num_classes=1000).num_classes == 1000
    assert wrap(Fixed(1001), num_classes=1001).num_classes == 1000


def test_microsofts_22k_holds_all_thousand() -> None:
    listed = synsets("imagenet22k_ms_synsets.txt")
    model = wrap(Fixed(21842))
    assert model.classes == THOUSAND
    assert model.model(torch.zeros(1, 3, 8, 8))[0].tolist() == [float(listed.index(wnid)) for wnid in THOUSAND]
    assert any("imagenet-22k-ms" in note for note in model.notes)


@pytest.mark.parametrize(
    ("width", "file", "count", "first"),
    [
        (11221, "imagenet21k_miil_synsets.txt", 9, "n02085782"),
        (11821, "imagenet12k_synsets.txt", 7, "n02085782"),
        (21841, "imagenet22k_synsets.txt", 1, "n04399382"),
        (21843, "imagenet21k_goog_synsets.txt", 1, "n04399382"),
    ],
)
def test_heads_that_lack_some_of_the_thousand_are_refused(width: int, file: str, count: int, first: str) -> None:
    listed = set(synsets(file))
    assert len(listed) == width
    assert len([wnid for wnid in THOUSAND if wnid not in listed]) == count
    with pytest.raises(DataError, match=rf"m has the {width:,} classes .* without {count} .*\({first} first\)"):
        head_of("m", width)


def test_every_list_of_timms_is_as_long_as_its_heads() -> None:
    from timm.data.imagenet_info import ImageNetInfo

    for width, subset in SUBSETS.items():
        assert len(ImageNetInfo(subset).label_names()) == width


@pytest.mark.parametrize("width", [2, 10, 200, 999, 1002, 19168])
def test_another_width_is_kept_without_names(width: int) -> None:
    assert head_of("m", width) == Head()
    model = wrap(Fixed(width))
    assert (model.num_classes, model.classes) == (width, None)


def test_names_go_before_a_guess_from_the_width() -> None:
    own = tuple(f"class {k}" for k in range(1000))
    assert head_of("m", 1000, own) == Head(classes=own)
    assert head_of("m", 3, ["a", "b", "c"]) == Head(classes=("a", "b", "c"))
    assert head_of("m", 1000, THOUSAND) == Head(classes=THOUSAND)
    with pytest.raises(DataError, match="names 2 classes, but has 3 logits"):
        head_of("m", 3, ["a", "b"])


@given(st.randoms(use_true_random=False), st.integers(0, 50))
def test_imagenet_in_any_order_among_others_is_found(random, others: int) -> None:
    names = [*THOUSAND, *(f"other {k}" for k in range(others))]
    random.shuffle(names)
    head = head_of("m", len(names), names)
    assert head.classes == THOUSAND
    assert [names[column] for column in head.columns or range(1000)] == list(THOUSAND)


def test_columns_carry_the_gradient() -> None:
    logits = torch.rand(2, 5, requires_grad=True)
    Columns([3, 0])(logits).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, 0.0, 0.0, 1.0, 0.0]] * 2
