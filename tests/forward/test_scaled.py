"""The model on the device says the same as the model, in another unit of flux."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision
from models import LABELS, giants_model, held_out

from slamjax.forward import Free, Nuisances
from slamjax.forward.likelihood import chi2
from slamjax.forward.scaled import ScaledModel


def faint(model, factor):
    emulator = model.host_emulator
    scaled = dataclasses.replace(
        emulator, flux_mean=emulator.flux_mean * factor, flux_scale=emulator.flux_scale * factor
    )
    return dataclasses.replace(model, host_emulator=scaled, noise=model.noise.in_unit(1 / factor))


def test_chi2_does_not_depend_on_the_unit_even_where_float32_has_no_squares():
    model = giants_model()
    prepared, labels = model.prepare(held_out()[:4]), held_out()[:4].values(LABELS)
    expected = chi2(model.emulator, model.noise, labels, prepared.flux, prepared.ivar)
    tiny = faint(model, 2.0**-60)
    scaled = tiny.scaled()
    flux, ivar = (
        scaled.flux(prepared.flux.astype(float) * 2.0**-60),
        scaled.ivar(prepared.ivar.astype(float) * 2.0**120),
    )
    x = jnp.asarray(model.host_emulator.scaling(labels), scaled.dtype)
    residual = flux - scaled.emulator.at(x)
    found = jnp.sum(jnp.square(scaled.noise.inverse_covariance(ivar).whiten(residual)), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_scaled_model_is_made_once_per_precision():
    model = giants_model()
    assert model.scaled() is model.scaled()
    with in_precision("float64"):
        assert model.scaled().dtype == np.float64
    assert model.scaled().dtype == np.float32


def test_with_nuisances_the_box_has_their_bounds():
    scaled = giants_model().scaled(Nuisances(sigma_v=Free(0, 2000)))
    assert scaled.forward is scaled.emulator
    assert scaled.low.shape == scaled.high.shape == (len(LABELS) + 1,)
    assert giants_model().scaled().forward is None


@pytest.mark.slow
def test_absurd_pixels_stay_finite_and_stated_errors_stay_stated():
    scaled = giants_model().scaled()
    assert np.isfinite(np.square(scaled.flux(np.array([1e30, -1e30])))).all()
    ivar = scaled.ivar(np.array([0.0, np.inf, 1e300]))
    assert ivar[0] == 0
    assert np.isposinf(ivar[1])
    assert np.isfinite(ivar[2])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_models_of_nearly_as_many_stars_are_one_shape_and_predict_as_before(precision):
    """Each shape is compiled for, which takes longer than a small training and holds memory for good."""
    with in_precision(precision):
        model, host = giants_model(), giants_model().host_emulator
        fewer = dataclasses.replace(
            host,
            support=host.support[:-3],
            blocks=tuple(dataclasses.replace(block, dual=block.dual[:, :-3]) for block in host.blocks),
        )
        one, other = (ScaledModel.from_host(e, model.noise, model.training_labels) for e in (host, fewer))
        assert list(map(jnp.shape, jax.tree.leaves(one))) == list(map(jnp.shape, jax.tree.leaves(other)))
        x = jnp.asarray(model.training_labels.stars[:20])
        for scaled, emulator in ((one, host), (other, fewer)):
            plain = emulator.in_unit(scaled.unit).on_device()
            within = 1e-12 if precision == "float64" else 1e-4
            np.testing.assert_allclose(scaled.emulator.at(x), plain.at(x), rtol=within)
            np.testing.assert_allclose(
                scaled.emulator.at_with_jacobian(x)[1], plain.at_with_jacobian(x)[1], atol=within * 10
            )
