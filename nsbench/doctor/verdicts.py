"""Which evals the sets that are there suffice for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from nsbench.data.suites import Suites
from nsbench.doctor.finding import Finding
from nsbench.metrics.reference import CORRUPTIONS, PERTURBATIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether one eval can run."""

    eval: str
    """Its name in `nsbench ls evals`."""
    can_run: bool
    words: str
    """From what: `from its files`, `computed from val`; or why not."""


def verdicts(suites: Suites, findings: Iterable[Finding]) -> list[Verdict]:
    """For each eval whether its images are there; `findings` say which sets are damaged."""
    broken = {finding.suite: finding.words for finding in reversed(list(findings)) if finding.state == "problem"}
    val = _own(suites, broken, "imagenet", "val")
    own = ("imagenet_a", "imagenet_r", "imagenet_v2", "imagenet_sketch", "imagenet_o", "objectnet")
    return [
        val,
        *(_own(suites, broken, name.replace("_", "-"), name) for name in own),
        _or_computed(suites, broken, "imagenet_c", val),
        _or_computed(suites, broken, "imagenet_p", val),
        _own(suites, broken, "imagenet-c-bar", "imagenet_c_bar"),
        dataclasses.replace(val, eval="fgsm"),
        dataclasses.replace(val, eval="attacks"),
    ]


def _own(suites: Suites, broken: Collection[str], eval_name: str, suite: str) -> Verdict:
    """An eval that needs its own files."""
    if suite in broken:
        return Verdict(eval=eval_name, can_run=False, words=f"{suite} has a problem, see above")
    if suite not in suites.roots:
        return Verdict(eval=eval_name, can_run=False, words=suites.missing[suite])
    return Verdict(eval=eval_name, can_run=True, words="from its files")


def _or_computed(suites: Suites, broken: Collection[str], suite: str, val: Verdict) -> Verdict:
    """An eval that takes released files, and else makes its images from val's."""
    own = _own(suites, broken, suite.replace("_", "-"), suite)
    if own.can_run:
        trees = {"imagenet_c": suites.imagenet_c, "imagenet_p": suites.imagenet_p}
        tree, wanted = trees[suite], CORRUPTIONS if suite == "imagenet_c" else PERTURBATIONS
        absent = tree.absent(wanted) if tree is not None else ()
        words = f"{own.words}; {len(absent)} cells are absent, so no mean over all" if absent else own.words
        return dataclasses.replace(own, words=words)
    if suite in suites.roots or not val.can_run:
        return own
    return dataclasses.replace(own, can_run=True, words="computed from val")
