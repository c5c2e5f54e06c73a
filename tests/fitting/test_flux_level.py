"""Spectra in another unit of flux than a model that was trained without a continuum."""

import warnings

import numpy as np
import pytest
from helpers import xp_giants
from models import giants_model, held_out, recipe, searched_model

import slamjax
from slamjax.errors import SlamWarning


def prepared():
    """Giants as `searched_model` was trained on them, which has an empty recipe."""
    spectra = recipe()(held_out())
    return spectra.on_pixels(np.arange(0, spectra.n_pix, 4))


def times(spectra, factor):
    return spectra.with_arrays(spectra.flux * factor, spectra.ivar / factor**2)


@pytest.mark.parametrize("factor", [1e3, 1e-17])
def test_another_unit_is_said_in_one_sentence(factor):
    with pytest.warns(SlamWarning, match="once prepared, typically .* times as bright") as caught:
        slamjax.fit(searched_model(), times(prepared(), factor)[:5])
    (message,) = (str(one.message) for one in caught if "as bright" in str(one.message))
    stated = float(message.split("typically ")[1].split(" times")[0])
    assert 0.8 < stated / factor < 1.25
    assert "multiply flux by" in message
    assert "train with a continuum" in message


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_spectra_in_the_model_s_unit_are_not_warned_of(factor):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlamWarning)
        slamjax.fit(searched_model(), times(prepared(), factor)[:5])


def test_a_continuum_in_the_recipe_makes_units_irrelevant():
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlamWarning)
        slamjax.fit(giants_model(), times(xp_giants()[110:115], 1e12))


def test_a_fitter_that_is_used_again_looks_again():
    fitter = slamjax.Fitter(searched_model(), n_starts=1)
    fitter.fit(prepared()[:2])
    with pytest.warns(SlamWarning, match="another unit of flux"):
        fitter.fit(times(prepared(), 100.0)[:2])
