"""Air and vacuum wavelengths against published pairs; Doppler shifts."""

import numpy as np
import pytest

from slamjax._util.constants import LIGHT
from slamjax.spectra.wavelengths import doppler_shift, to_air, to_vacuum


@pytest.mark.parametrize(
    ("vacuum", "air"),
    [(6564.614, 6562.801), (4862.691, 4861.333), (5008.240, 5006.843), (8544.44, 8542.09)],  # SDSS's list of lines
)
def test_known_lines(vacuum, air):
    assert to_air(np.array([vacuum]))[0] == pytest.approx(air, abs=0.01)
    assert to_vacuum(np.array([air]))[0] == pytest.approx(vacuum, abs=0.01)


def test_conversion_to_air_and_back():
    wave = np.linspace(3000, 17000, 500)
    np.testing.assert_allclose(to_vacuum(to_air(wave)), wave, rtol=1e-12)
    np.testing.assert_allclose(to_air(wave / 10, "nm"), to_air(wave) / 10, rtol=1e-14)


def test_ultraviolet_wavelengths_are_vacuum_in_both():
    assert to_air(np.array([1500.0])) == 1500


def test_doppler_shifts_are_relativistic_and_invertible():
    assert doppler_shift(np.array([5000.0]), 30.0)[0] == pytest.approx(5000 * (1 + 30 / LIGHT), abs=1e-4)
    np.testing.assert_allclose(
        doppler_shift(doppler_shift(np.array([4000.0]), 0.5 * LIGHT), -0.5 * LIGHT), 4000, rtol=1e-14
    )
    assert doppler_shift(np.array([1.0]), 0.6 * LIGHT)[0] == pytest.approx(2)
