"""`fit_visits`: the joint fit of visits, beside that of their stack."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import all_miles_model

import slamjax
from slamjax.forward.nuisances import Free, Nuisances
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model

LABELS = np.array([[5600.0, 4.3, -0.2], [5000.0, 4.5, 0.1]])
RV = np.array([-60.0, 30.0, 110.0, 40.0, 40.0])
OF = np.array(["a", "a", "a", "b", "b"])


@cache
def fitted():
    """Star a with three visits of different velocities, star b with two of the same."""
    model = prepared_model(all_miles_model())
    forward = model.with_nuisances(Nuisances(rv=Free(-300, 300)))
    labels = LABELS[(OF == "b").astype(int)]
    flux = np.nan_to_num(np.asarray(jax.jit(lambda x, v: forward(x, rv=v))(labels, RV)))
    rng = np.random.default_rng(1)
    ivar = np.where(np.asarray(forward.usable), 1e4, 0)
    common = np.asarray(
        model.noise.on_device().draw(jax.random.key(0), jnp.full((2, flux.shape[1]), jnp.inf, jnp.float32))
    )
    flux = flux + np.nan_to_num(common)[(OF == "b").astype(int)] + 0.01 * rng.normal(size=flux.shape)
    info = model.info
    spectra = Spectra(
        model.wave, flux, np.broadcast_to(ivar, flux.shape), {"id": OF}, info.wave_unit, medium=info.medium,
        frame="rest", fwhm=info.fwhm,
    )  # fmt: skip
    nuisances = Nuisances(rv=Free(-300, 300))
    return slamjax.fit_visits(model, spectra, "id", nuisances=nuisances, on_progress=False)


def test_both_fits_find_the_star():
    table = fitted().labels
    assert table["n_visits"].tolist() == [3, 2]
    for k, name in enumerate(("teff", "logg", "fe_h")):
        for suffix in ("", "_stack"):
            error = np.asarray(table[f"{name}{suffix}_err"], float)
            off = np.abs(np.asarray(table[f"{name}{suffix}"], float) - LABELS[:, k])
            assert np.all(off < 5 * np.where(np.isfinite(error), error, 0)), (name, suffix)
    assert np.all(np.asarray(table["flags_stack"]) & slamjax.Flag.NOT_CONVERGED == 0)


def test_velocities_of_visits_are_told_and_a_change_of_them():
    found = fitted()
    rv, error = (np.asarray(found.spectra[name], float) for name in ("rv", "rv_err"))
    assert np.all(np.abs(rv - RV) < 5 * error)
    variable = (np.asarray(found.labels["flags"]) & slamjax.Flag.VARIABLE_VELOCITY) > 0
    assert variable.tolist() == [True, False]


def test_errors_of_the_joint_fit_are_no_larger_than_those_of_the_stack():
    table = fitted().labels
    for name in ("teff", "logg", "fe_h"):
        assert np.all(np.asarray(table[f"{name}_err"]) < 1.1 * np.asarray(table[f"{name}_stack_err"]))


def test_it_is_not_known_whose_the_spectra_are():
    model = prepared_model(all_miles_model())
    spectra = Spectra(model.wave, np.ones((1, model.wave.size)), wave_unit=model.info.wave_unit)
    with pytest.raises(slamjax.SlamError, match="no column 'who'"):
        slamjax.fit_visits(model, spectra, "who")
