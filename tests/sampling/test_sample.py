"""`sample` against a dense grid of the posterior; priors, fixed labels, stars without data, stopped runs."""

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
from slamjax.forward.line_spread import LineSpreadGrid
from slamjax.preprocessing import Recipe
from slamjax.sampling import Sampler, SamplerSpec, sample, training_range
from slamjax.sampling import sampler as sampler_module
from slamjax.sampling.batches import star_keys
from slamjax.sampling.likelihoods import FluxLikelihood, ProjectedLikelihood
from slamjax.sampling.projection import choose_components
from slamjax.training import train

#: HMC compiles in a fraction of the time of NUTS; what is tested with it does not depend on the sampler.
SHORT = SamplerSpec("hmc", draws=60, warmup=40)
LONG = SamplerSpec("hmc", draws=300, warmup=100)


@cache
def small_model(labels):
    recipe = Recipe.make(wave_range=(500, 540), wave_unit="nm", continuum="gaussian:50nm")
    return train(xp_giants()[:110], labels, emulator=SVR_10, recipe=recipe, search=TWO_FOLDS)


@cache
def unconstrained():
    """Mean and covariance of four stars with the default prior."""
    return sample(giants_model(), held_out()[:4], sampler=LONG).moments()


def grid_moments(model, spectra, prior, fixed=None):
    """Mean and standard deviation (star, label) by summing the posterior over a grid: no sampler, no projection.

    ``fixed`` (star,) are values of the last label, which then is no axis of the grid.
    """
    prepared = model.prepare(spectra)
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    n_free = low.size - (fixed is not None)
    axes = [
        np.linspace(a - 0.1 * (b - a), b + 0.1 * (b - a), 2001 if n_free == 1 else 201)
        for a, b in zip(low[:n_free], high[:n_free], strict=True)
    ]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, n_free)
    grid = np.pad(x, ((0, 0), (0, low.size - n_free)))
    means, sds = [], []
    with in_precision("float64"):
        for star, (flux, ivar) in enumerate(zip(prepared.flux, prepared.ivar, strict=True)):
            labels = model.host_emulator.scaling.inverse(grid)
            if fixed is not None:
                labels[:, -1] = fixed[star]
            like = log_likelihood(
                model.emulator, model.noise.on_device(), jnp.asarray(labels), jnp.asarray(flux), jnp.asarray(ivar)
            )
            log_p = np.asarray(like) + np.asarray(prior.log_prob(jnp.asarray(labels)))
            weight = np.exp(log_p - log_p.max())
            mean = np.average(labels, weights=weight, axis=0)
            means.append(mean)
            sds.append(np.sqrt(np.average((labels - mean) ** 2, weights=weight, axis=0)))
    return np.array(means), np.array(sds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "labels"),
    [
        ("nuts", ("teff", "fe_h")),
        ("hmc", ("teff", "fe_h")),
        ("hmc", ("teff",)),
        ("importance", ("teff", "fe_h")),
        ("importance", ("teff",)),
    ],
)
def test_every_sampler_agrees_with_a_dense_grid(sampler, labels):
    model, spectra = small_model(labels), held_out()[:4]
    mean, sd = grid_moments(model, spectra, training_range(model))
    posterior = sample(model, spectra, sampler=SamplerSpec(sampler, draws=2000), seed=1)
    sampled_mean, covariance = posterior.moments()
    # one of the stars has a long ridge: chains of 2,000 draws scatter by a twentieth of its width
    assert np.all(np.abs(sampled_mean - mean) < 0.15 * sd)
    np.testing.assert_allclose(np.sqrt(np.einsum("nll->nl", covariance)), sd, rtol=0.1)


@pytest.mark.slow
def test_unreliable_importance_weights_are_replaced_by_nuts():
    """Some stars of this model have too heavy tails for importance sampling; "auto" also wants enough draws."""
    posterior = sample(giants_model(), held_out()[:4], sampler=SamplerSpec(draws=60, warmup=40))
    by_nuts = posterior.sampler == "nuts"
    assert set(posterior.sampler) == {"importance", "nuts"}
    assert np.all(np.isfinite(posterior.khat))  # the reason stays
    assert np.all(np.isfinite(posterior.diagnostics.rhat) == by_nuts[:, None])
    bulk, tail = posterior.diagnostics.ess_bulk, posterior.diagnostics.ess_tail
    assert np.all(bulk[by_nuts] != tail[by_nuts])
    np.testing.assert_array_equal(bulk[~by_nuts], tail[~by_nuts])


@pytest.mark.slow
def test_a_sampler_gives_every_part_the_draws_of_sample():
    model, stars = giants_model(), held_out()
    sampler = Sampler(model, sampler=SHORT)
    for part in (stars[:4], stars[:4]):
        np.testing.assert_array_equal(
            sampler.sample(part, seed=3).labels, sample(model, part, sampler=SHORT, seed=3).labels
        )


