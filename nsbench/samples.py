"""Sample pictures of a run as records, PNG files and `samples.json`: the report needs neither data nor torch."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from PIL import Image

from nsbench.attacks import fgsm
from nsbench.data.images import ImageSet
from nsbench.data.pictures import View
from nsbench.engine.generations import Engine, generation_names
from nsbench.engine.label_store import label_path
from nsbench.engine.select import read_copies
from nsbench.evals import EvalContext
from nsbench.evals.computed import corrupted, films
from nsbench.evals.imagenet_p import source_images
from nsbench.files import derive_seed, read_npz, write_atomic, write_json
from nsbench.inference import to_batch
from nsbench.metrics.flips import flips_per_video, is_noise_perturbation
from nsbench.metrics.reference import CORRUPTIONS
from nsbench.runfolder import RunFolder

Pixels = npt.NDArray[np.uint8]

_SEVERITIES = (1, 3, 5)
_ADVERSARIAL_EPSILON_PX = 16.0
_PICTURES_A_GROUP = 12
_THUMBNAIL = View(size=64, resize=64, interpolation="bicubic")


class _Album:
    """Collects groups of pictures; writes each as a PNG file."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.groups: list[dict[str, Any]] = []

    def group(self, name: str, title: str) -> None:
        self.groups.append({"group": name, "title": title, "items": []})

    def add(self, pixels: Pixels, caption: str, **item: Any) -> None:
        group = self.groups[-1]
        file = f"{group['group']}-{len(group['items']):03d}.png"
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
        write_atomic(self.folder.samples / file, buffer.getvalue())
        group["items"].append({"file": file, "caption": caption, **item})

    def write(self) -> None:
        write_json(self.folder.samples / "samples.json", [group for group in self.groups if group["items"]])


def write_samples(engine: Engine, context: EvalContext) -> None:
    """Write the pictures of a finished run; corrupted pixels come from the cache of `context`."""
    config, folder, classes = engine.config, engine.folder, engine.task.classes
    album, names = _Album(folder), generation_names(config)
    held = engine.task.suites is None  # photographs are not shown: a page of them would weigh too much
    if held and "imagenet-c" in config.eval.evals:
        _corruptions(album, context, folder, names, classes)
    if held and "fgsm" in config.eval.evals:
        _adversarial(album, engine, classes)
    if held and "imagenet-p" in config.eval.evals and config.generations:
        _flips(album, context, folder, str(config.generations), classes)
    if config.generations:
        _pseudo_labels(album, engine, str(config.generations))
    album.write()


def _corruptions(
    album: _Album, context: EvalContext, folder: RunFolder, names: list[str], classes: tuple[str, ...]
) -> None:
    """Each corruption at severities 1, 3 and 5, one image a corruption, with what every generation says."""
    images = context.sets["val"]
    album.group("corruptions", "Each corruption at severities 1, 3 and 5")
    for number, corruption in enumerate(CORRUPTIONS):
        row = derive_seed("sample", number) % len(images)
        for severity in _SEVERITIES:
            cells = {name: read_npz(folder.cell(name, "imagenet-c", f"{corruption}-{severity}")) for name in names}
            album.add(
                corrupted(images.take(slice(row, row + 1)), corruption, severity, context.config)[0],
                f"{corruption.replace('_', ' ')}, severity {severity}",
                subset=corruption,
                level=str(severity),
                truth=classes[images.labels[row]],
                predictions={name: classes[cell["top1"][row]] for name, cell in cells.items()},
            )


