"""Other test images of ImageNet's classes: renditions, a second draw, sketches, everyday objects, and none of them.

ImageNet-R: Hendrycks et al. 2021 (arXiv:2006.16241). ImageNet-V2: Recht et al. 2019 (arXiv:1902.10811). Sketch: Wang et
al. 2019 (arXiv:1905.13549). ObjectNet: Barbu et al. 2019. ImageNet-O: Hendrycks et al. 2019 (arXiv:1907.07174).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.answers import classify
from nsbench.evals.base import Eval, EvalContext, Records, Sets, arithmetic, describe
from nsbench.evals.imagenet_a import natural_eval
from nsbench.evals.paired import Panel, Quantity
from nsbench.metrics.accuracy import top1_correct, topk_correct
from nsbench.metrics.detection import area_under_precision_recall
from nsbench.results import Row

V2_SUBSETS = ("matched-frequency", "threshold-0.7", "top-images")
_Hits = Callable[[Panel, str], npt.NDArray[np.bool_]]


def _top1(panel: Panel, model: str) -> npt.NDArray[np.bool_]:
    return top1_correct(panel.array(model, "top1"), panel.array(model, "labels"))


def _top5(panel: Panel, model: str) -> npt.NDArray[np.bool_]:
    return topk_correct(panel.array(model, "top5"), panel.array(model, "labels"))


def _any_allowed(array: str) -> _Hits:
    """ObjectNet: right is an answer among the classes that go with what is shown."""

    def hits(panel: Panel, model: str) -> npt.NDArray[np.bool_]:
        answers = panel.array(model, array).reshape(len(panel.ids), -1)  # [N, k]
        allowed = panel.array(model, "allowed")  # [N, m], filled up with -1
        return np.asarray((answers[:, :, None] == allowed[:, None, :]).any(axis=(1, 2)))

    return hits


def _accuracy_eval(name: str, title: str, subsets: dict[str, str], metrics: dict[str, _Hits], rule: str = "") -> Eval:
    """Accuracy on one or several sets, each a cell.

    Args:
        subsets: the `subset` of rows by the name of the set.
        metrics: which images are right, by metric.
    """

    def cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
        return tuple(cell for cell in subsets if cell in sets)

    def predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
        images = context.sets[cell]
        arrays = classify(context, images)
        allowed = getattr(images, "allowed", None)
        return arrays if allowed is None else arrays | {"allowed": _allowed_rows(images, arrays["ids"])}

    def measure(records: Records, config: EvalConfig) -> list[Row]:
        rows = []
        for cell, subset in subsets.items():
            panel = Panel(records, (cell,), config.replicates)
            for metric, hits in metrics.items():
                right = {g: hits(panel, g) for g in panel.generations}
                quantity = Quantity(eval=name, metric=metric, subset=subset, higher_is_better=True)
                rows += panel.proportion(quantity, right)
        return rows

    def protocol(config: EvalConfig, sets: Sets) -> str:
        shown = "; ".join(describe(sets[cell]) for cell in cells(config, sets))
        return "; ".join(filter(None, (shown, rule, arithmetic(config))))

    return Eval(name=name, title=title, cells=cells, shown=_shown, predict=predict, measure=measure, protocol=protocol)


def _allowed_rows(images: Any, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.int32]:
    """Allowed classes [N, m] of each image, filled up with -1."""
    width = max(map(len, images.allowed))
    padded = np.array([[*a, *[-1] * (width - len(a))] for a in images.allowed], dtype=np.int32)
    groups = dict(zip(images.ids.tolist(), images.groups.tolist(), strict=True))
    return np.asarray(padded[[groups[str(key)] for key in ids]])


def _shown(sets: Sets, cell: str) -> str:
    fingerprint: str = sets[cell].fingerprint
    return fingerprint


_NONE, _KNOWN = "imagenet-o", "imagenet-o-clean"


def _o_cells(_: EvalConfig, sets: Sets) -> tuple[str, ...]:
    return (_NONE, _KNOWN) if _NONE in sets and _KNOWN in sets else ()


def _o_predict(context: EvalContext, cell: str) -> dict[str, npt.NDArray[Any]]:
    return classify(context, context.sets[cell])


def _o_measure(records: Records, config: EvalConfig) -> list[Row]:
    """AUPR of "shows none of the classes", scored by minus the largest probability; its images and val's together."""
    models = [g for g, cells in records.items() if _NONE in cells and _KNOWN in cells]
    joined = {g: {"all": _joined(records[g][_NONE], records[g][_KNOWN])} for g in models}
    panel = Panel(joined, ("all",), config.replicates)
    area = {
        g: panel.resampled(area_under_precision_recall, panel.array(g, "score"), panel.array(g, "foreign"))
        for g in panel.generations
    }
    said = "score is minus the largest probability over the set's classes; positives are the images of none"
    return panel.rows(Quantity(eval="imagenet-o", metric="AUPR", higher_is_better=True, protocol=said), area)


def _joined(foreign: Any, known: Any) -> dict[str, npt.NDArray[Any]]:
    parts: Sequence[Any] = (foreign, known)
    return {
        "ids": np.concatenate([part["ids"] for part in parts]),
        "score": -np.concatenate([part["confidence"] for part in parts]).astype(np.float64),
        "foreign": np.repeat([True, False], [len(part["ids"]) for part in parts]),
    }


def _o_protocol(config: EvalConfig, sets: Sets) -> str:
    subset = sets[_NONE].subset or ()
    shown = f"{describe(sets[_NONE])} beside {describe(sets[_KNOWN])}"
    return f"{shown}; probabilities over {len(subset)} classes; {arithmetic(config)}"


IMAGENET_R = natural_eval("imagenet-r", "Renditions", ("imagenet-r",), {"imagenet-r-clean": "clean"})
IMAGENET_V2 = _accuracy_eval(
    "imagenet-v2",
    "A second draw of test images",
    {f"imagenet-v2-{subset}": subset for subset in V2_SUBSETS},
    {"top1": _top1, "top5": _top5},
)
IMAGENET_SKETCH = _accuracy_eval(
    "imagenet-sketch", "Sketches", {"imagenet-sketch": "all"}, {"top1": _top1, "top5": _top5}
)
OBJECTNET = _accuracy_eval(
    "objectnet",
    "Everyday objects from odd sides",
    {"objectnet": "all"},
    {"top1": _any_allowed("top1"), "top5": _any_allowed("top5")},
    "right is any class that goes with the object",
)
IMAGENET_O = Eval(
    name="imagenet-o",
    title="Images of none of the classes",
    cells=_o_cells,
    shown=_shown,
    predict=_o_predict,
    measure=_o_measure,
    protocol=_o_protocol,
)
