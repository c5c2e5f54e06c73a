"""`sample` against a dense grid of the posterior, and what it promises of stars, batches, files and stopped runs."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from helpers import in_precision, xp_giants
from models import LABELS, SVR_10, TWO_FOLDS, giants_model, held_out

from slamjax.errors import SlamError
from slamjax.flags import Flag
from slamjax.forward.likelihood import log_likelihood
from slamjax.preprocessing import Recipe
from slamjax.sampling import Posterior, sample, training_range
from slamjax.sampling import sampler as run_module
from slamjax.sampling.density import FluxLikelihood, ProjectedLikelihood
from slamjax.sampling.projection import choose_projection
from slamjax.training import train

SHORT = {"draws": 60, "warmup": 40, "chains": 2}


@cache
def small_model(labels):
    recipe = Recipe.make(wave_range=(500, 540), continuum="gaussian:50nm")
    return train(xp_giants()[:110], labels, emulator=SVR_10, recipe=recipe, search=TWO_FOLDS)


def grid_moments(model, spectra, prior):
    """Mean and standard deviation (star, label) by summing the posterior over a grid: no sampler, no projection."""
    prepared = model.prepare(spectra)
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    axes = [
        np.linspace(a - 0.1 * (b - a), b + 0.1 * (b - a), 2001 if low.size == 1 else 201)
        for a, b in zip(low, high, strict=True)
    ]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, low.size)
    labels = model.host_emulator.scaling.inverse(x)
    means, sds = [], []
    with in_precision("float64"):
        for flux, ivar in zip(prepared.flux, prepared.ivar, strict=True):
            like = log_likelihood(
                model.emulator, model.noise.on_device(), jnp.asarray(labels), jnp.asarray(flux), jnp.asarray(ivar)
            )
            log_p = np.asarray(like) + np.asarray(prior.log_prob(jnp.asarray(labels)))
            weight = np.exp(log_p - log_p.max())
            mean = np.average(labels, weights=weight, axis=0)
            means.append(mean)
            sds.append(np.sqrt(np.average((labels - mean) ** 2, weights=weight, axis=0)))
    return np.array(means), np.array(sds)


@pytest.mark.parametrize("labels", [("teff",), ("teff", "fe_h")], ids=["one", "two"])
@pytest.mark.parametrize("sampler", ["nuts", "hmc", "importance"])
def test_every_sampler_agrees_with_a_dense_grid(labels, sampler):
    model, spectra = small_model(labels), held_out()[:4]
    mean, sd = grid_moments(model, spectra, training_range(model))
    posterior = sample(model, spectra, sampler=sampler, draws=2000, warmup=200, chains=2, seed=1)
    got, covariance = posterior.moments()
    got_sd = np.sqrt(np.einsum("nll->nl", covariance))
    assert np.all(np.abs(got - mean) < 0.1 * sd)
    np.testing.assert_allclose(got_sd, sd, rtol=0.06)


def test_chi2_in_components_is_chi2_in_pixels(dtype):
    """Within a posterior about a star's fit, masked pixels and all; in float32 as closely as its kernel sums allow."""
    model, spectra = giants_model(), held_out()[:4]
    ivar = spectra.ivar.copy()
    ivar[:, 200:203] = 0
    ivar[2] *= 0.1
    spectra = spectra.with_arrays(spectra.flux, ivar)
    unit = model.host_emulator.flux_unit()
    exact, noise = model.host_emulator.in_unit(unit), model.noise.in_unit(unit)
    flux, ivar = run_module._arrays(model, spectra, unit)
    choice = choose_projection(exact, noise, model.training_labels, ivar.max(axis=0))
    assert choice.projection.rank < model.wave.size
    emulator, noise = (jax.tree_util.tree_map(jnp.asarray, part) for part in (exact, noise))
    pixels, components = FluxLikelihood(emulator, noise), ProjectedLikelihood(emulator, noise, choice.projection)
    rng = np.random.default_rng(0)
    for one, weight, at in zip(flux, ivar, np.asarray(model.training_labels.stars)[:4], strict=True):
        at = jnp.asarray(at, dtype)
        first, second = (likelihood.star(one, weight, at) for likelihood in (pixels, components))
        for step in 0.2 * rng.normal(size=(5, 4)):
            x = at + jnp.asarray(step, dtype)
            want = float(pixels.chi2(first, x))
            # an error of e sigma of the flux changes χ² by 2 e √χ²
            assert float(components.chi2(second, x)) == pytest.approx(want, abs=0.1 * np.sqrt(want) + 0.01)


