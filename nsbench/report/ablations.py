"""The paper's ablation tables (section 4.1) over one's own runs: the full recipe, then what each change of it does."""

from __future__ import annotations

import dataclasses

from nsbench.ablations import groups
from nsbench.metrics.published_ablations import PUBLISHED_ABLATIONS, PublishedAblation
from nsbench.report.lines import generation_label
from nsbench.report.model import Block, Cell, Facts, Fold, RowGroup, Table, TableRow, Text
from nsbench.report.numbers import Number
from nsbench.report.protocols import Protocols
from nsbench.report.rows import HEADLINES, NOT_EVALS, Key, Rows
from nsbench.report.seeds import MAIN_RECIPE, Gathered
from nsbench.report.tables import line_cell
from nsbench.report.view import INTERVALS_OVER_SEEDS
from nsbench.report.words import clean, number_text, plural

FURTHER = "Further recipes"

_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One generation of one recipe."""

    recipe: str
    name: str
    """In a few words."""
    head: str
    """With the generation and the number of seeds."""
    generation: str
    """Empty where no student of the recipe was measured."""
    rows: Rows
    against: Rows | None
    """Differences to the same generation of the full recipe; None of the full recipe itself."""
    num_runs: int
    common: int
    """Seeds behind its differences; of the full recipe its own."""

    def delta(self, key: Key, versus: str) -> Number | None:
        """Its paired difference to the full recipe; what has no interval is neither better nor worse nor unclear."""
        number = self.against.number(self.generation, key, versus) if self.against else None
        return number if number is None or number.interval else dataclasses.replace(number, state="")


def setting_groups(gathered: Gathered, protocols: Protocols) -> dict[str, list[Setting]]:
    """Settings by heading: the full recipe under none, the paper's groups in their order, then further recipes."""
    others = {name: _changed(gathered, name, protocols) for name in gathered.runs if name != gathered.main}
    compared = {setting.generation for setting in others.values() if setting.common}
    found = {"": _full(gathered, compared, protocols)}
    for group in groups().values():
        arms = [others.pop(name) for name in group.arms if name in others]
        if arms:
            found[group.title] = arms
    if others:
        found[FURTHER] = list(others.values())
    return found


def _full(gathered: Gathered, compared: set[str], protocols: Protocols) -> list[Setting]:
    """Generation 0, every generation that something is compared with, and the last one."""
    recipe = gathered.main
    rows = Rows(gathered.rows_of(recipe), protocols)
    num_runs = len(gathered.runs[recipe])
    chosen = [name for name in rows.names if name in {"0", *compared, rows.final}]
    settings = []
    for name in chosen:
        label = "supervised teacher (generation 0)" if name == "0" else f"{clean(recipe)}, {generation_label(name)}"
        seeds = _num_measured(gathered, recipe, name)
        settings.append(
            Setting(
                recipe=recipe,
                name="teacher" if name == "0" else label if len(chosen) > 2 else clean(recipe),
                head=f"{label}, {_seed_words(seeds, num_runs)}{_partial(gathered, recipe)}",
                generation=name,
                rows=rows,
                against=None,
                num_runs=num_runs,
                common=seeds,
            )
        )
    return settings


def _changed(gathered: Gathered, recipe: str, protocols: Protocols) -> Setting:
    """The last generation of another recipe."""
    rows, frame = Rows(gathered.rows_of(recipe), protocols), gathered.against_main(recipe)
    group = gathered.runs[recipe]
    no_student = rows.final == "0" and any(records.run.get("generations") for records in group)
    generation = "" if no_student else rows.final
    seeds = _num_measured(gathered, recipe, generation)
    here = frame[frame["generation"] == generation]
    common = int(here["n"].max()) if len(here) else 0
    words = _seed_words(seeds, len(group)) + (f", {common or 'none'} in common" if common < seeds else "")
    head = f"{generation_label(generation)}, {words}" if generation else "no student measured"
    return Setting(
        recipe=recipe,
        name=clean(recipe),
        head=f"{clean(recipe)}, {head}{_partial(gathered, recipe)}",
        generation=generation,
        rows=rows,
        against=Rows(frame, protocols),
        num_runs=len(group),
        common=common,
    )


def _num_measured(gathered: Gathered, recipe: str, generation: str) -> int:
    """Seeds in which a generation was measured."""
    frames = [records.results for records in gathered.runs[recipe]]
    return sum(bool((frame["generation"].eq(generation) & ~frame["eval"].isin(NOT_EVALS)).any()) for frame in frames)


