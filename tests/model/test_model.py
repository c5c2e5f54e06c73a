"""The model: preparation travels with it, and it is a pytree."""

import dataclasses

import jax
import numpy as np
import pytest
from astropy import units as u
from helpers import miles, xp_giants
from models import LABELS, TWO_FOLDS, giants_model, held_out, miles_model, recipe

from slamjax.errors import SlamError
from slamjax.preprocessing import onto_grid
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.wavelengths import to_air
from slamjax.training import train


def test_new_spectra_are_prepared_like_the_training_spectra():
    model, spectra = giants_model(), held_out()
    expected, found = recipe()(spectra), model.prepare(spectra)
    np.testing.assert_array_equal(found.flux, expected.flux)
    np.testing.assert_array_equal(found.ivar, expected.ivar)


def test_pixels_outside_the_models_range_do_not_matter():
    """What an instrument records beyond the range must not reach a label through the continuum."""
    model, spectra = giants_model(), held_out()
    inside = (spectra.wave >= 500) & (spectra.wave <= 620)
    cropped = spectra.on_pixels(np.flatnonzero(inside))
    np.testing.assert_array_equal(model.prepare(cropped).flux, model.prepare(spectra).flux)


def test_wavelengths_in_another_unit_are_the_same_spectra():
    model, spectra = giants_model(), held_out()
    angstrom = dataclasses.replace(spectra, wave=spectra.wave * 10, wave_unit=u.Unit("Angstrom"))
    np.testing.assert_array_equal(model.prepare(angstrom).flux, model.prepare(spectra).flux)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.on_pixels(slice(150, None)), "covers 636 to 1020 nm and has none of the model's 61 wavelengths"),
        (lambda s: dataclasses.replace(s, frame="rest"), "in the rest frame but the model was trained in the observed"),
    ],
)
def test_spectra_without_the_models_wavelengths_or_frame_are_errors(change, message):
    with pytest.raises(SlamError, match=message):
        giants_model().prepare(change(held_out()))


def test_spectra_on_another_grid_are_brought_to_the_models():
    """Half the pixels, or half a pixel off: the same continuum-divided spectrum but for what sampling loses."""
    model, spectra = giants_model(), held_out()
    expected = model.prepare(spectra)
    other = np.arange(400, 800, 1.7)
    moved = onto_grid(spectra, other, "nm")
    found = model.prepare(moved)
    np.testing.assert_array_equal(found.wave, model.wave)
    assert np.abs(found.flux - expected.flux).max() < 0.01
    assert np.all(found.good)
    # the information is what it was: means over many pixels have the same error
    np.testing.assert_allclose((1 / found.ivar).sum(axis=1), (1 / expected.ivar).sum(axis=1), rtol=0.02)


def test_wavelengths_in_air_are_converted():
    model, spectra = giants_model(), held_out()
    in_air = dataclasses.replace(spectra, wave=to_air(spectra.wave, "nm"), medium="air")
    assert np.abs(model.prepare(in_air).flux - model.prepare(spectra).flux).max() < 2e-3


def test_spectra_that_cover_half_of_the_model_have_no_good_pixel_elsewhere():
    model, spectra = giants_model(), held_out()
    found = model.prepare(spectra.on_pixels(slice(100, None)))
    assert np.all(found.good == (model.wave >= spectra.wave[100] - 1e-6))


def test_spectra_in_the_observed_frame_need_a_velocity_for_a_model_in_the_rest_frame():
    model = miles_model()
    observed = dataclasses.replace(miles(), frame="observed")
    with pytest.raises(SlamError, match=r"give velocities \(slamjax.measure_rv measures them\)"):
        model.prepare(observed)
    assert model.prepare(observed, np.zeros(len(observed))).frame == "rest"


def test_sharper_spectra_are_blurred_to_the_models_line_spread():
    model, spectra = miles_model(), miles()[90:]
    sharper = dataclasses.replace(spectra, fwhm=1.5)
    found, plain = model.prepare(sharper), model.prepare(spectra)
    assert found.fwhm == model.info.fwhm == 2.5
    assert found.flux.std() < plain.flux.std()


def test_a_model_passes_through_jit_and_vmap_as_an_argument():
    model = giants_model()
    labels = np.asarray(held_out().values(LABELS)[:3], dtype=np.float32)
    expected = np.asarray(model(labels))
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda m, x: m(x), (None, 0))(model, labels), expected, rtol=1e-5)
    leaves, structure = jax.tree_util.tree_flatten(model)
    assert jax.tree_util.tree_unflatten(structure, leaves).label_names == model.label_names


def test_a_model_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        giants_model().noise = None


def test_training_stars_are_recognised_by_identifier_or_by_flux():
    record, spectra = giants_model().info.record, held_out()
    assert not record.contains(spectra).any()
    trained = xp_giants()[:5]
    anonymous = Spectra(trained.wave, trained.flux, trained.ivar, wave_unit="nm")
    assert record.contains(anonymous).all()
    observed_again = trained.with_arrays(trained.flux * 1.01, trained.ivar)
    assert record.contains(observed_again).all()


def test_stars_without_an_identifier_are_not_taken_for_training_stars():
    trained = xp_giants()[:60]
    table = trained.table.copy()
    table["apogee_id"][:15], table["source_id"][:15] = "", 0
    some = Spectra(trained.wave, trained.flux, trained.ivar, table, wave_unit="nm")
    record = train(recipe()(some).on_pixels([3, 30]), LABELS, search=TWO_FOLDS).info.record
    unnamed = held_out().table.copy()
    unnamed["apogee_id"], unnamed["source_id"] = "", 0
    new = held_out()
    assert not record.contains(Spectra(new.wave, new.flux, new.ivar, unnamed, wave_unit="nm")).any()