def test_a_gaussian_prior_per_star_multiplies_the_posterior():
    """What is known a hundred times better than the spectrum says is what comes out, star by star."""
    model, spectra = giants_model(), held_out()[:4]
    free = sample(model, spectra, draws=300)
    mean, covariance = free.moments()
    sd = np.sqrt(covariance[:, 1, 1])
    wanted = mean[:, 1] + 0.5 * sd * np.array([1, -1, 1, -1])
    held = sample(model, spectra, draws=300, prior={"logg": (wanted, [0.01, 0.01, np.nan, np.nan])})
    logg = held["logg"].reshape(-1, 4)
    np.testing.assert_allclose(logg.mean(axis=0)[:2], wanted[:2], atol=0.01)
    np.testing.assert_allclose(logg.std(axis=0)[:2], 0.01, rtol=0.15)
    assert logg.std(axis=0)[2] == pytest.approx(sd[2], rel=0.2)


def test_fixed_labels_stay_fixed_and_the_others_follow():
    model, spectra = giants_model(), held_out()[:4]
    free = sample(model, spectra, draws=500)
    mean, covariance = free.moments()
    fixed = mean[:, 1] + 0.7 * np.sqrt(covariance[:, 1, 1])
    held = sample(model, spectra, draws=500, fixed={"logg": fixed})
    np.testing.assert_allclose(held["logg"], np.broadcast_to(fixed, held["logg"].shape), rtol=1e-4)
    slope = covariance[:, 0, 1] / covariance[:, 1, 1]
    expected = mean[:, 0] + slope * (fixed - mean[:, 1])
    assert np.all(np.abs(held.moments()[0][:, 0] - expected) < 0.6 * np.sqrt(covariance[:, 0, 0]))
    assert np.all(np.isnan(held.diagnostics.rhat[:, 1]))


def test_any_numpyro_distribution_is_a_prior_shared_or_a_row_a_star():
    model, spectra = giants_model(), held_out()[:4]
    center = jnp.asarray(model.host_emulator.scaling.inverse(np.zeros(4)), jnp.float32)
    width = jnp.asarray(model.host_emulator.scaling.width, jnp.float32)
    shared = dist.Normal(center, 1e-3 * width).to_event(1)
    per_star = dist.Normal(jnp.stack([center, center + width, center, center]), 1e-3 * width).to_event(1)
    for prior, want in ((shared, [0, 0, 0, 0]), (per_star, [0, 1, 0, 0])):
        mean = sample(model, spectra, prior=prior, draws=100, sampler="nuts", warmup=50).moments()[0]
        np.testing.assert_allclose(
            (mean - np.asarray(center)) / np.asarray(width), np.repeat(want, 4).reshape(4, 4), atol=0.01
        )


def test_a_star_without_data_has_nan_draws_and_a_flag(dtype):
    model, spectra = giants_model(), held_out()[:4]
    ivar = spectra.ivar.copy()
    ivar[1] = 0
    posterior = sample(model, spectra.with_arrays(spectra.flux, ivar), draws=60)
    assert np.all(np.isnan(posterior.labels[:, :, 1]))
    assert posterior.flags[1] == Flag.NO_DATA
    assert posterior.sampler[1] == ""
    assert np.all(np.isfinite(posterior.labels[:, :, [0, 2, 3]]))
    assert posterior.labels.dtype == dtype
    table = posterior.table()
    assert np.isnan(np.asarray(table["teff_err"].value)[1])
    nothing = sample(model, spectra[1:2].with_arrays(spectra.flux[1:2], ivar[1:2]), draws=60)
    assert np.all(np.isnan(nothing.labels))


def test_netcdf_brings_everything_back(tmp_path):
    posterior = sample(giants_model(), held_out()[:4], **SHORT)
    path = tmp_path / "p.nc"
    posterior.write(path)
    back = Posterior.read(path)
    np.testing.assert_array_equal(back.labels, posterior.labels)
    np.testing.assert_array_equal(back.flags, posterior.flags)
    np.testing.assert_array_equal(back.sampler, posterior.sampler)
    assert back.label_names == LABELS
    assert back.label_units == posterior.label_units
    assert set(back.stars) == set(posterior.stars)
    assert back.attrs == posterior.attrs
    back.write(path)  # what was read can be written again
    assert Posterior.read(path).attrs == posterior.attrs
    assert back.table().colnames == posterior.table().colnames
    data = posterior.arviz
    assert data.posterior["teff"].dims == ("chain", "draw", "star")
    assert list(data.posterior["star"].values) == list(held_out().rows[:4])
    with pytest.raises(SlamError, match="no such file"):
        Posterior.read(tmp_path / "none.nc")
    path.write_bytes(b"half")
    with pytest.raises(SlamError, match="cannot be read"):
        Posterior.read(path)


