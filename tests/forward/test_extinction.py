"""Extinction as a nuisance: the published curve, its slopes, where it applies, and A_V that was put into spectra."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision, xp_giants

import slamjax
from slamjax.errors import SlamError
from slamjax.flags import Flag
from slamjax.forward.extinction import curve_of, extinction_curve
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.forward.pixel_facts import PixelFacts
from slamjax.noise.models import DiagonalNoise
from slamjax.spectra.wavelengths import to_air
from slamjax.validation import prepared_model, simulate

NAMES = ("teff", "logg", "fe_h")
#: A(λ) / A_V at R_V = 3.1 and 5.0 of another code (dust_extinction 1.7, its O94), at wavelengths in µm.
OTHER_CODE = {
    0.31: (1.771056151, 1.357536295),
    0.40: (1.426178025, 1.267548978),
    0.55: (0.998667132, 0.999101001),
    0.70: (0.753770138, 0.794459594),
    0.90: (0.478909150, 0.555277492),
    1.25: (0.282069575, 0.327172779),
    1.65: (0.180398206, 0.209244058),
    2.20: (0.113522213, 0.131674527),
    3.30: (0.059098155, 0.068548008),
}


@pytest.mark.parametrize(("micron", "expected"), OTHER_CODE.items())
def test_the_curve_is_that_of_another_code(micron, expected):
    a, b = extinction_curve(np.array([micron]))
    np.testing.assert_allclose([a[0] + b[0] / 3.1, a[0] + b[0] / 5.0], expected, rtol=1e-6)


@pytest.mark.parametrize("micron", [0.30, 3.4])
def test_beyond_its_range_the_curve_is_not_extrapolated(micron):
    with pytest.raises(SlamError, match=r"extinction curve is known from 0\.303 to 3\.33 µm"):
        extinction_curve(np.array([1.0, micron]))


def test_channels_have_no_wavelengths():
    with pytest.raises(SlamError, match="the model is one of channels"):
        curve_of(Nuisances(extinction="free"), PixelFacts(None, None, True))


@cache
def stars():
    """Giants from 400 to 900 nm at flux of mean 1: apparent brightness aside, with the shape of the continuum."""
    some = xp_giants()
    some = some.on_pixels((some.wave > 400) & (some.wave < 900))
    level = np.mean(some.flux, axis=1, keepdims=True)
    return dataclasses.replace(some, flux=some.flux / level, ivar=some.ivar * np.square(level), flux_unit=None)


@cache
def model():
    """With less noise than these stars have, whose own dust is part of it: half a per cent in each pixel."""
    trained = slamjax.train(stars(), NAMES, emulator=slamjax.Polynomial(), noise="diagonal", on_progress=False)
    return dataclasses.replace(trained, noise=DiagonalNoise(np.where(trained.trained, 2.5e-5, np.inf)))


DUST = Nuisances(extinction=Free(-0.5, 2.0), polynomial=0)


@cache
def reddened(n=60):
    """Spectra by the emulator inside the training range, behind dust, with noise; and the fit."""
    prepared = prepared_model(model())
    rng = np.random.default_rng(0)
    x = np.asarray(prepared.training_labels.stars)
    pairs = rng.integers(0, len(x), (n, 2))
    labels = np.asarray(prepared.host_emulator.scaling.inverse(0.6 * x[pairs[:, 0]] + 0.4 * x[pairs[:, 1]]))
    values = {"extinction": rng.uniform(0, 1.5, n), "polynomial": rng.uniform(0.8, 1.2, (n, 1))}
    ivar = np.full((n, prepared.wave.size), 1e5)
    spectra = simulate(prepared, labels, ivar, nuisances=DUST, values=values)
    return prepared, spectra, labels, values["extinction"], slamjax.fit(prepared, spectra, nuisances=DUST)


def column(table, name):
    return np.asarray(table[name], float)


def test_extinctions_and_labels_come_out_within_their_errors():
    _, _, labels, truth, table = reddened()
    assert str(table["extinction"].unit) == "mag"
    pulls = [(column(table, "extinction") - truth) / column(table, "extinction_err")]
    pulls += [(column(table, name) - labels[:, k]) / column(table, f"{name}_err") for k, name in enumerate(NAMES)]
    for pull in pulls:
        assert np.isfinite(pull).mean() > 0.95
        assert abs(np.nanmedian(pull)) < 0.6  # 60 stars: 4 standard errors
        assert 0.6 < 1.4826 * np.nanmedian(np.abs(pull - np.nanmedian(pull))) < 1.5
    assert np.nanmedian(column(table, "extinction_err")) < 0.1


def test_without_it_dust_makes_stars_cool():
    prepared, spectra, labels, truth, table = reddened()
    ignorant = slamjax.fit(prepared, spectra, nuisances=Nuisances(polynomial=0))
    red = truth > 0.8
    off, on = (np.nanmedian((column(each, "teff") - labels[:, 0])[red]) for each in (ignorant, table))
    assert off < -100
    assert abs(on) < 0.2 * abs(off)


def test_slopes_are_those_of_the_dimmed_flux():
    with in_precision("float64"):
        given = Nuisances(rv=Free(-50, 50), extinction=Free(0, 2), r_v=Gaussian(3.1, 0.3))
        forward = model().with_nuisances(given)
        assert forward.free == ("rv", "extinction", "r_v")
        x = jnp.asarray([0.1, -0.2, 0.3, 0.02, 0.7, 3.4])
        flux, slopes = forward.at_with_jacobian(x)
        np.testing.assert_allclose(flux, forward.at(x), rtol=1e-12)
        seen = np.asarray(forward.usable)
        np.testing.assert_allclose(slopes[:, seen], jax.jacfwd(forward.at)(x).T[:, seen], rtol=1e-7, atol=1e-9)
        labels = model().host_emulator.scaling.inverse(np.array([0.1, -0.2, 0.3]))
        plain = forward(labels, rv=2.0, extinction=0.0, r_v=3.1)
        dimmed = forward(labels, rv=2.0, extinction=0.7, r_v=3.4)
        a, b = extinction_curve(model().wave / 1000)
        np.testing.assert_allclose((dimmed / plain)[seen], 10 ** (-0.28 * (a + b / 3.4))[seen], rtol=1e-6)


def test_the_curve_is_that_of_vacuum_wavelengths():
    in_air = dataclasses.replace(model().info, wave=to_air(model().wave, "nm"), medium="air")
    other = dataclasses.replace(model(), info=in_air)
    first, second = (np.asarray(each.with_nuisances(DUST).curve) for each in (model(), other))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


def test_a_model_whose_recipe_divides_by_the_continuum_has_no_extinction():
    recipe = slamjax.Recipe.make(wave_range=(500, 600), wave_unit="nm", continuum="gaussian:50nm")
    flat = slamjax.train(xp_giants()[:60], NAMES, emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    with pytest.raises(SlamError, match="continuum, which the model's recipe divides out"):
        slamjax.fit(flat, xp_giants()[60:62], nuisances=Nuisances(extinction="free"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"r_v": 3.1}, "r_v is given without an extinction"),
        ({"extinction": "free", "r_v": 1.5}, "r_v reaches from 1.5 to 1.5; the extinction curve is known from 2 to 6"),
        ({"extinction": "some"}, "extinction is 'some'; give 'free', a number in mag, Free, Gaussian or None"),
    ],
)
def test_impossible_extinctions_are_told(given, message):
    with pytest.raises(SlamError, match=message):
        Nuisances(**given)


def test_a_survey_knows_the_columns_of_the_fit():
    prepared, spectra, *_ = reddened()
    fitter = slamjax.Fitter(prepared, nuisances=DUST)
    table, schema = fitter.fit(spectra[:2]), slamjax.survey.label_schema(fitter)
    units = {column.name: column.unit for column in schema.columns}
    for name in ("extinction", "extinction_err"):
        assert units[name] == str(table[name].unit) == "mag"


def test_an_extinction_at_its_bound_is_flagged():
    prepared, spectra, _, truth, _ = reddened()
    row = int(np.argmax(truth))
    table = slamjax.fit(prepared, spectra[row], nuisances=Nuisances(extinction=Free(0, 0.3), polynomial=0))
    assert table["flags"][0] & Flag.NUISANCE_AT_BOUND


def test_draws_of_extinction_agree_with_the_fit():
    prepared, spectra, _, _, table = reddened()
    rows = np.flatnonzero(np.asarray(table["flags"]) == 0)[:4]
    given = Nuisances(extinction=Free(-0.5, 2.0), r_v=Gaussian(3.1, 0.2), polynomial=0)
    spec = slamjax.SamplerSpec("importance", draws=400)
    posterior = slamjax.sample(prepared, spectra[rows], nuisances=given, sampler=spec)
    assert posterior.label_names[-2:] == ("extinction", "r_v")
    assert posterior.label_units[-2:] == ("mag", "")
    fitted = slamjax.fit(prepared, spectra[rows], nuisances=given)
    drawn = posterior.table()
    for name in ("extinction", "teff"):
        away = (column(drawn, name) - column(fitted, name)) / column(fitted, f"{name}_err")
        assert np.abs(away).max() < 1, name
        ratio = column(drawn, f"{name}_err") / column(fitted, f"{name}_err")
        assert np.all((ratio > 0.5) & (ratio < 2)), name
    predicted = posterior.predictive(prepared, 20)
    expected = spectra.flux[rows] / np.mean(spectra.flux[rows], axis=1, keepdims=True)
    level = np.mean(predicted, axis=-1, keepdims=True)
    assert np.abs(np.median(predicted / level, axis=0) - expected).max() < 0.1
