"""Spectra drawn from a model's own likelihood."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import Table
from scipy.stats import truncnorm

from slamjax._util.batching import fill_up, map_padded
from slamjax._util.jit import compiled
from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import Nuisances
from slamjax.model.model import Model
from slamjax.model.named_labels import LabelsLike, labels_of, warn_outside
from slamjax.noise.calibration import Calibration
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Stars per batch, and per batch with nuisances.
_BATCH, _MOVED_BATCH = 1024, 64


def prepared_model(model: Model) -> Model:
    """Copy a model for spectra that are prepared already, as `simulate` makes them: its recipe does nothing.

    An emulator predicts prepared flux (such as flux over continuum), and noise is added to that. The recipe of
    ``model`` would divide it by a continuum again, so that ``fit``, ``sample`` and ``validate`` take this copy instead.
    Emulator, noise, training labels and record are shared.

    Simulated noise has exactly the covariance Σ from which label errors are derived: χ² needs no scale and no star is
    noisier than others, so that the copy's calibration is the trivial one.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Model

    Examples
    --------
    >>> from slamjax.validation import prepared_model, simulate
    >>> spectra = simulate(model, labels, ivar)  # doctest: +SKIP
    >>> table = slamjax.fit(prepared_model(model), spectra)  # doctest: +SKIP
    """
    plain = dataclasses.replace(model.info, recipe=Recipe(), calibration=Calibration(chi2_limit=float("inf")))
    return dataclasses.replace(model, info=plain)


def simulate(
    model: Model,
    labels: LabelsLike,
    ivar: np.ndarray,
    *,
    seed: int = 0,
    table: Table | None = None,
    nuisances: Nuisances | None = None,
    values: Mapping[str, np.ndarray] | None = None,
    on_progress: Progress | bool | None = True,
) -> Spectra:
    """Draw spectra from the model's likelihood: f = emulator(labels) + n with n ~ N(0, Σ(ivar)).

    They are *prepared* spectra, for ``fit``, ``sample`` or ``validate`` with `prepared_model` of ``model``.

    Parameters
    ----------
    model : Model
    labels : (N, L) or (L,) array, mapping, or table
        In physical units: in the order of ``model.label_names``, by name, or as columns.
    ivar : (N, P) or (P,) array
        Inverse photon variance of the prepared flux; for real stars ``model.prepare(stars).ivar``. 0 makes a bad
        pixel, inf one without a stated error.
    seed : int
        Of the noise.
    table : Table, optional
        Further columns of the simulated stars.
    nuisances : Nuisances, optional
        Applied to the emulator's spectra before noise is added.
    values : dict of arrays, optional
        Of every free velocity (N,), km/s, and ``polynomial`` (N, degree + 1), as from `draw_nuisances`.
    on_progress : callable or bool
        Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    Spectra
        Their table holds the true labels, which a fit reports as <label>_ref, and ``values`` as true_<name>.

    Raises
    ------
    SlamError
        For labels or ivar of a wrong shape, or that are not finite or negative.

    Warns
    -----
    SlamWarning
        Of labels outside the training range.

    Examples
    --------
    >>> import numpy as np
    >>> import slamjax
    >>> from slamjax.validation import simulate
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> quadratic = slamjax.Polynomial()
    >>> model = slamjax.train(stars[:80], ["teff", "logg"], emulator=quadratic, recipe=recipe, noise="diagonal")
    >>> simulate(model, [[4800.0, 2.5], [4600.0, 2.1]], np.full(11, 1e4)).flux.shape
    (2, 11)
    """
    points = np.atleast_2d(checked_labels(model, labels))
    with reporter(on_progress) as report:
        report.stage("simulating spectra")
        return spectra_at(
            model, points, ivar, seed=seed, table=table, nuisances=nuisances, values=values, report=report
        )


def spectra_at(
    model: Model,
    points: np.ndarray,
    ivar: np.ndarray,
    *,
    seed: int,
    table: Table | None = None,
    nuisances: Nuisances | None = None,
    values: Mapping[str, np.ndarray] | None = None,
    report: Progress | None = None,
) -> Spectra:
    """`simulate` at labels (N, L) in the model's order, wherever they are."""
    n = len(points)
    ivar = checked_ivar(model, ivar, n)
    scaled = model.scaled()
    flux = np.zeros(ivar.shape)
    given = {name: np.asarray(value, float) for name, value in (values or {}).items()}
    forward = None if nuisances is None else model.with_nuisances(nuisances)
    for number, start in enumerate(range(0, n, _BATCH)):
        rows = np.arange(start, min(n, start + _BATCH))
        key = jax.random.fold_in(jax.random.key(seed), number)
        weights = jnp.asarray(scaled.ivar(ivar[fill_up(rows, min(n, _BATCH))]))
        drawn = scaled.unit * np.asarray(_draw(scaled.noise, key, weights)).astype(float)[: rows.size]
        moved = {name: value[rows] for name, value in given.items()}
        flux[rows] = drawn + (model.emulator(points[rows]) if forward is None else _moved(forward, points[rows], moved))
        if report is not None:
            report(start + rows.size, n)
    columns = Table(table, copy=True) if table is not None else Table({"id": np.arange(n)})
    for k, name in enumerate(model.label_names):
        columns[name] = points[:, k]
    for name, value in given.items():
        columns[f"true_{name}"] = value
    info = model.info
    return Spectra(
        model.wave,
        flux,
        np.where(model.trained, ivar, 0),
        columns,
        wave_unit=info.wave_unit,
        medium=info.medium,
        frame=info.frame,
        fwhm=info.fwhm,
        flux_unit=info.flux_unit,
        source="simulated spectra",
    )


