"""The stored lines are those of the committed table, and effective robustness is what lies above them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from nsbench.metrics.effective_robustness import FITS, Fit, fit_line
from nsbench.report.backdrop import timm_models


@pytest.mark.parametrize("name", FITS)
def test_the_stored_lines_are_those_of_the_published_models(name: str) -> None:
    """Only models trained on ImageNet-1k alone, and of ImageNet-A only those it was not chosen against."""
    fit, frame = FITS[name], timm_models()
    frame = frame[frame["extra_data"] == ""].dropna(subset=[f"{fit.shifted}_top1"])
    frame = frame[frame[f"{fit.clean}_top1"] >= fit.lowest]
    clean, shifted = (frame[f"{column}_top1"].to_numpy() for column in (fit.clean, fit.shifted))
    x, y = special.logit(clean), special.logit(shifted)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert fit.num_models == len(frame)
    assert (fit.intercept, fit.slope) == pytest.approx((y.mean() - slope * x.mean(), slope), abs=1e-6)
    assert fit_line(clean, shifted) == pytest.approx((fit.intercept, fit.slope), abs=1e-6)
    assert fit.spread == pytest.approx(np.std(shifted - fit.expected(clean), ddof=1), abs=6e-5)


def test_the_line_of_imagenet_a_starts_at_the_model_it_was_chosen_against() -> None:
    frame = timm_models().set_index("model")
    assert FITS["imagenet-a"].lowest == pytest.approx(frame.loc["resnet50.tv_in1k", "imagenet_a_clean_top1"])
    assert np.isnan(frame.loc["resnet50.tv_in1k", "imagenet_a_top1"])


def test_more_data_is_named_and_nothing_else_is() -> None:
    """Each tag of timm's is sorted by hand; students of unlabelled images lie above the line of the others."""
    frame = timm_models()
    more = {name.partition(".")[2] for name in frame.loc[frame["extra_data"] != "", "model"]}
    alone = {name.partition(".")[2] for name in frame.loc[frame["extra_data"] == "", "model"]}
    assert more == {
        "ns_jft_in1k", "ns_jft_in1k_475", "fb_swsl_ig1b_ft_in1k", "fb_wsl_ig1b_ft_in1k", "augreg_in21k_ft_in1k",
    }  # fmt: skip
    assert alone == {
        "in1k", "aa_in1k", "ap_in1k", "ra_in1k", "lamb_in1k", "tv_in1k", "tv2_in1k", "gluon_in1k", "a1_in1k", "fb_in1k",
        "r160_in1k", "c3_in1k",
    }  # fmt: skip
    students = frame[frame["model"].str.contains(".ns_jft_in1k", regex=False)]
    line = FITS["imagenet-r"]
    above = students["imagenet_r_top1"] - line.expected(students["imagenet_r_clean_top1"])
    assert (above > line.spread).all()


def test_the_table_holds_the_published_digits() -> None:
    one = timm_models().set_index("model").loc["tf_efficientnet_b4.ns_jft_in1k"]
    figures = [
        one[f"{name}_top1"] for name in ("imagenet", "imagenet_a", "imagenet_r", "imagenet_v2", "imagenet_sketch")
    ]
    assert figures == pytest.approx([0.85156, 0.51040, 0.61107, 0.75530, 0.43444])
    assert (one["img_size"], one["crop_pct"], one["interpolation"]) == (380, 0.922, "bicubic")
    assert len(timm_models()) == 49


def test_expected_accuracy_keeps_to_the_ends() -> None:
    fit = Fit(clean="c", shifted="s", intercept=-1.0, slope=2.0, num_models=2, spread=0.0)
    assert fit.expected([0.0, 0.5, 1.0]) == pytest.approx([0.0, special.expit(-1.0), 1.0])


@pytest.mark.parametrize(
    "bad", [([0.5], [0.5]), ([0.5, 1.0], [0.5, 0.6]), ([0.5, 0.6], [0.0, 0.6]), ([0.5, 0.6], [0.5])]
)
def test_what_has_no_line(bad: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match=r"accuracies|models or more"):
        fit_line(*bad)
