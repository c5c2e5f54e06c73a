"""Few components against the emulator they stand for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import central_difference, xp_giants
from models import LABELS, giants_model, held_out, recipe, searched_model

import slamjax
from slamjax import SlamError
from slamjax._util.x64 import enable_x64
from slamjax.emulators import compression
from slamjax.noise.models import DiagonalNoise, LowRankNoise
from slamjax.sampling import projection


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """Small models need fewer points, and tests less time."""
    monkeypatch.setattr(compression, "_POINTS", 256)
    monkeypatch.setattr(compression, "_JUDGED", 128)


@pytest.fixture(scope="module", params=["one gamma", "many gammas", "low-rank noise"])
def model(request):
    if request.param == "many gammas":
        return searched_model()
    if request.param == "one gamma":
        return giants_model()
    given = giants_model()
    variance = np.asarray(given.noise.model_variance)
    rng = np.random.default_rng(0)
    factors = 2 * np.sqrt(variance)[:, None] * rng.normal(size=(variance.size, 4))
    noise = LowRankNoise(variance, factors, np.ones_like(variance), np.zeros((variance.size, 1)))
    return dataclasses.replace(given, noise=noise)


def points(model, n=400, seed=9):
    """Labels anywhere in the box, which the compression did not look at."""
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    return np.random.default_rng(seed).uniform(low, high, size=(n, len(low)))


def seen_by(model):
    """All giants, on the model's pixels."""
    return xp_giants() if "continuum" in str(model.recipe) else recipe()(xp_giants())


def length_of_error(model, small, x):
    """√(eᵀΣ⁻¹e) by dense linear algebra."""
    with enable_x64(True):
        noise = model.noise.on_device()
        a, b = (np.asarray(m.host_emulator.on_device().at(jnp.asarray(x)), float) for m in (model, small))
        n_pix = model.wave.size
        if isinstance(noise, DiagonalNoise):
            sigma = np.diag(np.asarray(noise.model_variance, float))
        else:
            v = np.asarray(noise.factors, float)
            sigma = np.diag(np.asarray(noise.model_variance, float)) + v @ v.T
        assert sigma.shape == (n_pix, n_pix)
        return np.sqrt(np.einsum("np,np->n", b - a, np.linalg.solve(sigma, (b - a).T).T))


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.1, 0.005])
def test_the_error_is_within_the_tolerance_anywhere_in_the_box(model, tolerance):
    small = model.compress(tolerance)
    assert length_of_error(model, small, points(model)).max() <= 1.7 * tolerance * np.sqrt(model.wave.size)
    report = small.info.provenance["settings"]["compression"]
    assert report["largest_error"] <= 1.7 * tolerance * np.sqrt(model.wave.size)
    assert report["largest_shift"] <= tolerance
    assert report["components"] == small.host_emulator.basis.shape[0]
    assert np.all(small.info.pixels["compression_error"] <= 1.7 * tolerance * np.sqrt(model.wave.size))


def test_a_larger_tolerance_needs_fewer_components(model):
    ranks = [model.compress(tolerance).host_emulator.basis.shape[0] for tolerance in (1.0, 0.1, 0.001)]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[-1] or model.wave.size < 20


@pytest.mark.slow
def test_the_compressed_emulator_has_the_same_call_and_jacobian(model):
    small = model.compress(1e-4)
    labels = np.asarray(model.host_emulator.scaling.inverse(points(model, 6)))
    with enable_x64(True):
        assert np.asarray(small(labels)).shape == np.asarray(model(labels)).shape
        emulator = small.host_emulator.on_device()
        x = points(model, 1)[0]
        flux, slopes = emulator.at_with_jacobian(jnp.asarray(x))
        np.testing.assert_allclose(flux, emulator.at(jnp.asarray(x)), rtol=1e-12)
        np.testing.assert_allclose(slopes, central_difference(emulator.at, x), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(jax.jacfwd(emulator.at)(jnp.asarray(x)).T, slopes, rtol=1e-8, atol=1e-10)
    one = jax.jit(jax.vmap(small.emulator))(jnp.asarray(labels, jnp.float32))
    np.testing.assert_allclose(one, model(labels), rtol=1e-3)


@pytest.mark.slow
def test_labels_move_by_less_than_a_hundredth_of_their_error(model):
    stars = seen_by(model)
    exact, small = slamjax.fit(model, stars, compress=False), slamjax.fit(model.compress(), stars)
    fine = (np.asarray(exact["flags"]) == 0) & (np.asarray(small["flags"]) == 0)
    assert fine.sum() > 40
    for name in LABELS:
        a, b, error = (np.asarray(t[c], float)[fine] for t, c in ((exact, name), (small, name), (exact, f"{name}_err")))
        assert np.percentile(np.abs(a - b) / error, 90) < 0.012  # both iterations end within a tolerance too


def test_a_compressed_model_is_saved_like_another(tmp_path):
    small = giants_model().compress()
    small.write(tmp_path / "small.h5")
    again = slamjax.Model.read(tmp_path / "small.h5")
    np.testing.assert_array_equal(again.host_emulator.basis, small.host_emulator.basis)
    labels = np.asarray(small.host_emulator.scaling.inverse(points(small, 3)))
    np.testing.assert_array_equal(again(labels), small(labels))
    assert again.info.provenance["settings"]["compression"] == small.info.provenance["settings"]["compression"]


def test_posteriors_are_projected_from_components_as_from_pixels(monkeypatch):
    monkeypatch.setattr(projection, "TOLERANCE", 0.5)
    model = giants_model()
    small = model.compress(1e-3)
    ivar = np.full(model.wave.size, np.median(model.prepare(held_out()).ivar))
    a, b = (projection.choose_components(m.host_emulator, m.noise, m.training_labels, ivar) for m in (model, small))
    assert a.components is not None, a.reason
    assert b.components is not None, b.reason
    x = points(model, 20).astype(np.float32)
    flux = [np.asarray(c.components(x[1:]) - c.components(x[:-1])) @ np.asarray(c.components.basis) for c in (a, b)]
    spread = np.std(flux[0])
    np.testing.assert_allclose(flux[1], flux[0], atol=0.05 * spread)


def test_untrained_pixels_stay_untrained():
    model = giants_model()
    exact = model.host_emulator
    intercept = np.array(exact.intercept)
    intercept[7] = np.nan
    variance = np.array(model.noise.model_variance)
    variance[7] = np.inf
    model = dataclasses.replace(
        model, host_emulator=dataclasses.replace(exact, intercept=intercept), noise=DiagonalNoise(variance)
    )
    small = model.compress()
    predicted = np.asarray(small(held_out().values(LABELS)[:2]))
    assert np.all(np.isnan(predicted[:, 7]))
    assert np.isfinite(np.delete(predicted, 7, axis=1)).all()
    assert np.isnan(small.info.pixels["compression_error"][7])


def test_only_large_models_are_compressed_automatically_and_once(model, monkeypatch):
    small_model = dataclasses.replace(model)  # each instance decides once
    assert small_model.quick() is small_model
    monkeypatch.setattr(compression, "_LARGE", 10)
    monkeypatch.setattr(compression, "_WORTHWHILE", 10.0)
    large_model = dataclasses.replace(model)
    small = large_model.quick()
    assert small.host_emulator.basis is not None
    assert large_model.quick() is small
    assert small.quick() is small


def test_incompressible_models_are_errors(model):
    with pytest.raises(SlamError, match="give a number above 0"):
        model.compress(0.0)
    with pytest.raises(SlamError, match="compressed already"):
        model.compress().compress()
