"""Made-up records of a run on the whole of ImageNet, in the run folder's own format, and what reporting them takes.

python -m benchmarks.full_size_report FOLDER --generations 4     # writes the records (half a gigabyte), then reports

Answers hang together as those of real models do: an image that one generation has wrong is likely wrong in the next,
and the more so the stronger it is corrupted; a wrong answer is a class nearby; confidence follows the odds of being
right. Ids, dtypes, compression and fingerprints are those that the pipeline writes, so the report reads them alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nsbench.config import Config
from nsbench.configfile import load_config, to_toml
from nsbench.data.imagenet_classes import imagenet_wnids
from nsbench.engine.label_store import label_path, write_parquet
from nsbench.engine.select import select
from nsbench.files import write_atomic, write_json, write_npz, write_text
from nsbench.measuring import Plan
from nsbench.metrics.reference import CORRUPTIONS, PERTURBATIONS
from nsbench.runfolder import SELF_TRAINING, RunFolder
from nsbench.tables import weights_fingerprint

IMAGES, NATURAL, CLIPS = 50_000, 7_500, 200
"""Of val and of every cell of ImageNet-C; of ImageNet-A; filmed for ImageNet-P where no clips are on disk."""
POOL, SHARDS = 1_000_000, 10
FRAMES = {"translate": 41}
_FRAMES = 31
_EPSILONS_PX = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_WEIGHTS_BYTES = 21_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullSize:
    """What a made-up run is like."""

    generations: int = 4
    """The teacher and its students."""
    images: int = IMAGES
    clips: int = CLIPS
    pool: int = POOL

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.generations)))


def write_full_size_run(root: Path, run: FullSize | None = None) -> RunFolder:
    """A run folder with everything but weights that mean anything, pictures, tables and page."""
    run, folder = run or FullSize(), RunFolder(root)
    config = _config(run)
    write_text(folder.config, to_toml(config))
    for number, name in enumerate(run.names):
        write_atomic(folder.weights(name), np.random.default_rng(number).bytes(_WEIGHTS_BYTES))
        write_json(
            folder.train_record(name), {"seconds": 4e5, "images_per_second": 2e3, "peak_memory_bytes": 6 * 10**10}
        )
    plans = {name: _plan() for name in run.names}
    folder.write_run(_record(run, plans))
    _write_labels(folder, run, config)
    write_text(folder.metrics, "".join(_curves(run)))
    jobs = [(name, eval_name, cell) for name in run.names for eval_name, of in plans[name].cells.items() for cell in of]
    prints = {name: weights_fingerprint(folder, folder.read_run(), name) for name in run.names}

    def write(job: tuple[str, str, str]) -> None:
        name, eval_name, cell = job
        arrays = _answers(run, int(name), eval_name, cell)
        made_by = plans[name].made_by(prints[name], eval_name, cell)
        write_npz(folder.cell(*job), {**arrays, "made_by": np.array(made_by), "seconds": np.array(93.5)})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, jobs))
    return folder


def _config(run: FullSize) -> Config:
    evals = ["imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm"]
    given = {"generations": run.generations - 1, "eval.evals": evals, "data.title": "ImageNet"}
    config = load_config("imagenet-b0", overrides=given)
    return dataclasses.replace(
        config, select=dataclasses.replace(config.select, filter_model="", when="every-generation")
    )


def _plan() -> Plan:
    general = "imagenet val, 50000 images, 224 px, shorter side resized to 256 (bicubic), middle 224 cropped"
    number = "fp32; batch 128; model sees 224 px"
    cells = {
        "imagenet": ("val",),
        "imagenet-a": ("imagenet-a", "imagenet-a-clean"),
        "imagenet-c": ("clean", *(f"{name}-{severity}" for name in CORRUPTIONS for severity in range(1, 6))),
        "imagenet-p": PERTURBATIONS,
        "fgsm": ("sweep",),
    }
    return Plan(
        protocols=dict.fromkeys(cells, f"{general}; {number}"),
        cells={name: dict.fromkeys(names, "a" * 16) for name, names in cells.items()},
    )


def _record(run: FullSize, plans: dict[str, Plan]) -> dict[str, Any]:
    return {
        "kind": SELF_TRAINING, "status": "partial", "name": "full-size", "preset": "imagenet-b0", "seed": 0,
        "recipe": "noisy-student", "generations": run.generations - 1, "classes": list(imagenet_wnids()),
        "dataset": "imagenet", "dataset_title": "ImageNet", "held_out": None, "embedded": False,
        "argv": ["nsbench", "train-and-eval", "imagenet-b0"], "git": "0" * 7, "versions": {"nsbench": "0.1.0"},
        "hardware": {"device": "cuda", "threads": 1, "machine": "x86_64"}, "data_fingerprints": {"labelled": "b" * 16},
        "models": {name: {"label": "efficientnet-b0", "params": 5_288_548} for name in run.names},
        "order": list(run.names), "plans": {name: dataclasses.asdict(plan) for name, plan in plans.items()},
    }  # fmt: skip


def _answers(run: FullSize, generation: int, eval_name: str, cell: str) -> dict[str, Any]:
    """What a generation says to one cell."""
    if eval_name == "imagenet-p":
        return _filmed(run, generation, cell)
    if eval_name == "imagenet-a":
        num = NATURAL if cell == "imagenet-a" else 10_000
        arrays = _classified(
            _shown(num, f"{cell}/n{{:08d}}.jpg", 200), generation, 3.2 if num == NATURAL else -0.4, num
        )
        return {**arrays, "top1_all": arrays["top1"], "answers_among": np.arange(200, dtype=np.int32)}
    shown = _shown(run.images, "n01440764/ILSVRC2012_val_{:08d}.JPEG")
    if eval_name == "fgsm":
        return _attacked(shown, generation)
    name, _, severity = cell.rpartition("-")
    harm = 0.25 * int(severity) + 0.06 * CORRUPTIONS.index(name) if eval_name == "imagenet-c" and name else 0.0
    seed = 0 if not harm else 10 * CORRUPTIONS.index(name) + int(severity)
    arrays = _classified(shown, generation, harm - 1.2, seed)
    return {**arrays, "provenance": np.array("released-jpeg"), "side": np.array(224, dtype=np.int32)}


def _shown(num: int, name: str, classes: int = 1000) -> dict[str, np.ndarray]:
    """Ids, labels, and how hard each image is [N], the same for everyone."""
    rng = np.random.default_rng([7, num])
    ids = np.array([name.format(number) for number in range(1, num + 1)])
    return {"ids": ids, "labels": np.arange(num) * classes // num, "hard": rng.normal(0, 1, num)}


def _right(hard: np.ndarray, generation: int, harm: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images are right [N], and the odds' logarithm [N]."""
    rng = np.random.default_rng([seed, generation])
    odds = 2.2 * (0.15 * generation - harm - hard + 0.5 * np.random.default_rng([11, seed]).normal(0, 1, len(hard)))
    return rng.random(len(hard)) < 1 / (1 + np.exp(-odds)), odds


