"""Every preset against the paper and the official code, constant by constant; costs and steps from image counts."""

from __future__ import annotations

import io
import re
import tomllib
from importlib import resources
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from nsbench.config import Config
from nsbench.configfile import load_config, presets
from nsbench.engine.optim import num_steps, schedule, steps_of
from nsbench.errors import ConfigError
from nsbench.models import build, num_parameters
from nsbench.trainingconfig import FixResConfig, ModelConfig
from tests.shared import SHARED, absent

FACTS = SHARED.parent / "design" / "noisy-student.md"
"""Where each constant was verified; sections of it are cited as `facts`. It stays outside the repository."""
IMAGENET, SVHN_LABELLED, SVHN_EXTRA = 1_281_167, 73_257 - 4_000, 531_131

B = [f"imagenet-b{number}" for number in range(8)]
SAME_SIZE: dict[str, tuple[float, ...]] = {
    # dropout, M (0: no RandAugment), epochs, ratio (facts 1.4), px, then top-1 without and with it (facts 3.7)
    "imagenet-b0": (0.2, 0, 700, 1, 224, 77.3, 78.1),
    "imagenet-b1": (0.2, 0, 700, 3, 240, 79.2, 80.2),
    "imagenet-b2": (0.3, 6, 700, 3, 260, 80.0, 81.1),
    "imagenet-b3": (0.3, 12, 700, 3, 300, 81.7, 82.5),
    "imagenet-b4": (0.4, 15, 700, 3, 380, 83.2, 84.4),
    "imagenet-b5": (0.4, 18, 350, 3, 456, 84.0, 85.0),
    "imagenet-b6": (0.5, 24, 350, 3, 528, 84.5, 85.6),
    "imagenet-b7": (0.5, 27, 350, 3, 600, 85.0, 85.9),
}
COMMON: dict[str, Any] = {
    # facts 1.1 and 1.4; the same in all presets that follow the paper
    "noise.variant": "official",
    "noise.flip": True,
    "noise.crop_area": (0.08, 1.0),
    "noise.crop_ratio": (3 / 4, 4 / 3),
    "noise.augment": "both",
    "noise.dropout": "both",
    "noise.stochastic_depth": "both",
    "noise.num_ops": 2,
    "train.optimizer": "rmsproptf",
    "train.momentum": 0.9,
    "train.schedule": "staircase",
    "train.warmup_epochs": 5.0,
    "train.decay_biases": True,
    "train.label_smoothing": 0.1,
    "train.loss": "code",
    "train.pseudo_labels": "soft",
    "train.temperature": 1.0,
    "train.ema_decay": 0.9999,
    "train.clip_norm": 0.0,
    "train.init": "scratch",
    "train.stages": "joint",
    "train.batch_norm": "own",
    "train.teacher_steps": 0,
    "train.teacher_batch": 0,
    "teacher.model": "",
    "teacher.weights": "ema",
    "teacher.noised": False,
    "teacher.input_px": 0,
    "select.fraction": 1.0,
    "select.max_confidence": 1.0,
    "select.rule": "top-k",
}
OF_IMAGENET: dict[str, Any] = {
    # facts 1.3, 1.4 and 1.5
    **COMMON,
    "control": False,
    "data.dataset": "files",
    "data.title": "ImageNet",
    "data.labelled": "train",
    "data.val": "val",
    "data.unlabelled": ("unlabelled",),
    "data.image_px": 0,
    "data.labelled_per_class": 0,
    "data.rest_unlabelled": False,
    "noise.translate_px": 100.0,
    "noise.cutout_px": 40.0,
    "noise.always_cutout_px": 0,
    "train.labelled_batch": 2048,
    "train.learning_rate": 0.128,
    "train.final_learning_rate": 0.0,
    "train.weight_decay": 1e-5,
    "select.min_confidence": 0.3,
    "select.balance": "duplicate",
    "select.per_class": 130_000,
    "select.filter_model": "tf_efficientnet_b0.aa_in1k",
    "select.when": "once",
}
SMALL: dict[str, Any] = {
    # facts 1.8
    **COMMON,
    "generations": 1,
    "control": True,
    "noise.magnitude": 5.0,
    "noise.translate_px": 4.0,
    "noise.cutout_px": 4.0,
    "noise.always_cutout_px": 16,
    "noise.crop_padding_px": 4,
    "train.steps": 109_474,
    "train.epochs": 0.0,
    "train.labelled_batch": 128,
    "train.unlabelled_ratio": (5,),
    "train.learning_rate": 0.016 * 128 / 256,
    "train.final_learning_rate": 0.0002 * 128 / 256,
    "train.weight_decay": 1e-4,
    "select.min_confidence": 0.0,
    "select.balance": "off",
    "select.filter_model": "",
}
EXPECTED: dict[str, dict[str, Any]] = {
    "svhn": {**SMALL, "noise.flip": False, "data.dataset": "svhn", "data.labelled_per_class": 0},
    "cifar10": {
        **SMALL,
        "data.dataset": "files",
        "data.title": "CIFAR-10",
        "data.labelled": "train.parquet",
        "data.val": "test.parquet",
        "data.unlabelled": (),
        "data.labelled_per_class": 400,
        "data.rest_unlabelled": True,
        "data.image_px": 32,
    },
    **{
        name: {
            **OF_IMAGENET,
            "generations": 1,
            "noise.num_ops": 2 if magnitude else 0,
            **({"noise.magnitude": magnitude} if magnitude else {}),
            "train.epochs": epochs,
            "train.decay_epochs": 2.4 * epochs / 350,
            "train.unlabelled_ratio": (ratio,),
        }
        for name, (_, magnitude, epochs, ratio, *_) in SAME_SIZE.items()
    },
    "imagenet-resnet50": {
        **OF_IMAGENET,
        "generations": 1,
        "noise.num_ops": 0,
        "train.epochs": 700.0,
        "train.decay_epochs": 4.8,
        "train.unlabelled_ratio": (1,),
    },
    "imagenet-l2": {
        **OF_IMAGENET,
        "generations": 3,
        "noise.magnitude": 27.0,
        "train.epochs": 350.0,
        "train.decay_epochs": 2.4,
        "train.unlabelled_ratio": (14, 14, 28),
        "fixres.epochs": 1.5,
        "fixres.steps": 0,
        "fixres.input_px": 800,
        "fixres.learning_rate": 0.0,
    },
}


