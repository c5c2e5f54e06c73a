"""The second fit, with a prior: from where the first one ended, with χ² in units of the star's own noise.

Without its noise scale w, a star whose Σ is too small would hardly feel a prior. w follows from χ² of the first fit,
and the second minimises χ² − 2 w ln p: its posterior is the one that `slamjax.sample` draws from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from slamjax.fitting.batches import Starts, minimise
from slamjax.fitting.postprocess import Ends, FitResult
from slamjax.fitting.prior import StarPrior
from slamjax.fitting.prior_options import FitPrior
from slamjax.fitting.problem import Minimiser, Problem
from slamjax.spectra.spectra import Spectra


def star_priors(prior: FitPrior, spectra: Spectra, result: FitResult, dtype: np.dtype) -> StarPrior:
    """What the prior has of the stars of a first ``result``."""
    scale = result.noise_scale
    weight = np.where(np.isfinite(scale) & (scale > 0), scale, 1)
    arrays: Any = [part.astype(dtype) for part in (weight, *prior.of_stars(spectra))]
    return StarPrior(*arrays)


def fit_again(
    minimiser: Minimiser,
    problem: Problem,
    ends: Ends,
    starts: Starts,
    slots: int,
    finished: Callable[[int], None] | None = None,
) -> Ends:
    """Ends of fits with the prior of ``problem`` and ``starts``, or other factors of Σ, from the ``ends`` of others."""
    n_starts = ends.x.shape[1]
    # the best first: others are given up where they come to its end
    order = np.argsort(np.where(np.isfinite(ends.objective), ends.objective, np.inf), axis=1, kind="stable")
    x = np.take_along_axis(ends.x, order[:, :, None], axis=1)
    x = np.swapaxes(x, 0, 1).reshape(-1, x.shape[2]).astype(starts.x.dtype)
    again = dataclasses.replace(starts, x=x)
    (summary,) = minimise(minimiser, problem, [again], slots, finished)
    weight = None if starts.prior is None else np.asarray(starts.prior.weight, float)
    return Ends.from_summary(summary, n_starts, weight)
