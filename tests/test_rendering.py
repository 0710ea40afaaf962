"""`nsbench corrupt`: the released sets' layout, the evals' very pixels, whole files or none, one line for a mistake."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from nsbench.corruptions import CORRUPTION_VERSION, corrupt, jpeg_roundtrip, perturbation_sequence
from nsbench.data.folder import open_folder
from nsbench.data.pictures import decode
from nsbench.data.video import encode_clip
from nsbench.errors import ConfigError, DataError, Stopped
from nsbench.files import derive_seed
from nsbench.rendering.checks import CHECKS, EXACT, PixelCheck, differing_checks
from nsbench.rendering.plan import ALL_CORRUPTIONS, ALL_PERTURBATIONS, Rendering, rendering_from
from nsbench.rendering.target import MANIFEST
from nsbench.rendering.writer import render
from nsbench.track import Progress
from tests.shared import SAMPLES, absent

QUIET = Progress("none")
NOISE = Rendering(corruptions=("gaussian_noise", "contrast"), severities=(1, 4))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five crops of the photographs that scikit-learn bundles, in two classes, one of them a PNG."""
    from sklearn.datasets import load_sample_images

    root = tmp_path_factory.mktemp("source") / "val"
    china, flower = (Image.fromarray(image) for image in load_sample_images().images)
    crops = {
        "n01/ILSVRC2012_val_00000002.JPEG": china.crop((0, 0, 400, 300)),
        "n01/ILSVRC2012_val_00000010.JPEG": china.crop((200, 50, 500, 427)),
        "n02/ILSVRC2012_val_00000001.JPEG": flower.crop((0, 0, 256, 256)),
        "n02/ILSVRC2012_val_00000007.png": flower.crop((100, 0, 640, 427)),
        "n02/a.b.jpg": flower,
    }
    for key, crop in crops.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        crop.save(root / key, quality=95)
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def seeds(ids: tuple[str, ...], seed: int) -> torch.Tensor:
    return torch.tensor([derive_seed(seed, key) for key in ids])


def base_images(source: Path) -> torch.Tensor:
    crop = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
    return torch.stack([crop(Image.open(path).convert("RGB")) for path in open_folder(source).paths])


def test_the_layout_and_the_bytes_are_the_authors(source: Path, tmp_path: Path) -> None:
    done = render(source, tmp_path / "c", NOISE, QUIET)
    assert (done.written, done.kept, done.skipped, done.checks) == (20, 0, (), {})
    files = tree(tmp_path / "c")
    assert json.loads(files.pop(MANIFEST))["seed"] == 0
    expected = {}
    ids = open_folder(source).ids
    for name in ("gaussian_noise", "contrast"):
        for severity in (1, 4):
            pixels = corrupt(base_images(source), name, severity, seeds=seeds(ids, 0)).permute(0, 2, 3, 1).numpy()
            for key, shown in zip(ids, pixels, strict=True):
                buffer = io.BytesIO()
                Image.fromarray(shown).save(buffer, "JPEG", quality=85, optimize=True)
                expected[f"{name}/{severity}/{key.rsplit('.', 1)[0]}.JPEG"] = buffer.getvalue()
    assert "gaussian_noise/4/n02/ILSVRC2012_val_00000007.JPEG" in expected
    assert "contrast/1/n02/a.b.JPEG" in expected
    assert files == expected


def test_an_eval_on_the_fly_shows_the_written_pixels(source: Path, tmp_path: Path) -> None:
    """Same ids, same seeds, same JPEG; the written folder is read back as the released one would be."""
    from nsbench.data.folder import read_folder
    from nsbench.evals.base import image_seeds

    render(source, tmp_path / "c", Rendering(corruptions=("gaussian_noise",), severities=(3,), seed=11), QUIET)
    written = open_folder(tmp_path / "c" / "gaussian_noise" / "3")
    clean = read_folder(source)
    assert written.labels.tolist() == clean.labels.tolist()
    drawn = torch.from_numpy(image_seeds(clean.ids, 11))
    batch = torch.from_numpy(clean.pixels).permute(0, 3, 1, 2)
    shown = jpeg_roundtrip(corrupt(batch, "gaussian_noise", 3, seeds=drawn), 85).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(np.stack([decode(path) for path in written.paths]), shown)


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 3, "workers": 1}, {"workers": 7}])
def test_batches_and_threads_change_nothing(changes: dict[str, int], source: Path, tmp_path: Path) -> None:
    render(source, tmp_path / "one", Rendering(corruptions=("gaussian_noise",), severities=(1,)), QUIET)
    render(source, tmp_path / "two", Rendering(corruptions=("gaussian_noise",), severities=(1,), **changes), QUIET)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


