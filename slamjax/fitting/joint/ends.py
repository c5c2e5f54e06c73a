"""From where joint fits ended to labels, errors and flags.

Every model's part of the information is calibrated as the model is when it fits alone, by its own χ²: the parts are
added afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.fitting.covariance import covariances
from slamjax.fitting.postprocess import FEW, Ends, at_bound, has_rival
from slamjax.fitting.problem import Problem
from slamjax.flags import Flag
from slamjax.forward.joint import Arm
from slamjax.model.joint import JointModel
from slamjax.model.model import Model
from slamjax.noise.calibration import PhotonShares
from slamjax.noise.photon_part import photon_information, photon_shares

#: Stars per block of a program: limits memory.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class GroupData:
    """The stars of one layout: arrays of n rows, and what is known of each model's spectra of a star.

    ``n_pix``, ``no_errors`` (n, A) and ``there`` (n, A), the numbers of spectra, are of each of A models;
    ``line_spread`` is as of `slamjax.fitting.batches.Starts`; ``growth`` has (n, L') factors of each model's label
    errors, by what its spectra's measured velocities leave undetermined.
    """

    flux: np.ndarray
    ivar: np.ndarray
    factorised: Any
    n_pix: np.ndarray
    no_errors: np.ndarray
    there: np.ndarray
    line_spread: np.ndarray | None = None
    growth: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GroupResult:
    """Arrays of the n stars of a group.

    Attributes
    ----------
    x : (n, V) parameters
    covariance : (n, V, V) of them, calibrated
    chi2, scale : (n, A) reported χ² of each model's spectra, and their noise scale
    flags, n_iter : (n,)
    failed : (n,) bool
    """

    x: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    scale: np.ndarray
    flags: np.ndarray
    n_iter: np.ndarray
    failed: np.ndarray


def conclude(model: JointModel, problem: Problem, ends: Ends, data: GroupData) -> GroupResult:
    """The results of stars of one layout."""
    emulator: Any = problem.emulator
    x = ends.of_best(ends.x).astype(float)
    low, high = np.asarray(problem.low, float), np.asarray(problem.high, float)
    span, n_labels = high - low, len(model.label_names)
    parts, photons, expected = informations(model, problem, x, data)
    prior = ends.of_best(ends.prior_curvature)
    empty = data.n_pix.sum(axis=1) == 0
    broken = ~empty & ~(np.isfinite(parts).all(axis=(1, 2, 3)) & np.isfinite(prior).all(axis=(1, 2)))
    converged = ends.of_best(ends.converged) & ~broken
    sound = ~(empty | broken)
    total = np.where(sound[:, None, None], prior, np.eye(len(span)))
    n, n_arms = len(x), len(emulator.arms)
    chi2, scale, too_high = np.full((n, n_arms), np.nan), np.ones((n, n_arms)), np.zeros((n, n_arms), bool)
    outside = np.zeros(n, bool)
    for a, arm in enumerate(emulator.arms):
        there = (data.n_pix[:, a] > 0) & sound
        if not there.any():
            continue
        own = own_places(arm)
        gram = np.where(there[:, None, None], parts[:, a], 0)
        photon = np.where(there[:, None, None], photons[:, a], 0)
        noise = _calibrated(model, arm, gram, photon, (x, expected[:, a], data.n_pix[:, a], data.there[:, a], span))
        factor = noise.factor
        if arm.name in data.growth:
            factor[:, : len(arm.labels)] *= data.growth[arm.name]
        place = np.ix_(np.arange(n), own, own)
        total[place] += np.where(
            there[:, None, None],
            gram[np.ix_(np.arange(n), own + 1, own + 1)] / (factor[:, :, None] * factor[:, None, :]),
            0,
        )
        chi2[:, a] = np.where(there, noise.chi2, np.nan)
        scale[:, a] = np.where(there & (noise.scale > 0), noise.scale, 1)
        too_high[:, a] = there & noise.too_high
        outside |= there & model.models[arm.name].training_labels.outside_on_host(model.own_labels(arm.name, x))
    covariance, unconstrained = covariances(total, span)
    labels = covariance[:, :n_labels, :n_labels]
    conditions = {
        Flag.NOT_CONVERGED: ~converged,
        Flag.AT_BOUND: at_bound(x[:, :n_labels], labels, low[:n_labels], high[:n_labels]),
        Flag.OUTSIDE_TRAINING: outside,
        Flag.HIGH_CHI2: too_high.any(axis=1),
        Flag.MULTIPLE_MINIMA: has_rival(ends, total, span, np.exp(np.mean(np.log(scale), axis=1))),
        Flag.UNCONSTRAINED: unconstrained[:, :n_labels].any(axis=1),
    } | _of_data(model, emulator, data)
    flags = np.zeros(n, np.int32)
    for flag, condition in conditions.items():
        flags |= np.where(condition, np.int32(flag), np.int32(0))
    flags = np.where(empty, np.int32(Flag.NO_DATA), flags)
    return GroupResult(x, covariance, chi2, scale, flags, ends.n_iter.sum(axis=1), empty | ~converged)


def _of_data(model: JointModel, emulator: Any, data: GroupData) -> dict[Flag, np.ndarray]:
    """Flags that say what the spectra lack."""
    have_errors = np.array([model.models[arm.name].info.has_errors for arm in emulator.arms])
    usable = np.array([np.asarray(arm.forward.usable).sum() for arm in emulator.arms])
    possible = np.maximum((usable * data.there).sum(axis=1), 1)
    return {
        Flag.FEW_PIXELS: data.n_pix.sum(axis=1) < FEW * possible,
        Flag.NO_ERRORS: (data.no_errors & have_errors).any(axis=1),
    }


def own_places(arm: Arm) -> np.ndarray:
    """Positions of a model's labels and of its spectra's nuisances among the joint parameters, each once."""
    nuisances = dict.fromkeys(place for visit in arm.nuisances for place in visit)
    return np.array([*arm.labels, *nuisances], int)


@dataclass(frozen=True, eq=False)
class _Calibrated:
    """Of one model's spectra of n stars: factors (n, V') of the errors of its parameters, reported χ², noise scale."""

    factor: np.ndarray
    chi2: np.ndarray
    scale: np.ndarray
    too_high: np.ndarray


def _calibrated(model: JointModel, arm: Arm, gram: np.ndarray, photon: np.ndarray, given: Any) -> _Calibrated:
    """As `slamjax.fitting.postprocess.summarise` calibrates the errors of a fit to these spectra alone."""
    x, expected, n_pix, n_spectra, span = given
    one: Model = model.models[arm.name]
    calibration, n_labels, own = one.info.calibration, len(arm.labels), own_places(arm)
    pick = np.ix_(np.arange(len(x)), own + 1, own + 1)
    shares = PhotonShares.none(n_pix, len(own))
    if calibration.photon_chi2:
        plain, _ = covariances(gram[pick], span[own])
        shares = photon_shares(plain, photon[pick] if calibration.photons_as_stated else 0 * plain, expected)
    n_free = len(arm.forward.free)
    n_common = len(arm.shared) if arm.span.n_visits > 1 else n_free
    count = n_common + n_spectra * (n_free - n_common + arm.forward.nuisances.n_coefficients)
    dof = np.maximum(n_pix - n_labels - count, 1)
    distance = one.training_labels.neighbour_distance(model.own_labels(arm.name, x))
    noise = calibration.star_noise(gram[:, 0, 0], n_pix, dof, distance, shares)
    root = np.where(noise.variance_factor > 0, noise.variance_factor, 1)
    factor = np.sqrt(calibration.stretched(root, shares.variance, n_labels))
    scale = noise.noise_scale(n_labels)
    return _Calibrated(factor, noise.chi2, scale, noise.chi2 > noise.limit * dof)


def informations(
    model: JointModel, problem: Problem, x: np.ndarray, data: GroupData
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, A, V + 1, V + 1) of each model's spectra at x, the photons' part of it, and (n, A, 2) expected χ².

    The latter two are 0 where no model reads photon noise apart.
    """
    given = (x.astype(data.flux.dtype), data.flux, data.ivar, data.line_spread, data.factorised)
    parts = map_padded(partial(_informations, problem), given, _BLOCK, 16)
    if not any(model.models[arm.name].info.calibration.photon_chi2 for arm in problem.emulator.arms):  # type: ignore[union-attr]
        return parts.astype(float), np.zeros(parts.shape), np.zeros((*parts.shape[:2], 2))
    photon, expected = map_padded(partial(_photons, problem), given[:4], _BLOCK, 16)
    return parts.astype(float), photon.astype(float), expected.astype(float)


@partial(compiled, one_thread=True)
def _informations(problem: Problem, x: Any, flux: Any, ivar: Any, line_spread: Any, factorised: Any) -> jax.Array:
    def of_star(star: Any) -> jax.Array:
        x, flux, ivar, sigma, kept = star
        emulator: Any = problem.of_star(None, sigma).emulator
        return emulator.informations(problem.noise.inverse_covariance(ivar, kept), x, flux)

    return jax.lax.map(of_star, (x, flux, ivar, line_spread, factorised), batch_size=16)


@partial(compiled, one_thread=True)
def _photons(problem: Problem, x: Any, flux: Any, ivar: Any, line_spread: Any) -> tuple[jax.Array, jax.Array]:
    noise: Any = problem.noise

    def of_star(star: Any) -> tuple[jax.Array, jax.Array]:
        x, flux, ivar, sigma = star
        emulator: Any = problem.of_star(None, sigma).emulator
        photon = photon_information(noise, ivar, lambda inv_cov: emulator.informations(inv_cov, x, flux))
        return photon, noise.variance_shares(ivar)

    return jax.lax.map(of_star, (x, flux, ivar, line_spread), batch_size=16)
