"""Made-up records of a run, in the shape that the pipeline writes. Numbers mean nothing; tests alone use them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nsbench.files import write_json, write_text
from nsbench.results import Row, to_frame, write_results
from nsbench.runfolder import MODELS, SELF_TRAINING, RunFolder

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
MODEL_EVALS = (
    "imagenet", "imagenet-a", "imagenet-c", "imagenet-p", "imagenet-r", "imagenet-v2", "imagenet-sketch", "objectnet",
    "imagenet-o", "imagenet-c-bar", "fgsm", "attacks",
)  # fmt: skip


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

    @property
    def names(self) -> list[str]:
        return self.generations

    @property
    def baseline(self) -> str:
        """What follows the names of CE and FR, and what they are relative to."""
        return ""

    def skill(self, name: str) -> float:
        return {"control": 0.45}.get(name, 0.0) if not name.isdigit() else self.gain * int(name) / 3

    def references(self, name: str) -> Iterator[tuple[str, str]]:
        if name != "0":
            yield "gen0", "0"
        if name != "control":
            if name != "0":
                yield "previous", str(int(name) - 1)
            if "control" in self.generations:
                yield "control", "control"

    def place(self, name: str) -> dict[str, str]:
        return {"generation": name, "model": "resnet18d"}

    def general(self, _: str, eval: str, n: int) -> str:
        """The protocol of an eval, the same for every generation."""
        return f"{self.title}, {n} images, 32 px, no resize; {eval}; fp32; batch 128{self.protocol}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticModels:
    """What a made-up run of plain models is like."""

    name: str = "models"
    names: tuple[str, ...] = ("resnet50", "vit_small", "alexnet")
    seed: int = 0
    evals: tuple[str, ...] = MODEL_EVALS
    title: str = "imagenet val"
    partial: str = ""
    held_out: bool | None = None
    status: str = "complete"
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    warned: tuple[tuple[str, str, str], ...] = ()
    """(model, eval, cell) that looks broken."""
    lacking: tuple[tuple[str, str, str], ...] = ()
    """(model, eval, cell) that failed."""
    baseline: str = ", AlexNet table, device-jpeg85"
    side: int = 224

    def skill(self, name: str) -> float:
        return 0.6 * self.names.index(name)

    def references(self, name: str) -> Iterator[tuple[str, str]]:
        if name != self.names[0]:
            yield "first", self.names[0]

    def place(self, name: str) -> dict[str, str]:
        return {"generation": "", "model": name}

    def general(self, name: str, eval: str, n: int) -> str:
        """Every second model wants larger pictures."""
        side = self.side + 32 * (self.names.index(name) % 2)
        return f"{self.title}, {n} images, {side} px; {eval}; fp32; batch 128"


class _Maker:
    """Rows with values, intervals and paired differences that hang together."""

    def __init__(self, run: Synthetic | SyntheticModels) -> None:
        self.run = run
        self.rng = np.random.default_rng([run.seed, len(run.name)])
        self.rows: list[Row] = []

    def add(self, eval: str, metric: str, base: float, effect: float, spread: float, **more: object) -> None:
        n = int(more.pop("n", 500))
        up = bool(more.pop("up", True))
        unit = str(more.get("unit", "fraction"))
        only, beside = more.pop("only", None), bool(more.pop("beside", False))
        said = str(more.pop("said", ""))
        names = list(self.run.names)
        values = {g: base + effect * self.run.skill(g) + self.rng.normal(0, spread / 3) for g in names}
        if unit == "fraction" and not beside:
            values = {g: min(max(v, 0.0), 1.0) for g, v in values.items()}
        if only == "100 at 0":
            values[names[0]] = 100.0
        common = {"eval": eval, "metric": metric, "n": n, "higher_is_better": up, **more}
        for g, value in values.items():
            common["protocol"] = "; ".join(filter(None, (self.run.general(g, eval, n), said)))
            low, high = value - 2 * spread, value + 2 * spread
            if unit == "fraction":
                low, high = max(low, 0.0), min(high, 1.0)
            if not beside:
                self.put(g, value, low, high, **common)
            for versus, other in self.run.references(g):
                delta = value if beside else value - values[other]
                p = math.erfc(abs(delta) / (spread * 0.9) / math.sqrt(2))
                self.put(g, delta, delta - 1.8 * spread, delta + 1.8 * spread, p_value=p, versus=versus, **common)

    def put(self, generation: str, value: float, low: float = math.nan, high: float = math.nan, **more: object) -> None:
        if math.isnan(value):
            low = high = math.nan
        fields = {
            "run": self.run.name, "seed": str(self.run.seed), **self.run.place(generation),
            "value": float(value), "ci_low": float(low), "ci_high": float(high),
        }  # fmt: skip
        self.rows.append(Row(**fields, **more))  # type: ignore[arg-type]


def make_rows(run: Synthetic | SyntheticModels) -> list[Row]:
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
    make.add("imagenet", "ECE_debiased", 0.05, -0.03, 0.01, up=False, said="15 bins")
    make.add("imagenet", "worst_tenth_top1", 0.6, 0.1, 0.03)
    _reliability(make)
    _class_changes(make)
    make.add("imagenet", "negative_flips", 0.03, 0.01, 0.004, up=False, beside=True, said="a share of all images")


def _reliability(make: _Maker) -> None:
    """Fifteen bins, the first of them empty."""
    for name in make.run.names:
        for k in range(15):
            n = 10 * k
            more = {"eval": "imagenet", "level": f"{k / 15:.3f}-{(k + 1) / 15:.3f}", "higher_is_better": True}
            more["protocol"] = f"{make.run.general(name, 'imagenet', 500)}; 15 bins of confidence"
            sure, right = (k + 0.5) / 15, max((k + 0.2) / 15, 0)
            none = math.nan if n == 0 else 0.0
            make.put(name, float(n), metric="reliability_images", n=500, unit="count", **more)
            make.put(name, right + none, right / 2, (1 + right) / 2, metric="reliability_accuracy", n=n, **more)
            make.put(name, sure + none, sure - 0.01, sure + 0.01, metric="reliability_confidence", n=n, **more)


def _class_changes(make: _Maker) -> None:
    """A selection, as of the last student against generation 0 and the control, or of models against the first."""
    names = [name for name in make.run.names if name.isdigit()] or list(make.run.names)
    shown: set[tuple[str, str]] = set()
    for versus, other in make.run.references(names[-1]):
        for k, delta in enumerate((-0.2, -0.02, 0.1) if versus != "previous" else ()):
            more = {"eval": "imagenet", "metric": "class_top1", "subset": f"class:{k}", "n": 50}
            more |= {"higher_is_better": True, "protocol": make.run.general(names[-1], "imagenet", 500)}
            for name in (other, names[-1]):
                if (name, more["subset"]) not in shown:
                    shown.add((name, str(more["subset"])))
                    make.put(name, 0.5, 0.4, 0.6, **more)
            make.put(names[-1], delta, delta - 0.1, delta + 0.1, p_value=0.5 - abs(delta) * 2, versus=versus, **more)


def _hard(make: _Maker) -> None:
    make.add("imagenet-a", "top1", 0.31, 0.19, 0.03, n=240)
    make.add("imagenet-a", "RMS", 0.42, -0.1, 0.03, n=240, up=False)
    make.add("imagenet-a", "AURRA", 0.4, 0.2, 0.04, n=240)
    _effective(make, "imagenet-a", n=240)
    beside = "complement" if isinstance(make.run, Synthetic) else "clean"
    make.add("imagenet-a", "top1", 0.95, 0.03, 0.008, n=700, subset=beside)


def _effective(make: _Maker, eval: str, **more: object) -> None:
    """Of models alone: the embedded data have no line."""
    if isinstance(make.run, SyntheticModels):
        make.add(eval, "effective_robustness", 0.01, 0.02, 0.006, **more)  # type: ignore[arg-type]


def _natural(make: _Maker) -> None:
    _effective(make, "imagenet-r")
    make.add("imagenet-r", "top1", 0.36, 0.05, 0.01, n=3000)
    make.add("imagenet-r", "top1", 0.8, 0.05, 0.01, n=900, subset="clean")


def _v2(make: _Maker) -> None:
    for subset in ("matched-frequency", "threshold-0.7", "top-images"):
        make.add("imagenet-v2", "top1", 0.63, 0.05, 0.01, subset=subset)


def _one_accuracy(name: str, metric: str = "top1") -> Callable[[_Maker], None]:
    return lambda make: make.add(name, metric, 0.27, 0.06, 0.01)


def _corruptions(make: _Maker) -> None:
    suffix, relative = make.run.baseline, _relative(make.run)
    percent = {"level": "mean", "up": False, "unit": "percent", "said": relative}
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
            "imagenet-c", f"CE{suffix}", math.nan if nan else 100, -35 * worse, 6, subset=name,
            only="" if nan else "100 at 0", **percent,
        )  # fmt: skip
        make.add("imagenet-c", f"relative_CE{suffix}", 110, -30, 6, subset=name, **percent)
    for level in range(1, 6):
        make.add("imagenet-c", "error", 0.1 + 0.08 * level, -0.12, 0.01, level=str(level), up=False)
        make.add("imagenet-c", "ECE", 0.02 * level, -0.01, 0.01, level=str(level), up=False)
    make.add("imagenet-c", "error", 0.34, -0.12, 0.01, level="mean", up=False)
    make.add("imagenet-c", "clean_error", 0.12, -0.05, 0.01, up=False)
    nan = isinstance(make.run, Synthetic)
    for metric in ("mCE", "mCE without brightness and contrast", "relative_mCE"):
        make.add("imagenet-c", f"{metric}{suffix}", math.nan if nan else 80, -30, 4, **percent)
    make.add(
        "imagenet-c", "error_where_both_right_when_clean", -0.02, 0.01, 0.01, level="mean", up=False, beside=True,
    )  # fmt: skip


def _relative(run: Synthetic | SyntheticModels) -> str:
    if isinstance(run, Synthetic):
        return "errors relative to generation 0's; a dash where it has fewer than 30"
    return "errors relative to AlexNet's on the released JPEGs (other pixels than these)"


def _c_bar(make: _Maker) -> None:
    for name in ("blue_noise_sample", "caustic_refraction"):
        for level in range(1, 6):
            make.add(
                "imagenet-c-bar", "error", 0.2 + 0.05 * level, -0.05, 0.01, subset=name, level=str(level), up=False
            )
    make.add("imagenet-c-bar", "error", 0.4, -0.05, 0.01, level="mean", up=False)


def _perturbations(make: _Maker) -> None:
    for k, name in enumerate((*PERTURBATIONS, "all")):
        make.add("imagenet-p", "flip_probability", 0.03 + 0.006 * k, -0.015, 0.002, n=50, subset=name, up=False)
        rate = ("mFR" if name == "all" else "FR") + make.run.baseline
        make.add("imagenet-p", rate, 100, -38, 6, n=50, subset=name, up=False, unit="percent", only="100 at 0",
                 said=_relative(make.run))  # fmt: skip
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
        make.put(str(k), 150, metric="capped", unit="count", **count)
        make.put(str(k), 900, metric="duplicates", unit="count", **count)
        for label in make.run.classes:
            num = int(rng.integers(200, 500))
            for metric, value in (
                ("predicted", num),
                ("kept_images", min(num - 20, 380)),
                ("copies", 380),
                ("capped", 15),
            ):
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
    "imagenet-r": _natural,
    "imagenet-v2": _v2,
    "imagenet-sketch": _one_accuracy("imagenet-sketch"),
    "objectnet": _one_accuracy("objectnet"),
    "imagenet-o": _one_accuracy("imagenet-o", "AUPR"),
    "imagenet-c-bar": _c_bar,
    "new-suite": _one_accuracy("new-suite", "strange_metric"),
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
        maker.put(g, 2_797_610.0, subset="model", metric="parameters", unit="count", **put)
    maker.put("all", 523.0, subset="total", metric="seconds", unit="seconds", eval="cost", n=1, higher_is_better=False)
    return maker.rows


def write_run(root: Path, run: Synthetic) -> RunFolder:
    """A run folder with all its records."""
    folder = RunFolder(root)
    write_results(folder.results, to_frame(make_rows(run)))
    write_results(folder.costs, to_frame(make_costs(run)))
    folder.write_run(
        {
            "kind": SELF_TRAINING,
            "status": run.status, "name": run.name, "recipe": run.recipe, "preset": run.preset, "seed": run.seed,
            "generations": run.students, "dataset": run.dataset, "dataset_title": run.title, "held_out": True,
            "embedded": run.embedded, "argv": ["nsbench", "train-and-eval", "mnist5k", "--seed", str(run.seed)],
            "versions": {"nsbench": "0.1.0", "python": "3.11.9", "torch": "2.11.0"}, "git": "56d7857",
            "hardware": {"device": "cpu", "threads": 2, "machine": "x86_64"},
            "data_fingerprints": {"labelled": "a" * 16, "val": "b" * 16},
            "models": {g: {"label": "resnet18d", "params": 2_797_610} for g in run.generations},
            "order": list(run.generations),
            "plans": {g: _plan(run, g) for g in run.generations},
        }
    )  # fmt: skip
    write_text(folder.config, f'name = "{run.preset}"\nseed = {run.seed}\n\n[train]\nsteps = 900\n')
    write_text(folder.metrics, "".join(_curve_lines(run)))
    if run.pictures:
        _write_samples(folder, run)
    return folder


def _plan(run: Synthetic | SyntheticModels, name: str) -> dict[str, object]:
    """Protocols by eval, and the fingerprint of each cell."""
    evals = [one for one in run.evals if one != "pseudo-labels"]
    cells = {one: dict.fromkeys(_CELLS.get(one, ("val",)), "a" * 16) for one in evals}
    return {"protocols": {one: run.general(name, one, 500) for one in evals}, "cells": cells}


_CELLS = {"imagenet-c": tuple(f"{name}-{level}" for name in CORRUPTIONS for level in range(1, 6))}


def write_models(root: Path, run: SyntheticModels) -> RunFolder:
    """A run folder of plain models with all its records."""
    folder = RunFolder(root)
    rows = [row for row in make_rows(run) if not _is_lacking(run, row)] + list(_warnings(run))
    write_results(folder.results, to_frame(rows))
    maker = _Maker(run)
    for name in run.names:
        put = {"eval": "cost", "n": 1, "higher_is_better": False, "protocol": "cpu", "unit": "seconds"}
        maker.put(name, 44.0, subset="evaluate imagenet-c", metric="seconds", **put)
    write_results(folder.costs, to_frame(maker.rows))
    folder.write_run(
        {
            "kind": MODELS, "status": run.status, "name": run.name, "seed": run.seed, "classes": ["n01440764"],
            "dataset": run.title, "dataset_title": run.title, "held_out": run.held_out, "embedded": False,
            "partial": run.partial, "skipped": dict(run.skipped), "argv": ["nsbench", "eval", *run.names],
            "versions": {"nsbench": "0.1.0"}, "hardware": {"device": "cpu"},
            "models": {
                name: {"label": name, "params": 25_557_032, "fingerprint": "c" * 16, "notes": list(run.notes)}
                for name in run.names
            },
            "order": list(run.names),
            "plans": {name: _plan(run, name) for name in run.names},
        }
    )  # fmt: skip
    write_text(folder.config, "models = []\n")
    for name in run.names:
        for one, cells in _plan(run, name)["cells"].items():  # type: ignore[attr-defined]
            for cell in cells:
                if (name, one, cell) not in run.lacking:
                    write_text(folder.cell(name, one, cell), "")
    return folder


def _is_lacking(run: SyntheticModels, row: Row) -> bool:
    """Whether a row needs a cell that failed; means need all."""
    cells = [cell for name, one, cell in run.lacking if (name, one) == (row.model, row.eval)]
    return any(row.subset in ("all", cell.rpartition("-")[0]) for cell in cells)


def _warnings(run: SyntheticModels) -> Iterator[Row]:
    for model, one, cell in run.warned:
        protocol = f"{run.general(model, one, 500)}; all of 500 images get class 3"
        yield Row(
            run=run.name, seed=str(run.seed), generation="", model=model, eval=one, subset=cell, metric="warnings",
            value=1.0, n=500, unit="count", higher_is_better=False, protocol=protocol,
        )  # fmt: skip


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
