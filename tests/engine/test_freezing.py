"""Which parts of a model learn, and in what arithmetic: FixRes, batch norm, bf16, memory layout, weight average."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from nsbench.config import Config
from nsbench.data.images import Task
from nsbench.engine.freezing import freeze_blocks, prepare
from nsbench.engine.loop import Trained, train
from nsbench.engine.trainingrun import TrainingRun
from nsbench.errors import ConfigError
from nsbench.models import build
from nsbench.runfolder import RunFolder
from nsbench.track import Curves, Progress

from .conftest import TINY, TRAIN
from .test_generations import changed, engine

MakeRun = Callable[..., TrainingRun]
CPU = torch.device("cpu")


def trained(run: TrainingRun, curves: Path) -> Trained:
    model = build(run.model, 4, run.seed)
    return train(run, model, device=CPU, workers=0, progress=Progress("none"), curves=Curves(curves))


def test_fixres_leaves_frozen_blocks_bit_for_bit(config: Config, task: Task, tmp_path: Path) -> None:
    """Weights and batch-norm statistics of the stem and the first block stay; everything behind them moves."""
    fixed = dataclasses.replace(config, generations=1, control=False)
    fixed = changed(fixed, {"fixres": {"steps": 3, "input_px": 24, "frozen_blocks": 1, "learning_rate": 0.1}})
    made = engine(fixed, task, tmp_path)
    list(made.run())
    before = safetensors.torch.load(made.folder.phase_weights("1", "main").read_bytes())
    after = safetensors.torch.load(made.folder.weights("1").read_bytes())
    stay = {name for name in before if torch.equal(before[name], after[name])} - {"mean", "std"}
    frozen = {name for name in before if name.startswith(("net.conv1.", "net.bn1.", "net.layer1.0."))}
    assert any(name.endswith("running_var") for name in frozen)
    assert stay == frozen
    assert made.view("1").size == 24
    assert made.view("0").size == 16


@pytest.mark.parametrize(("blocks", "frozen"), [(0, ()), (1, ("conv1", "bn1", "layer1"))])
def test_blocks_are_counted_from_the_stem(blocks: int, frozen: tuple[str, ...]) -> None:
    model = build(TINY, 4, 0)
    freeze_blocks(model, blocks)
    stays = {name for name, parameter in model.net.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in stays} == set(frozen)


def test_more_blocks_than_there_are_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"fixres\.frozen_blocks is 99; this model has \d+ blocks and a stem"):
        freeze_blocks(build(TINY, 4, 0), 99)


def test_synchronised_batch_norm_needs_cuda() -> None:
    model, config = build(TINY, 4, 0), dataclasses.replace(TRAIN, batch_norm="sync")
    assert prepare(model, config) is model
    with pytest.raises(ConfigError, match=r"needs CUDA"):
        prepare(model, config, world=2)


@pytest.mark.parametrize("batch_norm", ["own", "frozen"])
def test_frozen_statistics_never_move(make_run: MakeRun, tmp_path: Path, batch_norm: Any) -> None:
    run = make_run(train=dataclasses.replace(TRAIN, batch_norm=batch_norm))
    done = trained(run, tmp_path / "c")
    for model in (done.model, done.raw):
        for name, value in build(TINY, 4, 3).state_dict().items():
            if "running" in name or "tracked" in name:
                assert torch.equal(model.state_dict()[name], value) == (batch_norm == "frozen"), name
    assert not torch.equal(done.raw.net.fc.weight, build(TINY, 4, 3).net.fc.weight)  # type: ignore[union-attr, arg-type]


def test_bf16_keeps_weights_and_averages_in_fp32(make_run: MakeRun, tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def logits(run: TrainingRun) -> Trained:
        model = build(run.model, 4, run.seed)
        model.register_forward_hook(lambda _module, _given, said: seen.append(said.detach()))
        return train(run, model, device=CPU, workers=0, progress=Progress("none"), curves=Curves(tmp_path / "c"))

    full, half = (logits(make_run(train=dataclasses.replace(TRAIN, amp=amp))) for amp in ("off", "bf16"))
    assert [said.dtype for said in seen] == [torch.float32] * 5 + [torch.bfloat16] * 5
    for one, other in ((full.model, half.model), (full.raw, half.raw)):
        for name, value in other.state_dict().items():
            assert value.dtype == one.state_dict()[name].dtype
            assert torch.isfinite(value).all()
    torch.testing.assert_close(half.raw.net.fc.weight, full.raw.net.fc.weight, rtol=0.1, atol=0.02)  # type: ignore[union-attr]
    assert not torch.equal(half.raw.net.fc.weight, full.raw.net.fc.weight)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("on", [True, False])
def test_memory_layout(make_run: MakeRun, tmp_path: Path, on: bool) -> None:
    done = trained(make_run(train=dataclasses.replace(TRAIN, channels_last=on)), tmp_path / "c")
    kernel = next(module for module in done.raw.modules() if isinstance(module, nn.Conv2d)).weight
    layout = torch.channels_last if on else torch.contiguous_format
    assert kernel.is_contiguous(memory_format=layout)


def test_an_average_with_decay_0_is_the_raw_weights(make_run: MakeRun, tmp_path: Path) -> None:
    for decay in (0.0, 0.9):
        done = trained(make_run(train=dataclasses.replace(TRAIN, ema_decay=decay)), tmp_path / "c")
        same = [
            torch.equal(one, other) for one, other in zip(done.model.parameters(), done.raw.parameters(), strict=True)
        ]
        assert all(same) == (decay == 0)


def test_weights_of_all_phases_are_kept(config: Config, task: Task, tmp_path: Path) -> None:
    """`pretrain-finetune` and FixRes: each phase begins where the one before ended."""
    small = dataclasses.replace(config, generations=1, control=False)
    still = {
        "stages": "pretrain-finetune",
        "finetune_steps": 2,
        "finetune_learning_rate": 1e-12,
        "batch_norm": "frozen",
    }
    made = engine(changed(small, {"train": still}), task, tmp_path)
    list(made.run())
    folder = RunFolder(tmp_path)
    before, after = (
        safetensors.torch.load(path.read_bytes())
        for path in (folder.phase_weights("1", "pretrain"), folder.weights("1"))
    )
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-6, atol=1e-7)
