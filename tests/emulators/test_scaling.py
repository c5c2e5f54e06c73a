import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import central_difference, xp_giants
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slamjax.emulators.scaling import LabelScaling, location_and_width
from slamjax.errors import SlamError

NAMES = ["teff", "logg", "fe_h", "alpha_m"]


def labels():
    return xp_giants().values(NAMES)


@pytest.mark.parametrize("log", [[], ["teff"]])
def test_standard_scaling_is_mean_and_standard_deviation(log):
    stars, t = labels(), labels()
    if log:
        t[:, 0] = np.log10(t[:, 0])
    scaling = LabelScaling.from_labels(stars, NAMES, log=log)
    assert scaling.n_labels == 4
    np.testing.assert_allclose(scaling.center, t.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(scaling.width, t.std(axis=0), rtol=1e-7)
    x = scaling(stars)
    np.testing.assert_allclose(x, (t - t.mean(axis=0)) / t.std(axis=0), atol=3e-6)
    np.testing.assert_allclose([x.mean(axis=0), x.std(axis=0)], [[0] * 4, [1] * 4], atol=3e-6)


def test_robust_scaling_is_median_and_half_the_central_68_percent():
    stars = labels()
    low, middle, high = (np.percentile(stars, q, axis=0) for q in (16, 50, 84))
    scaling = LabelScaling.from_labels(stars, NAMES, "robust")
    np.testing.assert_allclose(scaling.center, middle, rtol=1e-7)
    np.testing.assert_allclose(scaling.width, (high - low) / 2, rtol=1e-7)


def test_robust_scaling_is_insensitive_to_an_outlier():
    values = np.random.default_rng(0).normal(size=(999, 1))
    spoilt = values.copy()
    spoilt[0] = 1e6
    for stars in (values, spoilt):
        center, width = location_and_width(stars, "robust")
        assert abs(center[0]) < 0.1
        assert width[0] == pytest.approx(1, abs=0.1)


def test_missing_values_do_not_count():
    values = np.array([[1.0, 4], [3, np.nan], [np.nan, 8]])
    center, width = location_and_width(values, "standard")
    np.testing.assert_allclose(center, [2, 6])
    np.testing.assert_allclose(width, [1, 2])


def scalings(log):
    """Label scalings such as surveys give: centres of order 1 to 1e4, widths of order 0.01 to 1e3."""
    return st.builds(
        lambda center, width: LabelScaling(np.array(center), np.array(width), log),
        st.tuples(st.floats(-1, 4), st.floats(-10, 1e4)),
        st.tuples(st.floats(0.01, 1), st.floats(0.01, 1000)),
    )


points = hnp.arrays(np.float64, (3, 2), elements=st.floats(-5, 5))


@pytest.mark.parametrize("log", [(False, False), (True, False)])
@given(data=st.data(), x=points)
def test_inverse_undoes_scaling(log, data, x):
    scaling = data.draw(scalings(log))
    physical = scaling.inverse(x)
    assert isinstance(physical, np.ndarray)
    # x moves by the rounding of the label over the label's width
    slack = 1e-13 * (1 + np.abs(scaling.center) / scaling.width) * 10
    assert np.all(np.abs(scaling(physical) - x) <= slack + 1e-12)
    np.testing.assert_allclose(scaling.inverse(scaling(physical)), physical, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("log", [[], ["teff", "logg"]])
def test_jax_and_numpy_scale_alike_in_either_precision(log, dtype):
    scaling, stars = LabelScaling.from_labels(labels(), NAMES, log=log), labels()
    expected = scaling(stars)
    x = jax.jit(lambda s, labels: s(labels))(scaling, jnp.asarray(stars, dtype))
    assert isinstance(x, jax.Array)
    assert x.dtype == dtype
    # a float32 Teff is off by 2e-4 K, a millionth of its spread
    np.testing.assert_allclose(x, expected, atol={"float32": 2e-5, "float64": 1e-12}[dtype])
    np.testing.assert_allclose(scaling.inverse(x), stars, rtol={"float32": 2e-6, "float64": 1e-12}[dtype], atol=2e-6)


def test_numpy_labels_keep_their_own_precision():
    """Also where JAX works in float32."""
    scaling = LabelScaling.from_labels(labels(), NAMES)
    near = labels()[0] + np.array([1e-7, 0, 0, 0])
    assert scaling(near).dtype == np.float64
    assert scaling(near)[0] != scaling(labels()[0])[0]


def test_the_numbers_of_a_scaling_are_the_same_in_both_precisions():
    """A model saved as float32 and one kept in float64 must scale labels alike."""
    scaling = LabelScaling.from_labels(labels(), NAMES, log=["teff"])
    np.testing.assert_array_equal(np.float32(scaling.center), scaling.center)
    np.testing.assert_array_equal(np.float32(scaling.width), scaling.width)


@pytest.mark.parametrize("log", [[], ["teff"], NAMES[:2]])
def test_slope_is_the_finite_difference_of_the_inverse(log, dtype):
    scaling = LabelScaling.from_labels(labels(), NAMES, log=log)
    for point in scaling(labels())[:5]:
        numeric = np.diag(central_difference(scaling.inverse, point, 1e-5))
        np.testing.assert_allclose(scaling.slope(point), numeric, rtol=1e-6)
        slope = scaling.slope(jnp.asarray(point, dtype))
        np.testing.assert_allclose(slope, numeric, rtol=1e-5)
    assert np.shape(scaling.slope(np.zeros((2, 5, 4)))) == (2, 5, 4)


@pytest.mark.parametrize("log", [[], ["teff"]])
def test_gradients_pass_through_every_label(log):
    """jnp.where around log10 must not make the gradient of the other labels NaN: [Fe/H] = 0 is the trap."""
    scaling = LabelScaling.from_labels(labels(), NAMES, log=log)
    at = jnp.array([4500.0, 2.0, 0.0, -0.1])
    slopes = jnp.diag(jax.jacfwd(scaling)(at))
    reverse = jnp.diag(jax.jacrev(scaling)(at))
    numeric = np.diag(central_difference(scaling, np.asarray(at, float), 1e-4))
    np.testing.assert_allclose(slopes, numeric, rtol=1e-5)
    np.testing.assert_allclose(reverse, numeric, rtol=1e-5)


def test_whole_numbers_are_labels_too():
    scaling = LabelScaling.from_labels(labels(), NAMES)
    whole = np.array([4500, 2, 0, 0])
    np.testing.assert_allclose(scaling(whole), scaling(whole.astype(float)))
    np.testing.assert_allclose(scaling(jnp.asarray(whole)), scaling(whole.astype(float)), atol=1e-5)


@pytest.mark.parametrize("method", ["standard", "robust"])
@pytest.mark.parametrize("value", [0.0, 0.1, 5772.0])
def test_a_constant_label_is_named(method, value):
    """0.1 is the trap: its standard deviation over many stars is not exactly 0."""
    stars = labels()
    stars[:, 2] = value
    with pytest.raises(SlamError, match=r"label 'fe_h' is the same, .*leave it out"):
        LabelScaling.from_labels(stars, NAMES, method)


@pytest.mark.parametrize("method", ["standard", "robust"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_log10_of_a_value_that_is_not_positive_is_named(method, value):
    stars = labels()
    stars[3, 1] = value
    with pytest.raises(SlamError, match="label 'logg' has values that are not positive"):
        LabelScaling.from_labels(stars, NAMES, method, log=["logg"])


def test_log10_of_an_unknown_label_is_an_error():
    with pytest.raises(SlamError, match="log10 is asked for mass, which is not one of the labels teff, logg"):
        LabelScaling.from_labels(labels(), NAMES, log=["mass"])


def test_an_unknown_scaling_is_an_error():
    with pytest.raises(SlamError, match="unknown scaling 'minmax'; choose one of standard, robust"):
        LabelScaling.from_labels(labels(), NAMES, "minmax")


def test_a_label_that_is_nearly_always_the_same_has_no_robust_width():
    stars = labels()
    stars[:, 3] = 0.0
    stars[0, 3] = 1.0
    with pytest.raises(SlamError, match=r"label 'alpha_m' has no robust width.*use standard scaling"):
        LabelScaling.from_labels(stars, NAMES, "robust")
    assert LabelScaling.from_labels(stars, NAMES).width[3] > 0
