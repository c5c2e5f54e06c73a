"""Posteriors with nuisances: the marginalised continuum is calibrated, velocities are variables beside the labels."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision
from models import all_miles_model

import slamjax
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.noise.models import DiagonalNoise
from slamjax.sampling import Posterior
from slamjax.sampling.density import Shared, Target, log_density_at
from slamjax.sampling.nuisances import ForwardLikelihood, parameters, velocities
from slamjax.sampling.priors import training_range
from slamjax.validation import compare_posterior, draw_nuisances, prepared_model, rank_test, sbc, simulate

NUISANCES = Nuisances(rv=Free(-100, 100), sigma_v=Free(0, 100), polynomial=2, polynomial_sd=0.2)


@partial(jax.tree_util.register_dataclass, data_fields=["wave"], meta_fields=[])
@dataclasses.dataclass(frozen=True, eq=False)
class Lamp:
    """An emulator of one label that makes spectra brighter and lines deeper: f = eˣ (1 − x²/4 · lines)."""

    wave: jax.Array

    def at(self, x):
        return jnp.exp(x) * (1 - 0.25 * x * x * jnp.cos(self.wave) ** 4)


def lamp(nuisances):
    """The lamp with a polynomial, as a forward emulator."""
    wave = np.linspace(0, 12, 30)
    terms = np.polynomial.legendre.legvander(np.linspace(-1, 1, 30), nuisances.polynomial).T
    return ForwardEmulator(Lamp(jnp.asarray(wave)), None, jnp.asarray(terms), jnp.ones(30, bool), nuisances)


def grid_ranks(variant):
    """Ranks of 600 labels drawn from U(−1, 1) among exact draws from their posteriors on a grid."""
    nuisances = Nuisances(polynomial=2, polynomial_sd=0.3)
    n, sigma = 600, 0.05
    rng = np.random.default_rng(8)
    truth = rng.uniform(-1, 1, n)
    grid = jnp.linspace(-1, 1, 801)
    noise = DiagonalNoise(np.full(30, sigma**2))
    with in_precision("float64"):
        forward = _Lamp.of(lamp(nuisances))
        inv_cov = noise.inverse_covariance(jnp.full(30, jnp.inf))
        c = draw_nuisances(nuisances, n, 1)["polynomial"]
        flux = jax.vmap(forward.at)(jnp.asarray(truth)[:, None]) * (c @ np.asarray(forward.terms))
        flux = flux + sigma * rng.normal(size=flux.shape)

        def log_p(flux, x):
            chi2, more = forward.marginal(inv_cov, x[None], flux)
            if variant == "no log-determinant":
                more = 0.0
            if variant == "polynomial fixed":
                chi2, more = jnp.sum(jnp.square(inv_cov.whiten(flux - forward.at(x[None])))), 0.0
            return -0.5 * (chi2 + more)

        table = np.asarray(jax.jit(jax.vmap(jax.vmap(log_p, (None, 0)), (0, None)))(flux, grid))
    p = np.exp(table - table.max(axis=1, keepdims=True))
    total = np.cumsum(p, axis=1) / p.sum(axis=1, keepdims=True)
    step = float(grid[1] - grid[0])
    drawn = np.stack([np.searchsorted(one, rng.random(99)) for one in total])
    draws = np.asarray(grid)[drawn] + step * (rng.random(drawn.shape) - 0.5)
    return rank_test(truth[:, None], draws[..., None], ["x"])


class _Lamp(ForwardEmulator):
    """A forward emulator of a lamp, which has no scaling."""

    n_labels = 1

    @classmethod
    def of(cls, forward):
        return cls(*(getattr(forward, field.name) for field in dataclasses.fields(ForwardEmulator)))


@pytest.mark.slow
def test_the_marginalised_continuum_is_calibrated():
    ranks = grid_ranks("as it is")
    assert ranks.passes(), ranks.p


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["no log-determinant", "polynomial fixed"])
def test_ranks_show_a_continuum_that_is_not_marginalised(variant):
    assert grid_ranks(variant).p_bonferroni[0] < 1e-6


@cache
def moved_stars(n=4):
    model = prepared_model(all_miles_model())
    labels = np.asarray(model.host_emulator.scaling.inverse(0.5 * np.asarray(model.training_labels.stars)[:n]))
    values = draw_nuisances(dataclasses.replace(NUISANCES, rv=Free(-80, 80), sigma_v=Free(20, 60)), n, 3)
    ivar = np.full((n, model.wave.size), np.inf)
    return model, simulate(model, labels, ivar, nuisances=NUISANCES, values=values), values


@cache
def posterior(sampler):
    model, spectra, _ = moved_stars()
    return slamjax.sample(
        model, spectra, nuisances=NUISANCES, sampler=slamjax.SamplerSpec(sampler, draws=150, warmup=100)
    )


@pytest.mark.slow
def test_velocities_are_variables_of_the_posterior(tmp_path):
    model, spectra, values = moved_stars()
    sampled = posterior("importance")
    assert sampled.label_names == (*model.label_names, "rv", "sigma_v")
    assert sampled.label_units[-1] == "km / s"
    table = slamjax.fit(model, spectra, nuisances=NUISANCES)
    summary = sampled.table()
    for name in ("rv", "teff"):
        difference = np.abs(summary[name] - table[name]) / table[f"{name}_err"]
        assert np.median(difference) < 0.5, name
        assert 0.7 < np.median(summary[f"{name}_err"] / table[f"{name}_err"]) < 1.4, name
    assert np.all(np.abs(summary["rv"].value - values["rv"]) < 5 * summary["rv_err"].value)
    assert np.all(sampled["sigma_v"] >= 0)
    assert "rv -100 to 100 km/s" in sampled.attrs["nuisances"]
    flux = sampled.predictive(model, 5)
    assert flux.shape == (5, 4, model.wave.size)
    assert compare_posterior(sampled).names == model.label_names  # velocities have no reference
    pytest.importorskip("arviz")
    sampled.write(tmp_path / "posterior.nc")
    again = Posterior.read(tmp_path / "posterior.nc")
    np.testing.assert_array_equal(again["rv"], sampled["rv"])


@pytest.mark.slow
def test_nuts_agrees_with_importance_draws():
    importance, nuts = posterior("importance").table(), posterior("nuts").table()
    for name in ("teff", "rv", "sigma_v"):
        difference = np.abs(importance[name] - nuts[name]) / nuts[f"{name}_err"]
        assert np.median(difference) < 0.2, name


@pytest.mark.slow
def test_the_density_is_likelihood_times_priors():
    """By hand: a dense Gaussian with the polynomial's covariance, uniform and Gaussian priors, Jacobians."""
    model = prepared_model(all_miles_model())
    nuisances = Nuisances(rv=Gaussian(20, 10), sigma_v=Free(0, 80), polynomial=1, polynomial_sd=0.3)
    with in_precision("float64"):
        forward = model.with_nuisances(nuisances)
        noise = jax.tree_util.tree_map(jnp.asarray, model.noise)
        likelihood = ForwardLikelihood(forward, noise)
        shared = Shared(likelihood, forward.scaling, (training_range(model),), (0, 1, 2, 3, 4))
        ivar = jnp.where(forward.usable, jnp.inf, 0.0)
        flux = jnp.asarray(model(np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars[5]))))
        data = likelihood.prepare_star(flux, ivar, jnp.zeros(5))
        n_pix = float(jnp.sum(forward.usable))
        logdet = noise.inverse_covariance(ivar).logdet()
        target = Target(data, (), logdet, jnp.asarray(n_pix), jnp.asarray(1.3), jnp.zeros(5), jnp.eye(5))

        def by_hand(x):
            t = x[3:]
            sigmoid = 1 / (1 + np.exp(-t[1]))
            v, width = 20 + 10 * t[0], 80 * (2 * sigmoid - 1)
            labels = np.asarray(model.host_emulator.scaling.inverse(x[:3]))
            good = np.asarray(forward.usable)
            f = np.asarray(forward(labels, rv=v, sigma_v=abs(width)))[good]
            lines = f * np.asarray(forward.terms)[:, good]
            covariance = 1.3 * np.diag(model.noise.model_variance[good]) + 0.09 * lines.T @ lines
            r = np.asarray(flux)[good] - f
            log_p = -0.5 * (r @ np.linalg.solve(covariance, r) + np.linalg.slogdet(2 * np.pi * covariance)[1])
            prior = float(training_range(model).log_prob(labels)) - 0.5 * t[0] ** 2
            return log_p + prior + np.log(sigmoid * (1 - sigmoid))

        points = np.array([[0.1, 0.2, -0.1, 0.3, 0.8], [-0.2, 0.1, 0.3, -1.0, -0.5]])
        density = jax.jit(lambda x: log_density_at(shared, target, x))
        log_p = [float(density(jnp.asarray(x))) for x in points]
        np.testing.assert_allclose(np.diff(log_p), np.diff([by_hand(x) for x in points]), rtol=1e-6)
        # a width and its negative are the same
        mirrored = points[0] * np.array([1, 1, 1, 1, -1])
        np.testing.assert_allclose(density(jnp.asarray(mirrored)), log_p[0], rtol=1e-10)
        np.testing.assert_allclose(likelihood.fold(jnp.asarray(mirrored)), points[0])
        physical = velocities(forward, points)
        np.testing.assert_allclose(physical[0], [23, 80 * (2 / (1 + np.exp(-0.8)) - 1)], rtol=1e-6)
        np.testing.assert_allclose(
            parameters(forward, jnp.asarray(points))[:, 3:],
            np.asarray(forward.parameters(np.zeros((2, 3)) + 1, rv=physical[:, 0], sigma_v=physical[:, 1]))[:, 3:],
        )


def test_sbc_draws_nuisances_from_their_priors_and_ranks_them(monkeypatch):
    """With a stand-in that knows the truth: names and numbers of the ranks, not their calibration."""
    seen = {}

    def stand_in(model, spectra, *, nuisances, **options):
        seen["nuisances"] = nuisances
        rng = np.random.default_rng(0)
        names = [*model.label_names, *(f"true_{name}" for name in nuisances.free)]
        return {
            name.removeprefix("true_"): np.asarray(spectra.table[name]) + rng.normal(size=(2, 50, len(spectra)))
            for name in names
        }

    monkeypatch.setattr(slamjax.sampling, "sample", stand_in)
    model = all_miles_model()
    result = sbc(model, np.full((1, model.wave.size), np.inf), n_stars=20, nuisances=NUISANCES)
    assert result.ranks.names == ("teff", "logg", "fe_h", "rv", "sigma_v")
    assert seen["nuisances"] == NUISANCES
