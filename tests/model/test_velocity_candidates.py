"""Correlation with shifted templates, against sums written out pixel by pixel."""

import numpy as np
import pytest

from slamjax.model.velocity_candidates import _about_mean, _squares, _two_peaks, _within_one


@pytest.mark.parametrize("lag", [-3, 0, 4])
@pytest.mark.parametrize("level", [0.0, 100.0])
def test_the_square_of_the_weighted_correlation_keeps_its_sign_and_its_digits(lag, level):
    rng = np.random.default_rng(0)
    flux, templates = level + rng.normal(size=(2, 40)), level + rng.normal(size=(3, 40))
    weight, seen = 1e30 * rng.uniform(0, 2, (2, 40)), rng.uniform(size=40) > 0.1
    known = np.broadcast_to(seen.astype(float), templates.shape)
    t = _about_mean(templates, known).T
    found = _squares(_about_mean(flux, weight), _within_one(weight), t, seen.astype(np.float32), lag)
    pixels = np.arange(max(lag, 0), 40 + min(lag, 0))
    for f, w, row in zip(flux, weight, found, strict=True):
        for template, square in zip(templates, row, strict=True):
            cov = np.cov(f[pixels], template[pixels - lag], aweights=w[pixels] * seen[pixels - lag])
            r = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
            assert square == pytest.approx(r * abs(r), abs=2e-6)


def test_a_spectrum_without_weight_correlates_with_nothing():
    nothing = np.zeros((1, 40))
    t = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    assert not _squares(_about_mean(nothing + 5, nothing), _within_one(nothing), t, np.ones(40, np.float32), 2).any()


def test_peaks_are_the_highest_and_the_highest_other_one_or_end():
    top = np.array(
        [
            [0.1, 0.2, 0.8, 0.3, 0.1, 0.4, 0.2],  # two peaks; the first between its pixel and the next
            [0.6, 0.1, 0.5, 0.9, 0.5, 0.1, 0.0],  # the other is an end
            [0.9, 0.1, 0.5, 0.6, 0.5, 0.1, 0.0],  # the highest is an end
            [0.1, 0.2, 0.8, 0.3, 0.1, 0.4, 0.2],  # not known
        ]
    )
    places, square = _two_peaks(top, np.array([True, True, True, False]))
    a, b, _ = np.polyfit([1, 2, 3], top[0, 1:4], 2)
    np.testing.assert_allclose(places[:2], [[-b / (2 * a), 5], [3, 0]])
    np.testing.assert_allclose(square[:2], [[0.8, 0.4], [0.9, 0.6]])
    assert np.isnan(places[2:]).all()
    assert np.isnan(square[2:]).all()


def test_too_few_shifts_have_no_peak():
    places, _ = _two_peaks(np.ones((2, 1)), np.ones(2, bool))
    assert np.isnan(places).all()
