"""Which parts of a model learn: batch norm by the run's choice; FixRes freezes shallow blocks (paper, section 3.1)."""

from __future__ import annotations

from torch import nn

from nsbench.errors import ConfigError
from nsbench.models import PixelModel
from nsbench.trainingconfig import TrainConfig

_BatchNorm = nn.modules.batchnorm._BatchNorm


def prepare(model: PixelModel, config: TrainConfig, *, world: int = 1) -> PixelModel:
    """The model with the batch norm that the run asks for.

    Raises:
        ConfigError: synchronised statistics on the CPU, where torch has none.
    """
    if config.batch_norm != "sync" or world == 1:
        return model
    if next(model.parameters()).device.type != "cuda":
        raise ConfigError("train.batch_norm = 'sync' needs CUDA; on the CPU use 'own' or 'frozen'")
    synchronised: PixelModel = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return synchronised


def freeze_blocks(model: PixelModel, num_blocks: int) -> None:
    """Freeze the stem and the first `num_blocks` blocks: they get no gradient (official `fix_layer_num`).

    Blocks are counted as timm groups a model's layers from its input on.

    Raises:
        ConfigError: timm does not know the order of this model's layers, or it has fewer blocks.
    """
    if not num_blocks:
        return
    from timm.models._manipulate import group_with_matcher

    net = model.net
    if not hasattr(net, "group_matcher"):
        raise ConfigError("fixres.frozen_blocks needs a model whose layers timm can order; set it to 0")
    groups = group_with_matcher(net.named_parameters(), net.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
    layers = sorted(set(groups.values()))
    if num_blocks >= len(layers) - 1:
        raise ConfigError(f"fixres.frozen_blocks is {num_blocks}; this model has {len(layers) - 2} blocks and a stem")
    frozen = set(layers[: num_blocks + 1])
    for name, parameter in net.named_parameters():
        if groups[name] in frozen:
            parameter.requires_grad_(False)


def set_training(model: nn.Module, config: TrainConfig) -> None:
    """Training mode, but for what is frozen: whole blocks, which drop nothing, and batch norms by the run's choice."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        is_frozen = bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
        if is_frozen or (config.batch_norm == "frozen" and isinstance(module, _BatchNorm)):
            module.eval()
