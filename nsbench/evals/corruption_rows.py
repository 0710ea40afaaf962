"""What answers to corrupted images measure: errors, CE and its means by a named baseline, and calibration.

Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1. `mCE` alone is AlexNet's table on the released 224 px
images. Anything else says in its name what it is: other pixels, another size, another set of corruptions; relative to
generation 0 where there is no AlexNet. The unnormalised means stand beside it under names of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt

from nsbench.config import EvalConfig
from nsbench.evals.base import Records
from nsbench.evals.corruption_baselines import Answers, baselines, origin_of
from nsbench.evals.diagnostics import where_both_right
from nsbench.evals.paired import Estimate, Floats, Panel, Quantity
from nsbench.metrics.accuracy import top1_correct
from nsbench.metrics.corruption import mean_ce, unnormalised_ce
from nsbench.metrics.reference import CORRUPTION_SIZES, CORRUPTIONS, EXTRA_CORRUPTIONS
from nsbench.results import Row

CLEAN = "clean"
"""The cell of the images that were corrupted, as they were."""

AUGMENTED = ("brightness", "contrast")
"""The corruptions that RandAugment's operations resemble; of the 15, no other is among its sixteen."""

_SEVERITIES = ("1", "2", "3", "4", "5")
_error = functools.partial(Quantity, eval="imagenet-c", higher_is_better=False)


def measure_corruptions(records: Records, config: EvalConfig) -> list[Row]:
    """Rows of ImageNet-C: of a model that answered all of the 15 corruptions everything, of another the errors."""
    panel = Panel(records, _cells_of(CORRUPTIONS), config.replicates)
    if not panel.generations:
        return _singly(records, config)
    origin = origin_of(panel)
    answers = _answers(panel, CORRUPTIONS)
    rows = _error_rows(answers, CORRUPTIONS) + _mean_rows(answers) + _calibration_rows(panel)
    rows += _extra_rows(records, config)
    beside = _beside_clean(answers)
    if beside is not None:
        rows += _clean_rows(beside)
    if origin is None or origin[1] in CORRUPTION_SIZES:  # else nobody's benchmark: nothing that is called CE or mCE
        rows += _normalised_rows(answers, origin)
        rows += _relative_rows(beside, origin) if beside is not None else []
    return rows + _singly(records, config, {(row.generation, row.subset) for row in rows})


def _cells_of(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}-{severity}" for name in names for severity in _SEVERITIES)


def _answers(panel: Panel, names: tuple[str, ...]) -> Answers:
    wrong = {g: _wrong(panel, g, names) for g in panel.generations}
    return Answers(panel=panel, wrong=wrong, errors={g: _errors(panel, w) for g, w in wrong.items()})


def _beside_clean(answers: Answers) -> Answers | None:
    """The same with the clean images, over the images that were answered clean too; None without such."""
    records = {g: answers.panel.records[g] for g in answers.panel.generations}
    panel = Panel(records, (CLEAN, *answers.panel.cells), answers.panel.replicates)
    if panel.generations != answers.panel.generations:
        return None
    same = len(panel.ids) == len(answers.panel.ids)
    joint = answers if same else _answers(panel, CORRUPTIONS)
    clean = {g: ~top1_correct(panel.array(g, "top1"), panel.array(g, "labels")) for g in panel.generations}
    return Answers(panel=panel, wrong=joint.wrong, errors=joint.errors, clean_wrong=clean)


