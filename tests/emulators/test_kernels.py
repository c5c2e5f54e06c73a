import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RTOL, central_difference
from sklearn.metrics import pairwise

from slamjax.emulators import kernels
from slamjax.errors import SlamError

GAMMA, COEF0 = 0.37, 0.8
#: scikit-learn's own definitions, as its SVR uses them.
SKLEARN = {
    "rbf": lambda x, s, degree: pairwise.rbf_kernel(x, s, gamma=GAMMA),
    "linear": lambda x, s, degree: pairwise.linear_kernel(x, s),
    "poly": lambda x, s, degree: pairwise.polynomial_kernel(x, s, degree=degree, gamma=GAMMA, coef0=COEF0),
    "sigmoid": lambda x, s, degree: pairwise.sigmoid_kernel(x, s, gamma=GAMMA, coef0=COEF0),
}
CASES = [("rbf", 3), ("linear", 3), ("poly", 1), ("poly", 2), ("poly", 3), ("poly", 5), ("sigmoid", 3)]


def points(n_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6, n_labels)), rng.normal(size=(11, n_labels))


def kernel_of(kernel, degree, x, support):
    return kernels.profile(kernel, degree)(kernels.similarity(kernel, x, support), GAMMA, COEF0)


@pytest.mark.parametrize(("kernel", "degree"), CASES)
@pytest.mark.parametrize("n_labels", [1, 3])
def test_kernels_are_those_of_scikit_learn(kernel, degree, n_labels, dtype):
    x, support = points(n_labels)
    k = kernel_of(kernel, degree, jnp.asarray(x, dtype), jnp.asarray(support, dtype))
    assert k.dtype == dtype
    expected = SKLEARN[kernel](x, support, degree)
    np.testing.assert_allclose(k, expected, rtol=RTOL[dtype], atol=RTOL[dtype])


def test_all_kernels_are_listed():
    assert set(kernels.KERNELS) == set(SKLEARN)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
def test_any_batch_shape_gives_the_same_numbers(kernel, batch):
    x, support = points()
    x = x[: max(1, int(np.prod(batch)))].reshape(*batch, 3)
    k = kernel_of(kernel, 3, jnp.asarray(x), jnp.asarray(support))
    slope = kernels.similarity_gradient(kernel, jnp.asarray(x), jnp.asarray(support))
    assert k.shape == (*batch, 11)
    assert slope.shape == (*batch, 3, 11)
    flat = kernel_of(kernel, 3, jnp.asarray(x.reshape(-1, 3)), jnp.asarray(support))
    np.testing.assert_array_equal(np.asarray(k).reshape(-1, 11), flat)


@pytest.mark.parametrize(("kernel", "degree"), CASES)
def test_slopes_are_finite_differences(kernel, degree, dtype):
    """similarity_gradient × profile_slope is dk/dx, which a Gauss-Newton step relies on."""
    x, support = points()
    single = jnp.asarray(support, dtype)
    for point in x:
        here = jnp.asarray(point, dtype)
        s = kernels.similarity(kernel, here, single)
        k = kernels.profile(kernel, degree)(s, GAMMA, COEF0)
        slope = kernels.profile_slope(kernel, degree)(s, GAMMA, COEF0, k)
        analytic = slope * kernels.similarity_gradient(kernel, here, single)
        numeric = central_difference(lambda p: SKLEARN[kernel](p[None], support, degree)[0], point)
        # the difference itself is good to 1e-9 of the kernel's size
        tolerance = {"float32": 2e-5, "float64": 1e-8}[dtype] * max(1, np.abs(k).max())
        np.testing.assert_allclose(analytic, numeric, rtol=1e-5 if dtype == "float32" else 1e-7, atol=tolerance)


def test_distances_between_near_points_keep_their_digits_in_float32():
    """|x|² + |s|² − 2 x·s would leave nothing of a distance of 1e-3 at x = 3."""
    support = np.float32([[3.0, -3.0, 3.0]])
    x = support + np.float32([[1e-3, -2e-3, 1e-3]])
    exact = np.sum((x.astype(float) - support.astype(float)) ** 2)
    np.testing.assert_allclose(kernels.similarity("rbf", jnp.asarray(x), jnp.asarray(support)), [[exact]], rtol=1e-6)


def test_the_rbf_kernel_of_a_point_with_itself_is_1():
    x = jnp.asarray(points()[0])
    np.testing.assert_array_equal(jnp.diag(kernel_of("rbf", 3, x, x)), 1)


@pytest.mark.parametrize(
    "function", [kernels.check_kernel, lambda k: kernels.profile(k, 3), lambda k: kernels.profile_slope(k, 3)]
)
def test_an_unknown_kernel_is_an_error_that_lists_the_known_ones(function):
    with pytest.raises(SlamError, match="unknown kernel 'laplace'; choose one of rbf, linear, poly, sigmoid"):
        function("laplace")
