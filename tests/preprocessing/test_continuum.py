"""Continua: equations, masks, errors, arms, continuum pixels."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import WAVE, miles, noisy, xp_giants
from scipy.interpolate import make_smoothing_spline

from slamjax.errors import SlamError
from slamjax.preprocessing import (
    ChebyshevContinuum,
    GaussianContinuum,
    SplineContinuum,
    continuum,
)
from slamjax.spectra.spectra import Spectra

CONTINUA = [GaussianContinuum(50.0, "nm"), GaussianContinuum(50.0, "nm", order=4), SplineContinuum(60.0, "nm")]


def test_gaussian_continuum_is_the_sum_in_its_docstring():
    """Ho et al. (2017), eq. 1, by two loops over pixels, on a grid of unequal steps with masked pixels."""
    spectra, sigma = noisy(), 12.0
    width = np.gradient(WAVE)
    expected = np.empty_like(spectra.flux)
    for star in range(len(spectra)):
        for i, here in enumerate(WAVE):
            total = weight = 0.0
            for j, there in enumerate(WAVE):
                if spectra.good[star, j]:
                    g = width[j] * np.exp(-((here - there) ** 2) / (2 * sigma**2))
                    total, weight = total + g * spectra.flux[star, j], weight + g
            expected[star, i] = total / weight
    np.testing.assert_allclose(GaussianContinuum(sigma, "nm").continuum(spectra), expected, rtol=1e-12)
    single = GaussianContinuum(sigma, "nm").continuum(noisy(dtype=np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=3e-6)


def test_a_continuum_of_fourth_order_is_the_sum_in_its_docstring():
    spectra, sigma = noisy(bad=0.1), 12.0
    square = np.square((WAVE[:, None] - WAVE) / sigma)
    weights = np.gradient(WAVE)[:, None] * np.exp(-square / 2) * (3 - square) / 2
    good = spectra.good
    expected = np.where(good, spectra.flux, 0) @ weights / (good @ weights)
    np.testing.assert_allclose(GaussianContinuum(sigma, "nm", order=4).continuum(spectra), expected, rtol=1e-11)


def test_a_curved_response_of_the_instrument_cancels_with_the_fourth_order():
    """Real spectra times a response that varies by 10 % over ten standard deviations of the continuum."""
    spectra, sigma = miles(), 10.0
    response = 1 + 0.1 * np.cos(2 * np.pi * (spectra.wave - spectra.wave[0]) / (10 * sigma))
    middle = slice(60, -60)

    def change(order):
        step = GaussianContinuum(sigma, "Angstrom", order=order)
        seen = step(spectra.with_arrays(spectra.flux * response, spectra.ivar))
        return np.sqrt(np.mean(np.square(seen.flux - step(spectra).flux)[:, middle]))

    assert change(4) < 0.2 * change(2)


def test_a_continuum_of_fourth_order_stays_near_the_plain_one():
    """Its weights are partly negative, and a steep spectrum must not make it zero or negative."""
    flux = np.exp(0.3 * np.arange(WAVE.size))[None]
    steep = Spectra(WAVE, flux, np.ones_like(flux), wave_unit="nm")
    plain, fourth = (GaussianContinuum(12.0, "nm", order=order).continuum(steep) for order in (2, 4))
    assert np.all((fourth >= plain / 2) & (fourth <= 2 * plain))
    with pytest.raises(SlamError, match="has order 3; give 2 or 4"):
        GaussianContinuum(12.0, "nm", order=3)


def test_gaussian_continuum_is_the_same_in_blocks():
    """Long spectra are smoothed 256 pixels at a time."""
    wave = np.linspace(400, 900, 2500)
    flux = 1 + 0.2 * np.sin(wave / 7)[None]
    whole = GaussianContinuum(10.0, "nm").continuum(Spectra(wave, flux, np.ones_like(flux), wave_unit="nm"))
    near = np.exp(-0.5 * ((wave[:, None] - wave) / 10) ** 2) * np.gradient(wave)
    np.testing.assert_allclose(whole[0], (near @ flux[0]) / near.sum(axis=1), rtol=1e-11)


def test_a_smoothing_matrix_that_is_too_large_to_keep_gives_the_same(monkeypatch):
    spectra, step = noisy(), GaussianContinuum(12.0, "nm", order=4)
    kept = step.continuum(spectra)
    monkeypatch.setattr(continuum, "_MOST_KEPT", 0)
    np.testing.assert_array_equal(step.continuum(spectra), kept)


def test_gaussian_width_is_a_length_in_any_unit():
    nm, angstrom = GaussianContinuum(2.0, "nm"), GaussianContinuum(20.0, "Angstrom")
    np.testing.assert_allclose(nm.continuum(miles()), angstrom.continuum(miles()), rtol=1e-6)


def test_a_gaussian_far_from_good_pixels_marks_them_bad():
    """Across a wide gap there is no continuum to divide by."""
    spectra = noisy(n=1, bad=0)
    ivar = np.where((WAVE[5] < WAVE) & (WAVE[-5] > WAVE), 0, spectra.ivar)
    divided = GaussianContinuum(2.0, "nm")(spectra.with_arrays(spectra.flux, ivar))
    assert np.isfinite(divided.flux).all()
    assert np.isnan(GaussianContinuum(2.0, "nm").continuum(spectra.with_arrays(spectra.flux, ivar))[0, 20])
    assert not divided.good[0, 20]
    assert divided.good[0, 0]


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
@pytest.mark.parametrize("factor", [7.0, 1e-17])
def test_normalised_flux_does_not_depend_on_the_unit_of_flux(step, factor):
    spectra = noisy()
    scaled = step(spectra.with_arrays(spectra.flux * factor, spectra.ivar / factor**2))
    np.testing.assert_allclose(scaled.flux, step(spectra).flux, rtol=1e-8)
    np.testing.assert_allclose(scaled.ivar, step(spectra).ivar, rtol=1e-8)


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
def test_a_flat_spectrum_becomes_one(step):
    spectra = noisy()
    flat = step(spectra.with_arrays(np.where(spectra.good, 5.0, 1e6), spectra.ivar))
    np.testing.assert_allclose(flat.flux[flat.good], 1, rtol=1e-9)
    np.testing.assert_array_equal(flat.good, spectra.good)


@pytest.mark.parametrize("order", [2, 4])
def test_gaussian_continuum_of_a_spectrum_does_not_depend_on_the_others(order):
    """Digit by digit: labels would otherwise depend on how a survey is divided."""
    spectra, step = xp_giants()[:50], GaussianContinuum(50.0, "nm", order=order)
    whole = step.continuum(spectra)
    parts = [step.continuum(spectra[rows]) for rows in (slice(0, 1), slice(1, 18), slice(18, 50))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_are_divided_by_the_same_continuum_as_flux(step, dtype):
    """ivar is multiplied by the continuum squared, so the signal-to-noise ratio of each pixel is conserved."""
    spectra = noisy(dtype=dtype)
    divided = step(spectra)
    good = divided.good
    assert good.sum() > 50
    continuum = step.continuum(spectra)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(divided.flux[good], (spectra.flux / continuum)[good], rtol=rtol)
    np.testing.assert_allclose(divided.ivar[good], (spectra.ivar * continuum**2)[good], rtol=rtol)
    assert divided.flux.dtype == divided.ivar.dtype == dtype


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
def test_masked_pixels_do_not_affect_the_continuum(step):
    spectra = noisy()
    other = spectra.with_arrays(np.where(spectra.good, spectra.flux, -3e7), spectra.ivar)
    np.testing.assert_array_equal(step.continuum(other), step.continuum(spectra))


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
def test_a_star_does_not_depend_on_its_neighbours_in_the_batch(step):
    giants = xp_giants()[:5]
    alone = np.concatenate([step(one).flux for one in giants])
    np.testing.assert_allclose(step(giants).flux, alone, rtol=2e-6)


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
def test_a_fully_masked_star_stays_masked_and_finite(step):
    spectra = noisy()
    ivar = spectra.ivar.copy()
    ivar[1] = 0
    divided = step(spectra.with_arrays(spectra.flux, ivar))
    assert np.isfinite(divided.flux).all()
    assert not divided.good[1].any()
    assert divided.good[[0, 2]].any(axis=1).all()


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
def test_unknown_errors_stay_unknown(step):
    assert np.all(np.isinf(step(miles()).ivar))


def test_pixels_without_a_positive_continuum_are_bad():
    spectra = Spectra(WAVE, -np.ones((1, 40)), np.ones((1, 40)), wave_unit="nm")
    assert not GaussianContinuum(10.0, "nm")(spectra).good.any()


def test_a_spline_follows_a_smooth_continuum_and_leaves_narrow_lines():
    wave = np.linspace(400, 900, 1001)
    smooth = 2 + np.sin((wave - 400) / 160) + 1e-3 * (wave - 400)
    lines = np.prod([1 - 0.5 * np.exp(-0.5 * ((wave - c) / 1.0) ** 2) for c in (450, 555, 640, 780)], axis=0)
    spectra = Spectra(wave, (smooth * lines)[None], np.full((1, 1001), 1e4), wave_unit="nm")
    continuum = SplineContinuum(60.0, "nm").continuum(spectra)[0]
    np.testing.assert_allclose(continuum[30:-30], smooth[30:-30], rtol=0.01)
    divided = SplineContinuum(60.0, "nm")(spectra).flux[0]
    assert divided[np.argmin(np.abs(wave - 555))] == pytest.approx(0.5, abs=0.02)


def test_a_spline_halves_a_sine_wave_of_its_scale():
    """Away from the ends, waves twice as long pass and waves half as long do not."""
    wave = np.linspace(0, 1200, 1201) + 400
    for period, gain in [(60.0, 1 / 2), (120.0, 16 / 17), (30.0, 1 / 17)]:
        ripple = np.sin(2 * np.pi * wave / period)
        spectra = Spectra(wave, (5 + ripple)[None], np.ones((1, 1201)), wave_unit="nm")
        left = SplineContinuum(60.0, "nm", iterations=0).continuum(spectra)[0] - 5
        inner = slice(300, -300)
        assert left[inner] @ ripple[inner] / (ripple[inner] @ ripple[inner]) == pytest.approx(gain, abs=0.005)


def test_without_iterations_a_spline_is_scipys_on_the_good_pixels():
    spectra = noisy(n=1)
    good = spectra.good[0]
    penalty = (60.0 / (2 * np.pi)) ** 4 / np.diff(WAVE).mean()
    spline = make_smoothing_spline(WAVE[good], spectra.flux[0, good], lam=penalty)
    inside = (WAVE[good][0] <= WAVE) & (WAVE[good][-1] >= WAVE)
    continuum = SplineContinuum(60.0, "nm", iterations=0).continuum(spectra)[0]
    np.testing.assert_allclose(continuum[inside], spline(WAVE[inside]), rtol=1e-10)


def test_a_spline_is_constant_beyond_the_last_good_pixel():
    spectra = noisy(n=1, bad=0)
    ivar = np.where(WAVE[25] < WAVE, 0, spectra.ivar)
    continuum = SplineContinuum(60.0, "nm").continuum(spectra.with_arrays(spectra.flux, ivar))[0]
    assert np.ptp(continuum[26:]) < 0.05


@pytest.mark.parametrize("step", [GaussianContinuum, SplineContinuum])
@pytest.mark.parametrize("size", [0.0, -5.0, np.nan, np.inf])
def test_a_continuum_needs_a_size_above_zero(step, size):
    with pytest.raises(SlamError, match="give one above 0"):
        step(size, "nm")


@pytest.mark.parametrize(
    "option", [{"percentile": 100.0}, {"percentile": -1.0}, {"iterations": -1}, {"bin_width": 0.0}]
)
def test_options_of_the_spline_are_checked(option):
    with pytest.raises(SlamError, match="spline continuum needs"):
        SplineContinuum(60.0, "nm", **option)


@pytest.mark.parametrize("step", CONTINUA, ids=lambda step: step.name)
def test_a_single_pixel_does_not_crash_a_step(step):
    assert np.isfinite(step(noisy().on_pixels(slice(0, 1))).flux).all()


@pytest.mark.parametrize(
    "step",
    [
        GaussianContinuum(5.0, "nm"),
        SplineContinuum(6.0, "nm", bin_width=1.0),
        ChebyshevContinuum(2, unit="nm", pixels=(505.0, 510.0, 520.0)),
    ],
    ids=lambda step: step.name,
)
def test_arms_are_divided_independently(step):
    """The flux level of one arm does not affect the other; pixels between arms are bad."""
    stars = miles()[:3]
    wave = stars.wave / 10
    arms = ((500.0, 511.0), (512.0, 530.0))
    pixels = tuple(wave[::7]) if isinstance(step, ChebyshevContinuum) else None
    step = replace(step, pixels=pixels) if pixels else step
    result = replace(step, arms=arms)(stars)
    louder = stars.with_arrays(np.where(wave > 511.5, 1000 * stars.flux, stars.flux), stars.ivar)
    first = (wave <= 511) & (wave >= 500)
    np.testing.assert_array_equal(replace(step, arms=arms)(louder).flux[:, first], result.flux[:, first])
    np.testing.assert_allclose(result.flux[:, first], step(stars.on_pixels(first)).flux, rtol=1e-10)
    assert not result.good[:, (wave > 511) & (wave < 512)].any()
    assert "in arms 500-511, 512-530 nm" in str(replace(step, arms=arms))


@pytest.mark.parametrize("arms", [((500, 490),), ((500, 510), (505, 520)), ((500, 500),)])
def test_arms_that_overlap_or_are_empty_are_refused(arms):
    with pytest.raises(SlamError, match=r"must be pairs .low, high. of increasing wavelengths that do not overlap"):
        GaussianContinuum(50.0, "nm", arms=arms)


def test_a_chebyshev_continuum_is_the_polynomial_through_its_pixels():
    """numpy's own least squares on the same pixels."""
    stars = miles()[:4]
    wave = stars.wave / 10
    chosen = np.arange(10, 290, 9)
    bad = np.zeros(stars.flux.shape, bool)
    bad[1, chosen[:5]] = True
    stars = stars.with_arrays(np.where(bad, 1e6, stars.flux), np.where(bad, 0, stars.ivar))
    result = ChebyshevContinuum(3, unit="nm", pixels=tuple(wave[chosen])).continuum(stars)
    for row in range(4):
        kept = chosen[~bad[row, chosen]]
        fit = np.polynomial.Chebyshev.fit(wave[kept], stars.flux[row, kept], 3, domain=[wave[0], wave[-1]])
        np.testing.assert_allclose(result[row], fit(wave), rtol=1e-7)


