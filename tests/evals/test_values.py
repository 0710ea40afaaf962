"""Every row's value against a slow reference from the raw records: plain loops over images, frames and cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nsbench.attacks import fgsm, pgd, random_sign
from nsbench.corruptions import corrupt, perturbation_sequence
from nsbench.data.images import ImageSet
from nsbench.evals import Records
from nsbench.evals.base import image_seeds
from nsbench.evals.imagenet_p import source_images
from nsbench.metrics.bootstrap import (
    bootstrap_weights,
)
from nsbench.metrics.intervals import (
    wilson_interval,
)
from nsbench.results import Row
from tests.evals.conftest import CONFIG, find
from tests.evals.test_table import SEVERITIES, C, P

GENERATIONS = ("0", "1", "2", "control")


def probabilities(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Softmax in float64, one image at a time."""
    found = []
    for image in pixels:
        with torch.no_grad():
            logits = model(torch.tensor(image.transpose(2, 0, 1)[None] / 255, dtype=torch.float32))[0].double().numpy()
        found.append(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())
    return np.array(found)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_imagenet(
    generation: str, models: dict[str, nn.Module], sets: dict[str, ImageSet], rows: dict[str, list[Row]]
) -> None:
    images = sets["val"]
    probs = probabilities(models[generation], images.pixels)
    top1 = top5 = nll = brier = 0.0
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, label in zip(probs, images.labels, strict=True):
        order = sorted(range(10), key=lambda c: (-p[c], c))
        top1 += order[0] == label
        top5 += label in order[:5]
        nll -= math.log(p[label])
        brier += sum((p[c] - (c == label)) ** 2 for c in range(10))
        bins.setdefault(math.ceil(p.max() * 15), []).append((p.max(), order[0] == label))
    ece = sum(abs(sum(hit - confidence for confidence, hit in members)) for members in bins.values())
    less = sum(len(m) * (2 * abs(gap) - folded(gap, rate, len(m))) for m, gap, rate in map(moments, bins.values()))
    expected = {"top1": top1, "top5": top5, "ECE": ece, "ECE_debiased": max(0, less), "NLL": nll, "Brier": brier}
    for metric, total in expected.items():
        assert find(rows["imagenet"], metric, generation).value == pytest.approx(total / 60, abs=1e-5)


def moments(members: list[tuple[float, bool]]) -> tuple[list[tuple[float, bool]], float, float]:
    """A bin, its accuracy less its confidence, and its accuracy."""
    rate = sum(hit for _, hit in members) / len(members)
    return members, rate - sum(confidence for confidence, _ in members) / len(members), rate


def folded(gap: float, rate: float, count: int) -> float:
    """E|X| of a normal X with the mean of the gap and the variance of a bin's accuracy, by summing over a fine grid."""
    sigma = math.sqrt(rate * (1 - rate) / count)
    if sigma == 0:
        return abs(gap)
    steps = np.linspace(-8, 8, 20_001)
    return float((abs(gap + sigma * steps) * np.exp(-(steps**2) / 2)).sum() / np.exp(-(steps**2) / 2).sum())


def test_negative_flips(records: dict[str, Records], rows: dict[str, list[Row]]) -> None:
    answers = {g: records["imagenet"][g]["val"] for g in GENERATIONS}
    for generation, versus, other in (("2", "gen0", "0"), ("2", "previous", "1"), ("0", "control", "control")):
        lost = 0
        for now, before, label in zip(
            answers[generation]["top1"], answers[other]["top1"], answers[generation]["labels"], strict=True
        ):
            lost += int(before == label != now)
        row = find(rows["imagenet"], "negative_flips", generation, versus=versus)
        assert row.value == lost / 60
        assert (row.ci_low, row.ci_high) == wilson_interval(lost, 60)
        assert math.isnan(row.p_value)  # a share, whose null would be that nothing is ever lost


@pytest.mark.parametrize("generation", GENERATIONS)
def test_imagenet_a(
    generation: str, models: dict[str, nn.Module], sets: dict[str, ImageSet], rows: dict[str, list[Row]]
) -> None:
    images = sets["natural-adversarial"]
    probs = probabilities(models[generation], images.pixels)
    hits = [bool(p.argmax() == label) for p, label in zip(probs, images.labels, strict=True)]
    assert find(rows["imagenet-a"], "top1", generation).value == pytest.approx(sum(hits) / 30)
    gap = sum(p.max() for p in probs) / 30 - sum(hits) / 30  # 30 images are one bin
    assert find(rows["imagenet-a"], "RMS", generation).value == pytest.approx(abs(gap), abs=1e-6)
    ranking = sorted(range(30), key=lambda i: -probs[i].max())
    area = sum(sum(hits[i] for i in ranking[:k]) / k for k in range(1, 31)) / 30
    assert find(rows["imagenet-a"], "AURRA", generation).value == pytest.approx(area)
    rest = sets["complement"]
    right = probabilities(models[generation], rest.pixels).argmax(axis=1) == rest.labels
    assert find(rows["imagenet-a"], "top1", generation, subset="complement").value == pytest.approx(right.mean())
    assert find(rows["imagenet-a"], "top1", generation, subset="complement").n == 20


