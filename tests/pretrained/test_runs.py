"""Generations of a run folder: by the run's own configuration, classes and weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from nsbench.config import Config
from nsbench.configfile import to_toml
from nsbench.data.pictures import View
from nsbench.errors import ConfigError, DataError
from nsbench.files import write_json, write_text
from nsbench.models import PixelModel, build, save_weights
from nsbench.pretrained import load_pretrained
from nsbench.runfolder import MODELS, SELF_TRAINING, RunFolder
from nsbench.trainingconfig import ModelConfig

SMALL = ModelConfig(name="test_resnet", stem_pool=False, kwargs={"channels": [4, 4, 8, 8]})
LARGE = dataclasses.replace(SMALL, kwargs={"channels": [8, 8, 8, 16]})
CLASSES = ("nought", "one", "two")
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


VIEW = View(size=32, resize=32, interpolation="bilinear")


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunFolder, dict[str, PixelModel]]:
    """Two generations and a control; the second is of another architecture, the third is still in training."""
    folder = RunFolder(tmp_path / "runs" / "small")
    config = Config(generations=2, models=(SMALL, LARGE))
    write_text(folder.config, to_toml(config))
    folder.write_run({"status": "partial", "name": "small", "kind": SELF_TRAINING, "classes": list(CLASSES)})
    models = {}
    for seed, (name, architecture) in enumerate({"0": SMALL, "1": LARGE, "control": LARGE}.items()):
        models[name] = build(architecture, len(CLASSES), seed).eval()
        save_weights(folder.weights(name), models[name])
        write_json(folder.train_record(name), {"view": dataclasses.asdict(VIEW)})
    return folder, models


@pytest.mark.parametrize(
    ("path", "generation"),
    [("gen0", "0"), ("gen1", "1"), ("control", "control"), ("gen1/model.safetensors", "1"), ("gen0/", "0")],
)
def test_a_generation_by_its_folder(path: str, generation: str, run: tuple[RunFolder, dict[str, PixelModel]]) -> None:
    folder, models = run
    model = load_pretrained(f"{folder.root}/{path}")
    assert model.name == f"{folder.root}/{path}"
    assert (model.num_classes, model.classes, model.notes) == (3, CLASSES, ())
    assert (model.view, model.input_px) == (VIEW, 32)
    with torch.no_grad():
        assert torch.equal(model.model(IMAGES), models[generation](IMAGES))


def test_a_run_is_its_last_generation_and_never_the_control(run: tuple[RunFolder, dict[str, PixelModel]]) -> None:
    folder, _ = run
    model = load_pretrained(str(folder.root))
    assert model.notes == ("generation 1, the last of the run",)
    assert model.fingerprint == load_pretrained(f"{folder.root}/gen1").fingerprint
    prints = {load_pretrained(f"{folder.root}/{name}").fingerprint for name in ("gen0", "gen1", "control")}
    assert len(prints) == 3


def test_a_phase_before_the_last_is_seen_as_it_was_trained(run: tuple[RunFolder, dict[str, PixelModel]]) -> None:
    """ImageNet-C and -P of the paper's largest model are of the weights before FixRes."""
    folder, _ = run
    before = build(LARGE, len(CLASSES), 7).eval()
    save_weights(folder.phase_weights("1", "main"), before)
    write_json(folder.phase_record("1", "main"), {"view": {"size": 24, "resize": 28, "interpolation": "bicubic"}})
    for path in ("gen1/phases/main", "gen1/phases/main.safetensors"):
        model = load_pretrained(f"{folder.root}/{path}")
        assert (model.view.size, model.view.resize) == (24, 28)
        with torch.no_grad():
            assert torch.equal(model.model(IMAGES), before(IMAGES))
    with pytest.raises(DataError, match=r"phases/other\.json cannot be read"):
        load_pretrained(f"{folder.root}/gen1/phases/other")


def test_from_inside_the_folder(run: tuple[RunFolder, dict[str, PixelModel]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run[0].root)
    assert load_pretrained("control").num_classes == 3
    assert load_pretrained(".").notes == ("generation 1, the last of the run",)


def test_what_is_not_there_is_one_line(run: tuple[RunFolder, dict[str, PixelModel]], tmp_path: Path) -> None:
    folder, _ = run
    with pytest.raises(DataError, match=r"gen2 is not trained; there is 0, 1$"):
        load_pretrained(f"{folder.root}/gen2")
    folder.weights("0").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"gen0/model\.safetensors cannot be loaded"):
        load_pretrained(f"{folder.root}/gen0")
    save_weights(folder.weights("0"), build(LARGE, 3, 0))
    with pytest.raises(DataError, match=r"gen0/model\.safetensors cannot be loaded"):
        load_pretrained(f"{folder.root}/gen0")
    folder.config.write_text("models = 3")
    with pytest.raises(ConfigError, match="models"):
        load_pretrained(f"{folder.root}/gen1")
    folder.config.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pretrained(f"{folder.root}/gen1")
    empty = RunFolder(tmp_path / "empty")
    empty.write_run({"status": "partial", "kind": SELF_TRAINING, "classes": list(CLASSES)})
    write_text(empty.config, to_toml(Config(generations=1, models=(SMALL,))))
    with pytest.raises(DataError, match="no trained generation yet"):
        load_pretrained(str(empty.root))
    empty.write_run({"status": "complete", "kind": MODELS, "classes": []})
    with pytest.raises(DataError, match="records of an evaluation"):
        load_pretrained(str(empty.root))
    with pytest.raises(ConfigError, match="no run folder and no generation"):
        load_pretrained(str(tmp_path))


def test_a_folder_named_like_a_timm_model_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_resnet").mkdir()
    with pytest.raises(DataError, match="weights of test_resnet are not in the cache"):
        load_pretrained("test_resnet")
