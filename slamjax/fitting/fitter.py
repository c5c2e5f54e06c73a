"""``fit``: labels of many stars at once."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import QTable, vstack

from slamjax._util.jit import compiled
from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting.batches import minimise
from slamjax.fitting.gradient import GradientMinimiser
from slamjax.fitting.label_table import label_table
from slamjax.fitting.levenberg_marquardt import LevenbergMarquardt
from slamjax.fitting.photon_noise import photon_noise_correction
from slamjax.fitting.postprocess import FitResult, best_starts, summarise
from slamjax.fitting.problem import LOSSES, Loss, Minimiser, Problem
from slamjax.fitting.rest_frame import fit_observed_frame
from slamjax.fitting.rv_starts import ShiftedTemplates, choose_shifted_starts, make_shifted_templates
from slamjax.fitting.starts import Templates, choose_starts, make_templates
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import Nuisances
from slamjax.model.model import Model
from slamjax.noise.models import ivar_in_unit
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import check_units
from slamjax.typing import LogPrior, Progress

Method = Literal["lm", "adam", "lbfgs"]
_MAX_ITER = {"lm": 60, "adam": 400, "lbfgs": 60}
#: Bytes of flux and Jacobian of a batch that stay near a CPU's cores between one step and the next, and the least
#: number of stars that make good matrix products all the same. Accelerators take all that memory holds.
_NEAR, _FEWEST = 16 * 2**20, 64


def fit(
    model: Model,
    spectra: Spectra,
    *,
    method: Method = "lm",
    n_starts: int = 3,
    max_iter: int | None = None,
    loss: Loss = "chi2",
    log_prior: LogPrior | None = None,
    nuisances: Nuisances | None = None,
    exact: bool = False,
    memory: float = 1.0,
    on_progress: Progress | None = None,
) -> QTable:
    """Labels, errors and flags of every spectrum.

    Each star starts from its best-χ² training templates, ``n_starts`` of them far apart, and keeps the best end.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        As read; they are prepared here by the model's own recipe. Where they are as observed and the model knows stars
        at rest, the velocity is measured (`slamjax.measure_rv`) and refined beside the labels (``rv``, ``rv_err``).
    method : "lm", "adam" or "lbfgs"
        Levenberg-Marquardt for least squares; the others (optax) for objectives with a prior or a robust loss.
    n_starts : int
    max_iter : int, optional
        Most iterations a start; default 60 (lm), 400 (adam), 60 (lbfgs).
    loss : "chi2" or "soft_l1"
        soft_l1 grows with |residual| only, so that a few wild pixels do not pull (adam and lbfgs).
    log_prior : callable, optional
        ln prior of one star's labels (L,) in physical units, written in jax.numpy (adam and lbfgs). The same
        function object compiles once.
    nuisances : Nuisances, optional
        What shapes the spectra beside their labels: velocity, broadening, rotation, a polynomial (lm). Label errors
        then hold what is not known of them. Columns ``rv``, ``rv_err``, ``sigma_v``, … (km/s) and ``polynomial``
        (Legendre coefficients) tell what was found.
    exact : bool
        Use the emulator as it was trained. Else a large one is compressed first where that moves no label by more
        than 1 % of its error (`slamjax.emulators.compression`).
    memory : float
        GiB that a batch may take on the device.
    on_progress : callable, optional
        Called with (stars done, stars in all).

    Returns
    -------
    astropy QTable
        One row a spectrum, see `slamjax.fitting.label_table.label_table`; ``flags`` is 0 for a good row
        (`slamjax.Flag`). A failed fit has NaN labels and infinite errors.

    Raises
    ------
    SlamError
        If the spectra do not cover the model, or the options do not go together.
    """
    if not isinstance(spectra, Spectra):
        raise SlamError(f"spectra are {type(spectra).__name__}; read them first (slamjax.read, or slamjax.fit_files)")
    nuisances = nuisances if nuisances is not None and nuisances.anything else None
    minimiser = _minimiser(method, max_iter, loss, log_prior)
    if nuisances is not None and method != "lm":
        raise SlamError(f"nuisances are fitted by method='lm', not by {method!r}")
    if n_starts < 1:
        raise SlamError(f"n_starts is {n_starts}; give at least 1")
    if not memory > 0:
        raise SlamError(f"memory is {memory} GiB; give more than 0")
    if len(spectra) == 0:
        raise SlamError(f"{spectra.source} holds no spectra to fit")
    moving = model.needs_rv(spectra)
    # wrong wavelengths are told before anything is computed
    model.prepare(spectra[:1], np.zeros(1) if moving else None)
    check_units(model.label_names, model.info.label_units, spectra)
    model = model if exact else model.quick()
    unit, problem = _problem(model, loss, log_prior, nuisances)
    templates: Templates | ShiftedTemplates
    if nuisances is None:
        templates = make_templates(problem, np.asarray(model.training_labels.stars))
    else:
        templates = make_shifted_templates(problem, np.asarray(model.training_labels.stars), model.wave)
    slots, block, chunk = _batch(model, memory, method, nuisances)
    parts: list[QTable] = []
    for start in range(0, len(spectra), chunk):
        some = spectra[start : start + chunk]

        def told(done: int, start: int = start, n: int = len(some)) -> None:
            if on_progress is not None:
                on_progress(start + min(n, done // n_starts), len(spectra))

        def fit_at(
            stars: Spectra, velocity: np.ndarray | None, told: Any = told
        ) -> tuple[FitResult, np.ndarray, np.ndarray, np.ndarray]:
            place = (slots, block)
            return _fit_chunk(model, problem, templates, minimiser, stars, velocity, unit, n_starts, place, told)

        velocity = None
        if moving and (nuisances is None or nuisances.rv is None):
            outcome, snr, velocity = fit_observed_frame(model, problem, some, fit_at, refined=nuisances is None)
        else:  # at rest, or the fit itself has a velocity
            outcome, snr, _, _ = fit_at(some, np.zeros(len(some)) if moving else None)
        fields = _fields(outcome) | {"snr": snr, "velocity": velocity}
        parts.append(label_table(model.label_names, model.info.label_units, some, **fields))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # identical meta of the parts
        table = parts[0] if len(parts) == 1 else vstack(parts, metadata_conflicts="silent")
    _warn_without_errors(model, spectra)
    return table


def _fields(outcome: FitResult) -> dict[str, Any]:
    return {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}


def _minimiser(method: str, max_iter: int | None, loss: str, log_prior: LogPrior | None) -> Minimiser:
    if method not in _MAX_ITER:
        raise SlamError(f"unknown method {method!r}; choose one of {', '.join(_MAX_ITER)}")
    if loss not in LOSSES:
        raise SlamError(f"unknown loss {loss!r}; choose one of {', '.join(LOSSES)}")
    limit = _MAX_ITER[method] if max_iter is None else max_iter
    if limit < 1:
        raise SlamError(f"max_iter is {max_iter}; give at least 1")
    if method == "lm":
        if loss != "chi2" or log_prior is not None:
            raise SlamError(
                "method='lm' minimises sums of squares only; with a prior or another loss use method='lbfgs'"
            )
        return LevenbergMarquardt(max_iter=limit)
    if method == "lbfgs":
        return GradientMinimiser("lbfgs", limit, stride=5)
    return GradientMinimiser("adam", limit, stride=20)


def _problem(
    model: Model, loss: Loss, log_prior: LogPrior | None, nuisances: Nuisances | None
) -> tuple[float, Problem]:
    """The problem on the device, in a unit of flux near the spectra's spread."""
    unit = model.host_emulator.flux_unit()
    emulator: Any = model.host_emulator.in_unit(unit)
    noise, low, high = (
        model.noise.in_unit(unit),
        np.asarray(model.training_labels.low),
        np.asarray(model.training_labels.high),
    )
    if nuisances is not None:
        emulator = ForwardEmulator.around(emulator, model.wave, nuisances)
        own_low, own_high = emulator.bounds()
        low, high = np.concatenate([low, own_low]), np.concatenate([high, own_high])
    problem = Problem(emulator, noise, low, high, loss, log_prior)  # type: ignore[arg-type]
    return unit, jax.tree_util.tree_map(jnp.asarray, problem)