def test_continuum_pixels_are_high_and_vary_little():
    """Lines of varying depth on a linear continuum: hardly any pixel in a line is chosen."""
    rng = np.random.default_rng(0)
    wave = np.linspace(500, 540, 400)
    depth = rng.uniform(0.1, 0.6, (60, 1))
    lines = np.exp(-0.5 * ((wave[:, None] - np.arange(501, 540, 4)) / 0.5) ** 2).sum(axis=1)
    slope = 1 + rng.uniform(-0.3, 0.3, (60, 1)) * (wave - 520) / 20
    clean = slope * (1 - depth * lines)
    flux, ivar = clean + rng.normal(0, 0.003, clean.shape), np.full(clean.shape, 1e5)
    stars = Spectra(wave, flux, ivar, wave_unit="nm")
    step = ChebyshevContinuum(1, n_bins=8).learn(stars)
    taken = np.isin(np.round(wave, 6), np.round(step.pixels, 6))
    assert 0.08 < taken.mean() < 0.15
    assert np.all(lines[taken] < 0.02)
    np.testing.assert_allclose(step(stars).flux, 1 - depth * lines, atol=0.02)


def test_continuum_pixels_must_be_given_or_found():
    with pytest.raises(SlamError, match="no continuum pixels yet"):
        ChebyshevContinuum(2)(miles())
    dark = miles().with_arrays(miles().flux, np.zeros_like(miles().flux))
    with pytest.raises(SlamError, match=r"no continuum pixels can be found in .*too few pixels are good"):
        ChebyshevContinuum(2).learn(dark)


def test_a_star_with_too_few_continuum_pixels_is_masked():
    stars = miles()[:2]
    ivar = np.array(stars.ivar)
    ivar[0, ::2] = 0
    step = ChebyshevContinuum(2, unit="nm", pixels=tuple(stars.wave[[0, 100, 200, 298]] / 10))
    result = step(stars.with_arrays(stars.flux, ivar))
    assert result.good.any(axis=1).tolist() == [False, True]
