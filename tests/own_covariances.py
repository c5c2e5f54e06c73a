"""Stars whose pixels' errors have covariances of their own, and models that fit them."""

import dataclasses
from functools import cache

import numpy as np
from helpers import xp_giants
from models import recipe

import slamjax
from slamjax import NoiseSpec

LABELS = ("teff", "logg", "fe_h")


@cache
def prepared():
    return recipe()(xp_giants())


@cache
def model(noise="diagonal"):
    spec = noise if noise == "diagonal" else NoiseSpec("lowrank", ranks=(4,), floors=(0.2,), photons=noise)
    return slamjax.train(
        prepared()[:110], LABELS, emulator=slamjax.Polynomial(), noise=spec, search=slamjax.SearchSpec(folds=3)
    )


def correlated(spectra, seed=0, strength=0.9, error=0.004):
    """The spectra with smooth noise, drawn by seed, whose covariance they state; a few pixels are bad."""
    rng = np.random.default_rng(seed)
    n, n_pix = spectra.flux.shape
    error = error * rng.uniform(1, 3, (n, 1)) * rng.uniform(0.5, 1.5, n_pix)
    reach = rng.uniform(2, 6, n)[:, None, None]
    apart = np.subtract.outer(np.arange(n_pix), np.arange(n_pix))
    shape = strength * np.exp(-0.5 * np.square(apart / reach)) + (1 - strength) * np.eye(n_pix)
    covariance = error[:, :, None] * error[:, None, :] * shape
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.normal(size=error.shape))
    ivar = (rng.random(error.shape) > 0.1).astype(float)
    return dataclasses.replace(spectra, flux=spectra.flux + noise, ivar=ivar, covariance=covariance)


@cache
def bright_model():
    """The model with so small an error of its own that posteriors of bright stars are nearly normal."""
    return dataclasses.replace(model(), noise=slamjax.DiagonalNoise(1e-2 * np.asarray(model().noise.model_variance)))


def noise_free(n=12):
    """Spectra that the model predicts at the labels of real stars."""
    stars = prepared()[110 : 110 + n]
    flux = np.asarray(model()(stars), float)
    return dataclasses.replace(stars, flux=flux, ivar=np.ones_like(flux))


def plain(column):
    return np.asarray(getattr(column, "value", column), float)