def _batch(model: Model, memory: float, method: str, nuisances: Nuisances | None) -> tuple[int, int, int]:
    """Places in a batch, stars whose starts are chosen at once, stars prepared at once, within the memory budget."""
    size = jax.dtypes.canonicalize_dtype(float).itemsize
    n_labels, n_pix = model.host_emulator.n_labels, model.wave.size
    n_support, n_stars = model.host_emulator.n_terms, len(model.training_labels.stars)
    groups = model.host_emulator.n_groups
    rows = n_labels + 1
    if nuisances is not None:  # rows of the velocities and of the polynomial, and all of them in Fourier space
        rows += len(nuisances.free) + nuisances.n_coefficients
        n_pix *= 4 if nuisances.present else 1
    one = size * ((3 * rows) * n_support + (4 * rows + 4 * groups) * n_pix)
    if method != "lm":
        one *= 3  # reverse mode keeps what it passed
    budget = memory * 2**30
    block = int(np.clip(budget / one, 1, 1024))
    chunk = int(np.clip(budget / (size * (6 * n_pix + 4 * min(n_stars, 2048))), block, 16384))
    slots = block
    if jax.default_backend() == "cpu":
        slots = int(np.clip(_NEAR / (size * rows * n_pix), min(_FEWEST, block), block))
    # powers of two keep compiled shapes few
    return _power_of_two(slots), _power_of_two(block), chunk


