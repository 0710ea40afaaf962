"""Every row's value against a slow reference from the raw records: plain loops over images, frames and cells."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nsbench.attacks import fgsm, pgd, random_sign
from nsbench.corruptions import corrupt, perturbation_sequence
from nsbench.data.images import ImageSet
from nsbench.evals import EVALS, EvalContext, Records
from nsbench.evals.base import image_seeds
from nsbench.evals.imagenet_p import source_images
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
    expected = {"top1": top1, "top5": top5, "ECE": ece, "NLL": nll, "Brier": brier}
    for metric, total in expected.items():
        assert find(rows["imagenet"], metric, generation).value == pytest.approx(total / 60, abs=1e-5)


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
        pixels = corrupt(images.pixels, name, severity, seeds=image_seeds(images.ids, CONFIG.data_seed))
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
    assert {row.n for row in found} == {20}


def test_imagenet_p_records_are_the_models_answers(
    models: dict[str, nn.Module], sets: dict[str, ImageSet], records: dict[str, Records]
) -> None:
    images = source_images(sets["val"], 20)
    videos = perturbation_sequence(images.pixels, "tilt", seeds=image_seeds(images.ids, CONFIG.data_seed))
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
        with torch.no_grad():
            hit = model(fgsm(model, batch, labels, epsilon_px / 255)).argmax(dim=1).eq(labels).float().mean().item()
            sign = model(random_sign(batch, epsilon_px / 255, seeds)).argmax(dim=1).eq(labels).float().mean().item()
        assert find(found, "top1", generation, level=level).value == pytest.approx(hit)
        assert find(found, "random_sign_top1", generation, level=level).value == pytest.approx(sign)
        attacked.append(hit)
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


def c_records(wrong_images: dict[str, int], num: int = 20) -> Records:
    """By generation: how many of the first images are wrong in every cell."""
    ids = np.array([f"i{k:02d}" for k in range(num)])
    labels = np.zeros(num, dtype=np.int64)
    records = {}
    for g, count in wrong_images.items():
        cell = {"ids": ids, "labels": labels, "top1": (np.arange(num) < count).astype(np.int32)}
        records[g] = {f"{name}-{s}": cell for name in C for s in SEVERITIES}
    return records


def test_ce_by_hand() -> None:
    """8 of 20 wrong for generation 0 and 6 for generation 1 in every cell: error 0.3, CE 75 %."""
    found = EVALS["imagenet-c"].measure(c_records({"0": 8, "1": 6}), CONFIG)
    assert find(found, "error", "1", subset="fog", level="mean").value == pytest.approx(0.3)
    for metric, subset in (("CE", "fog"), ("mCE", "all")):
        own = find(found, metric, "0", subset=subset, level="mean")
        assert own.value == pytest.approx(100)
        assert math.isnan(own.ci_low)
        student = find(found, metric, "1", subset=subset, level="mean")
        assert student.value == pytest.approx(75)
        assert student.ci_high <= 100  # its errors are a part of generation 0's in every replicate
        delta = find(found, metric, "1", subset=subset, level="mean", versus="gen0")
        assert delta.value == pytest.approx(-25)
        assert (delta.ci_low, delta.ci_high) == pytest.approx((student.ci_low - 100, student.ci_high - 100))


@pytest.mark.parametrize(("errors", "defined"), [(5, False), (6, True), (0, False)])
def test_ce_needs_thirty_errors_of_generation_0(errors: int, defined: bool) -> None:
    found = EVALS["imagenet-c"].measure(c_records({"0": errors, "1": 3}), CONFIG)
    for generation in ("0", "1"):
        for metric, subset in (("CE", "snow"), ("mCE", "all")):
            row = find(found, metric, generation, subset=subset, level="mean")
            assert math.isnan(row.value) != defined
    assert find(found, "error", "1", level="mean").value == pytest.approx(0.15)


def test_ratios_without_generation_0_are_undefined(records: dict[str, Records]) -> None:
    for name, metric, level in (("imagenet-c", "mCE", "mean"), ("imagenet-p", "mFR", "")):
        found = EVALS[name].measure({g: records[name][g] for g in ("1", "2")}, CONFIG)
        row = find(found, metric, "2", level=level)
        assert all(math.isnan(x) for x in (row.value, row.ci_low, row.ci_high))


def p_records(flipping_videos: dict[str, int]) -> Records:
    """Ten videos of seven frames; the first k alternate between classes 0 and 1 and so flip 6 times (noise: 3)."""
    ids = np.array([f"v{k}" for k in range(10)])
    frames = np.arange(7) % 2
    record = {}
    for g, k in flipping_videos.items():
        top1 = (np.arange(10)[:, None] < k) * frames
        top5 = np.stack([top1, 1 - top1, top1 + 2, 3 - top1, np.full_like(top1, 4)], axis=-1)
        top5[..., 2:4] = [2, 3]
        cell = {"ids": ids, "top1": top1, "top5": top5, "num_classes": np.array(10)}
        record[g] = dict.fromkeys(P, cell)
    return record


def test_flip_rate_by_hand() -> None:
    """Every perturbation but the two noises compares frames in a row: all 6 pairs flip. The noises: 3 of 6."""
    found = EVALS["imagenet-p"].measure(p_records({"0": 10, "1": 4}), CONFIG)
    assert find(found, "flip_probability", "1", subset="tilt").value == pytest.approx(0.4)
    assert find(found, "flip_probability", "1", subset="shot_noise").value == pytest.approx(0.2)
    assert find(found, "flip_probability", "1").value == pytest.approx((8 * 0.4 + 2 * 0.2) / 10)
    assert find(found, "FR", "1", subset="tilt").value == pytest.approx(40)
    assert find(found, "FR", "0", subset="tilt").value == pytest.approx(100)
    assert find(found, "mFR", "1").value == pytest.approx(40)
    assert find(found, "T5D", "1", subset="tilt").value == pytest.approx(0.4 * 2)  # two classes change places


@pytest.mark.parametrize(("videos", "tilt", "noise"), [(4, False, False), (5, True, False), (10, True, True)])
def test_flip_rate_needs_thirty_flips_of_generation_0(videos: int, tilt: bool, noise: bool) -> None:
    found = EVALS["imagenet-p"].measure(p_records({"0": videos, "1": 2}), CONFIG)
    assert math.isnan(find(found, "FR", "1", subset="tilt").value) != tilt
    assert math.isnan(find(found, "FR", "1", subset="gaussian_noise").value) != noise
    assert math.isnan(find(found, "mFR", "1").value) != noise


def test_corrupted_pixels_are_made_once_and_again_when_damaged(
    models: dict[str, nn.Module], sets: dict[str, ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nsbench.corruptions

    made: list[str] = []

    def counted(images: np.ndarray, name: str, *args: int, **kwargs: np.ndarray) -> np.ndarray:
        made.append(name)
        return corrupt(images, name, *args, **kwargs)

    monkeypatch.setattr(nsbench.corruptions, "corrupt", counted)

    def answers(generation: str) -> dict[str, np.ndarray]:
        context = EvalContext(model=models[generation], device="cpu", config=CONFIG, sets=sets, cache=tmp_path)
        return EVALS["imagenet-c"].predict(context, "contrast-2")

    first = answers("0")
    answers("1")
    assert made == ["contrast"]
    (path,) = tmp_path.rglob("*.npy")
    assert path.parent.name == sets["val"].fingerprint
    whole = path.read_bytes()
    assert np.load(path).shape == (60, 32, 32, 3)
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    for count, damaged in enumerate((whole[:-1], whole[:5000], b"", bytes(flipped)), start=2):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(answers("0")["confidence"], first["confidence"])
        assert made == ["contrast"] * count
        assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [path.name]
