"""Attacks inside the L-infinity ball: FGSM, PGD, a control of random signs, and whatever torchattacks has.

Pure and model-agnostic. A model takes float images [N, 3, H, W] in [0, 1], so every epsilon is in units of that
range; labels are the true ones, since those that the model predicts would spare the images it has wrong already.
"""

from nsbench.attacks.library import autoattack, radius_argument, torchattacks_attack, torchattacks_class
from nsbench.attacks.signed import FgsmResult, fgsm, fgsm_sweep, pgd, random_sign

__all__ = [
    "FgsmResult",
    "autoattack",
    "fgsm",
    "fgsm_sweep",
    "pgd",
    "radius_argument",
    "random_sign",
    "torchattacks_attack",
    "torchattacks_class",
]
