"""``train``: from spectra with known labels to a `Model`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax.emulators.kernels import check_kernel
from slamjax.emulators.polynomial import exponents_of
from slamjax.emulators.scaling import LabelScaling, Method
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.model.info import ModelInfo, TrainingRecord
from slamjax.model.model import Model
from slamjax.preprocessing.recipe import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.training.data import Weights, drawn, label_names, scaled_flux, star_weights, tell_moving, usable
from slamjax.training.label_masks import allowed_labels, windows_of
from slamjax.training.learners import (
    EMULATORS,
    EmulatorName,
    Learner,
    Learnt,
    PolynomialLearner,
    SvrLearner,
    learn_jointly,
)
from slamjax.training.noise_calibration import NOISES, NoiseKind, choose_noise, diagonal
from slamjax.training.search import Search, candidates, make_folds, ridges
from slamjax.training.svr.pixel import SolverName, SvrSettings
from slamjax.training.svr.pixels import Scaled
from slamjax.training.svr.shared_kernel import chosen_solver
from slamjax.typing import Progress

#: Status of a pixel that the recipe leaves out.
MASKED = "masked by the recipe"
#: The degree of a polynomial, of an emulator's and of a kernel's, where none is given.
_DEGREE = {"polynomial": 2, "svr": 3}
#: What the options of an SVR are where they are not given.
_SVR_DEFAULTS = {"kernel": "rbf", "C": 1.0, "epsilon": 0.1, "gamma": "scale", "coef0": 0.0}


def train(
    spectra: Spectra,
    labels: Sequence[str],
    *,
    recipe: Recipe | None = None,
    emulator: EmulatorName = "svr",
    kernel: str = "rbf",
    C: Any = 1.0,
    epsilon: Any = 0.1,
    gamma: Any = "scale",
    degree: int | None = None,
    coef0: float = 0.0,
    ridge: Any = None,
    label_masks: Mapping[str, Any] | None = None,
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
    on_progress: Progress | None = None,
) -> Model:
    """Train one SVR a pixel (SLAM), or one polynomial a pixel (The Cannon), and export them as a `Model`.

    Parameters
    ----------
    spectra : Spectra
        Stars whose ``table`` holds the labels. A star with a label that is not finite is left out, with a warning.
    labels : sequence of str
        Columns to learn from, in the order the model will take them.
    recipe : Recipe
        How spectra are prepared, now and for every new star; default: as they are.
    emulator : "svr" or "polynomial"
        SLAM, or The Cannon's polynomial in the labels by least squares. All else, noise and calibration of errors
        included, is the same.
    kernel : "rbf", "linear", "poly" or "sigmoid"
        As in scikit-learn, with ``degree`` (default 3) and ``coef0``.
    C, epsilon, gamma : number, list, or scipy distribution (random search)
        SVR hyper-parameters in scaled flux and labels; several are chosen among pixel by pixel by cross-validation.
        γ may be "scale" or "auto".
    degree : int, optional
        Of the polynomial emulator (default 2, a quadratic), or of the poly kernel.
    ridge : number, list, or scipy distribution (random search)
        Of the polynomial: the penalty of all coefficients but the constant one, in scaled flux and labels
        (scikit-learn's alpha; 0: plain least squares); several are chosen among pixel by pixel by cross-validation.
        Default: 0, 0.1, 1, 10, 100.
    label_masks : mapping of label to windows or mask, optional
        Where a label may be used: windows ``[(low, high), ...]`` of wavelengths in the prepared spectra's unit, or a
        (P,) bool array that is True there. At other pixels the flux does not depend on that label at all, so that
        they do not inform it. A label that is not named may be used everywhere.
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
        A pixel with fewer good stars is masked; default: the largest of 10, 2 cv and 5 per label,
        for a polynomial 2 per coefficient.
    tol, max_iter : libsvm's stopping tolerance and iteration limit (-1: none)
    solver : "auto", "batched" or "sklearn"
        batched solves all pixels, folds, C and ε of one γ on one kernel matrix, to the same optimality conditions;
        compiled by numba on CPUs (``pip install "slamjax[fast]"``), else in JAX. auto takes it where it is compiled
        and the problem is not small. The sigmoid kernel always goes to scikit-learn.
    n_jobs : int
        Parallel workers; -1: all cores.
    on_progress : callable, optional
        Called with (pixels done, pixels in all).

    Returns
    -------
    Model

    Raises
    ------
    SlamError
        For missing columns, too few stars, a constant label, or settings no SVR can have.
    """
    _check_emulator(emulator, ridge, kernel=kernel, C=C, epsilon=epsilon, gamma=gamma, coef0=coef0)
    degree = _DEGREE[emulator] if degree is None else degree
    _check_numbers(degree, coef0, n_jobs, seed, min_stars, tol, max_iter)
    check_kernel(kernel)
    if noise not in NOISES:
        raise SlamError(f"unknown noise {noise!r}; choose one of {', '.join(NOISES)}")
    names = label_names(labels)
    spectra.require(names)
    chosen = drawn(usable(spectra, names), n_train, seed)
    values = chosen.values(names)
    as_log = (log_labels,) if isinstance(log_labels, str) else log_labels
    scaling = LabelScaling.of(values, names, label_scaling, as_log)
    x = np.asarray(scaling(values))
    grid: Search = "grid" if search == "joint" else search
    fold = make_folds(chosen.star_groups(), cv, seed)
    recipe = (recipe if recipe is not None else Recipe()).learn(chosen)
    prepared = recipe(chosen)
    tell_moving(prepared)

    flux_mean, flux_scale, y = scaled_flux(prepared, flux_scaling)
    weight = star_weights(prepared, weights)
    wave_unit = str(prepared.wave_unit)
    allowed = allowed_labels(label_masks, names, prepared.wave, wave_unit)
    ivar = np.where(prepared.good, prepared.ivar, 0)
    scaled = Scaled(x, y, weight, scaling, flux_mean, flux_scale, ivar, allowed)
    learner: Learner
    if emulator == "polynomial":
        per_star = 2 * (1 + len(exponents_of(len(names), degree)))
        needed = max(10, 2 * cv, per_star) if min_stars is None else min_stars
        learner = PolynomialLearner(ridges(ridge, search=grid, n_iter=n_iter, seed=seed), degree, needed)
    else:
        found = candidates(x, C, epsilon, gamma, search=grid, n_iter=n_iter, seed=seed)
        needed = max(10, 2 * cv, 5 * len(names)) if min_stars is None else min_stars
        settings = SvrSettings(kernel, degree, float(coef0), tol, max_iter, needed)
        columns = y.shape[1] * (len(found) * cv + 1)
        settings = dataclasses.replace(settings, solver=chosen_solver(solver, settings, columns, len(chosen)))
        learner = SvrLearner(found, settings, n_jobs)
    training_labels = TrainingLabels.from_scaled(x)
    if search == "joint":
        learnt, scores = learn_jointly(learner, scaled, training_labels, fold, seed, on_progress)
    else:
        learnt, scores = learner.learn(scaled, fold, on_progress), None
    wanted = (learnt.best < 0) & recipe.masked(prepared.wave, wave_unit)
    learnt = dataclasses.replace(learnt, status=np.where(wanted, MASKED, learnt.status))
    if learnt.exact is None or learnt.held_out is None:
        raise SlamError(
            f"no pixel could be trained ({', '.join(sorted(set(learnt.status.tolist())))}): of {len(chosen)} stars at "
            f"most {learnt.n_train.max()} are good in a pixel and {needed} are needed; give more stars, or look at the "
            "bad-pixel rules"
        )

    _tell_untrained(prepared.wave, learnt, wave_unit)
    model_noise, calibration = choose_noise(noise, learnt.exact, training_labels, learnt.held_out, seed=seed)
    variance = np.asarray(diagonal(learnt.exact, learnt.held_out).model_variance)
    tried = Table(rows=[vars(one) for one in learner.found])
    pixels = _pixel_table(prepared.wave, learnt, tried, np.sqrt(np.where(learnt.best >= 0, variance, np.nan)))
    if scores is not None:
        tried["joint_score"] = scores
    of_emulator = (
        {"ridge": [one.ridge for one in learner.found]}
        if isinstance(learner, PolynomialLearner)
        else {"kernel": kernel, "coef0": coef0, "max_iter": max_iter, "tol": tol}
    )
    info = ModelInfo(
        label_names=names,
        label_units=tuple(_unit(chosen, name) for name in names),
        wave=prepared.wave,
        wave_unit=wave_unit,
        medium=prepared.medium,
        frame=prepared.frame,
        fwhm=prepared.fwhm,
        recipe=recipe,
        pixels=pixels,
        candidates=tried,
        cv_scores=learnt.scores,
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
            emulator=emulator,
            degree=degree,
            **of_emulator,
            label_masks={
                name: windows_of(column, prepared.wave)
                for name, column in zip(names, allowed.T, strict=True)
                if not column.all()
            },
            noise=noise,
            weights=weights if prepared.has_errors else "uniform (no errors stated)",
            label_scaling=label_scaling,
            flux_scaling=flux_scaling,
            seed=seed,
            solver=learnt.report,
        ),
    )
    return Model(learnt.exact, model_noise, training_labels, info)


def _check_emulator(emulator: str, ridge: Any, **svr: Any) -> None:
    """Options of the other emulator are told, not ignored."""
    if emulator not in EMULATORS:
        raise SlamError(f"unknown emulator {emulator!r}; choose one of {', '.join(EMULATORS)}")
    if emulator == "svr" and ridge is not None:
        raise SlamError("ridge is of the polynomial emulator; give emulator='polynomial', or leave ridge out")
    if emulator == "polynomial":
        given = [name for name, value in svr.items() if not (np.isscalar(value) and value == _SVR_DEFAULTS[name])]
        if given:
            raise SlamError(f"{', '.join(given)} is of the SVR, not of a polynomial; leave it out, or give ridge")


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


def _pixel_table(wave: np.ndarray, learnt: Learnt, tried: Table, model_error: np.ndarray) -> Table:
    trained, best = learnt.best >= 0, np.maximum(learnt.best, 0)
    chosen = {name: np.where(trained, np.asarray(tried[name], float)[best], np.nan) for name in tried.colnames}
    return Table(
        {
            "wave": wave,
            **chosen,
            "cv_mse": np.where(trained, learnt.scores[np.arange(len(best)), best], np.nan),
            "model_error": model_error,
            "n_train": learnt.n_train,
            **learnt.columns,
            "status": learnt.status,
        }
    )


def _tell_untrained(wave: np.ndarray, learnt: Learnt, unit: str) -> None:
    """One warning for each reason why pixels are masked, unless somebody wanted it so."""
    for status in np.unique(learnt.status[(learnt.best < 0) & (learnt.status != MASKED)]):
        at = wave[learnt.status == status]
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
