"""Corruptions and films on the CPU: how many times faster than the libraries that people use, in one and the same run.

Guards: the fifteen of ImageNet-C at 224 px, severity 3, against imagecorruptions in one process (whose OpenCV and
NumPy may use every core), and against one such process per core, uint8 to uint8 on both sides; the ten films of
ImageNet-P against the authors' rules frame by frame. Both sides are timed in turn and the fastest of each is taken, so
that a busy machine slows both.

    pytest benchmarks/test_corruptions.py            # two threads where there are two cores

Operations an image of 3 x 224 x 224 = 150,528 values, and the floor, a pass over float32 values in cache being about
10 us on one core: noises: 150,528 words of Philox (0.25 ns each in C) and eight integer passes. Defocus, motion, snow:
two real transforms of 256^2 to 320^2 a channel, 5 MFLOP each. Glass: four correlations in double precision, then three
lookups a channel and some five rounds of pointer doubling a pass. Zoom: four gathers and nine passes a factor, 11 to
16 factors. Brightness, saturate: some forty double-precision passes over 50,176 pixels. Elastic: two smoothings of
2 x 224^3 multiply-adds, two warps of twelve lookups. Frost, contrast: one lookup a value. JPEG, pixelate: libraries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from nsbench.corruptions import CORRUPTIONS, PERTURBATIONS, corrupt, perturbation_sequence
from tests.corruptions.frame_rules import RULES

SEVERITY = 3
ROUNDS = 5
CORES = 2
TOTALS: dict[str, dict[str, dict[str, float]]] = {"corruptions": {}, "films": {}}


def fastest(*calls: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Seconds of each call, the fastest of `rounds`, taken in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for index, call in enumerate(calls):
            began = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - began)
    return best


def library(images: np.ndarray, name: str) -> None:
    import imagecorruptions

    for image in images:
        imagecorruptions.corrupt(image, SEVERITY, corruption_name=name)


@pytest.fixture(scope="module")
def processes() -> ProcessPoolExecutor:
    """One imagecorruptions a core, started and warm."""
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(library, [np.zeros((1, 224, 224, 3), np.uint8)] * CORES, ["gaussian_noise"] * CORES))
        yield pool


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(CORES)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption(benchmark, record_ratio, crops: np.ndarray, processes: ProcessPoolExecutor, name: str) -> None:
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
    batch = torch.cat([batch, batch.flip(3)]).repeat(4, 1, 1, 1)  # 64: the quickest take a fifth of a millisecond each
    few = np.concatenate([crops, crops[:, :, ::-1]])
    seeds = torch.arange(len(batch))

    def native() -> None:
        corrupt(batch, name, SEVERITY, seeds=seeds)

    def every_core() -> None:
        list(processes.map(library, [few] * CORES, [name] * CORES))

    native()
    library(few[:1], name)
    ours, one, each = fastest(native, lambda: library(few, name), every_core)
    benchmark.pedantic(native, rounds=ROUNDS)
    figures = {
        "native ms": ours / len(batch) * 1e3,
        "library ms": one / len(few) * 1e3,
        "library per core ms": each / (CORES * len(few)) * 1e3,
    }
    figures["ratio"] = figures["library ms"] / figures["native ms"]
    figures["ratio to one per core"] = figures["library per core ms"] / figures["native ms"]
    TOTALS["corruptions"][name] = figures
    record_ratio(benchmark, f"corruptions, 224 px, severity {SEVERITY}, ms an image", name, **figures)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_film(benchmark, record_ratio, pictures: list[np.ndarray], name: str) -> None:
    films = [torch.from_numpy(picture).permute(2, 0, 1).contiguous() for picture in pictures[:4]]
    seeds = torch.arange(len(films))
    frames = len(perturbation_sequence(films[:1], name, seeds=seeds[:1])[0])

    def native() -> None:
        perturbation_sequence(films, name, seeds=seeds)

    def rules() -> None:
        list(RULES[name](pictures[0], np.random.default_rng(0)))

    ours, reference = fastest(native, rules, rounds=3)
    benchmark.pedantic(native, rounds=3)
    figures = {"native ms": ours / (len(films) * frames) * 1e3, "rules ms": reference / frames * 1e3}
    figures["ratio"] = figures["rules ms"] / figures["native ms"]
    TOTALS["films"][name] = figures
    record_ratio(benchmark, "films, 224 px, ms a frame", name, **figures)


MAGICK = ("motion_blur", "snow")
"""Films whose rules send every frame through ImageMagick: they would decide the sum alone."""


@pytest.mark.parametrize("title", ["corruptions", "films", "films without ImageMagick's"])
def test_sum(benchmark, record_ratio, title: str) -> None:
    """The promise: five times faster in sum, and no corruption slower than the library."""
    family = title.split(maxsplit=1)[0]
    reference = {"corruptions": "library ms", "films": "rules ms"}[family]
    left_out = MAGICK if "without" in title else ()
    if len(TOTALS[family]) < 10:
        pytest.skip("only in a run of all parts")
    parts = [figures for name, figures in TOTALS[family].items() if name not in left_out]
    total = {key: sum(part[key] for part in parts) for key in parts[0] if key.endswith(" ms")}
    total["ratio"] = total[reference] / total["native ms"]
    benchmark.pedantic(lambda: None)
    record_ratio(benchmark, f"sum of the {title}, ms", title, **total)
    assert total["ratio"] >= 5
    assert family == "films" or min(part["ratio"] for part in parts) >= 1