def draw_nuisances(nuisances: Nuisances, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw nuisances from their priors, for `simulate`.

    Parameters
    ----------
    nuisances : Nuisances
    n : int
        Stars.
    seed : int

    Returns
    -------
    dict of arrays
        Free velocities (n,), km/s, and coefficients ``polynomial`` (n, degree + 1).

    Examples
    --------
    >>> import slamjax
    >>> from slamjax.validation import draw_nuisances
    >>> drawn = draw_nuisances(slamjax.Nuisances(rv=slamjax.Gaussian(0, 5), polynomial=2), 4)
    >>> {name: values.shape for name, values in drawn.items()}
    {'rv': (4,), 'polynomial': (4, 3)}
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, np.ndarray] = {}
    for name in nuisances.free:
        prior, (low, high) = getattr(nuisances, name), nuisances.bounds(name)
        if prior.is_gaussian:
            low, high = ((end - prior.mean) / prior.sd for end in (low, high))
            drawn[name] = truncnorm.rvs(low, high, prior.mean, prior.sd, size=n, random_state=rng)
        else:
            drawn[name] = rng.uniform(low, high, n)
    if nuisances.polynomial is not None:
        drawn["polynomial"] = nuisances.polynomial_sd * rng.normal(size=(n, nuisances.n_coefficients))
        drawn["polynomial"][:, 0] += 1
    return drawn


def _moved(forward: ForwardEmulator, labels: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
    """(N, P) flux, a few stars at a time to limit the memory of their Fourier transforms."""
    flux = map_padded(lambda *block: _predict(forward, *block), (labels, values), _MOVED_BATCH)
    return flux.astype(float)


@compiled
def _predict(forward: ForwardEmulator, labels: Any, values: dict[str, Any]) -> jax.Array:
    return jnp.nan_to_num(forward(labels, **values))


@compiled
def _draw(noise: Any, key: jax.Array, ivar: jax.Array) -> jax.Array:
    return noise.draw(key, ivar)


def checked_labels(model: Model, labels: LabelsLike) -> np.ndarray:
    """(N, L) or (L,) float64 labels, all finite; warns of those outside the training range."""
    points = np.asarray(labels_of(model, labels), float)
    if points.ndim > 2:
        raise SlamError(
            f"labels have shape {points.shape}; give (N, L) or (L,), the labels {', '.join(model.label_names)}"
        )
    if not np.all(np.isfinite(points)):
        raise SlamError("labels are not all finite; choose stars with known labels")
    warn_outside(model, points, stacklevel=3)
    return points


def checked_ivar(model: Model, ivar: np.ndarray, n: int) -> np.ndarray:
    """(N, P) float64 inverse variances on the model's grid; (P,) serve all stars."""
    ivar = np.asarray(ivar, float)
    if ivar.shape not in ((model.wave.size,), (n, model.wave.size)):
        raise SlamError(
            f"ivar has shape {ivar.shape}; give ({n}, {model.wave.size}), stars and pixels of the model, "
            "as model.prepare(stars).ivar"
        )
    if np.any(np.isnan(ivar)) or np.any(ivar < 0):
        raise SlamError("ivar has negative values or NaN; mark bad pixels by 0")
    return np.broadcast_to(ivar, (n, model.wave.size))