def wrong(records: Records, generation: str, cell: str) -> list[bool]:
    arrays = records[generation][cell]
    return [bool(a != b) for a, b in zip(arrays["top1"], arrays["labels"], strict=True)]


def test_imagenet_c_records_are_the_models_answers(
    models: dict[str, nn.Module], sets: dict[str, ImageSet], records: dict[str, Records]
) -> None:
    images = sets["val"]
    for name, severity in (("fog", 3), ("gaussian_noise", 1)):
        batch = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).copy())
        seeds = torch.from_numpy(image_seeds(images.ids, CONFIG.data_seed))
        pixels = corrupt(batch, name, severity, seeds=seeds).numpy().transpose(0, 2, 3, 1)
        arrays = records["imagenet-c"]["2"][f"{name}-{severity}"]
        probs = probabilities(models["2"], pixels)
        assert arrays["top1"].tolist() == probs.argmax(axis=1).tolist()
        np.testing.assert_allclose(arrays["confidence"], probs.max(axis=1), atol=1e-5)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_imagenet_c(generation: str, records: dict[str, Records], rows: dict[str, list[Row]]) -> None:
    found, record = rows["imagenet-c"], records["imagenet-c"]
    ces, by_severity = [], {level: [] for level in SEVERITIES}
    for name in C:
        errors = {g: [sum(wrong(record, g, f"{name}-{s}")) for s in SEVERITIES] for g in ("0", generation)}
        for level, count in zip(SEVERITIES, errors[generation], strict=True):
            assert find(found, "error", generation, subset=name, level=level).value == pytest.approx(count / 60)
            by_severity[level].append(count / 60)
        mean = find(found, "error", generation, subset=name, level="mean")
        assert mean.value == pytest.approx(sum(errors[generation]) / 300)
        baseline = sum(errors["0"])
        ces.append(100 * sum(errors[generation]) / baseline if baseline >= 30 else math.nan)
        ce = find(found, "CE", generation, subset=name, level="mean")
        assert ce.value == pytest.approx(ces[-1], nan_ok=True)
    for level, errors in by_severity.items():
        assert find(found, "error", generation, level=level).value == pytest.approx(sum(errors) / 15)
    everything = [error for errors in by_severity.values() for error in errors]
    assert find(found, "error", generation, level="mean").value == pytest.approx(sum(everything) / 75)
    assert find(found, "mCE", generation, level="mean").value == pytest.approx(sum(ces) / 15, nan_ok=True)
    assert find(found, "mCE", generation, level="mean").n == 60
    without = [ce for name, ce in zip(C, ces, strict=True) if name not in ("brightness", "contrast")]
    fewer = find(found, "mCE without brightness and contrast", generation, level="mean")
    assert fewer.value == pytest.approx(sum(without) / 13, nan_ok=True)
    assert find(found, "clean_error", generation).value == sum(wrong(record, generation, "clean")) / 60


@pytest.mark.parametrize("generation", GENERATIONS)
def test_imagenet_c_relative(generation: str, records: dict[str, Records], rows: dict[str, list[Row]]) -> None:
    """What the corruptions add to the clean errors, in percent of what they add to generation 0's."""
    record, relative = records["imagenet-c"], []
    for name in C:
        beyond = {}
        for g in ("0", generation):
            errors = [sum(wrong(record, g, f"{name}-{s}")) for s in SEVERITIES]
            beyond[g] = sum(errors) - 5 * sum(wrong(record, g, "clean"))
        relative.append(100 * beyond[generation] / beyond["0"] if beyond["0"] >= 30 else math.nan)
        row = find(rows["imagenet-c"], "relative_CE", generation, subset=name, level="mean")
        assert row.value == pytest.approx(relative[-1], nan_ok=True)
    mean = find(rows["imagenet-c"], "relative_mCE", generation, level="mean")
    assert mean.value == pytest.approx(sum(relative) / 15, nan_ok=True)
    assert not all(map(math.isnan, relative))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_imagenet_c_calibration(generation: str, records: dict[str, Records], rows: dict[str, list[Row]]) -> None:
    record = records["imagenet-c"][generation]
    for level in SEVERITIES:
        bins: dict[int, list[float]] = {}
        for name in C:
            arrays = record[f"{name}-{level}"]
            for confidence, top1, label in zip(arrays["confidence"], arrays["top1"], arrays["labels"], strict=True):
                bins.setdefault(math.ceil(float(confidence) * 15), []).append(float(top1 == label) - float(confidence))
        row = find(rows["imagenet-c"], "ECE", generation, level=level)
        assert row.value == pytest.approx(sum(abs(sum(gaps)) for gaps in bins.values()) / (60 * 15))
        assert row.n == 60
        assert row.ci_low < row.value < row.ci_high


