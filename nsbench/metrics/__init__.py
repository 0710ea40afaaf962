"""Numbers from predictions: pure functions on NumPy arrays, without files and without torch.

    import numpy as np
    from nsbench.metrics import CORRUPTIONS, expected_calibration_error, mean_corruption_error, top1_correct

    correct = top1_correct(top1, labels)                        # [N] bool; correct.mean() is top-1 accuracy
    expected_calibration_error(confidence, correct)             # fraction; the confidence of the predicted class
    mean_corruption_error({name: errors[name] for name in CORRUPTIONS})  # mCE in percent of AlexNet's errors

Accuracies, errors, probabilities and calibration errors are fractions in 0..1; what is relative to a baseline (CE,
mCE, FR, mFR) is percent. What is undefined is `nan`, never 0; `ValueError` means that the arguments do not fit, and
says how. Every docstring gives shapes, range and the source of the formula.
"""

from nsbench.metrics.accuracy import top1_correct, topk_correct
from nsbench.metrics.bootstrap import (
    bootstrap_means,
    bootstrap_weights,
)
from nsbench.metrics.calibration import (
    aurra,
    brier_score,
    debiased_expected_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    rms_calibration_error,
)
from nsbench.metrics.corruption import (
    corruption_error,
    mean_ce,
    mean_corruption_error,
    relative_corruption_error,
    relative_mean_corruption_error,
    unnormalised_ce,
)
from nsbench.metrics.detection import area_under_precision_recall
from nsbench.metrics.diagnostics import error_where_both_right, negative_flips, worst_class_accuracy
from nsbench.metrics.flips import (
    flip_probability,
    flip_rate,
    flips_per_video,
    is_noise_perturbation,
    mean_flip_rate,
    top5_distance,
    top5_distance_per_video,
)
from nsbench.metrics.guards import Finding, findings
from nsbench.metrics.intervals import (
    bootstrap_p_value,
    holm,
    mcnemar_p_value,
    paired_difference_interval,
    percentile_interval,
    t_interval,
    wilson_interval,
)
from nsbench.metrics.reference import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    ALEXNET_FLIP_PROBABILITIES,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    EXTRA_PERTURBATIONS,
    PERTURBATIONS,
)

__all__ = [
    "ALEXNET_CLEAN_ERROR",
    "ALEXNET_ERRORS",
    "ALEXNET_FLIP_PROBABILITIES",
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "EXTRA_PERTURBATIONS",
    "PERTURBATIONS",
    "Finding",
    "area_under_precision_recall",
    "aurra",
    "bootstrap_means",
    "bootstrap_p_value",
    "bootstrap_weights",
    "brier_score",
    "corruption_error",
    "debiased_expected_calibration_error",
    "error_where_both_right",
    "expected_calibration_error",
    "findings",
    "flip_probability",
    "flip_rate",
    "flips_per_video",
    "holm",
    "is_noise_perturbation",
    "mcnemar_p_value",
    "mean_ce",
    "mean_corruption_error",
    "mean_flip_rate",
    "negative_flips",
    "negative_log_likelihood",
    "paired_difference_interval",
    "percentile_interval",
    "relative_corruption_error",
    "relative_mean_corruption_error",
    "rms_calibration_error",
    "t_interval",
    "top1_correct",
    "top5_distance",
    "top5_distance_per_video",
    "topk_correct",
    "unnormalised_ce",
    "wilson_interval",
    "worst_class_accuracy",
]
