"""Configurations as files: defaults < a TOML file (with `extends`) < an ablation < flags < `--set`, in that order.

Presets (`nsbench/presets/*.toml`) are data that override the defaults of `nsbench.config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from nsbench.ablations import arms, groups
from nsbench.config import Config
from nsbench.errors import ConfigError, require
from nsbench.evaluationconfig import EvaluationConfig

EXECUTION_ONLY = ("device", "workers", "track", "data.cache_dir", "train.checkpoint_seconds", "eval.samples")
"""Keys that may differ when a run folder is continued."""


AnyConfig = TypeVar("AnyConfig", Config, EvaluationConfig)


@typing.overload
def load_config(
    source: str | Path | None = None,
    *,
    ablation: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
) -> Config: ...


@typing.overload
def load_config(
    source: str | Path | None = None,
    *,
    kind: type[AnyConfig],
    ablation: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
) -> AnyConfig: ...


def load_config(
    source: str | Path | None = None,
    *,
    kind: Any = Config,
    ablation: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
) -> Any:
    """Resolve a configuration: defaults < TOML (with `extends`) < ablation < flags < `--set`.

    Args:
        source: name of a preset, path of a TOML file, or a run folder; None is the embedded default, or for
            `EvaluationConfig` nothing but the defaults.
        kind: `Config` of a training run, or `EvaluationConfig`.
        ablation: name of an arm of `nsbench.ablations`, or of a table under `[ablations]` of the TOML.
        overrides: dotted keys with values, from flags.
        assignments: `section.key=value` texts; the value is TOML, or else plain text.

    Raises:
        ConfigError: unknown preset, key or ablation, or a value out of range; the nearest name is suggested.
    """
    named = "mnist5k" if source is None and kind is Config else source
    values = {} if named is None else _read_toml(str(named))
    ablations = values.pop("ablations", {})
    if ablation is not None:
        require(isinstance(ablations, Mapping), f"[ablations] must be a section, not {ablations!r}")
        taken = sorted({*arms(), *groups()} & {*ablations})
        require(not taken, f"[ablations] names {', '.join(taken)}, which nsbench has already; choose another name")
        known = {**arms(), **ablations}
        if ablation not in known:
            raise ConfigError(f"unknown ablation {ablation!r}{suggest(ablation, known)}")
        require(isinstance(known[ablation], Mapping), f"ablations.{ablation} must be a section of keys, not a value")
        values["ablation"] = ablation
        _merge(values, known[ablation])
    for key, value in (overrides or {}).items():
        _assign(values, key, value)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        require(bool(equals), f"--set {assignment!r} is not of the form section.key=value")
        _assign(values, key.strip(), _toml_value(text.strip()))
    return _build(kind, values, "")


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    folder = resources.files("nsbench") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def preset_title(name: str) -> str:
    """The first line of a preset, which says what it is."""
    text = (resources.files("nsbench") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("#").strip()


def own_ablations(source: str | Path | None) -> list[str]:
    """Names under `[ablations]` of a TOML file, beside those that come with the package."""
    ablations = _read_toml(str(source)).get("ablations", {}) if source is not None else {}
    return list(ablations) if isinstance(ablations, Mapping) else []


def to_toml(config: Config | EvaluationConfig) -> str:
    """The configuration as TOML that `load_config` reads back to an equal one."""
    return tomli_w.dumps(to_dict(config))


def to_dict(config: Config | EvaluationConfig) -> dict[str, Any]:
    """Plain nested dictionary of the configuration, with lists for tuples."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(config))
    return plain


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys at which two `to_dict` dictionaries differ, but for `EXECUTION_ONLY`."""
    keys: list[str] = []
    for name in sorted({*one, *other}):
        path, left, right = prefix + name, one.get(name), other.get(name)
        if path in EXECUTION_ONLY or left == right:
            continue
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys += differing_keys(left, right, path + ".")
        else:
            keys.append(path)
    return keys


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the known names, else the list of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def _read_toml(source: str, parents: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A TOML file or preset over what it extends; a relative `extends` is looked up beside the file that names it."""
    if source in presets():
        with resources.as_file(resources.files("nsbench") / "presets" / f"{source}.toml") as path:
            values = _parse(path)
    else:
        path = Path(source)
        if path.is_dir():
            path = path / "config.toml"
        elif parents and not path.is_absolute():
            path = parents[-1].parent / path
        require(path.suffix == ".toml", f"no preset, TOML file or run folder {source!r}{suggest(source, presets())}")
        values = _parse(path)
    require(path not in parents, f"config {path} extends itself, through {parents[-1] if parents else path}")
    base = values.pop("extends", None)
    if base is None:
        return values
    merged = _read_toml(str(base), (*parents, path))
    _merge(merged, values)
    return merged


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is not TOML: {error}") from None


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        require(isinstance(values, dict), f"--set {key}: {section!r} is not a section")
    values[last] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _build(kind: Any, values: Any, where: str) -> Any:
    require(isinstance(values, Mapping), f"[{where.rstrip('.')}] must be a section, not {values!r}")
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    for key in values:
        require(key in known, f"unknown key {where + key!r}{suggest(key, known)}")
    return kind(**{key: _convert(hints[key], value, where + key) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check one value against its field's type: a dataclass, a tuple, a literal, a mapping or a scalar."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where + ".")
    if origin is tuple:
        kind = typing.get_args(hint)[0]
        single = isinstance(value, str | int | float) and not dataclasses.is_dataclass(kind)
        require(single or isinstance(value, list | tuple), f"{where} must be a list, not {value!r}")
        items = [value] if single else value  # one value is a list of one
        return tuple(_convert(kind, item, where) for item in items)
    if origin is Literal:
        known = typing.get_args(hint)
        require(value in known, f"{where} is {value!r}{suggest(str(value), known)}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = Mapping if origin not in (None, types.UnionType) else hint
    right = isinstance(value, expected) and (hint is bool or not isinstance(value, bool))
    require(right, f"{where} is {value!r}; it must be of type {getattr(hint, '__name__', hint)}")
    return value