def load(name: str) -> Config:
    """A preset; `svhn` has no folder of its own."""
    return load_config(name, overrides={"data.dir": "/data"})


def value(config: Config, key: str) -> Any:
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


def text_of(name: str) -> str:
    return (resources.files("nsbench") / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def header(name: str) -> str:
    """The comment at the top, as one line."""
    lines = text_of(name).split("\n")
    comment = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    return " ".join(line.removeprefix("#").strip() for line in comment)


def test_these_are_the_presets() -> None:
    assert presets() == sorted(["mnist5k", *EXPECTED])


@pytest.mark.parametrize("name", EXPECTED)
def test_every_constant_is_the_published_one(name: str) -> None:
    config = load(name)
    assert config.preset == config.run_name == name
    assert {key: value(config, key) for key in EXPECTED[name]} == EXPECTED[name]
    if name != "imagenet-l2":
        assert config.fixres == FixResConfig()


def test_the_filter_model_is_one_that_timm_has_weights_for() -> None:
    """Facts 1.3: a B0 trained on ImageNet alone, and so none of the Noisy Student weights."""
    name = load("imagenet-b0").select.filter_model
    assert name in timm.list_pretrained("tf_efficientnet_b0.*_in1k")
    assert "ns_jft" not in name


def test_svhn_asks_for_its_folder() -> None:
    with pytest.raises(ConfigError, match="svhn needs data"):
        load_config("svhn")


@pytest.mark.parametrize("name", SAME_SIZE)
def test_models_of_the_same_size_study(name: str) -> None:
    """Facts 1.4 (dropout, survival 0.8), 1.7 (same model as teacher and student), native sizes."""
    (model,) = load(name).models
    dropout, *_ = SAME_SIZE[name]
    size = name.removeprefix("imagenet-")
    assert model == ModelConfig(
        name=f"tf_efficientnet_{size}",
        label=f"efficientnet-{size}",
        drop_rate=dropout,
        drop_path_rate=0.2,
        input_px=int(SAME_SIZE[name][4]),
        kwargs={"bn_momentum": 0.01},
    )


def test_models_of_the_chain_and_of_resnet50() -> None:
    """Facts 1.7: B7, then L2 three times, dropout 0.5, trained at 475 and finetuned at 800."""
    chain = load("imagenet-l2")
    teacher, student = (
        ModelConfig(
            name=f"tf_efficientnet_{size}",
            label=f"efficientnet-{size}",
            drop_rate=0.5,
            drop_path_rate=0.2,
            input_px=px,
            kwargs={"bn_momentum": 0.01},
        )
        for size, px in (("b7", 600), ("l2", 475))
    )
    assert [chain.model(generation) for generation in range(4)] == [teacher, student, student, student]
    assert [chain.train.ratio(generation) for generation in (1, 2, 3)] == [14, 14, 28]
    (resnet,) = load("imagenet-resnet50").models
    assert resnet == ModelConfig(name="resnet50", drop_rate=0.2, drop_path_rate=0.2, input_px=224)


def test_small_models_are_built_as_the_official_ones() -> None:
    """Facts 1.8: a B0 for small images, batch norm 0.99 and 1e-3 (facts 1.4), the data set's mean and std."""
    normalisation = {
        "svhn": ([0.4376821, 0.4437697, 0.47280442], [0.19803012, 0.20101562, 0.19703614]),
        "cifar10": ([0.4913, 0.4821, 0.4465], [0.2452, 0.2428, 0.2606]),
    }
    for name, (mean, std) in normalisation.items():
        (config,) = load(name).models
        assert (config.name, config.label) == ("tf_efficientnet_b0", "efficientnet-b0")
        assert (config.drop_rate, config.drop_path_rate, config.small_image, config.input_px) == (0.2, 0.2, True, 0)
        model = build(config, 10, 0).eval()
        torch.testing.assert_close(model.mean.flatten(), torch.tensor(mean))
        torch.testing.assert_close(model.std.flatten(), torch.tensor(std))
        norms = [module for module in model.net.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
        with torch.no_grad():
            assert model.net.forward_features(torch.zeros(1, 3, 32, 32)).shape[-2:] == (4, 4)


def test_mean_and_std_of_cifar10_are_those_of_its_training_images() -> None:
    """Measured on a JPEG copy of all of them; every tenth comes within a hundredth."""
    path = SHARED / "cifar10" / "train.parquet"
    if not path.is_file():
        absent(f"{path} is not here")
    column = pq.read_table(path, columns=["image"]).column("image").to_pylist()[::10]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in column]) / 255  # [N, 32, 32, 3]
    (config,) = load("cifar10").models
    given = config.kwargs["pretrained_cfg_overlay"]
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), given["mean"], atol=0.01)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), given["std"], atol=0.01)


