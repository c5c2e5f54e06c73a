"""Line spectra that are nonlinear in the labels, with any number of pixels, labels and stars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from slamjax.spectra.spectra import Spectra

SNR, N_LINES = 100.0, 1200


def simulated(labels: np.ndarray, names: Sequence[str], n_pix: int, seed: int) -> Spectra:
    """Spectra (N, P) of stars with these labels (N, L), S/N 100 per pixel, between 1514 and 1697 nm."""
    x = (labels - labels.mean(axis=0)) / labels.std(axis=0)
    rng = np.random.default_rng(seed)
    wave = np.linspace(1514, 1697, n_pix)
    slope, bend = rng.normal(0, 0.35, (N_LINES, x.shape[1])), rng.normal(0, 0.1, (N_LINES, x.shape[1]))
    depth = np.exp(rng.normal(-3, 1, N_LINES) + np.tanh(x @ slope.T) + np.square(x) @ bend.T / 2)
    # as many pixels to a line's width whatever the number of pixels, but never fewer than one
    at, width = rng.uniform(wave[0], wave[-1], N_LINES), rng.uniform(0.02, 0.06, N_LINES)
    width = np.maximum(width, wave[1] - wave[0])
    profile = np.exp(-0.5 * np.square((wave - at[:, None]) / width[:, None]))
    flux = np.exp(-depth @ profile)
    noisy = flux + rng.normal(0, 1 / SNR, flux.shape)
    table = Table({name: labels[:, k] for k, name in enumerate(names)})
    ivar = np.full(flux.shape, SNR**2, np.float32)
    return Spectra(wave, noisy.astype(np.float32), ivar, table, wave_unit="nm", medium="vacuum")
