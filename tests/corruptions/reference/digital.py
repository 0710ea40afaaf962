"""The digital corruptions of ImageNet-C: hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py and its siblings."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from tests.corruptions.reference.blur import smooth
from tests.corruptions.reference.noise import Floats, Pixels, to_bytes_scale
from tests.corruptions.reference.randomness import Generators


def contrast(images: Pixels, factor: float, _rngs: Generators) -> Floats:
    """Scale the distance of each channel from its mean by `factor`."""
    unit = images / 255.0
    # one image at a time: a mean over a batch adds in another order, and truncation shows the last bit
    means = np.stack([image.mean(axis=(0, 1), keepdims=True) for image in unit])
    return to_bytes_scale((unit - means) * factor + means)


def saturate(images: Pixels, parameters: Sequence[float], _rngs: Generators) -> Floats:
    """Map the saturation s of HSV to factor * s + offset: (factor, offset)."""
    factor, offset = parameters
    return adjust_hsv(images, channel=1, factor=factor, offset=offset)


def adjust_hsv(images: Pixels, *, channel: int, factor: float, offset: float) -> Floats:
    """Map one channel v of HSV to clip(factor * v + offset, 0, 1)."""
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(images / 255.0)
    hsv[..., channel] = np.clip(hsv[..., channel] * factor + offset, 0, 1)
    return to_bytes_scale(hsv2rgb(hsv))


def pixelate(images: Pixels, scale: float, _rngs: Generators) -> Pixels:
    """Shrink by `scale` and enlarge again, both by the box filter, columns first as Pillow did in 2018."""
    height, width = images.shape[1:3]
    sizes = ((int(width * scale), height), (int(width * scale), int(height * scale)), (width, height))
    results = []
    for image in images:
        picture = Image.fromarray(image)
        for size in sizes:
            picture = picture.resize(size, Image.Resampling.BOX)
        results.append(np.asarray(picture))
    return np.stack(results)


def jpeg_compression(images: Pixels, quality: int, _rngs: Generators) -> Pixels:
    """Encode as JPEG of `quality` and decode."""
    return np.stack([_through_jpeg(image, quality) for image in images])


def _through_jpeg(image: Pixels, quality: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def elastic_transform(images: Pixels, parameters: Sequence[float], rngs: Generators) -> Floats:
    """Warp by a random affine map, then by a smooth random field: (amplitude, sigma, affine jitter) in px."""
    amplitude, sigma, jitter = parameters
    height, width = images.shape[1:3]
    affine = [rng.uniform(-jitter, jitter, size=(3, 2)).astype(np.float32) for rng in rngs]
    fields = np.stack([rng.uniform(-1, 1, size=(height, width, 2)) for rng in rngs])  # (dx, dy)
    shifts = (smooth(fields, sigma, mode="reflect", truncate=3.0) * amplitude).astype(np.float32)
    unit = images.astype(np.float32) / 255.0
    warped = [
        _displace(_jitter_corners(image, moves), shift)
        for image, moves, shift in zip(unit, affine, shifts, strict=True)
    ]
    return to_bytes_scale(np.stack(warped))


def _jitter_corners(image: npt.NDArray[np.float32], moves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Move three corners of the middle square by `moves` [3, 2] and the image affinely with them."""
    height, width = image.shape[:2]
    middle, arm = np.array([height // 2, width // 2]), min(height, width) // 3
    corners = (middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])).astype(np.float32)
    matrix = cv2.getAffineTransform(corners, corners + moves)
    moved: npt.NDArray[np.float32] = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return moved


def _displace(image: npt.NDArray[np.float32], shift: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sample the image at each pixel plus its shift (dx, dy), bilinearly, the image mirrored at its edges."""
    row, column, channel = np.mgrid[: image.shape[0], : image.shape[1], : image.shape[2]]
    where = (row + shift[..., 1:], column + shift[..., :1], channel)
    return ndimage.map_coordinates(image, where, order=1, mode="reflect")
