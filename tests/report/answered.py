"""Run folders with made-up answers, image by image: what pairing and the gate read. Tests alone use them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nsbench.configfile import load_config, to_toml
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.files import file_fingerprint, write_npz, write_text
from nsbench.measuring import Plan
from nsbench.runfolder import MODELS, SELF_TRAINING, RunFolder

CLASSES = 10
REPLICATES = 200
PROTOCOL = "toy val, {n} images, 32 px; fp32; batch 8"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What one model said of the images `ids`."""

    right: np.ndarray
    """bool [N]."""
    ids: np.ndarray
    protocol: str = PROTOCOL
    shown: str = "pixels"
    """Fingerprint of the images."""

    def arrays(self) -> dict[str, np.ndarray]:
        labels = np.array([int(name) % CLASSES for name in self.ids])
        top1 = np.where(self.right, labels, (labels + 1) % CLASSES)
        top5 = np.stack([top1, *((top1 + k) % CLASSES for k in range(2, 6))], axis=1)
        n = len(labels)
        return {
            "ids": self.ids, "labels": labels, "top1": top1, "top5": top5, "num_classes": np.array(CLASSES),
            "confidence": np.full(n, 0.8), "log_prob_true": np.where(self.right, -0.2, -2.0),
            "sum_squared_prob": np.full(n, 0.66),
        }  # fmt: skip


def answers(right: np.ndarray, first: int = 0, **more: str) -> Answers:
    """Answers to the images `first`, `first + 1`, ..."""
    return Answers(right=right, ids=np.array([f"{k:06d}" for k in range(first, first + len(right))]), **more)


def write_answered(root: Path, models: Mapping[str, Answers], evals: tuple[str, ...] = ("imagenet",)) -> RunFolder:
    """A finished run of models, each with the same answers in all `evals`."""
    folder = RunFolder(root)
    plans = {name: _plan(one, evals) for name, one in models.items()}
    described = {
        name: {"label": name, "params": 1, "fingerprint": f"weights of {name} in {root.name}"} for name in models
    }
    folder.write_run(_record(MODELS, folder, list(models), described, plans))
    overrides = {"models": list(models), "eval.replicates": REPLICATES}
    write_text(folder.config, to_toml(load_config(None, kind=EvaluationConfig, overrides=overrides)))
    for name, one in models.items():
        _write_cells(folder, name, one, plans[name], described[name]["fingerprint"])
    return folder


def write_student(root: Path, generations: Mapping[str, Answers], seed: int = 0) -> RunFolder:
    """A finished self-training run whose generations were shown clean images alone."""
    folder = RunFolder(root)
    plans = {name: _plan(one, ("imagenet",)) for name, one in generations.items()}
    described = {name: {"label": "resnet18d", "params": 1} for name in generations}
    folder.write_run(_record(SELF_TRAINING, folder, list(generations), described, plans) | {"seed": seed})
    write_text(folder.config, to_toml(load_config(None, overrides={"eval.replicates": REPLICATES, "seed": seed})))
    for name, one in generations.items():
        write_text(folder.weights(name), f"weights of {name} in {root}")
        _write_cells(folder, name, one, plans[name], file_fingerprint(folder.weights(name)))
    return folder


def _plan(one: Answers, evals: tuple[str, ...]) -> Plan:
    protocol = one.protocol.format(n=len(one.ids))
    return Plan(protocols=dict.fromkeys(evals, protocol), cells={name: {_cell(name): one.shown} for name in evals})


def _cell(eval_name: str) -> str:
    return "val" if eval_name == "imagenet" else eval_name


def _record(kind: str, folder: RunFolder, order: list[str], models: object, plans: Mapping[str, Plan]) -> dict:
    return {
        "kind": kind, "status": "complete", "name": folder.root.name, "seed": 0, "order": order, "models": models,
        "plans": {name: dataclasses.asdict(plan) for name, plan in plans.items()}, "files": {},
        "hardware": {"device": "cpu"}, "classes": ["n01440764"], "dataset": "toy", "dataset_title": "toy val",
        "recipe": "noisy-student", "held_out": None, "versions": {"nsbench": "0.1.0"},
    }  # fmt: skip


def _write_cells(folder: RunFolder, name: str, one: Answers, plan: Plan, weights: str) -> None:
    for eval_name, cells in plan.cells.items():
        for cell in cells:
            made_by = {"made_by": np.array(plan.made_by(weights, eval_name, cell)), "seconds": np.array(0.5)}
            write_npz(folder.cell(name, eval_name, cell), one.arrays() | made_by)