def _adversarial(album: _Album, engine: Engine, classes: tuple[str, ...]) -> None:
    """Clean, attacked and the difference times 8, for generation 0 and the last one."""
    images, epsilon = engine.task.evaluation["val"], _ADVERSARIAL_EPSILON_PX
    names = ["0", str(engine.config.generations)] if engine.config.generations else ["0"]
    sweeps = {name: read_npz(engine.folder.cell(name, "fgsm", "sweep")) for name in names}
    if epsilon not in sweeps["0"]["epsilons_px"]:
        return
    column = int(np.flatnonzero(sweeps["0"]["epsilons_px"] == epsilon)[0])
    wrong_then_right = (sweeps["0"]["top1"][column] != images.labels) & (
        sweeps[names[-1]]["top1"][column] == images.labels
    )
    rows = np.flatnonzero(wrong_then_right)[:4]
    album.group("adversarial", f"FGSM at {epsilon:g}/255 where generation 0 errs: clean, attacked, difference × 8")
    for row in rows:
        for name in names:
            model = engine.model(name)
            clean = to_batch(images.pixels[row : row + 1], "cpu")
            (attacked,) = fgsm(model, clean, torch.tensor(images.labels[row : row + 1]), [epsilon / 255])
            difference = (attacked - clean) * 8 / 2 + 0.5
            strip = torch.cat([clean, attacked, difference.clamp(0, 1)], dim=3)[0].permute(1, 2, 0)
            album.add(
                (strip * 255).round().byte().numpy(),
                f"attacked in generation {name}",
                subset="fgsm",
                level=f"{epsilon:g}",
                truth=classes[images.labels[row]],
                predictions={name: classes[sweeps[name]["top1"][column][row]]},
            )


def _flips(album: _Album, context: EvalContext, folder: RunFolder, last: str, classes: tuple[str, ...]) -> None:
    """The film of each perturbation in which generation 0 flickers most beyond the last generation."""
    images = source_images(context.sets["val"], context.config.perturbation_images)
    album.group("flips", "Films where generation 0 flickers more than the last generation")
    for path in sorted((folder.generation("0") / "evals" / "imagenet-p").glob("*.npz")):
        name = path.stem
        first, final = (read_npz(folder.cell(g, "imagenet-p", name))["top1"] for g in ("0", last))
        noise = is_noise_perturbation(name)
        gain = flips_per_video(first, noise=noise) - flips_per_video(final, noise=noise)
        video = int(np.argmax(gain))
        if gain[video] <= 0:
            continue
        frames = films(images, [video], name, context.config)[0].permute(0, 2, 3, 1).numpy()[::3]  # [T', H, W, 3]
        album.add(
            np.concatenate(list(frames), axis=1),
            f"{name.replace('_', ' ')}, every third frame",
            subset=name,
            level="",
            truth=classes[images.labels[video]],
            predictions={
                g: " ".join(classes[c] for c in top1[video][::3]) for g, top1 in (("0", first), (last, final))
            },
        )


def _pseudo_labels(album: _Album, engine: Engine, name: str) -> None:
    """The last student's most confident, filtered-out and wrong pseudo-labels of the pool's first shard."""
    truth, classes = engine.task.truth, engine.task.classes
    table = pq.read_table(label_path(engine.folder.labels(name), 0), columns=["label", "confidence"])
    labels, confidence = table["label"].to_numpy(), table["confidence"].to_numpy()
    kept = read_copies(label_path(engine.selection(name), 0)) > 0
    known = np.full(len(labels), -1) if truth is None else truth.labels[: len(labels)]
    order = np.argsort(-confidence, kind="stable")
    filtered = order[~kept[order] & (confidence[order] < engine.config.select.min_confidence)]
    wrong = order[kept[order] & (labels[order] != known[order])] if truth is not None else order[:0]
    groups = (
        ("confident", "Most confident pseudo-labels of the last student's teacher", order[labels[order] >= 0]),
        ("filtered", "Dropped as unsure", filtered[labels[filtered] >= 0]),
        ("wrong", "Kept and wrong, most confident first", wrong),
    )
    images = engine.task.unlabelled.shard(0)
    for group, title, rows in groups:
        album.group(group, title)
        for row in rows[:_PICTURES_A_GROUP].tolist():
            source = str(truth.sources[row]) if truth is not None else ""
            shown = classes[known[row]] if known[row] >= 0 else "none of the classes"
            album.add(
                images.pixels[row] if isinstance(images, ImageSet) else _THUMBNAIL.show(images.stored(row)),
                ", ".join(filter(None, (f"{confidence[row]:.2f}", source))),
                subset=source,
                level="",
                truth=shown if truth is not None else "",
                predictions={str(int(name) - 1): classes[labels[row]]},
            )