def test_imagenet_c_where_both_are_right_when_clean(records: dict[str, Records], rows: dict[str, list[Row]]) -> None:
    record = records["imagenet-c"]
    for generation, versus, other in (("2", "gen0", "0"), ("1", "control", "control"), ("control", "gen0", "0")):
        both = [
            not a and not b
            for a, b in zip(wrong(record, generation, "clean"), wrong(record, other, "clean"), strict=True)
        ]
        each = {g: np.mean([wrong(record, g, f"{name}-{s}") for name in C for s in SEVERITIES], axis=0)
                for g in (generation, other)}  # fmt: skip
        differences = [each[generation][i] - each[other][i] for i in range(60) if both[i]]
        row = find(rows["imagenet-c"], "error_where_both_right_when_clean", generation, versus=versus, level="mean")
        assert row.value == pytest.approx(sum(differences) / len(differences))
        assert row.n == len(differences) < 60
        replicates = []
        for weights in bootstrap_weights(60, replicates=CONFIG.replicates, seed=0):
            kept = [float(w) for w, right in zip(weights, both, strict=True) if right]
            replicates.append(sum(w * d for w, d in zip(kept, differences, strict=True)) / sum(kept))
        assert (row.ci_low, row.ci_high) == pytest.approx(tuple(np.quantile(replicates, [0.025, 0.975])))


def flips(top1: np.ndarray, noise: bool) -> list[int]:
    """Flips in each video."""
    return [sum(int(video[t] != video[0 if noise else t - 1]) for t in range(1, len(video))) for video in top1]


def distances(top5: np.ndarray, noise: bool) -> list[float]:
    """Mean top-5 distance in each video."""
    means = []
    for video in top5:
        total = 0
        for t in range(1, len(video)):
            now = list(video[t])
            for rank, name in enumerate(video[0 if noise else t - 1], start=1):
                total += abs(rank - (now.index(name) + 1 if name in now else 6))
        means.append(total / (len(video) - 1))
    return means


@pytest.mark.parametrize("generation", GENERATIONS)
def test_imagenet_p(generation: str, records: dict[str, Records], rows: dict[str, list[Row]]) -> None:
    found, record = rows["imagenet-p"], records["imagenet-p"]
    fps, frs, t5ds = [], [], []
    for name in P:
        counts = {g: flips(record[g][name]["top1"], "noise" in name) for g in ("0", generation)}
        pairs = record["0"][name]["top1"].shape[1] - 1
        fps.append(sum(counts[generation]) / (20 * pairs))
        frs.append(100 * sum(counts[generation]) / sum(counts["0"]) if sum(counts["0"]) >= 30 else math.nan)
        t5ds.append(sum(distances(record[generation][name]["top5"], "noise" in name)) / 20)
        assert find(found, "flip_probability", generation, subset=name).value == pytest.approx(fps[-1])
        assert find(found, "FR", generation, subset=name).value == pytest.approx(frs[-1], nan_ok=True)
        assert find(found, "T5D", generation, subset=name).value == pytest.approx(t5ds[-1])
    assert find(found, "flip_probability", generation).value == pytest.approx(sum(fps) / 10)
    assert find(found, "mFR", generation).value == pytest.approx(sum(frs) / 10, nan_ok=True)
    assert find(found, "T5D", generation).value == pytest.approx(sum(t5ds) / 10)
    without = [fr for name, fr in zip(P, frs, strict=True) if name not in ("brightness", "translate", "rotate")]
    fewer = find(found, "mFR without brightness, translate and rotate", generation)
    assert fewer.value == pytest.approx(sum(without) / 7, nan_ok=True)
    right = [
        frame == label
        for name in P
        for video, label in zip(record[generation][name]["top1"], record[generation][name]["labels"], strict=True)
        for frame in video
    ]
    assert len(right) == sum(record["0"][name]["top1"].size for name in P)
    assert find(found, "top1_all_frames", generation).value == pytest.approx(sum(right) / len(right))
    assert {row.n for row in found} == {20}