def _wrong(panel: Panel, model: str, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """[N, C, 5]."""
    columns = ((panel.array(model, name, cell) for name in ("top1", "labels")) for cell in _cells_of(names))
    return np.stack([~top1_correct(*column) for column in columns], axis=1).reshape(-1, len(names), 5)


def _errors(panel: Panel, wrong: npt.NDArray[np.bool_]) -> Floats:
    """[1 + B, C, 5] from [N, C, 5]."""
    return panel.means(wrong.reshape(len(wrong), -1)).reshape(-1, *wrong.shape[1:])


def _error_rows(answers: Answers, names: tuple[str, ...]) -> list[Row]:
    rows = []
    for c, name in enumerate(names):
        for s, level in enumerate(_SEVERITIES):
            cell = {g: Estimate(e[:, c, s], answers.wrong[g][:, c, s]) for g, e in answers.errors.items()}
            rows += answers.panel.rows(_error(metric="error", subset=name, level=level), cell)
        mean = {g: Estimate(unnormalised_ce(e[:, c])) for g, e in answers.errors.items()}
        rows += answers.panel.rows(_error(metric="error", subset=name, level="mean"), mean)
    return rows


def _mean_rows(answers: Answers) -> list[Row]:
    """Means over the 15, of each severity and of all."""
    panel, errors, rows = answers.panel, answers.errors, []
    for s, level in enumerate(_SEVERITIES):
        of_severity = {g: Estimate(e[:, :, s].mean(axis=1)) for g, e in errors.items()}
        rows += panel.rows(_error(metric="error", level=level), of_severity)
    over_all = {g: Estimate(e.mean(axis=(1, 2))) for g, e in errors.items()}
    return rows + panel.rows(_error(metric="error", level="mean"), over_all)


def _calibration_rows(panel: Panel) -> list[Row]:
    """ECE of each severity, the answers to all 15 corruptions pooled."""
    if any("confidence" not in panel.records[g][cell] for g in panel.generations for cell in panel.cells):
        return []
    confidences, hits = {}, {}
    for level in _SEVERITIES:
        for g in panel.generations:
            cells = [f"{name}-{level}" for name in CORRUPTIONS]
            top1, labels, confidence = (
                np.stack([panel.array(g, name, cell) for cell in cells], axis=1)
                for name in ("top1", "labels", "confidence")
            )
            confidences[level, g], hits[level, g] = confidence, top1 == labels
    found = panel.calibration_errors(confidences, hits)
    rows = []
    for level in _SEVERITIES:
        estimates = {g: found[level, g] for g in panel.generations}
        rows += panel.rows(_error(metric="ECE", level=level, protocol="15 bins, 15 corruptions pooled"), estimates)
    return rows


def _extra_rows(records: Records, config: EvalConfig) -> list[Row]:
    """The four that are no part of mCE, and the unnormalised mean over all 19."""
    panel = Panel(records, _cells_of((*CORRUPTIONS, *EXTRA_CORRUPTIONS)), config.replicates)
    if not panel.generations:
        return []
    answers = _answers(panel, (*CORRUPTIONS, *EXTRA_CORRUPTIONS))
    first = len(CORRUPTIONS)
    extra = Answers(
        panel=panel,
        wrong={g: w[:, first:] for g, w in answers.wrong.items()},
        errors={g: e[:, first:] for g, e in answers.errors.items()},
    )
    means = {g: Estimate(e.mean(axis=(1, 2))) for g, e in answers.errors.items()}
    said = "unnormalised mean over 19 corruptions, as hendrycks/robustness test.py prints it: no mCE"
    return [
        *_error_rows(extra, EXTRA_CORRUPTIONS),
        *panel.rows(_error(metric="error_19", level="mean", protocol=said), means),
    ]


def _singly(records: Records, config: EvalConfig, known: Collection[tuple[str, str]] = ()) -> list[Row]:
    """Errors of each corruption that is complete: no mean over those that happen to be there.

    Args:
        known: models and corruptions that have rows already.
    """
    rows = []
    for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS):
        cells = _cells_of((name,))
        complete = [g for g, there in records.items() if all(cell in there for cell in cells)]
        if any((g, name) not in known for g in complete):
            answers = _answers(Panel(records, cells, config.replicates), (name,))
            found = _error_rows(answers, (name,))
            rows += [row for row in found if (row.generation, name) not in known]
    return rows


def _clean_rows(beside: Answers) -> list[Row]:
    """Clean error, and each model's error minus its reference's on images that both have right when clean."""
    both = _error(metric="error_where_both_right_when_clean", level="mean", protocol="difference on these images")
    right = {g: ~wrong for g, wrong in beside.clean_wrong.items()}
    errors = {g: wrong.mean(axis=(1, 2)) for g, wrong in beside.wrong.items()}
    rows = beside.panel.proportion(_error(metric="clean_error"), beside.clean_wrong)
    return rows + where_both_right(beside.panel, both, right, errors)


def _normalised_rows(answers: Answers, origin: tuple[str, int] | None) -> list[Row]:
    """CE of each corruption, mCE, and mCE without what training resembles."""
    rows = []
    others = [c for c, name in enumerate(CORRUPTIONS) if name not in AUGMENTED]
    for baseline in baselines(answers, origin):
        percent = functools.partial(_error, level="mean", unit="percent", protocol=baseline.protocol)
        ces = {g: baseline.ces(answers, g) for g in answers.errors}
        rows += _each_and_mean(answers.panel, percent, ("CE", "mCE"), baseline.suffix, ces)
        metric = f"mCE without {' and '.join(AUGMENTED)}{baseline.suffix}"
        fewer = {g: Estimate(mean_ce(ce[:, others])) for g, ce in ces.items()}
        rows += answers.panel.rows(percent(metric=metric), fewer)
    return rows


def _relative_rows(beside: Answers, origin: tuple[str, int] | None) -> list[Row]:
    """Relative CE of each corruption and relative mCE."""
    rows = []
    for baseline in baselines(beside, origin):
        protocol = f"{baseline.protocol}, each less the clean error"
        percent = functools.partial(_error, level="mean", unit="percent", protocol=protocol)
        ces = {g: baseline.relative_ces(beside, g) for g in beside.errors}
        rows += _each_and_mean(beside.panel, percent, ("relative_CE", "relative_mCE"), baseline.suffix, ces)
    return rows


def _each_and_mean(
    panel: Panel, quantity: Callable[..., Quantity], names: tuple[str, str], suffix: str, ces: Mapping[str, Floats]
) -> list[Row]:
    """Rows of CEs [1 + B, 15] by model, called `names` (of one corruption, of their mean) and `suffix`."""
    (each, mean), rows = names, []
    for c, name in enumerate(CORRUPTIONS):
        column = {g: Estimate(ce[:, c]) for g, ce in ces.items()}
        rows += panel.rows(quantity(subset=name, metric=f"{each}{suffix}"), column)
    return rows + panel.rows(quantity(metric=f"{mean}{suffix}"), {g: Estimate(mean_ce(ce)) for g, ce in ces.items()})
