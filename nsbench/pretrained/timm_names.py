"""timm's models: by name with timm's weights, from the Hugging Face hub, or from a folder of the same form."""

from __future__ import annotations

import dataclasses
import difflib
import json
import warnings
from pathlib import Path
from typing import Any

from torch import nn

from nsbench.configfile import suggest
from nsbench.errors import ConfigError, DataError
from nsbench.pretrained.model import Loaded, first_line
from nsbench.pretrained.preprocessing import Overrides, from_timm

_TV2 = (
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)

INPUT_PX = {
    # Xie et al. 2020 (arXiv:1911.04252), section 3.2 and its footnote: ImageNet-C and -P are shown at the size of
    # training, 475, and to the model before its fine-tuning at 800.
    "tf_efficientnet_l2.ns_jft_in1k": 475,
    # Trained at 176 px to be tested at 224 (torchvision's V2 recipe), which is what torchvision's own transforms do.
    **{f"{architecture}.tv2_in1k": 224 for architecture in _TV2},
}
"""Side for ImageNet-C and -P of weights for which timm's `input_size` is not the right one."""

_FINE_TUNED = {
    "tf_efficientnet_l2.ns_jft_in1k": (
        "these weights were fine-tuned at 800 px; the paper's robustness figures are of the model before that: "
        "tf_efficientnet_l2.ns_jft_in1k_475"
    ),
}


def is_timm_name(name: str) -> bool:
    """Whether timm knows the architecture."""
    import timm

    return timm.is_model(name)


def unknown_architecture(name: str) -> ConfigError:
    """One line for a name that timm does not know, with the nearest that it knows."""
    import timm

    tags = timm.list_models(f"{name.partition('.')[0]}.*", include_tags=True) if timm.is_model(name) else []
    names = tags or [*timm.list_models(), *timm.list_models(pretrained=True)]
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0 if tags else 0.6)
    hint = suggest(name, nearest) if nearest else "; `nsbench ls models` lists how a model may be named"
    return ConfigError(f"timm knows no model {name!r}{hint}")


def load(name: str, overrides: Overrides) -> Loaded:
    """A timm model with weights that timm publishes; they are downloaded where they are not in its cache.

    Raises:
        ConfigError: timm does not know the name, or has no weights for it; or its images are shown in an unknown way.
        DataError: the weights cannot be fetched.
    """
    import timm
    from timm.models import is_model_pretrained

    overrides.refuse_architecture(name)
    architecture = name.partition(".")[0]
    if not timm.is_model(name) or (
        "." in name and name not in timm.list_models(f"{architecture}.*", include_tags=True)
    ):
        raise unknown_architecture(name)
    deprecated = architecture not in timm.list_models(architecture)
    if not deprecated and not is_model_pretrained(name):
        raise ConfigError(f"timm has no weights for {name}; give yours as {name}=path/to/weights")
    loaded = _created(name, name, overrides)
    resolved = full_name(loaded.net)
    notes: tuple[str, ...] = () if resolved == name else (f"{name} is timm's {resolved}",)
    notes += (_FINE_TUNED[resolved],) if resolved in _FINE_TUNED else ()
    input_px = INPUT_PX.get(resolved, loaded.preprocessing.input_px)
    shown = dataclasses.replace(loaded.preprocessing, input_px=input_px)
    return dataclasses.replace(loaded, preprocessing=shown, notes=notes)


def load_hub(name: str, overrides: Overrides) -> Loaded:
    """`hf-hub:organisation/model`: a repository with timm's `config.json` and weights.

    Raises:
        ConfigError: no name after the colon.
        DataError: it cannot be fetched, or holds no model of timm's.
    """
    overrides.refuse_architecture(name)
    if "/" not in name.partition(":")[2].strip("/"):
        raise ConfigError(f"{name!r} names no model; write hf-hub:organisation/model")
    return _created(name, name, overrides)


def load_folder(name: str, overrides: Overrides) -> Loaded:
    """`local-dir:path`: a folder with timm's `config.json` and weights, read as plain tensors.

    Raises:
        DataError: there is no such folder, its configuration is damaged or names an architecture that timm does not
            have, or its weights do not fit.
    """
    import timm

    overrides.refuse_architecture(name)
    folder = Path(name.partition(":")[2])
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise DataError(f"{name}: {path} cannot be read ({reason}); timm writes one with save_for_hf") from None
    architecture = config.get("architecture") if isinstance(config, dict) else None
    if not isinstance(architecture, str):
        raise DataError(f"{path} names no architecture; timm writes one with save_for_hf")
    if not timm.is_model(architecture):
        raise DataError(f"{path}: {unknown_architecture(architecture)}")
    return _created(name, f"local-dir:{folder}", overrides)


def describe(name: str, net: nn.Module, overrides: Overrides) -> Loaded:
    """What timm says of a model that it built: preprocessing, and the names of its classes.

    Raises:
        ConfigError, DataError: as `from_timm`; or the model has no classifier.
    """
    config = config_of(net)
    if getattr(net, "num_classes", None) == 0:
        raise ConfigError(f"{name} has no classifier: its weights give features, not classes")
    labels = config.get("label_names")
    return Loaded(
        net=net,
        preprocessing=from_timm(name, config, overrides),
        classes=tuple(map(str, labels)) if isinstance(labels, list | tuple) else None,
    )


def config_of(net: Any) -> dict[str, Any]:
    """timm's `pretrained_cfg` of a model that it built."""
    config: dict[str, Any] = net.pretrained_cfg
    return config


def full_name(net: nn.Module) -> str:
    """Architecture and tag, whatever alias the model was asked for by."""
    return ".".join(filter(None, map(config_of(net).get, ("architecture", "tag"))))


def _created(name: str, source: str, overrides: Overrides) -> Loaded:
    import timm

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated names: it is said in the notes
            net = timm.create_model(source, pretrained=True)
    except Exception as error:  # the hub's client, timm, safetensors and pickle each raise their own
        if isinstance(error, OSError) and not source.startswith("local-dir:"):
            raise DataError(
                f"the weights of {name} are not in the cache and cannot be fetched "
                f"({first_line(error).partition('. ')[0]})"
            ) from None
        raise DataError(f"{name} cannot be loaded ({first_line(error)})") from None
    loaded = describe(name, net, overrides)
    declared = config_of(net).get("num_classes")
    if declared != net.num_classes:  # timm would then leave the classifier as it was initialised, and say nothing
        raise DataError(f"{name}: its configuration declares {declared} classes, but its network has {net.num_classes}")
    _resize_input(name, net, overrides.size)
    return loaded


def _resize_input(name: str, net: Any, size: int | None) -> None:
    """Make a network of one fixed input size, such as a ViT, take the size that the user wants."""
    config = config_of(net)
    built = config.get("input_size", (3, 224, 224))[-1]
    if size in (None, built) or not config.get("fixed_input_size", False):
        return
    if not hasattr(net, "set_input_size"):
        raise ConfigError(f"{name} takes images of {built} px alone, not {size}")
    try:
        net.set_input_size(img_size=(size, size))
    except Exception as error:  # each architecture asserts in its own way
        raise ConfigError(f"{name} cannot take images of {size} px ({first_line(error)})") from None