def test_components_are_chosen_anew_only_for_smaller_errors():
    model = giants_model()
    sampler = Sampler(model)
    ivar = model.prepare(held_out()).ivar.max(axis=0)
    first = sampler._choose_components(ivar)
    assert sampler._choose_components(0.5 * ivar) is first
    assert sampler._choose_components(1.4 * ivar) is first
    assert sampler._choose_components(10 * ivar) is not first


def test_a_sampler_for_any_spectra_keeps_components_that_hold_for_the_brightest_star():
    model = giants_model()
    sampler = Sampler(model).for_any_spectra()
    ivar = model.prepare(held_out()).ivar.max(axis=0)
    choice = sampler._choose_components(ivar)
    assert sampler._choose_components(1e4 * ivar) is choice
    assert choice.components is not None
    assert choice.error < 0.03


def test_stars_have_the_random_numbers_of_their_numbers():
    alone, pairs = star_keys(7, np.arange(5)), np.array([[3, 0], [3, 1], [3, 2], [4, 0], [0, 3]])
    keys = star_keys(7, pairs)
    np.testing.assert_array_equal(keys[[0, 3]], alone[[3, 4]])
    assert len(np.unique(np.concatenate([alone, keys]), axis=0)) == 5 + 3
    with pytest.raises(SlamError, match=r"numbers has shape \(3,\); give one, or a pair, for each of the 4 spectra"):
        Sampler(giants_model()).sample(held_out()[:4], numbers=np.arange(3))


@pytest.mark.parametrize("width", [0.0, 3.0])
def test_chi2_in_components_is_chi2_in_pixels(dtype, width):
    """Within a posterior about a star's fit, masked pixels included; in float32 as closely as kernel sums allow."""
    model, spectra = giants_model(), held_out()[:4]
    ivar = spectra.ivar.copy()
    ivar[:, 200:203] = 0
    ivar[2] *= 0.1
    spectra = spectra.with_arrays(spectra.flux, ivar)
    unit = model.host_emulator.flux_unit()
    exact, noise = model.host_emulator.in_unit(unit), model.noise.in_unit(unit)
    flux, ivar, _ = Sampler(model)._arrays(spectra, np.arange(4))
    grid = LineSpreadGrid.from_wavelengths(model.wave, model.trained, 8).on_device(dtype)
    own = grid.of_star(jnp.linspace(0.5, 1, model.wave.size) * width) if width else None
    choice = choose_components(exact, noise, model.training_labels, ivar.max(axis=0))
    assert choice.components.rank < model.wave.size
    emulator, noise = (jax.tree_util.tree_map(jnp.asarray, part) for part in (exact, noise))
    pixels, components = FluxLikelihood(emulator, noise), ProjectedLikelihood(emulator, noise, choice.components)
    rng = np.random.default_rng(0)
    for star_flux, star_ivar, at in zip(flux, ivar, np.asarray(model.training_labels.stars)[:4], strict=True):
        at = jnp.asarray(at, dtype)
        first, second = (likelihood.prepare_star(star_flux, star_ivar, at, own) for likelihood in (pixels, components))
        for step in 0.2 * rng.normal(size=(5, 4)):
            x = at + jnp.asarray(step, dtype)
            expected = float(pixels.chi2(first, x))
            # a flux error of e sigma changes χ² by 2 e √χ²
            assert float(components.chi2(second, x)) == pytest.approx(expected, abs=0.1 * np.sqrt(expected) + 0.01)


@pytest.mark.slow
def test_a_gaussian_prior_per_star_multiplies_the_posterior():
    """A label known a hundred times better than from the spectrum has that value and error, star by star."""
    model, spectra = giants_model(), held_out()[:4]
    mean, covariance = unconstrained()
    sd = np.sqrt(covariance[:, 1, 1])
    values = mean[:, 1] + 0.5 * sd * np.array([1, -1, 1, -1])
    prior = {"logg": (values, [0.01, 0.01, np.nan, np.nan])}
    logg = sample(model, spectra, sampler=LONG, prior=prior)["logg"].reshape(-1, 4)
    np.testing.assert_allclose(logg.mean(axis=0)[:2], values[:2], atol=0.01)
    np.testing.assert_allclose(logg.std(axis=0)[:2], 0.01, rtol=0.15)
    assert logg.std(axis=0)[2] == pytest.approx(sd[2], rel=0.2)