def _seed_words(seeds: int, num_runs: int) -> str:
    return plural(num_runs, "seed") if seeds == num_runs else f"{seeds} of {plural(num_runs, 'seed')}"


def _partial(gathered: Gathered, recipe: str) -> str:
    unfinished = any(records.text("status") == "partial" for records in gathered.runs[recipe])
    return ", partial" if unfinished else ""


def is_ablation(settings: dict[str, list[Setting]]) -> bool:
    """Whether any of the paper's groups is there."""
    return bool(settings.keys() - {"", FURTHER})


def one_seed_words(settings: dict[str, list[Setting]]) -> str:
    """What must be said where something rests on a single seed; empty where nothing does."""
    alone = [one.num_runs < 2 or one.common == 1 for group in settings.values() for one in group]
    if all(alone):
        return (
            "One seed: the intervals are over test images, the differences have none, and one seed proves nothing "
            "about the method."
        )
    return (
        "Where there is one seed, any interval is over test images and no difference has one: one seed proves nothing "
        "about the method."
        if any(alone)
        else ""
    )


def setting_blocks(settings: dict[str, list[Setting]], main: str, columns: tuple[str, ...]) -> list[Block]:
    """The table, a line a setting under the heading of its group; what must be said of it; what the paper printed.

    Args:
        columns: heads of the headline measures.
    """
    every = [one for group in settings.values() for one in group]
    over_seeds = every[0].num_runs > 1
    mixed = len({one.num_runs > 1 for one in every}) > 1
    ablation = main == MAIN_RECIPE and is_ablation(settings)
    what = "The recipe with one part of it changed" if ablation else "Last generation of each recipe"
    lines = {title: tuple(_line(one, main, over_seeds) for one in group) for title, group in settings.items()}
    deltas = [delta for group in lines.values() for line in group for cell in line.cells for delta in cell.deltas]
    table = Table(
        id="recipes-table",
        caption=f"{what}. Below a number its paired difference to the same generation of {clean(main)}, over common "
        "seeds.",
        corner="Setting",
        columns=columns,
        groups=tuple(RowGroup(title=title, rows=group) for title, group in lines.items()),
        legend=any(delta.interval for delta in deltas),
        sortable=False,
        interval_note=f"{INTERVALS_OVER_SEEDS}, over images where there is one seed" if mixed else "",
    )
    words = one_seed_words(settings)
    return [table, *([Text(parts=(words,), css="note")] if words else []), *_published(settings)]


def _line(one: Setting, main: str, over_seeds: bool) -> TableRow:
    cells = []
    for key in HEADLINES:
        cell = line_cell(one.rows, one.generation, key)
        delta = one.delta(key, main)
        number = _counted(cell.main, (one.num_runs > 1) == over_seeds) if isinstance(cell.main, Number) else None
        deltas = (_counted(delta, over_seeds),) if number and delta else ()
        cells.append(Cell(main=number, deltas=deltas, warned=cell.warned))
    return TableRow(head=one.head, cells=tuple(cells))


def _counted(number: Number, counts: bool) -> Number:
    """The number; its n, which is in its hint, is left out of the table's where it counts other things."""
    return number if counts else dataclasses.replace(number, n=0)


def _published(settings: dict[str, list[Setting]]) -> list[Block]:
    """Against the literature, in a style of its own: what the paper printed of the groups that are there."""
    blocks: list[Block] = []
    for name, group in groups().items():
        known = PUBLISHED_ABLATIONS.get(name)
        if known and group.title in settings:
            blocks.append(Facts(title=group.title, items=_items(known)))
            blocks.append(Text(parts=(f"Top-1, %. {known.what}. {known.citation}.",), css="note"))
    if not blocks:
        return []
    words = "Published figures, of which nothing was measured here. Other data, other models: compare directions only."
    return [Fold(summary="Against the literature", blocks=(Text(parts=(words,), css="flag"), *blocks))]


def _items(known: PublishedAblation) -> tuple[tuple[str, str], ...]:
    """`no augmentation`: `83.6 (1.3 M) · 84.6 (130 M)`."""
    items = []
    for name, values in known.rows.items():
        told = [
            f"{number_text(value, known.decimals)} {f'({column})' if column else ''}".strip().replace(" ", _NO_BREAK)
            for column, value in zip(known.columns, values, strict=True)
            if value is not None
        ]
        items.append((name, " · ".join(told)))
    return tuple(items)
