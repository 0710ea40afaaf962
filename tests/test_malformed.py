"""Malformed inputs of every kind through the real command line: one clear line each, and nothing lost.

A row of a table is what a user has, the command, the exit code, and what the line must say.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf

import nsbench
from nsbench.cli import run
from nsbench.data.video import encode_clip
from nsbench.files import read_npz, write_npz
from nsbench.results import read_results
from tests.data.layouts import (
    VAL,
    WNIDS,
    flat_val,
    hub_schema_metadata,
    jpeg,
    link,
    photograph,
    square,
    write,
    write_caffe,
    write_mappings,
)

Make = Callable[[Path], Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """One malformed input."""

    said: str
    """What the line says; `{root}` is the folder of the case."""
    command: str
    """Words of the command line; `{model}` and `{data}` are sound."""
    code: int
    make: Make = lambda _: None
    """Writes the input below `{root}`, which is the current directory."""


# what users have ---------------------------------------------------------------------------------------------------


def network(**arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    made: torch.nn.Module = timm.create_model("test_resnet", **{"num_classes": 1000, **arguments})
    return made


def timm_folder(root: Path, *, config: Any = None, weights: bytes | None = None, **arguments: Any) -> Path:
    """timm's form of a model; `config` replaces keys of the JSON, or all of it."""
    save_for_hf(network(**arguments), root, safe_serialization=True)
    path = root / "config.json"
    if isinstance(config, dict):
        path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    elif config is not None:
        path.write_text(config)
    if weights is not None:
        (root / "model.safetensors").write_bytes(weights)
    return root


def cut(path: Path, length: int) -> Path:
    path.write_bytes(path.read_bytes()[:length])
    return path


def saved(change: Callable[[dict[str, Any]], Any], name: str = "w.pth") -> Make:
    """A checkpoint of what `change` makes of a sound state dict."""
    return lambda root: torch.save(change(dict(network().state_dict())), root / name)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch executed",))


def code(text: str) -> Make:
    """`mine.py` in the current directory; every case imports its own."""
    head = "import torch\nfrom torch import nn\n"
    return lambda root: write(root / f"mine_{root.name}.py", head + text)


def module(body: str) -> Make:
    return code(f"class Net(nn.Module):\n    def forward(self, x):\n        {body}\n")


