"""What a star's labels do not depend on: the other stars, their number and order, the memory, JAX's precision."""

import numpy as np
import pytest
from campaigns.neighbours import ROUNDING, WAYS, WITHIN, differences, fitted, stars
from models import giants_model, quadratic_model

import slamjax


@pytest.mark.parametrize("way", WAYS)
def test_labels_are_the_same_digit_by_digit_and_close_in_another_precision(way):
    fitter = slamjax.Fitter(giants_model())
    given = stars(1, 42 if way == "alone" else 154)
    apart = differences(fitter.fit(given), fitted(fitter, given, way))
    if "float64" not in way:
        assert apart.max() == 0
    assert np.sum(apart > WITHIN) <= 1  # what float32 rounds moves few stars further
    assert apart.max() < ROUNDING


def test_labels_do_not_depend_on_how_many_cores_work(monkeypatch):
    given, found = stars(1, 70), []
    for n in (1, 3):
        monkeypatch.setattr("slamjax.fitting.window.cores", lambda n=n: n)
        monkeypatch.setattr("slamjax._util.together.cores", lambda n=n: n)
        found.append(slamjax.Fitter(giants_model()).fit(given))
    assert differences(*found).max() == 0


def test_starts_of_a_star_are_the_same_beside_much_noisier_ones():
    """Stars whose errors are a hundred times larger once changed the errors by which templates were compared."""
    model = quadratic_model()
    given = stars(2, 60)
    noisy = slamjax.Spectra(given.wave, given.flux, given.ivar / 1e4, wave_unit=given.wave_unit)
    fitter = slamjax.Fitter(model)
    alone = fitter._prepare(given[:20], None).starts.x.reshape(3, 20, -1)
    mixed = slamjax.Spectra(
        given.wave,
        np.concatenate([given.flux[:20], noisy.flux[20:]]),
        np.concatenate([given.ivar[:20], noisy.ivar[20:]]),
        wave_unit=given.wave_unit,
    )
    beside = fitter._prepare(mixed, None).starts.x.reshape(3, 60, -1)[:, :20]
    np.testing.assert_array_equal(alone, beside)
