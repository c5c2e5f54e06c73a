"""Labels by position, by name and from tables; what is outside the training range is told, on the host only."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from helpers import in_precision, miles
from hypothesis import given
from hypothesis import strategies as st
from models import LABELS, giants_model, held_out, miles_model

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.model.named_labels import in_unit, labels_of, warn_outside
from slamjax.sampling.conditions import fixed_labels
from slamjax.validation import simulate

#: A giant, and another one.
STAR, OTHER = [4700.0, 2.4, -0.2, 0.1], [4500.0, 2.0, -0.4, 0.15]
BOTH = np.array([STAR, OTHER])
NAMED = dict(zip(LABELS, BOTH.T, strict=True))


def expected(labels=BOTH):
    return np.asarray(giants_model().emulator(np.asarray(labels, float)))


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    """Labels within the training range give no warning in any form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamWarning)
        miles_model()  # its training tells of stars without labels
        warnings.simplefilter("error", SlamWarning)
        yield


def pandas_frame():
    return pytest.importorskip("pandas").DataFrame(NAMED)


FORMS = {
    "array": lambda: BOTH,
    "list": lambda: BOTH.tolist(),
    "tuples": lambda: tuple(map(tuple, BOTH.tolist())),
    "float32": lambda: BOTH.astype("f4").astype(float),
    "jax": lambda: jnp.asarray(BOTH),
    "dict": lambda: NAMED,
    "reversed": lambda: {name: NAMED[name].tolist() for name in reversed(LABELS)},
    "quantities": lambda: NAMED | {"teff": NAMED["teff"] / 1000 * u.kK, "fe_h": NAMED["fe_h"] * u.dex},
    "Table": lambda: Table(NAMED | {"name": ["a", "b"], "snr": [90.0, 80]}),
    "QTable": lambda: QTable(NAMED | {"teff": NAMED["teff"] / 1000 * u.kK}),
    "masked": lambda: Table({name: MaskedColumn(values) for name, values in NAMED.items()}),
    "DataFrame": lambda: pandas_frame().assign(name="a"),
    "structured": lambda: Table(NAMED).as_array(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_labels_is_the_same_spectrum(form):
    np.testing.assert_allclose(giants_model()(FORMS[form]()), expected(), rtol=2e-5)


def test_labels_by_name_are_arguments_too():
    model = giants_model()
    np.testing.assert_array_equal(model(teff=4700, logg=2.4, fe_h=-0.2, alpha_m=0.1), expected(STAR))
    np.testing.assert_array_equal(model(**NAMED), expected())
    np.testing.assert_array_equal(model(alpha_m=0.1, fe_h=-0.2, logg=2.4, teff=[4700, 4600]).shape, (2, 61))
    mixed = [4.7 * u.kK, 2.4, -0.2 * u.dex, 0.1]
    np.testing.assert_allclose(model(mixed), expected(STAR), rtol=2e-5)


def test_rows_of_tables_are_one_star():
    np.testing.assert_array_equal(giants_model()(Table(NAMED)[0]), expected(STAR))
    np.testing.assert_array_equal(giants_model()(pandas_frame().iloc[0]), expected(STAR))


def test_stars_and_their_fitted_labels_are_tables_of_labels():
    model, stars = giants_model(), held_out()[:3]
    np.testing.assert_array_equal(model(stars), expected(stars.values(LABELS)))
    fitted = slamjax.fit(model, stars, n_starts=1)
    labels = np.stack([fitted[name].value for name in LABELS], axis=-1)
    np.testing.assert_array_equal(model(fitted), expected(labels))


@given(
    st.permutations(LABELS),
    st.lists(st.sampled_from([(), (1,), (3,), (2, 1), (2, 3)]), min_size=4, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_names_in_any_order_and_values_of_any_shapes_are_broadcast(order, shapes, seed):
    rng = np.random.default_rng(seed)
    values = {name: STAR[LABELS.index(name)] + 0.01 * rng.random(n) for name, n in zip(order, shapes, strict=True)}
    stacked = np.stack(np.broadcast_arrays(*(values[name] for name in LABELS)), axis=-1)
    np.testing.assert_array_equal(labels_of(giants_model(), values), stacked)
    np.testing.assert_array_equal(labels_of(giants_model(), None, values), stacked)


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        (None, {}, "no labels are given; this model needs teff, logg, fe_h, alpha_m"),
        (STAR, {"teff": 4700}, "labels are given both together and by name; give them in one way"),
        (None, {"teff": 4700}, "label logg, fe_h, alpha_m is not given; this model needs teff, logg"),
        (None, NAMED | {"log_g": 2.4}, "'log_g' is not a label of this model; it has teff, .*; did you mean 'logg'?"),
        ({}, {}, "label teff, logg, fe_h, alpha_m is not given"),
        (NAMED | {"vmic": 1.0}, {}, "'vmic' is not a label of this model"),
        (Table({"teff": [4700.0]}), {}, "label logg, fe_h, alpha_m is not given"),
        (NAMED | {"logg": [1.0, 2, 3]}, {}, r"shapes that do not fit together: teff \(2,\), logg \(3,\)"),
        (NAMED | {"teff": "hot"}, {}, "'teff' does not hold numbers"),
        (NAMED | {"teff": 5 * u.m}, {}, "'teff' is given in m, but the model's label is in K"),
        ([4700, 2.4, -0.2], {}, r"labels have shape \(3,\); their last axis must be teff, logg, fe_h, alpha_m"),
        (BOTH.T, {}, r"labels have shape \(4, 2\); their last axis must be teff"),
        (4700.0, {}, r"labels have shape \(\); their last axis must be teff"),
        ("4700", {}, "their last axis must be teff"),
        (["hot", "giant", 0, 0], {}, "labels are not numbers .*; give teff, logg, fe_h, alpha_m"),
        ([[1, 2], [3]], {}, "labels are not numbers"),
        (BOTH * u.K, {}, "'logg' is given in K"),
    ],
)
def test_labels_that_cannot_be_resolved_are_named(given, named, message):
    with pytest.raises(SlamError, match=message):
        giants_model()(given, **named)


@pytest.mark.parametrize(
    ("value", "unit", "number"),
    [
        (4.7 * u.kK, "K", 4700),
        (2.4 * u.dex, "dex(cm / s2)", 2.4),
        (2.4 * u.one, "dex", 2.4),
        (2.4 * u.dex, "", 2.4),
        (u.Dex(0.4, u.dex(u.m / u.s**2)), "dex(cm / s2)", 2.4),
        (u.Dex(2.4, u.dex(u.cm / u.s**2)), "dex", 2.4),
        (u.Dex(2.4, u.dex(u.cm / u.s**2)), "log(cm.s**-2)", 2.4),
        (50 * u.percent, "", 0.5),
        (Table({"v": [1.0]}, units={"v": "km/s"})["v"], "m/s", 1000),
        (Table({"v": [1.0]}, units={"v": "km/s"})["v"], "", 1),
        (Table({"v": [1.0]})["v"], "km/s", 1),
        (MaskedColumn([1.0], mask=[True]), "K", np.nan),
        (True, "", 1),
    ],
)
def test_units_of_labels_are_converted(value, unit, number):
    np.testing.assert_allclose(in_unit(value, unit, "label"), number, rtol=1e-12)


def test_a_unit_that_the_model_does_not_know_is_refused():
    with pytest.raises(SlamError, match="but the model's label is in no unit; give plain numbers"):
        in_unit(4700 * u.K, "", "teff")


# --- outside the training range


def test_a_label_outside_the_training_range_is_told_with_its_value_and_the_range():
    low, high = giants_model().label_range[0]
    with pytest.warns(SlamWarning) as told:
        giants_model()([30000, 2.4, -0.2, 0.1])
    assert str(told[0].message) == (
        f"teff = 30000 is outside the training range {low:.6g} to {high:.6g} K: "
        "the model knows no such spectra, and what it predicts there means nothing"
    )
    assert told[0].filename == __file__


def test_swapped_labels_are_told():
    with pytest.warns(SlamWarning, match=r"teff = 2.4 is outside .* K; logg = 4700 is outside the training range"):
        giants_model()([2.4, 4700.0, -0.2, 0.1])


def test_of_many_points_the_farthest_is_told():
    with pytest.warns(SlamWarning, match=r"^fe_h of 2 of 4 points \(as far as -9\) is outside the training range "):
        giants_model()(teff=4700, logg=2.4, fe_h=[-0.2, 3, -9, np.nan], alpha_m=0.1)


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("load", [giants_model, miles_model])
def test_the_ends_of_the_range_are_inside(load, end, dtype):
    """In either precision, on the host and on the device, and learnt in log10."""
    model = load()
    corner = model.label_range[:, end]
    model(corner)
    model(np.float32(corner))
    warn_outside(model, jnp.asarray(corner))
    step = 1e-3 * np.ptp(model.label_range, axis=1) * (1 if end else -1)
    for k in range(len(corner)):
        moved = corner.copy()
        moved[k] += step[k]
        with pytest.warns(SlamWarning, match=f"^{model.label_names[k]} = "):
            model(moved)


def test_training_stars_are_inside():
    model = miles_model()
    stars = miles()[np.sort(model.info.record.rows)]
    assert len(stars) > 70
    model(stars)


# --- under JAX


def test_the_emulator_is_pure_and_does_not_warn():
    emulator = giants_model().emulator
    emulator(np.array([30000.0, 2.4, -0.2, 0.1]))
    program = str(jax.make_jaxpr(emulator)(jnp.asarray(STAR)))
    assert "callback" not in program
    assert program == str(jax.make_jaxpr(giants_model())(jnp.asarray(STAR)))


@pytest.mark.parametrize("outside", [0.0, 20000.0])
def test_names_work_under_every_transformation_without_a_warning(outside):
    """What is traced has no value yet: nothing to warn of, and nothing breaks."""
    model = giants_model()
    star = np.add(STAR, [outside, 0, 0, 0])
    flux = np.asarray(model.emulator(star))

    def by_name(teff):
        return model(teff=teff, logg=2.4, fe_h=-0.2, alpha_m=0.1)

    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(jax.jit(by_name)(star[0]), flux, **close)
    np.testing.assert_allclose(jax.vmap(by_name)(jnp.full(3, star[0]))[1], flux, **close)
    np.testing.assert_allclose(jax.jit(model)(star), flux, **close)
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, star), flux, **close)
    np.testing.assert_allclose(
        jax.jit(lambda m: m(teff=star[0], logg=2.4, fe_h=-0.2, alpha_m=0.1))(model), flux, **close
    )
    np.testing.assert_allclose(jax.jit(lambda t: model([t, 2.4, -0.2, 0.1]))(star[0]), flux, **close)
    slope = jax.jacfwd(by_name)(star[0])
    np.testing.assert_allclose(slope, jax.jacfwd(model.emulator)(jnp.asarray(star))[:, 0], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(jax.grad(lambda t: by_name(t)[7])(star[0]), slope[7], rtol=1e-3, atol=1e-7)


def test_host_labels_keep_their_digits_and_device_labels_their_place():
    model = giants_model()
    assert labels_of(model, NAMED).dtype == np.float64
    assert isinstance(labels_of(model, {name: jnp.asarray(values) for name, values in NAMED.items()}), jax.Array)
    with in_precision("float64"):
        assert giants_model()(NAMED).dtype == np.float64


# --- other functions that take labels


def test_the_bound_and_simulations_take_labels_by_name():
    model = giants_model()
    ivar = np.full(model.wave.size, 1e4)
    by_array = slamjax.crlb(model, BOTH, ivar)
    for form in ("dict", "Table", "quantities", "DataFrame"):
        np.testing.assert_allclose(slamjax.crlb(model, FORMS[form](), ivar), by_array, rtol=1e-4)
        np.testing.assert_allclose(
            simulate(model, FORMS[form](), ivar).flux, simulate(model, BOTH, ivar).flux, rtol=1e-5
        )
    one = dict(zip(LABELS, STAR, strict=True))
    np.testing.assert_array_equal(slamjax.crlb(model, one, ivar), slamjax.crlb(model, STAR, ivar))
    assert slamjax.crlb(model, one, ivar).shape == (4, 4)
    assert len(simulate(model, one, ivar)) == 1
    with pytest.warns(SlamWarning, match="teff = 30000 is outside") as told:
        slamjax.crlb(model, one | {"teff": 30000.0}, ivar)
    with pytest.warns(SlamWarning, match="teff = 30000 is outside") as also:
        simulate(model, one | {"teff": 30000.0}, ivar)
    assert {told[0].filename, also[0].filename} == {__file__}


def test_known_and_fixed_labels_far_outside_are_told():
    model = giants_model()
    low, high = model.label_range[0]
    slamjax.sampling.known(model, {"teff": ([low - 200, np.nan, 4500], [100, 10, np.inf])})
    with pytest.warns(SlamWarning, match=r"teff of 1 of 2 points \(as far as 30000\) is outside") as told:
        slamjax.sampling.known(model, {"teff": ([30, 4.5] * u.kK, 100 * u.K)})
    assert told[0].filename == __file__
    np.testing.assert_array_equal(fixed_labels(model, {"teff": 4.5 * u.kK}, 2)[:, 0], [4500, 4500])
    with pytest.warns(SlamWarning, match="teff of 2 of 2 points"):
        fixed_labels(model, {"teff": high + 1}, 2)
    with pytest.raises(SlamError, match=r"'tef' is not a label of this model; it has .*; did you mean 'teff'"):
        fixed_labels(model, {"tef": 4500}, 2)


def test_spectra_are_drawn_at_labels_in_any_unit():
    model, stars = giants_model(), held_out()[:2]
    labels = slamjax.fit(model, stars, n_starts=1)
    in_kilokelvin = labels.copy()
    in_kilokelvin["teff"] = labels["teff"].to(u.kK)
    curves = [
        slamjax.plots.plot_spectra(model, stars, table, count=1).axes[0].lines[1].get_ydata()
        for table in (labels, in_kilokelvin)
    ]
    np.testing.assert_allclose(*curves, rtol=1e-5)
