"""A metric of the labels: chosen by labels of held-out stars, the same for kernel, distances and priors."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import central_difference, in_precision, xp_giants
from models import LABELS, SVR_10, THREE_FOLDS, recipe
from sklearn.svm import SVR as ScikitSVR

import slamjax
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.sampling import training_range
from slamjax.training import SVR, DataSpec, NoiseSpec, TrainingSpec, metric_choice, train
from slamjax.training.data import training_set

NAMES = ("a", "b", "c")


def stars(n, seed=0, n_pix=16):
    """Spectra that bend strongly with the first of three labels, and hardly with the last."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-1, 1, size=(n, 3)) * [100, 1, 1] + [500, 0, 0]
    t, b, c = ((labels - [500, 0, 0]) / [100, 1, 1]).T
    phase = np.linspace(0, 3, n_pix)
    flux = (
        1 + 0.2 * np.tanh(3 * t[:, None] - 2 * phase + 3) + 0.1 * b[:, None] * np.cos(phase) + 0.03 * c[:, None] * phase
    )
    flux += rng.normal(0, 1e-3, flux.shape)
    table = dict(zip(NAMES, labels.T, strict=True))
    return slamjax.Spectra(
        flux=flux, ivar=np.full(flux.shape, 1e6), wave=np.linspace(500, 510, n_pix), wave_unit="nm", table=table
    )


def trained(metric, n=220, **options):
    svr = SVR(C=10, epsilon=0.02, gamma=0.3, metric=metric)
    return train(stars(n), NAMES, emulator=svr, search=THREE_FOLDS, noise="diagonal", on_progress=False, **options)


@cache
def learned():
    return trained("learned")


def metrics_of(model):
    return {row["name"]: row for row in model.info.provenance["settings"]["metrics"]}


def error_of(model):
    unseen = stars(200, seed=1)
    return np.sqrt(np.mean(np.square(np.asarray(model(unseen.values(NAMES))) - unseen.flux)))


@pytest.mark.filterwarnings("ignore::slamjax.errors.SlamWarning")
def test_a_learnt_metric_is_narrow_where_the_spectrum_bends_and_predicts_better():
    factors = np.asarray(learned().host_emulator.blocks[0].metric)
    assert factors[0] > 3 * factors[1:].max()
    assert error_of(learned()) < 0.6 * error_of(trained("isotropic"))


def test_what_was_tried_is_recorded_and_the_best_is_taken():
    tried = metrics_of(learned())
    assert tried["isotropic"]["factors"] is None
    best = max(tried.values(), key=lambda row: row["score"])
    np.testing.assert_array_equal(learned().host_emulator.blocks[0].metric, best["factors"])
    np.testing.assert_array_equal(learned().training_labels.metric, best["factors"])


@pytest.mark.filterwarnings("ignore::slamjax.errors.SlamWarning")
def test_some_of_many_pixels_choose_the_metric_and_all_are_trained(monkeypatch):
    tried = metrics_of(learned())
    monkeypatch.setattr(metric_choice, "MOST_PIXELS", 6)
    model = trained("learned")
    assert model.trained.all()
    np.testing.assert_array_equal(model.host_emulator.blocks[0].metric, learned().host_emulator.blocks[0].metric)
    assert error_of(model) == pytest.approx(error_of(learned()), rel=1e-4)
    assert metrics_of(model)["isotropic"]["score"] < tried["isotropic"]["score"]  # fewer pixels say less


def test_pixels_are_thinned_evenly_where_each_label_may_act():
    data = DataSpec(label_windows={"b": [(500, 505)]})
    spectra = stars(60, n_pix=40)
    ivar = np.array(spectra.ivar)
    ivar[:, :4] = 0
    options = TrainingSpec(None, THREE_FOLDS, NoiseSpec(), (), data)
    scaled = training_set(spectra.with_arrays(spectra.flux, ivar), NAMES, options, 3).scaled
    few = scaled.fewer_pixels(12)
    assert scaled.fewer_pixels(36) is scaled
    kept = np.flatnonzero(np.isin(scaled.flux_mean, few.flux_mean))
    assert kept.min() >= 4
    assert 12 <= len(kept) <= 14
    assert np.abs(few.allowed[:, 1].mean() - scaled.allowed[4:, 1].mean()) < 0.1
    np.testing.assert_array_equal(few.y, scaled.y[:, kept])
    np.testing.assert_array_equal(few.ivar, scaled.ivar[:, kept])


def test_with_few_stars_and_with_one_label_the_kernel_is_isotropic():
    assert list(metrics_of(trained("learned", n=120))) == ["isotropic"]
    one = train(stars(220), ["a"], emulator=SVR_10, search=THREE_FOLDS, noise="diagonal", on_progress=False)
    assert list(metrics_of(one)) == ["isotropic"]
    assert one.host_emulator.blocks[0].metric is None


