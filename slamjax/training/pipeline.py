"""``train``: from spectra with known labels to a `Model`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import platform
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from astropy.table import Table

from slamjax.domain import Domain
from slamjax.errors import SlamError, SlamWarning
from slamjax.kernels import check_kernel
from slamjax.model import Model, ModelInfo, TrainingRecord
from slamjax.prepare.recipe import Recipe
from slamjax.scaling import METHODS, LabelScaling, Method, location_and_width
from slamjax.spectra import Spectra
from slamjax.training.calibration import NOISES, NoiseKind, choose_noise, diagonal
from slamjax.training.columns import chosen_solver
from slamjax.training.fits import Scaled, fit_jointly, fit_pixels
from slamjax.training.search import Candidate, Search, candidates, make_folds
from slamjax.training.svr import PixelFit, SolverName, SvrSettings
from slamjax.typing import Progress

Weights = Literal["ivar", "uniform"]

#: No star weighs more in a pixel than this many times the median one.
_HEAVIEST = 100.0


def train(
    spectra: Spectra,
    labels: Sequence[str],
    *,
    recipe: Recipe | None = None,
    kernel: str = "rbf",
    C: Any = 1.0,
    epsilon: Any = 0.1,
    gamma: Any = "scale",
    degree: int = 3,
    coef0: float = 0.0,
    search: Search = "grid",
    n_iter: int = 20,
    cv: int = 5,
    weights: Weights = "ivar",
    noise: NoiseKind = "auto",
    label_scaling: Method = "standard",
    flux_scaling: Method = "standard",
    log_labels: Sequence[str] = (),
    n_train: int | None = None,
    seed: int = 0,
    min_stars: int | None = None,
    tol: float = 1e-3,
    max_iter: int = -1,
    solver: SolverName = "auto",
    n_jobs: int = -1,
    progress: Progress | None = None,
) -> Model:
    """Train one SVR a pixel and export them as a `Model`.

    Parameters
    ----------
    spectra : Spectra
        Stars whose ``table`` holds the labels. A star with a label that is not finite is left out, with a warning.
    labels : sequence of str
        Columns to learn from, in the order the model will take them.
    recipe : Recipe
        How spectra are prepared, now and for every new star; default: as they are.
    kernel : "rbf", "linear", "poly" or "sigmoid"
        As in scikit-learn, with ``degree`` and ``coef0``.
    C, epsilon, gamma : number, list, or scipy distribution (random search)
        SVR hyper-parameters in scaled flux and labels; several are chosen among pixel by pixel by cross-validation.
        γ may be "scale" or "auto".
    search, n_iter : "grid", "random" or "joint", and how many random draws
        Grid and random search choose pixel by pixel by mean squared error; joint tries the grid and chooses one
        combination for all pixels: the one that gives the known labels of held-out stars the largest probability.
    cv : int
        Shuffled folds; held-out stars give the scores and the model error.
    weights : "ivar" or "uniform"
        A star's weight in a pixel. With "ivar", C is multiplied by ivar over the pixel's mean ivar. Either way a
        bad pixel leaves the star out of that pixel only.
    noise : "auto", "lowrank" or "diagonal"
        How residuals of held-out stars are modelled: pixels that go along with each other, or each by itself (as
        published; label errors then are too small where they do). auto takes what gives the known labels of held-out
        stars the larger probability.
    label_scaling, flux_scaling : "standard" or "robust"
        Mean and standard deviation, or percentiles.
    log_labels : sequence of str
        Labels that are learnt in log10.
    n_train : int, optional
        Draw that many of the usable stars by ``seed``.
    min_stars : int, optional
        A pixel with fewer good stars is masked; default: the largest of 10, 2 cv and 5 per label.
    tol, max_iter : libsvm's stopping tolerance and iteration limit (-1: none)
    solver : "auto", "batched" or "sklearn"
        batched solves all pixels, folds, C and ε of one γ on one kernel matrix, to the same optimality conditions;
        compiled by numba on CPUs (``pip install "slamjax[fast]"``), else in JAX. auto takes it where it is compiled
        and the problem is not small. The sigmoid kernel always goes to scikit-learn.
    n_jobs : int
        Parallel workers; -1: all cores.
    progress : callable, optional
        Called with (pixels done, pixels in all).

    Returns
    -------
    Model

    Raises
    ------
    SlamError
        For missing columns, too few stars, a constant label, or settings no SVR can have.
    """
    _check_numbers(degree, coef0, n_jobs, seed, min_stars, tol, max_iter)
    check_kernel(kernel)
    if noise not in NOISES:
        raise SlamError(f"unknown noise {noise!r}; choose one of {', '.join(NOISES)}")
    names = _label_names(labels)
    spectra.require(names)
    chosen = _drawn(_usable(spectra, names), n_train, seed)
    values = chosen.values(names)
    as_log = (log_labels,) if isinstance(log_labels, str) else log_labels
    scaling = LabelScaling.of(values, names, label_scaling, as_log)
    x = np.asarray(scaling(values))
    grid: Search = "grid" if search == "joint" else search
    found = candidates(x, C, epsilon, gamma, search=grid, n_iter=n_iter, seed=seed)
    fold = make_folds(chosen.star_groups(), cv, seed)
    recipe = (recipe if recipe is not None else Recipe()).learn(chosen)
    prepared = recipe(chosen)

    flux_mean, flux_scale, y = _scaled_flux(prepared, flux_scaling)
    weight = _weights(prepared, weights)
    needed = max(10, 2 * cv, 5 * len(names)) if min_stars is None else min_stars
    settings = SvrSettings(kernel, degree, float(coef0), tol, max_iter, needed)
    columns = y.shape[1] * (len(found) * cv + 1)
    settings = dataclasses.replace(settings, solver=chosen_solver(solver, settings, columns, len(chosen)))
    scaled = Scaled(x, y, weight, scaling, flux_mean, flux_scale, np.where(prepared.good, prepared.ivar, 0))
    domain = Domain.of(x)
    if search == "joint":
        fits, scores, report = fit_jointly(scaled, domain, fold, found, settings, n_jobs, seed, progress)
    else:
        (fits, report), scores = fit_pixels(scaled, fold, found, settings, n_jobs, progress), None
    trained = np.array([fit.best >= 0 for fit in fits])
    if not trained.any():
        reasons = ", ".join(sorted({fit.status for fit in fits}))
        most = max(fit.n_train for fit in fits)
        raise SlamError(
            f"no pixel could be trained ({reasons}): of {len(chosen)} stars at most {most} are good in a pixel and "
            f"{needed} are needed; give more stars, or look at the bad-pixel rules"
        )

    _tell_untrained(prepared.wave, fits, str(prepared.wave_unit))
    exact = scaled.emulator(fits, found, settings)
    held_out = scaled.held_out(fits, fold, found, settings)
    model_noise, calibration = choose_noise(noise, exact, domain, held_out, seed=seed)
    variance = np.asarray(diagonal(exact, held_out).model_variance)
    tried = Table({name: [getattr(c, name) for c in found] for name in ("C", "epsilon", "gamma")})
    if scores is not None:
        tried["joint_score"] = scores
    info = ModelInfo(
        label_names=names,
        label_units=tuple(_unit(chosen, name) for name in names),
        wave=prepared.wave,
        wave_unit=str(prepared.wave_unit),
        medium=prepared.medium,
        frame=prepared.frame,
        fwhm=prepared.fwhm,
        recipe=recipe,
        pixels=_pixel_table(prepared.wave, fits, found, np.sqrt(np.where(trained, variance, np.nan))),
        candidates=tried,
        cv_scores=np.stack([fit.scores for fit in fits]),
        record=_record(chosen),
        has_errors=prepared.has_errors,
        calibration=calibration,
        provenance=_provenance(
            n_stars=len(chosen),
            selection=spectra.selection,
            training_sha256=_digest(chosen, values),
            n_train=n_train,
            log_labels=[name for name, log in zip(names, scaling.log, strict=True) if log],
            search=search,
            n_iter=n_iter,
            cv=cv,
            min_stars=needed,
            max_iter=max_iter,
            tol=tol,
            kernel=kernel,
            degree=degree,
            coef0=coef0,
            noise=noise,
            weights=weights if prepared.has_errors else "uniform (no errors stated)",
            label_scaling=label_scaling,
            flux_scaling=flux_scaling,
            seed=seed,
            solver=vars(report),
        ),
    )
    return Model(exact, model_noise, domain, info)


def _check_numbers(
    degree: int, coef0: float, n_jobs: int, seed: int, min_stars: int | None, tol: float, max_iter: int
) -> None:
    """What scikit-learn, joblib or NumPy would refuse later, and less clearly."""
    if degree < 1:
        raise SlamError(f"degree is {degree}; give 1 or more")
    if not np.isfinite(coef0):
        raise SlamError(f"coef0 is {coef0}; give a finite number")
    if not tol > 0:
        raise SlamError(f"tol is {tol}; give a number above 0")
    if max_iter != -1 and max_iter < 1:
        raise SlamError(f"max_iter is {max_iter}; give 1 or more, or -1 for no limit")
    if n_jobs == 0:
        raise SlamError("n_jobs is 0; give a number of workers, or -1 for all cores")
    if seed < 0:
        raise SlamError(f"seed is {seed}; give 0 or more")
    if min_stars is not None and min_stars < 2:
        raise SlamError(f"min_stars is {min_stars}; give 2 or more")


def _label_names(labels: Sequence[str]) -> tuple[str, ...]:
    names = (labels,) if isinstance(labels, str) else tuple(labels)
    if not names:
        raise SlamError("no labels are given; name at least one column, as in labels=['teff', 'logg']")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SlamError(f"label {', '.join(map(repr, repeated))} is given twice; name each once")
    return names


def _usable(spectra: Spectra, names: Sequence[str]) -> Spectra:
    """The stars whose labels are all finite and that have a good pixel."""
    values = spectra.values(names)
    finite = np.all(np.isfinite(values), axis=1)
    seen = spectra.good.any(axis=1)
    kept = finite & seen
    if not finite.all():
        counts = ", ".join(
            f"{name}: {int(n)}" for name, n in zip(names, (~np.isfinite(values)).sum(0), strict=True) if n
        )
        warnings.warn(
            f"{int((~finite).sum())} of {len(spectra)} stars have a label that is not given and are left out of "
            f"training ({counts})",
            SlamWarning,
            stacklevel=3,
        )
    if not seen.all():
        warnings.warn(
            f"{int((~seen).sum())} of {len(spectra)} spectra have no good pixel and are left out of training "
            f"(first: row {spectra.rows[~seen][0]})",
            SlamWarning,
            stacklevel=3,
        )
    if kept.sum() < 2:
        raise SlamError(
            f"{int(kept.sum())} of {len(spectra)} stars of {spectra.source} can train "
            f"(all of {', '.join(names)} known, some good pixel); give at least a few dozen"
        )
    return spectra[kept]


def _drawn(spectra: Spectra, n_train: int | None, seed: int) -> Spectra:
    if n_train is None:
        return spectra
    if not isinstance(n_train, (int, np.integer)) or not 2 <= n_train <= len(spectra):
        raise SlamError(f"n_train is {n_train} but {len(spectra)} stars can train; give 2 to {len(spectra)}")
    rows = np.random.default_rng(seed).choice(len(spectra), n_train, replace=False)
    return spectra[np.sort(rows)]


def _scaled_flux(spectra: Spectra, method: Method) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and scale of each pixel over its good stars, and the flux in those units (0 where bad)."""
    if method not in METHODS:
        raise SlamError(f"unknown scaling {method!r}; choose one of {', '.join(METHODS)}")
    good = spectra.good
    some = good.any(axis=0)
    flux = np.where(good, spectra.flux.astype(float), np.nan)
    flux[0, ~some] = 0.0
    mean, scale = location_and_width(flux, method)
    scale = np.where(scale > 0, scale, 1.0)
    return mean, scale, np.where(good, (spectra.flux - mean) / scale, 0.0)