def images(root: Path, name: str = "val", classes: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Three photographs in folders of WordNet ids."""
    for index in classes:
        link(root / name / WNIDS[index] / f"{index}.JPEG", index)
    return root / name


def with_image(content: bytes | None, name: str = "bad.JPEG", *, folder: str = f"val/{WNIDS[1]}") -> Make:
    """A sound set, and one file more in it; None: a link to nowhere."""

    def make(root: Path) -> None:
        images(root)
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.symlink_to(root / "gone.JPEG")
        else:
            path.write_bytes(content)

    return make


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A small file that says it is a huge image."""
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def cell(root: Path, place: str, *sides: int | tuple[int, int], index: int = 3) -> Path:
    """Images of a released corruption, one for each size."""
    for number, side in enumerate(sides):
        size = (side, side) if isinstance(side, int) else side
        write(root / place / WNIDS[index] / f"{number}.JPEG", jpeg(square(index).resize(size)))
    return root / place


def clip(frames: int = 31, size: tuple[int, int] = (32, 32)) -> bytes:
    shown = np.asarray(square(5).resize((size[1], size[0])))
    return encode_clip(np.stack([np.roll(shown, n, 1) for n in range(frames)]), grain=False)


def with_clip(content: bytes) -> Make:
    """Two sound clips and another."""

    def make(root: Path) -> None:
        for index in (3, 4):
            write(root / "imagenet-p" / "tilt" / WNIDS[index] / "a.mp4", clip())
        write(root / "imagenet-p" / "tilt" / WNIDS[3] / "b.mp4", content)

    return make


def table(
    rows: list[Any], labels: Any, *, names: tuple[str, str] = ("image", "label"), classes: Any = None, cut_to: int = 0
) -> Make:
    """A Parquet file in the hub's form."""

    def make(root: Path) -> None:
        contents = [{"bytes": row, "path": None} if isinstance(row, bytes | None) else row for row in rows]
        made = pa.table({names[0]: pa.array(contents), names[1]: pa.array(labels)})
        if classes:
            made = made.replace_schema_metadata(hub_schema_metadata(classes))
        (root / "val").mkdir()
        pq.write_table(made, root / "val" / "test.parquet")
        if cut_to:
            cut(root / "val" / "test.parquet", cut_to)

    return make


def flat(**files: str | bytes) -> Make:
    """ImageNet's validation images in one folder, with these files beside them."""

    def make(root: Path) -> None:
        flat_val(root / "val")
        for name, content in files.items():
            write(root / "val" / name.replace("__", "."), content)

    return make


def run_json(content: str) -> Make:
    def make(root: Path) -> None:
        write(root / "run" / "config.toml", 'models = ["a"]\n')
        write(root / "run" / "run.json", content)

    return make


PHOTO = photograph(3).read_bytes()
SMALL = [jpeg(square(index).resize((32, 32))) for index in (0, 1, 2)]
CORRUPT = "corrupt {root}/val {root}/out --progress none"
ON_ROOT = "eval {model} --data-dir {root} --progress none"
ON_DATA = "--data-dir {data} --evals imagenet --progress none"

MODELS = [
    Case("did you mean 'resnet50'", f"eval resnet5o {ON_DATA}", 2),
    Case("timm knows no model 'resnet50.tv_in2k'; did you mean 'resnet50.tv", f"eval resnet50.tv_in2k {ON_DATA}", 2),
    Case("no classifier 'alexnett'; did you mean 'alexnet'", f"eval torchvision:alexnett {ON_DATA}", 2),
    Case("no weights 'IMAGENET1K_V9' for resnet50", f"eval torchvision:resnet50:IMAGENET1K_V9 {ON_DATA}", 2),
    Case("did you mean 'torchvision'", f"eval torchvison:alexnet {ON_DATA}", 2),
    Case("unknown model 'pypi:efficientnet-lite9'", f"eval pypi:efficientnet-lite9 {ON_DATA}", 2),
    Case("write hf-hub:organisation/model", f"eval hf-hub:nothing {ON_DATA}", 2),
    Case("unknown kind of model 'hfhub:'", f"eval hfhub:timm/resnet18 {ON_DATA}", 2),
    Case("{root}/m/config.json cannot be read (No such file", f"eval local-dir:{{root}}/m {ON_DATA}", 3),
    Case(
        "config.json cannot be read (Expecting",
        f"eval local-dir:m {ON_DATA}",
        3,
        lambda root: timm_folder(root / "m", config="{architecture: x"),
    ),
    Case(
        "did you mean 'test_resnet'",
        f"eval local-dir:m {ON_DATA}",
        3,
        lambda root: timm_folder(root / "m", config={"architecture": "test_resnett"}),
    ),
    Case(
        "names no architecture", f"eval local-dir:m {ON_DATA}", 3, lambda root: timm_folder(root / "m", config="[1, 2]")
    ),
    Case(
        "local-dir:m cannot be loaded",
        f"eval local-dir:m {ON_DATA}",
        3,
        lambda root: cut(timm_folder(root / "m") / "model.safetensors", 5000),
    ),
    Case(
        "local-dir:m cannot be loaded",
        f"eval local-dir:m {ON_DATA}",
        3,
        lambda root: (timm_folder(root / "m") / "model.safetensors").unlink(),
    ),
    Case(
        "local-dir:m",
        f"eval local-dir:m {ON_DATA}",
        3,
        lambda root: timm_folder(root / "m", config={"num_classes": 10}),
    ),
    Case(
        "damaged data configuration",
        f"eval local-dir:m {ON_DATA}",
        3,
        lambda root: timm_folder(root / "m", config={"pretrained_cfg": {"std": [0, 0, 0], "num_classes": 1000}}),
    ),
    Case("a model's name is empty", f"eval '' {ON_DATA}", 2),
    Case("plain is no run folder", f"eval plain {ON_DATA}", 2, lambda root: (root / "plain").mkdir()),
    Case("write local-dir:m", f"eval m {ON_DATA}", 2, lambda root: timm_folder(root / "m")),
    Case(
        "is no run folder, generation or checkpoint", f"eval ./m.onnx {ON_DATA}", 2, lambda r: write(r / "m.onnx", b"")
    ),
    Case("it does not exist", f"eval models/resnet {ON_DATA}", 2),
    Case("there is no Python module 'nowhere'", f"eval nowhere.models:build {ON_DATA}", 2),
    Case("json has no function 'loadz'; did you mean 'load", f"eval json:loadz {ON_DATA}", 2),
    Case("raised SyntaxError", f"eval mine_{{name}}:build {ON_DATA}", 2, code("def build(:\n")),
    Case(
        "raised ZeroDivisionError: division by zero",
        f"eval mine_{{name}}:build {ON_DATA}",
        2,
        code("def build():\n    1 / 0\n"),
    ),
    Case("returned str", f"eval mine_{{name}}:build {ON_DATA}", 2, code("def build():\n    return 'resnet'\n")),
    Case(
        "gives float32 [1] for one image",
        f"eval mine_{{name}}:Net {ON_DATA}",
        3,
        module("return x.mean(dim=(1, 2, 3))"),
    ),
    Case("gives tuple; it must give one tensor", f"eval mine_{{name}}:Net {ON_DATA}", 3, module("return x, x")),
    Case(
        "not finite for a grey image",
        f"eval mine_{{name}}:Net {ON_DATA}",
        3,
        module("return torch.full((len(x), 1000), float('nan'))"),
    ),
    Case(
        "fails on an image of 224 x 224 px (RuntimeError",
        f"eval mine_{{name}}:Net {ON_DATA}",
        3,
        module("return x.reshape(len(x), 7)"),
    ),
    Case(
        "the 11,821 classes of imagenet-12k, without",
        f"eval mine_{{name}}:Net {ON_DATA}",
        3,
        module("return torch.zeros(len(x), 11821)"),
    ),
    Case(
        "none of the evals asked for can run (imagenet: mine_{name}:Net has 10 classes, and val 3)",
        f"eval mine_{{name}}:Net {ON_DATA}",
        3,
        module("return torch.zeros(len(x), 10)"),
    ),
    Case(
        "'cat' is none of ImageNet's 1,000 WordNet ids",
        f"{ON_ROOT} --evals imagenet",
        3,
        lambda root: (images(root), link(root / "val/cat/a.JPEG", 281)),
    ),
    Case(
        "(imagenet: {model} has 1,000 classes, and val 2)",
        f"{ON_ROOT} --evals imagenet",
        3,
        lambda root: [link(root / f"val/{name}/a.JPEG", 281) for name in ("cat", "dog")],
    ),
    Case(
        "failed imagenet/val: the model's logits are not finite for 3 of 3 images",
        f"eval mine_{{name}}:Net {ON_DATA}",
        5,
        module("return torch.full((len(x), 1000), float('nan') if len(x) > 1 else 0.0)"),
    ),
    Case(
        "failed imagenet/val: the model fails on 128 images of 224 px (AssertionError: one at a time)",
        f"eval mine_{{name}}:Net {ON_DATA}",
        5,
        module("assert len(x) == 1, 'one at a time'\n        return torch.zeros(len(x), 1000)"),
    ),
    Case(
        "failed imagenet/val: the model gives [1, 1000] for 128 images; it must give logits [128, classes]",
        f"eval mine_{{name}}:Net {ON_DATA}",
        5,
        module("return torch.zeros(1, 1000)"),
    ),
    Case(
        "failed fgsm/sweep: the model fails on images that a gradient is asked of",
        f"eval mine_{{name}}:Net {ON_DATA} --evals fgsm",
        5,
        module("return x.sub_(0.5).mean((2, 3)).repeat(1, 334)[:, :1000]"),
    ),
    Case(
        "failed fgsm/sweep: the model passes no gradient",
        f"eval mine_{{name}}:Net {ON_DATA} --evals fgsm",
        5,
        module("return x.detach().mean((2, 3)).repeat(1, 334)[:, :1000]"),
    ),
    Case("for batches of 9,000,000 images; choose a smaller -b", f"eval {{model}} {ON_DATA} -b 9000000", 5),
    Case("named twice", f"eval {{model}} {{model}} {ON_DATA}", 2),
    Case("gone is not a run folder", f"eval {{model}} {ON_DATA} --baseline gone", 3),
    Case(r"'data\udcff' is not UTF-8", "eval {model} --data-dir data\udcff", 2),
    Case("Missing argument 'MODEL...'", f"eval {ON_DATA}", 2),
    Case("schema 1, not 2", f"eval run {ON_DATA}", 3, run_json('{"schema": 1}')),
    Case(
        "holds the records of an evaluation",
        f"eval run {ON_DATA}",
        3,
        run_json(
            '{"schema": 2, "kind": "models", "name": "run", "seed": 0, "order": [], "models": {}, "plans": {}, '
            '"hardware": {}}'
        ),
    ),
    Case("no published figures of {model}", "certify {model} --data-dir {data}", 2),
]

WEIGHTS = [
    Case("there is no checkpoint gone.pth", f"eval test_resnet=gone.pth {ON_DATA}", 3),
    Case("w.pth is damaged", f"eval test_resnet=w.pth {ON_DATA}", 3, lambda root: write(root / "w.pth", b"")),
    Case("damaged", f"eval test_resnet=w.pth {ON_DATA}", 3, lambda root: write(root / "w.pth", b"<html>404</html>")),
    Case(
        "damaged",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        lambda root: cut((saved(dict)(root), root / "w.pth")[1], 9000),
    ),
    Case(
        "w.safetensors is damaged or no safetensors file",
        f"eval test_resnet=w.safetensors {ON_DATA}",
        3,
        lambda root: cut((save_file(network().state_dict(), root / "w.safetensors"), root / "w.safetensors")[1], 5000),
    ),
    Case(
        "which would run code and is not loaded",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        lambda root: write(root / "w.pth", pickle.dumps({"state_dict": Hostile()}, protocol=2)),
    ),
    Case(
        "which would run code and is not loaded",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        lambda root: torch.save(network(), root / "w.pth"),
    ),
    Case("no tensors by name, but list", f"eval test_resnet=w.pth {ON_DATA}", 3, saved(lambda s: list(s.values()))),
    Case("no tensors by name, but dict", f"eval test_resnet=w.pth {ON_DATA}", 3, saved(lambda _: {})),
    Case("beside the tensors, of int", f"eval test_resnet=w.pth {ON_DATA}", 3, saved(lambda s: {**s, "epoch": 3})),
    Case(
        "w.pth does not fit test_resnet: it lacks 'fc.weight'",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        saved(lambda s: {key: value for key, value in s.items() if key != "fc.weight"}),
    ),
    Case(
        "'fc.bias' is [1], not [1000]",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        saved(lambda s: {**s, "fc.bias": torch.ones(1)}),
    ),
    Case(
        "'extra' is not one of its tensors",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        saved(lambda s: {**s, "extra": torch.ones(1)}),
    ),
    Case(
        "logits that are not finite",
        f"eval test_resnet=w.pth {ON_DATA}",
        3,
        saved(lambda s: {**s, "fc.bias": torch.full((1000,), float("nan"))}),
    ),
    Case("write ARCHITECTURE=w.pth", f"eval w.pth {ON_DATA}", 2, saved(dict)),
    Case("timm knows no model 'test_resnot'; did you mean", f"eval test_resnot=w.pth {ON_DATA}", 2, saved(dict)),
    Case("is a folder, not a checkpoint", f"eval test_resnet=w.pth {ON_DATA}", 3, lambda r: (r / "w.pth").mkdir()),
]

CONFIGS = [
    Case("config c.toml cannot be read (No such file", f"eval {{model}} --config c.toml {ON_DATA}", 2),
    Case("c.toml is not TOML", f"eval {{model}} --config c.toml {ON_DATA}", 2, lambda r: write(r / "c.toml", "a = ")),
    Case(
        "c.toml is not TOML",
        f"eval {{model}} --config c.toml {ON_DATA}",
        2,
        lambda r: write(r / "c.toml", b"a = '\xff'"),
    ),
    Case(
        "unknown key 'eval.batch_sise'; did you mean 'batch_size'",
        f"eval {{model}} --config c.toml {ON_DATA}",
        2,
        lambda root: write(root / "c.toml", "[eval]\nbatch_sise = 3\n"),
    ),
    Case(
        "eval.batch_size is '3'; it must be of type int",
        f"eval {{model}} --config c.toml {ON_DATA}",
        2,
        lambda root: write(root / "c.toml", "[eval]\nbatch_size = '3'\n"),
    ),
    Case(
        "'data' is not a section",
        f"eval {{model}} --config c.toml {ON_DATA}",
        2,
        lambda root: write(root / "c.toml", "data = 3\n"),
    ),
    Case(
        "extends itself",
        f"eval {{model}} --config c.toml {ON_DATA}",
        2,
        lambda root: write(root / "c.toml", 'extends = "c.toml"\n'),
    ),
    Case("no preset, TOML file or run folder 'c.json'", f"eval {{model}} --config c.json {ON_DATA}", 2),
    Case("unknown key", f"eval {{model}} --config mnist5k {ON_DATA}", 2),
    Case("config.toml cannot be read", f"eval {{model}} --config . {ON_DATA}", 2),
]

OPTIONS = [
    Case("unknown eval 'imagenetc'; did you mean 'imagenet", f"{ON_ROOT} --evals imagenetc", 2),
    Case("eval.evals names a value twice", f"{ON_ROOT} --evals imagenet,imagenet", 2),
    Case("unknown eval ''", f"{ON_ROOT} --evals imagenet,", 2),
    Case("eval.batch_size is 0", f"{ON_ROOT} -b 0", 2),
    Case("'many' is not a valid integer", f"{ON_ROOT} -b many", 2),
    Case("eval.limit is -1", f"{ON_ROOT} --limit -1", 2),
    Case("workers is -2", f"{ON_ROOT} -j -2", 2),
    Case("'fp16' is not one of", f"{ON_ROOT} --amp fp16", 2),
    Case("No such option", f"{ON_ROOT} --batchsize 3", 2),
    Case("'eval.limit' is not of the form section.key=value", f"{ON_ROOT} --set eval.limit", 2),
    Case("unknown key 'data.imagenet_d'", f"{ON_ROOT} --set data.imagenet_d=x", 2),
    Case("eval.epsilons_px must be in 0..255", f"{ON_ROOT} --set eval.epsilons_px=[0,300]", 2),
    Case("eval.epsilons_px must be in 0..255", f"{ON_ROOT} --set eval.epsilons_px=[nan]", 2),
    Case("view.std must be above 0", f"{ON_ROOT} --set view.std=[0.0,1.0,1.0]", 2),
    Case("view.mean must have three values", f"{ON_ROOT} --set view.mean=[0.5]", 2),
    Case("view.crop_pct is 1.5", f"{ON_ROOT} --set view.crop_pct=1.5", 2),
    Case("view.interpolation is 'area'", f"{ON_ROOT} --set view.interpolation=area", 2),
    Case("mean is (nan", f"{ON_DATA} --set view.mean=[nan,0.0,0.0]".replace("--data", "eval {model} --data", 1), 2),
    Case("cudaa", f"eval {{model}} {ON_DATA} --device cudaa", 2),
    Case("did you mean 'PGD'", f"eval {{model}} {ON_DATA} --set eval.torchattacks=['PGDD']", 2),
    Case("run folder run cannot be written", f"eval {{model}} {ON_DATA} -o run", 2, lambda r: write(r / "run", "x")),
    Case("holds other files than a run", f"eval {{model}} {ON_DATA} -o run", 2, lambda r: write(r / "run/thesis", "x")),
    Case(
        "is not a run folder; --fresh will not",
        f"eval {{model}} {ON_DATA} -o run --fresh",
        2,
        lambda r: write(r / "run/a", "x"),
    ),
    Case("differs in", f"eval {{model}} {ON_DATA} -o run", 2, run_json("{}")),
    Case("schema None, not 2", "report run", 3, run_json("{}")),
    Case("run.json cannot be read", "report run", 3, run_json("{")),
    Case("nowhere is not a run folder", "report nowhere", 3),
    Case("no images are named; give --data-dir", "eval {model}", 2),
    Case("no images are named; give --data-dir", "check", 2),
    Case("unknown command 'evl'; did you mean 'eval'", "evl {model}", 2),
    Case("unknown corruption 'fogg'", f"{CORRUPT} --corruption fogg", 2, images),
    Case("unknown severity 9", f"{CORRUPT} --corruption fog --severity 9", 2, images),
]

LAYOUTS = [
    Case("{root}/none does not exist", "eval {model} --data-dir {root}/none", 3),
    Case("holds none of val, imagenet-a", ON_ROOT, 3),
    Case("holds none of val", "eval {model} --data-dir {root}/a.txt", 3, lambda root: write(root / "a.txt", "x")),
    Case("data.val is gone, which does not exist", "eval {model} --set data.val=gone", 3),
    Case(
        "holds an image", f"{ON_ROOT} --evals imagenet", 3, lambda root: (root / "val" / WNIDS[0]).mkdir(parents=True)
    ),
    Case("is empty", f"{ON_ROOT} --evals imagenet", 3, lambda root: (root / "val").mkdir()),
    Case("and no labels; put", f"{ON_ROOT} --evals imagenet", 3, flat()),
    Case(
        "put its meta.mat beside it",
        f"{ON_ROOT} --evals imagenet",
        3,
        flat(ILSVRC2012_validation_ground_truth__txt="1\n"),
    ),
    Case(
        "is not the devkit's meta.mat",
        f"{ON_ROOT} --evals imagenet",
        3,
        flat(ILSVRC2012_validation_ground_truth__txt="1\n", meta__mat=b"no"),
    ),
    Case(
        "counts classes from 1",
        f"{ON_ROOT} --evals imagenet",
        3,
        flat(val__txt="".join(f"ILSVRC2012_val_{n:08}.JPEG {1000 - k}\n" for k, (n, _) in enumerate(VAL))),
    ),
    Case(
        "it counts the classes in another order",
        f"{ON_ROOT} --evals imagenet",
        3,
        lambda root: (
            write_caffe(flat_val(root / "val") / "val.txt", shift=-1)
            and (root / "val" / "val.txt").write_text((root / "val" / "val.txt").read_text().replace(" -1", " 5"))
        ),
    ),
    Case("val.txt, line 1: 'a b c'", f"{ON_ROOT} --evals imagenet", 3, flat(val__txt="a b c\n")),
    Case("has no label for 7 of 7 images", f"{ON_ROOT} --evals imagenet", 3, flat(val__txt="a.JPEG 3\n")),
    Case(
        "has no ImageId and PredictionString",
        f"{ON_ROOT} --evals imagenet",
        3,
        flat(LOC_val_solution__csv="ImageId\nILSVRC2012_val_00000001\n"),
    ),
    Case(
        "holds images without class folders, such as cat.jpg",
        f"{ON_ROOT} --evals imagenet",
        3,
        lambda root: link(root / "val" / "cat.jpg", 281),
    ),
    Case(
        "imagenet-a/cat is the folder of none of the 1,000 classes",
        f"{ON_ROOT} --evals imagenet-a",
        3,
        lambda root: (images(root, "imagenet-a"), link(root / "imagenet-a/cat/a.jpg", 281)),
    ),
    Case(
        "1000 is the folder of none of the 1,000 classes",
        f"{ON_ROOT} --evals imagenet-v2",
        3,
        lambda root: [link(root / f"imagenetv2/imagenetv2-top-images-format-val/{n}/a.jpeg", 3) for n in (3, 1000)],
    ),
    Case(
        "two folders for one class number",
        f"{ON_ROOT} --evals imagenet-v2",
        3,
        lambda root: [link(root / f"imagenetv2/imagenetv2-top-images-format-val/{n}/a.jpeg", 3) for n in ("7", "007")],
    ),
    Case(
        "holds no imagenetv2-matched-frequency-format-val",
        f"{ON_ROOT} --evals imagenet-v2",
        3,
        lambda root: images(root, "imagenetv2/stuff"),
    ),
    Case(
        "folder_to_objectnet_label.json cannot be read",
        f"{ON_ROOT} --evals objectnet",
        3,
        lambda root: link(root / "objectnet-1.0/images/chair/a.png", 423),
    ),
    Case(
        "the four files contradict one another",
        f"{ON_ROOT} --evals objectnet",
        3,
        lambda root: (
            link(root / "objectnet/images/chair/a.png", 423),
            write(write_mappings(root / "objectnet/mappings") / "imagenet_to_label_2012_v2", "one line\n"),
        ),
    ),
    Case(
        "holds none of the folders gaussian_noise",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: cell(root, "imagenet-c/fogg/1", 224),
    ),
    Case(
        "no folders 1 to 5 of severities",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: cell(root, "imagenet-c/fog/six", 224),
    ),
    Case(
        "mixes images of 224 px (fog-1) and of 299 px (fog-2)",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: (cell(root, "imagenet-c/fog/1", 224), cell(root, "imagenet-c/fog/2", 299)),
    ),
    Case(
        "holds fog twice",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: (cell(root, "imagenet-c/fog/1", 224), cell(root, "imagenet-c/weather/fog/1", 224)),
    ),
    Case(
        "0.JPEG is 224 x 200 px; the images of ImageNet-C are square",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: cell(root, "imagenet-c/fog/1", (224, 200)),
    ),
    Case(
        "a.JPEG is no image of a known format",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: write(root / f"imagenet-c/fog/1/{WNIDS[0]}/a.JPEG", "text"),
    ),
    Case(
        "a.png has too many pixels; the images of ImageNet-C have 224 x 224",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: write(root / f"imagenet-c/fog/1/{WNIDS[0]}/a.png", png_header(40_000, 40_000)),
    ),
    Case(
        "holds no images",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: (root / f"imagenet-c/fog/1/{WNIDS[0]}").mkdir(parents=True),
    ),
    Case(
        "holds no clips",
        f"{ON_ROOT} --evals imagenet-p",
        3,
        lambda root: write(root / f"imagenet-p/tilt/{WNIDS[0]}/a.avi", b"x"),
    ),
    Case("val is not a folder", "corrupt val out --corruption fog --progress none", 3),
    Case("none of the evals asked for can run", f"{ON_ROOT} --evals imagenet-sketch", 3, images),
    Case(
        "is the folder of none of the 1 classes",
        f"{ON_ROOT} --evals imagenet-c",
        3,
        lambda root: (link(root / "val" / "cat" / "a.JPEG", 3), cell(root, "imagenet-c/fog/1", 224)),
    ),
]

LABELS = [0, 1, 2]
TABLES = [
    Case("cannot be read", ON_ROOT, 3, lambda root: write(root / "val" / "test.parquet", b"PAR1 not")),
    Case("cannot be read", ON_ROOT, 3, table(SMALL, LABELS, cut_to=1500)),
    Case("needs the columns image and label; it has jpg, cls", ON_ROOT, 3, table(SMALL, LABELS, names=("jpg", "cls"))),
    Case("has 1 rows without a label", ON_ROOT, 3, table(SMALL, [0, None, 2])),
    Case("labels of -1", ON_ROOT, 3, table(SMALL, [-1, -1, -1])),
    Case("column label holds double, not class numbers", ON_ROOT, 3, table(SMALL, [0.0, 1.0, 2.0])),
    Case("not the bytes of image files", ON_ROOT, 3, table(["a.jpg", "b.jpg", "c.jpg"], LABELS)),
    Case("has a label 2, but names 2 classes", ON_ROOT, 3, table(SMALL, LABELS, classes=["cat", "dog"])),
    Case(
        "holds no rows",
        ON_ROOT,
        3,
        lambda root: (
            (root / "val").mkdir()
            or pq.write_table(
                pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}),
                root / "val/a.parquet",
            )
        ),
    ),
    Case(
        "holds the splits extra, train; name the file of one",
        ON_ROOT,
        3,
        lambda root: [write(root / f"val/{split}-0.parquet", b"x") for split in ("train", "extra")],
    ),
]

