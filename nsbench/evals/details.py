"""Rows that no evaluation's headline is about, from answers that are there anyway: by confidence, by class, and against
what clean accuracy predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from nsbench.config import EvalConfig
from nsbench.evals.base import Arrays, Records
from nsbench.evals.class_changes import class_rows
from nsbench.evals.effective_robustness import effective_rows
from nsbench.evals.reliability import reliability_rows
from nsbench.results import Row

_CLEAN, _CELL = "imagenet", "val"


def detail_rows(
    answers: Mapping[str, Mapping[str, Mapping[str, Arrays]]],
    protocols: Mapping[str, Mapping[str, str]],
    config: EvalConfig,
    classes: Sequence[str],
    *,
    is_imagenet: bool,
) -> list[Row]:
    """Reliability diagrams, the classes that changed most, and effective robustness.

    Args:
        answers: arrays of each cell by model, eval and cell.
        protocols: of each eval, by model; put in front of what a row itself says.
        classes: names by number.
        is_imagenet: whether the images are ImageNet's own: of no others is effective robustness known.
    """
    by_eval: dict[str, Records] = {
        name: {model: evals[name] for model, evals in answers.items() if name in evals}
        for name in dict.fromkeys(name for evals in answers.values() for name in evals)
    }
    clean = by_eval.get(_CLEAN, {})
    rows = reliability_rows({model: cells[_CELL] for model, cells in clean.items() if _CELL in cells})
    rows += class_rows(clean, config, classes)
    rows += effective_rows(by_eval, config) if is_imagenet else []
    return [
        dataclasses.replace(row, protocol="; ".join(filter(None, (_general(protocols, row), row.protocol))))
        for row in rows
    ]


def _general(protocols: Mapping[str, Mapping[str, str]], row: Row) -> str:
    return protocols.get(row.generation, {}).get(row.eval, "")
