"""The folder that `nsbench corrupt` fills: whose it is, and which files it lacks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench import __version__
from nsbench.data.folder import Folder
from nsbench.errors import ConfigError, DataError
from nsbench.files import read_json, write_atomic, write_json
from nsbench.rendering.plan import Cell, stem

MANIFEST = "nsbench-corrupt.json"
"""Settings of the folder; it also says that the files are not the released ones."""


def check_places(source: Path, target: Path) -> None:
    """Refuse a target that the next listing of the source would find, or the other way round.

    Raises:
        ConfigError: one folder is, or contains, the other.
    """
    one, other = source.resolve(), target.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ConfigError(f"{target} and the images in {source} must not contain one another; choose another folder")


def check_stems(folder: Folder) -> None:
    """Refuse two images that would be written to one file.

    Raises:
        DataError: names them.
    """
    seen: dict[str, str] = {}
    for key in folder.ids:
        if stem(key) in seen:
            raise DataError(f"{folder.root}: {seen[stem(key)]} and {key} would become one file; rename one")
        seen[stem(key)] = key


def claim(target: Path, settings: Mapping[str, Any]) -> None:
    """Make `target` the folder of these settings, or see that it is.

    Raises:
        ConfigError: it holds something else, or was made with other settings.
        DataError: it cannot be read or written, or its manifest is damaged.
    """
    path = target / MANIFEST
    try:
        names = {name for name in os.listdir(target) if not name.startswith(".")} if target.exists() else set()
    except OSError as error:
        raise DataError(f"{target} cannot be used ({error.strerror})") from None
    if names <= {MANIFEST}:  # nothing was written yet, whatever was to be
        write_manifest(path, settings)
        return
    if not path.is_file():
        raise ConfigError(f"{target} is not empty and not made by nsbench corrupt; choose another folder")
    try:
        known = dict(read_json(path))
    except (DataError, TypeError, ValueError):
        raise DataError(f"{path} is damaged, so nobody knows how {target} was made; choose another folder") from None
    differing = [
        f"{key} {known.get(key)!r}, not {value!r}" for key, value in settings.items() if known.get(key) != value
    ]
    if differing:
        raise ConfigError(f"{target} was made with {'; '.join(differing)}; choose another folder")


def write_manifest(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings, and for people the version that wrote them.

    Raises:
        DataError: it cannot be written.
    """
    try:
        write_json(path, {**settings, "nsbench": __version__})
    except OSError as error:
        raise unwritable(path, error) from None


def write_file(path: Path, content: bytes) -> None:
    """Write one picture or clip, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        write_atomic(path, content)
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> DataError:
    """One line for a full disk or a missing permission."""
    return DataError(f"{path} cannot be written ({error.strerror}); mend it, and the same command continues")


def missing_files(target: Path, cells: Sequence[Cell], folder: Folder) -> npt.NDArray[np.bool_]:
    """Which files are to be written, [cells, N]. One look at each class folder, for there may be millions of files."""
    missing = np.ones((len(cells), len(folder)), dtype=np.bool_)
    stems = [os.path.basename(stem(key)) for key in folder.ids]
    for number, cell in enumerate(cells):
        present = [_names(target / cell.folder / name) for name in folder.classes]
        missing[number] = [
            name + cell.suffix not in present[label] for name, label in zip(stems, folder.labels, strict=True)
        ]
    return missing


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})") from None
