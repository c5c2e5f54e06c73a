import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from astropy import units as u
from models import giants_model
from scipy.stats import gaussian_kde, norm

from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.sampling import (
    LabelNormal,
    Product,
    TrainingDensity,
    TrainingRange,
    known,
    normal,
    training_density,
    training_range,
)

LOW, HIGH = np.array([-1.0, -2.0]), np.array([1.5, 1.0])


def stars(n=60):
    rng = np.random.default_rng(3)
    return np.clip(rng.normal(size=(n, 2)) * 0.6, LOW, HIGH)


def scaling(log=(False, False)):
    return LabelScaling(np.array([3.6, 2.0]), np.array([0.1, 0.5]), log)


PRIORS = {
    "box": lambda log: TrainingRange(scaling(log), LOW, HIGH, 0.05 * (HIGH - LOW), None),
    "range": lambda log: TrainingRange(scaling(log), LOW, HIGH, 0.05 * (HIGH - LOW), stars(), reach=0.8),
    "density": lambda log: TrainingDensity(scaling(log), stars()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("log", [(False, False), (True, False)], ids=["plain", "log"])
def test_a_prior_integrates_to_one_over_physical_labels(name, log):
    prior = PRIORS[name](log)
    axes = np.linspace(-4, 4, 401), np.linspace(-5, 4, 401)
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    volume = np.prod(np.asarray(scaling(log).slope(x)), axis=-1)
    density = np.exp(np.asarray(prior.log_prob(jnp.asarray(scaling(log).inverse(x), jnp.float32))))
    total = np.sum(density * volume) * (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    assert total == pytest.approx(1, abs=0.03 if name == "range" else 3e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
def test_draws_have_the_moments_of_the_density(name):
    prior = PRIORS[name]((False, False))
    axes = np.linspace(-4, 4, 301), np.linspace(-5, 4, 301)
    labels = scaling().inverse(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)).reshape(-1, 2)
    weight = np.exp(np.asarray(prior.log_prob(jnp.asarray(labels)), float))
    mean = np.average(labels, weights=weight, axis=0)
    sd = np.sqrt(np.average((labels - mean) ** 2, weights=weight, axis=0))
    draws = np.asarray(prior.sample(jax.random.key(0), (2000,)))
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 0.06 * sd)
    np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.05)


def test_the_training_range_is_flat_inside_and_falls_smoothly_where_stars_end():
    model = giants_model()
    prior = training_range(model)
    every = jnp.asarray(model.host_emulator.scaling.inverse(np.asarray(model.training_labels.stars)))
    inside = np.asarray(prior.log_prob(every)) - np.asarray(prior.log_prob(every)).max()
    assert np.median(inside) > -0.2
    far = model.host_emulator.scaling.inverse(np.array([12.0, -12, 12, -12]))
    value, slope = jax.value_and_grad(prior.log_prob)(jnp.asarray(far))
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))
    assert value < -100
    assert np.all(np.asarray(slope) * np.array([1, -1, 1, -1]) < 0)  # it leads back


def test_a_product_of_gaussians_is_the_gaussian_of_their_product():
    """Two measurements of one label: the product of their densities, up to a constant."""
    first = LabelNormal(np.array([5000.0, 0]), np.array([100.0, np.inf]))
    second = LabelNormal(np.array([5100.0, 2.5]), np.array([50.0, 0.1]))
    product = Product(first, second)
    precision = 1 / 100**2 + 1 / 50**2
    mean = (5000 / 100**2 + 5100 / 50**2) / precision
    at = np.array([[5050.0, 2.5], [5150.0, 2.5], [5150.0, 2.3]])
    want = norm.logpdf(at[:, 0], mean, precision**-0.5) + norm.logpdf(at[:, 1], 2.5, 0.1)
    got = np.asarray(product.log_prob(jnp.asarray(at)))
    np.testing.assert_allclose(got - got[0], want - want[0], rtol=1e-3)


def test_known_labels_take_units_and_leave_the_others_unconstrained():
    model = giants_model()
    prior = known(model, {"teff": ([4500, np.nan] * u.K, 100 * u.K), "logg": (2.0, [0.1, np.inf])})
    assert prior.batch_shape == (2,)
    at = jnp.broadcast_to(jnp.array([4600.0, 2.1, 0, 0]), (2, 4))
    want = norm.logpdf(4600, 4500, 100) + norm.logpdf(2.1, 2.0, 0.1)
    np.testing.assert_allclose(prior.log_prob(at), [want, 0], rtol=1e-4)
    for bad, message in (
        ({"vsini": (1, 1)}, "not a label"),
        ({"teff": 4500}, "give a pair"),
        ({"teff": (4500, -1)}, "not positive"),
        ({"teff": ([1, 2], 1), "logg": ([1, 2, 3], 1)}, "must agree"),
    ):
        with pytest.raises(SlamError, match=message):
            known(model, bad)


def test_a_prior_in_any_numpyro_model_is_sampled_in_scaled_labels():
    model = giants_model()
    prior = normal(model, {"teff": (4500.0, 80.0)})

    def only_prior():
        numpyro.sample("labels", prior)

    from numpyro.infer import MCMC, NUTS

    run = MCMC(NUTS(only_prior), num_warmup=150, num_samples=300, progress_bar=False)
    run.run(jax.random.key(0))
    teff = np.asarray(run.get_samples()["labels"])[:, 0]
    assert abs(teff.mean() - 4500) < 40
    assert teff.std() == pytest.approx(80, rel=0.3)


def test_the_density_is_scipys():
    model = giants_model()
    population = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars)).T
    at = population[:, :5].T + np.array([10.0, 0.05, 0.02, 0.01])
    np.testing.assert_allclose(training_density(model).log_prob(at), gaussian_kde(population).logpdf(at.T), atol=2e-3)


def test_outside_of_its_support_a_distribution_is_zero():
    box = dist.Uniform(jnp.array([4000.0, 1.0]), jnp.array([5000.0, 3.0])).to_event(1)
    from slamjax.sampling.distributions import log_prob_inside

    values = log_prob_inside(box, jnp.array([[4500.0, 2.0], [5500.0, 2.0]]))
    assert np.isfinite(values[0])
    assert values[1] == -jnp.inf