class _Breaking(Progress):
    """Stops the run after some files, as a signal would."""

    def __init__(self, after: int) -> None:
        super().__init__("none")
        self.after = after

    @contextlib.contextmanager
    def counter(self, title, total, **options):  # type: ignore[override]
        with super().counter(title, total, **options) as counter:
            advance = counter.advance

            def advance_or_stop(count: int = 1) -> None:
                advance(count)
                if counter.done == self.after:
                    raise Stopped("stopped")

            counter.advance = advance_or_stop  # type: ignore[method-assign]
            yield counter


@pytest.mark.parametrize("after", [1, 7, 20])
def test_a_stopped_run_goes_on_to_the_same_files(after: int, source: Path, tmp_path: Path) -> None:
    render(source, tmp_path / "whole", NOISE, QUIET)
    whole = tree(tmp_path / "whole")
    with pytest.raises(Stopped):
        render(source, tmp_path / "c", Rendering(**{**vars(NOISE), "batch_size": 2}), _Breaking(after))
    part = tree(tmp_path / "c")
    assert after + 1 <= len(part) <= len(whole)
    assert part.items() <= whole.items()
    done = render(source, tmp_path / "c", NOISE, QUIET)
    assert done.kept == len(part) - 1
    assert done.written == len(whole) - len(part)
    assert tree(tmp_path / "c") == whole


def test_a_finished_run_writes_nothing_and_others_add_to_it(source: Path, tmp_path: Path) -> None:
    render(source, tmp_path / "c", NOISE, QUIET)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*")}
    done = render(source, tmp_path / "c", NOISE, QUIET)
    assert (done.written, done.kept) == (0, 20)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*")} == before
    more = Rendering(corruptions=("pixelate", "contrast"), severities=(1, 2))
    assert render(source, tmp_path / "c", more, QUIET).written == 15


def test_a_limit_can_be_lifted(source: Path, tmp_path: Path) -> None:
    some = Rendering(corruptions=("contrast",), severities=(1,), limit=2)
    assert render(source, tmp_path / "c", some, QUIET).written == 2
    assert sorted(name for name in tree(tmp_path / "c") if name != MANIFEST) == [
        "contrast/1/n01/ILSVRC2012_val_00000002.JPEG",
        "contrast/1/n02/ILSVRC2012_val_00000001.JPEG",
    ]
    assert render(source, tmp_path / "c", Rendering(corruptions=("contrast",), severities=(1,)), QUIET).written == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"quality": 90}, "jpeg_quality 85, not 90"),
        ({"variant": 299}, "constants 'constants for 224 px', not 'constants for 299 px on 224 px, unofficial'"),
        ({"corruptions": (), "perturbations": ("translate",)}, "kind 'corruptions', not 'perturbations'"),
    ],
)
def test_other_settings_are_refused_in_one_line(
    changes: dict[str, object], words: str, source: Path, tmp_path: Path
) -> None:
    some = {"corruptions": ("contrast",), "severities": (1,), "limit": 1}
    render(source, tmp_path / "c", Rendering(**some), QUIET)  # type: ignore[arg-type]
    before = tree(tmp_path / "c")
    with pytest.raises(ConfigError, match=words):
        render(source, tmp_path / "c", Rendering(**(some | changes)), QUIET)  # type: ignore[arg-type]
    assert tree(tmp_path / "c") == before