def test_a_stopped_run_goes_on_and_gives_the_same_draws(tmp_path, monkeypatch):
    model, spectra = giants_model(), held_out()[:8]
    monkeypatch.setattr(run_module, "_LARGEST_BATCH", 2)
    whole = sample(model, spectra, seed=3, **SHORT)
    folder = tmp_path / "parts"
    calls = []

    def stop(done, total):
        calls.append(done)
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(model, spectra, seed=3, parts=folder, on_progress=stop, **SHORT)
    finished = sorted(path.name for path in folder.glob("*.npz"))
    assert len(finished) == 2
    with pytest.raises(SlamError, match=r"another run \(different options\)"):
        sample(model, spectra, seed=4, parts=folder, **SHORT)
    again = sample(model, spectra, seed=3, parts=folder, **SHORT)
    np.testing.assert_array_equal(again.labels, whole.labels)
    assert not folder.exists()


def test_predicted_spectra_spread_as_the_posterior_and_the_noise_do():
    model, spectra = giants_model(), held_out()[:4]
    posterior = sample(model, spectra, **SHORT)
    clean = posterior.predictive(model, 50)
    noisy = posterior.predictive(model, 50, with_noise=True, ivar=model.prepare(spectra).ivar)
    assert clean.shape == noisy.shape == (50, 4, model.wave.size)
    assert np.median(noisy.std(axis=0)) > np.median(clean.std(axis=0))


def test_predicted_noise_is_right_in_tiny_units_of_flux():
    """Errors of 1e-20 have an ivar beyond float32."""
    model, spectra = giants_model(), held_out()[:2]
    posterior, unit = sample(model, spectra, **SHORT), 1e-18
    tiny = dataclasses.replace(
        model,
        host_emulator=dataclasses.replace(
            model.host_emulator,
            flux_mean=model.host_emulator.flux_mean * unit,
            flux_scale=model.host_emulator.flux_scale * unit,
        ),
        noise=model.noise.in_unit(1 / unit),
    )
    ivar = model.prepare(spectra).ivar.astype(float)
    plain = posterior.predictive(model, 60, with_noise=True, ivar=ivar)
    small = posterior.predictive(tiny, 60, with_noise=True, ivar=ivar / unit**2)
    good = np.isfinite(plain)
    np.testing.assert_allclose(small[good] / unit, plain[good], rtol=1e-3, atol=1e-3)


def test_the_table_of_a_posterior_has_no_errors_of_the_fit():
    table = sample(giants_model(), held_out()[:2], **SHORT).table()
    assert "teff_err95" not in table.colnames
    assert "noise_scale" in table.colnames


def test_any_text_comes_back_from_a_file(tmp_path):
    posterior = sample(giants_model(), held_out()[:1], **SHORT)
    strange = dataclasses.replace(posterior, attrs=posterior.attrs | {"source": "{night}/stars.fits", "list": [1, 2]})
    strange.write(tmp_path / "p.nc")
    back = Posterior.read(tmp_path / "p.nc")
    assert (back.attrs["source"], back.attrs["list"]) == ("{night}/stars.fits", [1, 2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler": "gibbs"}, "unknown sampler 'gibbs'"),
        ({"draws": 1}, "draws is 1"),
        ({"prior": "flat"}, "prior is 'flat'"),
        ({"prior": dist.Normal(0.0, 1.0)}, r"event shape \(\)"),
        ({"prior": dist.Normal(jnp.zeros((5, 4)), 1.0).to_event(1)}, r"batch shape \(5,\)"),
        ({"fixed": {"vsini": 3}}, "'vsini' is not a label"),
        ({"fixed": {"logg": np.nan}}, "not finite for spectrum 0"),
        ({"fixed": dict.fromkeys(LABELS, 1.0)}, "all labels are fixed"),
        ({"memory": 0}, "memory is 0"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_sentence(options, said):
    with pytest.raises(SlamError, match=said):
        sample(giants_model(), held_out()[:4], **options)
