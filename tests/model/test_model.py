"""The model: preparation travels with it, and it is a pytree."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest
from astropy import units as u
from helpers import miles, xp_giants
from models import LABELS, TWO_FOLDS, giants_model, held_out, miles_model, recipe, searched_model

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing import MatchResolution, onto_grid
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


def blurred_stars(width=5.0):
    """Stars that did not train `miles_model`, with lines as wide as ``width`` Å above 5150 Å, which they state."""
    stars = miles()[90:]
    stars = stars[np.isfinite(stars.values(model_labels())).all(axis=1)]
    wide = stars.wave > 5150
    flux = np.where(wide, MatchResolution(width, "Angstrom")(stars).flux, stars.flux)
    return stars, dataclasses.replace(stars, flux=flux, fwhm=np.where(wide, width, 2.5))


def model_labels():
    return miles_model().label_names


def test_a_matched_model_gives_spectra_of_wider_lines_the_labels_of_sharp_ones():
    model, (sharp, wide) = miles_model(), blurred_stars()
    expected, found = slamjax.fit(model, sharp), slamjax.fit(model, wide)
    ignorant = slamjax.fit(model, dataclasses.replace(wide, fwhm=None))
    for name in model.label_names:
        error = np.asarray(expected[f"{name}_err"], float)
        moved = np.abs(np.asarray(found[name] - expected[name], float)) / error
        unmatched = np.abs(np.asarray(ignorant[name] - expected[name], float)) / error
        assert np.median(moved) < 0.4, name
        assert np.median(unmatched) > 2 * np.median(moved), name


def test_a_model_of_wider_lines_is_made_once_however_the_spectra_were_read():
    """Widths differ in their last digits with what is read together; a long survey must not keep a model of each."""
    model, (_, wide) = miles_model(), blurred_stars()
    matched = model.matched(wide)
    nearly = dataclasses.replace(wide, fwhm=np.where(wide.wave > 5150, 5.0 * (1 + 1e-7), 2.5 * (1 + 1e-7)))
    assert model.matched(nearly) is matched
    several = [model.matched(dataclasses.replace(wide, fwhm=width)) for width in (5.5, 6.0, 6.5, 7.0, 7.5, 8.0)]
    assert len(set(map(id, several))) == 6
    assert model.matched(dataclasses.replace(wide, fwhm=8.0)) is several[-1]
    assert sum(len(kept) for name, kept in model._cache.items() if name == "wider") <= 4


def test_a_matched_model_states_the_wider_line_spread_and_keeps_narrower_spectra():
    model, (sharp, wide) = miles_model(), blurred_stars()
    matched = model.matched(wide)
    np.testing.assert_allclose(matched.info.fwhm, np.where(model.wave > 5150, 5.0, 2.5))
    assert model.matched(wide) is matched
    assert model.matched(sharp) is model
    assert model.matched(dataclasses.replace(sharp, fwhm=None)) is model
    assert model.matched(dataclasses.replace(sharp, fwhm=1.5)) is model
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(matched.prepare(wide).flux, model.recipe(wide).flux)
    with pytest.warns(SlamWarning, match=r"model.matched\(spectra\) predicts as wide lines"):
        model.prepare(wide)


def test_a_model_of_several_kernels_can_be_matched_too():
    model = searched_model()
    sharp = dataclasses.replace(model, info=dataclasses.replace(model.info, fwhm=1.0))
    spectra = dataclasses.replace(held_out(), fwhm=12.0)
    matched, labels = sharp.matched(spectra), spectra.values(LABELS)[:3]
    assert np.std(matched(labels)) < np.std(model(labels))
    assert np.max(matched.info.fwhm) == 12.0


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
