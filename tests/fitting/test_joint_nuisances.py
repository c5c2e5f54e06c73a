"""Joint fits of spectra that state a line spread each, with resolving powers and extinctions as nuisances."""

import dataclasses
from functools import cache

import jax
import numpy as np
import pytest
from helpers import in_precision, miles, xp_giants
from models import all_miles_model, giants_model, miles_model

import slamjax
from slamjax import Flag, Observations, SlamError
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.noise.models import DiagonalNoise
from slamjax.preprocessing.resolution import blur_to
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model, simulate

NAMES = ("teff", "logg", "fe_h")


def values(table, name):
    return np.asarray(table[name], float)


@cache
def blurred():
    """Real stars that did not train the model, blurred one by one to widths from 2.7 to 6 Å."""
    sharp = miles()[90:].select("teff > 4000 & teff < 7500 & isfinite(logg) & isfinite(fe_h)")[:6]
    fwhm = np.linspace(2.7, 5, len(sharp))[:, None] + np.linspace(0, 1, sharp.n_pix)
    flux = np.concatenate([blur_to(sharp[k], fwhm[k]).flux for k in range(len(sharp))])
    return dataclasses.replace(sharp, flux=flux, fwhm=fwhm)


@cache
def dusty(window=(400, 900)):
    """A model of giants at flux of mean 1, whose errors are half a per cent of it."""
    stars = xp_giants()
    level = np.mean(stars.flux, axis=1, keepdims=True)
    stars = dataclasses.replace(stars, flux=stars.flux / level, ivar=stars.ivar * np.square(level), flux_unit=None)
    stars = stars.on_pixels((stars.wave > window[0]) & (stars.wave < window[1]))
    trained = slamjax.train(stars, NAMES, emulator=slamjax.Polynomial(), noise="diagonal", on_progress=False)
    noise = DiagonalNoise(np.where(trained.trained, 2.5e-5, np.inf))
    return prepared_model(dataclasses.replace(trained, noise=noise))


DUST = Nuisances(extinction=Free(-0.5, 2.0), polynomial=0)


def reddened(model, labels, extinction, seed=0):
    ivar = np.full((len(labels), model.wave.size), 1e5)
    given = {"extinction": extinction, "polynomial": np.ones((len(labels), 1))}
    return simulate(model, labels, ivar, nuisances=DUST, values=given, seed=seed)


def between_stars(model, n, seed=0):
    """Labels (n, L) inside the training range."""
    x = np.asarray(model.training_labels.stars)
    first, second = np.random.default_rng(seed).integers(0, len(x), (2, n))
    return np.asarray(model.host_emulator.scaling.inverse(0.6 * x[first] + 0.4 * x[second]))


def case(name):
    if name == "line spread":
        return miles_model(), blurred(), None
    if name == "resolution":
        return miles_model(), blurred(), Nuisances(resolution=Free(700, 2000))
    return dusty(), reddened(dusty(), between_stars(dusty(), 6), np.linspace(0, 1.5, 6)), DUST


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["line spread", "resolution", "extinction"])
def test_one_spectrum_is_a_plain_fit(name, dtype):
    model, stars, nuisances = case(name)
    with in_precision(dtype):
        plain = slamjax.fit(model, stars, nuisances=nuisances)
        joint = slamjax.fit({"a": model}, {"a": stars}, nuisances=nuisances and {"a": nuisances})
    close = 0.02 if dtype == "float32" else 0.005  # of an error: where steps end
    found = [(joint.labels, each) for each in NAMES]
    found += [] if nuisances is None else [(joint.spectra, each) for each in nuisances.free]
    for table, each in found:
        error = values(plain, f"{each}_err")
        assert np.max(np.abs(values(table, each) - values(plain, each)) / error) < close, each
        np.testing.assert_allclose(values(table, f"{each}_err"), error, rtol=4e-3, err_msg=each)
        assert table[each].unit == plain[each].unit
    np.testing.assert_allclose(joint.labels["chi2"], plain["chi2"], rtol=1e-3)
    np.testing.assert_array_equal(joint.labels["flags"], plain["flags"])


