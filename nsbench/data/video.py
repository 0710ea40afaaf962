"""ImageNet-P's clips as the authors encoded them: ImageNet-P/create_p/make_imagenet_p.py, which calls ffmpeg."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import numpy.typing as npt

from nsbench.errors import DataError

# Neither frame rate nor colours are told to ffmpeg there but `-r 1`; from RGB it then picks yuv444p.
_GRAIN_OPTIONS = {"crf": "23", "tune": "grain", "preset": "veryslow"}
_OPTIONS = {"crf": "20", "preset": "veryslow"}


def require_video() -> None:
    """Refuse where clips cannot be written, before the work begins.

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