@pytest.mark.parametrize(
    ("name", "millions", "blocks"),
    [
        ("imagenet-b0", 5.3, 16),
        ("imagenet-b1", 7.8, 23),
        ("imagenet-b2", 9.2, 23),
        ("imagenet-b3", 12, 26),
        ("imagenet-b4", 19, 32),
        ("imagenet-b5", 30, 39),
        ("imagenet-b6", 43, 45),
        ("imagenet-b7", 66, 55),
        ("imagenet-l2", 480, 88),
    ],
)
def test_imagenet_models_have_the_published_size_and_depth_rates(name: str, millions: float, blocks: int) -> None:
    """Parameters: facts 3.7 and 1.7. Block i of L drops at 0.2 i / L where it has a shortcut (facts 1.4)."""
    with torch.device("meta"):
        model = build(load(name).models[-1], 1000, 0)
    assert num_parameters(model) == pytest.approx(millions * 1e6, rel=0.035)  # printed with one or two digits
    made = [block for stage in model.net.blocks for block in stage]
    assert len(made) == blocks
    rates = [float(getattr(block.drop_path, "drop_prob", 0.0)) for block in made]
    assert rates == pytest.approx([0.2 * number / blocks for number in range(blocks)])
    norms = [module for module in model.net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("imagenet")])
def test_steps_of_imagenet(name: str) -> None:
    """Of 1,281,167 images at batch 2048 (facts 1.4): 350 epochs are 218,949 steps; at 4096 they are 109,474."""
    train = load(name).train
    for teacher in (True, False):
        steps = num_steps(train, IMAGENET, teacher)
        assert steps == (218_949 if train.epochs == 350 else 437_898) == int(train.epochs * IMAGENET / 2048)
    rates = schedule(train, num_steps=steps, num_labelled=IMAGENET)
    assert rates.warmup_steps == int(5 * IMAGENET / 2048) == 3_127
    stair = 2.4 if train.epochs == 350 else 4.8
    assert rates.decay_steps == pytest.approx(stair * IMAGENET / 2048, rel=1e-12)
    assert rates.rate(steps - 1) == 0.128 * 0.97**145


def test_steps_of_the_finetuning() -> None:
    """Facts 1.6: 1.5 epochs."""
    config = load("imagenet-l2")
    assert steps_of(config.fixres.epochs, config.train, IMAGENET) == int(1.5 * IMAGENET / 2048) == 938


