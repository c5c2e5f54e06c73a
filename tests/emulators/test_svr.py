"""The emulator against scikit-learn's own predict, finite differences, and JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import central_difference, in_precision
from models import LABELS, giants_model, held_out, searched_model
from sklearn.svm import SVR, NuSVR

from slamjax.emulators.scaling import LabelScaling
from slamjax.training import from_sklearn


def machines(kernels, n=80, n_labels=3, seed=1):
    """SVRs of each kernel with mixed hyper-parameters, fitted to smooth functions with noise, and their stars."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_labels))
    svrs = []
    for k, kernel in enumerate(kernels):
        y = np.sin(x @ rng.normal(size=n_labels)) + 0.3 * x[:, 0] ** 2 + rng.normal(0, 0.1, n)
        rows = rng.random(n) < 0.8  # every pixel has stars of its own
        svr = SVR(kernel=kernel, C=[0.1, 1, 30][k % 3], epsilon=[0.05, 0.2][k % 2], gamma=[0.03, 0.3, 1.0][k % 3],
                  degree=[2, 3][k % 2], coef0=[0.0, 0.7][k % 2])  # fmt: skip
        svrs.append(svr.fit(x[rows], y[rows]))
    return svrs, x


def kernel_sums(svrs, x):
    """(Σ_i |a_i k_i| + |b|) for each star and pixel: what float32's rounding is measured by."""
    from sklearn.metrics.pairwise import pairwise_kernels

    sums = []
    for svr in svrs:
        options = {"gamma": svr._gamma, "degree": svr.degree, "coef0": svr.coef0}
        k = pairwise_kernels(x, svr.support_vectors_, metric=svr.kernel, filter_params=True, **options)
        sums.append(np.abs(k) @ np.abs(svr.dual_coef_[0]) + abs(svr.intercept_[0]))
    return np.stack(sums, axis=-1)


MIXED = ["rbf", "linear", "poly", "sigmoid", "rbf", "poly", "rbf", "sigmoid", "poly", "linear", "rbf", "rbf"]
FAMILIES = [["rbf"] * 7, ["linear"] * 3, ["poly"] * 6, ["sigmoid"] * 6, MIXED, ["rbf"] * 40]


@pytest.mark.parametrize("kernels", FAMILIES, ids=lambda k: f"{len(k)} {'+'.join(sorted(set(k)))}")
def test_float64_agrees_with_scikit_learn(kernels):
    svrs, x = machines(kernels)
    expected = np.stack([svr.predict(x) for svr in svrs], axis=-1)
    with in_precision("float64"):
        found = np.asarray(from_sklearn(svrs)(x))
    scale = np.maximum(1, np.abs(expected))
    assert found.dtype == np.float64
    assert np.max(np.abs(found - expected) / scale) <= 1e-10


@pytest.mark.parametrize("kernels", FAMILIES, ids=lambda k: f"{len(k)} {'+'.join(sorted(set(k)))}")
def test_float32_agrees_within_the_rounding_of_the_sum(kernels):
    svrs, x = machines(kernels)
    x = x.astype(np.float32).astype(np.float64)  # the labels themselves are not to blame
    expected = np.stack([svr.predict(x) for svr in svrs], axis=-1)
    found = np.asarray(from_sklearn(svrs)(x))
    assert found.dtype == np.float32
    allowed = 4 * np.finfo(np.float32).eps * kernel_sums(svrs, x)
    assert np.all(np.abs(found - expected) <= allowed)


def test_a_gamma_per_pixel_does_not_make_a_program_per_pixel():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    svrs = [SVR(gamma=g).fit(x, np.sin(x[:, 0] + k)) for k, g in enumerate(np.geomspace(0.05, 2, 50))]
    emulator = from_sklearn(svrs)
    assert len(emulator.blocks) == 1
    with in_precision("float64"):
        found = from_sklearn(svrs)(x)
    np.testing.assert_allclose(found, np.stack([svr.predict(x) for svr in svrs], -1), atol=1e-10)


def test_float32_stays_below_a_hundredth_of_the_noise_on_real_stars():
    model = giants_model()
    labels = held_out().values(LABELS)
    single = np.asarray(model(labels))
    with in_precision("float64"):
        double = np.asarray(model(labels))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert np.max(np.abs(single - double) / np.sqrt(model.noise.model_variance)) < 0.01


@pytest.mark.parametrize("make", [giants_model, searched_model])
def test_gradients_agree_with_finite_differences(make):
    model = make()
    with in_precision("float64"):
        x = np.asarray(model.host_emulator.scaling(held_out().values(LABELS)[3]))
        expected = central_difference(lambda point: np.asarray(model.emulator.at(jnp.asarray(point))), x, 1e-5)
        flux, analytic = model.emulator.at_with_jacobian(jnp.asarray(x))
        automatic = jax.jacfwd(model.emulator.at)(jnp.asarray(x)).T
        np.testing.assert_allclose(flux, model.emulator.at(jnp.asarray(x)), rtol=1e-12)
    np.testing.assert_allclose(analytic, expected, atol=1e-8)
    np.testing.assert_allclose(automatic, expected, atol=1e-8)


@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly", "sigmoid"])
def test_the_analytic_jacobian_of_every_kernel_is_the_automatic_one(kernel):
    svrs, x = machines([kernel] * 5)
    with in_precision("float64"):
        emulator = from_sklearn(svrs)
        _, analytic = emulator.at_with_jacobian(jnp.asarray(x[:4]))
        automatic = jnp.swapaxes(jax.vmap(jax.jacfwd(emulator.at))(jnp.asarray(x[:4])), 1, 2)
    np.testing.assert_allclose(analytic, automatic, atol=1e-11)


