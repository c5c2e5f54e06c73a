"""Simulated stars of three labels, which other tables lack or give with errors."""

import numpy as np
from astropy.table import Table

import slamjax

NAMES = ("a", "b", "c")
#: The label c depends on the others; b and a do, too.
COVARIANCE = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.0], [0.3, 0.0, 1.0]])


def simulated(n, seed, n_pix=80, sigma=0.02):
    """Stars of a curved emulator at S/N 50, and their true labels: fits of single labels have errors of about 0.15."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(0).normal(size=(5, n_pix))
    true = rng.multivariate_normal(np.zeros(3), COVARIANCE, n)
    a, b, c = true.T
    flux = 1 + 0.025 * np.stack([a, b, c, 0.2 * a * b, 0.2 * c**2]).T @ shape + sigma * rng.normal(size=(n, n_pix))
    wave = 5000.0 + np.arange(n_pix)
    table = Table(dict(zip(NAMES, true.T, strict=True)))
    return slamjax.Spectra(wave, flux, ivar=np.full(flux.shape, sigma**-2), table=table, wave_unit="A"), true


def with_gaps(stars, label, part, seed=5):
    """The same stars, of which a part lacks a label."""
    table = stars.table.copy()
    values = np.asarray(table[label], float).copy()
    values[np.random.default_rng(seed).random(len(stars)) < part] = np.nan
    table[label] = values
    return slamjax.Spectra(
        stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit, frame=stars.frame
    )


def mistaken(stars, error, seed=7):
    """The same stars, whose labels have errors, which the table states."""
    table, rng = stars.table.copy(), np.random.default_rng(seed)
    for name in NAMES:
        table[name] = np.asarray(table[name]) + error * rng.normal(size=len(stars))
        table[f"{name}_err"] = np.full(len(stars), error)
    return slamjax.Spectra(stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit)
