"""The harness: what is measured on every generation. One file, one `EVAL`, one line in this table."""

from __future__ import annotations

from nsbench.evals import attacks, fgsm, imagenet, imagenet_a, imagenet_c, imagenet_c_bar, imagenet_p, variants
from nsbench.evals.base import Eval, EvalContext, Records, Sets

__all__ = ["EVALS", "Eval", "EvalContext", "Records", "Sets"]

EVALS: dict[str, Eval] = {
    "imagenet": imagenet.EVAL,
    "imagenet-a": imagenet_a.EVAL,
    "imagenet-r": variants.IMAGENET_R,
    "imagenet-v2": variants.IMAGENET_V2,
    "imagenet-sketch": variants.IMAGENET_SKETCH,
    "imagenet-o": variants.IMAGENET_O,
    "objectnet": variants.OBJECTNET,
    "imagenet-c": imagenet_c.EVAL,
    "imagenet-c-bar": imagenet_c_bar.EVAL,
    "imagenet-p": imagenet_p.EVAL,
    "fgsm": fgsm.EVAL,
    "attacks": attacks.EVAL,
}