def test_schedules_of_the_small_presets() -> None:
    """Facts 1.8: warm-up 2,705 steps, 202.3 labelled epochs, about 132 passes over `extra`, the last rate 9.1e-5."""
    train = load("svhn").train
    rates = schedule(train, num_steps=num_steps(train, SVHN_LABELLED, False), num_labelled=SVHN_LABELLED)
    assert (rates.num_steps, rates.warmup_steps) == (109_474, 2_705)
    assert round(rates.num_steps * 128 / SVHN_LABELLED, 1) == 202.3
    assert round(rates.num_steps * 640 / SVHN_EXTRA) == 132
    assert rates.rate(109_473) == pytest.approx(9.1e-5, abs=5e-7)
    train = load("cifar10").train
    rates = schedule(train, num_steps=num_steps(train, 4_000, False), num_labelled=4_000)
    assert (rates.num_steps, rates.warmup_steps) == (109_474, 156)


@pytest.mark.parametrize("name", presets())
def test_headers_say_title_source_cost_and_result(name: str) -> None:
    first = text_of(name).split("\n")[0]
    assert re.fullmatch(r"# [A-Z].{20,110}\.", first), first
    words = header(name)
    for part in ("Source: ", "Cost: ", "Result: "):
        assert part in words
    result = words[words.index("Result: ") :]
    assert "published" in result or "not printed" in result
    if re.search(r"published [\d.]+", result):
        assert "(verified)" in result
    assert not re.search(r"\b\d\d\.\d %", words[: words.index("Result: ")])


@pytest.mark.parametrize("name", EXPECTED)
def test_headers_give_the_cost_that_follows_from_the_config(name: str) -> None:
    """Images a training sees: steps x batch, of the teacher, of each student, of the control."""
    config, words = load(name), header(name)
    images = IMAGENET if name.startswith("imagenet") else SVHN_LABELLED
    labelled = num_steps(config.train, images, True) * config.train.labelled_batch
    students = [labelled * (1 + config.train.ratio(generation)) for generation in range(1, config.generations + 1)]
    costs = [labelled, *students, *(students[-1:] if config.control else [])]
    cost = words[words.index("Cost: ") : words.index("Result: ")]
    unit, form = (1e9, "{:.2f}") if "billion" in cost else (1e6, "{:.1f}")
    stated = re.findall(r"\d+\.\d+", cost)
    assert [form.format(one / unit) for one in costs] == stated[: len(costs)]


@pytest.mark.parametrize("name", SAME_SIZE)
def test_headers_print_the_results_of_the_table(name: str) -> None:
    *_, without, with_it = SAME_SIZE[name]
    assert f"published {without:.1f} % without and {with_it:.1f} % with self-training" in header(name)


def test_what_was_not_verified_is_not_printed() -> None:
    """Facts 3.8: the gain of ResNet-50 is from memory; so are the 6 days of L2 (1.7)."""
    assert not re.search(r"7[78]\.\d", text_of("imagenet-resnet50"))
    assert "6 days" not in text_of("imagenet-l2")


def test_the_embedded_default_keeps_its_recipe() -> None:
    config = load_config("mnist5k")
    assert [model.label for model in config.models] == ["resnet-16", "resnet-20", "resnet-24"]
    recipe = {
        "generations": 3, "control": True, "train.steps": 500, "train.teacher_batch": 64, "train.labelled_batch": 32,
        "train.unlabelled_ratio": (3,), "train.optimizer": "sgd", "train.learning_rate": 0.1,
        "train.weight_decay": 5e-4, "train.schedule": "cosine", "train.warmup_steps": 25, "train.ema_decay": 0.98,
        "train.clip_norm": 5.0, "noise.magnitude": 9.0, "noise.flip": False, "select.min_confidence": 0.3,
        "select.balance": "duplicate",
    }  # fmt: skip
    assert {key: value(config, key) for key in recipe} == recipe


@pytest.mark.parametrize("name", presets())
def test_a_preset_repeats_no_key_of_the_one_that_it_extends(name: str) -> None:
    values = tomllib.loads(text_of(name))
    base = tomllib.loads(text_of(values["extends"])) if "extends" in values else {}
    for section in ("data", "noise", "train", "select", "fixres"):
        same = [key for key, given in values.get(section, {}).items() if base.get(section, {}).get(key) == given]
        assert not same, section


@pytest.fixture
def facts() -> str:
    """The tables once more, read from where they were verified."""
    if not FACTS.is_file():
        absent("the facts lie outside the repository")
    return FACTS.read_text(encoding="utf-8")


def row(facts: str, start: str) -> str:
    """The one line that starts so."""
    (line,) = [line for line in facts.split("\n") if line.startswith(start)]
    return line


