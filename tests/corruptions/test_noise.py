"""The noises against their distributions."""

from __future__ import annotations

import numpy as np
import pytest

from nsbench.corruptions import corrupt
from nsbench.corruptions.constants import tables

COUNT = 40  # 123 thousand values a level


def level_samples(name, level, severity):
    grey = np.full((COUNT, 32, 32, 3), level, np.uint8)
    return corrupt(grey, name, severity, seeds=np.arange(COUNT)).astype(float)


@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("gaussian_noise", lambda c, _: c),
        ("speckle_noise", lambda c, x: c * x),
        ("shot_noise", lambda c, x: np.sqrt(x / c)),
    ],
)
def test_mean_and_deviation_away_from_the_ends(name, deviation, severity):
    level = 102
    samples = level_samples(name, level, severity)
    expected = 255 * deviation(tables()[32][name][severity - 1], level / 255)
    # truncation lowers the mean by a half; a Poisson count times 255 / 500 sits on a coarser grid
    assert samples.mean() == pytest.approx(level - 0.5, abs=0.25)
    assert samples.std() == pytest.approx(expected, rel=0.02)


def test_gaussian_and_speckle_are_normal():
    from scipy.stats import kurtosis, skew

    for name in ("gaussian_noise", "speckle_noise"):
        samples = level_samples(name, 128, 2).ravel()
        assert abs(skew(samples)) < 0.03
        assert abs(kurtosis(samples)) < 0.06


def test_black_takes_no_shot_or_speckle_noise():
    assert level_samples("shot_noise", 0, 5).max() == 0
    assert level_samples("speckle_noise", 0, 5).max() == 0
    assert level_samples("gaussian_noise", 0, 5).max() > 0


def test_channels_pixels_and_images_are_independent():
    samples = level_samples("gaussian_noise", 128, 3)
    centred = samples - samples.mean()
    for other in (np.roll(centred, 1, axis=3), np.roll(centred, 1, axis=2), np.roll(centred, 1, axis=0)):
        assert abs((centred * other).mean() / centred.var()) < 0.01


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_impulse_noise_matches_scikit_image(severity):
    from skimage.util import random_noise

    amount = tables()[32]["impulse_noise"][severity - 1]
    ours = level_samples("impulse_noise", 77, severity)
    theirs = 255 * random_noise(np.full(ours.shape, 77 / 255), mode="s&p", amount=amount, rng=0)
    assert set(np.unique(ours)) == {0.0, 77.0, 255.0}
    for level in (0.0, 255.0):
        assert (ours == level).mean() == pytest.approx(amount / 2, rel=0.08)
        assert (ours == level).mean() == pytest.approx((theirs == level).mean(), rel=0.12)
