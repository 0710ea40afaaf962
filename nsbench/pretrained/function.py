"""The user's own model: a function that makes it, or any callable from [0, 1] pixels to logits."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nsbench.configfile import suggest
from nsbench.data.pictures import View
from nsbench.errors import ConfigError
from nsbench.pretrained.model import Loaded, first_line
from nsbench.pretrained.preprocessing import Overrides, Preprocessing

SOURCES = ("torchvision", "hf-hub", "local-dir", "pypi")
"""What stands before the colon of a name that is no module."""

SIZE, RESIZE = 224, 256
"""What a model sees that does not say otherwise: the reference preprocessing of the ImageNet benchmarks, bilinear."""


class Called(nn.Module):
    """A plain function as a module, so that it can be moved and put in eval mode like one, to no effect."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def load(name: str, overrides: Overrides) -> Loaded:
    """`package.module:function`, called without arguments; the current directory can be imported from.

    Raises:
        ConfigError: no such module or function; it fails; or what it returns cannot be called.
    """
    overrides.refuse_architecture(name)
    module_name, _, attribute = name.partition(":")
    with _current_directory():
        module = _imported(name, module_name)
        made = getattr(module, attribute, None)
        if not callable(made):
            known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise ConfigError(f"{module_name} has no function {attribute!r}{suggest(attribute, known)}")
        if not isinstance(made, nn.Module):
            try:
                made = made()
            except (Exception, SystemExit) as error:  # the user's code may raise anything
                raise ConfigError(f"{name} raised {type(error).__name__}: {first_line(error)}") from None
    if not callable(made):
        raise ConfigError(f"{name} returned {type(made).__name__}; it must return an nn.Module or another callable")
    return of_callable(made, _code(module))


def of_callable(model: Callable[[Tensor], Tensor], code: str = "") -> Loaded:
    """A module, put in eval mode, or a function; `input_size` (pixels) is taken from the module where it has one.

    Args:
        model: float images [N, 3, H, W] in [0, 1] to logits [N, C].
        code: fingerprint of the source, since equal weights in changed code are another model.
    """
    given = getattr(model, "input_size", None)
    size = given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else SIZE
    view = View(size=size, resize=size * RESIZE // SIZE, interpolation="bilinear")
    net = model if isinstance(model, nn.Module) else Called(model)
    return Loaded(net=net, preprocessing=Preprocessing(view=view, input_px=size), code=code)


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    """The current directory can be imported from, first of all."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def _imported(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{name!r}: there is no Python module {error.name!r} here or installed{suggest(module, SOURCES)}"
            ) from None
        raise ConfigError(f"importing {module} raised ModuleNotFoundError: {first_line(error)}") from None
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ConfigError(f"importing {module} raised {type(error).__name__}: {first_line(error)}") from None


def _code(module: Any) -> str:
    """Fingerprint of a module's source; empty where it has none."""
    try:
        return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
