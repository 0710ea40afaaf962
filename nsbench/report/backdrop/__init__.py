"""What others published of known models, as the background of one's own figures.

`timm.csv`: accuracies in percent as pytorch-image-models prints them at commit aa4b5850 in `results/results-*.csv`
(ImageNet-A and -R among their 200 classes, `_clean` on ImageNet's validation images of the same classes), and
`extra_data`: what a model was trained on besides ImageNet-1k, as the tag in its name says; empty where nothing.
"""

from __future__ import annotations

import functools
from importlib import resources

import pandas as pd


@functools.cache
def timm_models() -> pd.DataFrame:
    """One row a model and size: text, and accuracies as fractions, nan where timm has none."""
    with (resources.files(__name__) / "timm.csv").open(encoding="utf-8") as stream:
        frame = pd.read_csv(stream, dtype={"extra_data": str}, keep_default_na=False, na_values=[""])
    accuracies = {str(name): frame[name] / 100 for name in frame if str(name).endswith("_top1")}
    return frame.assign(extra_data=frame["extra_data"].fillna(""), **accuracies)