LISTS = [
    Case("ids.txt is no list of images: no such file", f"eval {{model}} {ON_DATA} --subset ids.txt", 2),
    Case("did you mean 'robustbench-5k'", f"eval {{model}} {ON_DATA} --subset robustbench5k", 2),
    Case(
        "ids.txt lists no image",
        f"eval {{model}} {ON_DATA} --subset ids.txt",
        3,
        lambda r: write(r / "ids.txt", "# a\n"),
    ),
    Case(
        "lists 0.JPEG twice",
        f"eval {{model}} {ON_DATA} --subset ids.txt",
        3,
        lambda r: write(r / "ids.txt", "0.JPEG\n0.JPEG\n"),
    ),
    Case(
        "cannot be read as a list",
        f"eval {{model}} {ON_DATA} --subset ids.txt",
        3,
        lambda r: write(r / "ids.txt", b"\xff\xfe\x00"),
    ),
    Case(
        "1 of the 2 images of ids.txt are missing in",
        f"eval {{model}} {ON_DATA} --subset ids.txt",
        3,
        lambda r: write(r / "ids.txt", f"{WNIDS[963]}/963.JPEG\nn01/x.JPEG\n"),
    ),
    Case(
        "4,998 of the 5,000 images of robustbench-5k are missing".replace("4,998", "5,000"),
        f"eval {{model}} {ON_DATA} --subset robustbench-5k",
        3,
    ),
    Case(
        "is the name of several images",
        f"{ON_ROOT} --subset ids.txt",
        3,
        lambda r: [link(r / "val" / WNIDS[n] / "a.JPEG", n) for n in LABELS] and write(r / "ids.txt", "a.JPEG\n"),
    ),
]