def _power_of_two(n: int) -> int:
    """The largest that is at most n."""
    return 1 << (n.bit_length() - 1)


def _fit_chunk(
    model: Model,
    problem: Problem,
    templates: Templates | ShiftedTemplates,
    minimiser: Minimiser,
    spectra: Spectra,
    velocity: np.ndarray | None,
    unit: float,
    n_starts: int,
    batch: tuple[int, int],
    told: Any,
) -> tuple[FitResult, np.ndarray, np.ndarray, np.ndarray]:
    """FitResult and S/N of some stars, and their prepared flux and ivar."""
    prepared = model.prepare(spectra, velocity)
    dtype = jax.dtypes.canonicalize_dtype(float)
    # beyond a million times the stars' spread a pixel is absurd either way, and its square stays finite
    flux = np.clip(prepared.flux / unit, -1e6, 1e6).astype(dtype)
    forward = problem.emulator if isinstance(problem.emulator, ForwardEmulator) else None
    good = prepared.good & (model.trained if forward is None else np.asarray(forward.usable))
    ivar = ivar_in_unit(np.where(good, prepared.ivar, 0), unit)
    n, (slots, block) = len(spectra), batch
    starts = np.concatenate(
        [
            _starts(problem, templates, flux[i : i + block], ivar[i : i + block], n_starts, block)
            for i in range(0, n, block)
        ]
    )
    summary = minimise(
        minimiser,
        problem,
        np.swapaxes(starts, 0, 1).reshape(n * n_starts, -1),
        flux,
        ivar,
        slots,
        told,
    )
    n_pix = good.sum(axis=1)
    no_errors = ~np.any(good & np.isfinite(prepared.ivar), axis=1)
    ends = np.asarray(summary.x).reshape(n_starts, n, -1)[best_starts(summary, n_starts), np.arange(n)]
    photons = None
    if model.info.calibration.model_factor != 1 and not no_errors.all():
        photons = photon_noise_correction(problem, len(model.label_names), ends, flux, ivar)
    outcome = summarise(model, summary, n_starts, n_pix, no_errors, forward, photons)
    if forward is not None and forward.terms is not None:
        outcome.nuisances["polynomial"] = _polynomials(problem, ends, flux, ivar, slots)
        outcome.nuisances["polynomial"][~np.isfinite(outcome.labels).all(axis=1)] = np.nan
    return outcome, prepared.snr(), flux, ivar


def _polynomials(problem: Problem, x: np.ndarray, flux: np.ndarray, ivar: np.ndarray, block: int) -> np.ndarray:
    """(N, n + 1) coefficients at each star's parameters (N, L + V), in blocks of one size."""
    parts = []
    for start in range(0, len(x), block):
        rows = np.arange(start, min(start + block, len(x)))
        padded = np.concatenate([rows, np.full(block - rows.size, rows[0])])
        parts.append(np.asarray(_coefficients(problem, x[padded], flux[padded], ivar[padded]), float)[: rows.size])
    return np.concatenate(parts)


@compiled
def _coefficients(problem: Problem, x: Any, flux: Any, ivar: Any) -> jax.Array:
    forward: Any = problem.emulator
    inv_cov = jax.vmap(problem.noise.inverse_covariance)(ivar)
    return jax.vmap(forward.coefficients)(inv_cov, x, flux)


def _starts(
    problem: Problem,
    templates: Templates | ShiftedTemplates,
    flux: np.ndarray,
    ivar: np.ndarray,
    n_starts: int,
    block: int,
) -> np.ndarray:
    """`choose_starts`, or with nuisances `choose_shifted_starts`, in blocks of one size, so that it compiles once."""
    n = len(flux)
    size = min(block, 1 << (n - 1).bit_length())
    rows = np.concatenate([np.arange(n), np.zeros(size - n, dtype=int)])
    some = jnp.asarray(flux[rows]), jnp.asarray(ivar[rows])
    if isinstance(templates, Templates):
        return np.asarray(choose_starts(problem, templates, *some, n_starts))[:n]
    return np.asarray(choose_shifted_starts(problem, templates, *some, n_starts))[:n]


def _warn_without_errors(model: Model, spectra: Spectra) -> None:
    if model.info.has_errors and not spectra.has_errors and spectra.good.any():
        warnings.warn(
            f"{spectra.source} states no flux errors though the model's training spectra did; label errors hold "
            "the model error only (flag NO_ERRORS)",
            SlamWarning,
            stacklevel=3,
        )