def test_imagenet_p_records_are_the_models_answers(
    models: dict[str, nn.Module], sets: dict[str, ImageSet], records: dict[str, Records]
) -> None:
    images = source_images(sets["val"], 20)
    batch = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).copy())
    seeds = torch.from_numpy(image_seeds(images.ids, CONFIG.data_seed))
    videos = perturbation_sequence(batch, "tilt", crop=32, seeds=seeds).numpy().transpose(0, 1, 3, 4, 2)
    arrays = records["imagenet-p"]["1"]["tilt"]
    for v in (0, 7, 19):
        assert arrays["top1"][v].tolist() == probabilities(models["1"], videos[v]).argmax(axis=1).tolist()
    assert arrays["ids"].tolist() == images.ids.tolist()
    assert arrays["top5"].shape == (20, 31, 5)


def test_source_images_are_balanced_and_stable(sets: dict[str, ImageSet]) -> None:
    images = sets["val"]
    chosen = source_images(images, 20)
    assert np.bincount(chosen.labels).tolist() == [2] * 10
    shuffled = images.take(np.random.default_rng(0).permutation(len(images)))
    assert set(source_images(shuffled, 20).ids) == set(chosen.ids)
    assert set(source_images(images, 10).ids) < set(chosen.ids)
    assert np.bincount(source_images(images, 24).labels, minlength=10).max() == 3
    assert source_images(images, 1000).ids.tolist() == images.ids.tolist()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fgsm(
    generation: str, models: dict[str, nn.Module], sets: dict[str, ImageSet], rows: dict[str, list[Row]]
) -> None:
    model, images, found = models[generation], sets["val"], rows["fgsm"]
    batch = torch.tensor(images.pixels.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    labels = torch.from_numpy(images.labels)
    seeds = image_seeds(images.ids, CONFIG.data_seed, "random-sign")
    attacked = []
    for epsilon_px, level in ((0, "0"), (4, "4"), (32, "32")):
        (adversarial,) = fgsm(model, batch, labels, [epsilon_px / 255])
        with torch.no_grad():
            hit = model(adversarial).argmax(dim=1).eq(labels).float().mean().item()
            sign = model(random_sign(batch, epsilon_px / 255, seeds)).argmax(dim=1).eq(labels).float().mean().item()
        assert find(found, "top1", generation, level=level).value == pytest.approx(hit)
        assert find(found, "random_sign_top1", generation, level=level).value == pytest.approx(sign)
        attacked.append(hit)
        hits = model(adversarial).argmax(dim=1).eq(labels).tolist()
        if epsilon_px == 0:
            right = hits
            continue
        lost = sum(before and not after for before, after in zip(right, hits, strict=True))
        success = find(found, "attack_success", generation, level=level)
        assert (success.value, success.n) == (pytest.approx(lost / sum(right)), sum(right))
    assert find(found, "top1", generation, level="mean").value == pytest.approx(sum(attacked[1:]) / 2)
    leaf = batch.clone().requires_grad_()
    nn.functional.cross_entropy(model(leaf), labels, reduction="sum").backward()
    assert leaf.grad is not None
    shares = [(gradient == 0).double().mean().item() for gradient in leaf.grad]
    assert find(found, "zero_gradient_pixels", generation).value == pytest.approx(sum(shares) / 60, abs=1e-4)
    assert find(found, "zero_gradient_images", generation).value == sum(share == 1 for share in shares) / 60
    assert find(found, "top1", generation, level="0").value == find(rows["imagenet"], "top1", generation).value


@pytest.mark.parametrize("generation", GENERATIONS)
def test_attacks(
    generation: str, models: dict[str, nn.Module], sets: dict[str, ImageSet], rows: dict[str, list[Row]]
) -> None:
    model, images = models[generation], sets["val"]
    batch = torch.tensor(images.pixels.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    labels = torch.from_numpy(images.labels)
    seeds = image_seeds(images.ids, CONFIG.data_seed, "pgd")
    with torch.no_grad():
        answers = model(pgd(model, batch, labels, 8 / 255, steps=3, seeds=seeds)).argmax(dim=1)
    row = find(rows["attacks"], "top1", generation, subset="pgd-3", level="8")
    assert row.value == pytest.approx(answers.eq(labels).float().mean().item())