@cache
def two_widths(n=60, snr=80.0):
    """Stars by the emulator, each seen through two line spreads, with the star's own emulator error."""
    model = prepared_model(all_miles_model())
    labels = between_stars(model, n, 3)
    sharp = np.repeat(np.asarray(jax.jit(model.emulator)(labels)), 2, axis=0)
    own, wave = np.asarray(model.info.fwhm), model.wave
    fwhm = np.repeat(np.stack([np.full(wave.size, 2.8), np.linspace(4, 6, wave.size)])[None], n, axis=0)
    fwhm = fwhm.reshape(2 * n, -1)
    sigma = np.sqrt(fwhm[:2] ** 2 - own**2) / 2.354820045
    flux = np.nan_to_num(sharp)
    for visit in range(2):
        away = (wave - wave[:, None]) / sigma[visit][:, None]
        weight = np.exp(-0.5 * away**2) * model.trained
        flux[visit::2] = flux[visit::2] @ (weight / weight.sum(axis=1, keepdims=True)).T
    rng = np.random.default_rng(4)
    error = np.sqrt(np.where(np.isfinite(model.noise.model_variance), model.noise.model_variance, 0))
    flux = flux + np.repeat(error * rng.normal(size=(n, wave.size)), 2, axis=0) + rng.normal(size=flux.shape) / snr
    spectra = Spectra(
        wave, flux, np.full(flux.shape, snr**2), {"star": np.repeat(np.arange(n), 2)}, model.info.wave_unit,
        medium="air", frame="rest", fwhm=fwhm,
    )  # fmt: skip
    return model, spectra, labels


def fit_of_visits(spectra):
    return slamjax.fit({"visits": two_widths()[0]}, Observations({"visits": spectra}, "star"))


def pulls(table, labels):
    return np.stack(
        [(values(table, each) - labels[:, k]) / values(table, f"{each}_err") for k, each in enumerate(NAMES)]
    )


def test_visits_of_different_line_spreads_give_labels_within_their_errors():
    _, spectra, labels = two_widths()
    knowing, ignorant = (pulls(fit_of_visits(one).labels, labels) for one in (spectra, spectra.with_metadata(fwhm=2.8)))
    known, unknown = (np.where(np.isfinite(each), each, 0) for each in (knowing, ignorant))
    assert np.isfinite(knowing).mean() > 0.95
    assert np.all(np.abs(np.median(known, axis=1)) < 0.6)  # 60 stars: 4 standard errors
    assert 0.75 < np.std(known) < 1.3
    assert np.abs(np.median(unknown, axis=1)).max() > 2


def test_a_star_depends_neither_on_the_widths_of_others_nor_on_places_without_visits():
    """Five visits are fitted in six places, the last of which is empty."""
    _, spectra, _ = two_widths()
    rows = [0, 1, 0, 1, 1]
    wanted = fit_of_visits(spectra[rows]).labels
    rows = [*rows, 1, 2, 3]
    fwhm, ivar = np.array(spectra.fwhm[rows]), np.array(spectra.ivar[rows])
    fwhm[5:] *= 2  # so that more neighbours are summed
    ivar[5] = 0
    found = fit_of_visits(dataclasses.replace(spectra[rows], fwhm=fwhm, ivar=ivar)).labels[:1]
    for name in (*NAMES, *(f"{each}_err" for each in NAMES)):
        np.testing.assert_allclose(values(found, name), values(wanted, name), rtol=1e-4)


def test_velocities_are_measured_through_the_line_spread_of_each_visit():
    _, spectra, labels = two_widths()
    found = fit_of_visits(dataclasses.replace(spectra[:12], frame="observed"))
    assert np.median(np.abs(values(found.spectra, "rv") / values(found.spectra, "rv_err"))) < 1.5
    assert np.median(np.abs(pulls(found.labels, labels[:6]))) < 1.3


@cache
def behind_dust(n=40):
    """Two models of one star's pixels each, and spectra of both behind the same dust."""
    models = {"blue": dusty((400, 600)), "red": dusty((600, 900))}
    labels, extinction = between_stars(models["blue"], n), np.random.default_rng(0).uniform(0, 1.5, n)
    stars = {name: reddened(model, labels, extinction, k) for k, (name, model) in enumerate(models.items())}
    return models, stars, labels, extinction


@cache
def joint_of_dust(shared):
    models = behind_dust()[0]
    return slamjax.JointModel(models, nuisances=dict.fromkeys(models, DUST), shared=shared)


def test_dust_belongs_to_the_star():
    _, stars, labels, extinction = behind_dust()
    found, apart = (slamjax.fit(joint_of_dust(shared), stars) for shared in (("extinction",), ()))
    pull = (values(found.labels, "extinction") - extinction) / values(found.labels, "extinction_err")
    assert np.isfinite(pull).mean() > 0.95
    assert abs(np.nanmedian(pull)) < 0.7  # 40 stars
    assert 0.6 < 1.4826 * np.nanmedian(np.abs(pull)) < 1.5
    assert 0.6 < 1.4826 * np.nanmedian(np.abs(pulls(found.labels, labels))) < 1.5
    assert str(found.labels["extinction"].unit) == "mag"
    assert "extinction" not in apart.labels.colnames
    kinds = np.asarray(found.spectra["kind"])
    for kind in ("blue", "red"):
        np.testing.assert_allclose(
            values(found.spectra, "extinction")[kinds == kind], values(found.labels, "extinction"), rtol=1e-6
        )
        alone = values(apart.spectra, "extinction_err")[kinds == kind]
        assert np.median(values(found.labels, "extinction_err") / alone) < 1


