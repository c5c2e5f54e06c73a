"""Recipes: order of steps, JSON and TOML, short forms of continua."""

import json

import numpy as np
import pytest
from helpers import miles, xp_giants

from slamjax.errors import SlamError
from slamjax.preprocessing import (
    BadPixels,
    ChebyshevContinuum,
    GaussianContinuum,
    MatchResolution,
    Recipe,
    Resample,
    RestFrame,
    SplineContinuum,
    WaveRange,
    parse_continuum,
)

RECIPES = [
    Recipe(),
    Recipe((WaveRange(376.0, 1010.0, "nm"), GaussianContinuum(50.0, "nm"))),
    Recipe((WaveRange(400.1, 900.7, "nm"), SplineContinuum(600.0, "Angstrom", bin_width=100.0, percentile=70.0))),
    Recipe((BadPixels(min_flux=0.0, min_snr=3.0, grow=2), GaussianContinuum(0.1 + 0.2, "um"))),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_survives_json_and_prepares_the_same(recipe):
    """The recipe is stored in the model file, so that training and fitting prepare spectra alike."""
    again = Recipe.from_list(json.loads(json.dumps(recipe.to_list())))
    assert again == recipe
    giants = xp_giants()[:10]
    np.testing.assert_array_equal(again(giants).flux, recipe(giants).flux)
    np.testing.assert_array_equal(again(giants).ivar, recipe(giants).ivar)


def test_steps_apply_in_their_order():
    """A limit on flux means different fluxes before and after the division by the continuum."""
    rule, divide = BadPixels(max_flux=1.05), GaussianContinuum(50.0, "nm")
    giants = xp_giants()[:5]
    first, last = Recipe((rule, divide))(giants), Recipe((divide, rule))(giants)
    assert not np.array_equal(first.good, last.good)
    np.testing.assert_array_equal(last.good, rule(divide(giants)).good)


def test_cropping_must_come_first():
    """New spectra need only the model's pixels, so training must not use others."""
    with pytest.raises(SlamError, match="wave_range must come before all steps but"):
        Recipe((GaussianContinuum(50.0, "nm"), WaveRange(450.0, 800.0, "nm")))


def test_the_usual_recipe_crops_then_divides_then_masks():
    recipe = Recipe.make(
        wave_range=(376, 1010), wave_unit="nm", continuum="gaussian:50nm", bad_pixels=BadPixels(min_flux=0.1)
    )
    divide = GaussianContinuum(50.0, "nm", order=4)
    assert recipe == Recipe((WaveRange(376.0, 1010.0, "nm"), divide, BadPixels(min_flux=0.1)))
    assert Recipe.make() == Recipe.make(continuum=None) == Recipe()
    assert Recipe.make(continuum=SplineContinuum(60.0, "nm")).steps == (SplineContinuum(60.0, "nm"),)


def test_flux_outside_the_range_does_not_affect_the_result():
    recipe = Recipe.make(wave_range=(5050, 5200), wave_unit="Angstrom", continuum="gaussian:5nm")
    spectra = miles()
    spoilt = spectra.with_arrays(np.where(spectra.wave > 5210, 1e9, spectra.flux), spectra.ivar)
    np.testing.assert_array_equal(recipe(spoilt).flux, recipe(spectra).flux)


def test_a_recipe_keeps_stars_and_their_table():
    giants = xp_giants()[10:20]
    prepared = RECIPES[1](giants)
    np.testing.assert_array_equal(prepared.rows, giants.rows)
    np.testing.assert_array_equal(prepared.table["source_id"], giants.table["source_id"])


def test_an_empty_recipe_gives_the_spectra_as_they_are():
    giants = xp_giants()
    assert Recipe()(giants) is giants
    assert str(Recipe()) == "spectra as they are"


def test_a_recipe_describes_its_steps():
    text = str(RECIPES[1])
    assert "376 to 1010 nm" in text
    assert "standard deviation 50 nm" in text


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("gaussian:50nm", GaussianContinuum(50.0, "nm", order=4)),
        (" gaussian: 500 Angstrom ", GaussianContinuum(500.0, "Angstrom", order=4)),
        ("spline:60nm", SplineContinuum(60.0, "nm", bin_width=10.0)),
        ("spline:0.06um", SplineContinuum(0.06, "um", bin_width=0.01)),
        ("none", None),
    ],
)
def test_short_forms_of_a_continuum(text, step):
    assert parse_continuum(text) == step


def test_recipes_written_before_continua_had_an_order_keep_their_plain_gaussian():
    written = [{"step": "gaussian_continuum", "sigma": 50.0, "unit": "nm", "arms": []}]
    assert Recipe.from_list(written) == Recipe((GaussianContinuum(50.0, "nm", order=2),))


@pytest.mark.parametrize("text", ["", "gaussian", "gaussian:", "poly:3", "Gaussian:50nm", "none:5nm", "50nm"])
def test_an_unknown_continuum_gets_examples(text):
    with pytest.raises(SlamError, match="write gaussian:50nm, spline:60nm, chebyshev:4 or none"):
        parse_continuum(text)


@pytest.mark.parametrize("text", ["gaussian:50", "gaussian:50K", "spline:wide", "gaussian:50furlong", "spline:5nm:3"])
def test_a_continuum_without_a_length_is_an_error(text):
    with pytest.raises(SlamError, match="needs a width with a unit of length"):
        parse_continuum(text)


