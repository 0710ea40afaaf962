"""The page of several runs: what the method does, over seeds, and what each part of the recipe adds."""

from __future__ import annotations

import math
from collections.abc import Collection

import pandas as pd

from nsbench.report.ablations import Setting, is_ablation, setting_blocks, setting_groups
from nsbench.report.headlines import make_cards, make_verdict, panel_title, title_words
from nsbench.report.lines import generation_label
from nsbench.report.model import Cell, Chart, Fold, Panel, RowGroup, Section, Series, Table, TableRow, View
from nsbench.report.protocols import Protocols
from nsbench.report.rows import HEADLINES, Key, Rows
from nsbench.report.sections.costs import cost_section
from nsbench.report.sections.flags import flag_section
from nsbench.report.sections.generations import generation_section
from nsbench.report.sections.literature import literature_section
from nsbench.report.sections.pictures import picture_section
from nsbench.report.sections.provenance import reproduction_section
from nsbench.report.sections.selftraining import health_section
from nsbench.report.seeds import Gathered
from nsbench.report.view import (
    INTERVALS_OVER_IMAGES,
    INTERVALS_OVER_SEEDS,
    MAX_IN_TITLE,
    data_words,
    evidence_sections,
    imagenet_evals,
    note_all,
    num_students,
    status_badges,
)
from nsbench.report.words import clean, plural, scale_of


def build_comparison(gathered: Gathered) -> View:
    """The page of several runs. Evidence is that of the main recipe; the others are set against it."""
    protocols = Protocols()
    runs = [records for group in gathered.runs.values() for records in group]
    first, main = runs[0], gathered.main
    rows = Rows(gathered.rows_of(main), protocols)
    costs = Rows(gathered.rows_of(main, "costs"), protocols, table="costs")
    imagenet, num_seeds = imagenet_evals(first), len(gathered.runs[main])
    verdict = make_verdict(rows, imagenet, data_words(first), num_seeds)
    cards = make_cards(rows, imagenet)
    sections = [
        generation_section(rows, imagenet),
        recipe_section(gathered, protocols, imagenet),
        seed_section(gathered, rows, protocols, imagenet),
        *evidence_sections(rows, imagenet),
        health_section(rows, _mean_curves([records.curves for records in gathered.runs[main]])),
        cost_section(rows, costs, imagenet, HEADLINES),
        picture_section(first),
        literature_section(rows, imagenet),
        reproduction_section(runs),
    ]
    everything = Rows(gathered.results, protocols)
    note_all(everything)
    kind = INTERVALS_OVER_SEEDS if num_seeds > 1 else INTERVALS_OVER_IMAGES
    badge = "seed: " if num_seeds == 1 else "seeds: "
    return View(
        title=_title(gathered),
        eyebrow=(clean(first.text("dataset_title") or first.text("dataset")), *_preset(first.text("preset"))),
        badges=(*status_badges(runs), ("plain", f"{num_seeds} {badge}" + ", ".join(map(clean, gathered.seeds(main))))),
        verdict=verdict,
        cards=cards,
        cards_note=f"Recipe {clean(main)}; {kind}; differences are paired within a seed.",
        sections=tuple(section for section in sections if section),
        protocols=protocols.listed(),
        num_students=num_students(gathered.results),
        seed_note="" if num_seeds > 1 else f"seed {clean(first.text('seed'))}",
        interval_note=kind + ("" if num_seeds > 1 else f", seed {clean(first.text('seed'))}"),
        footer="nsbench " + str((first.run.get("versions") or {}).get("nsbench", "")),
        flags=flag_section([(records, Rows(_own_rows(gathered, records.text("name")), protocols)) for records in runs]),
    )


def _preset(name: str) -> tuple[str, ...]:
    return (f"preset {clean(name)}",) if name else ()


def _title(gathered: Gathered) -> str:
    """The recipes by name, or the main one and how many others."""
    parts = [f"{clean(name)}, {plural(len(group), 'seed')}" for name, group in gathered.runs.items()]
    if len(parts) > MAX_IN_TITLE:
        parts = [parts[0], f"{len(parts) - 1} other recipes"]
    return "; ".join(parts)


def recipe_section(gathered: Gathered, protocols: Protocols, imagenet: Collection[str]) -> Section | None:
    """Every recipe and its paired difference to the main one; the paper's ablations under the paper's headings."""
    if len(gathered.runs) < 2:
        return None
    settings = setting_groups(gathered, protocols)
    columns = tuple(f"{title_words(key, imagenet)}, %" for key in HEADLINES)
    dots = [
        (clean(one.name, 26), one.rows, one.generation, _singles(gathered, one.recipe, protocols))
        for group in settings.values()
        for one in group
        if one.generation
    ]
    several = any(len(group) > 1 for group in gathered.runs.values())
    means = "every seed, and the mean with its 95 % t interval" if several else "one seed"
    blocks = [
        *setting_blocks(settings, gathered.main, columns),
        _dots("recipes", "Settings", f"The settings of the table: {means}.", dots, imagenet),
        *_generation_folds(settings, gathered.main, imagenet),
    ]
    words = ("Ablations", "Ablations") if is_ablation(settings) else ("Recipes", "Recipe against recipe")
    return Section(id="recipes", nav=words[0], title=words[1], blocks=tuple(blocks))


