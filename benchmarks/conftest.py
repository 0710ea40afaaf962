"""Real photographs for the benchmarks, and the ratios that they found, at the end of the run."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from sklearn.datasets import load_sample_images

from tests.photographs import shorter_side_256

_RATIOS: dict[str, dict[str, dict[str, float]]] = {}


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Eight photographs uint8 [H, W, 3], shorter side 256, that scikit-image and scikit-learn ship."""
    named = [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
    photographs = [*load_sample_images().images, *named]
    photographs += [np.ascontiguousarray(photograph[:, ::-1]) for photograph in photographs[:2]]
    return [shorter_side_256(photograph) for photograph in photographs]


@pytest.fixture(scope="session")
def crops(pictures: list[np.ndarray]) -> np.ndarray:
    """The middle 224 px of each, uint8 [8, 224, 224, 3]."""
    corners = [((p.shape[0] - 224) // 2, (p.shape[1] - 224) // 2) for p in pictures]
    return np.stack([p[top : top + 224, left : left + 224] for p, (top, left) in zip(pictures, corners, strict=True)])


@pytest.fixture
def record_ratio():
    """Keep one ratio: `record_ratio(benchmark, title, name, ratio=..., **figures)`."""

    def record(benchmark, title: str, name: str, **figures: float) -> None:
        benchmark.extra_info.update(figures)
        _RATIOS.setdefault(title, {})[name] = figures

    return record


def pytest_terminal_summary(terminalreporter) -> None:
    """One Markdown table for each family of benchmarks; a sum is that of the parts that ran."""
    for title, rows in _RATIOS.items():
        terminalreporter.section(title)
        columns = list(next(iter(rows.values())))
        terminalreporter.write_line("| | " + " | ".join(columns) + " |")
        terminalreporter.write_line("|---|" + "---:|" * len(columns))
        for name, figures in rows.items():
            terminalreporter.write_line(f"| {name} | " + " | ".join(f"{figures[c]:.2f}" for c in columns) + " |")
