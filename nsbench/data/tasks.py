"""The task of a configuration: the embedded digits, SVHN, or the user's own images, in memory or as photographs."""

from __future__ import annotations

from nsbench.config import DataConfig
from nsbench.data import mnist5k
from nsbench.data.heldtask import held_task, svhn_task
from nsbench.data.images import Task
from nsbench.data.phototask import photo_task
from nsbench.errors import ConfigError
from nsbench.track import Progress


def load_task(config: DataConfig, seed: int, progress: Progress | None = None) -> Task:
    """What a run learns from and is measured on.

    No image of `val` is among the others (`nsbench.data.overlap`); `Task.notes` counts those that were. With
    `labelled_per_class` the labelled images are drawn by `seed`; a larger number draws the same ones and more.

    Args:
        seed: the run's, 0 or more.
        progress: shows counters.

    Raises:
        ConfigError: `eval_split` asks for images that the data set has not.
        DataError: images that are not there, cannot be read or are too few; class names that differ.
    """
    progress = progress or Progress("none")
    if config.dataset == "mnist5k":
        return mnist5k.load_task(config, seed)
    if config.dataset == "svhn":
        return svhn_task(config, seed)
    if config.eval_split != "val":
        raise ConfigError("data.eval_split is 'dev', which `files` has not; name images for choices with data.val")
    return held_task(config, seed, progress) if config.image_px else photo_task(config, seed, progress)
