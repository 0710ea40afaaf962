"""What is to be written, as one value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from nsbench.configfile import suggest
from nsbench.corruptions import (
    CORRUPTION_VERSION,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    table_label,
)
from nsbench.data.folder import BadImagePolicy
from nsbench.errors import ConfigError

RESIZE, CROP = 256, 224
ALL_CORRUPTIONS = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
ALL_PERTURBATIONS = (*PERTURBATIONS, *EXTRA_PERTURBATIONS)
ALL_SEVERITIES = (1, 2, 3, 4, 5)
_SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Cell:
    """One corruption at one severity, or one perturbation (severity None)."""

    name: str
    severity: int | None = None

    @property
    def folder(self) -> str:
        """Where its class folders lie."""
        return self.name if self.severity is None else f"{self.name}/{self.severity}"

    @property
    def suffix(self) -> str:
        """Of its files, as the authors spell it."""
        return ".mp4" if self.severity is None else ".JPEG"

    def file(self, key: str) -> str:
        """Path of the image with id `key` (`<class>/<file>`)."""
        return f"{self.folder}/{stem(key)}{self.suffix}"


def stem(key: str) -> str:
    """The id of an image without the suffix of its file."""
    return os.path.splitext(key)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
    """What to write, and how.

    Raises:
        ConfigError: a value is out of range, a name unknown or there twice, or there is nothing to write.
    """

    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = ALL_SEVERITIES
    perturbations: tuple[str, ...] = ()
    """Always of difficulty 1, the only one that was released."""
    seed: int = 0
    """With an image's id the seed of its noise, by the rule of the evals (their `data_seed`)."""
    variant: int | None = None
    """Size whose table of constants is used; None is that of the 224 px images."""
    quality: int = 85
    """Of the JPEG files; the authors' is 85."""
    limit: int | None = None
    """At most so many images, see `Folder.limited`."""
    batch_size: int = 32
    """Images corrupted at once; no pixel depends on it."""
    workers: int | None = None
    """Threads that decode and encode; by default one a core, at most 16."""
    device: str = "auto"
    on_bad_image: BadImagePolicy = "error"
    canonical: bool = False
    """Take check sums of every cell; needs the authors' settings and seed 0."""

    def __post_init__(self) -> None:
        _check_names("corruption", self.corruptions, ALL_CORRUPTIONS)
        _check_names("severity", self.severities, ALL_SEVERITIES)
        _check_names("perturbation", self.perturbations, ALL_PERTURBATIONS)
        _require(bool(self.cells), "nothing to write: name a corruption or a perturbation, or all")
        if self.perturbations:
            _require(
                not self.corruptions, "corruptions and clips have folders of the same names; write each to its own"
            )
            _require((self.quality, self.variant) == (85, None), "quality and variant are settings of corruptions only")
        _require(1 <= self.quality <= 100, f"quality is {self.quality}; it must be 1..100")
        _require(self.seed >= 0, f"seed is {self.seed}; it must not be negative")
        for field in ("limit", "batch_size", "workers"):
            value = getattr(self, field)
            _require(value is None or value >= 1, f"{field} is {value}; it must be at least 1")
        _require(
            self.variant in (None, 32, 64, 224, 299), f"variant is {self.variant}; the tables are for 32, 64, 224, 299"
        )
        authors = self.seed == 0 and self.quality == 85 and self.variant in (None, CROP)
        _require(authors or not self.canonical, "canonical means seed 0, quality 85 and the constants for 224 px")
        _require(not self.canonical or self.on_bad_image == "error", "canonical needs every image; none can be skipped")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The folders to write."""
        cells = [Cell(name, severity) for name in self.corruptions for severity in self.severities]
        return (*cells, *(Cell(name) for name in self.perturbations))

    def settings(self, source: str) -> dict[str, Any]:
        """What a file depends on besides its own name; a folder holds files of one such dictionary.

        `source` is the fingerprint of the images.
        """
        common = {"schema": _SCHEMA, "corruption_version": CORRUPTION_VERSION, "seed": self.seed, "source": source}
        resized = f"shorter side resized to {RESIZE} (bilinear)"
        if self.perturbations:
            return {**common, "kind": "perturbations", "base": resized, "crop": CROP}
        base = f"{resized}, middle {CROP} cropped"
        constants = table_label(CROP, self.variant)
        return {**common, "kind": "corruptions", "base": base, "constants": constants, "jpeg_quality": self.quality}


def rendering_from(*, corruption: str | None, severity: str, perturbation: str | None, **options: Any) -> Rendering:
    """A Rendering from texts as of a command line: names with commas between them, or `all`; None is the default.

    Raises:
        ConfigError: as Rendering.
    """
    severities = tuple(int(text) if text.isdecimal() else text for text in _listed(severity, ()))
    return Rendering(
        corruptions=_listed(corruption, ALL_CORRUPTIONS),
        severities=severities,  # type: ignore[arg-type]  # the class names a text that is no number
        perturbations=_listed(perturbation, ALL_PERTURBATIONS),
        **{name: value for name, value in options.items() if value is not None},
    )


def _listed(text: str | None, everything: tuple[str, ...]) -> tuple[str, ...]:
    if everything and text == "all":
        return everything
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _check_names(kind: str, names: Sequence[Any], known: Sequence[Any]) -> None:
    for name in names:
        hint = suggest(str(name), map(str, known))
        _require(name in known, f"unknown {kind} {name!r}{hint}")
        _require(names.count(name) == 1, f"{kind} {name!r} is named twice")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
