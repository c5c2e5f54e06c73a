"""Polynomials on a star's own pixels, against numpy's QR and Legendre series in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from astropy.table import Table
from helpers import in_precision
from numpy.polynomial import legendre

import slamjax
from slamjax.forward.orthogonal import orthonormal
from slamjax.spectra.spectra import Spectra

PLACE = np.linspace(-1, 1, 900)


def covered(share, seed=0):
    """Weights of a star that has the first part of the pixels."""
    return np.where(share > (PLACE + 1) / 2, np.random.default_rng(seed).uniform(0.2, 3, PLACE.size), 0)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.3])
@pytest.mark.parametrize("degree", [0, 1, 5, 12])
def test_they_are_orthonormal_and_span_the_same_space(dtype, share, degree):
    weight = covered(share)
    q, series = orthonormal(jnp.asarray(PLACE, dtype), jnp.asarray(weight, dtype), degree)
    q = np.asarray(q, float)
    gram = (q * weight) @ q.T / weight.sum()
    tolerance = {"float32": 3e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(gram, np.eye(degree + 1), atol=tolerance)
    root = np.sqrt(weight / weight.sum())
    basis = np.linalg.qr(legendre.legvander(PLACE, degree) * root[:, None])[0]
    inside = np.abs(basis.T @ (q * root).T)
    np.testing.assert_allclose(inside, np.eye(degree + 1), atol=2e-3 if dtype == "float32" else 2e-6)
    assert np.all(q[:, weight == 0] == 0)
    if dtype == "float64":
        again = legendre.legval(PLACE, np.asarray(series).T)
        np.testing.assert_allclose(again[:, weight > 0], q[:, weight > 0], atol=1e-3)  # of coefficients up to 1e9


def test_a_star_with_fewer_pixels_than_terms_has_no_more_polynomials_than_pixels(dtype):
    weight = np.where(np.arange(PLACE.size) % 300 == 7, 1.0, 0.0)  # three pixels
    q, series = (np.asarray(a) for a in orthonormal(jnp.asarray(PLACE, dtype), jnp.asarray(weight, dtype), 6))
    assert np.all(np.isfinite(q))
    assert np.all(np.isfinite(series))
    assert np.abs(q[3:]).max() < 1e-3
    nothing = orthonormal(jnp.asarray(PLACE, dtype), jnp.zeros(PLACE.size, dtype), 3)
    assert all(np.all(np.isfinite(np.asarray(a))) for a in nothing)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "degree"), [(0.6, 10), (0.3, 6), (0.3, 12)])
def test_spectra_that_cover_a_part_are_fitted_in_float32_as_in_float64(share, degree):
    rng = np.random.default_rng(0)
    slopes, sigma = rng.normal(size=(2, PLACE.size)), 0.003
    x = rng.uniform(-1, 1, (108, 2))
    flux = 1 + 0.05 * x @ slopes + sigma * rng.normal(size=(len(x), PLACE.size))
    table = Table({"a": x[:, 0], "b": x[:, 1]})
    stars = Spectra(550 + 150 * PLACE, flux, np.full(flux.shape, sigma**-2.0), table=table, wave_unit="nm")
    model = slamjax.train(stars[:100], ("a", "b"), emulator=slamjax.Polynomial(degree=1), noise="diagonal")
    some = stars[100:]
    tilt = 1 + 0.2 * PLACE**2
    some = some.with_arrays(some.flux * tilt, np.where(covered(share) > 0, some.ivar / tilt**2, 0))
    found = {}
    for precision in ("float32", "float64"):
        with in_precision(precision):
            found[precision] = slamjax.fit(model, some, nuisances=slamjax.Nuisances(polynomial=degree))
    single, double = found["float32"], found["float64"]
    assert not np.any(single["flags"] & (slamjax.Flag.NOT_CONVERGED | slamjax.Flag.HIGH_CHI2))
    for name in ("a", "b"):
        assert np.abs((single[name] - double[name]) / double[f"{name}_err"]).max() < 0.25
        np.testing.assert_allclose(single[f"{name}_err"], double[f"{name}_err"], rtol=0.05)
        assert np.abs((double[name] - double[f"{name}_ref"]) / double[f"{name}_err"]).max() < 4.5
