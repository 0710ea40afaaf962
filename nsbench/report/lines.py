"""What stands side by side on a page: generations of a run, or any models; how each is called, drawn and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from nsbench.report.drawing.palette import MAX_MODELS
from nsbench.report.words import clean, shortened

LABEL_LENGTH = 40
"""Characters of a model's name in tables and legends; the whole name is in the download."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
    """The columns of a table, the lines of a chart."""

    noun: str
    """What one of them is called: `generation`, `model`."""
    names: tuple[str, ...]
    """In page order; the values of the column `line` of `Rows.frame`."""
    labels: Mapping[str, str]
    """Short names, no two alike."""
    roles: Mapping[str, str]
    """What picks colour, marker and dash."""
    main: str
    """The one that the page is about: a run's last student, or the first model."""
    versus: Mapping[str, str]
    """What differences are against, in a sentence."""
    short_versus: Mapping[str, str]
    """The same beside a number."""
    compared: str
    """Whose differences stand first, and against what."""
    verb: str
    """`got` better, or `is` better."""
    changed: str
    """`had changed`, or `differed`."""
    own_protocols: bool
    """Whether each is measured with a preprocessing of its own, so that other words in its protocol are no obstacle."""

    @property
    def is_drawn(self) -> bool:
        """Whether there are few enough to be told apart in a chart."""
        return self.noun == "generation" or len(self.names) <= MAX_MODELS

    def label(self, name: str) -> str:
        return self.labels.get(name) or clean(name)

    def role(self, name: str) -> str:
        return self.roles.get(name, name)

    def is_compared(self, name: str, versus: str) -> bool:
        """Whether a difference is one of those that stand first."""
        return self.noun == "model" or (name == self.main and versus != "previous")

    def subject(self, name: str) -> str:
        """The name at the start of a sentence."""
        return f"Generation {name}" if self.noun == "generation" and name.isdigit() else self.label(name)

    def against(self, versus: str) -> str:
        """`vs gen 0`."""
        return self.short_versus.get(versus, f"vs {clean(versus)}")


def generation_label(generation: str) -> str:
    return f"gen {generation}" if generation.isdigit() else clean(generation)


def generation_lines(names: Iterable[str]) -> Lines:
    """Generations by number, then the control."""
    known = list(dict.fromkeys(names))
    students = sorted((name for name in known if name.isdigit()), key=int)
    ordered = (*students, *(name for name in known if not name.isdigit()))
    main = students[-1] if students else (ordered[0] if ordered else "0")
    return Lines(
        noun="generation",
        names=ordered,
        labels={name: generation_label(name) for name in ordered} | {"all": "whole run"},
        roles={},
        main=main,
        versus={"gen0": "generation 0", "previous": "the generation before", "control": "the control"},
        short_versus={"gen0": "vs gen 0", "previous": "vs previous", "control": "vs control"},
        compared=f"{generation_label(main)} against generation 0 and the control",
        verb="got",
        changed="had changed",
        own_protocols=False,
    )


def model_lines(names: Iterable[str]) -> Lines:
    """Models in the order given; the first is what the others are compared with."""
    ordered = tuple(dict.fromkeys(names))
    labels: dict[str, str] = {}
    for name in ordered:
        labels[name] = unlike(shortened(name, LABEL_LENGTH) or "(no name)", labels.values())
    first = labels[ordered[0]] if ordered else ""
    return Lines(
        noun="model",
        names=ordered,
        labels=labels | ({} if "all" in labels else {"all": "whole run"}),
        roles={name: f"model-{k}" for k, name in enumerate(ordered)},
        main=ordered[0] if ordered else "",
        versus={"first": first},
        short_versus={"first": f"vs {first}"},
        compared=f"{labels[ordered[1]] if len(ordered) == 2 else 'the others'} against {first}",
        verb="is",
        changed="differed",
        own_protocols=True,
    )


def measured_models(frame: pd.DataFrame, run: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the models of a run, the one that the others are compared with first; those without a number last."""
    named = [model.get("label", key) for key, model in _models(run).items()]
    rows = frame[(frame["generation"] == "") & (frame["model"] != "")]
    compared = set(rows.loc[rows["versus"] == "first", "model"])
    found = sorted(dict.fromkeys(rows["model"]), key=lambda name: name in compared)
    return tuple(dict.fromkeys((*found, *map(str, named))))


def line_of(frame: pd.DataFrame) -> pd.Series[str]:
    """Which line each row belongs to: its generation, or its model where it is of none."""
    return frame["generation"].where(frame["generation"] != "", frame["model"])


def _models(run: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    models = run.get("models")
    known = models.items() if isinstance(models, Mapping) else ()
    return {str(key): model for key, model in known if isinstance(model, Mapping)}


def unlike(label: str, others: Iterable[str]) -> str:
    """The label, counted up where another has it already."""
    taken, new, count = set(others), label, 2
    while new in taken:
        new, count = f"{label} {count}", count + 1
    return new
