"""The harness: what is measured on every generation. One file, one `EVAL`, one line in this table."""

from __future__ import annotations

from nsbench.evals import attacks, fgsm, imagenet, imagenet_a, imagenet_c, imagenet_p
from nsbench.evals.base import Eval, EvalContext, Records, Sets

__all__ = ["EVALS", "Eval", "EvalContext", "Records", "Sets"]

EVALS: dict[str, Eval] = {
    "imagenet": imagenet.EVAL,
    "imagenet-a": imagenet_a.EVAL,
    "imagenet-c": imagenet_c.EVAL,
    "imagenet-p": imagenet_p.EVAL,
    "fgsm": fgsm.EVAL,
    "attacks": attacks.EVAL,
}