@pytest.mark.parametrize("text", ["gaussian:0nm", "gaussian:-5nm", "spline:nan nm", "spline:1e999nm"])
def test_a_continuum_without_a_positive_size_is_an_error(text):
    with pytest.raises(SlamError, match="give one above 0"):
        parse_continuum(text)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"step": "bake"}], "unknown step 'bake'; there are: wave_range, rest_frame"),
        ([{"low": 1.0, "high": 2.0}], "unknown step None"),
        (
            [{"step": "wave_range", "lo": 1.0}],
            "'wave_range' of the recipe has no option 'lo'; it has: low, high, unit",
        ),
        ([{"step": "gaussian_continuum"}], "step 'gaussian_continuum' of the recipe lacks sigma"),
        ([{"step": "wave_range", "low": "abc", "high": 5}], "of the recipe has a value of the wrong type .low = 'abc'"),
        ([{"step": "wave_range", "low": 2.0, "high": 1.0, "unit": "nm"}], "is empty"),
        ([{"step": [1]}], r"unknown step \[1\]"),
        ([{"step": "bad_pixels", "max_flux": "nm"}], "wrong type .max_flux = 'nm'.; give a number"),
        ([{"step": "bad_pixels", "grow": 1.5}], "wrong type .grow = 1.5.; give a whole number"),
        ([{"step": "bad_pixels", "min_snr": float("nan")}], "has min_snr = nan; give a finite number"),
    ],
)
def test_a_wrong_stored_recipe_is_an_error(items, message):
    with pytest.raises(SlamError, match=message):
        Recipe.from_list(items)


@pytest.mark.parametrize("unit", ["furlong", "K"])
def test_an_unknown_unit_is_an_error_when_the_recipe_is_made(unit):
    with pytest.raises(SlamError, match=unit):
        Recipe.make(wave_range=(1, 2), wave_unit=unit)
    with pytest.raises(SlamError, match=unit):
        GaussianContinuum(50.0, unit)


WHOLE = Recipe(
    (
        WaveRange(5010.0, 5250.0, "Angstrom"),
        RestFrame("rv"),
        Resample(np.float64(501.0), 525.0, 1e-4 * np.log(10), "nm", log=True, medium="vacuum"),
        MatchResolution(3.0, "Angstrom"),
        ChebyshevContinuum(3, unit="nm", arms=((501.0, 510.0), (511.0, 525.0)), pixels=(502.5, 515.0)),
        BadPixels(max_flux=1.5, grow=1),
    )
)


def test_a_recipe_survives_toml(tmp_path):
    path = tmp_path / "recipe.toml"
    WHOLE.write(path)
    assert Recipe.read(path) == WHOLE
    assert Recipe.from_list(json.loads(json.dumps(WHOLE.to_list()))) == WHOLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 3", "is no recipe"),
        ("[[steps]]\nlow = 1.0", "unknown step None"),
        ("[[steps]]\nstep = 'gaussian_continuum'\nwidth = 3", "has no option 'width'; it has: sigma, unit, arms"),
        ("[[steps", "cannot be read as TOML"),
        ("[[steps]]\nstep = 'resample'\nlow = 5\nhigh = 4\nspacing = 1\nunit = 'nm'", "holds nothing"),
        ("[other]", "is no recipe"),
    ],
)
def test_a_wrong_recipe_file_is_an_error(text, message, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(SlamError, match=rf"wrong\.toml.*{message}"):
        Recipe.read(path)


def test_steps_are_split_into_regridding_and_treatment():
    assert WHOLE.regridding.steps + WHOLE.treatment.steps == WHOLE.steps
    assert [step.name for step in WHOLE.regridding.steps] == ["wave_range", "rest_frame", "resample"]


def test_continuum_pixels_are_found_after_the_earlier_steps():
    recipe = Recipe((WaveRange(5010.0, 5250.0, "Angstrom"), ChebyshevContinuum(2)))
    learnt = recipe.learn(miles())
    assert learnt.steps[1].unit == "Angstrom"
    pixels = np.asarray(learnt.steps[1].pixels)
    assert 0.08 * 267 < len(pixels) < 0.2 * 267
    assert np.all((pixels >= 5009.9) & (pixels <= 5250.1))
    assert learnt.learn(miles()[:50]) == learnt
    assert Recipe((GaussianContinuum(50.0, "nm"),)).learn(miles()) == Recipe((GaussianContinuum(50.0, "nm"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = " + "[" * 100_000, "nested too deeply"),
        ("a." * 50_000 + "b = 1", "more than 500 dots outside numbers"),
        ("x = " + "9" * 100_000, "cannot be read as TOML"),
    ],
)
def test_a_recipe_file_that_would_exhaust_the_parser_is_named(tmp_path, text, message):
    path = tmp_path / "deep.toml"
    path.write_text(text)
    with pytest.raises(SlamError, match=rf"deep.toml .*{message}"):
        Recipe.read(path)


def test_growing_bad_pixels_beyond_the_spectrum_ends():
    """A loop of a billion steps would not."""
    spectra = xp_giants()[:1]
    assert not BadPixels(max_flux=float(np.median(spectra.flux)), grow=10**9)(spectra).good.any()