def _generation_folds(settings: dict[str, list[Setting]], main: str, imagenet: Collection[str]) -> list[Fold]:
    """All generations of every recipe but the main one, whose table stands above."""
    folds = []
    others = [one for group in settings.values() for one in group if one.recipe != main]
    for place, one in enumerate(others, start=2):
        section = generation_section(one.rows, imagenet, prefix=f"recipe{place}-")
        if section:
            folds.append(Fold(summary=f"All generations of {one.name}", blocks=section.blocks[:1]))
    if len(folds) > MAX_IN_TITLE:
        return [Fold(summary=f"All generations of the {len(folds)} other recipes", blocks=tuple(folds))]
    return folds


def _singles(gathered: Gathered, recipe: str, protocols: Protocols) -> list[Rows]:
    """Every run of a recipe by itself."""
    return [Rows(_own_rows(gathered, records.text("name")), protocols) for records in gathered.runs[recipe]]


def seed_section(gathered: Gathered, rows: Rows, protocols: Protocols, imagenet: Collection[str]) -> Section | None:
    """How far the seeds of the main recipe lie apart, and every run's own numbers."""
    if sum(len(group) for group in gathered.runs.values()) < 2:
        return None
    singles = _singles(gathered, gathered.main, protocols)
    dots = [(generation_label(name), rows, name, singles) for name in rows.names]
    chart = _dots(
        "seeds",
        "Seeds",
        f"Every seed of {clean(gathered.main)}, and the mean with its 95 % t interval.",
        dots,
        imagenet,
    )
    lines = []
    for recipe, members in gathered.runs.items():
        for records in members:
            own = Rows(_own_rows(gathered, records.text("name")), protocols)
            cells = tuple(_seed_cell(own, key) for key in HEADLINES)
            lines.append(TableRow(head=f"{clean(recipe)}, seed {clean(records.text('seed'))}", cells=cells))
    table = Table(
        id="seeds-table",
        caption="Every run: its final generation, and below it the difference to its own control. "
        "Intervals of single runs are over test images.",
        corner="Run",
        columns=tuple(f"{title_words(key, imagenet)}, %" for key in HEADLINES),
        groups=(RowGroup(rows=tuple(lines)),),
        legend=True,
        interval_note=INTERVALS_OVER_IMAGES,
    )
    return Section(id="seeds", nav="Seeds", title="Seed by seed", blocks=(chart, table))


def _own_rows(gathered: Gathered, name: str) -> pd.DataFrame:
    return gathered.results[gathered.results["run"] == name]


def _seed_cell(own: Rows, key: Key) -> Cell:
    delta = own.number(own.final, key, "control")
    return Cell(main=own.number(own.final, key), deltas=(delta,) if delta else ())


def _dots(
    id: str, title: str, caption: str, lines: list[tuple[str, Rows, str, list[Rows]]], imagenet: Collection[str]
) -> Chart:
    """One panel a headline measure, one line a name, a dot a seed."""
    panels = []
    for key in HEADLINES:
        places, values, means = [], [], []
        for place, (_, rows, generation, singles) in enumerate(lines):
            for single in singles:
                row = single.raw(generation, key)
                if row is not None and not math.isnan(row.value):
                    places.append(float(place))
                    values.append(row.value * scale_of(row.metric, row.unit))
            mean = rows.series(generation, [(float(place), key)]) if len(singles) > 1 else None
            if mean:
                means.append(mean)
        if not values:
            continue
        series = [Series(role="seed", label="one seed", x=tuple(values), y=tuple(places))]
        if means:
            series.append(_mean_series(means))
        panels.append(Panel(title=panel_title(key, imagenet), series=tuple(series)))
    return Chart(
        id=id,
        shape="dots",
        title=title,
        caption=caption,
        panels=tuple(panels),
        columns=5,
        ticks=tuple((float(k), name) for k, (name, *_) in enumerate(lines)),
        panel_height=0.34 * len(lines) + 0.3,
        y_zero=False,
        sources=lines[0][1].sources(HEADLINES),
    )


def _mean_series(means: list[Series]) -> Series:
    def joined(name: str) -> tuple[float, ...]:
        return tuple(getattr(one, name)[0] for one in means)

    return Series(role="mean", label="mean", x=joined("y"), y=joined("x"), low=joined("low"), high=joined("high"))


def _mean_curves(frames: list[pd.DataFrame]) -> pd.DataFrame:
    known = [frame for frame in frames if len(frame)]
    if not known:
        return pd.DataFrame()
    return pd.concat(known).groupby(["generation", "step"], as_index=False, sort=True).mean(numeric_only=True)
