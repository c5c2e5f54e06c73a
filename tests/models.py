"""Small trained models that several tests share; each is trained once a test process."""

from functools import cache

import numpy as np
from helpers import miles, xp_giants

from slamjax.datasets import load_xp_giants
from slamjax.preprocessing import GaussianContinuum, Recipe
from slamjax.training import SVR, DataSpec, Polynomial, SearchSpec, train

LABELS = ("teff", "logg", "fe_h", "alpha_m")
#: The SVR of most tests; a metric, which takes time to learn, has tests of its own.
SVR_10 = SVR(C=10, epsilon=0.05, gamma=0.1, metric="isotropic")
#: Few folds are quicker.
TWO_FOLDS, THREE_FOLDS = SearchSpec(folds=2), SearchSpec(folds=3)


def recipe():
    """Of second order: within so few standard deviations, a continuum of fourth order takes most of a star with it."""
    return Recipe.make(wave_range=(500, 620), wave_unit="nm", continuum=GaussianContinuum(50.0, "nm"))


@cache
def giants_model():
    """Trained on 110 of the 150 giants, 61 pixels, one γ."""
    return train(xp_giants()[:110], LABELS, emulator=SVR_10, recipe=recipe(), search=THREE_FOLDS, noise="diagonal")


@cache
def searched_model():
    """The same stars, every fourth pixel, C and γ chosen pixel by pixel: several kernel groups."""
    spectra = recipe()(xp_giants()[:110])
    spectra = spectra.on_pixels(np.arange(0, spectra.n_pix, 4))
    svr = SVR(C=[0.3, 10], gamma=[0.03, 0.1, 0.3], epsilon=0.1)
    return train(spectra, LABELS, emulator=svr, search=THREE_FOLDS, noise="diagonal")


@cache
def miles_model():
    """Stars at rest, 300 pixels of 0.9 Å in air: 90 of the 120 MILES stars."""
    recipe = Recipe.make(continuum="gaussian:10nm")
    return train(
        miles()[:90], LABELS[:3], emulator=SVR_10, recipe=recipe, search=THREE_FOLDS, noise="diagonal",
        log_labels=["teff"],
    )  # fmt: skip


def held_out():
    """The 40 giants that the models have not seen."""
    return xp_giants()[110:]


@cache
def quadratic_model():
    """The same stars as `giants_model` and a quadratic in their labels; alpha_m acts at some pixels only."""
    return train(
        xp_giants()[:110],
        LABELS,
        emulator=Polynomial(),
        recipe=recipe(),
        search=THREE_FOLDS,
        noise="diagonal",
        data=DataSpec(label_windows={"alpha_m": ALPHA_WINDOWS}),
    )


#: Where alpha_m acts in `quadratic_model`.
ALPHA_WINDOWS = [(510, 530), (590, 600)]


@cache
def all_miles_model():
    """Trained on 120 stars of MILES, 300 pixels about Mg b, flux over a Gaussian continuum."""
    spectra = miles()
    return train(
        spectra[np.flatnonzero(np.isfinite(spectra.values(("teff", "logg", "fe_h"))).all(axis=1))],
        ("teff", "logg", "fe_h"),
        emulator=SVR_10,
        recipe=Recipe.make(continuum="gaussian:10nm"),
        search=THREE_FOLDS,
        noise="diagonal",
    )


@cache
def many_giants():
    """500 giants to train and 300 others."""
    some, others = load_xp_giants()
    return some[:500], others[:300]


@cache
def calibrated_model():
    """Low-rank noise, calibrated; 61 pixels."""
    return train(many_giants()[0], LABELS, emulator=SVR_10, recipe=recipe(), search=THREE_FOLDS, noise="lowrank")


@cache
def tiny_model():
    """One label of the giants as a parabola: compiled and fitted in seconds."""
    stars = xp_giants()[:110]
    return train(stars, ["teff"], emulator=Polynomial(), recipe=recipe(), search=TWO_FOLDS, noise="diagonal")


@cache
def tiny_miles_model():
    """The same of stars at rest, for survey files."""
    at_rest = Recipe.make(continuum="gaussian:10nm")
    return train(miles()[:90], ["teff"], emulator=Polynomial(), recipe=at_rest, search=TWO_FOLDS, noise="diagonal")
