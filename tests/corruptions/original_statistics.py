"""How the original code's random corruptions change 100 photographs: `original_statistics.json` and its making.

    NSBENCH_SHARED_DATA=... python -m tests.corruptions.original_statistics

takes a few minutes. Two sets of 100: crops of the colour photographs bundled with scikit-image and scikit-learn at
severities 1, 3 and 5, and, for the tests' machines that have them, sample photographs of ImageNet at 2 and 4. The file
holds figures only: per cell `mean` over photographs and runs of other seeds, `itself`, the root mean square difference
between two runs, and `first`, run 0's mean. `itself` is from each photograph's variance between runs (photographs are
drawn independently), which has 200 degrees of freedom; the runs' means alone would have 2.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tests.corruptions.original import DRAWS, SIZE, original
from tests.shared import SHARED

FILE = Path(__file__).with_name("original_statistics.json")
BUNDLED, SAMPLES = "bundled", "imagenet-samples"
SEVERITIES = {BUNDLED: (1, 3, 5), SAMPLES: (2, 4)}
RUNS = 3
BANDS = 8
NAMES = ("mean", "std", *(f"band {band}" for band in range(1, BANDS + 1)))


@functools.cache
def bundled_photographs() -> np.ndarray:
    """Ten crops of each of ten colour photographs at scales from the whole picture down: uint8 [100, 224, 224, 3]."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    pictures = [
        data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.hubble_deep_field(),
        data.immunohistochemistry(), data.retina(), data.stereo_motorcycle()[0], *load_sample_images().images,
    ]  # fmt: skip
    crops = []
    for picture in pictures:
        side = min(picture.shape[:2])
        for step in range(10):
            part = side - step * (side - SIZE) // 10 if side > SIZE else side
            top = (picture.shape[0] - part) * (step % 3) // 2
            left = (picture.shape[1] - part) * (step % 4) // 3
            crop = Image.fromarray(np.ascontiguousarray(picture[top : top + part, left : left + part, :3]))
            crops.append(np.asarray(crop.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    return np.stack(crops)


@functools.cache
def sample_photographs() -> np.ndarray | None:
    """Every tenth of the thousand sample photographs, Resize(256) + CenterCrop(224), or None where they are not."""
    from torchvision.transforms import CenterCrop, Resize

    paths = sorted((SHARED / "imagenet-samples" / "val").glob("*/*.JPEG"))[5::10]
    if not paths:
        return None
    return np.stack([np.asarray(CenterCrop(SIZE)(Resize(256)(Image.open(path).convert("RGB")))) for path in paths])


def statistics(clean: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Of corrupted - clean, uint8 [N, H, W, 3] each, in 0..255: `NAMES` per photograph, float [N, 10].

    Averages over the channels of the mean, the standard deviation, and the power in eight rings of spatial frequency,
    each 1/16 cycle a pixel wide (the last reaches to the corners): the sum of |DFT|² over (H W)², without the constant.
    """
    height, width = clean.shape[1:3]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    ring = np.minimum((radius * 2 * BANDS).astype(int), BANDS - 1)
    ring[0, 0] = BANDS  # the constant
    both_halves = np.where((np.arange(width // 2 + 1) % (width // 2)) == 0, 1.0, 2.0)
    found = np.zeros((len(clean), 2 + BANDS))
    for row, before, after in zip(found, clean, corrupted, strict=True):
        change = after.astype(np.float32) - before
        power = (np.abs(np.fft.rfft2(change, axes=(0, 1))) ** 2).mean(-1) * both_halves / (height * width) ** 2
        row[0] = change.mean()
        row[1] = change.std(axis=(0, 1)).mean()
        row[2:] = np.bincount(ring.ravel(), power.ravel(), BANDS + 1)[:BANDS]
    return found


def measured(photographs: np.ndarray, name: str, severity: int, run: int) -> np.ndarray:
    """The original's `statistics` with the seeds of `run`."""
    seeds = [[run, sorted(DRAWS).index(name), severity, number] for number in range(len(photographs))]
    pairs = zip(photographs, seeds, strict=True)
    return statistics(photographs, np.stack([original(image, name, severity, seed) for image, seed in pairs]))


def summary(photographs: np.ndarray, name: str, severity: int) -> dict[str, list[float]]:
    runs = np.stack([measured(photographs, name, severity, run) for run in range(RUNS)])  # [RUNS, N, 10]
    itself = np.sqrt(2 * runs.var(axis=0, ddof=1).sum(axis=0)) / len(photographs)
    figures = {"mean": runs.mean(axis=(0, 1)), "itself": itself, "first": runs[0].mean(axis=0)}
    return {key: [float(f"{value:.6g}") for value in values] for key, values in figures.items()}


def main() -> None:
    lines = [f'  "statistics": {json.dumps(NAMES)}']
    for which, photographs in ((BUNDLED, bundled_photographs()), (SAMPLES, sample_photographs())):
        if photographs is None:
            raise SystemExit(f"no sample photographs at {SHARED}; set NSBENCH_SHARED_DATA")
        cells = [(name, severity) for name in DRAWS for severity in SEVERITIES[which]]
        found = [
            f'    "{name} {severity}": {json.dumps(summary(photographs, name, severity))}'
            for name, severity in tqdm(cells, which)
        ]
        lines.append(f'  "{which}": {{\n' + ",\n".join(found) + "\n  }")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
