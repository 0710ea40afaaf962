"""`nsbench certify`: published figures beside measured ones, and what is not comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nsbench.certify import DEFAULT_MODELS, certified_evals, compare
from nsbench.errors import ConfigError
from nsbench.metrics.certified import CERTIFIED
from nsbench.results import Row, to_frame, write_results
from nsbench.runfolder import MODELS, RunFolder

COUNTS = {"imagenet": 50_000, "imagenet-a": 7_500, "imagenet-r": 30_000, "imagenet-v2": 10_000}


def measured(root: Path, *, shift: float = 0.0, partial: str = "", n: int | None = None, source: str = "") -> RunFolder:
    """A run whose every figure is the published one and `shift` tolerances more."""
    folder = RunFolder(root)
    folder.write_run({"kind": MODELS, "partial": partial})
    released = {"imagenet-c": source or "released-jpeg", "imagenet-p": source or "released-h264"}
    rows = [
        Row(
            generation="",
            model=figure.model,
            eval=figure.eval,
            subset=figure.subset,
            level=figure.level,
            metric=figure.metric,
            value=figure.value + shift * figure.tolerance,
            n=n or (10_000 if figure.subset == "clean" else COUNTS.get(figure.eval, 50_000)),
            unit=figure.unit,
            higher_is_better=True,
            protocol=f"images, {released.get(figure.eval, '')}; fp32",
        )
        for figure in CERTIFIED
    ]
    write_results(folder.results, to_frame(rows))
    return folder


@pytest.mark.parametrize(("shift", "agree"), [(0.0, True), (0.9, True), (-0.9, True), (1.1, False), (-1.1, False)])
def test_figures_agree_within_their_tolerance(tmp_path: Path, shift: float, agree: bool) -> None:
    found = compare(measured(tmp_path, shift=shift))
    assert len(found) == len(CERTIFIED)
    assert {one.agrees for one in found} == {agree}
    assert {one.verdict for one in found} == {"agrees" if agree else "DIFFERS"}
    top1 = next(one for one in found if (one.model, one.what) == ("resnet50.tv_in1k", "imagenet top1"))
    assert top1.published == pytest.approx(76.156)
    assert top1.tolerance == pytest.approx(0.1)


@pytest.mark.parametrize("case", [{"partial": "at most 100 images"}, {"n": 5_000}])
def test_a_part_of_the_images_contradicts_nothing(tmp_path: Path, case: dict[str, Any]) -> None:
    found = compare(measured(tmp_path, shift=30, **case))
    assert all(one.agrees and one.partial and "not comparable" in one.verdict for one in found)


def test_computed_corruptions_are_not_compared_with_the_released_ones(tmp_path: Path) -> None:
    found = compare(measured(tmp_path, source="device-jpeg85"))
    assert {one.what.split()[0] for one in found}.isdisjoint({"imagenet-c", "imagenet-p"})
    assert found


def test_evals_are_those_with_published_figures() -> None:
    assert set(certified_evals(DEFAULT_MODELS)) == {
        *("imagenet", "imagenet-a", "imagenet-r", "imagenet-v2", "imagenet-sketch", "imagenet-c", "imagenet-p")
    }
    assert "imagenet-p" not in certified_evals(["tf_efficientnet_b0.ns_jft_in1k"])
    with pytest.raises(ConfigError, match="no published figures of resnet18"):
        certified_evals(["resnet18"])