def test_other_images_are_refused(source: Path, tmp_path: Path) -> None:
    some = Rendering(corruptions=("contrast",), severities=(1,), limit=1)
    render(source, tmp_path / "c", some, QUIET)
    for key in open_folder(source).ids:
        (tmp_path / "val" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "val" / key).write_bytes((source / key).read_bytes())
    assert render(tmp_path / "val", tmp_path / "c", some, QUIET).written == 0  # elsewhere, but the same
    Image.open(source / "n02/a.b.jpg").save(tmp_path / "val" / "n02" / "a.b.jpg", quality=50)
    with pytest.raises(ConfigError, match=r"was made with source '[0-9a-f]{16}', not"):
        render(tmp_path / "val", tmp_path / "c", some, QUIET)


def test_a_folder_of_something_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    released = tmp_path / "imagenet-c" / "contrast" / "1" / "n01" / "ILSVRC2012_val_00000002.JPEG"
    released.parent.mkdir(parents=True)
    released.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="not empty and not made by nsbench corrupt"):
        render(source, tmp_path / "imagenet-c", NOISE, QUIET)
    assert tree(tmp_path / "imagenet-c") == {"contrast/1/n01/ILSVRC2012_val_00000002.JPEG": b"precious"}
    (tmp_path / "imagenet-c" / MANIFEST).write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        render(source, tmp_path / "imagenet-c", NOISE, QUIET)


def test_source_and_target_must_be_apart(source: Path, tmp_path: Path) -> None:
    before = tree(source)
    (tmp_path / "link").symlink_to(source)
    for target in (source, source / "c", source.parent, tmp_path / "link" / "c"):
        with pytest.raises(ConfigError, match="must not contain one another"):
            render(source, target, NOISE, QUIET)
    assert tree(source) == before


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.JPEG", "b.png"):
        (tmp_path / "val" / "n01").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 300)).save(tmp_path / "val" / "n01" / name)
    with pytest.raises(DataError, match=r"n01/a.JPEG and n01/a.png would become one file"):
        render(tmp_path / "val", tmp_path / "c", NOISE, QUIET)
    assert not (tmp_path / "c").exists()


def test_a_full_disk_is_one_line_and_leaves_no_part(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, iter(range(1000))

    def full(handle: int) -> None:
        if next(calls) >= 4:  # the manifest and three pictures fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"JPEG cannot be written \(No space left on device\)"):
        render(source, tmp_path / "c", NOISE, QUIET)
    monkeypatch.undo()
    assert len(tree(tmp_path / "c")) == 4
    assert render(source, tmp_path / "c", NOISE, QUIET).kept == 3


def test_places_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "c"):
        with pytest.raises(DataError, match=r"Not a directory"):
            render(source, target, NOISE, QUIET)
    render(source, tmp_path / "c", Rendering(corruptions=("pixelate",), severities=(1,), limit=1), QUIET)
    (tmp_path / "c" / "contrast").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        render(source, tmp_path / "c", NOISE, QUIET)


def test_bad_images_stop_or_are_skipped(source: Path, tmp_path: Path) -> None:
    for key, content in tree(source).items():
        (tmp_path / "val" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "val" / key).write_bytes(content[:999] if "00000010" in key else content)
    some = {"corruptions": ("contrast",), "severities": (1, 2)}
    with pytest.raises(DataError, match=r"1 of 5 images cannot be read, first .*00000010.JPEG"):
        render(tmp_path / "val", tmp_path / "c", Rendering(**some), QUIET)  # type: ignore[arg-type]
    skipping = Rendering(**some, on_bad_image="skip")  # type: ignore[arg-type]
    done = render(tmp_path / "val", tmp_path / "c", skipping, QUIET)
    assert (done.written, done.skipped) == (8, ("n01/ILSVRC2012_val_00000010.JPEG",))
    assert render(tmp_path / "val", tmp_path / "c", skipping, QUIET).written == 0
    render(source, tmp_path / "clean", Rendering(**some), QUIET)  # type: ignore[arg-type]
    clean = tree(tmp_path / "clean")
    assert all(clean[name] == content for name, content in tree(tmp_path / "c").items() if name != MANIFEST)


