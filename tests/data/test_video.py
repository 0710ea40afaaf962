"""Clips are decoded as OpenCV decodes them, and what is no whole clip is named."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from nsbench.data import video
from nsbench.data.clips import ClipSet, open_clips
from nsbench.data.pictures import BadImage
from nsbench.data.video import decode_clip, encode_clip
from nsbench.errors import DataError
from tests.data.layouts import WNIDS, square, write

Frames = npt.NDArray[np.uint8]


def moving(index: int, num_frames: int = 31, side: int = 224) -> Frames:
    """A photograph that slides by two pixels a frame."""
    pixels = np.asarray(square(index))
    return np.stack([np.roll(pixels, 2 * step, axis=1)[:side, :side] for step in range(num_frames)])


@functools.cache
def clip(index: int = 1, num_frames: int = 31, side: int = 224) -> bytes:
    return encode_clip(moving(index, num_frames, side), grain=False)


def encoded(frames: Frames, pix_fmt: str, rate: int = 25) -> bytes:
    """As ffmpeg would with another layout of colours, with B frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def by_opencv(path: Path) -> Frames:
    """The authors' utils/video_loader.py: VideoCapture, BGR to RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = capture.read()
        if not there:
            return np.stack(frames)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


KINDS: dict[str, Callable[[], bytes]] = {
    "plain": clip,
    "grain": lambda: encode_clip(moving(5), grain=True),
    "translate": lambda: clip(9, 41),
    "yuv420p": lambda: encoded(moving(5), "yuv420p"),
    "yuvj420p": lambda: encoded(moving(7), "yuvj420p", rate=1),
    "yuv422p": lambda: encoded(moving(7), "yuv422p"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_opencvs_within_one_level(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", KINDS[kind]())
    ours, theirs = decode_clip(path), by_opencv(path)
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape == (41 if kind == "translate" else 31, 224, 224, 3)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert np.abs(ours[1:].astype(int) - ours[:-1].astype(int)).mean() > 1  # it moves, so frames in disorder would show


def test_frames_are_those_that_were_encoded() -> None:
    """Within the loss of H.264 at quality 20; the next frame is several times as far away."""
    frames = moving(1)
    decoded = decode_clip(io.BytesIO(clip()), 31)
    assert np.abs(decoded.astype(int) - frames).mean() < 2
    assert np.abs(decoded[1:].astype(int) - frames[:-1]).mean() > 4


def damaged(start: float, size: int = 400) -> bytes:
    """Zeros amid the pictures, behind what tells of them."""
    content = bytearray(clip())
    first, end = content.find(b"mdat") + 800, content.find(b"moov")  # x264 signs with 700 letters first
    at = first + int(start * (end - first - size))
    content[at : at + size] = bytes(size)
    return bytes(content)


def write_matroska() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.height = stream.width = 224
        container.mux(stream.encode(av.VideoFrame.from_ndarray(moving(1)[0], format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "Invalid data"),
    "text": (lambda: b"<html>404 not found</html>" * 50, "Invalid data"),
    "half": (lambda: clip()[: len(clip()) // 2], "Invalid data"),
    "one frame short": (lambda: clip(1, 30), "30 frames instead of 31"),
    "one frame long": (lambda: clip(1, 32), "more than 31 frames"),
    "damaged early": (lambda: damaged(0.0), "damaged|Invalid data"),
    "damaged amid": (lambda: damaged(0.5), "damaged|Invalid data|frames instead"),
    "a playlist of other files": (lambda: b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n", "Invalid data"),
    "another format": (write_matroska, "Invalid data"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_whole_clip_says_why(kind: str, tmp_path: Path) -> None:
    make, words = BAD[kind]
    with pytest.raises(BadImage, match=words) as error:
        decode_clip(write(tmp_path / "clip.mp4", make()), 31)
    assert "\n" not in str(error.value)


def test_a_missing_clip_and_one_without_video_say_why(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="No such file"):
        decode_clip(tmp_path / "nowhere.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(BadImage, match="no video in it"):
        decode_clip(tmp_path / "sound.mp4")


def test_odd_names_are_names_of_files(tmp_path: Path) -> None:
    for name in ("concat:a|b.mp4", "%03d.mp4", "http:.mp4"):
        assert decode_clip(write(tmp_path / name, clip()), 31).shape == (31, 224, 224, 3)


def test_giant_frames_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_IMAGE_PIXELS", 224 * 224 * 30)
    with pytest.raises(BadImage, match="224 x 224 pixels are too many"):
        decode_clip(io.BytesIO(clip()), 31)


def folder(root: Path) -> Path:
    """Three good clips of two of ImageNet's classes, the third of another photograph."""
    for wnid, name, index in ((WNIDS[1], "a", 1), (WNIDS[1], "b", 9), (WNIDS[500], "c", 1)):
        write(root / wnid / f"{name}.mp4", clip(index))
    write(root / WNIDS[1] / "notes.txt", "x")
    return root