@pytest.mark.slow
def test_fixed_labels_stay_fixed_and_the_others_follow():
    """They follow the posterior given the fixed ones, summed over a grid."""
    labels = ("teff", "fe_h")
    model, spectra = small_model(labels), held_out()[:4]
    prior = training_range(model)
    free, sd = grid_moments(model, spectra, prior)
    fixed = free[:, 1] + 0.7 * sd[:, 1]
    mean, sd = grid_moments(model, spectra, prior, fixed)
    posterior = sample(model, spectra, sampler=SamplerSpec("hmc", draws=1000, warmup=200), fixed={"fe_h": fixed})
    np.testing.assert_allclose(posterior["fe_h"], np.broadcast_to(fixed, posterior["fe_h"].shape), rtol=1e-4)
    sampled_mean, covariance = posterior.moments()
    assert np.all(np.abs(sampled_mean - mean)[:, 0] < 0.15 * sd[:, 0])
    np.testing.assert_allclose(np.sqrt(covariance[:, 0, 0]), sd[:, 0], rtol=0.15)
    assert np.any(np.abs(mean - free)[:, 0] > 0.5 * sd[:, 0])  # the fixed label matters
    assert np.all(np.isnan(posterior.diagnostics.rhat[:, 1]))


@pytest.mark.slow
def test_numpyro_distributions_are_priors_of_all_stars_or_of_each():
    """Two equally narrow Gaussians multiply to one half-way."""
    model, spectra = giants_model(), held_out()[:4]
    center = jnp.asarray(model.host_emulator.scaling.inverse(np.zeros(4)), jnp.float32)
    width = jnp.asarray(model.host_emulator.scaling.width, jnp.float32)
    shared = dist.Normal(center, 1e-3 * width).to_event(1)
    per_star = dist.Normal(jnp.stack([center, center + width, center, center]), 1e-3 * width).to_event(1)
    mean = sample(model, spectra, prior=[shared, per_star], sampler=SHORT).moments()[0]
    expected = np.broadcast_to(np.array([0, 0.5, 0, 0])[:, None], (4, 4))
    np.testing.assert_allclose((mean - np.asarray(center)) / np.asarray(width), expected, atol=0.01)


@pytest.mark.slow
def test_a_star_without_data_has_nan_draws_and_a_flag(dtype):
    model, spectra = giants_model(), held_out()[:4]
    ivar = spectra.ivar.copy()
    ivar[1] = 0
    spectra = spectra.with_arrays(spectra.flux, ivar)
    posterior = sample(model, spectra, sampler=SHORT)
    assert np.all(np.isnan(posterior.labels[:, :, 1]))
    assert posterior.flags[1] == Flag.NO_DATA
    assert posterior.sampler[1] == ""
    assert np.all(np.isfinite(posterior.labels[:, :, [0, 2, 3]]))
    assert posterior.labels.dtype == dtype
    assert np.isnan(posterior.table()["teff_err"].value[1])
    assert np.all(np.isnan(sample(model, spectra[1:2], sampler=SHORT).labels))


@pytest.mark.slow
def test_a_stopped_run_continues_and_gives_the_same_draws(tmp_path, monkeypatch):
    model, spectra = giants_model(), held_out()[:8]
    monkeypatch.setattr(sampler_module, "_LARGEST_BATCH", 4)
    whole = sample(model, spectra, seed=3, sampler=SHORT)
    folder = tmp_path / "checkpoint"

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(model, spectra, seed=3, checkpoint=folder, on_progress=stop, sampler=SHORT)
    assert len(list(folder.glob("*.part"))) == 1
    with pytest.raises(SlamError, match=r"another run \(different seed\)"):
        sample(model, spectra, seed=4, checkpoint=folder, sampler=SHORT)
    continued = sample(model, spectra, seed=3, checkpoint=folder, sampler=SHORT)
    np.testing.assert_array_equal(continued.labels, whole.labels)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "flat"}, "prior is 'flat'"),
        ({"prior": dist.Normal(0.0, 1.0)}, r"event shape \(\)"),
        ({"prior": dist.Normal(jnp.zeros((5, 4)), 1.0).to_event(1)}, r"batch shape \(5,\)"),
        ({"fixed": {"vsini": 3}}, "'vsini' is not a label"),
        ({"fixed": {"logg": np.nan}}, "not finite for spectrum 0"),
        ({"fixed": dict.fromkeys(LABELS, 1.0)}, "all labels are fixed"),
        ({"memory": 0}, "memory is 0"),
        ({"sampler": "gibbs"}, "unknown sampler 'gibbs'"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(options, message):
    with pytest.raises(SlamError, match=message):
        sample(giants_model(), held_out()[:4], **options)


@pytest.mark.parametrize(("name", "value"), [("draws", 3), ("warmup", 19), ("chains", 0)])
def test_a_sampler_spec_has_enough_draws(name, value):
    with pytest.raises(SlamError, match=f"{name} is {value}; give at least {value + 1}"):
        SamplerSpec(**{name: value})