def _classified(shown: dict[str, np.ndarray], generation: int, harm: float, seed: int) -> dict[str, Any]:
    right, odds = _right(shown["hard"], generation, harm, seed)
    rng = np.random.default_rng([seed, generation, 1])
    labels, num = shown["labels"], len(right)
    others = (labels[:, None] + rng.permuted(np.tile(np.arange(1, 7), (num, 1)), axis=1)[:, :5]) % (labels[-1] + 1)
    top5 = others.astype(np.int32)
    place = np.where(right, 0, 1 + rng.integers(0, 7, num))
    rows = np.flatnonzero(place < 5)
    top5[rows, place[rows]] = labels[rows]
    confidence = (1 / (1 + np.exp(-np.abs(odds + rng.normal(0, 0.7, num))))).astype(np.float32)
    true = np.where(right, confidence, np.maximum(1 - confidence, 1e-6) * rng.uniform(0.01, 0.9, num))
    return {
        "ids": shown["ids"], "labels": labels, "top1": top5[:, 0].copy(), "top5": top5, "confidence": confidence,
        "log_prob_true": np.log(true).astype(np.float32), "sum_squared_prob": confidence**2,
        "num_classes": np.array(1000, dtype=np.int32),
    }  # fmt: skip


def _attacked(shown: dict[str, np.ndarray], generation: int) -> dict[str, Any]:
    found = [_classified(shown, generation, 0.5 * eps_px**0.5 - 1.2, 0) for eps_px in _EPSILONS_PX]
    control = [_classified(shown, generation, 0.02 * eps_px - 1.2, 0) for eps_px in _EPSILONS_PX]
    num = len(shown["ids"])
    return {
        "ids": shown["ids"], "labels": shown["labels"], "epsilons_px": np.array(_EPSILONS_PX),
        "top1": np.stack([one["top1"] for one in found]), "confidence": np.stack([one["confidence"] for one in found]),
        "random_sign_top1": np.stack([one["top1"] for one in control]),
        "zero_image": np.zeros(num, dtype=np.bool_), "zero_pixels": np.zeros(num, dtype=np.float32),
    }  # fmt: skip


