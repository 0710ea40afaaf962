"""The native corruptions against the authors' own code: equal where nothing is random or the draws are given, and of
the same statistics where all is random. The oracle itself is tested first."""

from __future__ import annotations

import json
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import nsbench.corruptions
from nsbench.corruptions import corrupt
from nsbench.corruptions.constants import tables
from tests.shared import SHARED, absent

if find_spec("imagenet_c") is None:
    absent("the authors' code is missing: pip install --no-deps imagenet-c==0.0.3", module=True)
try:
    import wand.image  # noqa: F401
except ImportError:
    absent("ImageMagick is missing: pip install Wand, and Debian's libmagickwand-6.q16-6", module=True)

from tests.corruptions import original_statistics as recorded
from tests.corruptions.original import DRAWS, original

SEVERITIES = (1, 2, 3, 4, 5)
FIXED = (
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate",
)  # fmt: skip
GIVEN = ("glass_blur", "frost", "fog", "motion_blur", "snow", "elastic_transform", "spatter")
EQUAL_SHARE = 0.99  # of the values; the others differ by rounding before the cut
EXACT = ("glass_blur", "frost", "pixelate")
SIGNED_MEAN = 0.05  # of 255 levels


@pytest.fixture(scope="session")
def photographs_224():
    """A crop of each bundled photograph, and ten sample photographs where they are: uint8 [N, 224, 224, 3]."""
    bundled, samples = recorded.bundled_photographs()[::11], recorded.sample_photographs()
    return bundled if samples is None else np.concatenate([bundled, samples[::10]])


def native(images, name, severity, seeds=None):
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    seeds = torch.arange(len(images)) if seeds is None else seeds
    return corrupt(pixels, name, severity, seeds=seeds).permute(0, 2, 3, 1).numpy()


def share_and_mean(ours, theirs):
    """The share of equal values, and the mean of ours - theirs in levels."""
    return float((ours == theirs).mean()), float((ours.astype(int) - theirs).mean())


def test_the_oracle_leaves_the_process_as_it_was(photographs_224):
    import scipy.ndimage

    state, filters = np.random.get_state()[1].copy(), list(warnings.filters)
    modules = {name: sys.modules.get(name) for name in ("scipy.ndimage.interpolation", "pkg_resources")}
    for name in ("impulse_noise", "fog", "elastic_transform"):
        original(photographs_224[0], name, 3, 1)
    assert np.array_equal(np.random.get_state()[1], state)
    assert warnings.filters == filters
    assert {name: sys.modules.get(name) for name in modules} == modules
    assert not hasattr(np, "float_")
    assert not hasattr(scipy.ndimage, "interpolation") or modules["scipy.ndimage.interpolation"] is not None


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_oracles_quick_glass_blur_is_the_packages_own_loop(photographs_224, severity):
    image = photographs_224[severity]
    assert np.array_equal(
        original(image, "glass_blur", severity, 7), original(image, "glass_blur", severity, 7, own_loop=True)
    )


@pytest.mark.parametrize("name", DRAWS)
def test_the_oracle_repeats_a_seed_and_takes_given_draws(photographs_224, name):
    image, taken = photographs_224[0], {}
    first = original(image, name, 2, 11, taken=taken)
    assert set(taken) == set(DRAWS[name])
    assert np.array_equal(original(image, name, 2, 11), first)
    assert np.array_equal(original(image, name, 2, 12, given=taken), first)
    assert not np.array_equal(original(image, name, 2, 12), first)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_what_is_not_random_is_the_originals(photographs_224, name, severity):
    theirs = np.stack([original(image, name, severity) for image in photographs_224])
    share, mean = share_and_mean(native(photographs_224, name, severity), theirs)
    assert share >= (1 if name in EXACT else EQUAL_SHARE)
    assert abs(mean) <= SIGNED_MEAN


