"""The severity constants: the authors' four tables, what lies between them, and how both are named."""

from __future__ import annotations

import json
import math

import pytest

from nsbench.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from nsbench.corruptions.constants import SEVERITIES, table_for, table_label, tables
from tests.shared import GOLDEN, absent

ALL_CORRUPTIONS = CORRUPTIONS + EXTRA_CORRUPTIONS


def numbers(constant):
    """The numbers of a constant, whatever its nesting."""
    if isinstance(constant, dict):
        constant = list(constant.values())
    return [number for part in constant for number in numbers(part)] if isinstance(constant, list) else [constant]


def test_constants_are_the_golden_ones():
    path = GOLDEN / "imagenet_c_constants.json"
    if not path.is_file():
        absent(f"no {path}")
    golden = json.loads(path.read_text())["variants"]
    assert tables() == {int(variant): table for variant, table in golden.items()}


def test_tables_are_complete():
    assert sorted(tables()) == [32, 64, 224, 299]
    for table in tables().values():
        assert set(table) == set(ALL_CORRUPTIONS)
        assert all(len(cells) == len(SEVERITIES) for cells in table.values())
        assert all(math.isfinite(number) for cells in table.values() for number in numbers(cells))


def test_constants_as_the_authors_wrote_them():
    assert tables()[32]["gaussian_noise"] == [0.04, 0.06, 0.08, 0.09, 0.1]
    assert tables()[64]["jpeg_compression"] == [65, 58, 50, 40, 25]
    assert tables()[224]["contrast"] == [0.4, 0.3, 0.2, 0.1, 0.05]
    assert tables()[224]["shot_noise"] == [60, 25, 12, 5, 3]
    assert tables()[224]["glass_blur"] == [[0.7, 1, 2], [0.9, 2, 1], [1, 2, 3], [1.1, 3, 2], [1.5, 4, 2]]
    assert tables()[299]["motion_blur"] == [[12, 4], [17, 6], [17, 9], [17, 13], [22, 16]]


@pytest.mark.parametrize("variant", [32, 64, 224, 299])
def test_a_published_size_takes_its_own_table(variant):
    assert table_for(variant) is tables()[variant]
    assert table_for(500, variant) is tables()[variant]
    assert table_label(variant) == f"constants for {variant} px"
    assert table_label(variant, variant) == f"constants for {variant} px"


def test_between_sizes_the_logarithm_of_the_size_counts():
    """sqrt(32 * 64) = 45.25 and sqrt(64 * 224) = 119.7: half way, in logarithms."""
    for side, low, high in ((45, 32, 64), (120, 64, 224)):
        share = math.log(side / low) / math.log(high / low)
        assert share == pytest.approx(0.5, abs=0.01)
        for severity in range(5):
            below, above = (tables()[size]["gaussian_noise"][severity] for size in (low, high))
            assert table_for(side)["gaussian_noise"][severity] == pytest.approx(below + share * (above - below))
            assert table_for(side)["gaussian_noise"][severity] == pytest.approx((below + above) / 2, rel=0.01)


@pytest.mark.parametrize("side", [33, 48, 63, 65, 96, 160, 223, 225, 256, 298])
def test_interpolated_constants_lie_between_their_neighbours(side):
    table, sizes = table_for(side), sorted(tables())
    below, above = max(size for size in sizes if size < side), min(size for size in sizes if size > side)
    for name in ALL_CORRUPTIONS:
        for severity in range(5):
            low, high, between = (numbers(each[name][severity]) for each in (tables()[below], tables()[above], table))
            for a, b, c in zip(low, high, between, strict=True):
                assert min(a, b) - 1e-12 <= c <= max(a, b) + 1e-12


def test_counts_stay_whole():
    table = table_for(96)
    assert all(isinstance(quality, int) for quality in table["jpeg_compression"])
    assert all(isinstance(count, int) for cell in table["glass_blur"] for count in cell[1:])
    assert {cell[5] for size in (48, 96, 256) for cell in table_for(size)["spatter"]} == {0.0, 1.0}  # water or mud


def test_larger_and_smaller_images_take_the_nearest_table():
    assert table_for(640) is tables()[299]
    assert table_for(20) is tables()[32]


def test_labels_call_unpublished_constants_unofficial():
    assert table_label(96) == "constants interpolated for 96 px, unofficial"
    assert table_label(96, 64) == "constants for 64 px on 96 px, unofficial"
    assert "unofficial" in table_label(640)


@pytest.mark.parametrize("variant", [96, 0, -32, True, 225])
def test_an_unknown_variant_names_the_published_sizes(variant):
    with pytest.raises(ValueError, match=rf"variant must be one of 32, 64, 224, 299 or None, got {variant!r}"):
        table_for(224, variant)
