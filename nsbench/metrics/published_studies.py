"""Noisy Student's other published tables, as printed: models beside it, students of equal size, generations.

Only what was read in a source of the paper's v1 or v2; nothing here is from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nsbench.metrics.published_ablations import PublishedAblation
from nsbench.metrics.reference import PAPER_V2

_MODELS: Mapping[str, tuple[float | None, ...]] = MappingProxyType(
    {
        "ResNet-50, 26 M": (76.0, 93.0),
        "ResNet-152, 60 M": (77.8, 93.8),
        "DenseNet-264, 34 M": (77.9, 93.9),
        "Inception-v3, 24 M": (78.8, 94.4),
        "Xception, 23 M": (79.0, 94.5),
        "Inception-v4, 48 M": (80.0, 95.0),
        "Inception-resnet-v2, 56 M": (80.1, 95.1),
        "ResNeXt-101, 84 M": (80.9, 95.6),
        "PolyNet, 92 M": (81.3, 95.8),
        "SENet, 146 M": (82.7, 96.2),
        "NASNet-A, 89 M": (82.7, 96.2),
        "AmoebaNet-A, 87 M": (82.8, 96.1),
        "PNASNet, 86 M": (82.9, 96.2),
        "AmoebaNet-C, 155 M": (83.5, 96.5),
        "GPipe, 557 M": (84.3, 97.0),
        "EfficientNet-B7, 66 M": (85.0, 97.2),
        "EfficientNet-L2, 480 M": (85.5, 97.5),
        "ResNet-50 Billion-scale, 26 M, 3.5 B tagged images": (81.2, 96.0),
        "ResNeXt-101 Billion-scale, 193 M, 3.5 B tagged images": (84.8, None),
        "ResNeXt-101 WSL, 829 M, 3.5 B tagged images": (85.4, 97.6),
        "FixRes ResNeXt-101 WSL, 829 M, 3.5 B tagged images": (86.4, 98.0),
        "Noisy Student (L2), 480 M, 300 M unlabelled images": (88.4, 98.7),
    }
)

IMAGENET_MODELS = PublishedAblation(
    what="ImageNet's validation images; each model with its parameters and what it was trained on besides ImageNet",
    columns=("top-1", "top-5"),
    rows=_MODELS,
    citation=f"{PAPER_V2}, ImageNet table",
)

SAME_SIZE = PublishedAblation(
    what="EfficientNets alone; as students of a teacher of their own size, without iteration; as students of L2",
    columns=("alone", "alone, top-5", "same size", "same size, top-5", "taught by L2", "taught by L2, top-5"),
    rows=MappingProxyType(
        {
            "B0, 5.3 M": (77.3, 93.4, 78.1, 94.2, 78.8, 94.5),
            "B1, 7.8 M": (79.2, 94.4, 80.2, 95.2, 81.5, 95.8),
            "B2, 9.2 M": (80.0, 94.9, 81.1, 95.5, 82.4, 96.3),
            "B3, 12 M": (81.7, 95.7, 82.5, 96.4, 84.1, 96.9),
            "B4, 19 M": (83.2, 96.4, 84.4, 97.0, 85.3, 97.5),
            "B5, 30 M": (84.0, 96.8, 85.0, 97.2, 86.1, 97.8),
            "B6, 43 M": (84.5, 97.0, 85.6, 97.6, 86.4, 97.9),
            "B7, 66 M": (85.0, 97.2, 85.9, 97.6, 86.9, 98.1),
        }
    ),
    citation=f"{PAPER_V2}, table of students of equal size and of a larger teacher",
)

ITERATIONS = PublishedAblation(
    what="EfficientNet-L2 by generation, with the ratio of labelled to unlabelled images in a batch",
    columns=("top-1",),
    rows=MappingProxyType(
        {"first, 1:14": (87.6,), "second, 1:14": (88.1,), "third, 1:28": (88.4,)},
    ),
    citation=f"{PAPER_V2}, table of iterative training",
)

CAPACITY = PublishedAblation(
    what="Students of a teacher's size and of the next larger one; the teacher's own accuracy in brackets",
    columns=("same size", "larger"),
    rows=MappingProxyType(
        {
            "B0 (77.3), then B1": (77.9, 79.5),
            "B2 (80.0), then B3": (80.7, 82.0),
            "B4 (83.2), then B5": (84.0, 84.7),
            "B7 (86.9), then L2": (86.9, 87.2),
        }
    ),
    citation=f"{PAPER_V2}, table of student capacity",
)

SVHN = PublishedAblation(
    what="EfficientNet-B0 at 32 px on SVHN with 531,131 unlabelled images, one generation: the closest official recipe "
    "to a small task",
    columns=("top-1",),
    rows=MappingProxyType({"teacher": (97.9,), "student": (98.6,)}),
    citation="google-research/noisystudent README at aac52bf; the student's is printed with ±0.1",
)

STUDIES: Mapping[str, PublishedAblation] = MappingProxyType(
    {
        "Students of equal size, and of a larger teacher": SAME_SIZE,
        "Generation after generation": ITERATIONS,
        "Size of the student": CAPACITY,
        "A small task": SVHN,
    }
)
"""By title."""
