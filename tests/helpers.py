"""What several tests share: real spectra, both float precisions, finite differences, a check of every noise model."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from slamjax._util.x64 import enable_x64
from slamjax.io import read_table
from slamjax.spectra.spectra import Spectra

DATA = Path(__file__).parent / "data"

#: How closely arithmetic in each precision is held to its oracle in float64.
RTOL = {"float32": 2e-5, "float64": 1e-11}

WAVE = np.cumsum(np.random.default_rng(3).uniform(0.5, 4.0, 40)) + 400  # pixels of unequal width


def xp_giants():
    """150 giants with Gaia XP spectra, errors given, and APOGEE labels."""
    return read_table(DATA / "xp_giants.fits")


def miles():
    """120 stars of the MILES library on 300 pixels, no errors given."""
    return read_table(DATA / "miles.fits")


def in_precision(dtype):
    """Context in which JAX works in ``dtype``, "float32" or "float64"."""
    return enable_x64(dtype == "float64")


def central_difference(function, x, step=1e-6):
    """d function / d x_k of a point x (L,), stacked along a new first axis (L, ...)."""
    x = np.asarray(x, dtype=np.float64)
    slopes = []
    for k in range(x.size):
        shift = np.zeros_like(x)
        shift[k] = step
        slopes.append((np.asarray(function(x + shift)) - np.asarray(function(x - shift))) / (2 * step))
    return np.stack(slopes)


def check_noise_model(noise, covariance, n_pix, dtype, seed=0):
    """Hold a noise model against dense linear algebra on ``covariance(photon variances)``.

    Masked pixels are deleted from the dense matrix, which is what they must amount to. Call it `in_precision(dtype)`.
    """
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3, n_pix))
    for ivar in _ivars(rng, n_pix):
        with np.errstate(divide="ignore"):
            full = covariance(np.where(ivar > 0, 1 / ivar, 0))
        good = (ivar > 0) & np.isfinite(np.diag(full))
        dense = full[np.ix_(good, good)]
        given, weights = jnp.asarray(rows, dtype), jnp.asarray(ivar, dtype)

        precision = noise.inverse_covariance(weights)
        gram = rows[:, good] @ np.linalg.solve(dense, rows[:, good].T)
        tolerance = {"rtol": RTOL[dtype], "atol": RTOL[dtype] * np.abs(gram).max()}
        np.testing.assert_allclose(precision.gram(given), gram, **tolerance)

        sign, logdet = np.linalg.slogdet(dense)
        assert sign == 1
        np.testing.assert_allclose(precision.logdet(), logdet, rtol=RTOL[dtype], atol=10 * RTOL[dtype])

        standard = np.asarray(precision.whiten(given[0]))
        assert np.all(standard[~good] == 0)
        np.testing.assert_allclose(np.sum(standard**2), gram[0, 0], rtol=RTOL[dtype])

        factors, rest = (np.asarray(part) for part in precision.apart(given[0]))
        assert np.all(rest[~good] == 0)
        np.testing.assert_allclose(np.sum(factors**2) + np.sum(rest**2), gram[0, 0], rtol=RTOL[dtype])


def _ivars(rng, n_pix):
    """Every kind of pixel: all good, some bad, none stated, a mixture."""
    photon = rng.uniform(0.1, 10, n_pix)
    some_bad = np.where(rng.random(n_pix) < 0.4, 0.0, photon)
    unstated = np.full(n_pix, np.inf)
    mixed = np.where(rng.random(n_pix) < 0.3, np.inf, some_bad)
    return photon, some_bad, unstated, mixed


def noisy(n=3, bad=0.3, dtype=np.float64, seed=0):
    """Positive flux with arbitrary values in masked pixels, which must not affect others."""
    rng = np.random.default_rng(seed)
    flux = 1 + 0.3 * np.sin(WAVE / 15) + 0.1 * rng.random((n, WAVE.size))
    ivar = rng.uniform(50, 200, flux.shape)
    masked = rng.random(flux.shape) < bad
    flux, ivar = np.where(masked, 1e6, flux).astype(dtype), np.where(masked, 0, ivar).astype(dtype)
    return Spectra(WAVE, flux, ivar, wave_unit="nm")
