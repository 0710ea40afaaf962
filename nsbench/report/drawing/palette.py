"""Colours of page and figures, light and dark, each at one place.

Generations are ordered, so they get an ordinal ramp with the teacher grey; the control lies outside the ramp, in hue,
marker and dash. Models are not ordered: each has a hue, a marker and a dash of its own. All reach 3:1 against their
surface.
"""

from __future__ import annotations

_RAMP = (("#3f97d3", "#2f7fc1"), ("#1565a8", "#6db3ea"), ("#0a2f5c", "#c9e4fb"))

BASE: dict[str, tuple[str, str]] = {
    "surface": ("#ffffff", "#15171b"),
    "raised": ("#f6f7f9", "#1d2026"),
    "ink": ("#14171c", "#eef0f3"),
    "ink-2": ("#555b65", "#a6acb6"),
    "line": ("#d9dde3", "#343943"),
    "grid": ("#e8eaee", "#2a2e36"),
    "accent": ("#1464a5", "#74b6ec"),
    "better": ("#0b6e4f", "#5cc8a0"),
    "worse": ("#b23c0e", "#f59a6e"),
    "gen-0": ("#7a7a7a", "#8a8f98"),
    "gen-control": ("#b35a00", "#f0a04b"),
    "bar-copies": ("#a9cdea", "#27557d"),
    "bar-kept_images": ("#1f77b9", "#79bbee"),
    "bar-predicted": ("#30343b", "#d4d8de"),
    "bar-seed": ("#8c939e", "#7f8691"),
    "bar-mean": ("#12599a", "#7cbcf0"),
    "backdrop": ("#a0a7b1", "#6f7681"),
    "backdrop-extra": ("#b08d4a", "#a58a55"),
    "fit": ("#868d98", "#8d949f"),
    "published": ("#6a4c93", "#b79ae0"),
    "published-2": ("#8a4f8f", "#cf9fd3"),
    "published-3": ("#a0527d", "#dba0c0"),
    "model-0": ("#0f5fa6", "#6cb2e8"),
    "model-1": ("#c2410c", "#f58a5b"),
    "model-2": ("#0f7a4f", "#58c795"),
    "model-3": ("#7b3fa0", "#c39be6"),
    "model-4": ("#946500", "#dfb03e"),
    "model-5": ("#0b7a8a", "#4dc5d4"),
    "model-6": ("#be2377", "#f37ab5"),
    "model-7": ("#4a4f57", "#b6bcc6"),
}
"""Role to (light, dark)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "*", "h")
"""By generation, or by model; the control has `X`."""

DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (9, 2)), (0, (4, 1, 1, 1, 1, 1)),
    (0, (2, 2.5)),
)  # fmt: skip
"""By model."""

MAX_MODELS = len(DASHES)
"""More cannot be told apart in a chart."""


def model_number(role: str) -> int | None:
    """Which model a series is of; None for a series of something else."""
    name, _, number = role.partition("-")
    return int(number) if name == "model" and number.isdigit() else None


def palette(num_students: int) -> dict[str, tuple[str, str]]:
    """All roles, with `gen-1` to `gen-N`: the ramp's own steps up to three students, a finer ramp for more."""
    steps = [_ramp_at(k if num_students <= len(_RAMP) else 2 * k / (num_students - 1)) for k in range(num_students)]
    return BASE | {f"gen-{k + 1}": step for k, step in enumerate(steps)}


def role_colour(colours: dict[str, tuple[str, str]], role: str) -> str:
    """Light colour of a series; matplotlib draws with it, and the page's SVG has a variable in its place."""
    for name in (role, f"gen-{role}", f"bar-{role}"):
        if name in colours:
            return colours[name][0]
    return colours["gen-control"][0]


def _ramp_at(position: float) -> tuple[str, str]:
    low = min(int(position), len(_RAMP) - 2)
    light, dark = (_mix(a, b, position - low) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return light, dark


def _mix(a: str, b: str, share: float) -> str:
    channels = ((int(a[k : k + 2], 16), int(b[k : k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(low + (high - low) * share):02x}" for low, high in channels)