REFUSED = [*MODELS, *WEIGHTS, *CONFIGS, *OPTIONS, *LAYOUTS, *TABLES, *LISTS]

UNREADABLE = [
    ("bad.JPEG", with_image(PHOTO[:9000]), "imagenet"),
    ("bad.JPEG", with_image(b""), "imagenet"),
    ("bad.JPEG", with_image(b"<html>404 Not Found</html>"), "imagenet"),
    ("bad.JPEG", with_image(None), "imagenet"),
    ("bad.PNG", with_image(png_header(60_000, 60_000), "bad.PNG"), "imagenet"),
    ("bad.png", with_image(png_header(12_000, 12_000), "bad.png"), "imagenet"),
    ("bad.png", with_image(encoded(square(3), "PNG")[:5000], "bad.png"), "imagenet"),
    ("bad.bmp", with_image(encoded(square(3), "BMP")[:30], "bad.bmp"), "imagenet"),
    ("bad.webp", with_image(encoded(square(3), "WEBP")[:2000], "bad.webp"), "imagenet"),
    ("bad.tif", with_image(encoded(square(3), "TIFF")[:3000], "bad.tif"), "imagenet"),
    ("bad.png", with_image(encoded(Image.new("RGB", (1, 9000)), "PNG"), "bad.png"), "imagenet"),
    ("1.JPEG", lambda root: cell(root, "imagenet-c/fog/1", 224, 200, 224), "imagenet-c"),
    ("1.JPEG", lambda root: cut(cell(root, "imagenet-c/fog/1", *[224] * 3) / WNIDS[3] / "1.JPEG", 3000), "imagenet-c"),
    ("b.mp4", with_clip(clip()[:2500]), "imagenet-p"),
    ("b.mp4", with_clip(clip(30)), "imagenet-p"),
    ("b.mp4", with_clip(clip(32)), "imagenet-p"),
    ("b.mp4", with_clip(clip(size=(64, 64))), "imagenet-p"),
    ("b.mp4", with_clip(clip(size=(32, 48))), "imagenet-p"),
    ("b.mp4", with_clip(b""), "imagenet-p"),
    ("b.mp4", with_clip(PHOTO), "imagenet-p"),
    ("row 1", table([SMALL[0], None, SMALL[2]], LABELS), "imagenet"),
    ("row 1", table([SMALL[0], b"text", SMALL[2]], LABELS), "imagenet"),
    ("row 1", table([SMALL[0], SMALL[1][:400], SMALL[2]], LABELS), "imagenet"),
]  # fmt: skip
"""What the line names, what cannot be read, and the eval that meets it."""


