"""One configuration from defaults, TOML, ablation, flags and --set, and one line for everything wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsbench.config import Config, EvalConfig
from nsbench.configfile import EXECUTION_ONLY, differing_keys, load_config, presets, suggest, to_dict, to_toml
from nsbench.errors import ConfigError
from nsbench.trainingconfig import ModelConfig, TrainConfig


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refused(*parts: str, **given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(**given)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_and_names_its_run(name: str, tmp_path: Path) -> None:
    config = load_config(name, overrides={"data.dir": "/data"})  # `svhn` has no folder of its own
    assert config.preset == config.run_name == name
    again = load_config(write(tmp_path / "a.toml", to_toml(config)))
    assert again == config


@pytest.mark.parametrize("ablation", ["no-unlabelled-noise", "no-noise", "hard-labels"])
def test_ablations_of_the_embedded_default(ablation: str, tmp_path: Path) -> None:
    plain, config = load_config(), load_config(ablation=ablation, overrides={"seed": 4})
    assert config.recipe == ablation
    assert config.run_name == f"mnist5k-{ablation}-seed4"
    assert "control" in differing_keys(to_dict(plain), to_dict(config))
    assert load_config(write(tmp_path / "a.toml", to_toml(config))) == config


def test_the_embedded_default_is_what_the_readme_says() -> None:
    config = load_config()
    assert config == load_config("mnist5k")
    assert (config.generations, config.control, config.recipe) == (3, True, "noisy-student")
    assert config.model(0).label == "resnet-16"
    assert config.model(2) == config.model(3) == config.models[-1]


@settings(max_examples=40, deadline=None)
@given(
    rate=st.floats(0, 1, exclude_max=True),
    learning_rate=st.floats(1e-300, 1e300),
    epsilons=st.lists(st.floats(0, 255), max_size=4, unique_by=lambda eps: f"{eps:g}"),
    name=st.text(st.characters(codec="utf-8"), max_size=8),
    channels=st.lists(st.integers(1, 999), max_size=3),
)
def test_toml_round_trip(
    rate: float, learning_rate: float, epsilons: list[float], name: str, channels: list[int]
) -> None:
    import tomllib

    from nsbench.configfile import _build

    config = Config(
        models=(ModelConfig(name="a", drop_rate=rate, kwargs={"channels": channels, "x": {"y": name}}), ModelConfig()),
        train=TrainConfig(learning_rate=learning_rate),
        eval=EvalConfig(epsilons_px=tuple(epsilons), evals=(name,)),
    )
    assert _build(Config, tomllib.loads(to_toml(config)), "") == config


def test_a_run_folder_is_a_config(tmp_path: Path) -> None:
    config = load_config(ablation="hard-labels", assignments=["seed=5", "train.steps=7"])
    write(tmp_path / "config.toml", to_toml(config))
    for source in (tmp_path, str(tmp_path)):
        assert load_config(source) == config
    refused("config.toml", "cannot be read", source=write_folder(tmp_path / "empty"))


def write_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("section", ["models", "data", "noise", "train", "select"])
def test_a_config_that_was_read_back_gives_the_same_fingerprints(section: str, tmp_path: Path) -> None:
    """`nsbench train-and-eval runs/x` must continue runs/x, so the two must be equal as JSON, not only as numbers."""
    config = load_config()
    write(tmp_path / "config.toml", to_toml(config))
    assert json.dumps(to_dict(load_config(tmp_path))[section]) == json.dumps(to_dict(config)[section])


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"source": "mnist5"}, ["mnist5", "did you mean 'mnist5k'?"]),
        ({"source": "zzz"}, ["zzz", "known: cifar10, ", "mnist5k"]),
        ({"source": "/nowhere/a.toml"}, ["/nowhere/a.toml", "cannot be read"]),
        ({"ablation": "hard-label"}, ["did you mean 'hard-labels'?"]),
        ({"assignments": ["train.learning_rat=1"]}, ["train.learning_rat", "did you mean 'learning_rate'?"]),
        ({"assignments": ["trian.steps=1"]}, ["trian", "did you mean 'train'?"]),
        ({"assignments": ["generation=1"]}, ["did you mean 'generations'?"]),
        ({"assignments": ["select.balance=duplicat"]}, ["select.balance", "did you mean 'duplicate'?"]),
        ({"assignments": ["data.eval_split=test"]}, ["data.eval_split", "test"]),
        ({"assignments": ["data.dataset=imagenet"]}, ["data.dataset", "mnist5k"]),
        ({"assignments": ["noise.on_unlabelled=false"]}, ["noise.on_unlabelled"]),
        ({"assignments": ["noise.augment=labeled"]}, ["noise.augment", "did you mean 'labelled'?"]),
        ({"assignments": ["noise.dropout=false"]}, ["noise.dropout", "known: both, labelled, none, unlabelled"]),
        ({"assignments": ["noise.stochastic_depth=off"]}, ["noise.stochastic_depth", "known: both"]),
        ({"assignments": ["train.steps"]}, ["train.steps", "section.key=value"]),
        ({"assignments": ["generations.x=1"]}, ["'generations' is not a section"]),
        ({"assignments": ["models.name=resnet50"]}, ["'models' is not a section"]),
        ({"assignments": ["train=3"]}, ["[train] must be a section"]),
        ({"assignments": ["models=[]"]}, ["models is empty"]),
        ({"assignments": ["models=[{nam='resnet18'}]"]}, ["models", "did you mean 'name'?"]),
        ({"assignments": ["models=3"]}, ["models must be a list"]),
    ],
)
def test_wrong_names_get_the_nearest(given: dict[str, Any], parts: list[str]) -> None:
    refused(*parts, **given)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generations", -1),
        ("generations", 2.0),
        ("generations", "3"),
        ("generations", True),
        ("seed", -1),
        ("control", 1),
        ("threads", 0),
        ("workers", -1),
        ("device", 0),
        ("data.labelled_per_class", -1),
        ("data.labelled_per_class", 11),
        ("data.shard_images", 0),
        ("data.window_shards", 0),
        ("data.image_px", -1),
        ("data.unlabelled", [1]),
        ("data.unlabelled_smallest", 351),
        ("data.out_of_domain", -1),
        ("data.out_of_domain", 301),
        ("noise.magnitude", 31),
        ("noise.magnitude", float("nan")),
        ("noise.num_ops", -1),
        ("noise.cutout_px", -1),
        ("noise.flip", "no"),
        ("noise.crop_area", [0.5]),
        ("noise.crop_area", [0.5, 1.5]),
        ("noise.crop_area", [0.6, 0.5]),
        ("noise.crop_ratio", [0, 1]),
        ("noise.translate_px", -1),
        ("noise.always_cutout_px", -1),
        ("noise.crop_padding_px", -1),
        ("train.steps", 0),
        ("train.labelled_batch", 0),
        ("train.teacher_steps", -1),
        ("train.unlabelled_ratio", -1),
        ("train.unlabelled_ratio", []),
        ("train.unlabelled_ratio", [3, -1]),
        ("train.unlabelled_ratio", 1.5),
        ("train.unlabelled_ratio", True),
        ("train.epochs", -1),
        ("train.epochs", float("inf")),
        ("train.accumulation", 0),
        ("train.final_learning_rate", 0.1),
        ("train.final_learning_rate", 0.2),
        ("train.finetune_steps", -1),
        ("train.batch_norm", "synced"),
        ("train.log_steps", 0),
        ("train.optimizer_kwargs", 3),
        ("train.learning_rate", 0),
        ("train.learning_rate", float("nan")),
        ("train.temperature", 0),
        ("train.ema_decay", 1),
        ("train.label_smoothing", 1),
        ("train.decay_steps", 0),
        ("train.weight_decay", -1e-9),
        ("train.learning_rate", "fast"),
        ("select.min_confidence", 1.1),
        ("select.min_confidence", [0.3]),
        ("select.per_class", -1),
        ("select.per_class", 1.5),
        ("select.max_confidence", 0.2),
        ("select.fraction", 0),
        ("select.fraction", 1.1),
        ("select.total", -1),
        ("teacher.top_k", -1),
        ("teacher.weights", "averaged"),
        ("fixres.epochs", -1),
        ("fixres.frozen_blocks", -1),
        ("eval.batch_size", 0),
        ("eval.epsilons_px", [-1]),
        ("eval.epsilons_px", 256),
        ("eval.epsilons_px", ["8"]),
        ("eval.perturbation_images", 0),
        ("models", [{"drop_rate": 1}]),
        ("models", [{"drop_path_rate": -0.1}]),
        ("models", [{"kwargs": 3}]),
        ("models", [{"input_px": -1}]),
        ("models", [{"small_image": 1}]),
        ("models", ["resnet50"]),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(key: str, value: Any) -> None:
    refused(key.rpartition(".")[2], overrides={key: value})


def test_keys_that_exclude_one_another() -> None:
    refused("select.per_class or select.total", overrides={"select.per_class": 1, "select.total": 1})
    refused("whole hundredths", overrides={"select.rule": "bins", "select.min_confidence": 0.305})
    assert load_config(overrides={"select.rule": "bins", "select.min_confidence": 0.29}).select.rule == "bins"
    refused("svhn needs data.dir (--data-dir)", overrides={"data.dataset": "svhn"})
    refused("data.labelled names no images", overrides={"data.dataset": "files", "data.labelled_per_class": 400})
    files = {"data.dataset": "files", "data.labelled": "train", "data.labelled_per_class": 400}
    assert load_config(overrides=files).data.labelled_per_class == 400


def test_zero_labelled_images_a_class_are_all_of_them() -> None:
    assert load_config(overrides={"data.labelled_per_class": 0}).data.labelled_per_class == 0


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.unlabelled_ratio", 3, (3,)),
        ("train.unlabelled_ratio", [14, 14, 28], (14, 14, 28)),
        ("eval.epsilons_px", 8, (8.0,)),
        ("eval.evals", "fgsm", ("fgsm",)),
        ("data.unlabelled", "pool-{000..146}.tar", ("pool-{000..146}.tar",)),
    ],
)
def test_one_value_is_a_list_of_one(key: str, value: Any, expected: tuple[Any, ...], tmp_path: Path) -> None:
    section, _, name = key.partition(".")
    config = load_config(overrides={key: value})
    assert getattr(getattr(config, section), name) == expected
    assert load_config(write(tmp_path / "a.toml", to_toml(config))) == config


def test_the_last_ratio_and_the_last_model_repeat() -> None:
    config = load_config(overrides={"train.unlabelled_ratio": [14, 28], "models": [{"name": "a"}, {"name": "b"}]})
    assert [config.train.ratio(generation) for generation in (1, 2, 3, 4)] == [14, 28, 28, 28]
    assert [config.model(generation).name for generation in (0, 1, 2)] == ["a", "b", "b"]


def test_noise_is_switched_by_kind_and_by_images() -> None:
    plain = load_config()
    for kind in ("augment", "dropout", "stochastic_depth"):
        assert getattr(plain.noise, kind) == "both"
        for where in ("labelled", "unlabelled", "none"):
            config = load_config(assignments=[f"noise.{kind}={where}"])
            assert differing_keys(to_dict(plain), to_dict(config)) == [f"noise.{kind}"]


def test_set_takes_toml_or_plain_text() -> None:
    config = load_config(
        assignments=[
            "train.learning_rate=1e-3",
            "train.steps = 7",
            "eval.epsilons_px=[1, 2.5]",
            'eval.evals=["fgsm", "imagenet"]',
            "train.optimizer=adamw",
            "train.schedule='staircase'",
            "noise.flip=true",
            "data.cache_dir=/a=b",
            "models=[{name='resnet18', kwargs={stem_width=4}}]",
            "seed=1",
            "seed=2",
        ]
    )
    assert config.train.learning_rate == 1e-3
    assert config.train.steps == 7
    assert config.eval.epsilons_px == (1.0, 2.5)
    assert config.eval.evals == ("fgsm", "imagenet")
    assert (config.train.optimizer, config.train.schedule) == ("adamw", "staircase")
    assert config.noise.flip is True
    assert config.data.cache_dir == "/a=b"
    assert config.models == (ModelConfig(name="resnet18", kwargs={"stem_width": 4}),)
    assert config.model(9).label == "resnet18"
    assert config.seed == 2


def test_precedence_is_defaults_toml_ablation_flags_set(tmp_path: Path) -> None:
    toml = write(
        tmp_path / "a.toml",
        'preset = "a"\n[train]\nsteps = 10\nmomentum = 0.1\ntemperature = 2\nclip_norm = 1\n'
        "[ablations.x]\ntrain.steps = 20\ntrain.momentum = 0.2\ntrain.temperature = 3\n",
    )
    given: dict[str, Any] = {
        "source": toml,
        "ablation": "x",
        "overrides": {"train.steps": 30, "train.momentum": 0.3},
        "assignments": ["train.steps=40"],
    }
    train = load_config(**given).train
    assert train == TrainConfig(steps=40, momentum=0.3, temperature=3.0, clip_norm=1.0)
    assert load_config(toml).train == TrainConfig(steps=10, momentum=0.1, temperature=2.0, clip_norm=1.0)
    assert load_config(toml).eval == EvalConfig()


def test_extends_overrides_key_by_key(tmp_path: Path) -> None:
    toml = write(
        tmp_path / "a.toml", 'extends = "mnist5k"\npreset = "mine"\n[train]\nsteps = 3\n[ablations.y]\nseed = 9\n'
    )
    base, config = load_config(), load_config(toml)
    assert config == dataclasses.replace(base, preset="mine", train=dataclasses.replace(base.train, steps=3))
    assert load_config(toml, ablation="y").seed == 9
    assert load_config(toml, ablation="hard-labels").train.pseudo_labels == "hard"
    chained = write(tmp_path / "b.toml", f'extends = "{toml}"\ntrain.steps = 4\n')
    assert load_config(chained).train.steps == 4
    refused("mnist5k", source=write(tmp_path / "c.toml", 'extends = "mnist"\n'))


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    refused("a.toml", "is not TOML", source=write(tmp_path / "a.toml", "[train\n"))
    (tmp_path / "b.toml").write_bytes(b"\xff")
    refused("b.toml", source=tmp_path / "b.toml")


def test_differing_keys_names_what_differs_but_for_execution() -> None:
    config = load_config()
    speed = load_config(assignments=["device=cpu", "workers=0", "data.cache_dir=x", "train.checkpoint_seconds=1"])
    assert speed != config
    assert differing_keys(to_dict(config), to_dict(speed)) == []
    other = load_config(assignments=["threads=2", "train.steps=9", "workers=0", "models=[{name='a'}]"])
    assert differing_keys(to_dict(config), to_dict(other)) == ["models", "threads", "train.steps"]
    assert differing_keys({"a": {"b": 1}}, {"a": {}, "c": 1}) == ["a.b", "c"]


def test_execution_only_keys_exist() -> None:
    plain = to_dict(Config())
    for key in EXECUTION_ONLY:
        section, _, name = key.rpartition(".")
        assert name in (plain[section] if section else plain)


def test_suggest() -> None:
    assert suggest("fgms", ["fgsm", "imagenet"]) == "; did you mean 'fgsm'?"
    assert suggest("qqq", ["b", "a"]) == "; known: a, b"
    assert suggest("qqq", []) == ""


def test_extends_looks_beside_the_file_and_refuses_a_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.toml").write_text('extends = "mnist5k"\nseed = 4\n')
    (tmp_path / "top.toml").write_text('extends = "base.toml"\ngenerations = 1\n')
    config = load_config(tmp_path / "top.toml")
    assert (config.seed, config.generations, config.train.steps) == (4, 1, 500)
    (tmp_path / "base.toml").write_text('extends = "top.toml"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(tmp_path / "top.toml")
    (tmp_path / "mnist5k").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config().preset == "mnist5k"
