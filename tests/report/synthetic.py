"""Made-up records of a run, in the shape that the pipeline writes. Numbers mean nothing; tests alone use them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nsbench.files import write_json, write_text
from nsbench.results import Row, to_frame, write_results
from nsbench.runfolder import RunFolder

CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
PERTURBATIONS = (
    "gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter", "brightness", "translate", "rotate", "tilt",
    "scale",
)  # fmt: skip
EPSILONS = ("0", "2", "4", "8", "16", "32", "64")
CLASSES = tuple(str(k) for k in range(10))
ALL_EVALS = ("imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "fgsm", "attacks", "pseudo-labels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic:
    """What a made-up run is like."""

    name: str = "synthetic"
    seed: int = 0
    recipe: str = "noisy-student"
    preset: str = "mnist5k"
    dataset: str = "mnist5k"
    title: str = "MNIST-5k val"
    students: int = 3
    control: bool = True
    evals: tuple[str, ...] = ALL_EVALS
    status: str = "complete"
    gain: float = 1.0
    classes: tuple[str, ...] = CLASSES
    protocol: str = ""
    embedded: bool = True
    pictures: bool = True

    @property
    def generations(self) -> list[str]:
        return [str(k) for k in range(self.students + 1)] + (["control"] if self.control else [])


class _Maker:
    """Rows with values, intervals and paired differences that hang together."""

    def __init__(self, run: Synthetic) -> None:
        self.run = run
        self.rng = np.random.default_rng([run.seed, len(run.recipe)])
        self.rows: list[Row] = []

    def skill(self, generation: str) -> float:
        return (
            {"control": 0.45}.get(generation, 0.0) if not generation.isdigit() else self.run.gain * int(generation) / 3
        )

    def add(self, eval: str, metric: str, base: float, effect: float, spread: float, **more: object) -> None:
        n = int(more.pop("n", 500))
        up = bool(more.pop("up", True))
        unit = str(more.get("unit", "fraction"))
        only = more.pop("only", None)
        protocol = f"{self.run.title}, {n} images, 32 px, no resize; {eval}; fp32; batch 128{self.run.protocol}"
        values = {g: base + effect * self.skill(g) + self.rng.normal(0, spread / 3) for g in self.run.generations}
        if unit == "fraction":
            values = {g: min(max(v, 0.0), 1.0) for g, v in values.items()}
        if only == "100 at 0":
            values["0"] = 100.0
        common = {"eval": eval, "metric": metric, "n": n, "higher_is_better": up, "protocol": protocol, **more}
        for g, value in values.items():
            low, high = value - 2 * spread, value + 2 * spread
            if unit == "fraction":
                low, high = max(low, 0.0), min(high, 1.0)
            self.put(g, value, low, high, **common)
            for versus, other in _references(g, self.run.generations):
                delta = value - values[other]
                p = math.erfc(abs(delta) / (spread * 0.9) / math.sqrt(2))
                self.put(g, delta, delta - 1.8 * spread, delta + 1.8 * spread, p_value=p, versus=versus, **common)

    def put(self, generation: str, value: float, low: float = math.nan, high: float = math.nan, **more: object) -> None:
        if math.isnan(value):
            low = high = math.nan
        fields = {
            "run": self.run.name, "seed": str(self.run.seed), "model": "resnet18d", "generation": generation,
            "value": float(value), "ci_low": float(low), "ci_high": float(high),
        }  # fmt: skip
        self.rows.append(Row(**fields, **more))  # type: ignore[arg-type]


def _references(name: str, generations: list[str]) -> Iterator[tuple[str, str]]:
    if name != "0":
        yield "gen0", "0"
    if name != "control":
        if name != "0":
            yield "previous", str(int(name) - 1)
        if "control" in generations:
            yield "control", "control"


def make_rows(run: Synthetic) -> list[Row]:
    """Every row of `results.csv`."""
    maker = _Maker(run)
    for name in run.evals:
        _MAKERS[name](maker)
    return maker.rows


def _clean(make: _Maker) -> None:
    make.add("imagenet", "top1", 0.885, 0.055, 0.012)
    make.add("imagenet", "top5", 0.985, 0.009, 0.004)
    make.add("imagenet", "ECE", 0.06, -0.03, 0.01, up=False)
    make.add("imagenet", "NLL", 0.42, -0.2, 0.04, up=False, unit="nats")
    make.add("imagenet", "Brier", 0.17, -0.06, 0.015, up=False)


def _hard(make: _Maker) -> None:
    make.add("imagenet-a", "top1", 0.31, 0.19, 0.03, n=240)
    make.add("imagenet-a", "RMS", 0.42, -0.1, 0.03, n=240, up=False)
    make.add("imagenet-a", "AURRA", 0.4, 0.2, 0.04, n=240)
    make.add("imagenet-a", "top1", 0.95, 0.03, 0.008, n=700, subset="complement")


def _corruptions(make: _Maker) -> None:
    for k, name in enumerate(CORRUPTIONS):
        worse = -1 if name in ("brightness", "pixelate") else 1
        for level in range(1, 6):
            base = 0.08 + 0.02 * (k % 5) + 0.07 * level * (0.6 + 0.1 * (k % 4))
            make.add(
                "imagenet-c", "error", base, -0.11 * worse * level / 4, 0.018, subset=name, level=str(level), up=False
            )
        make.add("imagenet-c", "error", 0.28 + 0.01 * k, -0.1 * worse, 0.012, subset=name, level="mean", up=False)
        nan = name == "brightness"
        make.add(
            "imagenet-c", "CE", math.nan if nan else 100, -35 * worse, 6, subset=name, level="mean", up=False,
            unit="percent", only="" if nan else "100 at 0",
        )  # fmt: skip
    for level in range(1, 6):
        make.add("imagenet-c", "error", 0.1 + 0.08 * level, -0.12, 0.01, level=str(level), up=False)
    make.add("imagenet-c", "error", 0.34, -0.12, 0.01, level="mean", up=False)
    make.add("imagenet-c", "mCE", math.nan, -30, 4, level="mean", up=False, unit="percent")


def _perturbations(make: _Maker) -> None:
    for k, name in enumerate((*PERTURBATIONS, "all")):
        make.add("imagenet-p", "flip_probability", 0.03 + 0.006 * k, -0.015, 0.002, n=50, subset=name, up=False)
        rate = "mFR" if name == "all" else "FR"
        make.add("imagenet-p", rate, 100, -38, 6, n=50, subset=name, up=False, unit="percent", only="100 at 0")
        make.add("imagenet-p", "T5D", 0.8 + 0.05 * k, -0.25, 0.04, n=50, subset=name, up=False, unit="ranks")


def _fgsm(make: _Maker) -> None:
    for k, level in enumerate(EPSILONS):
        make.add("fgsm", "top1", 0.9 * math.exp(-0.35 * k), 0.09, 0.015, level=level)
    make.add("fgsm", "top1", 0.35, 0.008, 0.012, level="mean")
    for k, level in enumerate(EPSILONS):
        make.add("fgsm", "random_sign_top1", 0.9 - 0.03 * k, 0.05, 0.012, level=level)
    make.add("fgsm", "zero_gradient_images", 0.01, -0.01, 0.003, up=False)
    make.add("fgsm", "zero_gradient_pixels", 0.12, 0.02, 0.01, up=False)


def _attacks(make: _Maker) -> None:
    make.add("attacks", "top1", 0.18, 0.06, 0.02, subset="pgd-10", level="8")


def _pseudo_labels(make: _Maker) -> None:
    rng = make.rng
    for k in range(1, make.run.students + 1):
        put = dict.fromkeys(("eval",), "pseudo-labels") | {"protocol": "pool, 4421 images; teacher un-noised"}
        for source, num, right in (
            ("all", 4421, 0.86),
            ("mnist", 2200, 0.9),
            ("load_digits", 1797, 0.7),
            ("out-of-domain", 300, math.nan),
        ):
            kept = 0.2 if math.isnan(right) else 0.8 + 0.04 * k
            count = {"n": num, "higher_is_better": True, "subset": source, **put}
            make.put(str(k), num, metric="images", unit="count", **count)
            make.put(str(k), kept, kept - 0.02, min(1, kept + 0.02), metric="kept", **count)
            for metric, more in (("accuracy", 0), ("kept_accuracy", 0.05)):
                value = right + more + 0.01 * k
                make.put(str(k), value, value - 0.02, value + 0.015, metric=metric, **count)
            make.put(str(k), 0.7 + 0.05 * k, 0.69 + 0.05 * k, 0.71 + 0.05 * k, metric="mean_confidence", **count)
        count = {"n": 4421, "higher_is_better": True, **put}
        make.put(str(k), 0.3, metric="threshold", **count)
        make.put(str(k), 3600, metric="unique", unit="count", **count)
        make.put(str(k), 900, metric="duplicates", unit="count", **count)
        for label in make.run.classes:
            num = int(rng.integers(200, 500))
            for metric, value in (("predicted", num), ("kept_images", min(num - 20, 380)), ("copies", 380)):
                make.put(str(k), value, metric=metric, subset=f"class:{label}", unit="count", **count)
        for b in range(20):
            value = int(4421 * (0.002 + 0.6 * (b == 19) + 0.02 * b / 20))
            level = f"{b / 20:.2f}-{(b + 1) / 20:.2f}"
            make.put(str(k), value, metric="confidence_histogram", level=level, unit="count", **count)
        if k > 1:
            make.put(str(k), 0.9 + 0.02 * k, 0.89 + 0.02 * k, 0.91 + 0.02 * k, metric="agreement", **count)


_MAKERS = {
    "imagenet": _clean,
    "imagenet-a": _hard,
    "imagenet-c": _corruptions,
    "imagenet-p": _perturbations,
    "fgsm": _fgsm,
    "attacks": _attacks,
    "pseudo-labels": _pseudo_labels,
}


def make_costs(run: Synthetic) -> list[Row]:
    maker = _Maker(run)
    for g in run.generations:
        put = {"eval": "cost", "n": 1, "higher_is_better": False, "protocol": "cpu"}
        maker.put(g, 61.2, subset="train", metric="seconds", unit="seconds", **put)
        maker.put(g, 2143.7, subset="train", metric="images_per_second", unit="images/s", **put)
        maker.put(g, 1.7e9, subset="train", metric="peak_memory_bytes", unit="bytes", **put)
        if g not in ("0", "control"):
            maker.put(g, 3.31, subset="label", metric="seconds", unit="seconds", **put)
            maker.put(g, 0.42, subset="select", metric="seconds", unit="seconds", **put)
        maker.put(g, 44.0, subset="evaluate imagenet-c", metric="seconds", unit="seconds", **put)
    maker.put("all", 523.0, subset="total", metric="seconds", unit="seconds", eval="cost", n=1, higher_is_better=False)
    return maker.rows


def write_run(root: Path, run: Synthetic) -> RunFolder:
    """A run folder with all its records."""
    folder = RunFolder(root)
    write_results(folder.results, to_frame(make_rows(run)))
    write_results(folder.costs, to_frame(make_costs(run)))
    folder.write_run(
        {
            "status": run.status, "name": run.name, "recipe": run.recipe, "preset": run.preset, "seed": run.seed,
            "generations": run.students, "dataset": run.dataset, "dataset_title": run.title, "held_out": True,
            "embedded": run.embedded, "argv": ["nsbench", "train-and-eval", "mnist5k", "--seed", str(run.seed)],
            "versions": {"nsbench": "0.1.0", "python": "3.11.9", "torch": "2.11.0"}, "git": "56d7857",
            "hardware": {"device": "cpu", "threads": 2, "machine": "x86_64"},
            "data_fingerprints": {"labelled": "a" * 16, "val": "b" * 16},
            "models": {g: {"label": "resnet18d", "params": 2_797_610} for g in run.generations},
        }
    )  # fmt: skip
    write_text(folder.config, f'name = "{run.preset}"\nseed = {run.seed}\n\n[train]\nsteps = 900\n')
    write_text(folder.metrics, "".join(_curve_lines(run)))
    if run.pictures:
        _write_samples(folder, run)
    return folder


def _curve_lines(run: Synthetic) -> Iterator[str]:
    rng = np.random.default_rng(run.seed)
    for g in run.generations:
        for step in range(10, 901, 10):
            loss = 2.3 * math.exp(-step / 200) + 0.1 + rng.normal(0, 0.02)
            line = {
                "generation": g, "step": step, "loss": 2 * loss, "loss_labelled": loss,
                "loss_unlabelled": None if g in ("0", "control") else loss + 0.3,
                "lr": 0.1 * (1 + math.cos(step / 900 * 3.14)) / 2,
                "images_per_second": 2000 + rng.normal(0, 50), "accuracy_labelled": 1 - math.exp(-step / 150),
            }  # fmt: skip
            yield json.dumps(line) + "\n"


def _write_samples(folder: RunFolder, run: Synthetic) -> None:
    folder.samples.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(run.seed)
    groups = []
    for group, title, count, size in (
        ("corruptions", "One digit under every corruption, severity 3", 15, (32, 32)),
        ("adversarial", "Clean and attacked, ε = 16/255", 4, (96, 32)),
        ("flips", "A perturbation sequence on which the prediction flips", 2, (320, 32)),
    ):
        items = []
        for k in range(count):
            pixels = rng.integers(0, 255, (8, 8 * size[0] // size[1])).astype(np.uint8)
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(folder.samples / f"{group}-{k}.png")
            subset = CORRUPTIONS[k] if group == "corruptions" else ""
            items.append(
                {
                    "file": f"{group}-{k}.png", "caption": subset.replace("_", " "), "truth": "3", "subset": subset,
                    "level": "3",
                    "predictions": {g: "3" if (k + i) % 3 else "8" for i, g in enumerate(run.generations)},
                }
            )  # fmt: skip
        groups.append({"group": group, "title": title, "items": items})
    write_json(folder.samples / "samples.json", groups)
