"""timm's models from a filled cache: their own preprocessing, aliases, fixed sizes, folders of the hub's form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg, is_model_pretrained, save_for_hf

from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, NsbenchError
from nsbench.pretrained import load_pretrained, timm_names
from nsbench.pretrained.preprocessing import Overrides, from_timm
from nsbench.pretrained.timm_names import INPUT_PX
from tests.pretrained.conftest import network, normalised

IMAGES = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def shown(name: str, **overrides: object) -> tuple[View, int]:
    config = get_pretrained_cfg(name)
    assert config is not None
    preprocessing = from_timm(name, config.to_dict(), Overrides(**overrides))  # type: ignore[arg-type]
    return preprocessing.view, preprocessing.input_px


def test_a_name_with_its_tag(cached: Callable[..., None]) -> None:
    net = network("test_resnet.r160_in1k")
    cached("timm/test_resnet.r160_in1k", net)
    model = load_pretrained("test_resnet.r160_in1k")
    assert model.name == "test_resnet.r160_in1k"
    assert model.view == View(size=160, resize=168, interpolation="bilinear")  # floor(160 / 0.95)
    assert (model.input_px, model.num_classes, model.classes) == (160, 1000, imagenet_wnids())
    assert model.notes == ()
    assert net.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    with torch.no_grad():
        torch.testing.assert_close(model.model(IMAGES), normalised(net, IMAGES, 0.5, 0.5), atol=1e-5, rtol=1e-5)


def test_a_name_without_a_tag_says_which_weights_it_got(cached: Callable[..., None]) -> None:
    cached("timm/test_vit.r160_in1k", network("test_vit"))
    model = load_pretrained("test_vit")
    assert (model.name, model.notes) == ("test_vit", ("test_vit is timm's test_vit.r160_in1k",))


def test_a_deprecated_name_is_resolved_by_timm(cached: Callable[..., None]) -> None:
    cached("timm/tf_efficientnet_b0.ns_jft_in1k", network("tf_efficientnet_b0"))
    model = load_pretrained("tf_efficientnet_b0_ns")
    assert model.notes == ("tf_efficientnet_b0_ns is timm's tf_efficientnet_b0.ns_jft_in1k",)
    assert model.view == View(size=224, resize=256, interpolation="bicubic")
    assert model.num_parameters == 5_288_548


def test_a_network_of_one_size_can_be_shown_another(cached: Callable[..., None]) -> None:
    cached("timm/test_vit.r160_in1k", network("test_vit"))
    plain = load_pretrained("test_vit.r160_in1k")
    larger = load_pretrained("test_vit.r160_in1k", size=192)
    assert (plain.view.size, plain.input_px) == (160, 160)
    assert (larger.view, larger.input_px) == (View(size=192, resize=201, interpolation="bicubic"), 192)
    assert larger.fingerprint != plain.fingerprint
    with torch.no_grad():
        assert plain.model(IMAGES).shape == (2, 1000)
        assert larger.model(torch.rand(1, 3, 192, 192)).shape == (1, 1000)


def test_sizes_for_training_and_test_go_to_different_suites() -> None:
    assert shown("resnet50.a1_in1k") == (View(size=288, resize=288, interpolation="bicubic"), 224)
    assert shown("resnet50.tv_in1k") == (View(size=224, resize=256, interpolation="bilinear"), 224)
    assert shown("tf_efficientnet_b0.ns_jft_in1k") == (View(size=224, resize=256, interpolation="bicubic"), 224)
    assert shown("tf_efficientnet_l2.ns_jft_in1k_475") == (View(size=475, resize=507, interpolation="bicubic"), 475)
    assert shown("dm_nfnet_f0.dm_in1k") == (View(size=256, resize=284, interpolation="bicubic", squash=True), 192)
    assert shown("resnet50.a1_in1k", crop_pct=0.875)[0].resize == 329


def test_the_table_of_other_sizes_is_of_weights_that_exist() -> None:
    assert INPUT_PX["tf_efficientnet_l2.ns_jft_in1k"] == shown("tf_efficientnet_l2.ns_jft_in1k_475")[1]
    for name, side in INPUT_PX.items():
        assert is_model_pretrained(name)
        assert shown(name)[1] != side


def test_weights_of_the_table_are_shown_its_size_and_may_warn(
    cached: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached("timm/test_resnet.r160_in1k", network("test_resnet"))
    before = load_pretrained("test_resnet.r160_in1k")
    monkeypatch.setitem(timm_names.INPUT_PX, "test_resnet.r160_in1k", 128)
    monkeypatch.setitem(timm_names._FINE_TUNED, "test_resnet.r160_in1k", "a warning")
    model = load_pretrained("test_resnet.r160_in1k")
    assert (model.view.size, model.input_px, model.notes) == (160, 128, ("a warning",))
    assert model.fingerprint != before.fingerprint
    assert "ns_jft_in1k_475" in timm_names._FINE_TUNED["tf_efficientnet_l2.ns_jft_in1k"]


@pytest.mark.parametrize(
    "name",
    ["resnet50.tv_in1k", "resnet50.a1_in1k", "tf_efficientnet_b1.ns_jft_in1k", "dm_nfnet_f0.dm_in1k", "tinynet_c.in1k"],
)
@pytest.mark.parametrize("number", [0, 1])
def test_photographs_look_as_through_timms_own_transforms(name: str, number: int, tmp_path: Path) -> None:
    photograph = load_sample_images().images[number]
    photograph = photograph if number else np.ascontiguousarray(photograph.transpose(1, 0, 2))  # upright
    Image.fromarray(photograph).save(tmp_path / "p.png")
    config = get_pretrained_cfg(name).to_dict()
    transform = create_transform(**resolve_data_config(pretrained_cfg=config, use_test_size=True))
    theirs = transform(Image.open(tmp_path / "p.png"))
    preprocessing = from_timm(name, config, Overrides())
    pixels = torch.from_numpy(preprocessing.view.show(tmp_path / "p.png").copy()).permute(2, 0, 1) / 255
    ours = normalised(torch.nn.Identity(), pixels[None], preprocessing.mean, preprocessing.std)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_every_published_classifier_of_timms_has_a_view_or_one_line() -> None:
    refused = []
    for name in timm.list_models(pretrained=True):
        config = get_pretrained_cfg(name).to_dict()
        if config["num_classes"]:
            try:
                from_timm(name, config, Overrides())
            except NsbenchError as error:
                refused.append(str(error))
    assert len(refused) < 10
    assert all("black frame" in line for line in refused)  # VOLO's crop_pct of 1.15


def test_frames_and_other_shapes_are_refused() -> None:
    config = get_pretrained_cfg("test_resnet.r160_in1k").to_dict()
    for change, words in (
        ({"crop_mode": "border"}, "inside a frame"),
        ({"crop_pct": 1.15}, "black frame"),
        ({"input_size": (1, 28, 28)}, "only squares of three channels"),
        ({"input_size": (3, 32, 64)}, "only squares of three channels"),
        ({"interpolation": "random"}, "give an interpolation"),
    ):
        with pytest.raises(ConfigError, match=words):
            from_timm("m", {**config, **change}, Overrides())
    assert from_timm("m", {**config, "crop_pct": 1.15}, Overrides(crop_pct=1.0)).view.resize == 160
    filtered = from_timm("m", {**config, "interpolation": "random"}, Overrides(interpolation="nearest"))
    assert filtered.view.interpolation == "nearest"


def test_the_hub_and_a_folder_give_the_same_model(cached: Callable[..., None], tmp_path: Path) -> None:
    net = network("test_efficientnet", num_classes=5)
    folder = tmp_path / "saved"
    names = ["ant", "bee", "cat", "dog", "eel"]
    save_for_hf(net, folder, model_config={"label_names": names}, safe_serialization=True)
    local = load_pretrained(f"local-dir:{folder}")
    assert (local.num_classes, local.classes, local.notes) == (5, tuple(names), ())
    assert (local.view.size, local.view.resize) == (160, 168)
    cached("someone/eel", net, (folder / "config.json").read_text())
    hub = load_pretrained("hf-hub:someone/eel")
    assert (hub.fingerprint, hub.classes, hub.view) == (local.fingerprint, local.classes, local.view)
    with torch.no_grad():
        assert torch.equal(hub.model(IMAGES), local.model(IMAGES))
        torch.testing.assert_close(hub.model(IMAGES), normalised(net, IMAGES, MEAN, STD), atol=1e-5, rtol=1e-5)


def test_nothing_in_a_folders_config_leads_elsewhere(tmp_path: Path) -> None:
    net, other = network("test_resnet", num_classes=3), network("test_resnet", seed=1, num_classes=3)
    folder, elsewhere = tmp_path / "saved", tmp_path / "elsewhere.pth"
    save_for_hf(net, folder, safe_serialization=True)
    torch.save(other.state_dict(), elsewhere)
    own = load_pretrained(f"local-dir:{folder}").fingerprint
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {"file": str(elsewhere), "url": f"file://{elsewhere}", "hf_hub_id": "x/y", "source": ""}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_pretrained(f"local-dir:{folder}").fingerprint == own
    for key in ("checkpoint_path", "pretrained_cfg", "cache_dir", "pretrained"):
        changed = {**config, "model_args": {key: str(elsewhere)}}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(NsbenchError) as caught:
            load_pretrained(f"local-dir:{folder}")
        assert "\n" not in str(caught.value)


def test_weights_without_a_classifier_are_refused(tmp_path: Path) -> None:
    net = network("test_vit", num_classes=0)
    save_for_hf(net, tmp_path / "saved", safe_serialization=True)
    with pytest.raises(ConfigError, match="has no classifier"):
        load_pretrained(f"local-dir:{tmp_path / 'saved'}")


def test_a_network_of_one_size_that_cannot_change_says_so(cached: Callable[..., None]) -> None:
    cached("timm/test_vit.r160_in1k", network("test_vit"))
    with pytest.raises(NsbenchError, match="150 px") as caught:
        load_pretrained("test_vit.r160_in1k", size=150)  # no multiple of its patches' 16
    assert "\n" not in str(caught.value)