def test_dropout_in_the_facts(facts: str) -> None:
    pairs = re.findall(r"\b(B\d|L2) (\.\d)", row(facts, "| dropout (final layer)"))
    stated = {name.lower(): float(rate) for name, rate in pairs}
    assert len(stated) == 9
    for size, rate in stated.items():
        assert load(f"imagenet-{size}").models[-1].drop_rate == rate


def test_magnitudes_in_the_facts(facts: str) -> None:
    (line,) = re.findall(r"`(B0 none; .*?)`", facts)
    for size, said in (part.split() for part in line.split("; ")):
        noise = load(f"imagenet-{size.lower()}").noise
        expected = (0, "none") if said == "none" else (2, said)
        assert (noise.num_ops, f"M={noise.magnitude:g}" if noise.num_ops else "none") == expected


def test_ratios_in_the_facts(facts: str) -> None:
    b0, rest = re.findall(r"\*\*(\d+)\*\*", row(facts, "| … released scripts"))
    assert [load(name).train.ratio(1) for name in B] == [int(b0), *[int(rest)] * 7]
    chain = re.search(r"\| (\d+), (\d+), (\d+) \(one per iteration\)", facts)
    assert chain is not None
    assert load("imagenet-l2").train.unlabelled_ratio == tuple(map(int, chain.groups()))


def test_balance_in_the_facts(facts: str) -> None:
    flags = re.search(r"Flags: min_threshold ([\d.]+), num_image (\d+)", facts)
    assert flags is not None
    for name in (*B, "imagenet-l2"):
        select = load(name).select
        assert (select.min_confidence, select.per_class) == (float(flags[1]), int(flags[2]))
    svhn = re.search(r"SVHN: ([\d.]+), \*\*(\d+)\*\* per class", facts)
    assert svhn is not None
    words = header("svhn")
    assert f"select.min_confidence={svhn[1]} " in words
    assert f"select.per_class={svhn[2]}`" in words


def test_results_in_the_facts(facts: str) -> None:
    table = re.findall(r"^(B\d),[\d.]+M,([\d.]+),[\d.]+,([\d.]+),", facts, flags=re.M)
    assert len(table) == 8
    for size, without, with_it in table:
        assert (float(without), float(with_it)) == SAME_SIZE[f"imagenet-{size.lower()}"][-2:]
    iterations = re.search(r"`1: L2 1:14 ([\d.]+); 2: L2 1:14 ([\d.]+); 3: L2 1:28 ([\d.]+)`", facts)
    assert iterations is not None
    one, two, three = iterations.groups()
    words = header("imagenet-l2")
    assert f"published {one}, {two} and {three} % top-1" in words
    last = dict(re.findall(r"^(ImageNet-?[ACP]? \w+),.*,([\d.]+)$", facts, flags=re.M))
    assert three == last["ImageNet top1"]
    assert f"ImageNet-A {last['ImageNet-A top1']} % top-1, mCE {last['ImageNet-C mCE']}, mFR" in words
    assert f"mFR {last['ImageNet-P mFR']} (verified)" in words
    teacher, student = re.search(r"teacher ([\d.]+ %) → student \*\*([\d.]+ ± [\d.]+ %)\*\*", facts).groups()  # type: ignore[union-attr]
    assert f"published {teacher} (teacher) and {student.replace('±', '+-')} (student)" in header("svhn")


def test_svhn_in_the_facts(facts: str) -> None:
    preset = load("svhn")
    found = re.search(r"mean ([\d. ]+), std ([\d. ]+) \[", row(facts, "| normalisation |"))
    assert found is not None
    mean, std = found.groups()
    overlay = preset.models[0].kwargs["pretrained_cfg_overlay"]
    assert (overlay["mean"], overlay["std"]) == (list(map(float, mean.split())), list(map(float, std.split())))
    aug = row(facts, "| aug order")
    found = re.search(
        r"N=(\d) \*\*M=(\d)\*\* \(cutout_const (\d), translate_const (\d)\).*Cutout (\d+)×.*reflect-pad (\d)", aug
    )
    assert found is not None
    noise = preset.noise
    ours = (
        noise.num_ops, noise.magnitude, noise.cutout_px, noise.translate_px, noise.always_cutout_px,
        noise.crop_padding_px,
    )  # fmt: skip
    assert ours == tuple(map(int, found.groups()))
    decay = re.search(r"\*\*(1e-\d)\*\*", row(facts, "| weight decay | **"))
    assert decay is not None
    assert preset.train.weight_decay == float(decay[1])
    steps = re.search(r"\| (\d+ \d+) \(flag default\)", row(facts, "| steps |"))
    assert steps is not None
    assert preset.train.steps == int(steps[1].replace(" ", ""))
