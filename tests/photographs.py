"""Photographs that scikit-image and scikit-learn ship, in the sizes of ImageNet's protocols."""

from __future__ import annotations

import numpy as np
from PIL import Image


def shorter_side_256(photograph: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] resized so that min(H, W) is 256; the longer side is rounded down."""
    picture = Image.fromarray(photograph)
    scale = 256 / min(picture.size)
    return np.array(picture.resize([max(256, int(side * scale)) for side in picture.size], Image.Resampling.BILINEAR))
