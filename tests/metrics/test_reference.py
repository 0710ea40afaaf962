"""The published constants: complete, in agreement with a second source, and nothing that could not be checked."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nsbench.metrics.reference import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CIFAR_P_PERTURBATIONS,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
    PUBLISHED,
    Published,
)
from tests.shared import GOLDEN, absent

# google-research/augmix imagenet.py:148-152, in the order of CORRUPTIONS; the extra four from
# clovaai/assembled-cnn mce/eval_robustness.py:93-99, to four digits.
AUGMIX_ALEXNET_ERR = (
    *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816),
    *(0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
)
ASSEMBLED_EXTRA_ERR = (0.8454, 0.7871, 0.7175, 0.6583)


@pytest.fixture(scope="module")
def golden() -> dict:
    path = GOLDEN / "robustness_golden.json"
    if not path.is_file():
        absent(f"no golden file at {path}; the checks of nsbench/metrics/published_models.py still ran")
    return json.loads(path.read_text())


def find(**fields: object) -> list[Published]:
    return [row for row in PUBLISHED if all(getattr(row, name) == value for name, value in fields.items())]


def test_alexnet_means_agree_with_the_second_source() -> None:
    np.testing.assert_allclose([np.mean(ALEXNET_ERRORS[name]) for name in CORRUPTIONS], AUGMIX_ALEXNET_ERR, atol=1e-9)
    extra = [np.mean(ALEXNET_ERRORS[name]) for name in EXTRA_CORRUPTIONS]
    np.testing.assert_allclose(extra, ASSEMBLED_EXTRA_ERR, atol=6e-5)  # .658248 is rounded twice there
    assert np.mean([ALEXNET_FLIP_PROBABILITIES[name] for name in PERTURBATIONS]) == pytest.approx(0.140463, abs=1e-9)


def test_names_are_complete_and_distinct() -> None:
    assert (len(CORRUPTIONS), len(EXTRA_CORRUPTIONS), len(PERTURBATIONS), len(EXTRA_PERTURBATIONS)) == (15, 4, 10, 4)
    assert tuple(ALEXNET_ERRORS) == CORRUPTIONS + EXTRA_CORRUPTIONS
    assert set(ALEXNET_FLIP_PROBABILITIES) == {*PERTURBATIONS, *EXTRA_PERTURBATIONS}
    assert not {*PERTURBATIONS} & {*EXTRA_PERTURBATIONS}
    assert {*CIFAR_P_PERTURBATIONS} - {*PERTURBATIONS} == {"spatter"}
    assert {*PERTURBATIONS} - {*CIFAR_P_PERTURBATIONS} == {"snow"}


def test_every_constant_is_the_golden_files(golden: dict) -> None:
    assert pytest.approx(golden["alexnet_clean_err"] / 100) == ALEXNET_CLEAN_ERROR
    assert set(golden["alexnet_imagenet_c_err_percent"]) == set(ALEXNET_ERRORS)
    for name, percents in golden["alexnet_imagenet_c_err_percent"].items():
        np.testing.assert_allclose(ALEXNET_ERRORS[name], np.array(percents) / 100, rtol=1e-12)
    flips = golden["alexnet_imagenet_p_fp"] | golden["alexnet_imagenet_p_fp_validation"]
    assert flips == dict(ALEXNET_FLIP_PROBABILITIES)
    assert tuple(golden["imagenet_c_order"]) == CORRUPTIONS
    assert tuple(golden["imagenet_p_order"]) == PERTURBATIONS


def test_constants_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        ALEXNET_ERRORS["snow"] = (0.0,) * 5  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PUBLISHED[0].value = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("eval_name", "metric", "resolution", "v1", "v2"),
    [
        ("imagenet", "top1", None, 0.874, 0.884),
        ("imagenet-a", "top1", None, 0.742, 0.837),
        ("imagenet-c", "mCE", 299, 31.2, 28.3),
        ("imagenet-p", "mFR", 299, 16.1, 12.2),
    ],
)
def test_the_headlines_of_the_abstract(
    eval_name: str, metric: str, resolution: int | None, v1: float, v2: float
) -> None:
    for model, value in (("Noisy Student L2 (v1)", v1), ("Noisy Student L2 (v2)", v2)):
        (row,) = find(model=model, eval=eval_name, metric=metric, resolution=resolution)
        assert row.value == value


def test_the_fgsm_curves() -> None:
    for model, first, last in (("EfficientNet-L2", 0.855, 0.597), ("Noisy Student L2 (v2)", 0.884, 0.747)):
        curve = find(model=model, eval="fgsm")
        assert [row.level for row in curve] == ["0", "2", "4", "8", "16"]
        assert (curve[0].value, curve[-1].value) == (first, last)
        assert [row.value for row in curve] == sorted((row.value for row in curve), reverse=True)


def test_rows_are_well_formed_and_distinct() -> None:
    keys = [(row.model, row.eval, row.metric, row.resolution, row.level) for row in PUBLISHED]
    assert len(set(keys)) == len(keys)
    for row in PUBLISHED:
        assert row.unit == ("percent" if row.metric in ("mCE", "mFR") else "fraction")
        assert 0 < row.value < (100 if row.unit == "percent" else 1)
        assert "arXiv:1911.04252v" in row.citation
        assert row.citation.count("v1") == 0 or row.model != "Noisy Student L2 (v2)"


def test_figures_of_unchecked_origin_are_left_out() -> None:
    assert not [row for row in PUBLISHED if "BiT" in row.model]
    assert not find(eval="attacks", model="Noisy Student L2 (v2)")
