"""From where the fits of a part of the spectra ended to its results: errors and flags, and what a prior changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from slamjax._util.batching import map_padded, power_of_two_below
from slamjax._util.jit import compiled
from slamjax.fitting.batches import Starts
from slamjax.fitting.learnt_means import LEARNT, PosteriorMean, with_learnt_means
from slamjax.fitting.photon_noise import photon_parts
from slamjax.fitting.posterior_means import POINTS, posterior_means
from slamjax.fitting.posterior_mode import fit_again, star_priors
from slamjax.fitting.postprocess import Ends, FitResult, summarise
from slamjax.fitting.prior import Prior
from slamjax.fitting.prior_options import FitPrior
from slamjax.fitting.problem import Minimiser, Problem, Summary
from slamjax.fitting.sizes import BatchSizes
from slamjax.fitting.unlikeness import residual_parts, unlike
from slamjax.forward.emulator import ForwardEmulator
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra


@dataclass(frozen=True, eq=False)
class Prepared:
    """Spectra as they were given, what is minimised, good pixels (N,), S/N (N,), and which state no errors (N,)."""

    spectra: Spectra
    starts: Starts
    n_pix: np.ndarray
    snr: np.ndarray
    no_errors: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What results are made with.

    Attributes
    ----------
    model : whose emulator is fitted with
    forward : with nuisances
    problem, minimiser, n_starts : of the fits without a prior
    sizes : how many stars are worked on at once
    prior : of a second fit
    posterior_mean : whether means of the posterior, or those that were learnt, are wanted
    """

    model: Model
    forward: ForwardEmulator | None
    problem: Problem
    minimiser: Minimiser
    n_starts: int
    sizes: BatchSizes
    prior: FitPrior | None
    posterior_mean: PosteriorMean

    def result(self, prepared: Prepared, summary: Summary, finished: Callable[[int], None] | None = None) -> FitResult:
        """Labels, errors and flags from where the starts ended; with a prior, from where fits with it end.

        ``finished`` is called with the number of problems with a prior that are done.
        """
        ends = Ends.from_summary(summary, self.n_starts)
        result = self._summarised(prepared, ends)
        sampled = self.posterior_mean is True
        if self.prior is None and not sampled:
            return result
        prior = FitPrior(self.model, Prior((), ())) if self.prior is None else self.prior
        own = star_priors(prior, prepared.spectra, result, prepared.starts.flux.dtype)
        problem = dataclasses.replace(self.problem, prior=prior.prior)
        starts = dataclasses.replace(prepared.starts, prior=own)
        if self.prior is not None:
            ends = fit_again(self.minimiser, problem, ends, starts, self.sizes.block, finished)
            result = self._summarised(prepared, ends)
        if sampled:
            block = power_of_two_below(max(1, self.sizes.points // POINTS))
            mean, std = posterior_means(problem, ends, starts.stars._replace(factorised=None), block)
            failed = ~np.isfinite(result.labels).all(axis=1)[:, None]
            result = dataclasses.replace(result, mean=np.where(failed, np.nan, mean), std=np.where(failed, np.inf, std))
        return result

    def _summarised(self, prepared: Prepared, ends: Ends) -> FitResult:
        """The result of the best ends."""
        model, problem, forward = self.model, self.problem, self.forward
        stars = prepared.starts.stars
        best = ends.of_best(ends.x)
        photons = None
        if model.info.calibration.photon_chi2 and not prepared.no_errors.all():
            stated = model.info.calibration.photons_as_stated
            photons = photon_parts(problem, best, stars, stated)
        result = summarise(model, ends, prepared.n_pix, prepared.no_errors, forward, photons)
        if forward is not None and forward.terms is not None:
            given = (best, stars.flux, stars.ivar, stars.line_spread)
            coefficients = map_padded(lambda *star: _coefficients(problem, *star), given, self.sizes.block)
            coefficients = coefficients.astype(float)
            coefficients[~np.isfinite(result.labels).all(axis=1)] = np.nan
            result.nuisances["polynomial"] = coefficients
        result = dataclasses.replace(result, snr=prepared.snr)
        learnt = self.posterior_mean == LEARNT
        if model.info.calibration.likeness is None and not learnt:
            return result
        parts = residual_parts(problem, best, stars)
        result = dataclasses.replace(result, unlike=unlike(model, best, parts, prepared.no_errors))
        return with_learnt_means(model, result, best, parts) if learnt else result


@compiled
def _coefficients(problem: Problem, x: Any, flux: Any, ivar: Any, line_spread: Any) -> jax.Array:
    def of_star(x: Any, flux: Any, inv_cov: Any, sigma: Any) -> jax.Array:
        forward: Any = problem.of_star(None, sigma).emulator
        return forward.coefficients(inv_cov, x, flux)

    return jax.vmap(of_star)(x, flux, jax.vmap(problem.noise.inverse_covariance)(ivar), line_spread)
