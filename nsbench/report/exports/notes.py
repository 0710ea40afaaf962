"""What has to be said under a table wherever it is pasted: how many, what intervals, what protocol."""

from __future__ import annotations

from nsbench.report.model import Table, View

MAX_PROTOCOLS = 3
"""Protocols that are written out; more are named by their numbers on the page."""

_VERSUS = {"gen0": "vs gen 0", "previous": "vs previous", "control": "vs control", "first": "vs first"}


def notes_of(table: Table, view: View) -> list[str]:
    """Sentences without their full stops."""
    sources = table.sources
    intervals = (table.interval_note or view.interval_note) if sources.intervals else view.seed_note
    notes = [", ".join(filter(None, (sources.n_text, intervals)))]
    if table.legend:
        notes.append("≈: the interval of the difference holds zero")
    texts = {number: text for number, _, text in view.protocols}
    if len(sources.notes) > MAX_PROTOCOLS:
        notes.append(f"Protocols {', '.join(map(str, sources.notes))} of the report")
    else:
        notes += [f"Protocol {number}: {texts[number]}" for number in sources.notes if number in texts]
    return [note for note in notes if note]


def against(versus: str, table: Table) -> str:
    """`vs gen 0`: what a difference is against."""
    return (_VERSUS | dict(table.switch)).get(versus, f"vs {versus}")