class Given:
    """Stands for `Draws`: hands out what the original drew, in the units that the native code asks for."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, *shape):
        return self._next(shape, torch.float32)

    def normal(self, *shape):
        return self._next(shape, torch.float32)

    def integers(self, high, *shape):
        drawn = self._next(shape, torch.int32)
        assert 0 <= int(drawn.min()) <= int(drawn.max()) < high
        return drawn

    def _next(self, shape, dtype):
        return torch.from_numpy(np.asarray(self.values.pop(0), np.float64)).reshape(1, *shape).to(dtype)


def in_native_units(name, severity, seed, taken):
    """The values of `taken` (`tests.corruptions.original.DRAWS`) in the order and units of the native draws."""
    constant = tables()[224][name][severity - 1]
    values = {
        "glass_blur": lambda: [taken["shifts"] + constant[1]],
        "motion_blur": lambda: [(taken["angle"] + 45) / 90],
        "snow": lambda: [(taken["field"] - constant[0]) / constant[1], (taken["angle"] + 135) / 90],
        "frost": lambda: [taken["choice"], in_the_crops_units(taken)],
        # the original's uniform(-w, w) is w (2 u - 1) of these u
        "fog": lambda: [np.random.RandomState(seed).random_sample(256 * 256 - 1)],
        "elastic_transform": lambda: [
            (taken["jitter"] / constant[2] + 1) / 2,
            (np.stack([taken["dx"], taken["dy"]]) + 1) / 2,
        ],
        "spatter": lambda: [(taken["liquid"] - constant[0]) / constant[1]],
    }
    return values[name]()


def in_the_crops_units(taken):
    _, height, width = nsbench.corruptions.weather.frost_photographs(224, 224)[taken["choice"]].shape
    return [(taken["top"] + 0.5) / (height - 224), (taken["left"] + 0.5) / (width - 224)]


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_what_is_random_is_the_originals_given_its_draws(photographs_224, name, severity, monkeypatch):
    ours, theirs = [], []
    for seed, image in enumerate(photographs_224[::2]):
        taken = {}
        theirs.append(original(image, name, severity, seed, taken=taken))
        values = in_native_units(name, severity, seed, taken)
        monkeypatch.setattr(nsbench.corruptions, "Draws", lambda *_, values=values: Given(*values))
        ours.append(native(image[None], name, severity)[0])
    share, mean = share_and_mean(np.stack(ours), np.stack(theirs))
    assert share >= (1 if name in EXACT else EQUAL_SHARE)
    assert abs(mean) <= SIGNED_MEAN


def strange(which, photographs, name, severity, corrupted):
    """The statistics that are further from the original's than 2 % and three times its difference from itself:
    name -> (found, expected, limit)."""
    cell = json.loads(recorded.FILE.read_text())[which][f"{name} {severity}"]
    expected = np.array(cell["mean"])
    limit = np.maximum(0.02 * np.abs(expected), 3 * np.array(cell["itself"]))
    limit[0] = max(limit[0], SIGNED_MEAN)
    found = recorded.statistics(photographs, corrupted).mean(axis=0)
    triples = zip(recorded.NAMES, found.tolist(), expected.tolist(), limit.tolist(), strict=True)
    return {name: (a, b, c) for name, a, b, c in triples if abs(a - b) > c}


@pytest.mark.slow
@pytest.mark.parametrize("which", recorded.SEVERITIES)
@pytest.mark.parametrize("name", DRAWS)
def test_random_corruptions_have_the_originals_statistics(which, name):
    photographs = recorded.bundled_photographs() if which == recorded.BUNDLED else recorded.sample_photographs()
    if photographs is None:
        absent(f"no sample photographs at {SHARED} (set NSBENCH_SHARED_DATA)")
    for severity in recorded.SEVERITIES[which]:
        assert strange(which, photographs, name, severity, native(photographs, name, severity)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "severity"), [("impulse_noise", 1), ("fog", 3), ("frost", 5)])
def test_the_recorded_statistics_are_the_oracles(name, severity):
    expected = json.loads(recorded.FILE.read_text())[recorded.BUNDLED][f"{name} {severity}"]["first"]
    found = recorded.measured(recorded.bundled_photographs(), name, severity, run=0).mean(axis=0)
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_the_statistics_tell_mutants():
    """A tenth more noise, and rounding for truncation."""
    photographs = recorded.bundled_photographs()
    generator = np.random.default_rng(0)

    def noisy(sigma, offset):
        noise = generator.normal(0, sigma, photographs.shape)
        return (np.clip(photographs / 255 + noise, 0, 1) * 255 + offset).astype(np.uint8)

    assert strange(recorded.BUNDLED, photographs, "gaussian_noise", 3, noisy(0.18, 0)) == {}
    assert "std" in strange(recorded.BUNDLED, photographs, "gaussian_noise", 3, noisy(0.18 * 1.1, 0))
    assert "mean" in strange(recorded.BUNDLED, photographs, "gaussian_noise", 3, noisy(0.18, 0.5))