def _weights(spectra: Spectra, kind: Weights) -> np.ndarray:
    """(N, P) weights of mean 1 over each pixel's good stars; 0 for bad pixels."""
    good = spectra.good
    if kind not in ("ivar", "uniform"):
        raise SlamError(f"unknown weights {kind!r}; choose ivar or uniform")
    if kind == "uniform" or not spectra.has_errors:
        return good.astype(float)
    ivar = spectra.ivar.astype(float)
    stated = good & np.isfinite(ivar)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel that states no error has no median
        typical = np.nan_to_num(np.nanmedian(np.where(stated, ivar, np.nan), axis=0))
    # one absurd error must not leave the other stars without weight
    ivar = np.where(stated, np.minimum(ivar, _HEAVIEST * typical), ivar)
    mean = np.sum(np.where(stated, ivar, 0), axis=0) / np.maximum(stated.sum(axis=0), 1)
    # a pixel whose error is not stated counts like the average one
    return np.where(stated, ivar / np.where(mean > 0, mean, 1), good.astype(float))


def _pixel_table(
    wave: np.ndarray, fits: Sequence[PixelFit], found: Sequence[Candidate], model_error: np.ndarray
) -> Table:
    def chosen(name: str) -> list[float]:
        return [getattr(found[fit.best], name) if fit.best >= 0 else np.nan for fit in fits]

    return Table(
        {
            "wave": wave,
            "C": chosen("C"),
            "epsilon": chosen("epsilon"),
            "gamma": chosen("gamma"),
            "cv_mse": [fit.scores[fit.best] if fit.best >= 0 else np.nan for fit in fits],
            "model_error": model_error,
            "n_train": [fit.n_train for fit in fits],
            "n_support": [int(np.count_nonzero(fit.dual)) for fit in fits],
            "status": [fit.status for fit in fits],
        }
    )


