"""ImageNet-P's clips, written as by its authors (create_p/make_imagenet_p.py, with ffmpeg) and read as by OpenCV."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nsbench.data.pictures import MAX_IMAGE_PIXELS, BadImage
from nsbench.errors import DataError

# Neither frame rate nor colours are told to ffmpeg there but `-r 1`; from RGB it then picks yuv444p.
_GRAIN_OPTIONS = {"crf": "23", "tune": "grain", "preset": "veryslow"}
_OPTIONS = {"crf": "20", "preset": "veryslow"}


def require_video() -> None:
    """Refuse where clips cannot be written or read, before the work begins.

    Raises:
        DataError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise DataError("clips need a package that is not installed: pip install av (or nsbench[video])")


def encode_clip(frames: npt.NDArray[np.uint8], *, grain: bool) -> bytes:
    """An mp4 file: H.264 without loss of colour resolution, one frame a second.

    Args:
        frames: [T, H, W, 3], H and W even.
        grain: x264's tuning for film grain at quality 23, as the authors encoded the noises; else plain quality 20.

    Raises:
        DataError: PyAV is not installed or has no libx264.
    """
    require_video()
    import av

    try:
        av.codec.Codec("libx264", "w")
    except ValueError:
        raise DataError("PyAV was built without libx264; pip install --force-reinstall av") from None
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options=_GRAIN_OPTIONS if grain else _OPTIONS)
        # x264 picks its arithmetic by the alignment of its buffers, which the clips before this one decide
        stream.codec_context.options = {**stream.codec_context.options, "x264-params": "cpu-independent=1"}
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv444p"
        stream.codec_context.thread_count = 1  # the clips are encoded side by side; frame threads would change bytes
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_clip(stored: Path | BinaryIO, num_frames: int | None = None) -> npt.NDArray[np.uint8]:
    """All frames of a clip, as OpenCV's VideoCapture shows them to the authors' video_loader.py.

    Args:
        stored: a path or an open binary file.
        num_frames: how many there must be; None: at least one.

    Returns:
        uint8 [T, H, W, 3], RGB.

    Raises:
        BadImage: the file is missing, damaged, cut off or no clip, or has another number of frames.
        DataError: PyAV is not installed.
    """
    require_video()
    import av

    try:
        # neither a name nor a content may send FFmpeg to another file or address
        with av.open(f"file:{stored}" if isinstance(stored, Path) else stored, "r", format="mp4") as container:
            if not container.streams.video:
                raise BadImage("no video in it")
            stream = container.streams.video[0]
            if stream.width * stream.height * (num_frames or 1) > MAX_IMAGE_PIXELS:
                raise BadImage(f"{stream.width} x {stream.height} pixels are too many")
            stream.codec_context.thread_count = 1  # clips are decoded side by side
            frames: list[npt.NDArray[np.uint8]] = []
            for frame in container.decode(stream):
                if num_frames is not None and len(frames) == num_frames:
                    raise BadImage(f"more than {num_frames} frames")
                if frame.is_corrupt:  # FFmpeg paints over what it cannot decode
                    raise BadImage(f"frame {len(frames) + 1} is damaged")
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    except (av.error.FFmpegError, OSError) as error:
        raise BadImage(error.strerror or type(error).__name__) from None
    if not frames or (num_frames is not None and len(frames) != num_frames):
        raise BadImage(f"{len(frames)} frames{f' instead of {num_frames}' if num_frames else ''}")
    if len({frame.shape for frame in frames}) > 1:
        raise BadImage("its frames differ in size")
    return np.stack(frames)
