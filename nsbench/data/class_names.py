"""Whether several sets of images speak of the same classes."""

from __future__ import annotations

from collections.abc import Sequence

from nsbench.errors import DataError


def agreed(known: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """The classes of several sets of images, given with the place of each.

    Where a set's classes are mere numbers `0`, `1`, ..., they count another's names, or there are as many as the
    largest needs.

    Raises:
        DataError: names, or their order, differ.
    """
    first, classes = max(known, key=lambda one: (not _numbered(one[1]), len(one[1])))
    for place, others in known:
        if others != classes and not (_numbered(others) and len(others) <= len(classes)):
            raise DataError(
                f"{place} has the classes {_few(others)}, but {first} has {_few(classes)}; they must be the same, in "
                "one order"
            )
    return classes


def _numbered(classes: tuple[str, ...]) -> bool:
    return classes == tuple(map(str, range(len(classes))))


def _few(classes: tuple[str, ...]) -> str:
    """The first classes, and how many there are."""
    return f"{', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''} ({len(classes):,})"