@pytest.mark.parametrize(("name", "frames"), [("gaussian_noise", 31), ("translate", 41)])
def test_clips_are_encoded_as_the_authors_did(name: str, frames: int, source: Path, tmp_path: Path) -> None:
    import av

    done = render(source, tmp_path / "p", Rendering(perturbations=(name,), limit=2), QUIET)
    assert done.written == 2
    keys = ["n01/ILSVRC2012_val_00000002", "n02/ILSVRC2012_val_00000001"]
    assert sorted(tree(tmp_path / "p")) == sorted([MANIFEST, *(f"{name}/{key}.mp4" for key in keys)])
    resize = transforms.Compose([transforms.Resize(256), transforms.PILToTensor()])
    pictures = [resize(Image.open(source / f"{key}.JPEG")) for key in keys]
    drawn = seeds(tuple(f"{key}.JPEG" for key in keys), 0)
    expected = perturbation_sequence(pictures, name, seeds=drawn).permute(0, 1, 3, 4, 2).numpy()
    for key, film in zip(keys, expected, strict=True):
        path = tmp_path / "p" / name / f"{key}.mp4"
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv444p")
            assert (stream.average_rate, stream.width, stream.height) == (1, 224, 224)
            shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        assert shown.shape == (frames, 224, 224, 3)
        assert np.abs(shown.astype(float) - film).mean() < (6 if name == "gaussian_noise" else 3)
        content = path.read_bytes()  # x264 writes its settings into the stream
        grain = b"qcomp=0.80" in content and b"deblock=1:-2:-2" in content and b"crf=23.0" in content
        plain = b"qcomp=0.60" in content and b"deblock=1:0:0" in content and b"crf=20.0" in content
        assert (grain, plain) == ((True, False) if name == "gaussian_noise" else (False, True))
        assert b"subme=10" in content  # veryslow
        assert b"ref=16" in content


def test_a_clip_does_not_depend_on_the_clips_before_it() -> None:
    ramp = np.arange(64, dtype=np.uint8)
    one, other = (np.stack([np.roll(ramp[:, None] * step + ramp[None], t, 1) for t in range(12)]) for step in (1, 3))
    for grain in (False, True):
        first, second = (np.repeat(frames[..., None], 3, axis=-1) for frames in (one, other))
        clip = encode_clip(first, grain=grain)
        for _ in range(3):
            encode_clip(second[:7], grain=grain)
            assert encode_clip(first, grain=grain) == clip


def test_clips_without_pyav_are_refused_before_the_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install av \(or nsbench\[video\]\)"):
        render(source, tmp_path / "p", Rendering(perturbations=("translate",)), QUIET)
    assert not (tmp_path / "p").exists()
    with pytest.raises(DataError, match="pip install av"):
        encode_clip(np.zeros((1, 32, 32, 3), np.uint8), grain=False)


def test_check_sums_are_of_the_pixels_before_encoding(source: Path, tmp_path: Path) -> None:
    some = Rendering(corruptions=("gaussian_noise",), severities=(2,), canonical=True, batch_size=2)
    done = render(source, tmp_path / "c", some, QUIET)
    base = base_images(source)
    pixels = corrupt(base, "gaussian_noise", 2, seeds=seeds(open_folder(source).ids, 0)).permute(0, 2, 3, 1)
    sha256, wide = hashlib.sha256(pixels.numpy().tobytes()).hexdigest(), pixels.long()
    expected = {"sha256": sha256, "sum": int(wide.sum()), "squares": int((wide * wide).sum())}
    assert done.checks == {"gaussian_noise/2": expected}
    recorded = json.loads((tmp_path / "c" / CHECKS).read_text())
    assert recorded["cells"] == done.checks
    assert recorded["ids"] == list(open_folder(source).ids)
    assert recorded["base"]["sha256"] == hashlib.sha256(base.permute(0, 2, 3, 1).numpy().tobytes()).hexdigest()