def _filmed(run: FullSize, generation: int, name: str) -> dict[str, Any]:
    """The five best classes of every frame; now and then the best two change places."""
    shown = _shown(run.clips, "n01440764/ILSVRC2012_val_{:08d}.JPEG")
    arrays = _classified(shown, generation, -0.6, PERTURBATIONS.index(name))
    frames = FRAMES.get(name, _FRAMES)
    top5 = np.repeat(arrays["top5"][:, None], frames, axis=1)  # [V, T, 5]
    rng = np.random.default_rng([5, generation, PERTURBATIONS.index(name)])
    swapped = rng.random(top5.shape[:2]) < 0.05 / (1 + 0.3 * generation)
    top5[swapped] = top5[swapped][:, [1, 0, 2, 3, 4]]
    return {
        "ids": shown["ids"], "labels": shown["labels"], "top1": top5[..., 0], "top5": top5,
        "num_classes": arrays["num_classes"], "side": np.array(224, dtype=np.int32),
        "provenance": np.array("device-memory"),
    }  # fmt: skip


def _write_labels(folder: RunFolder, run: FullSize, config: Config) -> None:
    num = run.pool // SHARDS
    shares = np.arange(1, 1001) ** -0.5
    for name in run.names[1:]:
        for shard in range(SHARDS):
            rng = np.random.default_rng([shard, int(name)])
            columns = {
                "key": pa.array([f"web-{shard:06d}/{row:08d}" for row in range(num)]),
                "label": rng.choice(1000, num, p=shares / shares.sum()).astype(np.int32),
                "confidence": 1 - rng.random(num, np.float32) ** 2 * np.float32(0.999),
            }
            write_parquet(label_path(folder.labels(name), shard), pa.table(columns), "synthetic", num_classes=1000)
        paths = [label_path(folder.labels(name), shard) for shard in range(SHARDS)]
        done = select(paths, folder.selection(name), config.select, num_classes=1000, seed=0, made_by="synthetic")
        write_json(folder.label_record(name), {
            "label_seconds": 3e4, "select_seconds": 8.0, "images": done.images, "kept": done.kept,
            "copies": done.copies, "unreadable": 0, "empty_classes": [],
        })  # fmt: skip


def _curves(run: FullSize) -> Iterator[str]:
    for name in run.names:
        rng = np.random.default_rng(int(name))
        for step in range(500, 220_001, 500):
            loss = 6.9 * np.exp(-step / 4e4) + 1.4 + rng.normal(0, 0.05)
            line = {
                "generation": name, "step": step, "loss": 2 * loss, "loss_labelled": loss,
                "lr": 0.128 * 0.97 ** (step / 1500), "loss_unlabelled": None if name == "0" else loss + 0.3,
                "images_per_second": 2000 + rng.normal(0, 50),
                "accuracy_labelled": 0.78 * (1 - np.exp(-step / 3e4)),
            }  # fmt: skip
            yield json.dumps(line) + "\n"


def measure_report(folder: RunFolder) -> dict[str, float]:
    """Seconds and peak memory of `nsbench report` in a process of its own, and the page's size."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "nsbench", "report", str(folder.root)], check=True, stdout=subprocess.DEVNULL)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": took,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gb": after.ru_maxrss / 2**20,
        "page_mb": folder.report.stat().st_size / 1e6,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--clips", type=int, default=CLIPS, help="50,000 is every released clip")
    options = parser.parse_args()
    size = FullSize(generations=options.generations, clips=options.clips)
    there = RunFolder(options.folder)
    print(measure_report(there if there.run_json.is_file() else write_full_size_run(options.folder, size)))