def _tell_untrained(wave: np.ndarray, fits: Sequence[PixelFit], unit: str) -> None:
    """One warning for each reason why pixels are masked."""
    statuses = np.array([fit.status for fit in fits])
    for status in np.unique(statuses[np.array([fit.best < 0 for fit in fits])]):
        at = wave[statuses == status]
        warnings.warn(
            f"{at.size} of {wave.size} pixels are masked, {status} ({at[0]:g} to {at[-1]:g} {unit}); they predict NaN",
            SlamWarning,
            stacklevel=4,
        )


def _digest(spectra: Spectra, labels: np.ndarray) -> str:
    """SHA-256 of the training stars' flux and labels."""
    digest = hashlib.sha256("".join(spectra.digests()).encode())
    digest.update(np.ascontiguousarray(labels, dtype="<f8").tobytes())
    return digest.hexdigest()


def _record(spectra: Spectra) -> TrainingRecord:
    columns = spectra.columns()
    return TrainingRecord(
        source=spectra.source,
        rows=np.asarray(spectra.rows),
        digests=spectra.digests(),
        identifiers={name: columns[name] for name in spectra.identifiers()},
    )


def _unit(spectra: Spectra, name: str) -> str:
    unit = spectra.table[name].unit
    return "" if unit is None else str(unit)


def _provenance(**settings: Any) -> dict[str, Any]:
    packages = ("slamjax", "scikit-learn", "numpy", "jax")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "settings": settings,
    }
