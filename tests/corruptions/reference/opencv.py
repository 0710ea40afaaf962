"""OpenCV, imported at the first use: its wheel links libGL, which bare machines lack."""

from __future__ import annotations

from types import ModuleType

from nsbench.errors import DataError


def opencv() -> ModuleType:
    """Return the module cv2.

    Raises:
        DataError: it cannot be imported.
    """
    try:
        import cv2
    except ImportError as error:
        raise DataError(
            f"OpenCV does not import ({error}); "
            "install Debian's libgl1 and libglib2.0-0, or pip install opencv-python-headless"
        ) from None
    return cv2