# running them ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model and data with nothing wrong; the last class is not one of a small head's."""
    root = tmp_path_factory.mktemp("sound")
    images(root / "data", classes=(0, 1, 963))
    return {"model": f"local-dir:{timm_folder(root / 'model')}", "data": str(root / "data")}


@pytest.fixture(autouse=True)
def one_thread_and_no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def words(command: str, root: Path, sound: dict[str, str]) -> list[str]:
    filled = {**sound, "root": str(root), "name": root.name}
    return [re.sub(r"\{(\w+)\}", lambda found: filled[found[1]], word).replace("''", "") for word in command.split(" ")]


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(("note: ", "skipped "))]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: re.sub(r"\W+", "-", case.said)[:40])
def test_one_clear_line_and_nothing_lost(
    case: Case,
    sound: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    case.make(tmp_path)
    before = files(tmp_path)
    capfd.readouterr()
    code = run(words(case.command, tmp_path, sound))
    said = capfd.readouterr()
    (line,) = lines(said.err)
    assert line.startswith(("nsbench: ", "failed "))
    assert " ".join(words(case.said, tmp_path, sound)) in line
    assert code == case.code, line
    after = files(tmp_path)
    assert before.items() <= after.items()
    assert all(len(read_results(path)) == 0 for path in tmp_path.rglob("results.csv"))


@pytest.mark.parametrize(("named", "make", "evaluation"), UNREADABLE)
def test_what_cannot_be_read_is_one_line_or_left_out_and_counted(  # noqa: PLR0917
    named: str,
    make: Make,
    evaluation: str,
    sound: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    before = files(root)
    command = f"eval {{model}} --data-dir {{root}} --evals {evaluation} --progress none -b 2 -j 1 -o {tmp_path}/"
    capfd.readouterr()
    assert run(words(command + "error", root, sound)) == 5
    (line,) = lines(capfd.readouterr().err)
    assert line.startswith(f"failed {evaluation}/")
    assert named in line
    assert run(words(command + "skip --on-bad-image skip", root, sound)) == 0
    assert lines(capfd.readouterr().err) == []
    frame = read_results(tmp_path / "skip" / "results.csv")
    (counted,) = frame[frame.metric == "unreadable_images"].itertuples()
    assert counted.value == 1
    assert "left out: " in counted.protocol
    assert set(frame.n[frame.n > 0]) <= {counted.n}
    assert files(root) == before


def test_nothing_in_a_file_was_executed(sound: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, "w.pth")
    assert run(words(f"eval test_resnet=w.pth {ON_DATA}", tmp_path, sound)) == 3
    assert not Path("executed").exists()


def test_a_mount_points_folder_is_no_class(sound: dict[str, str], tmp_path: Path) -> None:
    """`lost+found` sorts before every WordNet id: as a class it would shift all labels by one."""
    images(tmp_path)
    command = "eval {model} --data-dir {root} --evals imagenet --progress none -o "
    for name in ("without", "with"):
        assert run([*words(command, tmp_path, sound)[:-1], str(tmp_path / "runs" / name)]) == 0
        (tmp_path / "val" / "lost+found").mkdir(exist_ok=True)
    without, shifted = (read_results(tmp_path / "runs" / name / "results.csv") for name in ("without", "with"))
    pd.testing.assert_frame_equal(without.drop(columns="run"), shifted.drop(columns="run"))
    assert without.protocol.str.contains("not held out").all()


def test_files_that_are_no_images_by_name_are_said(
    sound: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images(tmp_path)
    write(tmp_path / "val" / WNIDS[1] / "cat.heic", PHOTO)
    write(tmp_path / "val" / "loose.jpg", PHOTO)
    capfd.readouterr()
    command = words("eval {model} --data-dir {root} --evals imagenet --progress none", tmp_path, sound)
    assert run([*command, "-o", str(tmp_path / "run")]) == 0
    assert "note: val: 2 files are no images by their names and are left out" in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["gone", "no top1"])
def test_a_finished_run_with_a_damaged_cell_is_not_reported(
    damage: str, sound: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*words(f"eval {{model}} {ON_DATA}", tmp_path, sound), "-o", str(tmp_path / "run")]
    assert run([*command, "--evals", "imagenet,fgsm"]) == 0
    (path,) = (tmp_path / "run").rglob("val.npz")
    arrays = read_npz(path)
    path.unlink()
    if damage != "gone":
        arrays.pop("top1")
        write_npz(path, arrays)
    capfd.readouterr()
    assert run(["report", str(tmp_path / "run")]) == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert ("is gone, which the finished run had" if damage == "gone" else "has no array 'top1'") in line


def test_a_run_whose_answers_were_all_left_behind_is_shown_as_that(sound: dict[str, str], tmp_path: Path) -> None:
    """An archive of tables: nothing is computed anew, and the page says so."""
    root = tmp_path / "run"
    assert run([*words(f"eval {{model}} {ON_DATA}", tmp_path, sound), "-o", str(root)]) == 0
    before = (root / "results.csv").read_bytes()
    for path in root.rglob("*.npz"):
        path.unlink()
    assert run(["report", str(root)]) == 0
    assert (root / "results.csv").read_bytes() == before
    assert "from tables alone: predictions not kept" in (root / "report.html").read_text(encoding="utf-8")


def test_two_functions_of_one_name_are_two_models(sound: dict[str, str]) -> None:
    def model(bias: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: x.mean((1, 2, 3))[:, None] + bias * torch.arange(1000)

    frame = nsbench.evaluate([model(0), model(1)], sound["data"], ["imagenet"])
    assert sorted(set(frame.model)) == ["<lambda>", "<lambda>-1"]


def test_the_table_is_as_long_as_it_says() -> None:
    assert len(REFUSED) + len(UNREADABLE) >= 150
