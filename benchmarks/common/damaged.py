"""Spectra that something went wrong with, made from sound ones by seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter1d

from slamjax.spectra.spectra import Spectra

Rng = np.random.Generator
#: nm at which the arm that is lost begins or ends, and the width of the wrong continuum.
ARMS, SIGMA = 640.0, 25.0


def cosmic_rays(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """Two pairs of pixels too bright by 10 to 30 %."""
    flux = np.array(stars.flux, float)
    for star in flux:
        for pixel in rng.integers(40, stars.n_pix - 10, 2):
            star[pixel : pixel + 2] *= rng.uniform(1.1, 1.3)
    return stars.with_arrays(flux, stars.ivar)


def shifted(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """Wavelengths wrong by 0.7 pixels, to either side."""
    step = 0.7 * np.median(np.diff(stars.wave))
    moved = [np.interp(stars.wave + rng.choice([-step, step]), stars.wave, star) for star in stars.flux]
    return stars.with_arrays(np.asarray(moved), stars.ivar)


def without_an_arm(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """Nothing but noise on one side of 640 nm."""
    lost = (stars.wave > ARMS) == rng.choice([True, False], len(stars))[:, None]
    noise = rng.normal(size=stars.flux.shape) / np.sqrt(np.where(stars.good, stars.ivar, 1))
    return stars.with_arrays(np.where(lost, noise, stars.flux), stars.ivar)


def two_stars(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """Another star of any kind added, 0.3 to 1 times as bright."""
    flux, added = (
        np.asarray(stars.flux, float),
        np.asarray(others.flux, float)[rng.integers(0, len(others), len(stars))],
    )
    ratio = rng.uniform(0.3, 1, len(stars)) * np.median(flux, axis=1) / np.median(added, axis=1)
    return stars.with_arrays(flux + ratio[:, None] * added, stars.ivar)


def with_background(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """A constant of 5 to 15 % of the median flux added: the wrong level."""
    flux = np.asarray(stars.flux, float)
    added = rng.uniform(0.05, 0.15, len(stars)) * np.median(flux, axis=1)
    return stars.with_arrays(flux + added[:, None], stars.ivar)


def tilted(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """The wrong slope: one end brighter by a factor of 4 to 11 relative to the other."""
    place = 2 * (stars.wave - stars.wave.mean()) / (stars.wave[-1] - stars.wave[0])
    slope = rng.choice([-1, 1], len(stars)) * rng.uniform(0.7, 1.2, len(stars))
    return stars.with_arrays(stars.flux * np.exp(slope[:, None] * place), stars.ivar)


def normalised_otherwise(stars: Spectra, others: Spectra, rng: Rng) -> Spectra:
    """Divided by a continuum of another width beforehand."""
    sigma = SIGMA / np.median(np.diff(stars.wave))
    continuum = gaussian_filter1d(np.asarray(stars.flux, float), sigma, axis=1)
    return stars.with_arrays(stars.flux / continuum, stars.ivar * np.square(continuum))


DAMAGES: dict[str, Callable[[Spectra, Spectra, Rng], Spectra]] = {
    "cosmic rays": cosmic_rays,
    "wavelengths 0.7 pixels off": shifted,
    "an arm lost": without_an_arm,
    "two stars in one": two_stars,
    "background added": with_background,
    "wrong slope": tilted,
    "other normalisation": normalised_otherwise,
}