def test_given_length_scales_are_scikit_learns_svr_on_divided_labels():
    spectra, lengths = stars(80), (20.0, 2.0, 5.0)
    with in_precision("float64"):
        svr = SVR(C=10, epsilon=0.02, gamma=0.3, metric=lengths, tol=1e-8)
        model = train(spectra, NAMES, emulator=svr, search=THREE_FOLDS, noise="diagonal", on_progress=False,
                      data=DataSpec(weights="uniform", screen=False))  # fmt: skip
        at = stars(30, seed=2).values(NAMES) * 0.9
        found = np.asarray(model.emulator(jnp.asarray(at)))
    flux = np.asarray(spectra.flux, float)
    mean, scale = flux.mean(axis=0), flux.std(axis=0)
    z = spectra.values(NAMES) / lengths
    for pixel in (0, 7, 15):
        machine = ScikitSVR(C=10, epsilon=0.02, gamma=0.3, tol=1e-8).fit(
            z, (flux[:, pixel] - mean[pixel]) / scale[pixel]
        )
        expected = mean[pixel] + scale[pixel] * machine.predict(at / lengths)
        np.testing.assert_allclose(found[:, pixel], expected, atol=1e-6)


@pytest.mark.parametrize("solver", ["sklearn", "batched", "inducing"])
def test_every_solver_takes_the_metric(solver):
    spectra = stars(90)
    svr = SVR(C=10, epsilon=0.02, gamma=0.3, metric=(20.0, 2.0, 5.0), solver=solver)
    model = train(spectra, NAMES, emulator=svr, search=THREE_FOLDS, noise="diagonal", on_progress=False)
    left = np.asarray(model(spectra.values(NAMES))) - spectra.flux
    assert np.median(np.abs(left)) < 0.03 * np.std(np.asarray(spectra.flux))


def test_derivatives_are_those_of_finite_differences_with_masked_labels_too():
    with in_precision("float64"):
        model = trained("learned", data=DataSpec(label_windows={"b": [(500, 505)]}))
        emulator, x = model.emulator, jnp.asarray(model.training_labels.stars[:3])
        flux, jacobian = emulator.at_with_jacobian(x)
        np.testing.assert_allclose(flux, emulator.at(x), rtol=1e-12)
        expected = central_difference(lambda at: np.asarray(emulator.at(jnp.asarray(at))), np.asarray(x[0]))
        np.testing.assert_allclose(jacobian[0], np.asarray(expected).reshape(jacobian[0].shape), atol=1e-6)
        beyond = np.asarray(model.wave) > 505
        assert np.all(np.asarray(jacobian)[:, 1, beyond] == 0)


def test_a_model_with_a_metric_is_the_same_after_saving(tmp_path):
    learned().write(tmp_path / "m.h5")
    again, labels = Model.read(tmp_path / "m.h5"), stars(9, seed=3).values(NAMES) * 0.9
    np.testing.assert_array_equal(np.asarray(again.emulator(labels)), np.asarray(learned().emulator(labels)))
    np.testing.assert_array_equal(again.training_labels.metric, learned().training_labels.metric)


def test_fits_and_compressed_emulators_know_the_metric():
    unseen = stars(40, seed=4)
    table = slamjax.fit(learned(), unseen)
    pull = (np.asarray(table["a"]) - unseen.table["a"]) / np.asarray(table["a_err"])
    assert np.median(np.abs(pull)) < 2
    assert np.std(np.asarray(table["a"]) - unseen.table["a"]) < 5
    small = learned().compress(0.01)
    labels = unseen.values(NAMES)
    np.testing.assert_allclose(np.asarray(small.emulator(labels)), np.asarray(learned().emulator(labels)), atol=2e-3)


def test_the_prior_of_the_training_range_measures_distances_with_the_metric():
    model = learned()
    prior = training_range(model)
    x = np.random.default_rng(0).uniform(-1.5, 1.5, size=(50, 3)).astype(np.float32)
    metric, scaled = np.asarray(model.training_labels.metric), np.asarray(model.training_labels.stars)
    square = np.square((x[:, None] - scaled) * metric).sum(axis=-1)
    near = np.exp(-2 * square / float(model.training_labels.max_distance) ** 2).sum(axis=1)
    expected = np.log(near**2 / (near**2 + (5 * np.exp(-2.0)) ** 2))
    found = np.asarray(prior.log_prob(model.host_emulator.scaling.inverse(x)))
    inside = np.all((x > np.asarray(model.training_labels.low)) & (x < np.asarray(model.training_labels.high)), axis=1)
    assert inside.sum() > 20
    np.testing.assert_allclose((found - found[inside][0])[inside], (expected - expected[inside][0])[inside], atol=1e-3)


def test_it_can_be_embedded_and_differentiated_under_jit_and_vmap():
    emulator, labels = learned().emulator, jnp.asarray(stars(5, seed=5).values(NAMES))
    slopes = jax.jit(jax.vmap(jax.jacfwd(emulator)))(labels)
    assert slopes.shape == (5, 16, 3)
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("metric", ["learnt", (1.0, -2.0, 3.0), [[1.0]], (np.nan, 1.0, 1.0)])
def test_a_wrong_metric_is_refused_by_name(metric):
    with pytest.raises(SlamError, match="metric"):
        SVR(metric=metric)


def test_as_many_length_scales_as_labels_are_needed():
    with pytest.raises(SlamError, match="2 length scales for the labels teff, logg, fe_h, alpha_m; give one for each"):
        train(xp_giants()[:60], LABELS, emulator=SVR(metric=(300.0, 1.0)), recipe=recipe(), on_progress=False)
