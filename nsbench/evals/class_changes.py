"""The classes that lost most and won most between two models: what a mean over all classes hides.

A selection among many classes, so each gets an exact McNemar test with Holm's correction over all of them, and an
interval of the level that Bonferroni's correction asks for: chance alone makes some class lose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import Records
from nsbench.evals.paired import Panel, Reference
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.intervals import holm, mcnemar_p_value, paired_difference_interval, wilson_interval
from nsbench.results import Row
from nsbench.runfolder import is_generation

METRIC = "class_top1"

MOST = 10
"""Classes on either side."""

_CELL = "val"
_Hits = npt.NDArray[np.bool_]


class Changes(NamedTuple):
    """What became of every class between two models."""

    delta: npt.NDArray[np.float64]
    """[C] accuracy less the reference's."""
    p_value: npt.NDArray[np.float64]
    """[C] exact McNemar, Holm over all C; 1 where no image tells the two apart."""

    def chosen(self) -> npt.NDArray[np.int64]:
        """The classes that lost most, then those that won most; of equals the surer, then the first."""
        classes = np.arange(len(self.delta))
        order = np.lexsort((classes, self.p_value, self.delta))
        back = np.lexsort((classes, self.p_value, -self.delta))
        lost = [k for k in order[:MOST] if self.delta[k] < 0]
        won = [k for k in back[:MOST] if self.delta[k] > 0]
        return np.array([*lost, *won], dtype=np.int64)


def changes(hits: _Hits, other: _Hits, labels: npt.NDArray[np.int64]) -> Changes:
    """Every class's change.

    Args:
        hits: bool [N], which images a model has right; `other` those of the reference.
        labels: [N], 0..C-1, each class at least once.
    """
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    delta = np.array([hits[m].mean() - other[m].mean() for m in members])
    p_values = np.array([mcnemar_p_value(hits[m], other[m]) for m in members])
    return Changes(delta, holm(np.where(np.isnan(p_values), 1.0, p_values)))


def class_rows(records: Records, config: EvalConfig, classes: Sequence[str]) -> list[Row]:
    """The classes that lost or won most: their difference, and the accuracy of both models.

    Of a run the last student against generation 0 and the control; of models each against the first.

    Args:
        records: of the clean images.
        classes: names by number; a number without a name stands for itself.
    """
    panel = Panel(records, (_CELL,), config.replicates)
    if not panel.generations:
        return []
    hits = {g: top1_correct(panel.array(g, "top1"), panel.array(g, "labels")) for g in panel.generations}
    shown, labels = np.unique(panel.array(panel.generations[0], "labels"), return_inverse=True)
    names = [classes[k] if k < len(classes) else str(k) for k in shown.tolist()]
    said = (
        f"a selection: of {len(names)} classes one of the {MOST} that lost or the {MOST} that won most; exact McNemar "
        f"with Holm's correction over all of them; the difference's interval has Bonferroni's level"
    )
    found: dict[tuple[str, str, str], Row] = {}
    for name, versus, other in _pairs(panel):
        change = changes(hits[name], hits[other], labels)
        for k in change.chosen():
            of_class, subset = labels == k, f"class:{names[k]}"
            for one in (other, name):
                found.setdefault((one, subset, ""), _accuracy(one, subset, hits[one][of_class], said))
            low, high = paired_difference_interval(
                hits[name][of_class], hits[other][of_class], level=1 - 0.05 / len(names)
            )
            found[name, subset, versus] = _row(
                name, subset, int(of_class.sum()), said, versus=versus, value=float(change.delta[k]), ci_low=low,
                ci_high=high, p_value=float(change.p_value[k]),
            )  # fmt: skip
    return list(found.values())


def _pairs(panel: Panel) -> Iterator[tuple[str, Reference, str]]:
    """(model, what it is compared with, its name)."""
    students = [name for name in panel.generations if name.isdigit()]
    for name in panel.generations:
        if not is_generation(name) or (students and name == max(students, key=int)):
            for versus, other in panel.references(name, panel.generations):
                if versus != "previous":
                    yield name, versus, other


def _accuracy(name: str, subset: str, hits: _Hits, said: str) -> Row:
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return _row(name, subset, len(hits), said, value=float(hits.mean()), ci_low=low, ci_high=high)


def _row(name: str, subset: str, n: int, said: str, **more: object) -> Row:
    fields = {"higher_is_better": True, "protocol": said, "n": n, **more}
    return Row(generation=name, eval="imagenet", subset=subset, metric=METRIC, **fields)  # type: ignore[arg-type]
