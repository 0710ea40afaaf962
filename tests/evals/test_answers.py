"""From images to the arrays of a cell: ranks and ties, subsets of the classes, streams, and files that are none."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nsbench.config import EvalConfig
from nsbench.data.folder import open_folder, read_images
from nsbench.data.held import hold
from nsbench.data.images import ImageSet
from nsbench.data.pictures import View
from nsbench.data.streamed import StreamedSet
from nsbench.errors import DataError
from nsbench.evals import EVALS, EvalContext
from nsbench.evals.answers import class_arrays, classify, ranked
from nsbench.evals.sets import AllowedSet
from tests.evals.conftest import find
from tests.shared import SAMPLES, absent

VIEW = View(size=64, resize=72)
CONFIG = EvalConfig(batch_size=16, replicates=50)


def image_set(labels: list[int], classes: int = 10) -> ImageSet:
    return ImageSet(
        name="some",
        ids=np.array([f"i{k}" for k in range(len(labels))]),
        pixels=np.zeros((len(labels), 2, 2, 3), dtype=np.uint8),
        labels=np.array(labels, dtype=np.int64),
        classes=tuple(map(str, range(classes))),
    )


def numpy_arrays(images: ImageSet, log_probs: np.ndarray, **more: Any) -> dict[str, np.ndarray]:
    arrays = class_arrays(images, slice(0, len(images)), torch.from_numpy(log_probs), **more)
    return {name: array.numpy() for name, array in arrays.items()}


def test_arrays_of_a_cell() -> None:
    probabilities = np.array([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.2, 0.7, 0.1]])
    arrays = numpy_arrays(image_set([1, 0, 2]), np.log(probabilities).astype(np.float32))
    assert arrays["top1"].tolist() == [1, 0, 1]
    assert arrays["top5"].tolist() == [[1, 2, 0], [0, 1, 2], [1, 0, 2]]
    np.testing.assert_allclose(arrays["confidence"], [0.6, 0.4, 0.7], rtol=1e-6)
    np.testing.assert_allclose(arrays["log_prob_true"], np.log([0.6, 0.4, 0.1]), rtol=1e-6)
    np.testing.assert_allclose(arrays["sum_squared_prob"], [0.46, 0.36, 0.54], rtol=1e-6)
    kinds = {name: array.dtype for name, array in arrays.items()}
    assert kinds["top1"] == kinds["top5"] == np.int32
    assert kinds["confidence"] == kinds["log_prob_true"] == kinds["sum_squared_prob"] == np.float32
    assert "top1_all" not in arrays


def test_a_slice_has_the_labels_of_its_rows() -> None:
    log_probs = torch.log(torch.tensor([[0.2, 0.8], [0.7, 0.3]]))
    arrays = class_arrays(image_set([0, 0, 1, 0]), slice(2, 4), log_probs)
    np.testing.assert_allclose(arrays["log_prob_true"].numpy(), np.log([0.8, 0.7]), rtol=1e-6)


def test_a_subset_renormalises_and_names_only_its_classes() -> None:
    """Plain loops over 20 images and the five of twelve classes that count."""
    rng, subset = np.random.default_rng(0), (1, 3, 4, 8, 11)
    probabilities = rng.dirichlet(np.ones(12), 20)
    images = image_set([subset[k % 5] for k in range(20)], 12)
    arrays = numpy_arrays(images, np.log(probabilities).astype(np.float32), subset=subset)
    for k, row in enumerate(probabilities):
        total = sum(row[c] for c in subset)
        order = sorted(subset, key=lambda c, row=row: -row[c])
        assert arrays["top1"][k] == order[0]
        assert arrays["top5"][k].tolist() == order
        assert arrays["top1_all"][k] == row.argmax()
        assert arrays["confidence"][k] == pytest.approx(row[order[0]] / total, rel=1e-5)
        assert arrays["log_prob_true"][k] == pytest.approx(math.log(row[images.labels[k]] / total), abs=1e-5)
        assert arrays["sum_squared_prob"][k] == pytest.approx(sum((row[c] / total) ** 2 for c in subset), rel=1e-5)
    assert set(arrays["top1_all"].tolist()) - set(subset)  # or the two rules would not differ


def test_labels_that_the_model_does_not_know_are_refused() -> None:
    log_probs = np.zeros((3, 4), dtype=np.float32)
    with pytest.raises(DataError, match="some has label 9, but the model gives 4 classes; use a model of these"):
        numpy_arrays(image_set([0, 9, 3]), log_probs)
    with pytest.raises(DataError, match="label -1"):
        numpy_arrays(image_set([0, -1, 3]), log_probs)
    with pytest.raises(DataError, match="some has label 2, but the model gives the 2 classes asked for"):
        numpy_arrays(image_set([0, 2, 3]), log_probs, subset=(0, 3))
    with pytest.raises(DataError, match="not finite for 1 of 3 images, first in row 1"):
        numpy_arrays(image_set([0, 1, 2]), np.array([[0.0] * 4, [np.nan] * 4, [0.0] * 4], dtype=np.float32))


def test_few_classes_have_no_top5() -> None:
    images = image_set([k % 5 for k in range(60)], 5)
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 60)).astype(np.float32)
    cell = numpy_arrays(images, log_probs) | {"ids": images.ids, "labels": images.labels, "num_classes": np.array(5)}
    found = EVALS["imagenet"].measure({"0": {"val": cell}}, CONFIG)
    assert {row.metric for row in found} == {"top1", "ECE", "ECE_debiased", "NLL", "Brier", "worst_tenth_top1"}


def test_ranks_go_from_best_to_worst_and_ties_to_the_lower_class() -> None:
    assert ranked(torch.tensor([[1.0, 3.0, 3.0, 2.0]]), 3).tolist() == [[1, 2, 3]]
    tied = np.random.default_rng(0).integers(0, 4, (20, 100)).astype(np.float32)
    expected = [sorted(range(100), key=lambda c, row=row: (-row[c], c))[:5] for row in tied]
    assert ranked(torch.from_numpy(tied)).tolist() == expected
    at_the_edge = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0]])
    assert ranked(at_the_edge.flip(1)).tolist() == [[6, 5, 4, 3, 0]]
    assert ranked(torch.zeros(2, 7, 9)).shape == (2, 7, 5)
    assert ranked(torch.zeros(3, 2)).tolist() == [[0, 1]] * 3
    assert ranked(torch.zeros(2, 3)).dtype == torch.int32


# Streams -----------------------------------------------------------------------------------------------------------


class Colours(nn.Module):
    """A random network of a thousand classes that notices where its images lie in the batch if anything does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(3, 12, 5, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(108, 1000),
        )  # fmt: skip
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        return self.net(images)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """37 real photographs of 37 classes, in the folders of their classes, which one may damage."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    for folder in sorted(SAMPLES.iterdir())[:37]:
        shutil.copytree(folder, tmp_path / "val" / folder.name)
    return tmp_path / "val"


def streamed(root: Path, **options: Any) -> StreamedSet:
    return StreamedSet(listing=open_folder(root, name="photographs"), view=VIEW, workers=2, **options)


def context(tmp_path: Path, model: nn.Module | None = None, **sets: Any) -> EvalContext:
    return EvalContext(model=model or Colours(), device="cpu", config=CONFIG, sets=sets, cache=tmp_path / "cache")


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])
        assert array.dtype == other[name].dtype


def test_a_stream_is_answered_as_the_same_images_in_memory_and_from_the_held_file(
    photographs: Path, tmp_path: Path
) -> None:
    stream = streamed(photographs)
    memory, _ = read_images(open_folder(photographs), resize=72, crop=64)
    held = hold(stream, tmp_path / "cache")
    model = Colours()
    answers = [classify(context(tmp_path, model), images) for images in (stream, memory, held)]
    assert_same(answers[0], answers[1])
    assert_same(answers[0], answers[2])
    assert answers[0]["ids"].tolist() == memory.ids.tolist()
    assert answers[0]["num_classes"] == 1000
    assert model.shapes == [(16, 3, 64, 64)] * 9  # one shape, whatever is left over
    assert not model.training or model.net[5].training  # modes restored


def test_what_follows_an_image_and_where_the_set_ends_changes_nothing(photographs: Path, tmp_path: Path) -> None:
    stream, model = streamed(photographs), Colours()
    whole = classify(context(tmp_path, model), stream)
    for count in (1, 15, 16, 17, 32):
        fewer = dataclasses.replace(stream, listing=stream.listing.take(range(count)))
        part = classify(context(tmp_path, model), fewer)
        for name in ("top1", "confidence", "log_prob_true"):
            np.testing.assert_array_equal(part[name], whole[name][:count])


def damage(root: Path) -> dict[str, str]:
    """Cut one file off, empty one and put text into one; returns what is said of each."""
    files = [sorted(folder.iterdir())[0] for folder in sorted(root.iterdir())]
    cut, empty, text = files[3], files[16], files[36]
    cut.write_bytes(cut.read_bytes()[:2000])
    empty.write_bytes(b"")
    text.write_text("no image")
    said = {cut: "truncated", empty: "an empty file", text: "no image of a known format"}
    return {f"{path.parent.name}/{path.name}": reason for path, reason in said.items()}


@pytest.mark.parametrize("cell", ["clean", "contrast-2"])
def test_an_unreadable_image_is_an_error_that_names_the_file(photographs: Path, tmp_path: Path, cell: str) -> None:
    bad = next(iter(damage(photographs)))
    there = context(tmp_path, val=streamed(photographs))
    with pytest.raises(DataError, match=r"cannot be read \(.*truncated.*--on-bad-image skip") as caught:
        EVALS["imagenet-c"].predict(there, cell)
    assert str(photographs / bad) in str(caught.value)


@pytest.mark.parametrize(("name", "cell"), [("imagenet", "val"), ("fgsm", "sweep"), ("imagenet-c", "contrast-2")])
def test_skipped_images_are_left_out_named_and_counted(name: str, cell: str, photographs: Path, tmp_path: Path) -> None:
    whole_set = streamed(photographs)
    model = Colours()
    whole = EVALS[name].predict(context(tmp_path, model, val=whole_set), cell)
    bad = damage(photographs)
    skipping = streamed(photographs, on_bad_image="skip")
    arrays = EVALS[name].predict(context(tmp_path / "other", model, val=skipping), cell)
    assert arrays["unreadable"].tolist() == sorted(bad)
    assert all(bad[key] in why for key, why in zip(arrays["unreadable"], arrays["unreadable_why"], strict=True))
    good = ~np.isin(whole["ids"], list(bad))
    assert good.sum() == len(arrays["ids"]) == 34
    for key in ("ids", "labels"):
        assert arrays[key].tolist() == whole[key][good].tolist()
    axis = 1 if name == "fgsm" else 0
    assert (np.take(whole["top1"], np.flatnonzero(good), axis=axis) == arrays["top1"]).mean() > 0.95
    rows = EVALS[name].measure({"m": {cell: arrays}}, EvalConfig(replicates=20)) if name != "imagenet-c" else []
    assert all(row.n == 34 for row in rows if row.metric != "attack_success")  # of the images that were right


def test_a_set_without_a_readable_image_is_an_error(photographs: Path, tmp_path: Path) -> None:
    for path in photographs.rglob("*.JPEG"):
        path.write_bytes(b"")
    skipping = streamed(photographs, on_bad_image="skip")
    there = context(tmp_path, val=skipping)
    for name, cell in (("imagenet", "val"), ("imagenet-c", "clean"), ("imagenet-c", "fog-3")):
        with pytest.raises(
            DataError, match=r"none of the 37 images of photographs can be read, first n.*an empty file"
        ):
            EVALS[name].predict(there, cell)


def test_a_mended_file_is_seen_by_the_next_run(photographs: Path, tmp_path: Path) -> None:
    """The corrupted pixels are kept on disk, and must not outlive what was wrong with their images."""
    whole = {path: path.read_bytes() for path in photographs.rglob("*.JPEG")}
    damage(photographs)
    cell, model = "contrast-2", Colours()
    skipped = EVALS["imagenet-c"].predict(
        context(tmp_path, model, val=streamed(photographs, on_bad_image="skip")), cell
    )
    assert len(skipped["ids"]) == 34
    for path, content in whole.items():
        path.write_bytes(content)
    for policy in ("skip", "error"):
        stream = streamed(photographs, on_bad_image=policy)
        again = EVALS["imagenet-c"].predict(context(tmp_path, model, val=stream), cell)
        assert len(again["ids"]) == 37
        assert "unreadable" not in again


# What a subset and a choice of right classes measure ---------------------------------------------------------------


def test_natural_images_are_answered_among_their_classes(photographs: Path, tmp_path: Path) -> None:
    """ImageNet-A's rule on real photographs: plain loops over a softmax of the subset's logits."""
    listing = open_folder(photographs)
    subset = tuple(range(0, 37, 2))
    even = listing.take(np.flatnonzero(np.isin(listing.labels, subset)))
    hard = StreamedSet(listing=even, view=VIEW, subset=subset)
    sets = {"imagenet-a": hard, "imagenet-a-clean": dataclasses.replace(hard, listing=even.take(range(9)))}
    model = Colours()
    there = context(tmp_path, model, **sets)
    records = {
        "m": {cell: EVALS["imagenet-a"].predict(there, cell) for cell in EVALS["imagenet-a"].cells(CONFIG, sets)}
    }
    rows = EVALS["imagenet-a"].measure(records, CONFIG)
    confidences, hits, hits_all = [], [], []
    for row in range(len(even)):
        pixels = torch.from_numpy(VIEW.show(even.stored(row)).copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            logits = model.eval()(pixels)[0].double().numpy()
        probabilities = np.exp([logits[c] for c in subset]) / np.exp([logits[c] for c in subset]).sum()
        confidences.append(probabilities.max())
        hits.append(subset[probabilities.argmax()] == even.labels[row])
        hits_all.append(logits.argmax() == even.labels[row])
    assert find(rows, "top1", "m").value == np.mean(hits)
    assert find(rows, "top1_all_classes", "m").value == np.mean(hits_all)
    assert find(rows, "RMS", "m").value == pytest.approx(abs(np.mean(confidences) - np.mean(hits)), abs=1e-5)
    assert math.isnan(find(rows, "RMS_reference", "m").value)  # fewer than 200 images are one bin, which it leaves out
    assert find(rows, "top1", "m", subset="clean").value == np.mean(hits[:9])
    assert find(rows, "top1", "m", subset="clean").n == 9
    assert "; answers among 19 classes; " in EVALS["imagenet-a"].protocol(CONFIG, sets)


def test_objectnets_images_have_several_right_classes(photographs: Path, tmp_path: Path) -> None:
    listing = open_folder(photographs)
    groups = listing.labels % 3
    there = dataclasses.replace(listing, labels=groups, classes=("a", "b", "c"))
    allowed = (tuple(range(500)), (501,), (7, 502, 600, 601))
    images = AllowedSet(listing=there, view=VIEW, allowed=allowed)
    sets, eval_ = {"objectnet": images}, EVALS["objectnet"]
    arrays = eval_.predict(context(tmp_path, **sets), "objectnet")
    rows = eval_.measure({"m": {"objectnet": arrays}}, CONFIG)
    right = [top1 in allowed[group] for top1, group in zip(arrays["top1"], groups, strict=True)]
    among = [bool(set(top5) & set(allowed[group])) for top5, group in zip(arrays["top5"].tolist(), groups, strict=True)]
    assert find(rows, "top1", "m").value == sum(right) / 37
    assert find(rows, "top5", "m").value == sum(among) / 37
    assert 0 < sum(right) < sum(among) < 37
    assert "right is any class that goes with the object" in eval_.protocol(CONFIG, sets)
