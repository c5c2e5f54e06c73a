"""Emulators to second order about known labels, by which noise models are judged."""

import jax.numpy as jnp
import numpy as np
from helpers import in_precision, xp_giants
from models import LABELS, SVR_10, TWO_FOLDS, recipe

from slamjax.noise.models import LowRankNoise
from slamjax.training import Polynomial, noise_fallback, train
from slamjax.training.expansion import expansion, information_at
from slamjax.training.label_errors import label_errors
from slamjax.training.label_errors import quick as quick_version


def caught(monkeypatch, emulator):
    """What the noise of 110 giants is learnt from."""
    given = {}
    learn = noise_fallback.learn_noise

    def keep(spec, emulator, training_labels, held_out, **options):
        given["parts"] = emulator, training_labels, held_out
        return learn(spec, emulator, training_labels, held_out, **options)

    monkeypatch.setattr(noise_fallback, "learn_noise", keep)
    train(xp_giants()[:110], LABELS, emulator=emulator, recipe=recipe(), search=TWO_FOLDS, noise="diagonal")
    return given["parts"]


def correlated_noise(held_out):
    """Residuals' own size, and two common modes."""
    rng = np.random.default_rng(0)
    spread = np.nanstd(held_out.residual, axis=0)
    n_pix = spread.size
    factors = spread[:, None] * rng.normal(size=(n_pix, 2))
    return LowRankNoise(spread**2, factors, np.ones(n_pix), np.zeros((n_pix, 2)))


def test_a_quadratic_is_its_own_expansion(monkeypatch):
    """Fits with derivatives only are the fits with the emulators themselves."""
    with in_precision("float64"):
        _, training_labels, held_out = caught(monkeypatch, Polynomial())
        noise, expanded = correlated_noise(held_out), held_out.expanded()
        exact, quick = (label_errors(noise, training_labels, each) for each in (held_out, expanded))
    assert expanded.terms.shape == (110, 4 + 10, 61)
    for name in ("error", "covariance", "chi2"):
        np.testing.assert_allclose(getattr(quick, name), getattr(exact, name), rtol=1e-6, atol=1e-9)


def test_an_svr_is_its_expansion_near_the_known_labels(monkeypatch):
    _, training_labels, held_out = caught(monkeypatch, SVR_10)
    noise = correlated_noise(held_out)
    exact, quick = (label_errors(noise, training_labels, each) for each in (held_out, held_out.expanded()))
    sigma = np.sqrt(np.einsum("nll->nl", exact.covariance))
    # stars that are far off move by more: choices among noise models do not hang on them
    assert np.median(np.abs(quick.error - exact.error) / sigma) < 0.25
    np.testing.assert_allclose(np.median(np.abs(quick.pulls())), np.median(np.abs(exact.pulls())), rtol=0.15)


def test_an_expansion_is_only_used_where_fits_hardly_change(monkeypatch):
    """A quadratic loses nothing; 61 pixels leave label errors across which SVRs bend."""
    for emulator, used in ((Polynomial(), True), (SVR_10, False)):
        _, training_labels, held_out = caught(monkeypatch, emulator)
        quick = quick_version(held_out, correlated_noise(held_out), training_labels)
        assert (quick.terms is not None) == used


def test_information_is_that_of_the_moved_emulator(monkeypatch):
    """Against residual and Jacobian of the emulator itself, term by term."""
    with in_precision("float64"):
        _, _, held_out = caught(monkeypatch, Polynomial())
        x, unit = held_out.x[:1], 0.5
        terms = expansion(x, held_out.fold[:1], held_out.emulators, unit)[0]
        emulator = held_out.emulators[held_out.fold[0]].in_unit(unit).on_device()
        d = jnp.array([0.3, -0.2, 0.5, 0.1])
        flux = emulator.at(jnp.asarray(x[0])) + 0.01
        rows = emulator.residual_and_jacobian(jnp.asarray(x[0]) + d, flux)
        stacked = np.concatenate([np.full((1, 61), 0.01), terms])
        np.testing.assert_allclose(information_at(jnp.asarray(stacked @ stacked.T), d), rows @ rows.T, rtol=1e-8)


def test_much_is_not_kept(monkeypatch):
    monkeypatch.setattr("slamjax.training.expansion._LARGEST", 1e-6)
    _, _, held_out = caught(monkeypatch, Polynomial())
    assert held_out.expanded().terms is None
