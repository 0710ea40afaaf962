"""torchvision's classifiers, AlexNet among them, by which ImageNet-C's and -P's errors are normalised."""

from __future__ import annotations

import difflib
from typing import Any

from nsbench.configfile import suggest
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.pretrained.model import Loaded, first_line
from nsbench.pretrained.preprocessing import Overrides, Preprocessing

FIRST_WEIGHTS = "IMAGENET1K_V1"
"""The weights that were published first: those of the literature's figures. torchvision's `DEFAULT` are newer ones."""


def load(name: str, overrides: Overrides) -> Loaded:
    """`torchvision:alexnet` or `torchvision:resnet50:IMAGENET1K_V2`; downloaded where they are not in torch's cache.

    Preprocessing is that of the weights' own `transforms()`.

    Raises:
        ConfigError: torchvision has no such classifier or weights.
        DataError: the weights cannot be fetched, or are damaged.
    """
    import torchvision.models

    overrides.refuse_architecture(name)
    _, _, rest = name.partition(":")
    architecture, _, wanted = rest.partition(":")
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        nearest = suggest(architecture, difflib.get_close_matches(architecture, known, n=1))
        raise ConfigError(
            f"torchvision has no classifier {architecture!r}{nearest or '; write one such as torchvision:alexnet'}"
        )
    choices = torchvision.models.get_model_weights(architecture).__members__
    if wanted and wanted not in choices:
        raise ConfigError(f"torchvision has no weights {wanted!r} for {architecture}{suggest(wanted, choices)}")
    chosen = choices[wanted or (FIRST_WEIGHTS if FIRST_WEIGHTS in choices else next(iter(choices)))]
    notes = () if wanted == chosen.name else (f"weights {chosen.name}, the first that torchvision published",)
    if wanted == "DEFAULT":
        notes = (f"weights {chosen.name}, torchvision's default",)
    return Loaded(net=_net(name, architecture, chosen), preprocessing=_preprocessing(chosen), notes=notes)


def _net(name: str, architecture: str, weights: Any) -> Any:
    import torchvision.models

    try:
        # The builder reads the same file again without the restriction, after what the restricted reader accepts:
        # tensors alone, which run nothing.
        weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
        return torchvision.models.get_model(architecture, weights=weights, progress=False)
    except OSError as error:
        raise DataError(
            f"the weights of {name} are not in torch's cache and cannot be fetched from {weights.url} "
            f"({first_line(error)})"
        ) from None
    except Exception as error:  # torch, zipfile and pickle each raise their own
        raise DataError(
            f"the weights of {name} in torch's cache are damaged ({first_line(error)}); delete "
            f"{weights.url.rsplit('/', 1)[-1]} there"
        ) from None


def _preprocessing(weights: Any) -> Preprocessing:
    shown = weights.transforms()
    (size,), (resize,) = shown.crop_size, shown.resize_size
    view = View(size=size, resize=resize, interpolation=shown.interpolation.value)
    return Preprocessing(view=view, input_px=size, mean=tuple(shown.mean), std=tuple(shown.std))