def test_clips_come_in_batches(tmp_path: Path) -> None:
    listing = open_clips(folder(tmp_path), num_frames=31, name="imagenet-p tilt")
    clips = ClipSet(listing=listing, workers=2)
    assert clips.ids.tolist() == [f"{WNIDS[1]}/a.mp4", f"{WNIDS[1]}/b.mp4", f"{WNIDS[500]}/c.mp4"]
    assert clips.labels.tolist() == [1, 1, 500]
    assert (clips.name, clips.num_frames, clips.size, len(clips)) == ("imagenet-p tilt", 31, 224, 3)
    assert clips.preprocessing == "frames of the mp4 files, 224 px"
    batches = list(clips.batches([slice(0, 2), slice(2, 3)]))
    assert [(rows, shown.shape, bad) for rows, shown, bad in batches] == [
        (slice(0, 2), (2, 31, 224, 224, 3), {}),
        (slice(2, 3), (1, 31, 224, 224, 3), {}),
    ]
    np.testing.assert_array_equal(batches[0][1][1], decode_clip(io.BytesIO(clip(9))))
    np.testing.assert_array_equal(batches[1][1][0], batches[0][1][0])
    assert listing.left_out == (f"{WNIDS[1]}/notes.txt",)
    taken = ClipSet(listing=listing.take([2, 0]))
    assert (taken.ids.tolist(), taken.num_frames) == ([clips.ids[2], clips.ids[0]], 31)
    assert taken.fingerprint != clips.fingerprint


def test_bad_clips_are_named_or_black_and_counted(tmp_path: Path) -> None:
    root = folder(tmp_path)
    write(root / WNIDS[1] / "a.mp4", clip()[:5000])
    write(root / WNIDS[1] / "b.mp4", clip(1, 31, 112))
    (root / WNIDS[1] / "d.mp4").symlink_to(tmp_path / "nowhere")
    listing = open_clips(root, num_frames=31, name="p")
    with pytest.raises(DataError, match=r"a.mp4 cannot be read \(Invalid data.*--on-bad-image skip"):
        list(ClipSet(listing=listing).batches([slice(0, 4)]))
    clips = ClipSet(listing=listing.take([0, 3, 2, 1]), on_bad_image="skip")
    [(_, shown, bad)] = clips.batches([slice(0, 4)])
    assert bad[0].startswith("Invalid data")
    assert bad[2] == "No such file or directory"
    assert bad[3] == "112 x 112 px instead of 224"
    assert sorted(bad) == [0, 2, 3]
    assert shown[1].any()
    assert not shown[[0, 2, 3]].any()
    with pytest.raises(DataError, match=r"a\.mp4 cannot be read"):
        list(ClipSet(listing=listing.take([0]), on_bad_image="skip").batches([slice(0, 1)]))


def test_clips_without_pyav_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = ClipSet(listing=open_clips(folder(tmp_path), num_frames=31, name="p"))
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install av"):
        list(clips.batches([slice(0, 1)]))


def test_a_folder_without_clips_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / WNIDS[0] / "a.JPEG", b"x")
    with pytest.raises(DataError, match="holds no clips; it must hold a folder of mp4 files for each class"):
        open_clips(tmp_path, num_frames=31, name="p")
