"""`nsbench.metrics` as a notebook sees it: complete, documented, and with the signatures that were promised."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import pytest

from nsbench import metrics
from nsbench.metrics import corruption

SIGNATURES = {
    "mean_corruption_error": "(error_by_corruption, baseline=None)",
    "relative_mean_corruption_error": "(error_by_corruption, clean_error, baseline=None, baseline_clean_error=None)",
    "flip_probability": "(top1, *, noise, difficulty=1)",
    "mean_flip_rate": "(flip_by_perturbation, baseline=None)",
    "top5_distance": "(logits_a, logits_b)",
    "rms_calibration_error": "(confidence, correct, *, num_per_bin=100, skip_last_bin=False)",
    "aurra": "(confidence, correct)",
    "expected_calibration_error": "(confidence, correct, *, num_bins=15)",
    "debiased_expected_calibration_error": "(confidence, correct, *, num_bins=15)",
    "area_under_precision_recall": "(scores, positive)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_promised_signatures(name: str) -> None:
    signature = inspect.signature(getattr(metrics, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]


def test_all_is_complete_sorted_and_documented() -> None:
    assert len(set(metrics.__all__)) == len(metrics.__all__)
    for name in metrics.__all__:
        member = getattr(metrics, name)
        if inspect.isfunction(member) and name != "is_noise_perturbation":
            doc = inspect.getdoc(member) or ""
            assert "Returns" in doc, name
            assert "Raises" in doc, name
            assert all(f"{p}:" in doc or f"{p}, " in doc or f", {p}" in doc for p in _arrays(member)), name
    modules = {name for name, member in vars(metrics).items() if inspect.ismodule(member)}
    public = {n for n, m in vars(metrics).items() if not n.startswith("_") and n not in modules}
    assert public == set(metrics.__all__)


def _arrays(function: object) -> list[str]:
    """Positional parameters, each of which a docstring has to describe."""
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind is not p.KEYWORD_ONLY]


def test_the_example_in_the_docstring_runs() -> None:
    attempted = doctest.testmod(corruption)
    assert attempted.attempted
    assert not attempted.failed


def test_importing_needs_no_torch_and_no_statistics_package() -> None:
    wanted = "('torch', 'timm', 'pandas', 'scipy.stats')"
    heavy = f"import sys, nsbench.metrics; print([m for m in {wanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
