"""Spectra in another unit of flux than a model that was trained without a continuum."""

import dataclasses
import re
import warnings
from functools import cache

import numpy as np
import pytest
from astropy import units as u
from helpers import xp_giants
from models import giants_model, held_out, recipe, searched_model

import slamjax
from slamjax.errors import SlamError, SlamWarning


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


XP = str(u.Unit("W / (m2 nm)"))


def cropped(stars):
    """Flux as it is, without a continuum."""
    return slamjax.Recipe.make(wave_range=(500, 620), wave_unit="nm")(stars)


def stated(spectra, unit, scale=1e-15):
    """The same stars with flux in W / m² / nm, times ``scale``, in another unit."""
    spectra = times(spectra, scale)
    factor = float(u.Unit(XP).to(unit))
    return times(spectra, factor).with_metadata(flux_unit=unit)


@cache
def physical_model():
    """Trained without a continuum on fluxes that state their unit."""
    stars = stated(cropped(xp_giants()[:100]), XP)
    return slamjax.train(stars, ["teff"], emulator=slamjax.Polynomial(), noise="diagonal")


def test_units_that_are_stated_are_converted_without_a_word(tmp_path):
    model = physical_model()
    assert model.info.flux_unit == XP
    assert f"  flux         in {XP}\n" in slamjax.describe(model)
    model.write(tmp_path / "model.h5")
    again = slamjax.Model.read(tmp_path / "model.h5")
    assert again.info.flux_unit == XP
    stars = held_out()[:6]
    plain = slamjax.fit(model, stated(cropped(stars), XP))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlamWarning)
        for unit in ("erg / (s cm2 AA)", "1e-17 erg / (s cm2 AA)"):
            found = slamjax.fit(again, stated(cropped(stars), unit))
            np.testing.assert_allclose(found["teff"].value, plain["teff"].value, rtol=1e-5)
            np.testing.assert_array_equal(found["flags"], plain["flags"])
            np.testing.assert_allclose(found["teff_err"].value, plain["teff_err"].value, rtol=1e-3)


def test_flux_per_frequency_is_converted_pixel_by_pixel():
    spectra = stated(cropped(held_out()[:2]), XP)
    wave = spectra.wave * spectra.wave_unit
    in_jansky = (spectra.flux * u.Unit(XP)).to(u.Jy, u.spectral_density(wave))
    given = dataclasses.replace(spectra, flux=in_jansky.value, ivar=100 / in_jansky.value**2, flux_unit="Jy")
    prepared = physical_model().prepare(given)
    np.testing.assert_allclose(prepared.flux, spectra.flux, rtol=1e-5)
    np.testing.assert_allclose(prepared.ivar, 100 / np.square(spectra.flux.astype(float)), rtol=1e-5)
    assert prepared.flux_unit == u.Unit(XP)


@pytest.mark.parametrize(("unit", "words"), [("adu", "in adu"), ("", "dimensionless")])
def test_units_that_cannot_be_converted_are_refused_in_one_sentence(unit, words):
    given = cropped(held_out()[:2]).with_metadata(flux_unit=unit)
    message = f"is {words}, but the model was trained on flux in {XP}; convert it, or train with a continuum"
    for call in (slamjax.fit, lambda model, spectra: model.prepare(spectra)):
        with pytest.raises(SlamError, match=re.escape(message)):
            call(physical_model(), given)


def test_a_level_that_no_unit_explains_is_said():
    with pytest.warns(
        SlamWarning, match=r"flux of both is in W / \(nm m2\), so the stars are others or a unit is wrong"
    ):
        slamjax.fit(physical_model(), stated(cropped(held_out()[:3]), XP, scale=1e-12))


def test_a_unit_that_one_side_does_not_state_is_taken_for_the_same():
    silent = dataclasses.replace(stated(cropped(held_out()[:3]), XP), flux_unit=None)
    prepared = physical_model().prepare(silent)
    np.testing.assert_array_equal(prepared.flux, silent.flux)
    assert prepared.flux_unit is None


def test_a_continuum_takes_every_unit():
    model = giants_model()
    assert model.info.flux_unit == ""
    for unit in ("adu", "Jy", XP):
        given = xp_giants()[110:113].with_metadata(flux_unit=unit)
        assert model.prepare(given).flux_unit == u.dimensionless_unscaled
