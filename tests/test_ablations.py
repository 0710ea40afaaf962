"""Arms of the paper's tables: what each changes, in which presets, and which runs a matrix of them makes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nsbench.ablations import ONE_STUDENT, arms, groups
from nsbench.config import Config
from nsbench.configfile import differing_keys, load_config, own_ablations, presets, to_dict
from nsbench.errors import ConfigError
from nsbench.matrix import arms_of, configs

ARMS = {
    # facts 4: every part of the recipe that the paper or the official code switches, and what it is switched to
    "no-unlabelled-augment": {"noise.augment": "labelled"},
    "no-unlabelled-noise": {
        "noise.augment": "labelled", "noise.dropout": "labelled", "noise.stochastic_depth": "labelled",
    },
    "no-noise": {"noise.augment": "none", "noise.dropout": "none", "noise.stochastic_depth": "none"},
    "noised-teacher": {"teacher.noised": True},
    "hard-labels": {"train.pseudo_labels": "hard"},
    "no-balance": {"select.balance": "off"},
    "cap-only": {"select.balance": "cap"},
    "no-filter": {"select.min_confidence": 0.0},
    "pretrain-finetune": {"train.stages": "pretrain-finetune"},
    "from-teacher": {"train.init": "teacher"},
    "ratio-1": {"train.unlabelled_ratio": [1]},
    "loss-algorithm1": {"train.loss": "algorithm1"},
    "loss-concat-mean": {"train.loss": "concat_mean"},
    "loss-code": {"train.loss": "code"},
    "quarter-of-the-data": {"select.fraction": 0.25},
    "sixteenth-of-the-data": {"select.fraction": 0.0625},
}  # fmt: skip
GROUPS = {
    "noise": ["no-unlabelled-augment", "no-unlabelled-noise", "no-noise"],
    "teacher-noise": ["noised-teacher"],
    "labels": ["hard-labels"],
    "balance": ["no-balance", "cap-only"],
    "filter": ["no-filter"],
    "joint": ["pretrain-finetune"],
    "init": ["from-teacher"],
    "ratio": ["ratio-1"],
    "loss": ["loss-algorithm1", "loss-concat-mean", "loss-code"],
    "data-size": ["quarter-of-the-data", "sixteenth-of-the-data"],
}
OWN = """
extends = "mnist5k"
[ablations.short]
train = { steps = 7 }
[ablations.tall]
generations = 2
"""


@functools.cache
def load(source: str | Path, ablation: str | None = None, seed: int | None = None) -> Config:
    """A config; some presets have no folder of their own."""
    overrides: dict[str, Any] = {"data.dir": "/data"} | ({} if seed is None else {"seed": seed})
    return load_config(source, ablation=ablation, overrides=overrides)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def resolver(source: str | Path) -> Callable[[str | None, int | None], Config]:
    return lambda ablation, seed: load(source, ablation, seed)


def test_these_are_the_groups_and_their_arms() -> None:
    assert {name: list(group.arms) for name, group in groups().items()} == GROUPS
    assert all(group.title and group.source for group in groups().values())
    assert ONE_STUDENT == {"generations": 1, "control": False}
    assert {name: flat(keys) for name, keys in arms().items()} == {n: {**ONE_STUDENT, **k} for n, k in ARMS.items()}


def test_no_two_things_share_a_name() -> None:
    """A title is a heading of the report, an arm names a folder, and both are said to the same flag."""
    names = [name for group in groups().values() for name in group.arms]
    assert len({*names, *groups()}) == len(names) + len(groups())
    titles = [group.title for group in groups().values()]
    assert len(set(titles)) == len(titles)


GROWING = ("mnist5k", "imagenet-l2")
"""Presets whose first student is another architecture than its teacher, and so cannot start from it."""


@pytest.mark.parametrize("preset", GROWING)
def test_a_growing_student_cannot_start_from_its_teacher(preset: str) -> None:
    with pytest.raises(ConfigError, match="needs one architecture"):
        load(preset, "from-teacher")


PAIRS = [pair for pair in itertools.product(presets(), ARMS) if pair[0] not in GROWING or pair[1] != "from-teacher"]


@pytest.mark.parametrize(("preset", "arm"), PAIRS)
def test_an_arm_changes_what_it_says_and_nothing_else(preset: str, arm: str) -> None:
    plain, changed = to_dict(load(preset)), to_dict(load(preset, arm))
    stated = {"ablation": arm, **ONE_STUDENT, **ARMS[arm]}
    before, after = flat(plain), flat(changed)
    assert {key: after[key] for key in stated} == stated
    assert set(differing_keys(plain, changed)) == {key for key, value in stated.items() if before[key] != value}


@pytest.mark.parametrize("arm", [name for name in ARMS if name not in ("loss-code", "from-teacher")])
def test_every_arm_differs_from_the_embedded_default(arm: str) -> None:
    """Of `loss-code` that cannot be asked: it is what all presets do. `from-teacher` is refused there."""
    plain, changed = to_dict(load("mnist5k")), to_dict(load("mnist5k", arm))
    assert set(ARMS[arm]) <= set(differing_keys(plain, changed))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([], []),
        (["noise"], GROUPS["noise"]),
        (["labels", "noise"], [*GROUPS["labels"], *GROUPS["noise"]]),
        (["no-noise", "noise"], ["no-noise", "no-unlabelled-augment", "no-unlabelled-noise"]),
        (["cap-only", "cap-only", "short"], ["cap-only", "short"]),
        (list(GROUPS), list(ARMS)),
    ],
)
def test_groups_and_arms_are_each_taken_once_in_their_order(names: list[str], found: list[str]) -> None:
    assert arms_of(names, ["short", "tall"]) == found


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("nose", "noise"), ("hard-label", "hard-labels"), ("data_size", "data-size"), ("shrt", "short"), ("", "known: ")],
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        arms_of(["noise", name], ["short"])
    assert repr(name) in str(caught.value)
    assert nearest in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_matrix_has_the_full_recipe_first_with_one_student_like_its_arms() -> None:
    found = configs(resolver("mnist5k"), ["no-noise", "hard-labels"], [3, 1])
    assert [(one.recipe, one.seed) for one in found] == [
        ("noisy-student", 3), ("no-noise", 3), ("hard-labels", 3),
        ("noisy-student", 1), ("no-noise", 1), ("hard-labels", 1),
    ]  # fmt: skip
    assert len({one.run_name for one in found}) == len(found), "each has a folder of its own"
    plain, full = to_dict(load("mnist5k", seed=3)), to_dict(found[0])
    assert set(differing_keys(plain, full)) == set(ONE_STUDENT)
    for one in found[1:3]:
        assert set(differing_keys(full, to_dict(one))) == {"ablation", *ARMS[one.ablation]}


def test_seeds_without_arms_are_whole_runs() -> None:
    found = configs(resolver("mnist5k"), [], [0, 1, 2])
    assert found == [load("mnist5k", seed=seed) for seed in (0, 1, 2)]
    assert found[0].generations == 3
    assert found[0].control


def test_without_a_seed_the_configs_own_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('extends = "mnist5k"\nseed = 9\n', encoding="utf-8")
    assert [one.seed for one in configs(resolver(path), ["no-noise"], [None])] == [9, 9]


def test_arms_of_a_config_stand_beside_the_papers(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    own = own_ablations(path)
    assert own == ["short", "tall"]
    found = configs(resolver(path), arms_of(["labels", "short"], own), [0])
    assert [one.recipe for one in found] == ["noisy-student", "hard-labels", "short"]
    assert found[2].train.steps == 7
    assert found[0].train.steps == load("mnist5k").train.steps
