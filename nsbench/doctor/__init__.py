"""The data doctor, `nsbench check`: what there is, whether it is whole, and which evals it is enough for.

It reads names of files, and opens a few images and one clip of each set.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from nsbench.data.corrupted import C_BAR_STRENGTHS, cells_of
from nsbench.data.suites import SUITES, Suites
from nsbench.data.variants import V2_SUBSETS
from nsbench.doctor.cells import corruptions_seen, perturbations_seen
from nsbench.doctor.finding import Finding, Seen, State
from nsbench.doctor.sets import val_seen, variant_seen
from nsbench.doctor.verdicts import Verdict, verdicts
from nsbench.errors import NsbenchError
from nsbench.metrics.reference import CORRUPTIONS, PERTURBATIONS

__all__ = ["Finding", "State", "Verdict", "check_suites", "render", "verdicts"]


def check_suites(suites: Suites, *, seconds: float = 15.0) -> list[Finding]:
    """Look at every set.

    Args:
        suites: from `open_suites`.
        seconds: how long cells of C and P are counted; those that time does not suffice for are said. What else is
            done takes a few seconds at most.

    Returns:
        Findings in the order of `SUITES`, at least one for each set. What is damaged is a finding, never an error.
    """
    deadline = time.monotonic() + seconds
    findings: list[Finding] = []
    for name in SUITES:
        try:
            for state, words in _seen(suites, name, deadline):
                findings.append(Finding(suite=name, state=state, words=words))
        except NsbenchError as error:
            findings.append(Finding(suite=name, state="problem", words=str(error)))
    return findings


def render(findings: Iterable[Finding], runnable: Iterable[Verdict]) -> str:
    """Both as text for a terminal."""
    lines = [f"{finding.state:8} {finding.suite:16} {finding.words}" for finding in findings]
    lines += ["", "Which evals can run:"]
    lines += [f"{'yes' if verdict.can_run else 'no':8} {verdict.eval:16} {verdict.words}" for verdict in runnable]
    return "\n".join(lines)


def _seen(suites: Suites, name: str, deadline: float) -> Iterator[Seen]:
    if name not in suites.roots:
        yield ("problem" if suites.missing[name].startswith("both ") else "absent"), suites.missing[name]
    elif name == "val":
        assert suites.val is not None
        yield from val_seen(suites.val)
    elif name == "imagenet_c":
        assert suites.imagenet_c is not None
        yield from corruptions_seen(suites.imagenet_c, cells_of(CORRUPTIONS), deadline)
    elif name == "imagenet_c_bar":
        assert suites.imagenet_c_bar is not None
        yield from corruptions_seen(suites.imagenet_c_bar, cells_of(C_BAR_STRENGTHS), deadline)
    elif name == "imagenet_p":
        assert suites.imagenet_p is not None
        yield from perturbations_seen(suites.imagenet_p, PERTURBATIONS, deadline)
    elif name == "imagenet_v2":
        for subset, variant in suites.imagenet_v2.items():
            yield from variant_seen(name, variant, subset)
        absent = [subset for subset in V2_SUBSETS if subset not in suites.imagenet_v2]
        if absent:
            yield "ok", f"without {' and '.join(absent)}"
    else:
        yield from variant_seen(name, getattr(suites, name), name.replace("_", "-"))
