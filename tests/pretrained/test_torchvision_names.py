"""torchvision's classifiers from a filled cache: which weights, and photographs as through their own transforms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision.models
from PIL import Image
from sklearn.datasets import load_sample_images

from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.pretrained import load_pretrained
from nsbench.pretrained.preprocessing import Overrides
from nsbench.pretrained.torchvision_names import _preprocessing
from tests.pretrained.conftest import normalised

SMALL = "squeezenet1_1"
"""1.2 million weights."""


def put(folder: Path, architecture: str, member: str = "IMAGENET1K_V1") -> torch.nn.Module:
    """Random weights under the name that torch's cache has for the published ones."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(architecture, weights=None).eval()
    url = torchvision.models.get_model_weights(architecture)[member].url
    checkpoints = folder / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(net.state_dict(), checkpoints / url.rsplit("/", 1)[-1])
    return net


def test_alexnet_the_normaliser(tmp_path: Path) -> None:
    net = put(tmp_path, "alexnet")
    model = load_pretrained("torchvision:alexnet")
    assert model.name == "torchvision:alexnet"
    assert model.view == View(size=224, resize=256, interpolation="bilinear")
    assert (model.input_px, model.num_classes, model.classes) == (224, 1000, imagenet_wnids())
    assert model.num_parameters == 61_100_840  # as torchvision's documentation has it
    assert model.notes == ("weights IMAGENET1K_V1, the first that torchvision published",)
    images = torch.rand(2, 3, 224, 224)
    expected = normalised(net, images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        torch.testing.assert_close(model.model(images), expected, atol=1e-4, rtol=1e-4)


def test_named_weights_and_the_default(tmp_path: Path) -> None:
    put(tmp_path, "mobilenet_v2", "IMAGENET1K_V2")
    named = load_pretrained("torchvision:mobilenet_v2:IMAGENET1K_V2")
    assert (named.view.resize, named.notes) == (232, ())
    default = load_pretrained("torchvision:mobilenet_v2:DEFAULT")
    assert default.notes == ("weights IMAGENET1K_V2, torchvision's default",)
    assert default.fingerprint == named.fingerprint
    with pytest.raises(
        DataError, match=r"cannot be fetched from https://download\.pytorch\.org/models/mobilenet_v2-b0"
    ):
        load_offline("torchvision:mobilenet_v2")


def load_offline(name: str) -> None:
    """A proxy that is not there: at once, and the same with and without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        load_pretrained(name)


@pytest.mark.parametrize(
    ("architecture", "member"),
    [
        ("alexnet", "IMAGENET1K_V1"),
        ("resnet50", "IMAGENET1K_V2"),
        ("efficientnet_b1", "IMAGENET1K_V1"),
        ("vit_h_14", "IMAGENET1K_SWAG_E2E_V1"),
    ],
)
def test_photographs_look_as_through_the_weights_own_transforms(architecture: str, member: str, tmp_path: Path) -> None:
    weights = torchvision.models.get_model_weights(architecture)[member]
    Image.fromarray(load_sample_images().images[0]).save(tmp_path / "p.png")
    theirs = weights.transforms()(Image.open(tmp_path / "p.png"))
    preprocessing = _preprocessing(weights).overridden(Overrides())
    pixels = torch.from_numpy(preprocessing.view.show(tmp_path / "p.png").copy()).permute(2, 0, 1) / 255
    ours = normalised(torch.nn.Identity(), pixels[None], preprocessing.mean, preprocessing.std)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_every_classifier_of_torchvisions_has_first_weights_and_a_view() -> None:
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) >= 80
    for name in names:
        for weights in torchvision.models.get_model_weights(name):
            assert _preprocessing(weights).view.size > 0


def test_a_file_in_the_cache_that_would_run_code_does_not(tmp_path: Path) -> None:
    put(tmp_path, SMALL)
    (path,) = (tmp_path / "torch" / "hub" / "checkpoints").iterdir()
    torch.save(torch.nn.Linear(2, 2), path)  # a pickled object: its class is imported and called
    with pytest.raises(DataError, match=f"cache are damaged.*delete {path.name} there"):
        load_pretrained(f"torchvision:{SMALL}")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="cache are damaged"):
        load_pretrained(f"torchvision:{SMALL}")


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no classifier 'alexnt'; did you mean 'alexnet'"):
        load_pretrained("torchvision:alexnt")
    with pytest.raises(ConfigError, match="no weights 'IMAGENET1K_V3' for alexnet; did you mean 'IMAGENET1K_V1'"):
        load_pretrained("torchvision:alexnet:IMAGENET1K_V3")
    with pytest.raises(ConfigError, match="no classifier"):
        load_pretrained("torchvision:fasterrcnn_resnet50_fpn")