def test_names_that_are_no_utf8_have_check_sums_too(source: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd" / "n01"
    odd.mkdir(parents=True)
    (odd / os.fsdecode(b"\xff.jpg")).write_bytes((source / "n02" / "a.b.jpg").read_bytes())
    plan = Rendering(corruptions=("contrast",), severities=(1,), canonical=True)
    for _ in range(2):  # the second time they are read
        render(tmp_path / "odd", tmp_path / "out", plan, QUIET)
    assert json.loads((tmp_path / "out" / CHECKS).read_text())["ids"] == ["n01/\\xff.jpg"]


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '{"ids": [], "cells": {"contrast/1": {}}}', '{"ids": [], "cells": 3}']
)
def test_damaged_check_sums_are_one_line(content: str, source: Path, tmp_path: Path) -> None:
    plan = Rendering(corruptions=("contrast",), severities=(1,), canonical=True)
    render(source, tmp_path / "out", plan, QUIET)
    (tmp_path / "out" / CHECKS).write_text(content)
    with pytest.raises(DataError, match=r"nsbench-canonical\.json is damaged; delete it"):
        render(source, tmp_path / "out", plan, QUIET)


def test_a_folder_with_nothing_written_takes_other_settings(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render(source, out, NOISE, QUIET)
    for path in out.iterdir():
        if path.name != MANIFEST:
            shutil.rmtree(path)
    render(source, out, dataclasses.replace(NOISE, seed=3), QUIET)
    assert json.loads((out / MANIFEST).read_text())["seed"] == 3


def test_check_sums_of_a_resumed_run_are_of_all_images(source: Path, tmp_path: Path) -> None:
    some = {"corruptions": ("gaussian_noise",), "severities": (2,)}
    render(source, tmp_path / "one", Rendering(**some, limit=3), QUIET)  # type: ignore[arg-type]
    resumed = render(source, tmp_path / "one", Rendering(**some, canonical=True), QUIET)  # type: ignore[arg-type]
    whole = render(source, tmp_path / "two", Rendering(**some, canonical=True), QUIET)  # type: ignore[arg-type]
    assert resumed.checks == whole.checks
    assert (resumed.kept, resumed.written) == (3, 2)
    before = (tmp_path / "one" / CHECKS).stat().st_mtime_ns
    more = Rendering(corruptions=("contrast", "gaussian_noise"), severities=(2,), canonical=True)
    added = render(source, tmp_path / "one", more, QUIET)
    assert list(added.checks) == ["gaussian_noise/2", "contrast/2"]
    assert added.checks["gaussian_noise/2"] == whole.checks["gaussian_noise/2"]
    assert json.loads((tmp_path / "one" / CHECKS).read_text())["cells"] == added.checks
    after = (tmp_path / "one" / CHECKS).stat().st_mtime_ns
    assert after > before
    assert render(source, tmp_path / "one", more, QUIET).checks == added.checks
    assert (tmp_path / "one" / CHECKS).stat().st_mtime_ns == after


def canonical() -> dict[str, Any]:
    """The committed check sums; made as `write_checks` says."""
    content = json.loads(files("nsbench.corruptions").joinpath("canonical.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def samples() -> Path:
    root = SAMPLES
    if not root.is_dir():
        absent(f"the sample photographs are not at {root} (set NSBENCH_SHARED_DATA)")
    return root


def test_the_committed_check_sums_are_of_these_corruptions() -> None:
    published = canonical()
    assert published["corruption_version"] == CORRUPTION_VERSION
    assert list(published["cells"]) == sorted(
        f"{name}/{severity}" for name in ALL_CORRUPTIONS for severity in range(1, 6)
    )
    assert published["exact"] == sorted(EXACT)
    assert len(published["ids"]) == 20


@pytest.mark.parametrize(
    "names",
    [
        ("fog", "pixelate", "elastic_transform", "glass_blur"),
        pytest.param(tuple(name for name in ALL_CORRUPTIONS), marks=pytest.mark.slow),
    ],
)
def test_the_sample_photographs_get_the_canonical_pixels(names: tuple[str, ...], tmp_path: Path) -> None:
    published = canonical()
    severities = (1, 2, 3, 4, 5) if len(names) > 5 else (3,)
    canonical_20 = Rendering(corruptions=names, severities=severities, limit=20, canonical=True)
    done = render(samples(), tmp_path / "c", canonical_20, QUIET)
    recorded = json.loads((tmp_path / "c" / CHECKS).read_text())
    assert recorded["ids"] == published["ids"]
    assert recorded["base"] == published["base"], "other pixels before corruption: is it Pillow's JPEG decoder?"
    assert len(done.checks) == len(names) * len(severities)
    assert differing_checks(done.checks, published["cells"]) == []


def test_other_pixels_differ_from_the_canonical_ones() -> None:
    """Of another seed, and of another severity where no seed is used."""
    published = canonical()["cells"]
    folder = open_folder(samples()).limited(20)
    crop = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
    base = torch.stack([crop(Image.open(path).convert("RGB")) for path in folder.paths])
    for name in ("fog", "gaussian_noise", "snow", "motion_blur", "elastic_transform"):
        for seed, differs in ((0, False), (1, True)):
            check = PixelCheck()
            check.add(corrupt(base, name, 3, seeds=seeds(folder.ids, seed)).permute(0, 2, 3, 1).numpy())
            assert bool(differing_checks({f"{name}/3": check.result}, published)) == differs
    check = PixelCheck()
    check.add(corrupt(base, "gaussian_blur", 2, seeds=seeds(folder.ids, 0)).permute(0, 2, 3, 1).numpy())
    assert differing_checks({"gaussian_blur/3": check.result}, published) == ["gaussian_blur/3"]


TEXTS = {"corruption": None, "severity": "1,2,3,4,5", "perturbation": None}


def test_all_means_all() -> None:
    assert rendering_from(**{**TEXTS, "corruption": "all"}).corruptions == ALL_CORRUPTIONS
    assert len(ALL_CORRUPTIONS) == 19
    assert rendering_from(**{**TEXTS, "perturbation": "all"}).perturbations == ALL_PERTURBATIONS
    assert len(ALL_PERTURBATIONS) == 14
    assert len(rendering_from(**{**TEXTS, "corruption": "fog, snow", "severity": "3,1"}).cells) == 4


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({}, "nothing to write"),
        ({"corruption": ""}, "nothing to write"),
        ({"corruption": "fog", "severity": ""}, "nothing to write"),
        ({"corruption": "gausian_noise"}, "unknown corruption 'gausian_noise'; did you mean 'gaussian_noise'"),
        ({"corruption": "fog,fog"}, "'fog' is named twice"),
        ({"corruption": "fog", "severity": "0"}, "unknown severity 0"),
        ({"corruption": "fog", "severity": "6"}, "unknown severity 6"),
        ({"corruption": "fog", "severity": "1-5"}, "unknown severity '1-5'"),
        ({"corruption": "fog", "severity": "2,2"}, "severity 2 is named twice"),
        ({"perturbation": "transalte"}, "did you mean 'translate'"),
        ({"corruption": "fog", "perturbation": "tilt"}, "write each to its own"),
        ({"perturbation": "tilt", "quality": 90}, "settings of corruptions only"),
        ({"corruption": "fog", "quality": 0}, "quality is 0"),
        ({"corruption": "fog", "quality": 101}, "quality is 101"),
        ({"corruption": "fog", "variant": 225}, "variant is 225"),
        ({"corruption": "fog", "limit": 0}, "limit is 0"),
        ({"corruption": "fog", "batch_size": 0}, "batch_size is 0"),
        ({"corruption": "fog", "workers": -1}, "workers is -1"),
        ({"corruption": "fog", "seed": -1}, "seed is -1"),
        ({"corruption": "fog", "canonical": True, "seed": 1}, "canonical means seed 0"),
        ({"corruption": "fog", "canonical": True, "quality": 90}, "canonical means"),
        ({"corruption": "fog", "canonical": True, "variant": 64}, "canonical means"),
        ({"corruption": "fog", "canonical": True, "on_bad_image": "skip"}, "canonical needs every image"),
    ],
)
def test_mistakes_are_one_line(texts: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rendering_from(**{**TEXTS, **texts})  # type: ignore[arg-type]
