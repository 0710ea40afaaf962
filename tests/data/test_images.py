"""ImageSet: what it refuses, takes and hashes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nsbench.data.images import ImageSet


def make_set(**changes: object) -> ImageSet:
    fields: dict[str, object] = {
        "name": "three",
        "ids": np.array(["a", "b", "c"]),
        "pixels": np.arange(3 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 2, 2, 3),
        "labels": np.array([0, 1, -1], np.int64),
        "classes": ("no", "yes"),
    }
    return ImageSet(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array(["a", "b"])}, "three: 2 ids, 3 images, 3 labels"),
        ({"labels": np.zeros(4, np.int64)}, "3 ids, 3 images, 4 labels"),
        ({"pixels": np.zeros((3, 2, 2, 3), np.float32)}, "must be uint8"),
        ({"pixels": np.zeros((3, 2, 2), np.uint8)}, "must be uint8"),
        ({"pixels": np.zeros((3, 2, 2, 1), np.uint8)}, "must be uint8"),
        ({"ids": np.array(["a", "b", "a"])}, "an id occurs twice"),
    ],
)
def test_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_set(**changes)


def test_take_keeps_rows_together() -> None:
    taken = make_set().take(np.array([2, 0]), "two")
    assert (taken.name, len(taken), taken.ids.tolist(), taken.labels.tolist()) == ("two", 2, ["c", "a"], [-1, 0])
    assert taken.pixels[:, 0, 0, 0].tolist() == [24, 0]
    assert taken.classes == ("no", "yes")
    assert make_set().take(slice(1)).name == "three"
    assert len(make_set().take(slice(0))) == 0


def test_a_row_cannot_be_taken_twice() -> None:
    with pytest.raises(ValueError, match="an id occurs twice"):
        make_set().take(np.array([0, 0]))


def test_fingerprint_is_of_ids_pixels_and_labels_alone() -> None:
    base = make_set()
    assert len(base.fingerprint) == 16
    assert base.fingerprint == make_set().fingerprint == dataclasses.replace(base, name="other").fingerprint
    brighter = base.pixels.copy()
    brighter[2, 1, 1, 2] += 1
    others = [
        make_set(pixels=brighter),
        make_set(ids=np.array(["a", "b", "d"])),
        make_set(labels=np.array([0, 0, -1], np.int64)),
        base.take(np.array([1, 0, 2])),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5