def test_visits_and_their_stack_are_seen_through_one_dust():
    model, star = dusty(), np.repeat(np.arange(6), 2)
    labels, extinction = between_stars(model, 6, 5), np.linspace(0, 1.5, 6)
    spectra = reddened(model, labels[star], extinction[star], 7)
    table = slamjax.fit_visits(model, spectra, star, nuisances=DUST,
                               shared=["extinction"]).labels  # fmt: skip
    assert np.max(np.abs(values(table, "extinction") - extinction) / values(table, "extinction_err")) < 4
    for suffix in ("", "_stack"):
        off = (values(table, f"teff{suffix}") - labels[:, 0]) / values(table, f"teff{suffix}_err")
        assert np.max(np.abs(off)) < 4.5, suffix


@pytest.mark.slow
def test_draws_of_shared_dust_are_about_the_fit():
    _, stars, _, _ = behind_dust()
    some = {name: each[:3] for name, each in stars.items()}
    joint = joint_of_dust(("extinction",))
    fitted = slamjax.fit(joint, some).labels
    drawn = slamjax.sample(joint, some, sampler=slamjax.SamplerSpec("importance", draws=400))
    assert drawn.label_names == (*NAMES, "extinction")
    assert drawn.label_units[-1] == "mag"
    for name in drawn.label_names:
        error = values(fitted, f"{name}_err")
        assert np.all(np.abs(drawn[name].mean(axis=(0, 1)) - values(fitted, name)) < 0.7 * error), name
        np.testing.assert_allclose(drawn[name].std(axis=(0, 1)), error, rtol=0.4, err_msg=name)


@pytest.mark.slow
def test_draws_are_seen_through_the_line_spread_of_each_visit():
    model, spectra, _ = two_widths()
    observed = Observations({"visits": spectra[:4]}, "star")
    fitted = slamjax.fit({"visits": model}, observed).labels
    drawn = slamjax.sample({"visits": model}, observed, sampler=slamjax.SamplerSpec("importance", draws=400))
    for name in NAMES:
        error = values(fitted, f"{name}_err")
        assert np.all(np.abs(drawn[name].mean(axis=(0, 1)) - values(fitted, name)) < 0.7 * error), name
        np.testing.assert_allclose(drawn[name].std(axis=(0, 1)), error, rtol=0.4, err_msg=name)


def test_a_resolution_at_its_bound_is_flagged_and_that_of_all_spectra_has_a_column():
    given = {"a": Nuisances(resolution=Free(1900, 1950))}
    stars = dataclasses.replace(blurred()[[4, 5]], ivar=np.full((2, blurred().n_pix), 1e4))
    stars = Observations({"a": stars}, {"a": [0, 0]})
    found = slamjax.fit(slamjax.JointModel({"a": miles_model()}, nuisances=given, shared=["resolution"]), stars)
    assert np.all(np.asarray(found.spectra["flags"]) & Flag.NUISANCE_AT_BOUND)
    assert np.all(np.asarray(found.labels["flags"]) & Flag.NUISANCE_AT_BOUND)
    np.testing.assert_allclose(values(found.labels, "resolution"), 1900, rtol=1e-3)
    np.testing.assert_allclose(values(found.spectra, "resolution"), 1900, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: {"nuisances": {"xp": Nuisances(extinction="free")}},
            "nuisances of 'xp': extinction changes the shape",
        ),
        (lambda: {"shared": ["dust"]}, "shared is 'dust'; give some of rv, sigma_v, vsini, resolution"),
        (lambda: {"shared": ["extinction"]}, "extinction is shared, but is no free nuisance of any model"),
    ],
)
def test_what_models_cannot_have_is_told(make, message):
    with pytest.raises(SlamError, match=message):
        slamjax.JointModel({"xp": giants_model()}, **make())


def test_a_shared_nuisance_is_no_label():
    model = dusty()
    info = dataclasses.replace(model.info, label_names=("teff", "logg", "extinction"))
    with pytest.raises(SlamError, match="extinction is shared and a label, too"):
        slamjax.JointModel(
            {"a": dataclasses.replace(model, info=info)}, nuisances={"a": Nuisances(extinction=Gaussian(0.1, 0.1))},
            shared=["extinction"],
        )  # fmt: skip