def test_gradients_in_physical_units_pass_through_the_scaling():
    model = giants_model()
    jax.clear_caches()  # JAX may keep constants of the other precision for an operation that it compiled before
    with in_precision("float64"):
        labels = jnp.asarray(held_out().values(LABELS)[0])
        slope = jax.jacfwd(model.emulator)(labels)[:, 0]
        step = 0.01  # K
        change = model(labels.at[0].add(step)) - model(labels.at[0].add(-step))
    np.testing.assert_allclose(slope, np.asarray(change) / (2 * step), rtol=1e-4, atol=1e-10)


def test_works_under_every_transformation_as_argument_and_as_closure():
    emulator = searched_model().emulator
    labels = jnp.asarray(held_out().values(LABELS)[:5], dtype=jnp.float32)
    expected = np.asarray(emulator(labels))
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(jax.jit(lambda e, x: e(x))(emulator, labels), expected, **close)
    np.testing.assert_allclose(jax.jit(lambda x: emulator(x))(labels), expected, **close)
    np.testing.assert_allclose(jax.vmap(emulator)(labels), expected, **close)
    _, scanned = jax.lax.scan(lambda carry, x: (carry, emulator(x)), 0, labels)
    np.testing.assert_allclose(scanned, expected, **close)
    total = jax.grad(lambda x: emulator(x).sum())(labels[0])
    np.testing.assert_allclose(total, jax.jacfwd(emulator)(labels[0]).sum(0), rtol=1e-3, atol=1e-5)
    assert jax.hessian(lambda x: emulator(x).sum())(labels[0]).shape == (4, 4)
    by_argument = jax.grad(lambda e, x: e(x).sum(), argnums=0, allow_int=True)(emulator, labels[0])
    np.testing.assert_allclose(by_argument.intercept, emulator.flux_scale, rtol=1e-6)


def test_any_batch_shape():
    emulator = searched_model().emulator
    labels = held_out().values(LABELS)[:6]
    flat = np.asarray(emulator(labels))
    assert emulator(labels[0]).shape == (emulator.n_pix,)
    np.testing.assert_allclose(emulator(labels.reshape(2, 3, 4)), flat.reshape(2, 3, -1), rtol=1e-4, atol=1e-5)
    assert emulator(labels[:0]).shape == (0, emulator.n_pix)


def test_labels_must_be_on_the_last_axis():
    with pytest.raises(ValueError, match="last axis must be teff, logg, fe_h, alpha_m"):
        giants_model()(np.zeros((2, 3)))


def test_physical_labels_meet_the_svrs_scaled():
    """from_sklearn with a scaling and flux units is μ + s · SVR((ℓ − m) / w)."""
    svrs, x = machines(["rbf"] * 3)
    center, width = np.array([4800.0, 2.5, -0.3]), np.array([300.0, 0.7, 0.4])
    scaling = LabelScaling(center, width, (False, False, False))
    mean, scale = np.array([1.0, 0.9, 0.8]), np.array([0.02, 0.05, 0.1])
    expected = mean + scale * np.stack([svr.predict(x) for svr in svrs], -1)
    with in_precision("float64"):
        emulator = from_sklearn(svrs, scaling=scaling, flux_mean=mean, flux_scale=scale)
        np.testing.assert_allclose(emulator(x * width + center), expected, atol=1e-11)


def test_from_sklearn_takes_searches_nested_lists_and_gaps():
    from sklearn.model_selection import GridSearchCV

    svrs, x = machines(["rbf"] * 3)
    search = GridSearchCV(SVR(), {"C": [0.1, 1]}, cv=3).fit(x, np.sin(x[:, 0]))
    nu = NuSVR(nu=0.4).fit(x, np.cos(x[:, 1]))
    with in_precision("float64"):
        flux = np.asarray(from_sklearn(np.array([[svrs[0], search], [None, nu]], dtype=object))(x))
    np.testing.assert_allclose(flux[:, 0], svrs[0].predict(x), atol=1e-10)
    np.testing.assert_allclose(flux[:, 1], search.predict(x), atol=1e-10)
    assert np.all(np.isnan(flux[:, 2]))
    np.testing.assert_allclose(flux[:, 3], nu.predict(x), atol=1e-10)


@pytest.mark.parametrize(
    ("svrs", "message"),
    [
        ([], "no fitted SVR"),
        ([SVR()], "pixel 0 is not fitted"),
        ([SVR(kernel="precomputed")], "kernel 'precomputed'"),
        (["svr"], "pixel 0 holds a str"),
    ],
)
def test_what_cannot_be_exported_is_named(svrs, message):
    with pytest.raises(ValueError, match=message):
        from_sklearn(svrs)


def test_machines_of_different_labels_are_refused():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="pixel 1 has 2 labels, others have 3"):
        from_sklearn([SVR().fit(x, x[:, 0]), SVR().fit(x[:, :2], x[:, 0])])


def test_a_list_with_one_traced_label_is_accepted():
    model = giants_model()
    slope = jax.grad(lambda teff: model([teff, 2.4, -0.1, 0.05])[7])(4700.0)
    expected = jax.grad(lambda labels: model(labels)[7])(jnp.array([4700.0, 2.4, -0.1, 0.05]))[0]
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


def test_other_machines_than_regressors_are_refused():
    from sklearn.svm import SVC

    x = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(ValueError, match="pixel 0 holds a SVC"):
        from_sklearn([SVC().fit(x, x[:, 0] > 0)])
    with pytest.raises(ValueError, match=r"flux_mean has shape \(3,\) but there are 1 SVRs"):
        from_sklearn([SVR().fit(x, x[:, 0])], flux_mean=np.ones(3))
