"""Caches of downloads in a temporary folder, filled by the tests: real loaders, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from nsbench.files import write_text


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache but the test's own, and no try to fetch anything."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def network(architecture: str, seed: int = 0, **arguments: object) -> nn.Module:
    """A timm network with random weights that follow from the seed, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(architecture, pretrained=False, **arguments).eval()


@pytest.fixture
def cached(tmp_path: Path) -> Callable[..., None]:
    """Put a network, and perhaps a config.json, in the hub's cache, as a download would."""

    def put(repository: str, net: nn.Module, config: str = "") -> None:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        commit = "0" * 40
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        safetensors.torch.save_file(net.state_dict(), snapshot / "model.safetensors")
        if config:
            write_text(snapshot / "config.json", config)

    return put


def normalised(net: nn.Module, images: torch.Tensor, mean: float | tuple[float, ...], std: float | tuple[float, ...]):
    """Logits of a network by hand, channel by channel."""
    means, stds = (value if isinstance(value, tuple) else (value,) * 3 for value in (mean, std))
    with torch.no_grad():
        return net(torch.stack([(images[:, c] - means[c]) / stds[c] for c in range(3)], dim=1))
