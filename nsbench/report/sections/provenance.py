"""How the report was made: command, configuration, versions, data; and the tables to take away."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nsbench.report.lines import generation_label
from nsbench.report.model import Block, Code, Facts, Fold, Section, Text
from nsbench.report.records import Records
from nsbench.report.sections.citations import bibtex_fold
from nsbench.report.words import clean, visible
from nsbench.runfolder import shows_imagenet


def reproduction_section(runs: Sequence[Records]) -> Section:
    """Provenance of every run; the command and config in full."""
    blocks: list[Block] = []
    for records in runs:
        parts = _one_run(records)
        if len(runs) == 1:
            blocks += parts
        else:
            blocks.append(Fold(summary=f"Run {clean(records.text('name', '?'))}", blocks=tuple(parts)))
    blocks.append(_bibtex(runs))
    return Section(id="reproduce", nav="Reproduce", title="How this was made", blocks=tuple(blocks))


def _bibtex(runs: Sequence[Records]) -> Fold:
    names: dict[str, set[str]] = {
        column: {str(name) for records in runs for name in records.results[column].unique()}
        for column in ("eval", "metric")
    }
    versions = _items(runs[0].run.get("versions")) if runs else ()
    return bibtex_fold(
        dict(versions).get("nsbench", ""),
        names["eval"],
        names["metric"],
        is_trained=any(not records.is_models for records in runs),
        is_imagenet=any(shows_imagenet(records.run) for records in runs),
    )


def _one_run(records: Records) -> list[Block]:
    blocks: list[Block] = []
    argv = records.run.get("argv")
    if isinstance(argv, list) and argv:
        blocks.append(Code(title="Command", text=visible(_command(argv))))
    blocks.append(Facts(title="Run", items=_facts(records)))
    for key, title in (("versions", "Versions"), ("hardware", "Hardware"), ("data_fingerprints", "Data fingerprints")):
        items = _items(records.run.get(key))
        if items:
            blocks.append(Facts(title=title, items=items))
    models = _models(records)
    if models:
        blocks.append(Facts(title="Models", items=models))
    for key, title in (("notes", "Notes"), ("missing", "Not there")):
        texts = records.run.get(key)
        if isinstance(texts, list) and texts:
            blocks.append(Text(parts=(f"{title}: " + "; ".join(clean(text, 400) for text in texts),), css="note"))
    if records.config:
        blocks.append(
            Fold(summary="config.toml, which can be run again", blocks=(Code(title="", text=visible(records.config)),))
        )
    return blocks


def _command(argv: Sequence[Any]) -> str:
    """The command line; words that the run folder holds quoted already stay as they are."""
    words = [str(word) for word in argv]
    quoted = all(" " not in word or word[0] in "'\"" for word in words)
    return " ".join(words) if quoted else shlex.join(words)


def _facts(records: Records) -> tuple[tuple[str, str], ...]:
    keys = ("name", "status", "kind", "dataset_title", "dataset", "preset", "recipe", "seed", "generations", "partial")
    facts = [
        (key.replace("_", " "), clean(records.run[key]))
        for key in (*keys, "held_out", "git", "started", "finished")
        if records.run.get(key) not in (None, "")
    ]
    return tuple((name, {"True": "yes", "False": "no"}.get(value, value)) for name, value in facts)


def _items(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        return ()
    return tuple((clean(name), clean(content)) for name, content in value.items())


def _models(records: Records) -> tuple[tuple[str, str], ...]:
    """Architecture, size and fingerprint of every generation or model."""
    models = records.run.get("models")
    if not isinstance(models, Mapping):
        return ()
    lines = []
    for name, model in models.items():
        if isinstance(model, Mapping):
            size, label = model.get("params"), clean(model.get("label", ""))
            words = f"{size:,} parameters" if isinstance(size, int) else ""
            made = f"fingerprint {clean(model['fingerprint'])}" if model.get("fingerprint") else ""
            head = (label or clean(name)) if records.is_models else generation_label(str(name))
            lines.append((head, ", ".join(filter(None, ("" if records.is_models else label, words, made)))))
    return tuple(lines)
